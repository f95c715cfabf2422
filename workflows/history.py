"""``history``: the figures of each file over several runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..core.errors import InputError, explain_os_errors
from ..core.files import check_replaceable
from ..core.results import Results, has_ended, is_unfinished
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
        mark = f'content="{GENERATOR}"'.encode()
        check_replaceable(page, mark=mark, kind="history that this program wrote", option="--out")
    # Folders as `runs/*` has them: of some, no run has ended. Where there is nothing else, those are shown.
    found = [(run, None if _holds_none(run) else opened(run)) for run in runs]
    ended = [one for _, one in found if one is not None and has_ended(one[0])]
    result = history_of(ended or [one or opened(run) for run, one in found])
    early = [run for run, one in found if one is None or not has_ended(one[0])]
    if early:
        where = ", ".join("results" if isinstance(run, Run | Results) else shorten(str(run), 80) for run in early)
        words = "left out, since no run has ended there" if ended else "ended before everything was measured"
        result = replace(result, warnings=(*result.warnings, f"{words}: {where}"))
    if page is None:
        return result
    from ..core.codec import write_atomic

    write_atomic(page, render_page(result))
    return replace(result, page=page)


def _holds_none(run: Run | Results | str | os.PathLike[str]) -> bool:
    """Whether it is the folder of a run that has no results yet."""
    return isinstance(run, str | os.PathLike) and is_unfinished(Path(run))
