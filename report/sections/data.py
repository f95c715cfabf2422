"""The data section of the reports: splits, classes, what was left out and why, and what to do about it.

Results come from files: values may be of any type. What is not of the expected one is shown as it is, and so is each
part of the data check that this page does not know: no finding may be hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.sanitize import shorten
from ..content import NAME_LIMIT, REASON_LIMIT, Content
from ..section import Section

ITEMS_SHOWN = 40
DEPTH = 3
# Classes of which each has a row; of more, those with the fewest and the most samples.
_CLASSES = 30
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Table:
    """A table of the section: rows of words. `more` says what it leaves out."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: str = ""
    figures: bool = False


@dataclass(frozen=True)
class DataSection:
    """What the reports say of the data.

    `warnings` are (what, remedy). `tables` are classes and examples; `findings` (title, lines) the rest of the check.
    """

    facts: tuple[tuple[str, str], ...]
    splits: Table
    warnings: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    findings: tuple[tuple[str, tuple[str, ...]], ...]

    def __bool__(self) -> bool:
        return bool(self.facts or self.splits.rows or self.warnings or self.tables or self.findings)


def data_section(content: Content) -> DataSection:
    """Return what there is to say of the data of a run."""
    data = content.results.data
    report = dict(part) if isinstance(part := data.get("report"), Mapping) else {}
    facts = [("Source", shorten(str(data["source"]), 160))] if data.get("source") else []
    splits = _splits(content, _mapping(data.get("counts")), report)
    warnings = tuple(_warnings(report))
    tables = [*_classes(content, report), *_examples(content, report)]
    facts += _pictures(report)
    findings: list[tuple[str, tuple[str, ...]]] = []
    for key, value in report.items():
        if _says_nothing(value):
            continue
        if isinstance(value, Mapping | list | tuple):
            if lines := _lines(value):
                findings.append((title(key), tuple(lines)))
        else:
            facts.append((title(key), scalar(value)))
    return DataSection(tuple(facts), splits, warnings, tuple(tables), tuple(findings))


def _says_nothing(value: Any) -> bool:
    """Return whether a part of the check found nothing: no value, a count of 0, or a table of such."""
    if isinstance(value, Mapping):
        return all(map(_says_nothing, value.values()))
    return value in (None, "", 0) or (isinstance(value, list | tuple) and not value)


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _pop_table(report: dict[str, Any], key: str) -> Mapping[Any, Any]:
    """Remove and return a part of the check that has a place of its own, if it is a table of values."""
    return report.pop(key) if isinstance(report.get(key), Mapping) else {}


def _splits(content: Content, counts: Mapping[Any, Any], report: dict[str, Any]) -> Table:
    """Return a row for each split: how many samples it has, how many were left out, and how it came about."""
    how, listed = _pop_table(report, "splits"), _pop_table(report, "found")
    remaining = _pop_table(report, "kept")
    rows = []
    for split, n in counts.items():
        before, after = listed.get(split), remaining.get(split, n)
        left_out = before - after if isinstance(before, int) and isinstance(after, int) else 0
        rows.append((title(split), scalar(n), f"{left_out:,}" if left_out else "–", scalar(how.get(split, ""))))
    headings = ("Split", f"{title(content.noun)}s", "Left out", "How it came about")
    return Table("Splits", headings, tuple(rows), figures=True)


def _warnings(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the check warns of, with its remedy."""
    listed = report.get("warnings")
    if not isinstance(listed, list | tuple) or not all(isinstance(one, Mapping) and "what" in one for one in listed):
        return
    del report["warnings"]
    for one in listed:
        yield shorten(str(one["what"]), REASON_LIMIT), shorten(str(one.get("remedy", "")), REASON_LIMIT)


def _classes(content: Content, report: dict[str, Any]) -> Iterator[Table]:
    """Yield the classes, or the tags, with their samples in each split."""
    key, name, plural = ("tags", "Tag", "Tags") if report.get("tags") else ("classes", "Class", "Classes")
    classes = report.get(key)
    if not isinstance(classes, Mapping) or not classes or not all(isinstance(one, Mapping) for one in classes.values()):
        return
    del report[key]
    splits = tuple(dict.fromkeys(split for one in classes.values() for split in one))
    rows = [
        (shorten(str(label), NAME_LIMIT), *(scalar(one.get(s, 0)) for s in splits)) for label, one in classes.items()
    ]
    more = ""
    if len(rows) > _CLASSES:
        first = splits[0] if splits else ""
        order = sorted(classes, key=lambda label: n if isinstance(n := classes[label].get(first), int) else 0)
        chosen = {*order[: _CLASSES // 2], *order[-_CLASSES // 2 :]}
        rows = [row for row, label in zip(rows, classes, strict=True) if label in chosen]
        more = f"the {_CLASSES // 2} {key} with the fewest samples and those with the most; all are in results.json"
    headings = (name, *(title(split) for split in splits))
    yield Table(f"{plural} ({len(classes):,})", headings, tuple(rows), more=more, figures=True)


def _examples(content: Content, report: dict[str, Any]) -> Iterator[Table]:
    """Yield what was unreadable, in two splits, or labelled twice: a row for each example, with why."""
    noun = f"{content.noun}s"
    for key, heading, columns in (
        ("unreadable", f"Unreadable {noun}", {"file": "File", "split": "Split", "why": "Why it was left out"}),
        ("leaks", f"{title(noun)} in two splits", {"file": "File", "split": "Split", "same_as": "Same as", "in": "In"}),
        (
            "conflicts",
            f"{title(noun)} with two labels",
            {"file": "File", "label": "Label", "same_as": "Same as", "other_label": "Labelled"},
        ),
    ):
        part = report.get(key)
        examples = part.get("examples") if isinstance(part, Mapping) else None
        if not isinstance(part, Mapping) or not isinstance(examples, list | tuple):
            continue
        if not all(isinstance(one, Mapping) for one in examples):
            continue
        del report[key]
        rows = tuple(tuple(shorten(str(one.get(k, "")), 200) or "–" for k in columns) for one in examples)
        count = part.get("count")
        more = ""
        if isinstance(count, int) and count > len(rows):
            where = f" {shorten(str(part['list']))} names all" if part.get("list") else ""
            more = f"… and {count - len(rows):,} more.{where}"
        if rows:
            yield Table(f"{heading} ({scalar(count)})", tuple(columns.values()), rows, more=more)


def _pictures(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield in words what the check found of the pictures' sizes, modes and formats."""
    sizes = report.get("sizes")
    if isinstance(sizes, Mapping) and all(_is_size(sizes.get(key)) for key in ("smallest", "median", "largest")):
        del report["sizes"]
        smallest, median, largest = (f"{sizes[k][0]:,} × {sizes[k][1]:,}" for k in ("smallest", "median", "largest"))
        words = [smallest if smallest == largest else f"{smallest} to {largest}, median {median}"]
        labels = {
            "different": "different ones",
            "smaller_than_input": "smaller than the model's input",
            "longer_than_2_to_1": "more than twice as long as wide",
        }
        for key, what in labels.items():
            if isinstance(count := sizes.get(key), int) and count > (1 if key == "different" else 0):
                words.append(f"{count:,} {what}")
        yield "Sizes, pixels", "; ".join(words)
    for key, heading in (("modes", "Modes"), ("formats", "Formats")):
        if isinstance(counts := report.get(key), Mapping) and all(isinstance(n, int) for n in counts.values()):
            del report[key]
            if counts:
                yield heading, shorten(", ".join(f"{scalar(k)} {n:,}" for k, n in counts.items()), REASON_LIMIT)


def _is_size(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value)


def _lines(value: Any) -> list[str]:
    """Return a list or a dictionary of the data check as lines, cut to a bearable length."""
    if isinstance(value, Mapping):
        # A list of records, such as examples of what was found, has a line for each.
        lists = {k: v for k, v in value.items() if isinstance(v, list | tuple) and v and isinstance(v[0], Mapping)}
        lines = [f"{key}: {text}" for key, text in flat({k: v for k, v in value.items() if k not in lists})]
        lines += [line for records in lists.values() for line in map(_record, records)]
    else:
        lines = [_record(v) for v in value]
    more = len(lines) - ITEMS_SHOWN
    return [*lines[:ITEMS_SHOWN], f"… and {more:,} more, all in results.json"] if more > 0 else lines


def _record(value: Any) -> str:
    return ", ".join(f"{k}: {t}" for k, t in flat(value)) if isinstance(value, Mapping) else scalar(value)


def flat(value: Mapping[Any, Any], prefix: str = "", depth: int = DEPTH) -> list[tuple[str, str]]:
    """Return a table of values as (name, value) in words, tables within it with their names before their own."""
    rows: list[tuple[str, str]] = []
    for key, inner in value.items():
        name = f"{prefix}{title(key) if not prefix else shorten(str(key), 40)}"
        if isinstance(inner, Mapping) and depth > 0:
            rows += flat(inner, f"{name}, ", depth - 1)
        elif isinstance(inner, Sequence) and not isinstance(inner, str):
            if inner:
                rows.append((name, shorten(", ".join(scalar(v) for v in inner), REASON_LIMIT)))
        elif inner is not None and inner != "":
            rows.append((name, scalar(inner)))
    return rows


def title(key: Any) -> str:
    """Return a key as a heading."""
    text = shorten(str(key).replace("_", " "), 40)
    return text[:1].upper() + text[1:]


def scalar(value: Any) -> str:
    """Return a value in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return shorten(str(value), 200)


def _build(content: Content) -> dict[str, Any] | None:
    section = data_section(content)
    return {"data": section} if section else None


SECTION = Section("data", "Data", _build, "data.html.j2")
