"""The reports' data section: tables a person can read, remedies, names of what was left out; nothing is hidden."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproof.core.results import Results
from edgeproof.report.content import Content
from edgeproof.report.html import render as render_html
from edgeproof.report.markdown import render as render_markdown
from edgeproof.report.sections.data import data_section

REPORT: dict[str, Any] = {
    "listed": 130,
    "splits": {"train": "given", "validation": "cut off by seed 1: 0.1 of each class", "test": "given"},
    "found": {"train": 104, "validation": 10, "test": 20},
    "kept": {"train": 100, "validation": 10, "test": 20},
    "unreadable": {
        "count": 24,
        "list": "unreadable.csv",
        "examples": [{"file": f"cat/{i}.jpg", "split": "train", "why": "truncated"} for i in range(20)],
    },
    "duplicates": 0,
    "leaks": {"count": 1, "examples": [{"file": "a.png", "split": "train", "same_as": "b.png", "in": "test"}]},
    "duplicates_within": {"train": 0, "validation": 0, "test": 0},
    "conflicts": {"count": 0, "examples": []},
    "sizes": {
        "smallest": [28, 20],
        "median": [64, 64],
        "largest": [1280, 720],
        "different": 7,
        "smaller_than_input": 3,
    },
    "modes": {"L": 30, "RGB": 104},
    "formats": {"JPEG": 134},
    "animated": 2,
    "classes": {f"class {n}": {"train": 10, "validation": 1, "test": 2} for n in range(10)},
    "warnings": [{"what": "24 images could not be read: cat/0.jpg and 23 more", "remedy": "mend or remove them"}],
    "unheard_of": {"answer": 42},
}


def results(report: Any) -> Results:
    created = Results(run={"name": "r"}, environment={})
    created.data = {
        "source": "folder:pictures", "counts": {"train": 100, "validation": 10, "test": 20}, "report": report
    }  # fmt: skip
    return created


def test_the_data_are_told_in_tables_and_words() -> None:
    section = data_section(Content(results(REPORT)))
    assert dict(section.facts) == {
        "Source": "folder:pictures",
        "Sizes, pixels": "28 × 20 to 1,280 × 720, median 64 × 64; 7 different ones; 3 smaller than the model's input",
        "Modes": "L 30, RGB 104",
        "Formats": "JPEG 134",
        "Listed": "130",
        "Animated": "2",
    }
    assert section.splits.rows == (
        ("Train", "100", "4", "given"),
        ("Validation", "10", "–", "cut off by seed 1: 0.1 of each class"),
        ("Test", "20", "–", "given"),
    )
    classes, unreadable, leaks = section.tables
    assert classes.headings == ("Class", "Train", "Validation", "Test") and len(classes.rows) == 10
    assert classes.rows[3] == ("class 3", "10", "1", "2")
    assert unreadable.rows[0] == ("cat/0.jpg", "train", "truncated")
    assert unreadable.more == "… and 4 more. unreadable.csv names all"
    assert leaks.title.endswith("in two splits (1)") and leaks.rows == (("a.png", "train", "b.png", "test"),)
    assert section.warnings == ((REPORT["warnings"][0]["what"], "mend or remove them"),)
    assert section.findings == (("Unheard of", ("Answer: 42",)),), "what this page does not know is shown all the same"


def test_both_reports_have_the_section() -> None:
    example = results(REPORT)
    markdown, page = render_markdown(example), render_html(example)
    assert "### Data" in markdown and "| Validation | 10 | – | cut off by seed 1: 0.1 of each class |" in markdown
    assert "| class 3 | 10 | 1 | 2 |" in markdown and "| cat/0.jpg | train | truncated |" in markdown
    for part in ("24 images could not be read", "mend or remove them", "unreadable.csv names all"):
        assert part in markdown and part in page
    assert "Answer: 42" in page and "<th scope" in page[page.index('id="data"') :]


def test_of_many_classes_the_smallest_and_largest_are_shown() -> None:
    many = {f"class {n}": {"train": n, "test": 1} for n in range(500)}
    (table,) = data_section(Content(results({"classes": many}))).tables
    shown = [row[0] for row in table.rows]
    assert shown == [f"class {n}" for n in (*range(15), *range(485, 500))]
    assert table.title == "Classes (500)" and "results.json" in table.more


@pytest.mark.parametrize("key", sorted(REPORT))
@pytest.mark.parametrize(
    "value", [None, 3, "word", [1], ["x"], {}, {"examples": 3}, {"count": [], "examples": [{}]}, [{}]]
)
def test_a_part_of_any_type_breaks_no_report(key: str, value: Any) -> None:
    changed = results({**REPORT, key: value})
    data_section(Content(changed))
    if value == "word":
        assert "word" in str(data_section(Content(changed)))
        assert "word" in render_html(changed)


def test_a_run_without_data_has_no_section() -> None:
    empty = Results(run={"name": "r"}, environment={})
    assert not data_section(Content(empty))
    assert "### Data" not in render_markdown(empty) and 'id="data"' not in render_html(empty)
