"""A task that is one module and one row goes through evaluation, comparison, report and bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeproof as ep
from edgeproof import tasks
from edgeproof.core.errors import InputError
from edgeproof.tasks.agreement import NUMBERS, Agreement
from edgeproof.tasks.by_parts import ByParts, beside
from edgeproof.tasks.quality import Quantity

from ..support.array_data import WEIGHTS, X
from ..support.micro_files import dense

QUICK = {"processes": 1, "max_seconds": 0, "run_seconds": 0.02, "warmup_seconds": 0}


class Miscount(Quantity):
    name = full_name = "miscount"
    title = "Mean miscount"
    better = "lower"
    best = "the best in miscount"
    definition = "the mean of how far rounded answers are from the counts on {samples}"


class Counting(ByParts):
    """Whole numbers: an answer is rounded."""

    name, noun, metric, figure = "counting", "Counter", Miscount.name, Miscount
    needs, scores_only = "y of whole numbers", "a number for each count"

    @classmethod
    def recognizes(cls, targets: np.ndarray) -> bool:
        return False

    @classmethod
    def check(cls, targets: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        if (targets != np.rint(targets)).any():
            raise InputError("y has fractions", cls.needs)
        return targets.astype(np.float32)

    def counted(self, answers: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
        return beside(answers, targets)

    def agreement(self, shape: Sequence[int]) -> Agreement:
        return Agreement(shape, kind=NUMBERS)

    def scores(self, parts: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.abs(np.rint(parts[:, 0]) - parts[:, 1]).mean(axis=1))

    @staticmethod
    def value(parts: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return weights @ np.abs(np.rint(parts[:, 0]) - parts[:, 1]).mean(axis=1) / weights.sum(axis=1)

    def figures(self, parts: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
        return {"exact": float((np.rint(parts[:, 0]) == parts[:, 1]).mean())}


def test_a_task_is_a_module_and_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in (tasks.TASKS, tasks.TARGETED):
        monkeypatch.setitem(table, Counting.name, Counting)  # type: ignore[arg-type]  # both take it as its row does
    file = dense(tmp_path / "m.tflite", "float32").path
    assert file is not None
    right = np.rint(X @ WEIGHTS.T + [0.1, 0, 0, -0.1])
    shifted, options = right + (np.arange(len(right)) % 4 == 0)[:, None], {"task": "counting", "latency": QUICK}
    runs = [
        ep.evaluate(file, (X, y), "local/litert", out=tmp_path / name, budget={"require": "miscount <= 1"}, **options)
        for name, y in (("a", right), ("b", shifted))
    ]
    rows: list[Any] = [run.results.measurements[0] for run in runs]
    assert [(row.metric, row.accuracy) for row in rows] == [("miscount", None)] * 2, rows[0].reason
    given = np.rint(answers_of(file))
    for row, y in zip(rows, (right, shifted), strict=True):
        assert row.score == pytest.approx(np.abs(given - y).mean())
        assert row.metrics["exact"] == pytest.approx((given == y).mean())
    change = ep.compare(runs[0].folder, runs[1].folder).cells[0].accuracy
    assert change is not None and change.estimate == pytest.approx(rows[1].score - rows[0].score)
    page = (runs[0].folder / "report.html").read_text()
    assert "Mean miscount" in page and "how far rounded answers are" in page and "ccuracy</strong>" not in page
    bundle = ep.bundle(runs[0], out=tmp_path / "bundle", samples=2)
    assert (bundle.folder / "cpp" / "counter.cc").is_file() and runs[0].results.budget["met"]
    with pytest.raises(
        InputError, match="limits miscount, the metric of the task counting, and this one is regression"
    ):
        ep.evaluate(file, (X, right), out=tmp_path / "no", task="regression", budget={"require": "miscount <= 1"})
    with pytest.raises(InputError, match="counting: y has fractions"):
        ep.evaluate(file, (X, right + 0.5), out=tmp_path / "no", task="counting")


def answers_of(path: Path) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for sample in X:
        interpreter.set_tensor(taken["index"], sample[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(given["index"])[0])
    return np.array(answers)
