"""Finished files are fed what they want: by --value-range, their metadata or their input's scale; else it is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.artifact import Artifact, TensorSpec
from edgeproof.core.errors import InputError
from edgeproof.core.model import InputContract
from edgeproof.core.progress import Silent
from edgeproof.core.target import Target
from edgeproof.devices import open_runner
from edgeproof.export import bundle as room
from edgeproof.workflows.model_files import open_artifact
from edgeproof.workflows.value_range import with_value_range

from ..cli.test_commands import edgeproof
from ..support.bundle_models import mean_colour_model
from ..support.quick import OPTIONS

# Each is of one class for a model that compares R, 2 G and 4 B; clipped, all of them are of the last.
COLOURS = ((200, 50, 20), (60, 200, 20), (60, 50, 200))


class Heard(Silent):
    """A listener that keeps what it is told, remedies included."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, level: str, message: str, **facts: Any) -> None:
        self.notes.append(f"{message} {facts.get('remedy', '')}")


def quantized_model(scale: float, zero_point: int) -> bytes:
    """The model of `mean_colour_model` behind a uint8 input of that scale."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(mean_colour_model(), 0)
    graph = model.subgraphs[0]
    graph.tensors[0].type = schema.TensorType.UINT8
    graph.tensors[0].quantization = stored = schema.QuantizationParametersT()
    stored.scale, stored.zeroPoint = [scale], [zero_point]
    real = schema.TensorT()
    real.name, real.shape, real.type, real.buffer = b"real", [1, 8, 8, 3], schema.TensorType.FLOAT32, 0
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = 1
    first = schema.OperatorT()
    first.opcodeIndex, first.inputs, first.outputs = len(model.operatorCodes), [0], [len(graph.tensors)]
    graph.operators[0].inputs = [len(graph.tensors), *graph.operators[0].inputs[1:]]
    model.operatorCodes.append(code)
    graph.tensors.append(real)
    graph.operators.insert(0, first)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def answers(artifact: Artifact, folder: Path) -> list[int]:
    """The top classes of the three colours, as LiteRT answers."""
    pixels = np.stack([np.full((8, 8, 3), colour, np.uint8) for colour in COLOURS])
    np.save(folder / "pixels.npy", pixels)
    outcome = open_runner(artifact, Target("local", "litert")).infer(folder / "pixels.npy", folder / "a.npy", 0, 3)
    assert outcome.ok, outcome.reason
    return [int(row.argmax()) for row in np.load(folder / "a.npy")]


@pytest.mark.parametrize(
    ("scale", "zero_point", "expected"),
    [(1 / 255, 0, (0.0, 1.0)), (2 / 255, 128, (-1.0, 1.0)), (1.0, 0, (0.0, 255.0)), (0.00389, 0, (0.0, 1.0))],
)
def test_the_scale_of_a_quantized_input_says_its_range(
    tmp_path: Path, scale: float, zero_point: int, expected: tuple[float, float]
) -> None:
    (tmp_path / "m.tflite").write_bytes(quantized_model(scale, zero_point))
    heard = Heard()
    artifact = with_value_range(open_artifact(tmp_path / "m.tflite"), None, heard)
    assert artifact.contract is not None and (artifact.contract.low, artifact.contract.high) == expected
    assert bool(heard.notes) == (expected != (0.0, 255.0)), "said where it is not what one takes for granted"
    if expected[0] == 0:  # below 0 this model's comparison turns round
        assert answers(artifact, tmp_path) == [0, 1, 2]


def test_the_same_files_without_it_are_clipped(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(quantized_model(1 / 255, 0))
    assert answers(open_artifact(tmp_path / "m.tflite"), tmp_path) == [2, 2, 2]


@pytest.mark.parametrize("expected", [(0.0, 255.0), (0.0, 1.0), (-1.0, 1.0), (-2.0, 6.0)])
def test_a_bundles_metadata_say_its_range(tmp_path: Path, expected: tuple[float, float]) -> None:
    (tmp_path / "m.tflite").write_bytes(mean_colour_model())
    plain = open_artifact(tmp_path / "m.tflite")
    contract = InputContract("image", (1, 8, 8, 3), low=expected[0], high=expected[1])
    shipped = room.shipped(replace(plain, contract=contract, labels=("r", "g", "b")), "test")
    (tmp_path / "shipped.tflite").write_bytes(shipped)
    heard = Heard()
    bundled = with_value_range(open_artifact(tmp_path / "shipped.tflite"), None, heard).contract
    assert bundled is not None and (bundled.low, bundled.high) == pytest.approx(expected)
    assert bool(heard.notes) == (expected != (0.0, 255.0))
    assert all("by its metadata" in note for note in heard.notes)


def test_where_nothing_is_known_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(mean_colour_model())
    heard = Heard()
    with_value_range(open_artifact(tmp_path / "m.tflite"), None, heard)
    (note,) = heard.notes
    assert "does not define its pixel range" in note and "--value-range LO,HI" in note
    heard = Heard()
    artifact = with_value_range(open_artifact(tmp_path / "m.tflite"), (0.0, 1.0), heard)
    assert artifact.contract is not None and artifact.contract.high == 1.0 and "0 to 1" in heard.notes[0]


def test_what_speaks_against_the_range_that_is_given_is_said(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(quantized_model(1 / 255, 0))
    heard = Heard()
    artifact = with_value_range(open_artifact(tmp_path / "m.tflite"), (0.0, 255.0), heard)
    assert artifact.contract is not None and artifact.contract.high == 255.0, "whoever says it is obeyed"
    assert "0 to 255 (by --value-range), but it takes 0 to 1 (by the scale of its input)" in heard.notes[0]


@pytest.mark.parametrize("wrong", [(1.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_that_is_none_is_refused(tmp_path: Path, wrong: tuple[float, float]) -> None:
    (tmp_path / "m.tflite").write_bytes(mean_colour_model())
    with pytest.raises(InputError, match="value range"):
        with_value_range(open_artifact(tmp_path / "m.tflite"), wrong, Silent())


def test_a_sidecar_is_believed(tmp_path: Path) -> None:
    contract = InputContract("x", (1, 8, 8, 3), low=-1.0, high=1.0)
    artifact = Artifact("m", "m", "tflite", "float32", tmp_path / "m.tflite", contract=contract)
    heard = Heard()
    assert with_value_range(artifact, (0.0, 1.0), heard) is artifact and "sidecar" in heard.notes[0]


def test_what_is_no_picture_stays_as_it_is(tmp_path: Path) -> None:
    inputs = (TensorSpec("x", (1, 40), "float32"),)
    artifact = Artifact("m", "m", "tflite", "float32", tmp_path / "m.tflite", inputs=inputs)
    assert with_value_range(artifact, None, Silent()) is artifact


@pytest.mark.slow
def test_the_command_says_it_before_any_figure(tmp_path: Path) -> None:
    for number, colour in enumerate(COLOURS):
        for copy in range(4):
            path = tmp_path / "photos" / "rgb"[number] / f"{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (*colour[:2], colour[2] + copy)).save(path)
    (tmp_path / "m.tflite").write_bytes(mean_colour_model())
    common = (
        "evaluate", str(tmp_path / "m.tflite"), "--data", f"folder:{tmp_path}/photos", "--on", "local/litert", *OPTIONS,
    )  # fmt: skip
    done = edgeproof(*common, "--out", str(tmp_path / "out"), status=None)
    assert "does not define its pixel range" in done.stderr.split("accuracy")[0]
    done = edgeproof(*common, "--out", str(tmp_path / "out"), "--value-range", "0,255", status=None)
    assert "does not define its pixel range" not in done.stderr
