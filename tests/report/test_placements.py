"""What the reports say of accelerators: shares, operators that stayed on the CPU, and hostile names in both."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import from_json, to_json
from edgeproof.core.errors import InputError
from edgeproof.core.measurement import Measurement, Placement
from edgeproof.core.results import Results
from edgeproof.evaluate.select import verdict
from edgeproof.report import html, markdown

from ..support.example_results import HOSTILE, terminal

NASTY = "".join(HOSTILE)
PARTLY = Placement(34, 47, 13, {"QuantizeLinear": 12, NASTY: 1}, NASTY, True)


def results(placement: Placement | None) -> Results:
    artifact = Artifact("m--onnx-int8", "m", "onnx", "int8", Path("x"), bytes=10)
    names = {"onnxruntime": None, "onnxruntime-webgpu": placement}
    rows = [
        Measurement(
            artifact.id, f"local/{name}", "local", name, accuracy=0.9, accuracy_low=0.8, accuracy_high=1.0, samples=40,
            placement=placed, kind="emulated" if placed and placed.software else "measured",
        )
        for name, placed in names.items()
    ]  # fmt: skip
    made = Results(run={"name": "r"}, environment={}, artifacts=[artifact], measurements=rows)
    made.budget, made.recommendation = verdict(made, None)
    return made


def test_a_part_on_the_cpu_is_shown_everywhere_and_hostile_names_do_nothing() -> None:
    made = results(PARTLY)
    shown = terminal(made)
    assert (
        "accelerated" in shown and "72.3 %" in shown and "34 of 47 operators on the accelerator, in 13 parts" in shown
    )
    for page in (html.render(made), markdown.render(made)):
        assert "34 of 47 operators on the accelerator" in page and "12 QuantizeLinear" in page and "emulated" in page
        assert "<script>" not in page.replace("<script>\n", "")
    (cpu, gpu) = csv.DictReader(io.StringIO(made.to_csv()))
    assert (gpu["placement_delegated"], gpu["placement_operators"], gpu["placement_partitions"]) == ("34", "47", "13")
    assert cpu["placement_operators"] == ""


def test_a_whole_file_and_one_of_which_nothing_is_known_are_told_apart() -> None:
    whole = results(replace(PARTLY, delegated=47, kept={}, partitions=1, software=False, adapter="H200"))
    assert "100 %" in terminal(whole) and "operators on the accelerator" not in terminal(whole)
    assert "47 of 47 operators on the accelerator" in html.render(whole) and "H200" in html.render(whole)
    assert "what ran on the accelerator is not known" in terminal(results(None))


def test_runs_on_cpus_alone_say_nothing_of_accelerators() -> None:
    made = results(None)
    made.measurements = made.measurements[:1]
    for page in (terminal(made), html.render(made), markdown.render(made)):
        assert "accelerat" not in page


def test_a_placement_is_read_back_and_a_wrong_one_is_refused() -> None:
    row = results(PARTLY).measurements[1]
    assert from_json(Measurement, to_json(row), "row") == row
    with pytest.raises(InputError):
        from_json(Placement, {"delegated": -1, "operators": 3}, "placement")
