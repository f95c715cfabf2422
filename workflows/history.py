"""``history``: the figures of each file over several runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..core.errors import InputError, explain_os_errors
from ..core.results import Results, has_ended, is_unfinished, load_results
from ..core.sanitize import shorten
from ..evaluate.history import History
from ..evaluate.history import history as history_of
from ..report.history_page import GENERATOR
from ..report.history_page import render as render_page
from .arguments import path_of
from .compare import opened
from .finished import Run


@explain_os_errors
def history(
    runs: Iterable[Run | Results | str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str] | None = None,
) -> History:
    """Show how the metric, latency and size of each file on each target went over runs.

    Args:
        runs: runs, their folders or results.json, or results; in any order, since each says when it was started.
            Folders in which no run has ended are left out with a warning, where there are others.
        out: the HTML page to write. Default: none.

    Returns:
        The figures of each cell in each run, with their intervals and what changed from the run before.

    Raises:
        InputError: there is no run, one cannot be read, or `out` is a file that this program has not written.
        StageError: the page cannot be written.
    """
    if isinstance(runs, Run | Results | str | os.PathLike):
        raise InputError("the runs are one run", "give a list of runs")
    page = path_of(out, "out") if out is not None else None
    if page is not None:
        _check_replaceable(page)
    runs = list(runs)
    # As `runs/*` has them. Where there is nothing else, the first one is refused.
    unfinished = [run for run in runs if isinstance(run, str | os.PathLike) and _has_not_ended(Path(run))]
    left_out = unfinished if len(unfinished) < len(runs) else []
    result = history_of([opened(run) for run in runs if run not in left_out])
    if left_out:
        names = ", ".join(shorten(str(run), 80) for run in left_out)
        result = replace(result, warnings=(*result.warnings, f"left out, since no run has ended there: {names}"))
    if page is None:
        return result
    from ..core.codec import write_atomic

    write_atomic(page, render_page(result))
    return replace(result, page=page)


def _has_not_ended(path: Path) -> bool:
    return is_unfinished(path) or not has_ended(load_results(path))


def _check_replaceable(page: Path) -> None:
    """Raise InputError if there is something at `page` that is no history of ours."""
    if not page.exists() and not page.is_symlink():
        return
    if page.is_file() and not page.is_symlink():
        with page.open("rb") as stream:
            if f'content="{GENERATOR}"'.encode() in stream.read(4096):
                return
    raise InputError(f"{page} is in the way: it is no history that this program wrote", "name another file with --out")
