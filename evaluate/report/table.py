"""The terminal's report: a table of what ran, what did not and why, and the recommendation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.results import Results
from ..units import limits
from .content import Content, figure_rows

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def summary(results: Results) -> list[RenderableType]:
    """Return what the terminal shows at the end of a run: the table, what has no figures, the recommendation.

    Names from outside are plain text in it, never markup.
    """
    from rich.text import Text

    content = Content(results)
    parts: list[RenderableType] = [table(results), ""]
    if content.by_design():
        parts += [Text(f"{content.by_design()} cells are empty by design: the runtime does not read the format."), ""]
    parts += [Text(line, style="red" if not line.startswith("unsupported") else "yellow") for line in problems(results)]
    parts += ["", Text(recommendation(results), style="bold" if content.ship else "bold yellow")]
    return parts


def table(results: Results) -> Table:
    """Return one row per cell that ran; the recommended one is marked. Rich honours NO_COLOR."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("", "file", "target"):
        made.add_column(heading, no_wrap=heading == "")
    for heading in ("accuracy", "95 %", "drop", "median latency", "interval, ms", "size"):
        made.add_column(heading, justify="right", no_wrap=True)
    made.add_column("kind", no_wrap=True)
    for row in figure_rows(Content(results)):
        style = "bold green" if row["ship"] else ""
        words = ("→" if row["ship"] else "", row["name"], row["target"], row["accuracy"], row["accuracy_interval"],
                 row["drop"], row["latency"], row["latency_interval"], row["size"], row["kind"])  # fmt: skip
        made.add_row(*(Text(word) for word in words), style=style)
    return made


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
