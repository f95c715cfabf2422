"""The report of a run: on the terminal, as Markdown for a pull request, and as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path

from ..core.codec import write_atomic
from ..core.results import Results
from .table import problems, recommendation, summary, table

__all__ = ["problems", "recommendation", "summary", "table", "write"]


def write(results: Results, folder: Path) -> Path:
    """Write ``report.html`` and ``report.md`` into the run's `folder`, each atomically; return the path of the first.

    Raw files that the measurements name are read from `folder` where they are there. Raises StageError when the disk
    refuses, and InputError when the results contradict themselves.
    """
    # Drawing and templates are loaded only when a report is written: a command that only shows the table is faster.
    from .html import render as render_html
    from .markdown import render as render_markdown

    page = folder / "report.html"
    write_atomic(folder / "report.md", render_markdown(results))
    write_atomic(page, render_html(results, folder))
    return page
