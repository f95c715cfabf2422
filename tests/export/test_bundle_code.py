"""Code in other languages in bundles: it compiles, and what came from outside stays text in it."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.artifact import Artifact, TensorSpec
from edgeproof.export.bundle import Bundle, escape, micro
from edgeproof.export.bundle.golden_vectors import quantized
from edgeproof.export.bundle.reading import Reading
from edgeproof.export.bundle.snippets import render_apps, render_micro
from edgeproof.tflite.micro_operators import resolver_method

from ..conftest import TinyRun
from ..support.bundles import HOSTILE, bundle_of, by_hand, compiles, on_device


def test_the_cpp_compiles(float_bundle: Bundle, micro_bundle: Bundle, tmp_path: Path) -> None:
    for result in (float_bundle, micro_bundle):
        compiles(result.folder / "cpp" / "classifier.cc", tmp_path)
    hostile = bundle_of(by_hand(tmp_path / "h", HOSTILE, "x'; evil(); $(id)"), tmp_path / "out")
    compiles(hostile.folder / "cpp" / "classifier.cc", tmp_path)
    for name in ("classifier_micro.cc", "model_data.cc"):
        compiles(micro_bundle.folder / "micro" / name, tmp_path)


def test_the_array_is_the_artifact_and_the_resolver_its_operators(micro_bundle: Bundle, tiny: TinyRun) -> None:
    artifact = tiny.artifact("tflite:int8-int8io")
    assert artifact.path is not None
    text = (micro_bundle.folder / "micro" / "model_data.cc").read_text()
    array = bytes(int(value, 16) for value in re.findall(r"0x([0-9a-f]{2}),", text))
    assert array == artifact.path.read_bytes()
    assert f"g_model_len = {len(array)};" in text
    facts = micro_bundle.manifest["micro"]
    assert len(facts["resolver"]) == len({op.name for op in artifact.ops})
    assert {"AddConv2D", "AddDepthwiseConv2D", "AddSoftmax"} <= set(facts["resolver"])
    assert facts["unknown_operators"] == []
    assert facts["arena"]["kind"] == "estimated"
    # The most that lives at once is at least what goes through one layer: the first convolution's output and input.
    assert facts["arena"]["bytes"] > facts["arena"]["activations"] >= 32 * 32 * 3 + 16 * 16 * 16


@pytest.mark.parametrize(
    ("operator", "method"),
    [
        ("MAX_POOL_2D", "AddMaxPool2D"),
        ("L2_NORMALIZATION", "AddL2Normalization"),
        ("RELU6", "AddRelu6"),
        ("PADV2", "AddPadV2"),
        ("BATCH_MATMUL", "AddBatchMatMul"),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", "AddUnidirectionalSequenceLSTM"),
        ("CONV_3D", ""),
        ("*/ evil", ""),
    ],
)
def test_resolver_methods(operator: str, method: str) -> None:
    assert resolver_method(operator) == method


def test_an_operator_that_microcontrollers_lack_is_said(tiny: TinyRun) -> None:
    artifact = tiny.artifact("tflite:int8-int8io")
    assert artifact.path is not None
    content = artifact.path.read_bytes()
    odd = replace(artifact, ops=(*artifact.ops, replace(artifact.ops[0], name="Evil\n*/ int x; //")))
    facts = micro.describe(content, odd.ops)
    assert facts.missing == ("Evil\n*/ int x; //",)
    top = Reading("top", None, 3)
    text = render_micro(odd, ("pixels",), 0, "scores", top, "Classifier", facts, content)["micro/classifier_micro.cc"]
    assert "Evil____int_x____" in text
    assert "int x;" not in text


def from_kotlin(literal: str) -> str:
    """Read a Kotlin string literal back, by its grammar: escapes, and nothing that would end or run it."""
    assert literal[0] == literal[-1] == '"'
    parts = re.findall(r'\\u([0-9a-f]{4})|\\(["\\$])|([^"\\$\n\r])', literal[1:-1])
    assert "".join(f"\\u{u}" if u else f"\\{e}" if e else c for u, e, c in parts) == literal[1:-1]
    units = "".join(chr(int(u, 16)) if u else e or c for u, e, c in parts)
    return units.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")


@given(st.text(st.characters()))
def test_kotlin_literals_hold_what_was_put_in(text: str) -> None:
    assert from_kotlin(escape.kotlin(text)) == text.encode("utf-16-be", "surrogatepass").decode(
        "utf-16-be", "surrogatepass"
    )


@given(st.text(st.characters()))
def test_cpp_literals_hold_what_was_put_in(text: str) -> None:
    literal = escape.cpp(text)
    assert re.fullmatch(r'"(?:[ !#-;=>@-\[\]-~<]|\\[0-3][0-7]{2})*"', literal)
    # Octal escapes of three digits mean the same in Python's bytes.
    assert ast.literal_eval("b" + literal) == text.encode("utf-8", "replace")


@given(st.text(st.characters()))
def test_markdown_stays_in_its_line_and_cell(text: str) -> None:
    assert "\n" not in escape.markdown(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`<\[*_]", escape.markdown(text))
    span = escape.code(text)
    fence = re.match("`+", span)
    assert fence is not None
    assert "\n" not in span and "|" not in span and span.endswith(fence[0])
    assert not re.search(rf"(?<!`){fence[0]}(?!`)", span[len(fence[0]) : -len(fence[0])])


@given(st.text(st.characters(), min_size=1))
def test_shell_words_are_one_word(text: str) -> None:
    import shlex

    assert len(shlex.split(escape.shell("edgeproof", text))) == 2


def test_templates_refuse_what_nothing_escaped() -> None:
    template = escape.environment().from_string("{{ name }}")
    assert template.render(name=escape.cpp('"')) == '"\\042"'
    with pytest.raises(TypeError, match="not escaped"):
        template.render(name='"; evil()')


def test_hostile_names_stay_names(tmp_path: Path, bare: Path) -> None:
    result = bundle_of(by_hand(tmp_path / "here", HOSTILE, "x`$(evil)` & 'b'; -b"), tmp_path / "out")
    assert result.folder.parent == tmp_path / "out"
    assert re.fullmatch(r"[\w.-]+", result.folder.name)
    assert len((result.folder / "labels.txt").read_text("utf-8").splitlines()) == 3
    assert result.manifest["labels"] == list(HOSTILE)
    readme = (result.folder / "README.md").read_text("utf-8")
    assert "<b>" not in readme
    shown = on_device(result.folder, bare, "example.py")
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.splitlines()) == 4
    kotlin = (result.folder / "android" / "Classifier.kt").read_text("utf-8")
    assert all(escape.kotlin(label) in kotlin for label in HOSTILE)


@given(st.floats(-300, 300, width=32), st.floats(2**-10, 4, width=32), st.integers(-128, 127))
def test_stored_inputs_are_the_nearest(value: float, scale: float, zero_point: int) -> None:
    from edgeproof.core.artifact import TensorSpec

    stored = int(quantized(np.array([value], "float32"), TensorSpec("x", (1,), "int8", scale, zero_point))[0])
    real = scale * (stored - zero_point)
    inside = scale * (-128 - zero_point) <= value <= scale * (127 - zero_point)
    assert -128 <= stored <= 127
    assert not inside or abs(real - value) <= scale * 0.5001 + 1e-4


@pytest.mark.parametrize(
    ("gives", "reading", "shape", "kotlin", "cpp"),
    [
        ("value", Reading("yes", 0.5, 2), (1, 1), "fun classOf", "ClassOf"),
        ("value", Reading("yes", 0.0, 1), (1, 1), "fun isGiven(answer: FloatArray, tag: Int = 0)", "IsGiven"),
        ("tags", Reading("yes", 0.5, 2), (1, 2), "fun isGiven(answer: FloatArray, tag: Int)", "IsGiven"),
        ("picture", Reading("pixels", None, 2, True), (1, 4, 6, 2), "val from = (y * 6 + x) * 2", "ClassAt"),
        ("picture", Reading("yes", 0.5, 2, True), (1, 4, 6, 1), "answer[y * 6 + x] >= THRESHOLD", "ClassAt"),
        ("picture", Reading("numbers", None, 2, True), (1, 4, 6), "Math.round(answer[y * 6 + x])", "ClassAt"),
        ("value", Reading(), (1, 1), "", ""),
    ],
)
def test_code_for_apps_says_what_an_answer_decides(
    gives: str, reading: Reading, shape: tuple[int, ...], kotlin: str, cpp: str, tmp_path: Path
) -> None:
    """Which of two classes or which tag a value is, and the class of a pixel, with the threshold."""
    file = Artifact(
        id="m--tflite-int8", model="m", format="tflite", scheme="int8", path=None, labels=("no", "yes"),
        inputs=(TensorSpec("x", (1, 3), "int8", 0.5, 0),), outputs=(TensorSpec("y", shape, "int8", 0.5, 0),),
    )  # fmt: skip
    texts = render_apps(file, ("values",), 0, gives, reading, "Model")
    texts |= render_micro(file, ("values",), 0, gives, reading, "Model", micro.Micro(("AddAdd",), (), 1024, 512), b"x")
    (tmp_path / "model_data.h").write_text(texts["micro/model_data.h"])
    for name in ("cpp/model.cc", "micro/model_micro.cc"):
        assert cpp in texts[name] and ("ClassOf" in texts[name]) == (cpp == "ClassOf")
        (tmp_path / "code.cc").write_text(texts[name])
        compiles(tmp_path / "code.cc", tmp_path)
    text = texts["android/Model.kt"]
    assert kotlin in text and ("The value that the model gives" in text) == (not reading.kind)
    threshold = f"THRESHOLD = {reading.threshold}f"
    assert (threshold in text) == (reading.kind == "yes") == ("kThreshold" in texts["cpp/model.cc"])
