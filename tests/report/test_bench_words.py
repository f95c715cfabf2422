"""What the bench says of itself in every report: what could be told apart, what disturbed it, ratios to the anchor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from edgeproof.core.measurement import LatencyRatio
from edgeproof.report.bench_words import bench_sentences
from edgeproof.report.html import render
from edgeproof.report.markdown import render as markdown
from edgeproof.report.table import summary

from ..support.example_results import Page, example

ANCHOR = "mobilenet--tflite-float32@local/litert"
BENCH: dict[str, Any] = {
    "anchor": ANCHOR, "resolution": 0.02, "seconds": 61.0, "blocks": 6, "certain": True, "told_apart": 0.012,
    "copy": {"anchor": ANCHOR, "ratio": 1.001, "low": 0.99, "high": 1.012, "confidence": 0.95,
             "verdict": "not distinguishable"},
    "disturbances": ["other processes ran: the load average was up to 3.1"],
}  # fmt: skip


def timed(bench: dict[str, Any]) -> Any:
    results = example()
    results.bench = [bench]
    ratio = LatencyRatio(ANCHOR, 0.532, 0.521, 0.544, 0.95, "faster")
    equal = LatencyRatio(ANCHOR, 1.004, 0.991, 1.017, 0.95, "not distinguishable")
    rows = [m for m in results.measurements if m.status == "ok"]
    results.add_measurement(replace(rows[0], latency_ratio=ratio))
    results.add_measurement(replace(rows[1], latency_ratio=equal))
    return results


def test_every_report_has_the_ratios_and_the_line_about_the_machine() -> None:
    results = timed(BENCH)
    console = Console(width=220, no_color=True, record=True)
    for part in summary(results, 220):
        console.print(part)
    for words in (console.export_text(), Page(render(results)).words, markdown(results).replace("\\", "")):
        text = " ".join(words.split())
        assert "could tell apart differences in latency of 1.2 % and more (6 blocks of fresh processes)" in text
        assert "a file against its copy: not distinguishable" in text
        assert "0.532×" in text and "= 1.004×" in text
        assert "disturbed" not in text and "not certain" not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"told_apart": 0.08}, "What disturbed it: other processes ran: the load average was up to 3.1."),
        ({"copy": {**BENCH["copy"], "verdict": "slower", "ratio": 1.02}}, "against its copy: 1.02×, wrongly slower."),
        ({"certain": False}, "not certain to 2.0 % after 61 s: raise evaluate.latency.max_seconds"),
        ({"blocks": 3}, "(3 blocks of fresh processes); a file against its copy: not distinguishable. Of so few"),
        ({"told_apart": None, "blocks": 1}, "no latencies can be told apart: raise evaluate.latency.processes"),
    ],
)  # fmt: skip
def test_what_the_bench_could_not_do_is_said(changes: dict[str, Any], words: str) -> None:
    assert words in " ".join(bench_sentences(timed({**BENCH, **changes})))


def test_hostile_words_of_a_run_are_texts() -> None:
    results = timed(
        {**BENCH, "told_apart": 0.5, "anchor": "<img src=x>", "disturbances": ["<script>alert(1)</script>"]}
    )
    assert "<script>alert" not in render(results) and "<img src=x" not in render(results)
    assert "<script>" not in markdown(results)
