"""``compare``: two runs side by side."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import explain_os_errors
from ..core.results import Results, load_results
from ..evaluate.compare import Comparison
from ..evaluate.compare import compare as compare_results
from .arguments import path_of
from .finished import Run


@explain_os_errors
def compare(
    run_a: Run | Results | str | os.PathLike[str],
    run_b: Run | Results | str | os.PathLike[str],
    *,
    force: bool = False,
) -> Comparison:
    """Compare two runs cell by cell: accuracy, latency and size of the files and targets that both have.

    Args:
        run_a: a run, the folder of one, its results.json, or results. Results alone have no raw latencies: their
            intervals are compared then, which is more cautious.
        run_b: the other.
        force: compare latencies although the machines differ.

    Returns:
        For each common cell the difference b - a in accuracy and the ratio b / a of median latencies, each with its
        interval and verdict; and warnings about what makes the two hard to compare.

    Raises:
        InputError: the runs have no cell in common, were made on unlike machines, or cannot be read.
    """
    (results_a, folder_a), (results_b, folder_b) = _opened(run_a), _opened(run_b)
    return compare_results(results_a, results_b, folder_a=folder_a, folder_b=folder_b, force=force)


def _opened(run: Run | Results | str | os.PathLike[str]) -> tuple[Results, Path | None]:
    """Return a run's results and its folder, where it has one."""
    if isinstance(run, Run):
        return run.results, run.folder
    if isinstance(run, Results):
        return run, None
    path = path_of(run, "the run")
    return load_results(path), path if path.is_dir() else path.parent
