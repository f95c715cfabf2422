"""The terminal's report: a table of what ran, what did not and why, and the recommendation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..core.formatting import by_design_words
from ..core.results import Results
from ..core.sanitize import shorten
from .bench_words import bench_sentences
from .content import Content
from .headline import headline
from .sections.classes import hurt_lines
from .sections.figures import figure_rows
from .sections.fleet import DeviceCell, fleet_view
from .sections.problems import problems as problem_rows
from .sections.recommendations import brief, choices
from .sections.runtimes import placements
from .widths import filled, first_that_fits

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def summary(results: Results, width: int | None = None) -> list[RenderableType]:
    """Return what the terminal shows at the end of a run: table, failures, comparison of models, recommendation.

    `width` is the terminal's (default: what rich finds). Names from outside are plain text in it, never markup.
    """
    from rich.text import Text

    content = Content(results)
    parts: list[RenderableType] = []
    if words := caption(content):
        # Not the table's own caption, which is broken at the table's width.
        parts += [table(results, width), Text(words, style="dim")]
        parts += [*(Text(sentence, style="dim") for sentence in bench_sentences(results)), ""]
    if content.by_design():
        parts += [Text(f"{by_design_words(content.by_design())}."), ""]
    partly = [Text(line, style="yellow") for line in on_accelerators(content)]
    failed = [Text(line, style="red" if not line.startswith("unsupported") else "yellow") for line in problems(results)]
    sentences = [Text(shorten(str(row["sentence"]), 2000)) for row in results.comparisons if row.get("sentence")]
    hurt = [Text(line) for line in hurt_lines(content)]
    several = fleet_parts(content, width)
    parts += [*several, ""] if several else []
    for lines in (partly, failed, sentences, hurt, [Text(line) for line in by_target(content)]):
        parts += [*lines, ""] if lines else []
    parts += [Text(recommendation(results), style="bold" if _is_settled(content) else "bold yellow")]
    return parts


def _is_settled(content: Content) -> bool:
    """Whether nothing is left to do: a file is shown to fit the budget, or there is none."""
    return headline(content).verdict in ("", "met")


def on_accelerators(content: Content) -> list[str]:
    """Return a line for each file of which an accelerator does not run all."""
    return [f"{row.name} on {row.target}: {row.words}" for row in placements(content) if not row.whole]


def by_target(content: Content) -> list[str]:
    """Return a line for each target: the file to ship there, or why none, or its Pareto front; nothing for one."""
    by_target = choices(content)
    if len(by_target) < 2:
        return []
    return [f"on {choice.target}: {brief(choice)}" for choice in by_target]


def fleet_parts(content: Content, width: int | None = None) -> list[RenderableType]:
    """Return the files on all devices, a column a device, and the fewest files that serve all; nothing for one device.

    Where the terminal is too narrow for the table, a file's devices stand below it.
    """
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

    view = fleet_view(content)
    if view is None:
        return []
    grid = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("on all devices", *view.devices, fleet_heading(content)):
        grid.add_column(Text(heading), no_wrap=True)
    lines: list[RenderableType] = []
    for row in view.rows:
        words = [_on_device(cell) for cell in row.cells]
        grid.add_row(Text(row.name), *(Text(one) for one in words), Text(row.where))
        lines.append(Text(row.name))
        lines += [Text(f"    {name}: {one}", style="dim") for name, one in zip(view.devices, words, strict=True)]
        lines.append(Text(f"    {fleet_heading(content)}: {row.accuracy}", style="dim"))
    shown = first_that_fits([grid], Console().width if width is None else width, Group(*lines))
    return [shown, *([Text(view.why)] if view.why else [])]


def fleet_heading(content: Content) -> str:
    """Return what the column of each file's worst device is called."""
    return f"{'lowest' if content.metric.better == 'higher' else 'highest'} {content.metric.name}"


def _on_device(cell: DeviceCell) -> str:
    """Return a cell of `fleet_parts`: its figures, with their kind unless they were measured."""
    if cell.state not in ("ok", "over", "pick"):
        return "–" if cell.state == "quiet" else cell.state
    known = [words for words in (cell.accuracy, cell.latency) if words not in ("no answers", "no latency")]
    return " ".join([*known, *([f"({cell.kind})"] if cell.kind != "measured" else [])])


# The table's columns: heading, key of a row, justify.
_COLUMNS = (
    ("", "mark", "left"),
    ("file", "variant", "left"),
    ("target", "target", "left"),
    ("accelerated", "placed", "right"),
    ("accuracy", "accuracy", "right"),
    ("95 %", "accuracy_interval", "right"),
    ("drop", "drop", "right"),
    ("median", "latency", "right"),
    ("interval, ms", "latency_interval", "right"),
    ("ratio", "ratio", "right"),
    ("size", "size", "right"),
    ("kind", "kind", "left"),
)
# What a narrow terminal does without, in this order; the reports have all of it.
_LEFT_OUT = ("latency_interval", "accuracy_interval", "ratio", "size", "drop")


def table(results: Results, width: int | None = None) -> RenderableType:
    """Return one row per cell that ran, under its model's name where there are several; the recommended one is marked.

    `width` is the terminal's, in characters (default: what rich finds). A narrow one leaves out columns; where the file
    would not fit beside its figures, they stand below it. Rich honours NO_COLOR.
    """
    from rich.console import Console, Group

    width = Console().width if width is None else width
    content = Content(results)
    rows = figure_rows(content)
    left_out = {"kind"} if len({row["kind"] for row in rows}) < 2 else set()
    left_out |= set() if any(row["placed"] for row in rows) else {"placed"}
    left_out |= set() if any(row["ratio"] != "–" for row in rows) else {"ratio"}
    columns = [
        (content.metric.name if heading == "accuracy" else heading, key, justify)
        for heading, key, justify in _COLUMNS
        if key not in left_out
    ]
    tables = [_table(content, rows, columns, padding=2)]
    for key in _LEFT_OUT:
        columns = [column for column in columns if column[1] != key]
        tables.append(_table(content, rows, columns, padding=1))
    return first_that_fits(tables, width, Group(*_lines(content, rows, width)))


def _table(
    content: Content, rows: Sequence[Mapping[str, str]], columns: Sequence[tuple[str, str, str]], padding: int
) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="dim", padding=(0, padding, 0, 0))
    for heading, _, justify in columns:
        grid.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=True)
    for model, row in _by_model(content, rows):
        if model:
            grid.add_row("", Text(model, style="bold"))
        if row:
            cells = [Text(_mark(row) if key == "mark" else row[key]) for _, key, _ in columns]
            grid.add_row(*cells, style="bold green" if row["ship"] else "")
    return grid


def _lines(content: Content, rows: Sequence[Mapping[str, str]], width: int) -> Iterator[RenderableType]:
    """Yield the table's rows for a terminal that is too narrow for it: a file on a target, its figures below it."""
    from rich.padding import Padding
    from rich.text import Text

    for model, row in _by_model(content, rows):
        if model:
            yield Text(model, style="bold")
        if row:
            style = "bold green" if row["ship"] else ""
            drop = "" if row["drop"] == "–" else f"drop {row['drop']}"
            kind = row["kind"] if len({one["kind"] for one in rows}) > 1 else ""
            placed = f"accelerated {row['placed']}" if row["placed"] else ""
            cells = (row["accuracy"], drop, row["latency"], row["size"], placed, kind)
            figures = [text for text in cells if text not in ("", "–")]
            yield Text(f"{_mark(row) or ' '} {row['variant']} on {row['target']}", style=style)
            yield Padding(Text(filled(figures, width - 4), style="" if style else "dim"), (0, 0, 0, 4), expand=False)


def _by_model(content: Content, rows: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, Mapping[str, str] | None]]:
    """Yield (model, None) where another model's rows begin, if there are several; and ("", row)."""
    model = ""
    for row in rows:
        if content.several and row["model"] != model:
            model = row["model"]
            yield model, None
        yield "", row


def _mark(row: Mapping[str, str]) -> str:
    return "→" if row["ship"] else "•" if row["pick"] else ""


def caption(content: Content) -> str:
    """Say what the table's figures are, and of what kind where all are of one; nothing where there are none."""
    kinds = {cell.measurement.kind for cell in content.cells if cell.measurement.status == "ok"}
    one = "text, tokenizing and inference," if content.tokenizes else "inference"
    drop = f"; {content.dropped_on}" if content.dropped_on else ""
    several = any("batch=" in cell.measurement.target for cell in content.cells)
    words = f"{content.judged_by}{drop}; latency of one {one} at batch 1{', or as a target says' if several else ''}"
    if anchors := dict.fromkeys(shorten(str(row["anchor"]), 80) for row in content.results.bench):
        words += f"; ratio to {', '.join(anchors)}, = not distinguishable"
    if content.ship and len(content.picks) > 1:
        words += "; → recommended, • recommended on its target"
    return f"{words}; all {next(iter(kinds))}" if len(kinds) == 1 else words if kinds else ""


def problems(results: Results) -> list[str]:
    """Return a line for everything without figures: what, where, why, and after an arrow what to do."""
    content = Content(results)
    lines = []
    for problem in problem_rows(content):
        where = f" on {', '.join(problem.where)}" if problem.where else ""
        remedy = f"\n  → {problem.remedy}" if problem.remedy else ""
        reason = "; ".join(filter(None, (problem.reason or "no reason was given", problem.measured)))
        lines.append(f"{problem.status}: {problem.what}{where}: {reason}{remedy}")
    return lines


def recommendation(results: Results) -> str:
    """Return the answer: which file to ship on which target and why, or why none; then what the budget asked."""
    answer = headline(Content(results))
    limits_set = "; ".join(f"{name} {limit}" for name, limit in answer.limits)
    verdict = f"Budget {answer.verdict_words} ({limits_set})." if answer.verdict else ""
    return "\n".join(part for part in (f"{answer.text}.", answer.why, verdict) if part)
