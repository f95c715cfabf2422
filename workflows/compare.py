"""``compare``: two runs side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError, explain_os_errors
from ..core.progress import Listener
from ..core.recipe import Evaluate
from ..core.recipe_file import parse_table
from ..core.results import Results, has_ended, load_results
from ..core.run_log import RunLog
from ..evaluate.compare import Comparison
from ..evaluate.compare import compare as compare_results
from ..evaluate.gate import parse_limit
from .arguments import one_or_more, path_of
from .finished import Run
from .listening import listener_of


@explain_os_errors
def compare(
    run_a: Run | Results | str | os.PathLike[str],
    run_b: Run | Results | str | os.PathLike[str],
    *,
    force: bool = False,
    fail_on: str | Sequence[str] = (),
    remeasure: bool = False,
    latency: Mapping[str, Any] | None = None,
    progress: Listener | None = None,
) -> Comparison:
    """Compare two runs cell by cell: metric, latency and size of the files and targets that both have.

    Args:
        run_a: a run, the folder of one, its results.json, or results. Results alone have no raw latencies:
            then no latency is called different, and accuracies are compared as two separate samples.
        run_b: the other.
        force: compare latencies although the machines differ.
        fail_on: one or more limits on how much worse `run_b` may be, such as ``accuracy_drop > 0.5 points``,
            ``latency > 3 %``, ``size > 5 %`` and ``new-failures``. A limit is not met on a cell where the interval of
            the change lies wholly beyond it.
        remeasure: time the files of both runs together now, in the same rounds, on this machine; the runs' own
            latencies, and on which machines they were measured, do not count then.
        latency: how they are timed, with the keys of a recipe's [evaluate.latency], such as ``{"max_seconds": 300}``.
        progress: hears how far the timing is. Default: nothing is shown, but for a bar in a notebook.

    Returns:
        For each common cell the difference b - a in accuracy and the ratio b / a of median latencies, each with its
        interval and verdict; and warnings about what makes the two hard to compare. `gate` has the limits' verdicts:
        ``met``, ``not met``, or ``not shown`` where the samples or latencies cannot tell.

    Raises:
        InputError: a limit is not one, or the runs have no cell in common, were made on unlike machines, or cannot be
            read; with limits also where one has not ended, with `remeasure` where no file of both can be timed.
    """
    limits = [parse_limit(text) for text in one_or_more(fail_on, str, "fail_on", "such as 'latency > 3 %'")]
    if latency is not None and not remeasure:
        raise InputError("latency says how files are timed, and none are", "add --remeasure")
    settings = parse_table(Evaluate, {"latency": latency or {}}, "evaluate")
    (results_a, folder_a), (results_b, folder_b) = a, b = opened(run_a), opened(run_b)
    unfinished = [words for words, results in (("run a", results_a), ("run b", results_b)) if not has_ended(results)]
    if limits and unfinished:
        raise InputError(
            f"{' and '.join(unfinished)} ended before everything was measured, so nothing can be decided by limits",
            "run its recipe again, which resumes",
        )
    timed = None
    if remeasure:
        from .remeasure import time_together

        with RunLog(None, listener_of(progress)) as listener:
            timed = time_together(a, b, settings=settings, limits=limits, listener=listener)
    comparison = compare_results(
        results_a, results_b, folder_a=folder_a, folder_b=folder_b, force=force, fail_on=limits, remeasured=timed
    )
    early = tuple(
        f"{words} ended before everything was measured: run its recipe again, which resumes" for words in unfinished
    )
    return replace(comparison, warnings=(*comparison.warnings, *early))


def opened(run: Run | Results | str | os.PathLike[str]) -> tuple[Results, Path | None]:
    """Return a run's results and its folder, where it has one."""
    if isinstance(run, Run):
        return run.results, run.folder
    if isinstance(run, Results):
        return run, None
    path = path_of(run, "the run")
    return load_results(path), path if path.is_dir() else path.parent
