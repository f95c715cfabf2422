"""What a command leaves on stdout: one JSON document, or the table and the report's path."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from ..core.documents import encode_json
from ..core.results import Results
from .terminal import echo


def show(results: Results, folder: Path, report: Path, *, as_json: bool) -> None:
    """Print a run: its table, what it says, what to do next, and last where the report is.

    With `as_json` it is results.json that is printed, and nothing else.
    """
    if as_json:
        show_json(results.to_json())
        return
    from ..report import summary
    from .console import stdout_console

    console = stdout_console()
    for part in summary(results, console.width):
        console.print(part)
    if results.recommendation.get("artifact"):
        echo(f"next: edgeproof bundle {shlex.quote(str(folder))}")
    echo(f"report: {report}")


def show_json(document: Any) -> None:
    """Print one document of strict JSON; only ASCII where the terminal or pipe is not UTF-8, so that it stays JSON."""
    text = encode_json(document, indent=2)
    encoding = (sys.stdout.encoding or "utf-8").lower().replace("-", "").replace("_", "")
    echo(text if encoding == "utf8" or text.isascii() else json.dumps(json.loads(text), indent=2))
