"""What counts as the same answer: by sample for one row of classes, by element for all else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof import tasks
from edgeproof.quantize.diagnosis.answers import AnswerComparison
from edgeproof.tasks.agreement import (
    CLASS,
    CLASSES,
    NUMBERS,
    SIDES,
    WHOLE,
    Agreement,
    qualifier,
    shares_of,
    words,
)
from edgeproof.tasks.classification import Classification


def compare(reference: np.ndarray, other: np.ndarray, shape: tuple[int, ...] = (), classes: int = 0) -> Agreement:
    return tasks.compare(Classification(classes), reference, other, shape)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponential = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponential / exponential.sum(axis=-1, keepdims=True)


def answers(kind: str, rng: np.random.Generator, n: int = 30) -> np.ndarray:
    """Answers of a float model of each kind, (n, …)."""
    examples = {
        CLASS: lambda: softmax(3 * rng.normal(size=(n, 5))),
        CLASSES: lambda: softmax(3 * rng.normal(size=(n, 8, 6, 4))),
        SIDES: lambda: 1 / (1 + np.exp(-3 * rng.normal(size=(n, 9)))),
        WHOLE: lambda: rng.integers(0, 7, (n, 8, 6)).astype(float),
        NUMBERS: lambda: rng.normal(size=(n, 4)),
    }
    return examples[kind]()


def flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).astype(np.float32)


@pytest.mark.parametrize("kind", [CLASS, CLASSES, SIDES, WHOLE, NUMBERS])
def test_each_kind_of_answer_is_known_by_the_float_models_own(kind: str) -> None:
    rng = np.random.default_rng(1)
    exact = answers(kind, rng)
    same = compare(flat(exact), flat(exact), exact.shape[1:])
    assert same.by == kind and same.error == 0 and (same.scores == 1).all()
    assert same.share == (None if kind == NUMBERS else 1)
    other = compare(flat(exact), flat(answers(kind, rng)), exact.shape[1:])
    assert other.scores.mean() < 0.7 and other.error > 0.5


def test_one_pixel_of_a_map_and_one_word_of_a_sentence_are_a_small_part_and_not_all_of_it() -> None:
    rng = np.random.default_rng(2)
    exact = softmax(rng.normal(size=(20, 100, 100, 2)))
    other = exact.copy()
    other[:, 0, 0] = other[:, 0, 0, ::-1]  # one of 10,000 pixels has the other class
    other = softmax(np.log(other) * (1 + 0.5 * rng.random((*exact.shape[:3], 1))))  # all values move, no class does
    agreement = compare(flat(exact), flat(other), (100, 100, 2))
    assert agreement.by == CLASSES and agreement.share == pytest.approx(0.9999)
    assert (flat(exact).argmax(1) == flat(other).argmax(1)).mean() < 0.9, "what a flattened answer would say"


def test_what_only_looks_like_classes_or_sides_is_numbers() -> None:
    rng = np.random.default_rng(3)
    for shape in ((1,), (16, 16, 3), (20, 4)):  # one value, a picture, boxes: all between 0 and 1
        exact = rng.random((25, *shape))
        assert compare(flat(exact), flat(exact), shape).by == NUMBERS
    logits = rng.normal(size=(25, 10))
    assert compare(flat(logits), flat(logits), (10,)).by == NUMBERS
    assert compare(flat(logits), flat(logits), (1, 1, 10), classes=10).by == CLASS
    assert compare(flat(logits), flat(logits), (5, 2), classes=2).by == CLASSES


def test_of_numbers_the_likeness_is_what_the_relative_error_leaves() -> None:
    exact = np.random.default_rng(4).normal(size=(400, 6))
    agreement = compare(flat(exact), flat(exact + 0.1), (6,))
    assert agreement.error == pytest.approx(0.1, rel=0.1) and agreement.scores.mean() == pytest.approx(0.9, rel=0.02)
    assert compare(flat(exact), flat(exact * np.nan), (6,)).error == float("inf")
    assert compare(flat(exact), flat(exact * np.nan), (6,)).scores.max() == 0


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([CLASS, CLASSES, SIDES, WHOLE, NUMBERS]), st.integers(0, 2**32 - 1), st.integers(1, 29))
def test_it_does_not_matter_in_which_parts_the_answers_come(kind: str, seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    exact, other = answers(kind, rng), answers(kind, rng)
    at_once = compare(flat(exact), flat(other), exact.shape[1:])
    parts = compare(flat(exact[:cut]), flat(other[:cut]), exact.shape[1:])
    parts.add(flat(exact[cut:]), flat(other[cut:]))
    assert parts.by == at_once.by and parts.error == pytest.approx(at_once.error)
    assert np.allclose(parts.scores, at_once.scores) and ((at_once.scores >= 0) & (at_once.scores <= 1)).all()


def test_a_share_says_what_it_is_a_share_of() -> None:
    assert [shares_of(by) for by in ("", CLASS, CLASSES, NUMBERS)] == [
        "samples", "samples", "answers' elements", "spread of the answers"
    ]  # fmt: skip
    assert qualifier("") == qualifier(CLASS) == "" and qualifier(SIDES) == f" ({SIDES})"
    assert qualifier(NUMBERS) == " (less the relative error of its numbers)"
    assert words("") == words(CLASS) == "top class" and words("of another version") == "answer"


def test_targets_decide_what_sigmoids_and_logits_are() -> None:
    """Sigmoids of known classes may be tags; with targets that are classes, or tags, it is known which they are."""
    rng = np.random.default_rng(4)
    logits = 3 * rng.normal(size=(60, 3))
    other = logits + rng.normal(size=logits.shape)
    sigmoids, others = 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-other))
    tops = (logits.argmax(axis=1) == other.argmax(axis=1)).mean()
    sides = ((logits >= 0) == (other >= 0)).mean()
    assert tops != pytest.approx(sides)
    classes, tags = tasks.task_of("abc", certain=True), tasks.task_of("abc", "multilabel")
    for exact, noisy in ((sigmoids, others), (logits, other)):
        assert tasks.compare(classes, exact, noisy).share == pytest.approx(tops)
        assert tasks.compare(tags, exact, noisy).share == pytest.approx(sides)
    guessed = [
        tasks.compare(tasks.task_of("abc"), exact, given) for exact, given in ((sigmoids, others), (logits, other))
    ]
    assert [one.by for one in guessed] == [SIDES, CLASS], "without targets the answers show it, and `by` says it"
    assert tasks.compare(classes, sigmoids[:, :2], others[:, :2]).by != CLASS, "no answer by class"


def test_a_diagnosis_counts_as_the_targets_say() -> None:
    """Two tags look like two classes."""
    rng = np.random.default_rng(5)
    exact = 1 / (1 + np.exp(-rng.normal(size=(40, 2))))
    other = np.clip(exact + rng.normal(0, 0.2, exact.shape), 0, 1)
    shares = {}
    for task in ("", "classification", "multilabel"):
        counted = AnswerComparison("", 2, task=task, sigmoids=True)
        for a, b in zip(exact, other, strict=True):
            counted.add({"y": a[None]}, {"y": b[None]})
        shares[task] = (counted.by, counted.share)
    assert shares["multilabel"] == (SIDES, pytest.approx(((exact >= 0.5) == (other >= 0.5)).mean()))
    tops = (exact.argmax(axis=1) == other.argmax(axis=1)).mean()
    assert shares["classification"] == shares[""] == (CLASS, pytest.approx(tops))
