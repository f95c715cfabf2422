"""The sections on classes and disagreements: what is hurt is said in all reports, and hostile names do nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.results import Results
from edgeproof.report.content import Content
from edgeproof.report.html import render
from edgeproof.report.sections import classes, disagreements
from edgeproof.tasks.per_class import class_figures

from ..support.example_results import HOSTILE, Page, example, terminal, written

ID = "mobilenet--tflite-int8"


def with_classes(results: Results, count: int, labels: list[str], **changes: Any) -> Results:
    """Return results in which int8 loses 30 of the 60 samples of the first class to the second."""
    targets = np.repeat(np.arange(count), 60)
    tops = np.where((targets == 0) & (np.arange(len(targets)) < 30), 1, targets)
    figures = class_figures(np.eye(count)[tops], targets, labels, np.eye(count)[targets])
    figures = replace(figures, **changes)
    results.measurements = [
        replace(m, by_class=figures if m.artifact == ID else None) for m in results.measurements
    ]  # fmt: skip
    return results


@pytest.fixture(scope="module")
def hurt() -> Results:
    return with_classes(example(), 4, ["Shirt", "Coat", "Bag", "Dress"])


def test_the_hurt_class_is_named_in_every_report(hurt: Results, tmp_path: Path) -> None:
    words = "recall of Shirt falls by 50 points"
    assert words in terminal(hurt)
    html, markdown = written(hurt, tmp_path)
    assert words in markdown and words in Page(html).words
    assert '<strong class="hurt">−50.00</strong>' in html
    assert "precision of Coat falls by" in markdown


def test_the_same_figures_on_several_targets_are_shown_once(hurt: Results) -> None:
    (group,) = classes.groups(Content(hurt))["mobilenet"]
    assert classes.where(group) == "local/litert, local/tflite-runtime"
    html = render(hurt)
    assert html.count('class="confusion"') == 1
    assert html.count("Recall of each class</summary>") == 1


def test_files_that_answer_as_the_float_model_are_only_named() -> None:
    html = render(example())
    assert "Every answer is the float model’s: tflite:float32 on local/litert" in Page(html).words
    assert "savedmodel:float32" in Page(html).words


def test_of_many_classes_the_pairs_and_top_five_are_shown() -> None:
    html = render(with_classes(example(), 40, [f"class {n}" for n in range(40)]))
    assert 'class="confusion"' not in html
    assert "30 of 40 classes" in html
    assert '<th scope="row">class 0</th><td class="text">class 1</td><td>30</td><td>0</td>' in html
    assert "Among five" in html


def test_nothing_is_shown_where_nothing_is_known() -> None:
    results = example()
    results.measurements = [replace(m, by_class=None) for m in results.measurements]
    assert classes.SECTION.build(Content(results)) is None
    assert disagreements.SECTION.build(Content(results)) is None


def test_pictures_are_in_the_page_and_only_from_the_run(tmp_path: Path) -> None:
    results = example(folder=tmp_path)
    assert Page(render(results, tmp_path)).pictures
    assert not Page(render(results)).pictures, "the run's folder is not known"


def test_hostile_names_and_texts_are_shown_as_they_are(tmp_path: Path) -> None:
    count = len(HOSTILE)
    results = with_classes(example(labels=HOSTILE), count, HOSTILE)
    for m in results.measurements:
        if m.by_class:
            shown = tuple(replace(one, text=text) for one, text in zip(m.by_class.disagreements, HOSTILE, strict=False))
            spoiled = replace(m, by_class=replace(m.by_class, disagreements=shown))
            results.add_measurement(spoiled)
    html, markdown = written(results, tmp_path)
    page = Page(html)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert "<script>alert(1)</script>" in page.words
    assert "<script" not in markdown and "\u202e" not in html


def test_classes_of_an_emulated_target_say_so() -> None:
    results = with_classes(example(), 4, ["Shirt", "Coat", "Bag", "Dress"])
    assert "Class by class All of it is measured" in Page(render(results)).words
    emulated = next(m for m in results.measurements if m.artifact == ID and m.target == "local/tflite-runtime")
    results.add_measurement(replace(emulated, kind="emulated"))
    words = Page(render(results)).words
    assert "It is measured but for targets that say otherwise" in words
    assert "local/litert, local/tflite-runtime (emulated)" in words
