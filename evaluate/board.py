"""The board of a measurement: its cells and their rows so far, shared by the queues of all devices.

Each device has a queue (`queues.py`), and a cell is compared with the answers of another one, its float reference,
which may run on another device. So the rows are kept here, under one lock, and each is reported as soon as it grows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.artifact import judged_output
from ..core.dataset import PreparedData
from ..core.device import THIS_MACHINE
from ..core.measurement import Measurement
from ..core.model import sample_shape
from ..core.quiet import working
from ..core.runner import Outcome, Runner
from ..tasks import compare, task_of, trained_task
from ..tasks.agreement import Scores
from ..tasks.by_parts import ByParts
from ..tasks.task import Scored, recorded
from . import predictions

_DO_NOT_SHIP = "do not ship this pair; try another scheme"
_OTHER_OUTPUT = "name the output that is judged when you export it (export --output), or give targets that fit it"


class StoppedError(Exception):
    """The measurement was given up while a queue was at work."""


@dataclass
class RunningCell:
    """A runner on its way through the phases, and its row so far; `place` is the machine that it runs on.

    `answers` is the ``.npy`` of its answers (samples, values) float32; `scores` (samples,) how well each sample is
    answered, where that is known, and `parts` what its metric is made of (`tasks.Task`); `likeness` (samples,) how like
    the float reference's each answer is.
    """

    runner: Runner
    row: Measurement
    place: str = THIS_MACHINE
    identity: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    answers: Path | None = None
    scores: NDArray[Any] | None = None
    parts: NDArray[Any] | None = None
    likeness: Scores | None = None

    @property
    def artifact(self) -> str:
        """The artifact's id."""
        return self.runner.artifact.id

    @property
    def settled(self) -> bool:
        """Whether it is known what it answers: it has answered, or it will not."""
        return self.answers is not None or self.row.status != "ok" or not self.runner.answers

    def key(self) -> dict[str, Any]:
        """What every figure of it depends on. The id distinguishes artifacts whose bytes are equal."""
        return {"artifact": self.artifact, "sha256": self.runner.artifact.sha256, **self.identity}


class Board:
    """The cells of one measurement. All methods may be called from any thread.

    Each model's float reference is the first cell of its artifact in `references` (by model) that answers, on a
    processor: of an accelerator, the answers are what is in question. Cells of this machine come first, since it is
    always there. With a number of `examples` rows get their task's details, and at most so many samples of which they
    disagree with the reference.
    """

    def __init__(
        self,
        cells: Sequence[RunningCell],
        data: PreparedData,
        split: str,
        *,
        references: Mapping[str, str],
        examples: int | None,
        on_row: Callable[[Measurement], None],
    ) -> None:
        self.cells = sorted(cells, key=lambda cell: cell.place != THIS_MACHINE)
        self._references, self._examples, self._on_row = references, examples, on_row
        self._task = task_of(data.labels, data.task, certain=bool(data.labels))
        self._labels, self._samples = data.labels, data.counts[split]
        self._targets = self._task.targets(data, split)
        self._changed = threading.Condition()
        self._over = False

    def stop(self) -> None:
        """Give the measurement up: from now on every queue ends at its next call."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def check(self) -> None:
        """Raise StoppedError if the measurement was given up."""
        if self._over:
            raise StoppedError

    def report(self, row: Measurement) -> None:
        """Report a row that is new or has grown."""
        self.record(lambda: self._on_row(row))

    def record(self, what: Callable[[], None]) -> None:
        """Do something that no other queue may do at the same time, such as adding to the results."""
        with working(), self._changed:
            self.check()
            what()

    def tell(self, cell: RunningCell, outcome: Outcome) -> None:
        """Write an outcome into a cell's row and report it."""
        with working(), self._changed:
            self.check()
            cell.row = replace(cell.row, status=outcome.status, reason=outcome.reason, remedy=outcome.remedy)
            self._on_row(cell.row)
            if cell.settled:
                self._compare_model(cell.runner.artifact.model)

    def answered(self, cell: RunningCell, answers: Path) -> None:
        """Score a cell's answers, an ``.npy``, and compare what can be compared now."""
        with working(), self._changed:
            self.check()
            outputs = np.load(answers, mmap_mode="r", allow_pickle=False)
            wrong = int((~np.isfinite(outputs).all(axis=1)).sum())
            if wrong:
                reason = f"it answers with NaN or infinity on {wrong} of {len(outputs)} samples"
                self.tell(cell, Outcome("failed", reason, _DO_NOT_SHIP))
                return
            cell.parts = self._task.parts(outputs, self._targets)
            if cell.parts is None and self._targets is not None and isinstance(self._task, ByParts):
                reason = f"its answers are no {self._task.scores_only}: {self._task.name} cannot score them"
                self.tell(cell, Outcome("failed", reason, _OTHER_OUTPUT))
                return
            cell.answers = answers
            cell.row = replace(cell.row, samples=self._samples)
            if cell.parts is not None:
                cell.scores = self._task.scores(cell.parts)
                cell.row = recorded(self._task, cell.row, self._task.estimate(cell.parts))
            self._on_row(cell.row)
            self._compare_model(cell.runner.artifact.model)

    def describe(self, cells: Iterable[RunningCell]) -> None:
        """Add the task's details to cells that have answered and have no reference."""
        for cell in cells:
            with working(), self._changed:
                self.check()
                if cell.answers and cell.scores is not None and not (cell.row.by_class or cell.row.metrics):
                    self._detail(cell, np.load(cell.answers, mmap_mode="r", allow_pickle=False), None)
                    self._on_row(cell.row)

    def await_references(self, cells: Sequence[RunningCell]) -> None:
        """Wait until the float references of cells are settled, wherever they run. Raises StoppedError."""
        models = {cell.runner.artifact.model for cell in cells}
        with self._changed:
            self._changed.wait_for(lambda: self._over or all(self._settled(model) for model in models))
            self.check()

    def fail_zeros(self, cells: Sequence[RunningCell], others: Collection[RunningCell]) -> None:
        """Fail accelerators among `cells` that answer with zeros where another target of the same file does not.

        `others` are the cells that they are compared with. It counts however few the samples are.
        """

        def is_zero(cell: RunningCell) -> bool:
            return not np.load(cell.answers, mmap_mode="r", allow_pickle=False).any() if cell.answers else True

        for cell in cells:
            if not cell.runner.target.engine.cpu or cell.answers is None or cell.row.status != "ok":
                continue
            if not is_zero(cell):
                continue
            beside = (c for c in others if c.artifact == cell.artifact and not is_zero(c))
            if (other := next(beside, None)) is not None:
                reason = f"it answers 0 on all {cell.row.samples} samples, and on {other.runner.target} it does not"
                self.tell(cell, Outcome("failed", reason, _DO_NOT_SHIP))

    def _candidates(self, model: str) -> list[RunningCell]:
        """Return the cells that may be a model's float reference, in order."""
        id_ = self._references.get(model)
        return [cell for cell in self.cells if cell.artifact == id_ and not cell.runner.target.engine.cpu]

    def _settled(self, model: str) -> bool:
        """Whether a model's float reference has answered, or none will."""
        return all(cell.settled for cell in self._candidates(model)) or self._reference(model) is not None

    def _reference(self, model: str) -> RunningCell | None:
        """Return the float reference of a model, once it is known which cell that is."""
        for cell in self._candidates(model):
            if cell.answers is not None:
                return cell
            if not cell.settled:
                return None
        return None

    def _compare_model(self, model: str) -> None:
        """Fill what compares the cells of a model with their float reference, where both have answered now.

        Called whenever a cell is settled.
        """
        self._changed.notify_all()
        if (reference := self._reference(model)) is None or reference.answers is None:
            return
        exact = np.load(reference.answers, mmap_mode="r", allow_pickle=False)
        for cell in self.cells:
            if cell.runner.artifact.model != model or cell.answers is None or cell.row.difference is not None:
                continue
            ours = np.load(cell.answers, mmap_mode="r", allow_pickle=False)
            if exact.shape != ours.shape:
                continue
            artifact = cell.runner.artifact
            task = self._task if self._task.certain else trained_task(artifact.labels, artifact.task)
            alike = compare(task, exact, ours, self._shape(reference))
            cell.likeness = alike.scores
            cell.row = alike.recorded(replace(cell.row, difference=float(np.abs(exact - ours).max())))
            if cell.parts is not None and reference.parts is not None:
                same = cell.row.difference == 0
                lost = self._task.drop(reference.parts, cell.parts, identical=same)
                low, high = lost.ends
                if np.isfinite(lost.value):
                    cell.row = replace(cell.row, drop=lost.value, drop_low=low, drop_high=high)
                self._detail(cell, ours, exact, reference.parts)
            self._on_row(cell.row)

    def _shape(self, reference: RunningCell) -> tuple[int, ...]:
        """Return the shape of one answer of a model's files, of whichever file says it (a SavedModel does not)."""
        for cell in (reference, *self.cells):
            artifact = cell.runner.artifact
            judged = judged_output(artifact.outputs, artifact.answer)
            if artifact.model == reference.runner.artifact.model and judged:
                return sample_shape(judged.shape)
        return ()

    def _detail(
        self,
        cell: RunningCell,
        outputs: predictions.Floats,
        exact: predictions.Floats | None,
        exact_parts: NDArray[Any] | None = None,
    ) -> None:
        if self._examples is not None and self._targets is not None and cell.parts is not None:
            scored = Scored(outputs, self._targets, cell.parts, self._labels, exact, self._examples, exact_parts)
            cell.row = self._task.detailed(cell.row, scored)
