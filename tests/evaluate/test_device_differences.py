"""Where one file answers differently on two devices: which samples, by how much, and whether the class changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.codec import read_json, write_json
from edgeproof.core.dataset import PreparedData
from edgeproof.core.errors import InputError
from edgeproof.core.results import load_results
from edgeproof.evaluate.device_differences import LISTED, device_differences
from edgeproof.evaluate.measure import Answered

from ..support.example_results import HOSTILE, example, section, written

ARM = "emulated:arm64/litert"


def answered(folder: Path, name: str, values: list[list[float]]) -> Answered:
    path = folder / f"{name}.npy"
    np.save(path, np.asarray(values, np.float32))
    return Answered(answers=path)


def test_each_sample_is_compared_with_the_first_device_s(tmp_path: Path) -> None:
    results = example()
    row = next(m for m in results.measurements if m.target == "local/litert" and m.artifact.endswith("tflite-int8"))
    other = replace(row, target=ARM, device="emulated:arm64", kind="emulated", latency_ms=None)
    old = replace(row, target="local/tflite-runtime", runtime="tflite-runtime")
    here = answered(tmp_path, "here", [[0.75, 0.25], [0.5, 0.25], [0.25, 0.75], [0.5, 0.5]])
    arm = answered(tmp_path, "arm", [[0.75, 0.25], [0.25, 0.5], [0.25, 0.25], [0.5, 0.5]])
    cells = {(row.artifact, row.target): here, (row.artifact, ARM): arm, (row.artifact, old.target): here}
    (found,) = device_differences([row, old, other], cells, ("a", "b"))
    assert (found["target"], found["against"]) == (ARM, "local/litert"), "the same runtime, and not another device's"
    assert (found["samples"], found["identical"], found["classes_changed"]) == (4, 2, 2)
    assert found["largest"] == 0.5 and [one["sample"] for one in found["listed"]] == [2, 1]
    assert found["listed"][1] == {"sample": 1, "difference": 0.25, "class": 1, "class_against": 0}
    (without,) = device_differences([row, other], cells, ())
    assert without["classes_changed"] is None and without["listed"][0]["class"] is None
    assert device_differences([row, replace(other, status="failed")], cells, ()) == []
    many = answered(tmp_path, "many", [[float(i)] for i in range(200)])
    zeros = answered(tmp_path, "zeros", [[0.0]] * 200)
    (long,) = device_differences([row, other], {(row.artifact, row.target): zeros, (row.artifact, ARM): many}, ())
    assert len(long["listed"]) == LISTED and long["listed"][0]["sample"] == 199 and long["identical"] == 1
    shorter = answered(tmp_path, "shorter", [[0.0]])
    assert device_differences([row, other], {(row.artifact, row.target): zeros, (row.artifact, ARM): shorter}, ()) == []


@pytest.mark.parametrize("task", ["classification", "multilabel", "segmentation", "regression"])
def test_only_classifiers_have_classes_that_change(tmp_path: Path, task: str) -> None:
    """Of a tagger and of a segmenter the largest of all values names nothing."""
    row = next(m for m in example().measurements if m.target == "local/litert" and m.artifact.endswith("tflite-int8"))
    other = replace(row, target=ARM, device="emulated:arm64", kind="emulated", latency_ms=None)
    classes = PreparedData(tmp_path, "s", ("no", "yes"), 0, 0, "", {"test": 3}, "h", kind="tensor", task=task).classes
    here, arm = answered(tmp_path, "a", [[0.4], [0.6], [0.5]]), answered(tmp_path, "b", [[0.6], [0.7], [0.5]])
    (found,) = device_differences([row, other], {(row.artifact, row.target): here, (row.artifact, ARM): arm}, classes)
    assert (found["identical"], found["largest"]) == (1, pytest.approx(0.2))
    assert found["classes_changed"] == (1 if task == "classification" else None), "one sigmoid passes one half"


def test_the_report_shows_them_and_hostile_names_are_only_shown(tmp_path: Path) -> None:
    results = example(labels=HOSTILE)
    row = next(m for m in results.measurements if m.target == "local/litert" and m.artifact.endswith("tflite-int8"))
    results.add_measurement(replace(row, target=ARM, device="emulated:arm64", kind="emulated", latency_ms=None))
    base = {"artifact": row.artifact, "runtime": "litert", "target": ARM, "against": "local/litert", "samples": 2000}
    sample = {"sample": 7, "difference": 0.25, "class": 0, "class_against": 1}
    results.device_differences = [
        {**base, "identical": 1990, "largest": 0.25, "classes_changed": 1, "listed": [sample]}
    ]  # fmt: skip
    page, words = written(results, tmp_path)
    shown = section(page, "device-differences").words
    assert "1,990 of 2,000" in shown and "And 9 more" in shown and "emulated" in shown and "<script>" in shown
    assert "1,990 of 2,000" in words and "The same file on several devices" in words and "<script" not in words
    results.device_differences[0] |= {"identical": 2000, "largest": 0.0, "classes_changed": 0, "listed": []}
    page, _ = written(results, tmp_path)
    assert "All answers are identical" in section(page, "device-differences").words
    results.save(tmp_path)
    assert load_results(tmp_path).device_differences == results.device_differences
    document = read_json(tmp_path / "results.json")
    document["device_differences"][0]["identical"] = "many"
    write_json(tmp_path / "results.json", document)
    with pytest.raises(InputError, match="device_differences"):
        load_results(tmp_path)
