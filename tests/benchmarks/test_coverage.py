"""The coverage matrix: one model of each family through its whole path, and the command around it.

A family is run here by the beginning of its first model, with every kind of its first layers: what fails in a family
is an operator or a kind of block, and those repeat. `python -m benchmarks coverage` runs the whole models.
"""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.variant import Variant
from edgeproof.train.families import BY_NAME, FAMILIES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _repository_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


# --- one model of each family -----------------------------------------------------------------------------------------

FIRST = 80  # layers; some families have 800, which take longer to build than all that follows


class _EnoughError(Exception):
    """Enough layers were built; its argument is a model of them."""


def kind_of(layer):
    """Return what kind of layer it is: its class, and what of its settings chooses operators."""
    settings = layer.get_config()
    keys = ("activation", "strides", "padding", "kernel_size", "dilation_rate", "groups", "axis", "interpolation")
    return type(layer).__name__, *(str(settings.get(key)) for key in keys)


def first_layers(build, arguments):
    """Return the first layers of a network that is built no further; they end with a picture-like activation."""
    import tf_keras as keras

    call, depth, built = keras.layers.Layer.__call__, 0, 0

    def counting(layer, *given, **others):
        nonlocal depth, built
        depth += 1
        try:
            output = call(layer, *given, **others)
        finally:
            depth -= 1
        built += depth == 0
        if not depth and built >= FIRST and like_a_picture(output):
            model = keras.Model(keras.utils.get_source_inputs(output), output)
            if len(model.layers) >= FIRST:  # of several branches the last one may be short
                raise _EnoughError(model)
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.layers.Layer, "__call__", counting)
        try:
            return build(**arguments)
        except _EnoughError as enough:
            return enough.args[0]


def like_a_picture(output) -> bool:
    return len(output.shape) == 4 and output.shape[1] > 1


def first_part(build):
    """Return a builder of the shortest beginning of a network that has every kind of its first layers."""

    def builder(**arguments):
        import tf_keras as keras

        network = first_layers(build, arguments)
        outer = [layer for layer in network.layers if not isinstance(layer, keras.Model)]
        ends = [layer for layer in outer if like_a_picture(layer.output)]
        kinds = {kind_of(layer) for layer in keras.Model(network.input, ends[-1].output).layers}
        parts = (keras.Model(network.input, layer.output) for layer in ends[1:])
        return next(part for part in parts if kinds <= {kind_of(layer) for layer in part.layers})

    return builder


# Each of these has layers of a kind that the others lack: squeezed channels and hard swish; preprocessing inside;
# cropping and separable convolutions; a layer of its own; layer norm and GELU; groups.
UNLIKE = ("MobileNetV3Small", "EfficientNetV2B0", "NASNetMobile", "InceptionResNetV2", "ConvNeXtTiny", "RegNetX002")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in UNLIKE else pytest.mark.thorough)
        for name in (*(family.names[0] for family in FAMILIES), "RegNetY002")
    ],
)
def test_each_family_trains_freezes_and_exports_to_files_that_agree(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.coverage.rows import SHORT, all_rows
    from benchmarks.coverage.worker import Row

    from edgeproof.frameworks.tensorflow import load

    _, keras = load()
    monkeypatch.setattr(keras.applications, name, first_part(getattr(keras.applications, name)))
    row = Row(next(row for row in all_rows() if row.id == f"keras:{name}"), tmp_path)
    for cell in ("model", *SHORT):
        result = row.make(cell)
        assert result["status"] == "ok", (cell, result)
    assert {Variant.parse(cell) for cell in SHORT} == {artifact.variant for artifact in row.files.values()}


# --- the command ------------------------------------------------------------------------------------------------------


def coverage(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "coverage", *arguments],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_model_of_tf_keras_applications_has_a_row_and_every_row_its_main_files() -> None:
    from benchmarks.coverage.rows import MODEL, REPRESENTATIVES, SHORT, all_rows, in_order

    rows = all_rows()
    assert {row.id for row in rows if row.kind == "keras"} == {f"keras:{name}" for name in BY_NAME}
    assert len({row.id for row in rows}) == len(rows) == len(in_order(rows))
    assert {BY_NAME[name].module for name in REPRESENTATIVES} == {family.module for family in FAMILIES}
    for row in rows:
        assert row.cells[0] == MODEL
        if row.kind == "keras":
            assert set(SHORT) < set(row.cells)
            assert len(row.cells) > 4 or row.id.removeprefix("keras:") not in REPRESENTATIVES
    order = [row.id for row in in_order(rows)]
    assert order[-1] == "keras:ConvNeXtXLarge" and order.index("keras:MobileNetV2") < order.index("keras:VGG16")


def test_the_page_in_the_docs_is_what_its_state_says(tmp_path: Path) -> None:
    state = tmp_path / "coverage.json"
    state.write_bytes((ROOT / "docs" / "coverage.json").read_bytes())
    coverage("--page-only", "--state", str(state))
    written = state.with_suffix(".md").read_text(encoding="utf-8").replace("`coverage.json`", "`docs/coverage.json`")
    assert written == (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")
    for arguments in (["--only", "keras:NoSuchNet"], ["--jobs", "0"], ["--state", str(broken), "--page-only"]):
        done = coverage(*arguments)
        assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "keras:NoSuchNet" in coverage("--only", "keras:NoSuchNet").stderr


def test_only_what_is_missing_or_failed_is_made_again(tmp_path: Path) -> None:
    from benchmarks.coverage.rows import all_rows, chosen
    from benchmarks.coverage.state import State

    (row,) = chosen(all_rows(), ("keras:VGG16",))
    assert len(chosen(all_rows(), ("keras:VGG*",))) == 2 == len(chosen(all_rows(), ("keras:VGG*",), ("hub:*",)))
    assert not chosen(all_rows(), ("keras:VGG*",), ("keras:*",))
    state, other = State(tmp_path / "state.json"), State(tmp_path / "state.json")
    assert state.missing(row) == row.cells
    state.put(row, {"model": {"status": "ok"}, "tflite:int8": {"status": "differs"}, "no such cell": {}}, {"a": "1"})
    other.put(replace(row, id="keras:VGG19"), {"model": {"status": "ok"}}, {})  # what the first wrote is kept
    again = State(tmp_path / "state.json")
    assert again.missing(row, skip=("onnx:int8",)) == tuple(
        cell for cell in row.cells if cell not in ("model", "tflite:int8", "onnx:int8")
    )
    assert again.missing(row, failed=True) == tuple(cell for cell in row.cells if cell != "model")
    assert again.missing(row, again=True) == row.cells
    assert "no such cell" not in again.rows[row.id]["cells"]
    again.put(row, {"tflite:int8": {"status": "ok"}}, {"a": "2"})
    assert again.cell(row, "tflite:int8") == {"status": "ok"} and again.cell(row, "model") == {"status": "ok"}


@pytest.mark.parametrize(
    ("seconds", "row_id", "status", "message"),
    [(0.05, "keras:VGG16", "timeout", "not done after"), (600.0, "keras:NoSuchNet", "crashed", "exit status 1")],
)
def test_a_row_that_takes_its_process_down_is_told_and_leaves_nothing(
    seconds: float, row_id: str, status: str, message: str, tmp_path: Path
) -> None:
    from benchmarks.coverage.process import Limits, run_row
    from benchmarks.coverage.rows import all_rows

    cells = {}
    row = replace(all_rows()[0], id=row_id)  # the worker does not know the second
    run_row(row, ("model", "tflite:int8"), Limits(seconds), tmp_path, stop=threading.Event(), keep=cells.update)
    assert cells["model"]["status"] == status and message in cells["model"]["reason"] and cells["model"]["remedy"]
    assert cells["tflite:int8"]["status"] == "skipped"
    assert not list(tmp_path.iterdir())


def test_what_is_ended_from_outside_is_not_a_result(tmp_path: Path) -> None:
    from benchmarks.coverage.process import Limits, run_row
    from benchmarks.coverage.rows import all_rows

    stop, results = threading.Event(), []
    stop.set()
    with pytest.raises(InterruptedError):
        run_row(all_rows()[0], ("model",), Limits(), tmp_path, stop=stop, keep=results.append)
    assert results == [{}] and not list(tmp_path.iterdir())


# --- how agreement is judged ------------------------------------------------------------------------------------------


def test_agreement_tells_a_right_file_from_a_wrong_or_a_constant_one() -> None:
    from benchmarks.coverage.agreement import agreement

    float32, float16, int8 = (Variant.parse(f"tflite:{scheme}") for scheme in ("float32", "float16", "int8"))
    rng = np.random.default_rng(0)
    answers = rng.dirichlet(np.ones(10), 8)
    same = agreement(answers, answers + 1e-6)
    assert not same.problem(float32) and same.top == 1.0 and same.similarity > 0.999
    assert same.difference == pytest.approx(1e-6 / answers.max())
    noisy = agreement(answers, answers + rng.normal(0, 0.01, answers.shape))
    assert noisy.problem(float32) and not noisy.problem(int8)
    constant = agreement(answers, np.tile(answers.mean(axis=0), (8, 1)))
    assert constant.similarity == pytest.approx(0, abs=1e-9) and "unlike" in constant.problem(int8)
    for broken in (np.full(answers.shape, np.nan), answers * np.inf):
        assert agreement(answers, broken).problem(float16) and agreement(answers, broken).problem(int8)
    assert agreement(answers[:, :1], answers[:, :1]).top is None
    with pytest.raises(ValueError, match="shape"):
        agreement(answers, answers[:, :9])


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_counts_marks_and_explains(tmp_path: Path) -> None:
    from benchmarks.coverage.page import markdown
    from benchmarks.coverage.rows import all_rows, chosen

    rows = chosen(all_rows(), ("keras:VGG1?",))
    done = {"date": "2026-01-02", "code": "c"}
    cells = {
        "model": {"status": "ok", **done},
        "tflite:float32": {"status": "ok", "maker": "converter", **done},
        "tflite:dynamic": {"status": "ok", "maker": "ai-edge-quantizer", **done},
        "onnx:float32": {
            "status": "failed", "reason": "no | kernel", "remedy": "use tflite:float16",
            "remedy_works": "tflite:float16", **done,
        },
        "tflite-runtime": {"status": "ok", "instead": {"tflite:dynamic": "tflite:dynamic-conv"}, **done},
    }  # fmt: skip
    page = markdown({"keras:VGG16": {"packages": {"tensorflow": "9.9"}, "cells": cells}}, rows)
    asked = sum(len(row.cells) for row in rows)
    assert f"**4 of {asked} cells are ✓, 1 are not, {asked - 5} were not run.**" in page
    assert "tensorflow 9.9" in page and "2026-01-02" in page
    line = next(line for line in page.splitlines() if line.startswith("| VGG16"))
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        "VGG16", "✓", "✓", "·", "✓¹", "·", "·", "·", "✗²", "·", "·", "✓³"
    ]  # fmt: skip
    assert "2. failed: no \\| kernel. Instead: use tflite:float16. tflite:float16 of this model was made" in page
    assert "tflite:dynamic-conv instead of tflite:dynamic" in page


def test_the_state_in_the_docs_has_no_row_that_is_not_in_the_matrix() -> None:
    from benchmarks.coverage.rows import all_rows

    cells_by_row = {row.id: row.cells for row in all_rows()}
    for row, result in json.loads((ROOT / "docs" / "coverage.json").read_text(encoding="utf-8"))["rows"].items():
        assert set(result["cells"]) <= set(cells_by_row[row])
