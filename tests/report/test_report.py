"""The reports: complete, well formed, self-contained, harmless whatever the names, and readable by people and tools.

The results are made up (`example`); what is tested is what the reports make of them.
"""

import csv
import io
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edgeproof.core.artifact import Operator
from edgeproof.core.codec import to_json
from edgeproof.core.measurement import Measurement, PooledDrop
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.results import Results, load_results
from edgeproof.evaluate.select import verdict
from edgeproof.report import problems, table
from edgeproof.report.content import Content
from edgeproof.report.html import SECTIONS
from edgeproof.report.html import render as render_html
from edgeproof.report.markdown import text as escape_markdown
from edgeproof.report.palette import PAGE
from edgeproof.report.sections.method import _environment
from edgeproof.report.templating import TEMPLATES

from ..support.example_results import HOSTILE, Page, example, section, terminal, written


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    results = example(folder=folder)
    return results, *written(results, folder)


def test_the_navigation_follows_the_sections(finished):
    """What is on the page is in the navigation, in the same order; what has nothing to show is in neither."""
    for results in (finished[0], Results(run={"name": "nothing yet"}, environment={})):
        html = render_html(results)
        shown = re.findall(r'<section id="([^"]+)">', html)
        links = re.findall(r'<a href="#([^"]+)">', re.search(r"<nav.*?</nav>", html, re.DOTALL)[0])
        assert links == shown == [section.id for section in SECTIONS if section.build(Content(results)) is not None]
    assert {"grid", "method"} <= set(shown) < {section.id for section in SECTIONS}, "an empty run has few sections"


def test_each_section_is_named_once_and_has_its_template():
    ids = [one.id for one in SECTIONS]
    assert len(set(ids)) == len(ids)
    for one in SECTIONS:
        assert f'<section id="{one.id}">' in (TEMPLATES / one.template).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run whose every free text is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    results = example(labels=HOSTILE)
    nasty = "".join(HOSTILE)
    results.run["name"] = nasty
    results.environment["cpu"] = nasty
    results.environment["packages"] = {nasty: nasty}
    results.data = {"source": nasty, "counts": {nasty: 3}, "report": {nasty: [nasty, {nasty: nasty}], "leaks": nasty}}
    results.models[0] |= {"name": nasty, "backbone": nasty, "provenance": {nasty: [nasty]}}
    results.artifacts = [replace(a, model=nasty, made_by=nasty, min_runtime=nasty) for a in results.artifacts]
    results.artifacts[-1] = replace(results.artifacts[-1], scheme=nasty, ops=(Operator(nasty, 1, 1),))
    results.measurements = [
        replace(m, runtime_version=nasty, **({} if m.status == "ok" else {"reason": nasty, "remedy": nasty}))
        for m in results.measurements
    ]
    results.recommendation["why"] = nasty
    return results, *written(results, folder)


def test_page_is_well_formed_with_unique_identifiers_and_links_that_lead_somewhere(finished, hostile):
    for _, html, _ in (finished, hostile):
        page = Page(html)
        assert len(page.ids) == len(set(page.ids))
        inside = {link.removeprefix("#") for link in page.links}
        assert inside <= set(page.ids)
        references = set(re.findall(r"url\(#([^)]+)\)", html))
        assert references
        assert references <= set(page.ids)


def test_page_needs_nothing_from_outside(finished, hostile):
    for _, html, _ in (finished, hostile):
        page = Page(html)
        assert all(link.startswith("#") for link in page.links)
        assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
        assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
        styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
        assert len(styles) == 1
        assert not re.search(r"@import|url\(", styles[0])
        policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv"))
        assert policy.startswith("default-src 'none'")
        assert "img-src data:" in policy


def test_hostile_names_are_shown_and_do_nothing(hostile):
    _, html, markdown = hostile
    words = Page(html).words
    for shown in ("<script>alert(1)</script>", "=cmd()", "👟 sneaker", "line break", "{{ 7*7 }} {% raw %}", "$x^2$"):
        assert shown in words
    labels = re.findall(r'<span class="label">(.*?)</span>', html)
    assert len(labels) == len(HOSTILE)
    assert "x" * 39 + "…" in labels
    assert "\u202e" not in html
    assert "49 {% raw %}" not in words
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert "@everyone" not in markdown
    assert "://example.org" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|") and "local/litert" in line]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}


def test_page_has_every_cell_with_its_status(finished):
    results, html, _ = finished
    grid = html[html.index('<table class="grid">') : html.index("</table>")]
    rows = re.findall(r'<tr>\s*<th scope="row">(.*?)</tr>', grid, re.DOTALL)
    assert len(rows) == len(results.artifacts) == 7
    assert sum(row.count("<td") for row in rows) == len(results.measurements) == 28
    assert grid.count(">–</span>") == 16
    assert grid.count("does not read tflite files") == 10
    for status in ("unsupported", "timeout"):
        assert grid.count(f'class="status {status}"') == 1
    assert grid.count("ship this") == 1
    assert grid.count("over budget") == 2 and grid.count("not shown to fit") == 1
    assert grid.count("ship here") == 2
    assert grid.count('class="kind measured"') == 10


def test_page_says_what_was_found(finished):
    results, html, _ = finished
    words = Page(html).words
    ship = results.recommendation
    assert (ship["artifact"], ship["target"]) == ("mobilenet--tflite-int8", "local/litert")
    assert "Ship tflite:int8 on local/litert" in words
    assert ship["why"] in words
    for phrase in (
        "accuracy drop at most 1 point", "set export.dense_per_channel = false", "no answer within 600 s",
        "package:mobilenet_v2", "1 × 96 × 96 × 3", "21.7 s for 13 epochs", "Ankle boot", "train/7/broken.png",
        "4,500", "200 training images", "FULLY_CONNECTED version 9, 1×", "ef" * 32, "6 fresh processes",
        "warms up for at least 0.2 s", "and is timed for 0.5 s",
            "Intel(R) Xeon(R)", "ai-edge-litert", "8.00 GiB",
    ):  # fmt: skip
        assert phrase in words


def test_drawings_follow_the_page_s_colours_and_tell_their_figures_in_words(finished):
    _, html, _ = finished
    drawings = re.findall(r'<svg class="plot (?:wide|narrow)".*?</svg>', html, re.DOTALL)
    assert len(drawings) == 6
    for drawing in drawings:
        label = re.search(r'role="img" aria-label="([^"]+)"', drawing)[1]
        assert re.search(r"tflite:int8 on local/litert 8\d\.\d %|over 13 epochs", label)
        assert not re.search(r"(?:fill|stroke): #(?!000000)[0-9a-f]{6}", drawing)
        assert "<text" in drawing
    for name, colour in PAGE.items():
        assert html.count(f"--{name}: {colour.light};") == html.count(f"--{name}: {colour.dark};") == 1
        assert colour.placeholder not in html


def test_report_is_the_same_again(tmp_path):
    results = example(folder=tmp_path)
    assert written(results, tmp_path) == written(results, tmp_path)


def test_report_of_saved_results_is_that_of_the_run(tmp_path):
    results = example(folder=tmp_path)
    results.save(tmp_path)
    assert written(results, tmp_path) == written(load_results(tmp_path), tmp_path)


def test_two_models_are_told_apart(tmp_path):
    results = example(models=("mobilenet", "efficientnet-lite0"))
    html, markdown = written(results, tmp_path)
    assert html.count('scope="rowgroup"') == 2
    assert "tflite:int8 of mobilenet" in Page(html).words
    assert "tflite:float16 of efficientnet-lite0" in markdown
    assert len(re.findall(r'<svg class="plot', html)) == 14


def test_what_an_app_has_to_set_for_the_file_stands_where_the_file_is_recommended(tmp_path):
    results = example()
    assert "x64quantprecision" not in "".join(written(results, tmp_path))
    for artifact in [a for a in results.artifacts if a.format == "onnx"]:
        results.add_artifact(replace(artifact, scheme="int8", bytes=2_000_000))
    results.budget, results.recommendation = verdict(results, Budget(max_bytes=2_100_000))
    assert results.recommendation["artifact"] == "mobilenet--onnx-float32"  # by its size
    html, markdown = written(results, tmp_path)
    words = '"session.x64quantprecision" = "1"'
    assert Page(html).words.count(words) == 2 and words in section(html, "files").words
    assert words.replace('"', "") in markdown.replace("\\", "").replace('"', "")
    assert "session.x64quantprecision" in terminal(results)


def test_what_is_not_shown_to_fit_is_nowhere_said_to_be_shipped(tmp_path):
    results = example(n=100)
    results.budget, results.recommendation = verdict(results, Budget())
    assert results.budget["verdict"] == "not shown"
    html, _ = written(results, tmp_path)
    words = Page(html).words
    assert "the best there is" in words and "budget not shown to be met" in words
    assert "ship this" not in html and "ship here" not in html and "Ship here" not in html
    assert "Not shown to fit: the samples are too few to tell." in words
    assert "Coloured: the best there is on that target, and not shown to fit." in words
    assert "Budget not shown to be met" in terminal(results)


@pytest.mark.parametrize("budget", [Budget(), None])
def test_where_nothing_ran_that_is_said_and_nothing_is_said_of_figures(tmp_path, budget):
    results = example()
    for m in results.measurements:
        if m.status == "ok":
            results.add_measurement(
                Measurement(artifact=m.artifact, target=m.target, device=m.device, runtime=m.runtime, status="crashed",
                            reason="it died of signal 11", remedy="run it elsewhere")
            )  # fmt: skip
    results.budget, results.recommendation = verdict(results, budget)
    html, markdown = written(results, tmp_path)
    words = Page(html).words
    assert markdown.startswith("## No file ran\n") and "No file ran." in terminal(results)
    assert "No file ran" in words and "fits the budget" not in words
    assert "nothing fits" not in words and "it ran, and misses a limit" not in words
    assert "then median latency of one inference" not in words and "A dash: that runtime does not read" in words
    assert "nothing ran" in words


def test_nothing_fits(tmp_path):
    results = example()
    results.budget, results.recommendation = verdict(results, Budget(max_bytes=1000))
    html, markdown = written(results, tmp_path)
    assert "Nothing fits the budget" in Page(html).words
    assert "budget not met" in Page(html).words
    assert markdown.startswith("## Nothing fits the budget\n")
    assert "is above the 1000 B allowed" in markdown


def test_a_run_that_has_only_begun_has_a_report_too(tmp_path):
    html, markdown = written(Results(run={}, environment={}), tmp_path)
    assert "the run has not ended" in Page(html).words
    assert "the run has not ended" in markdown
    assert problems(Results(run={}, environment={})) == []


def test_a_failed_export_is_one_problem_not_one_per_target(tmp_path):
    results = example()
    name = "mobilenet--tflite-int16x8"
    results.artifacts = [
        a.failed("failed", "the converter stopped", "train first") if a.id == name else a for a in results.artifacts
    ]
    results.measurements = [
        replace(m, status="skipped", reason="there is no file", accuracy=None, latency_ms=None)
        if m.artifact == name
        else m
        for m in results.measurements
    ]
    lines = [line for line in problems(results) if "int16x8" in line]
    assert lines == ["failed: tflite:int16x8: the converter stopped\n  → train first"]
    html, _ = written(results, tmp_path)
    assert "the converter stopped" in Page(html).words


def test_what_was_measured_before_a_device_disappeared_is_told_with_the_failure(tmp_path):
    results = example()
    gone = next(m for m in results.measurements if m.artifact == "mobilenet--tflite-int8" and m.status == "ok")
    away = replace(gone, status="crashed", reason="the connection to pi ended", remedy="run it again", latency_ms=None)
    results.measurements = [away if m is gone else m for m in results.measurements]
    html, markdown = written(results, tmp_path)
    figure = f"accuracy {100 * gone.accuracy:.1f} % ({gone.samples:,} samples, measured) stays"
    for text in ("\n".join(problems(results)), Page(html).words, markdown.replace("\\", "")):
        assert f"the connection to pi ended; {figure}" in text


@pytest.mark.parametrize("kind", ["emulated", "estimated"])
def test_figures_that_are_not_measured_are_labelled_so_everywhere(tmp_path, kind):
    results = example()
    results.measurements = [replace(m, kind=kind) for m in results.measurements]
    results.budget, results.recommendation = verdict(results, Budget())
    html, markdown = written(results, tmp_path)
    page = Page(html)
    badges = [
        attrs["class"] for tag, attrs in page.tags if tag == "span" and attrs.get("class", "").startswith("kind ")
    ]
    assert set(badges) == {f"kind {kind}"}
    chosen = kind != "estimated"  # what did not run is never recommended
    assert len(badges) == 10 + 10 + 1 + 1 + (4 + 3 if chosen else 0)
    assert "Hollow points" in page.words
    assert markdown.count(f"| {kind} |") == 10
    assert (f"MiB; {kind}." if chosen else "are estimates: nothing ran") in results.recommendation["why"]
    assert f"all {kind}" in terminal(results)
    results.measurements = [
        replace(m, kind="measured" if m.runtime == "litert" else kind) for m in results.measurements
    ]
    assert terminal(results).count(kind) >= 5, "where kinds differ, each row says its own"


def test_terminal_has_the_table_the_failures_and_the_answer(finished):
    results, _, _ = finished
    shown = terminal(results)
    rows = [line for line in shown.splitlines() if line.endswith("MiB")]
    assert len(rows) == 10 and "all measured" in shown
    assert [row.split()[1] for row in rows if row.startswith("→")] == ["tflite:int8"]
    assert "16 cells are empty by design" in shown
    assert "timeout: tflite:int16x8 on local/tflite-runtime: no answer within 600 s" in shown
    assert "→ raise evaluate.timeout_seconds" in shown
    assert "Ship tflite:int8 on local/litert." in shown
    assert (
        "Budget met (accuracy drop at most 1 point with its whole 95 % interval; p95 latency at most 40.0 ms)." in shown
    )


@pytest.mark.parametrize("width", [40, 60, 72, 80, 100, 160])
def test_the_file_is_named_whole_at_any_width(finished, width):
    results, _, _ = finished
    stream = io.StringIO()
    Console(file=stream, width=width, no_color=True).print(table(results, width))
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert max(map(len, lines)) <= width and "…" not in stream.getvalue()
    ran = [m for m in results.measurements if m.status == "ok"]
    for m in ran:
        variant = m.artifact.partition("--")[2].replace("-", ":", 1)
        assert sum(variant in line.split() and m.target in line.split() for line in lines) == 1
    shipped = lines.index(next(line for line in lines if line.startswith("→")))
    figures = " ".join(lines[shipped : shipped + 3])
    row = next(m for m in ran if results.recommendation["artifact"] == m.artifact)
    assert f"{100 * row.accuracy:.1f} %" in figures and " ms" in figures


def test_terminal_takes_names_for_words_and_honours_no_color(hostile, monkeypatch):
    results, _, _ = hostile
    assert "<script>" in terminal(results)
    assert "\x1b[" in terminal(results, force_terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", terminal(results, force_terminal=True))


def test_raw_files_outside_the_run_are_not_read(tmp_path):
    inside = tmp_path / "run"
    results = example(folder=tmp_path)
    results.measurements = [replace(m, raw=f"../{m.raw}") for m in results.measurements]
    html, _ = written(results, inside)
    assert "timed for 0.5 s" not in Page(html).words
    assert "Each process warms up first." in Page(html).words


@given(st.text())
def test_markdown_escape_leaves_one_line_without_markup(words):
    escaped = str(escape_markdown(words))
    assert len(escaped.splitlines()) <= 1
    assert "<" not in escaped
    bare = re.sub(r"\\.", "", escaped)
    assert not set("|`*_[]#~\\") & set(bare)
    assert "://" not in escaped


def test_which_samples_a_drop_is_of_is_said_in_every_output(tmp_path):
    results = example()
    drops = {
        "tflite-float16": PooledDrop(0.0001, -0.0009, 0.0011, 2500, {"test": 2000, "validation": 500}),
        "tflite-int8": PooledDrop(0.0015, -0.002, 0.005, 2000, {"test": 2000}),
        "tflite-float32": PooledDrop(0.0, 0.0, 0.0, 2500, {"test": 2000, "validation": 500}),
    }
    results.measurements = [
        replace(m, pooled_drop=drops.get(m.artifact.partition("--")[2])) if m.status == "ok" else m
        for m in results.measurements
    ]
    results.budget, results.recommendation = verdict(results, Budget(max_latency_ms=40))
    results.save(tmp_path)
    (html, markdown), shown = written(results, tmp_path), terminal(results)
    sentence = "rop against float on test and validation, 2,500 samples; that of tflite:int8 on test, 2,000 samples"
    words = Page(html).words
    assert f"d{sentence}." in words and "epochs of further training" in words
    assert f"d{sentence}." in markdown
    assert sentence in " ".join(shown.split())
    assert "−0.20 to +0.50 (95 % interval); test, 2,000 samples" in words, "of the recommended file"
    assert "−0.09 to +0.11" in words
    assert to_json(load_results(tmp_path).measurements) == to_json(results.measurements)
    rows = {(r["artifact"], r["target"]): r for r in csv.DictReader(io.StringIO(results.to_csv()))}
    row = rows["mobilenet--tflite-float16", "local/litert"]
    assert (row["pooled_drop"], row["pooled_samples"]) == ("0.0001", "2500")
    assert (row["pooled_splits"], row["agreement_by"]) == ("test and validation", "class")
    assert rows["mobilenet--onnx-float32", "local/onnxruntime"]["pooled_samples"] == ""


def test_the_battery_the_heat_and_the_screen_of_a_phone_stand_with_its_environment() -> None:
    phone = {"battery_percent": 84.0, "battery_celsius": 32.6, "charging": True, "thermal_status": 1, "screen": "on"}
    rows = dict(_environment(phone))
    assert rows == {"Battery": "84 %, charging, 33 °C", "Thermal status": "1 of 6", "Screen": "on"}
    assert _environment({"battery_percent": "x", "thermal_status": None, "screen": 3}) == []


def test_how_a_tool_was_timed_that_runs_in_threes_is_said() -> None:
    results = example()
    assert "three runs" not in render_html(results)
    timed = next(i for i, m in enumerate(results.measurements) if m.latency_ms)
    results.measurements[timed] = replace(
        results.measurements[timed], target="phone/benchmark-model", device="phone", runtime="benchmark-model"
    )
    assert "On phone/benchmark-model each burst is a process of the device’s own tool" in render_html(results)
