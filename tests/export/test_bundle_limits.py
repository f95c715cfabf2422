"""What ``verify.py`` accepts: other runtimes' answers pass, and wrong answers fail, whatever the task and the unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact, TensorSpec
from edgeproof.export.bundle import closeness
from edgeproof.export.bundle.limits import limits
from edgeproof.export.bundle.reading import answer_kind, columns_of, noun_of, reading_of
from edgeproof.tasks import Task
from edgeproof.tasks.classification import Classification
from edgeproof.tasks.detection import Detection
from edgeproof.tasks.embedding import Embedding
from edgeproof.tasks.multilabel import Multilabel
from edgeproof.tasks.regression import Regression
from edgeproof.tasks.segmentation import Segmentation
from edgeproof.tasks.tensor import Tensor

RANDOM = np.random.default_rng(4)
N = 8


def softmax(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    shares = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def sigmoid(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(1 / (1 + np.exp(-values)))


# By name: the task, labels, the shape of an answer, and golden answers of it.
CASES: dict[str, tuple[Task, int, tuple[int, ...], np.ndarray[Any, Any]]] = {
    "classes": (Classification(10), 10, (10,), softmax(RANDOM.normal(0, 4, (N, 10)))),
    "one sigmoid": (Classification(2), 2, (1,), sigmoid(RANDOM.normal(0, 2, (N, 1)))),
    "one logit": (Classification(2), 2, (1,), RANDOM.normal(0, 3, (N, 1))),
    "one tag": (Multilabel(1), 1, (1,), sigmoid(RANDOM.normal(-1, 2, (N, 1)))),
    "tags": (Multilabel(5), 5, (5,), sigmoid(RANDOM.normal(-1, 2, (N, 5)))),
    "small unit": (Regression(0), 0, (1,), RANDOM.uniform(-0.08, 0.06, (N, 1))),
    "offset": (Regression(0), 0, (1,), 1000 + RANDOM.normal(0, 100, (N, 1))),
    "three units": (Regression(0), 0, (3,), RANDOM.normal(0, 1, (N, 3)) * [1, 0.4, 3]),
    "embedding": (Embedding(0), 0, (7,), RANDOM.normal(0, 1, (N, 7))),
    "tensor": (Tensor(0), 0, (12, 8), RANDOM.normal(0, 1, (N, 96))),
    "map": (Segmentation(3), 3, (6, 5, 3), softmax(RANDOM.normal(0, 3, (N, 30, 3))).reshape(N, -1)),
    "mask": (Segmentation(2), 2, (6, 5, 1), sigmoid(RANDOM.normal(0, 3, (N, 30)))),
    "boxes": (Detection(0), 2, (20, 3), sigmoid(RANDOM.normal(-2, 2, (N, 60)))),
}
Change = Callable[[np.ndarray[Any, Any], int], np.ndarray[Any, Any]]
WRONG: dict[str, Change] = {
    "the mean": lambda golden, columns: np.broadcast_to(golden.mean(axis=0), golden.shape),
    "one value": lambda golden, columns: np.full_like(golden, golden.mean()),
    "one half": lambda golden, columns: np.full_like(golden, 0.5),
    "beyond all": lambda golden, columns: np.full_like(golden, golden.max() * 1.5),
    "shuffled": lambda golden, columns: np.roll(golden, 1, axis=0),
    "a tenth up": lambda golden, columns: golden + 0.1 * np.ptp(golden),
    "a tenth down": lambda golden, columns: golden - 0.1 * np.ptp(golden),
    "swapped": lambda golden, columns: np.roll(golden.reshape(N, -1, columns), 1, axis=-1).reshape(golden.shape),
    "upside down": lambda golden, columns: golden.max() + golden.min() - golden,
}


def judged(name: str, scheme: str) -> tuple[np.ndarray[Any, Any], Callable[[np.ndarray[Any, Any]], list[str]]]:
    """Golden answers as a file of the scheme gives them, and what judges others; int8: in 255 steps with zero."""
    task, labels, shape, values = CASES[name]
    step = (max(values.max(), 0) - min(values.min(), 0)) / 255 if scheme == "int8" else 0.0
    golden = (np.round(values / step) * step if step else values).astype(np.float32)
    output = TensorSpec("y", (1, *shape), "int8" if step else "float32", step or None, 0 if step else None)
    file = Artifact(id="m", model="m", format="tflite", scheme=scheme, path=None, outputs=(output,),
                    labels=tuple(f"c{one}" for one in range(labels)))  # fmt: skip
    kind = answer_kind(file, 0, golden, task)
    reading = reading_of(file, 0, kind, golden, task)
    tolerance = limits(file, 0, golden, columns_of(file, 0, kind, task))
    return golden, lambda answers: closeness.wrong(golden, answers, reading.to_json(), tolerance)


@pytest.mark.parametrize("scheme", ["float32", "float16", "dynamic", "int8"])
@pytest.mark.parametrize("name", CASES)
def test_wrong_answers_fail_and_those_of_other_runtimes_pass(name: str, scheme: str) -> None:
    golden, wrong = judged(name, scheme)
    assert wrong(golden) == []
    shape = CASES[name][2]
    for what, change in WRONG.items():
        if what != "swapped" or shape[-1] > 1:
            assert wrong(change(golden, shape[-1])), what
    # What was measured between runtimes: a step of int8 here and there, and float in its last digits.
    reach = float(np.abs(golden).max())
    step = reach / 255 if scheme == "int8" else 2e-6 * reach
    noise = np.random.default_rng(1).integers(-1, 2, golden.shape) * step
    assert wrong((golden + noise).astype(np.float32)) == []
    if scheme == "int8":  # now and then a sample is far off (MobileNetV2 on tflite-runtime: 0.39 once)
        one = golden.copy()
        one[0] += 0.6 * golden.std(axis=0) * np.sign(golden.mean(axis=0) - golden[0])
        assert wrong(one) == []


def test_rounding_alone_is_no_difference_where_answers_are_nearly_alike() -> None:
    golden = np.array([[0.50], [0.50], [0.51], [0.50]], np.float32)
    file = Artifact(id="m", model="m", format="tflite", scheme="int8", path=None,
                    outputs=(TensorSpec("y", (1, 1), "int8", 0.01, 0),))  # fmt: skip
    tolerance = limits(file, 0, golden, 1)
    assert tolerance["slack"] == pytest.approx([0.015])
    assert not closeness.wrong(golden, golden + 0.01, {"kind": ""}, tolerance)
    assert closeness.wrong(golden, golden + 0.04, {"kind": ""}, tolerance)
    one = limits(file, 0, golden[:1], 1)
    assert one["spread"] == [0.5], "of one value alone its size"


def test_decisions_are_counted_without_near_ties() -> None:
    decision = {"kind": "yes", "threshold": 0.5, "classes": 2}
    golden = np.array([[0.1], [0.49], [0.9], [0.8]])
    answers = np.array([[0.1], [0.51], [0.9], [0.2]])
    assert closeness.flipped(golden, answers, decision, {"near": 0.05}) == (2, 1, 4)
    assert closeness.decided(np.array([[0.2, 0.7, 0.1, 0.6, 0.1, 0.3]]), {"kind": "pixels", "classes": 3})[
        0
    ].tolist() == [[1, 0]]
    assert closeness.decided(np.array([[0.2, 0.7, 0.1]]), {"kind": "top", "classes": 3})[1] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("task", "labels", "outputs", "kind", "threshold", "noun"),
    [
        (Regression(0), 0, [[0.3, 0.7], [0.6, 0.4]], "", None, "Regressor"),
        (Regression(0), 2, [[0.3, 0.7], [0.6, 0.4]], "", None, "Regressor"),
        (Embedding(0), 0, [[0.3, 0.7], [0.6, 0.4]], "", None, "Embedder"),
        (None, 0, [[0.3, 0.7], [0.6, 0.4]], "top", None, "Classifier"),
        (Classification(2), 2, [[0.3], [0.6]], "yes", 0.5, "Classifier"),
        (Classification(2), 2, [[-0.3], [0.6]], "yes", 0.0, "Classifier"),
        (Regression(1), 1, [[0.3], [0.6]], "", None, "Regressor"),
        (Multilabel(1), 1, [[0.3], [0.6]], "yes", 0.5, "Tagger"),
        (Multilabel(2), 2, [[-3.0, 1.0], [1.0, 0.2]], "yes", 0.0, "Tagger"),
        (None, 1, [[0.3], [0.6]], "yes", 0.5, "Tagger"),
        (None, 1, [[-3.0], [0.6]], "", None, "Model"),
    ],
)
def test_the_task_says_what_answers_are_where_it_is_known(
    task: Task | None, labels: int, outputs: list[list[float]], kind: str, threshold: float | None, noun: str
) -> None:
    values = np.array(outputs, np.float32)
    file = Artifact(id="m", model="m", format="tflite", scheme="float32", path=None, labels=("b", "a")[:labels],
                    outputs=(TensorSpec("y", (1, values.shape[1]), "float32"),))  # fmt: skip
    gives = answer_kind(file, 0, values, task)
    reading = reading_of(file, 0, gives, values, task)
    assert (reading.kind, reading.threshold, noun_of(file, gives, reading, task)) == (kind, threshold, noun)
