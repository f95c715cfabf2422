"""The terminal's report: a table of what ran, what did not and why, and the recommendation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.names import shorten
from ...core.results import Results
from ..units import limits
from .choices import brief, choices
from .content import Content, figure_rows

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def summary(results: Results) -> list[RenderableType]:
    """Return what the terminal shows at the end of a run: table, failures, comparison of models, recommendation.

    Names from outside are plain text in it, never markup.
    """
    from rich.text import Text

    content = Content(results)
    parts: list[RenderableType] = []
    if told := caption(content):
        # Not the table's own caption, which is broken at the table's width.
        parts += [table(results), Text(told, style="dim"), ""]
    if content.by_design():
        parts += [Text(f"{content.by_design()} cells are empty by design: the runtime does not read the format."), ""]
    parts += [Text(line, style="red" if not line.startswith("unsupported") else "yellow") for line in problems(results)]
    parts += [Text(shorten(str(row["sentence"]), 2000)) for row in results.comparisons if row.get("sentence")]
    parts += ["", *(Text(line) for line in by_target(content))]
    parts += [Text(recommendation(results), style="bold" if content.ship or not results.budget else "bold yellow")]
    return parts


def by_target(content: Content) -> list[str]:
    """Return a line for each target: the file to ship there, or why none, or its Pareto front; nothing for one."""
    found = choices(content)
    if len(found) < 2:
        return []
    return [*(f"on {choice.target}: {brief(choice)}" for choice in found), ""]


# Columns by what is left out first on a narrow terminal: (heading, key of a row, justify, needed width of it all).
_COLUMNS = (
    ("", "mark", "left", 0),
    ("file", "variant", "left", 0),
    ("target", "target", "left", 0),
    ("accuracy", "accuracy", "right", 0),
    ("95 %", "accuracy_interval", "right", 108),
    ("drop", "drop", "right", 0),
    ("median", "latency", "right", 0),
    ("interval, ms", "latency_interval", "right", 94),
    ("size", "size", "right", 0),
)


def table(results: Results, width: int | None = None) -> Table:
    """Return one row per cell that ran, under its model's name where there are several; the recommended one is marked.

    Rich honours NO_COLOR.

    `width` is the terminal's, in characters (default: what rich finds): a narrow one leaves out the intervals, which
    the reports have.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = Console().width if width is None else width
    columns = [column for column in _COLUMNS if column[3] <= width]
    content = Content(results)
    rows = figure_rows(content)
    kinds = {row["kind"] for row in rows}
    labelled = len(kinds) > 1
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2 if width > 84 else 1, 0, 0))
    for heading, _, justify, _ in columns:
        made.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=heading != "file")
    if labelled:
        made.add_column("kind", no_wrap=True)
    model = ""
    for row in rows:
        if content.several and row["model"] != model:
            model = row["model"]
            made.add_row("", Text(model, style="bold"))
        words = {**row, "mark": "→" if row["ship"] else "•" if row["pick"] else ""}
        cells = [Text(words[key]) for _, key, _, _ in columns] + ([Text(row["kind"])] if labelled else [])
        made.add_row(*cells, style="bold green" if row["ship"] else "")
    return made


def caption(content: Content) -> str:
    """Say what the table's figures are, and of what kind where all are of one; nothing where there are none."""
    kinds = {cell.measurement.kind for cell in content.cells if cell.measurement.status == "ok"}
    one = "text, tokenizing and inference," if content.tokenizes else "inference"
    told = f"{content.judged_by}; latency of one {one} at batch 1"
    if content.ship and len(content.picks) > 1:
        told += "; → recommended, • recommended on its target"
    return f"{told}; all {next(iter(kinds))}" if len(kinds) == 1 else told if kinds else ""


def problems(results: Results) -> list[str]:
    """Return a line for everything without figures: what, where, why, and after an arrow what to do."""
    content = Content(results)
    lines = []
    for problem in content.problems():
        where = f" on {', '.join(problem.where)}" if problem.where else ""
        remedy = f"\n  → {problem.remedy}" if problem.remedy else ""
        lines.append(f"{problem.status}: {problem.what}{where}: {problem.reason or 'no reason was given'}{remedy}")
    return lines


def recommendation(results: Results) -> str:
    """Return the answer: which file to ship on which target and why, or why none; then what the budget asked."""
    headline = Content(results).headline()
    asked = "; ".join(f"{name} {limit}" for name, limit in limits(results.budget.get("asked", {})))
    verdict = "" if headline.met is None else f"Budget {'met' if headline.met else 'not met'} ({asked})."
    return "\n".join(part for part in (f"{headline.text}.", headline.why, verdict) if part)
