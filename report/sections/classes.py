"""Class by class: which classes quantization hurts, what is mistaken for what, and how sure the answers are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.class_figures import Calibration, ClassFigures, ClassRow, ClassShare, TopFive
from ...core.formatting import p_value, percent, percent_range, points, points_range, signed_points
from ...core.sanitize import shorten
from ...evaluate.cells import Cell
from ...tasks.per_class import LEVEL, Hurt, Side, hurt_classes
from ..content import NAME_LIMIT, Content
from ..section import Section

NAMED = 3
# Classes with a row in the tables of recalls and precisions; of more those that lose most.
_ROWS = 30
_LABEL = 28


@dataclass(frozen=True)
class Group:
    """Cells of one file whose answers have the same figures by class: the same file on several targets."""

    cells: tuple[Cell, ...]
    figures: ClassFigures

    @property
    def is_float(self) -> bool:
        """Whether this is the float model itself."""
        return self.cells[0].artifact.format == "savedmodel"

    @property
    def is_same(self) -> bool:
        """Whether it gives every sample the float model's answer."""
        return self.figures.disagreed == 0


@dataclass(frozen=True)
class Mark:
    """A cell of the table: its words, the interval, and whether the class is hurt."""

    text: str
    interval: str = ""
    hurt: bool = False


@dataclass(frozen=True)
class Shares:
    """The table of one side (recall or precision): a row for each class, a column for each file."""

    side: str
    reference: str
    files: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, str, Mark, tuple[Mark, ...]], ...]
    more: str


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: for each class its label and (count, share of the class) of each answer."""

    name: str
    where: str
    labels: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[int, float], ...]], ...]
    pairs: tuple[tuple[str, str, int, str], ...]
    is_open: bool


def groups(content: Content) -> dict[str, list[Group]]:
    """Return for each model its files that have figures by class."""
    found: dict[str, list[Group]] = {}
    for cell in content.cells:
        figures = cell.measurement.by_class
        if figures is None or cell.measurement.status != "ok":
            continue
        of_model = found.setdefault(cell.artifact.model, [])
        same = next((g for g in of_model if g.cells[0].artifact is cell.artifact and g.figures == figures), None)
        if same:
            of_model[of_model.index(same)] = Group((*same.cells, cell), figures)
        else:
            of_model.append(Group((cell,), figures))
    return found


def kind_of_all(shown: Iterable[Group]) -> str:
    """Return ``measured``, ``emulated`` or ``estimated`` where all figures of some groups are of that kind, else ""."""
    kinds = {cell.measurement.kind for group in shown for cell in group.cells}
    return kinds.pop() if len(kinds) == 1 else ""


def where(group: Group) -> str:
    """Return the targets of a group, with the kind of the figures where they are not measured."""
    rows = [cell.measurement for cell in group.cells]
    kinds = [f" ({m.kind})" if m.kind != "measured" else "" for m in rows]
    return ", ".join(f"{shorten(m.target, NAME_LIMIT)}{kind}" for m, kind in zip(rows, kinds, strict=True))


def hurt_lines(content: Content) -> list[str]:
    """Return a line for each file with classes that lose recall or precision beyond chance."""
    lines = []
    for of_model in groups(content).values():
        for group in of_model:
            if hurt := hurt_classes(group.figures):
                more = f", and {len(hurt) - NAMED} more" if len(hurt) > NAMED else ""
                words = "; ".join(map(hurt_words, hurt[:NAMED]))
                lines.append(f"{_named(content, group)}: {words}{more}")
    return lines


def hurt_words(hurt: Hurt) -> str:
    """Return what a class loses: ``recall of Shirt falls by 6 points (95 % interval +2.10 to +9.90, p < 0.001)``."""
    share = hurt.share
    interval = points_range(share.drop_low, share.drop_high)
    corrected = p_value(share.p_holm or 0.0)
    return (
        f"{hurt.side} of {shorten(hurt.row.label, NAME_LIMIT)} falls by {points(share.drop or 0.0)} "
        f"(95 % interval {interval}, {corrected})"
    )


def _build(content: Content) -> dict[str, Any] | None:
    by_model = groups(content)
    if not by_model:
        return None
    return {
        "kind": kind_of_all(group for of_model in by_model.values() for group in of_model),
        "hurt": hurt_lines(content),
        "is_compared": any(group.figures.disagreed is not None for g in by_model.values() for group in g),
        "level": f"{100 * LEVEL:g} %",
        "models": [_model(content, model, of_model) for model, of_model in by_model.items()],
    }


_SIDES: tuple[Side, ...] = ("recall", "precision")


def _model(content: Content, model: str, of_model: Sequence[Group]) -> dict[str, Any]:
    """Return what is shown of one model: files that answer as the float model does are only named."""
    reference = next((g for g in of_model if g.is_float), None) or next((g for g in of_model if g.is_same), None)
    others = [g for g in of_model if g is not reference and not g.is_same]
    distinct = ([reference] if reference else []) + others
    first = next((g for g in distinct if content.ship in g.cells), others[0] if others else distinct[0])
    return {
        "name": shorten(model, NAME_LIMIT) if content.several else "",
        "same": [_named(content, g) for g in of_model if g.is_same and g is not reference],
        "tables": [table for side in _SIDES if (table := _shares(content, reference, others, side))],
        "matrices": [_matrix(content, group, group is first) for group in distinct],
        "certainty": [_certainty(content, group) for group in of_model],
        "top_five": any(group.figures.top_five for group in of_model),
    }


def _named(content: Content, group: Group) -> str:
    return f"{content.name(group.cells[0].artifact)} on {where(group)}"


def _shares(content: Content, reference: Group | None, others: Sequence[Group], side: Side) -> Shares | None:
    """Return the table of a side, with the float model first; None where no class has samples."""
    shown = [*others] or ([reference] if reference else [])
    of_model = [reference, *others] if reference else shown
    numbers = _chosen(shown, side)
    if not numbers:
        return None
    named = {row.number: row for g in of_model for row in g.figures.rows}
    by_group = {id(g): {row.number: row for row in g.figures.rows} for g in of_model}
    rows = tuple(
        (
            shorten(named[n].label, _LABEL),
            f"{named[n].samples:,}",
            _plain(_side(by_group[id(reference)].get(n), side)) if reference else Mark("–"),
            tuple(_mark(_side(by_group[id(g)].get(n), side)) for g in shown),
        )
        for n in numbers
    )
    total = of_model[0].figures.classes
    more = f"{len(rows)} of {total:,} classes: those that lose most; results.json has more" if total > len(rows) else ""
    if not others:  # the column of the float model says it all
        return Shares(side, where(shown[0]), (), tuple((*row[:3], ()) for row in rows), more)
    names = tuple((content.name(g.cells[0].artifact), where(g)) for g in shown)
    return Shares(side, where(reference) if reference else "", names, rows, more)


def _chosen(shown: Iterable[Group], side: Side) -> list[int]:
    """Return the numbers of the classes with a row: all, or those that may lose most in any of the files."""
    worst: dict[int, float] = {}
    for group in shown:
        for row in group.figures.rows:
            share = _side(row, side)
            lost = share.drop_low if share and share.drop_low is not None else -1.0
            worst[row.number] = max(worst.get(row.number, -1.0), lost)
    chosen = sorted(worst, key=lambda n: -worst[n])[:_ROWS]
    return sorted(chosen) if len(worst) <= _ROWS else chosen


def _side(row: ClassRow | None, side: Side) -> ClassShare | None:
    if row is None:
        return None
    return row.recall if side == "recall" else row.precision


def _plain(share: ClassShare | None) -> Mark:
    return Mark(percent(share.value), percent_range(share.low, share.high)) if share else Mark("–")


def _mark(share: ClassShare | None) -> Mark:
    if share is None or share.drop is None:
        return _plain(share)
    hurt = share.drop > 0 and share.p_holm is not None and share.p_holm < LEVEL
    return Mark(signed_points(-share.drop), points_range(-_end(share.drop_high), -_end(share.drop_low)), hurt)


def _end(value: float | None) -> float:
    return 0.0 if value is None else value


def _matrix(content: Content, group: Group, is_open: bool) -> Matrix:
    figures = group.figures
    labels = tuple(shorten(row.label, _LABEL) for row in figures.rows) if figures.confusion else ()
    rows = tuple(
        (label, tuple((count, count / max(1, sum(counts))) for count in counts))
        for label, counts in zip(labels, figures.confusion, strict=False)
    )
    pairs = tuple(
        (shorten(pair.label, _LABEL), shorten(pair.answer, _LABEL), pair.samples, _before(pair.reference))
        for pair in figures.confused
    )
    return Matrix(content.name(group.cells[0].artifact), where(group), labels, rows, () if rows else pairs, is_open)


def _before(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def _certainty(content: Content, group: Group) -> dict[str, str]:
    figures = group.figures
    return {
        "name": content.name(group.cells[0].artifact),
        "where": where(group),
        **_calibration(figures.calibration),
        **_top_five(figures.top_five),
    }


def _calibration(one: Calibration | None) -> dict[str, str]:
    if one is None:
        return {"error": "–", "beyond": "", "chance": "–", "over": "–", "over_interval": ""}
    return {
        "error": percent(one.error),
        "beyond": "beyond chance" if one.error > one.chance else "as chance has it",
        "chance": percent(one.chance),
        "over": signed_points(one.overconfidence),
        "over_interval": points_range(one.overconfidence_low, one.overconfidence_high),
    }


def _top_five(one: TopFive | None) -> dict[str, str]:
    if one is None:
        return {"top": "–", "top_interval": "", "top_drop": "–", "top_drop_interval": ""}
    return {
        "top": percent(one.value),
        "top_interval": percent_range(one.low, one.high),
        "top_drop": signed_points(one.drop) if one.drop is not None else "–",
        "top_drop_interval": points_range(one.drop_low, one.drop_high),
    }


SECTION = Section("classes", "Classes", _build, "classes.html.j2")
