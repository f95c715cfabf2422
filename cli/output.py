"""What a command leaves on stdout: one JSON document, or the table and the report's path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..core.results import Results


def show(results: Results, folder: Path, report: Path, *, as_json: bool) -> None:
    """Print a run: its table, what it says, and last where the report is; or results.json with `as_json`."""
    if as_json:
        show_json(results.to_json())
        return
    from ..evaluate.report import summary
    from .console import stdout_console

    console = stdout_console()
    for part in summary(results, console.width):
        console.print(part)
    click.echo(f"report: {report}")


def show_json(document: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
