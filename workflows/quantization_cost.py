"""The accuracy drop of quantization on all unbiased samples: test, and validation if the file was not chosen on it.

More samples show more: with 121 test samples no file can show that it loses at most 1 point, with 400 it may. But a
file looks too good on samples that it was chosen on. Which samples are biased:

- test: never. Nothing is chosen on it.
- validation, for files that were chosen on it: of two tools' files, of the steps of int8-mixed, of the epochs of
  further training. `Artifact.chosen_on` says on how many samples; those are left out, which is often all.
- validation, for the other files: training kept the epoch with the lowest validation loss. That chose the float model,
  on both sides of the difference, and not one file over another. It does not bias the difference: in 3,000 simulated
  trainings (`tests/workflows/test_quantization_cost.py`) the drop was 0.74 points on validation and 0.72 on new
  samples, 0.02 ± 0.04 apart. If accuracy had chosen the epoch, the drop would be overstated, never understated:
  quantization loses the float model's luck on these samples. Accuracy itself may be biased, so it remains that of test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import PreparedData
from ..core.device import THIS_MACHINE
from ..core.measurement import Measurement, PooledDrop
from ..core.progress import Listener, Silent
from ..core.recipe import Evaluate
from ..core.runner import Runner
from ..core.store import Store
from ..evaluate.measure import Answered, measure
from ..tasks import Task, task_of
from .candidate_trial import unused
from .plan import VALIDATION

_Key = tuple[str, str]
_Scores = NDArray[Any]


def pooled(
    rows: Sequence[Measurement],
    runners: Sequence[Runner],
    answers: Mapping[_Key, Answered],
    data: PreparedData,
    *,
    references: Mapping[str, str],
    settings: Evaluate,
    seed: int,
    cores: int,
    store: Store,
    listener: Listener,
    places: Mapping[str, str] | None = None,
    interrupt: Callable[[], None] = lambda: None,
) -> Iterator[Measurement]:
    """Yield the rows of files with a drop again, with the `pooled_drop`; a row that fails on validation is not ok.

    `rows` are those of the test split, `answers` the result of `measure` for it, `references`, `places` and `interrupt`
    its arguments. If a part
    of the validation split may count, files answer all of it, so that a later run finds it in the store. Nothing is
    timed.
    """
    where = places or {}
    here = sorted(answers, key=lambda key: where.get(key[1].partition("/")[0], THIS_MACHINE) != THIS_MACHINE)
    first = {model: next((key for key in here if key[0] == id_), None) for model, id_ in references.items()}
    judged = {(row.artifact, row.target): row for row in rows if row.status == "ok" and row.drop is not None}
    cells = {key: r for r in runners if (key := _key(r)) in judged and key != first.get(r.artifact.model)}
    counts = {key: unused(data, runner.artifact.chosen_on, seed) for key, runner in cells.items()}
    keys = {key for key in cells if len(counts[key])}
    keys |= {beside for model in {cells[key].artifact.model for key in keys} if (beside := first[model])}
    again: dict[_Key, Measurement] = {}
    more: dict[_Key, Answered] = {}
    if keys:
        more = measure(
            # The references first: others are compared with the first of a model's.
            sorted((r for r in runners if _key(r) in keys), key=lambda r: _key(r) not in first.values()),
            data,
            references=references,
            settings=settings,
            seed=seed,
            cores=cores,
            store=store,
            raw_folder=store.root / "trials",  # where nothing is timed, nothing is written
            listener=_Renamed(listener),
            on_row=lambda row: again.update({(row.artifact, row.target): row}),
            untimed={runner.artifact.id for runner in runners},
            split="validation",
            places=places,
            interrupt=interrupt,
        )
    scores = {"test": _scores(answers), "validation": _scores(more)}
    for key, runner in cells.items():
        row, other, reference = judged[key], again.get(key), first[runner.artifact.model]
        if other is not None and other.status != "ok":
            reason = f"on the validation samples: {other.reason}"
            yield replace(row, status=other.status, reason=reason, remedy=other.remedy)
        elif reference in scores["test"]:
            pairs = {"test": (scores["test"][reference], scores["test"][key])}
            same = row.difference == 0
            if other is not None and other.drop is not None:
                pairs["validation"] = (
                    scores["validation"][reference][counts[key]],
                    scores["validation"][key][counts[key]],
                )
                same = same and other.difference == 0
            yield replace(row, pooled_drop=_drop(task_of(data.labels, data.task), pairs, same))


def _key(runner: Runner) -> _Key:
    return runner.artifact.id, str(runner.target)


def _drop(task: Task, pairs: Mapping[str, tuple[_Scores, _Scores]], same: bool) -> PooledDrop:
    """Return the drop over all splits of `pairs`: the scores of the reference's and of the file's answers."""
    exact, scores = (np.concatenate([pair[side] for pair in pairs.values()]) for side in (0, 1))
    lost = task.drop(exact, scores, identical=same)
    low, high = lost.ends
    return PooledDrop(lost.value, low, high, len(exact), {split: len(pair[0]) for split, pair in pairs.items()})


def _scores(answers: Mapping[_Key, Answered]) -> dict[_Key, _Scores]:
    """Return what each cell's metric is made of, where known."""
    return {key: answer.parts for key, answer in answers.items() if answer.parts is not None}


class _Renamed(Silent):
    """Forwards the progress of the answers under another name: files are loaded already."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Forward the progress under another name."""
        if task.startswith("accuracy"):
            self._listener.progress(VALIDATION + task.removeprefix("accuracy"), done, total, note)
