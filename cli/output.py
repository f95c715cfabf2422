"""A command's output on stdout: one JSON document, or the table and the report's path."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..core.documents import encode_json
from .terminal import echo

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..workflows.finished import Run


def show(run: Run, *, as_json: bool) -> None:
    """Print a run: its table, its conclusions, the next command, and last the report's path.

    With `as_json` only results.json is printed.
    """
    if as_json:
        show_json(run.results.to_json())
        return
    from ..report import summary
    from .terminal import stdout_console

    show_parts(summary(run.results, stdout_console().width))
    if run.results.recommendation.get("artifact"):
        echo(f"next: edgeproof bundle {shlex.quote(str(run.folder))}")
    echo(f"report: {run.report}")


def show_parts(parts: Iterable[RenderableType], *, whole_lines: bool = False) -> None:
    """Print lines and tables; with `whole_lines` the terminal breaks lines, so that they can be copied."""
    from rich.text import Text

    from .terminal import stdout_console

    screen = stdout_console()
    for part in parts:
        screen.print(part, soft_wrap=whole_lines and isinstance(part, Text))


def show_markdown(document: str) -> None:
    """Print Markdown of the report. Its word joiners, which keep names from being mentions, are not escaped."""
    from ..report.markdown import JOINER

    echo(document, newline=False, keep=JOINER)


def show_json(document: Any) -> None:
    """Print one document of strict JSON, in ASCII if the terminal or pipe is not UTF-8."""
    text = encode_json(document, indent=2)
    encoding = (sys.stdout.encoding or "utf-8").lower().replace("-", "").replace("_", "")
    echo(text if encoding == "utf8" or text.isascii() else json.dumps(json.loads(text), indent=2))
