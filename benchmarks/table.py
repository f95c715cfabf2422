"""The table of results: on the terminal, and as Markdown between two marks in the documents that show it."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .sides import BenchmarkError, Row

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
COLUMNS = ("what", "by hand", "Edgeproof", "ratio", "repetitions", "claim", "met?")


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as the texts of `COLUMNS`."""
    return (
        row.what,
        spell(row.by_hand),
        spell(row.edgeproof),
        f"{statistics.median(row.by_hand) / statistics.median(row.edgeproof):.1f}×" if row.by_hand else "–",
        str(len(row.edgeproof)),
        row.claim,
        {True: "yes", False: "NO", None: "not judged"}[row.met],
    )


def spell(times: Sequence[float]) -> str:
    """Return seconds as ``median s (lowest–highest)``; the range only for several repetitions."""
    if not times:
        return "–"
    median = statistics.median(times)
    digits = 0 if median >= 100 else 1 if median >= 10 else 2 if median >= 1 else 3
    text = f"{median:.{digits}f} s"
    return f"{text} ({min(times):.{digits}f}–{max(times):.{digits}f})" if len(times) > 1 else text


def conditions(environment: dict[str, Any], date: str, load: float) -> str:
    """Return the conditions of the measurement as text; `load` is the load average at the start."""
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    return (
        f"Everything here was measured, in one run on one machine: {environment['cpu']}, {environment['cores']} cores, "
        f"{environment['memory_bytes'] / 2**30:.0f} GiB, {environment['os']}, Python {environment['python']}, "
        f"{packages}; {date}, load average {load:.1f} at the start. Wall-clock times, medians, ranges in brackets."
    )


def markdown(rows: Sequence[Row], conditions: str) -> str:
    """Return the table, the conditions and the checks as Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * 4 + "---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)) + " |" for row in rows]
    checked = [f"- {row.what}: {row.checked}." for row in rows if row.checked]
    return "\n".join(
        [*lines, "", conditions, "", *(["Checked in the same run:", "", *checked] if checked else [])]
    ).strip()


def show(rows: Sequence[Row], conditions: str) -> None:
    """Print the table on the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True)
    table.add_column(COLUMNS[0], overflow="fold", ratio=1)
    for name in COLUMNS[1:5]:
        table.add_column(name, justify="right", overflow="fold")
    for name in COLUMNS[5:]:
        table.add_column(name, overflow="fold")
    for row in rows:
        colour = {True: "green", False: "bold red", None: ""}[row.met]
        *texts, met = cells(row)
        table.add_row(*(Text(text) for text in texts), Text(met, style=colour))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=140)
    console.print(table)
    for row in rows:
        if row.checked:
            console.print(f"{row.what}: {row.checked}", markup=False)
    console.print(conditions, markup=False)


def check_marks(path: Path) -> None:
    """Raise BenchmarkError unless `path` has both marks, once and in order. Call it before the benchmarks run."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if len(re.findall(f"{re.escape(BEGIN)}.*?{re.escape(END)}", text, re.DOTALL)) != 1:
        raise BenchmarkError(f"{path} has no place for the table: put these two lines in it\n{BEGIN}\n{END}")


def replace_table(path: Path, table: str) -> None:
    """Write `table` between the marks of `path`; the rest of the file is unchanged."""
    check_marks(path)
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
    temporary.replace(path)
