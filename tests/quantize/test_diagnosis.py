"""The diagnosis finds what was made wrong on purpose, its figures are right, and healthy files are left in peace."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.cli.main import edgeproof as program
from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import from_json
from edgeproof.core.diagnosis import Diagnosis, TensorError
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe_file import parse_recipe
from edgeproof.core.store import Store
from edgeproof.core.variant import Variant
from edgeproof.export.dense_as_conv import dense_as_conv
from edgeproof.export.quantizer import quantize
from edgeproof.quantize.diagnosis import diagnose, in_graph_order, node_data
from edgeproof.quantize.diagnosis.causes import find_causes
from edgeproof.quantize.diagnosis.error_stats import HIGHEST_DB, ErrorStats, decibels
from edgeproof.quantize.diagnosis.graph import read_graph
from edgeproof.quantize.diagnosis.isolate import inject_errors, isolate_operators
from edgeproof.quantize.diagnosis.matching import match
from edgeproof.workflows.diagnose import diagnose_artifact

from ..conftest import made_once, result_of
from ..support.contract import hold_document
from ..support.defective_files import Defective, make

NAMES = ("plain", "dark", "unit", "saturated", "unused", "hard", "weights", "shares")


@pytest.fixture(scope="module")
def defective(tmp_path_factory: pytest.TempPathFactory) -> Defective:
    defective: Defective = result_of(made_once(tmp_path_factory, "defective", lambda folder: make(folder, *NAMES)))
    return defective


def look(defective: Defective, name: str, reference: str, folder: Path, samples: int = 60) -> Diagnosis:
    artifact = defective.artifact(name) if isinstance(name, str) else name
    return diagnose(artifact, defective.file(reference), defective.data, samples=samples, workspace=folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reference", "cause", "culprit", "says"),
    [
        ("dark-int8", "plain-float32", "calibration", "tfl.quantize", "exceed the calibrated range"),
        ("unit-int8", "plain-float32", "preprocessing", "tfl.quantize", "0 to 255"),
        ("saturated-int8", "plain-float32", "saturation", "model/second/Relu", "outside of its range"),
        ("unused-int8", "plain-float32", "unused-range", "model/second/Relu", "of its range (0 to"),
        ("hard-int8", "hard-float32", "outlier-channel", "first/Relu", "times that of the median channel"),
        ("weights-int8", "weights-float32", "outlier-channel", "second/Conv2D", "weights share one scale"),
        ("shares-int8", "shares-float32", "sensitive-layer", "shares/Softmax", "fixed steps of 0.0039"),
    ],
)
def test_the_culprit_comes_first(
    defective: Defective, tmp_path: Path, name: str, reference: str, cause: str, culprit: str, says: str
) -> None:
    diagnosis = look(defective, name, reference, tmp_path)
    first = diagnosis.suspicions[0]
    assert first.cause == cause
    assert says in first.why
    assert first.remedy
    assert diagnosis.tensors[0].cause == cause  # the ranking agrees with the words
    assert diagnosis.tensors[0].name in first.tensors
    if cause == "calibration":  # it shows everywhere
        assert len(first.tensors) >= 4 and culprit in first.tensors
    else:
        assert len(first.tensors) == 1 and culprit in first.tensors[0]
    assert diagnosis.agreement is not None and diagnosis.agreement < 0.97
    assert diagnosis.facts["unmatched"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scheme", "least"),
    [("plain-int8", "int8", 30), ("plain-dynamic", "dynamic", 30), ("plain-float16", "float16", 50)],
)
def test_healthy_files_are_not_suspected(
    defective: Defective, tmp_path: Path, name: str, scheme: str, least: float
) -> None:
    artifact = defective.artifact(name, scheme)
    diagnosis = diagnose(artifact, defective.file("plain-float32"), defective.data, samples=60, workspace=tmp_path)
    assert diagnosis.suspicions == ()
    assert diagnosis.facts["answer_snr_db"] > least
    assert diagnosis.facts["unmatched"] == []
    assert all(tensor.cause == "" for tensor in diagnosis.tensors)
    weights = [tensor for tensor in diagnosis.tensors if tensor.kind == "weight"]
    assert {tensor.operator for tensor in weights} >= {"CONV_2D", "FULLY_CONNECTED"}
    assert all(tensor.snr_db is not None and tensor.snr_db > 38 for tensor in weights)
    order = [tensor.position for tensor in in_graph_order(diagnosis.tensors)]
    assert order == sorted(order)


@pytest.mark.slow
def test_figures_are_those_of_the_files(defective: Defective, tmp_path: Path) -> None:
    """The same figures, computed here from both files' tensors, found by name."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    diagnosis = look(defective, "plain-int8", "plain-float32", tmp_path, samples=8)
    count = defective.data.counts["test"]
    chosen = np.sort(np.random.default_rng(1).permutation(count)[:8])
    images = np.load(defective.data.images("test"))[chosen].astype(np.float32)
    values: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for name in ("plain-float32", "plain-int8"):
        interpreter = Interpreter(
            str(defective.file(name)),
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        about = {d["name"]: d for d in interpreter.get_tensor_details()}
        runs: dict[str, list[Any]] = {}
        for image in images:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
            interpreter.invoke()
            for tensor in ("model/flatten/Reshape", "model/second/Conv2D"):
                runs.setdefault(tensor, []).append(interpreter.get_tensor(about[tensor]["index"]))
        values.append({tensor: np.stack(several) for tensor, several in runs.items()})
        details.append(about)
    scale, zero = details[1]["model/flatten/Reshape"]["quantization"]
    theirs = values[0]["model/flatten/Reshape"].astype(np.float64)
    ours = (values[1]["model/flatten/Reshape"].astype(np.float64) - zero) * scale
    row = next(t for t in diagnosis.tensors if t.name == "model/flatten/Reshape")
    assert row.snr_db == pytest.approx(10 * np.log10((theirs**2).sum() / ((ours - theirs) ** 2).sum()), abs=0.01)
    assert row.cosine == pytest.approx((ours * theirs).sum() / np.sqrt((ours**2).sum() * (theirs**2).sum()), abs=1e-5)
    assert (row.low, row.high) == pytest.approx((scale * (-128 - zero), scale * (127 - zero)), rel=1e-5)
    assert (row.float_low, row.float_high) == pytest.approx((theirs.min(), theirs.max()), rel=1e-5)
    assert row.saturated == pytest.approx((theirs > scale * (127.5 - zero)).mean(), abs=1e-9)
    assert row.own_snr_db == HIGHEST_DB  # it only moves values
    scales = details[1]["model/second/Conv2D"]["quantization_parameters"]["scales"].reshape(-1, 1, 1, 1)
    kernel = values[1]["model/second/Conv2D"][0].astype(np.float64) * scales
    exact = values[0]["model/second/Conv2D"][0].astype(np.float64)
    weight = next(t for t in diagnosis.tensors if t.name == "model/second/Conv2D" and t.kind == "weight")
    assert weight.snr_db == pytest.approx(10 * np.log10((exact**2).sum() / ((kernel - exact) ** 2).sum()), abs=0.01)


@pytest.mark.slow
def test_ai_edge_quantizer_files_are_compared_too(defective: Defective, tmp_path: Path) -> None:
    source = defective.file("plain-float32").read_bytes()
    samples = defective.data.rows("train")[:][:20].astype(np.float32)
    for scheme in ("int8", "weight-int8", "int4"):
        variant = Variant("tflite", scheme)
        path = tmp_path / f"{scheme}.tflite"
        content, _ = quantize(source, variant.scheme, lambda: ({"image": one[None]} for one in samples))
        path.write_bytes(content)
        artifact = replace(defective.artifact("plain-int8", scheme), id=scheme, path=path)
        diagnosis = diagnose(
            artifact, defective.file("plain-float32"), defective.data, samples=20, workspace=tmp_path / scheme
        )
        assert diagnosis.facts["unmatched"] == []
        weights = [t for t in diagnosis.tensors if t.kind == "weight" and t.dtype == variant.scheme.weights]
        kernels = [weight for weight in weights if np.prod(weight.shape) > 100]
        assert len(kernels) >= 4
        bounds = (12, 26) if scheme == "int4" else (38, 60)  # 6 dB a bit
        assert all(bounds[0] < (kernel.snr_db or 0) < bounds[1] for kernel in kernels), [k.snr_db for k in kernels]


def _renamed(path: Path, target: Path) -> Path:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        tensor.name = f"t{index}".encode()
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(bytes(builder.Output()))
    return target


@pytest.mark.slow
def test_tensors_are_matched_without_names(defective: Defective, tmp_path: Path) -> None:
    theirs = read_graph(defective.file("plain-float32"))
    named = match(read_graph(defective.file("plain-int8")), theirs)
    assert named.how == {"name": len(named.ops)}
    blind = match(read_graph(_renamed(defective.file("plain-int8"), tmp_path / "blind.tflite")), theirs)
    assert blind.ops == named.ops and blind.tensors == named.tensors and blind.unmatched == ()
    assert blind.how["weights"] >= 4 and not blind.how["name"]


@pytest.mark.slow
def test_dense_layers_as_convolutions_are_matched(defective: Defective, tmp_path: Path) -> None:
    path = tmp_path / "conv.tflite"
    path.write_bytes(dense_as_conv(defective.file("plain-dynamic").read_bytes()))
    ours, theirs = read_graph(path), read_graph(defective.file("plain-float32"))
    assert not any(op.name == "FULLY_CONNECTED" for op in ours.ops)
    matches = match(ours, theirs)
    dense = next(op for op in theirs.ops if op.name == "FULLY_CONNECTED")
    (ours_of_it,) = (p for p, q in matches.ops.items() if q == dense.position)
    assert ours.ops[ours_of_it].name == "CONV_2D"
    artifact = replace(defective.artifact("plain-dynamic", "dynamic-conv"), path=path)
    result = diagnose(
        artifact, defective.file("plain-float32"), defective.data, samples=10, workspace=tmp_path / "work"
    )
    assert result.suspicions == ()
    # What was put in between has no counterpart, and is said to have none.
    assert {one["operator"] for one in result.facts["unmatched"]} <= {"RESHAPE"}


@pytest.mark.slow
def test_another_models_float_file_is_told(defective: Defective, tmp_path: Path) -> None:
    matches = match(read_graph(defective.file("plain-int8")), read_graph(defective.file("shares-float32")))
    assert len(matches.ops) + len(matches.unmatched) == 8
    with pytest.raises((InputError, StageError), match="float"):
        look(defective, "plain-int8", "missing", tmp_path)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(defective.file("plain-float32").read_bytes()[:3000])
    with pytest.raises(InputError, match="damaged"):
        diagnose(defective.artifact("plain-int8"), damaged, defective.data, samples=2, workspace=tmp_path)


@pytest.mark.slow
def test_what_cannot_be_diagnosed_is_told(defective: Defective, tmp_path: Path) -> None:
    reference = defective.file("plain-float32")
    onnx = Artifact("m--onnx-int8", "m", "onnx", "int8", tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"only \.tflite"):
        diagnose(onnx, reference, defective.data, samples=2, workspace=tmp_path)
    for artifact in (defective.artifact("plain-float32"), defective.artifact("weights-float32")):
        with pytest.raises(InputError, match="nothing in it is quantized"):
            diagnose(artifact, reference, defective.data, samples=2, workspace=tmp_path)
    with pytest.raises(InputError, match="is the file to diagnose"):
        itself = defective.file("plain-int8")
        diagnose(defective.artifact("plain-int8"), itself, defective.data, samples=2, workspace=tmp_path)
    empty = replace(defective.data, counts={"train": 10})
    with pytest.raises(InputError, match="no test samples"):
        diagnose(defective.artifact("plain-int8"), reference, empty, samples=2, workspace=tmp_path)
    other = defective.artifact("plain-int8")
    texts = replace(other, contract=replace(other.contract, kind="text")) if other.contract else other
    with pytest.raises(InputError, match="takes text"):
        diagnose(texts, reference, defective.data, samples=2, workspace=tmp_path)


@pytest.mark.slow
def test_rewritten_files_compute_the_same(defective: Defective) -> None:
    """Taken apart and fed its own values, every operator gives what it gave; undisturbed, the answer is the answer."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    def opened(content: bytes) -> Any:
        interpreter = Interpreter(
            model_content=content,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        return interpreter

    path = defective.file("plain-float32")
    graph = read_graph(path)
    image = np.load(defective.data.images("test"))[:1].astype(np.float32)
    original = opened(path.read_bytes())
    original.set_tensor(graph.inputs[0], image)
    original.invoke()
    isolated = isolate_operators(graph, {})
    parts = opened(isolated.content)
    for (position, k), place in isolated.inputs.items():
        parts.set_tensor(place, original.get_tensor(graph.ops[position].inputs[k]))
    parts.invoke()
    results = [op.outputs[0] for op in graph.ops]
    for index in results:
        np.testing.assert_allclose(parts.get_tensor(index), original.get_tensor(index), atol=1e-6)
    answer = results[-2]
    disturbed = inject_errors(graph, results[:-1], [answer], {})
    model = opened(disturbed.content)
    model.set_tensor(graph.inputs[0], image)
    for index, place in disturbed.errors.items():
        model.set_tensor(place, np.zeros(graph.tensors[index].shape, np.float32))
    model.invoke()
    np.testing.assert_allclose(model.get_tensor(disturbed.answers[answer]), original.get_tensor(answer), atol=1e-5)
    model.set_tensor(disturbed.errors[answer], np.ones(graph.tensors[answer].shape, np.float32))
    model.invoke()
    np.testing.assert_allclose(model.get_tensor(disturbed.answers[answer]), original.get_tensor(answer) + 1, atol=1e-5)


@pytest.mark.slow
def test_a_run_keeps_rows_and_files_for_the_viewer(defective: Defective, tmp_path: Path) -> None:
    def row() -> dict[str, Any]:
        return diagnose_artifact(
            defective.artifact("hard-int8"), defective.file("hard-float32"), defective.data,
            samples=20, seed=1, store=Store(tmp_path / "store"), out=tmp_path, listener=Silent(),
        )  # fmt: skip

    first = row()
    entries = sorted((tmp_path / "store" / "diagnosis").iterdir())
    assert row() == first and sorted((tmp_path / "store" / "diagnosis").iterdir()) == entries
    hold_document("results.json: diagnoses", [first])
    stored = json.loads((tmp_path / first["path"]).read_text())
    assert from_json(Diagnosis, stored).suspicions[0].cause == first["suspicions"][0]["cause"] == "outlier-channel"
    assert len(first["worst"]) == 12 and len(first["tensors"]) == len(stored["tensors"])
    assert [t["position"] for t in first["tensors"]] == sorted(t["position"] for t in first["tensors"])
    viewer = json.loads((tmp_path / first["model_explorer"]).read_text())
    assert set(viewer) == {"main"} and set(viewer["main"]) == {"name", "results", "thresholds"}
    graph = read_graph(defective.file("hard-int8"))
    outputs = {graph.tensors[index].name for op in graph.ops for index in op.outputs}
    assert set(viewer["main"]["results"]) <= outputs and len(viewer["main"]["results"]) >= 8
    steps = [threshold["value"] for threshold in viewer["main"]["thresholds"]]
    assert steps == sorted(steps)


def _run_folder(defective: Defective, folder: Path) -> Path:
    """A run's folder as the pipeline leaves it, without its float32 file; return its int8 file."""
    import shutil

    from edgeproof.core.model import load_model
    from edgeproof.export import save

    model = load_model(defective.folder / "hard")
    shutil.copytree(defective.folder / "hard", folder / "models" / "hard")
    shutil.copytree(defective.data.folder, folder / ".store" / "data" / "entry")
    recipe = parse_recipe({"data": {"source": "x"}, "model": [{"name": "hard", "backbone": "keras:MobileNetV2"}]})
    (folder / "recipe.toml").write_text(recipe.to_toml())
    path = folder / "artifacts" / "hard--tflite-int8.tflite"
    path.parent.mkdir()
    shutil.copy(defective.file("hard-int8"), path)
    artifact = defective.artifact("hard-int8")
    save(
        replace(
            artifact, id="hard--tflite-int8", model="hard", path=path, labels=model.labels, parent_sha256=model.sha256
        ),
        path.parent,
    )
    return path


@pytest.mark.slow
def test_the_command_finds_what_a_run_knows(
    defective: Defective, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _run_folder(defective, tmp_path / "run")
    program.main(["diagnose", str(path), "--samples", "20", "--json"], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    hold_document("diagnose --json", document)
    assert document["suspicions"][0]["cause"] == "outlier-channel"
    assert document["source"].endswith("(test)")
    assert (tmp_path / "run" / "diagnosis" / "hard--tflite-int8.json").is_file()
    program.main(["diagnose", str(path), "--samples", "20"], standalone_mode=False)
    printed = " ".join(capsys.readouterr().out.split())
    assert "1. outlier-channel" in printed and "times that of the median channel" in printed
    assert printed.endswith("hard--tflite-int8.json")


@pytest.mark.slow
def test_the_command_asks_for_what_is_missing(
    defective: Defective, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(defective.file("unit-int8").read_bytes())
    with pytest.raises(InputError, match="samples are not known"):
        program.main(["diagnose", str(path)], standalone_mode=False)
    with pytest.raises(InputError, match="float32 file of model is not known"):
        program.main(["diagnose", str(path), "--data", "builtin:fashion-mnist-mini"], standalone_mode=False)
    program.main(
        ["diagnose", str(path), "--data", "builtin:fashion-mnist-mini", "--float",
         str(defective.file("plain-float32")), "--samples", "10", "--out", str(tmp_path / "out"), "--json"],
        standalone_mode=False,
    )  # fmt: skip
    assert json.loads(capsys.readouterr().out)["suspicions"][0]["cause"] == "preprocessing"


floats = st.floats(-100, 100, width=32)


@given(st.lists(floats, min_size=2, max_size=40), st.floats(-50, 0), st.floats(1, 50))
def test_storing_is_off_by_half_a_step_at_most_and_parts_add_up(values: list[float], low: float, high: float) -> None:
    sums = ErrorStats((low, high))
    exact = np.array(values, np.float32)
    step = (high - low) / 255
    inside = (exact >= low) & (exact <= high)
    stored = sums.store(exact)
    assert np.all(np.abs(stored - exact)[inside] <= step / 2 + 1e-4)
    assert np.all((stored >= low - 1e-4) & (stored <= high + 1e-4))
    ours = stored + np.float32(0.25)
    first, rest = sums.add_own(exact, ours)
    np.testing.assert_allclose(first + rest, ours - exact, atol=1e-5)


@given(st.floats(1e-6, 1e6), st.floats(0, 1e6))
def test_decibels(signal: float, noise: float) -> None:
    level = decibels(signal, noise)
    assert level is not None and level <= HIGHEST_DB
    assert decibels(signal, noise * 10 + 1e-3) <= level  # type: ignore[operator]
    assert decibels(0.0, noise) is None


def _row(name: str, kind: str, share: float | None, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "kind": kind, "operator": "CONV_2D", "position": 0, "shape": (4, 4), "dtype": "int8",
        "share": share, "snr_db": 40.0, "own_snr_db": 30.0, "float_low": 0.0, "float_high": 1.0, **more,
    }  # fmt: skip


def _result(*rows: dict[str, Any], agreement: float = 0.9, snr: float = 12.0) -> dict[str, Any]:
    return {"rows": list(rows), "agreement": agreement, "answer_snr_db": snr, "samples": 100}


def test_a_table_that_calibration_did_not_look_up_is_told_even_where_it_does_no_harm_yet() -> None:
    table = _row("table", "weight", 0.0, operator="GATHER", low=0.1, high=0.1, saturated=0.99)
    tensors, (only,) = find_causes(_result(table, agreement=1.0, snr=45.0), "int8")
    assert only.cause == "calibration" and "99.0% of the values" in only.why and tensors[0].cause == "calibration"


def test_damage_without_a_culprit_is_said_to_be_spread() -> None:
    rows = [_row(f"t{number}", "activation", 0.05) for number in range(20)]
    _, (only,) = find_causes(_result(*rows), "int8")
    assert "no single tensor dominates: 10 of 20" in only.why and len(only.tensors) == 10


def test_training_is_no_damage() -> None:
    row = _row("t", "weight", 0.9, snr_db=12.0, scales=4)
    assert find_causes(_result(row), "int8")[1][0].cause == "weights"
    assert find_causes(_result(row), "qat-int8")[1] == ()
    (only,) = find_causes(_result(row, agreement=0.5), "qat-int8")[1]
    assert "training and rounding" in only.why and "train longer" in only.remedy


def test_a_softmax_that_loses_a_right_answer_is_named() -> None:
    soft = _row("out", "activation", None, operator="SOFTMAX", own_snr_db=8.0)
    _, (only,) = find_causes(_result(_row("t", "activation", 0.5), soft, snr=40.0), "int8")
    assert "SOFTMAX" in only.why and "SNR of 8 dB" in only.why


def test_the_viewers_file_has_results_of_the_figure() -> None:
    tensors = (
        TensorError("a", "activation", "ADD", 0, (1,), "int8", own_snr_db=12.346),
        TensorError("w", "weight", "CONV_2D", 1, (1,), "int8", own_snr_db=40.0),
        TensorError("b", "activation", "MUL", 1, (1,), "int8"),
    )
    nodes = node_data(Diagnosis("m", "", "", "", 1, None, tensors, ()), "own_snr_db")
    assert nodes["main"]["results"] == {"a": {"value": 12.35}}
