"""The files on all devices in every report: a column a device, the worst device, the smallest set."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from edgeproof.core.formatting import size
from edgeproof.core.measurement import NpuEstimate
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.results import Results
from edgeproof.evaluate.fleet import fleet
from edgeproof.report.content import Content
from edgeproof.report.html import _breakable, _part
from edgeproof.report.markdown import render as markdown
from edgeproof.report.sections.fleet import SECTION, fleet_view
from edgeproof.report.table import fleet_parts
from edgeproof.report.templating import environment

from ..support.example_results import HOSTILE, Page, example

NPU = NpuEstimate(100, 0.9, 500, 1, 1, 1, 1, "a", "b", "c")


@pytest.fixture(scope="module")
def several() -> Results:
    """Files on this machine, a slower board, an emulated one and an NPU that is estimated."""
    results: Results = example()
    results.environments = {name: {} for name in ("local", "pi", "emulated:arm64", "ethos-u55")}
    for m in [m for m in results.measurements if m.runtime == "litert"]:
        slow = m.latency_ms and replace(m.latency_ms, median=9 * m.latency_ms.median, p95=9 * m.latency_ms.p95)
        results.add_measurement(replace(m, device="pi", target="pi/litert", latency_ms=slow))
        arm = {"device": "emulated:arm64", "target": "emulated:arm64/litert", "kind": "emulated", "latency_ms": None}
        results.add_measurement(replace(m, **arm))
        if m.artifact.endswith("-int8"):
            none = {"accuracy": None, "drop": None, "by_class": None, "samples": 0, "latency_ms": None, "npu": NPU}
            npu = {"device": "ethos-u55", "target": "ethos-u55/vela", "runtime": "vela", "kind": "estimated", **none}
            results.add_measurement(replace(m, **npu))
    results.fleet = fleet(results, Budget(max_latency_ms=40))
    return results


def page(results: Results) -> Page:
    """Return the section of the HTML report; empty where it is not there."""
    part = _part(SECTION, Content(results), environment(breakable=_breakable, size=size))
    return Page(str(part.html) if part else "")


def test_an_interval_without_bounds_is_said_and_not_printed(several: Results) -> None:
    worst = next(row["latency"] for row in several.fleet["worst"] if row["latency"])
    for high, words in ((2 * worst["times_limit"], "× to "), (1e8, "too few blocks for an interval")):
        worst |= {"low": 1e-10, "high": high}
        view = fleet_view(Content(several))
        assert view is not None and words in " ".join(row.latency for row in view.rows), high


def test_each_device_has_a_column_and_each_figure_its_kind(several: Results) -> None:
    view = fleet_view(Content(several))
    assert view is not None and view.devices == ("local", "pi", "emulated:arm64", "ethos-u55")
    int8 = next(row for row in view.rows if row.name == "tflite:int8")
    assert [cell.kind for cell in int8.cells] == ["measured", "measured", "emulated", "estimated"]
    assert [cell.state for cell in int8.cells] == ["pick", "pick", "pick", "ok"] and int8.cells[3].latency == "0.900 ms"
    assert int8.latency.startswith("within the limit wherever it ran; most on pi: p95 ")
    assert int8.accuracy == "82.2 % wherever it ran"
    slow = next(row for row in view.rows if row.name == "tflite:float32")
    assert slow.latency.startswith("pi: p95 ") and slow.cells[1].mark == "over budget"
    onnx = next(row for row in view.rows if row.name == "onnx:float32")
    assert [cell.state for cell in onnx.cells] == ["ok", "quiet", "quiet", "quiet"]


def test_all_reports_say_the_same(several: Results) -> None:
    words = page(several).words
    why = several.fleet["smallest_set"]["why"]
    text = markdown(several)
    assert why in words and "tflite:int8 for local, pi and emulated:arm64" in why
    assert "Every file on every device" in text and "| local | pi | emulated:arm64 | ethos-u55 |" in text
    assert words.count("estimated") >= 1 and "Of an estimator's device nothing was run." in words
    for width in (60, 200):
        console = Console(width=width, record=True, file=io.StringIO())
        for part in fleet_parts(Content(several), width):
            console.print(part)
        shown = " ".join(console.export_text().split())
        assert why in shown and "82.2 % (emulated)" in shown and "0.900 ms (estimated)" in shown


def test_one_device_has_no_such_section() -> None:
    results = example()
    assert fleet(results, Budget()) == {} and not page(results).tags
    assert "on every device" not in markdown(results) and fleet_parts(Content(results)) == []


def test_a_hostile_name_is_text_everywhere(several: Results) -> None:
    def renamed(value: object, name: str) -> object:
        if isinstance(value, dict):
            return {key: renamed(one, name) for key, one in value.items()}
        if isinstance(value, list):
            return [renamed(one, name) for one in value]
        return value.replace("pi", name) if value in ("pi", "pi/litert") else value

    usual = [tag for tag, _ in page(several).tags if tag != "wbr"]
    for name in filter(None, HOSTILE):
        rows = [
            replace(m, device=name, target=f"{name}/litert") if m.device == "pi" else m for m in several.measurements
        ]
        results = replace(several, measurements=rows, fleet=renamed(several.fleet, name))
        assert [tag for tag, _ in page(results).tags if tag != "wbr"] == usual
        text = markdown(results)
        assert "<script>" not in text and "<img" not in text
