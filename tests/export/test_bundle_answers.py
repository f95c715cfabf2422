"""Bundles of models that are no classifiers, runtimes that are too old, and examples that fail without a traceback."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.artifact import Artifact, TensorSpec
from edgeproof.core.recipe import Data, Evaluate, LatencyTable
from edgeproof.core.run_log import RunLog
from edgeproof.export.bundle import Bundle, closeness
from edgeproof.export.bundle.escape import TEMPLATES
from edgeproof.export.bundle.reading import Reading, answer_kind, reading_of
from edgeproof.tasks.classification import Classification
from edgeproof.tasks.multilabel import Multilabel
from edgeproof.tasks.regression import Regression
from edgeproof.workflows.evaluate import evaluate_files

from ..conftest import TinyRun
from ..support.bundle_models import mean_colour_model
from ..support.bundles import bundle_of, by_hand, compiles, on_device
from ..support.quick import QUICK

# What stands in for an answer: the graph of `mean_colour_model` with other outputs.
KINDS = ("scores", "values", "value", "picture", "several")


def answering(kind: str) -> bytes:
    """A file that takes a picture (1, 8, 8, 3) and gives scores, values, one value, a picture, or two outputs."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(mean_colour_model(), 0)
    graph = model.subgraphs[0]
    if kind == "values":  # the means, and no distribution
        graph.outputs, graph.operators = [4], graph.operators[:2]
    elif kind == "several":
        graph.outputs = [5, 4]
    elif kind == "value":
        graph.outputs, graph.operators = [2], graph.operators[:1]
        graph.tensors[2].shape = [1]
        graph.tensors[1].shape = [3]
        model.buffers[1].data = np.frombuffer(np.array([1, 2, 3], "int32").tobytes(), "uint8")
    elif kind == "picture":
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.LOGISTIC
        code.version = 1
        model.operatorCodes.append(code)
        mask = schema.TensorT()
        mask.name, mask.shape, mask.type, mask.buffer = b"mask", [1, 8, 8, 3], schema.TensorType.FLOAT32, 0
        graph.tensors.append(mask)
        only = schema.OperatorT()
        only.opcodeIndex, only.inputs, only.outputs = len(model.operatorCodes) - 1, [0], [len(graph.tensors) - 1]
        graph.operators, graph.outputs = [only], [len(graph.tensors) - 1]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("answers")
    by_kind = {}
    for kind in KINDS:
        path = folder / f"{kind}.tflite"
        path.write_bytes(answering(kind))
        by_kind[kind] = bundle_of(path, folder / "out", samples=4)
    return by_kind


@pytest.mark.parametrize("kind", KINDS)
def test_scripts_speak_of_what_the_file_gives(bundles: dict[str, Bundle], bare: Path, kind: str) -> None:
    bundle = bundles[kind]
    gives = "scores" if kind == "several" else kind
    assert bundle.manifest["file"]["answer_kind"] == gives
    verified, shown = (on_device(bundle.folder, bare, script) for script in ("verify.py", "example.py"))
    assert verified.returncode == shown.returncode == 0, verified.stdout + shown.stderr
    expected = "4 of 4 top classes are the same" if gives == "scores" else "4 of 4 answers are the golden ones"
    assert expected in verified.stdout
    lines = shown.stdout.splitlines()[1:]
    golden = np.load(bundle.folder / "golden.npz", allow_pickle=False)["outputs"][0]
    if gives == "scores":
        assert lines[0].split() == [f"{golden.max():.4f}", "class", str(golden.argmax())]
        assert [line.split(":")[0] for line in lines[3:]] == (["scaled"] if kind == "several" else [])
    elif kind == "picture":
        assert lines == [f"192 values of shape [1, 8, 8, 3], {golden.min():.4g} to {golden.max():.4g}"]
    else:
        assert [float(value) for value in lines[0].split(",")] == pytest.approx(golden.tolist(), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_code_for_apps_speaks_of_it_too(bundles: dict[str, Bundle], tmp_path: Path, kind: str) -> None:
    folder = bundles[kind].folder
    noun = "Classifier" if kind in ("scores", "several") else "Model"
    kotlin, cpp = (folder / f"android/{noun}.kt").read_text(), (folder / f"cpp/{noun.lower()}.cc").read_text()
    assert f"class {noun}(model: File" in kotlin and f"class {noun} {{" in cpp and f"explicit {noun}(" in cpp
    for text in (kotlin, cpp):
        assert ("Scores by class" in text) == (kind in ("scores", "several"))
        assert "0 labels" not in text
        assert ("output 0 of the file's 2" in text) == (kind == "several")
    assert ("A picture of 8 x 8 x 3" in cpp) == (kind == "picture")
    assert ("kScores" in cpp) == (kind in ("scores", "several"))
    compiles(folder / "cpp" / f"{noun.lower()}.cc", tmp_path)


@pytest.mark.slow
def test_a_runtime_that_is_too_old_is_told_so_and_what_runs_there(tiny: TinyRun, bare: Path, tmp_path: Path) -> None:
    if not (bare / "tflite_runtime").exists():
        pytest.skip("tflite-runtime is not installed")
    path = tiny.artifact("tflite:dynamic").path
    assert path is not None
    bundle = bundle_of(path, tmp_path)
    done = on_device(bundle.folder, bare, "verify.py", "--runtime", "tflite-runtime")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the file needs tflite-runtime 2.17.0 or newer, and 2.14" in done.stdout
    (named,) = [one for one in bundle.manifest["siblings"] if f"take {one['name']}," in done.stdout]
    assert named["format"] == "tflite"
    assert [int(part) for part in named["needs"]["tflite-runtime"].split(".")] <= [2, 14, 0]


def script(name: str) -> ModuleType:
    """A bundle's script as a module."""
    spec = importlib.util.spec_from_file_location(f"bundled_{name}", TEMPLATES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_too_old_compares_versions_as_numbers_and_names_a_file_that_runs() -> None:
    model = script("model")
    others = [
        {"name": "new.tflite", "format": "tflite", "needs": {"litert": "2.11.0"}},
        {"name": "x.onnx", "format": "onnx", "needs": {"onnxruntime": "1.1"}},
        {"name": "old.tflite", "format": "tflite", "needs": {"litert": "1.2.0"}},
    ]
    about: dict[str, Any] = {"file": {"format": "tflite", "needs": {"litert": "2.10.0"}}, "siblings": others}
    assert "take old.tflite" in model.too_old(about, "litert", "2.9.1")
    assert model.too_old(about, "litert", "2.10.0") == model.too_old(about, "litert", "2.11") == ""
    assert model.too_old(about, "litert", "unknown") == model.too_old(about, "tensorflow", "1.0") == ""
    assert "no file that was made beside" in model.too_old(about | {"siblings": []}, "litert", "2.9.1")
    assert model.too_old({"file": {"format": "tflite"}}, "litert", "1.0") == "", "a bundle of an earlier version"


def test_the_example_fails_in_words(bundles: dict[str, Bundle], bare: Path, tmp_path: Path) -> None:
    folder = by_hand(tmp_path / "made")
    bundle = bundle_of(folder, tmp_path / "out")
    np.save(tmp_path / "wrong.npy", np.zeros((3, 3), "uint8"))
    (tmp_path / "junk.npy").write_bytes(b"junk")
    (tmp_path / "picture.png").write_bytes(b"junk")
    for argument in ("nowhere.npy", "wrong.npy", "junk.npy", "picture.png"):
        done = on_device(bundle.folder, bare, "example.py", str(tmp_path / argument))
        assert done.returncode == 1 and argument in done.stderr and "Traceback" not in done.stderr
    done = on_device(bundles["values"].folder, bare, "example.py", str(tmp_path / "wrong.npy"))
    assert done.returncode == 1 and "holds (3, 3), expected (8, 8, 3)" in done.stderr
    (bundle.folder / "golden.json").unlink()
    (bundle.folder / bundle.manifest["file"]["name"]).write_bytes(b"TFL3" * 20)
    empty = tmp_path / "empty"
    empty.mkdir()
    for where in (bare, empty):  # a damaged bundle, and a device without numpy
        done = on_device(bundle.folder, where, "example.py")
        assert done.returncode == 1 and done.stderr.strip() and "Traceback" not in done.stderr
    done = on_device(bundle.folder, empty, "verify.py")
    assert done.returncode == 1 and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_bundle_of_an_evaluation_has_its_samples(tmp_path: Path) -> None:
    for number, colour in enumerate(("red", "green", "blue")):
        for copy in range(5):
            path = tmp_path / "photos" / colour / f"{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), tuple(40 * copy + 30 if i == number else 9 for i in range(3))).save(path)
    path = by_hand(tmp_path / "made")
    settings = Evaluate(targets=("local/litert",), latency=LatencyTable(**QUICK))
    data = Data(source=f"folder:{tmp_path}/photos")
    with RunLog(None) as listener:
        evaluate_files([path], data, settings, tmp_path / "run", None, listener)
    results = tmp_path / "run" / "results.json"
    document = json.loads(results.read_text())
    document["recommendation"] = {"artifact": document["artifacts"][0]["id"], "target": "local/litert"}
    results.write_text(json.dumps(document))
    bundle = bundle_of(tmp_path / "run", tmp_path / "out", samples=6)
    assert not bundle.manifest["golden"]["random"] and f"{tmp_path}/photos" in bundle.manifest["golden"]["source"]
    samples = np.load(bundle.folder / "golden.npz", allow_pickle=False)["samples"]
    assert len(samples) == 6 and set(np.unique(samples)) <= {9, 30, 70, 110, 150, 190}
    truths = json.loads((bundle.folder / "golden.json").read_text())["truths"]
    assert all(sample[0, 0].argmax() == truth for sample, truth in zip(samples, truths, strict=True))


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        ([[0.9, 0.8, 0.1], [0.2, 0.1, 0.3]], "tags"),
        ([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], "scores"),
        ([[3.0, -1.0, 0.5], [0.2, 0.1, 0.3]], "scores"),
    ],
)
def test_sigmoids_of_known_labels_are_tags(outputs: list[list[float]], kind: str) -> None:
    file = Artifact(id="m", model="m", format="tflite", scheme="float32", path=None, labels=("cat", "dog", "owl"),
                    outputs=(TensorSpec("y", (1, 3), "float32"),))  # fmt: skip
    values = np.array(outputs, np.float32)
    assert answer_kind(file, 0, values) == kind
    assert answer_kind(file, 0, values, Regression(0)) == "values"
    assert answer_kind(file, 0, values, Multilabel(3)) == "tags"
    assert answer_kind(file, 0, values, Classification(3)) == "scores"
    spec = importlib.util.spec_from_file_location("example_of_tags", TEMPLATES / "example.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    decision = reading_of(file, 0, kind, values).to_json()
    about = {"file": {"answer": 0, "outputs": [{"name": "y"}], "decision": decision}}
    model = SimpleNamespace(
        gives=kind, labels=list(file.labels), about=about, run=lambda stored: values[stored],
        outputs=lambda stored: [values[stored : stored + 1]],
    )  # fmt: skip
    if kind == "tags":
        assert example.describe(model, 0) == ["  0.9000  cat", "  0.8000  dog"]
        assert example.describe(model, 1) == ["no tag from one half on"]
    else:
        assert len(example.describe(model, 0)) == 3


@pytest.mark.parametrize(
    ("gives", "reading", "values", "labels", "lines"),
    [
        ("value", Reading("yes", 0.5, 2), [[0.21]], ["=a", "b"], ["  0.2100  =a (from 0.5 on it is b, else =a)"]),
        ("value", Reading("yes", 0.0, 2), [[0.21]], [], ["  0.2100  class 1 (from 0 on it is class 1, else class 0)"]),
        ("value", Reading("yes", 0.5, 1), [[0.21]], ["red"], ["  0.2100  red: no (from 0.5 on it is a yes)"]),
        ("value", Reading(), [[0.21]], [], ["0.21"]),
        ("values", Reading(), [[0.21, 3.0]], ["width", "height"], ["0.21  width", "3  height"]),
        ("tags", Reading("yes", 0.0, 2), [[-0.2, 3.0]], [], ["  3.0000  tag 1"]),
        (
            "picture", Reading("pixels", None, 2, True), [[[[0, 1], [1, 0]], [[1, 0], [1, 0]]]], ["road", "sky"],
            [" 75.00 % of the pixels  road", " 25.00 % of the pixels  sky", "0, 1, 1, 0, 1, 0, 1, 0"],
        ),
        (
            "picture", Reading("yes", 0.5, 2, True), [[[0.2], [0.7], [0.1], [0.5]]], ["road", "sky"],
            [" 50.00 % of the pixels  road", " 50.00 % of the pixels  sky", "0.2, 0.7, 0.1, 0.5"],
        ),
    ],
)  # fmt: skip
def test_the_example_says_what_values_mean(
    gives: str, reading: Reading, values: Any, labels: list[str], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "closeness", closeness)
    about = {"file": {"answer": 0, "outputs": [{"name": "y"}], "decision": reading.to_json()}}
    given = np.array(values, np.float32)
    model = SimpleNamespace(
        gives=gives, labels=labels, about=about, run=lambda stored: given.reshape(-1), outputs=lambda stored: [given]
    )
    assert script("example").describe(model, 0) == lines
