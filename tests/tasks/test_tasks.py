"""Tasks: what every one of them must keep to, and what is right in classification."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.dataset import PreparedData
from edgeproof.core.measurement import Measurement
from edgeproof.core.statistics import paired_drop, wilson
from edgeproof.tasks import TASKS, compare, task_of
from edgeproof.tasks.agreement import CLASS, NUMBERS
from edgeproof.tasks.classification import Classification

LABELS = ("a", "b", "c")


def prepared(folder: Path, labels: tuple[str, ...]) -> PreparedData:
    np.save(folder / "test-labels.npy", np.array([0, 1, 2, 2]))
    return PreparedData(folder, "mine", labels, 4, 4, "", {"test": 4}, "1" * 64)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_its_own_name_and_compares_a_file_with_itself(name: str) -> None:
    task = task_of(LABELS, name)
    assert task.name == name and task.metric
    answers = np.random.default_rng(1).random((20, 3)).astype(np.float32)
    same = compare(task, answers, answers)
    assert (same.scores == 1).all() and same.error == 0
    assert (task.closeness(answers, answers) >= task.closeness(answers[::-1], answers)).all()


def test_a_sample_is_right_where_the_highest_value_is_its_class(tmp_path: Path) -> None:
    task, data = task_of(LABELS), prepared(tmp_path, LABELS)
    answers = np.array([[0.9, 0, 0], [0.3, 0.5, 0.2], [0.6, 0.3, 0.1], [0, 0.2, 0.8]], np.float32)
    scores = task.parts(answers, task.targets(data, "test"))
    assert scores is not None and scores.tolist() == [True, True, False, True]
    assert task.estimate(scores) == (0.75, *wilson(3, 4))


def test_what_cannot_be_scored_has_no_score(tmp_path: Path) -> None:
    answers = np.zeros((4, 3), np.float32)
    targets = np.array([0, 1, 2, 2])
    unknown = task_of(())
    assert unknown.targets(prepared(tmp_path, ()), "test") is None
    assert unknown.parts(answers, targets) is None, "how many classes there are is not known"
    assert task_of(LABELS).parts(answers, None) is None
    assert task_of(LABELS).parts(answers[:, :2], targets) is None, "not one value for each class"
    assert task_of(("only",)).parts(answers[:, :1], targets) is None, "one class is always right"


def test_the_drop_is_paired_and_the_very_same_answers_lose_nothing() -> None:
    task = task_of(LABELS)
    reference, scores = np.arange(100) < 90, np.arange(100) < 85
    assert task.drop(reference, scores) == paired_drop(reference, scores)
    assert task.drop(reference, reference, identical=True) == (0, 0, 0)
    assert task.drop(reference, reference).high > 0, "equal scores need not be equal answers"
    with pytest.raises(ValueError, match="equal length"):
        task.drop(reference, scores[:50])


def test_a_row_of_an_older_version_gets_its_interval_again() -> None:
    task = task_of(())
    row = Measurement("a", "local/litert", "local", "litert", accuracy=0.9, samples=50)
    assert task.reported(row) == (0.9, *wilson(45, 50))
    assert task.reported(replace(row, accuracy_low=0.8, accuracy_high=0.95)) == (0.9, 0.8, 0.95)
    assert task.reported(replace(row, accuracy=None)) is task.reported(replace(row, samples=0)) is None


def test_models_are_comparable_by_the_same_classes_in_any_order() -> None:
    task = task_of(LABELS)
    mine, other = {"name": "mine", "labels": ["a", "b"]}, {"name": "other", "labels": ["b", "a"]}
    assert task.not_comparable(mine, other) == ""
    assert task.not_comparable(mine, {**other, "labels": ["a", "c"]}) == "the two know different classes"
    assert task.not_comparable(mine, {**other, "labels": []}) == "the classes of other are not known"


def test_the_labels_say_that_values_are_classes() -> None:
    logits = np.random.default_rng(2).normal(size=(30, 3))
    assert compare(task_of(LABELS), logits, logits).by == CLASS
    assert compare(task_of(()), logits, logits).by == NUMBERS, "nobody said that they are classes"


def test_a_shape_of_another_size_is_left_aside() -> None:
    answers = np.eye(3)[[0, 1, 2, 0]]
    assert compare(Classification(3), answers, answers, (1, 3)).by == CLASS
    assert compare(Classification(3), answers, answers, (7, 5)).shape == (3,)


def test_closeness_is_finer_than_the_top_class() -> None:
    task = task_of(LABELS)
    reference = np.array([[0.9, 0.1, 0.0], [0.5, 0.3, 0.2]])
    near, far = np.array([[0.8, 0.2, 0.0], [0.5, 0.3, 0.2]]), np.array([[0.4, 0.3, 0.3], [0.9, 0.1, 0.0]])
    assert compare(task, reference, near).share == compare(task, reference, far).share == 1
    np.testing.assert_allclose(task.closeness(near, reference), [0.9, 1.0])
    assert (task.closeness(far, reference) < task.closeness(near, reference)).all()
