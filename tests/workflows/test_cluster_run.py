"""A run on a Dask cluster of which one worker is killed in the middle: the results are those without a cluster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeproof.devices.cluster.connection import Cluster
from edgeproof.workflows.run import run

from ..conftest import TinyRun
from ..support.clusters import dask_cluster

TIMES = {"started", "finished", "seconds", "measured_at"}


def without_times(node: Any) -> Any:
    """Return results.json without what says when."""
    if isinstance(node, dict):
        return {key: without_times(value) for key, value in node.items() if key not in TIMES}
    return [without_times(part) for part in node] if isinstance(node, list) else node


@pytest.mark.slow
def test_a_run_with_a_worker_killed_in_the_middle_has_the_results_of_one_without_a_cluster(
    tiny: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Trained, made and timed once; answered again.
    again = tmp_path / "again"
    shutil.copytree(tiny.folder, again, symlinks=True)
    shutil.rmtree(again / ".store" / "answers")
    for name in ("report.html", "results.json"):
        (again / name).unlink()
    with dask_cluster(tmp_path, ["first", "second"]) as running:
        answer, done = Cluster.answer, list[str]()

        def answer_and_kill(self: Cluster, *args: Any, **options: Any) -> Any:
            outcome = answer(self, *args, **options)
            if not done:
                done.extend(self.done)
                # The worker that has just done the first task, while others run on it.
                killed = next(n for n in running.workers if done[0] in running.log(n))
                running.kill(killed)
            seen.update(self.done)
            return outcome

        seen: dict[str, int] = {}
        monkeypatch.setattr(Cluster, "answer", answer_and_kill)
        run(tiny.recipe, again, cluster=running.address)
    assert len(seen) == 2 and sum(seen.values()) > 4, seen
    ours, theirs = (json.loads((folder / "results.json").read_text()) for folder in (again, tiny.folder))
    assert without_times(ours) == without_times(theirs)
