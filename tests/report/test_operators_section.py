"""The section on where the time goes: bars, findings, what has no profile, and kernels without any profile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeproof.core.profile import KindTime, ProfileSummary
from edgeproof.core.results import Results
from edgeproof.report.content import Content
from edgeproof.report.html import render
from edgeproof.report.sections import operators

from ..support.example_results import HOSTILE, Page, example, section, written


def summary(scale: float = 1.0, **changes: Any) -> ProfileSummary:
    rows = (KindTime("CONV_2D", "xnnpack", 36, 0.6 * scale, 0.75, 24_500_000, 3 << 20),
            KindTime("SOFTMAX", "builtin", 1, 0.2, 0.25, 0, None))  # fmt: skip
    fields = {"engine": "LiteRT", "runs": 50, "threads": 1, "run_ms": 1.1, "operators_ms": 0.2 + 0.6 * scale,
              "kinds": rows, "findings": ("it is slow",), "path": "profile/x.json"}  # fmt: skip
    return ProfileSummary(**{**fields, **changes})


def with_profiles(**by_scheme: ProfileSummary) -> Results:
    results = example()
    schemes = {artifact.id: artifact.scheme for artifact in results.artifacts if artifact.format == "tflite"}
    results.measurements = [
        replace(m, profile=by_scheme.get(schemes.get(m.artifact, ""))) if m.target == "local/litert" else m
        for m in results.measurements
    ]
    return results


def test_each_profiled_file_has_bars_costs_and_findings() -> None:
    html = render(with_profiles(int8=summary()))
    words = section(html, "operators").words
    assert "36 × CONV_2D" in words and "24.5 M MACs" in words and "3.00 MiB" in words and "it is slow" in words
    assert 'style="width: 100.0%; background: var(--scheme-int8)"' in html and "width: 33.3%" in html
    assert "profile/x.json" in words and '<span class="kind measured">' in html


def test_the_operator_that_makes_a_file_slower_than_float_is_named() -> None:
    words = Page(render(with_profiles(float32=summary(), int8=summary(3.0)))).words
    assert "operators take 2.00 ms, those of tflite:float32 there 0.800 ms: most of the difference is CONV_2D" in words
    assert "1.80 ms instead of 0.600 ms" in words
    assert "most of the difference" not in Page(render(with_profiles(float32=summary(), int8=summary(1.1)))).words


def test_what_has_no_profile_says_why_once() -> None:
    missing = ProfileSummary(status="unsupported", reason="there is no profiler", remedy="elsewhere")
    words = Page(render(with_profiles(float16=summary(), int8=missing, int16x8=missing))).words
    assert "No profile of tflite:int8 on local/litert, tflite:int16x8 on local/litert: there is no profiler" in words


def test_kernels_are_told_of_runs_without_profiles() -> None:
    results = example()
    kernels = {"mobilenet--tflite-float32": "xnnpack", "mobilenet--tflite-int8": "builtin"}
    results.measurements = [
        replace(m, fingerprint={"kernels": kernels.get(m.artifact, "")}) for m in results.measurements
    ]
    words = Page(render(results)).words
    assert (
        "tflite:int8 on local/tflite-runtime runs in the runtime's own kernels: XNNPACK, which runs tflite:float32"
        in words
    )
    assert operators.SECTION.build(Content(example())) is None, "nothing is known"


def test_hostile_names_are_shown_and_do_nothing(tmp_path: Path) -> None:
    nasty = "".join(HOSTILE)
    rows = (KindTime(nasty, nasty, 1, 1.0, 1.0),)
    bad = summary(kinds=rows, findings=(nasty,), path=nasty, engine=nasty)
    html, _ = written(with_profiles(int8=bad), tmp_path)
    assert not {"script", "img"} & {tag for tag, _ in Page(html).tags}
    assert "<script>alert(1)</script>" in section(html, "operators").words
