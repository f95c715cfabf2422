"""Cross-runtime consistency: what counts as wrong answers, and what as rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof.core.artifact import Artifact
from edgeproof.core.measurement import Measurement
from edgeproof.evaluate.consistency import TOLERANCE, Inconsistency, inconsistent_rows
from edgeproof.evaluate.consistency import inconsistent_targets as broken_by_scores
from edgeproof.evaluate.measure import Answered

Tops = np.ndarray


def inconsistent_targets(tops: dict[str, Tops], reference: Tops) -> list[Inconsistency]:
    """What the rule says of top classes."""
    return broken_by_scores({target: (top == reference).astype(float) for target, top in tops.items()})


def flipped(tops: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """The same answers with a share of them moved to another class."""
    moved = tops.copy()
    chosen = rng.permutation(len(tops))[: round(share * len(tops))]
    moved[chosen] = (moved[chosen] + 1 + rng.integers(0, 8, len(chosen))) % 10
    return moved


def test_the_measured_case_is_caught_and_rounding_is_not() -> None:
    rng = np.random.default_rng(1)
    reference = rng.integers(0, 10, 500)
    well, wrong = flipped(reference, 0.06, rng), flipped(reference, 0.97, rng)
    (broken,) = inconsistent_targets({"local/litert": well, "local/tflite-runtime==2.14": wrong}, reference)
    assert (broken.target, broken.best_target) == ("local/tflite-runtime==2.14", "local/litert")
    assert broken.best == pytest.approx(0.94) and broken.share < 0.05 and broken.low > 0.8
    # Two sets of int8 kernels on an unsure model: each moves other answers, neither loses.
    unsure = {"a": flipped(reference, 0.12, rng), "b": flipped(reference, 0.08, rng)}
    assert inconsistent_targets(unsure, reference) == []
    # A file that is bad everywhere is a bad file.
    assert inconsistent_targets({"a": wrong, "b": flipped(reference, 0.97, rng)}, reference) == []
    assert inconsistent_targets({"a": wrong}, reference) == []


def test_few_samples_condemn_nobody() -> None:
    reference = np.arange(10)
    assert inconsistent_targets({"a": reference, "b": np.where(reference < 6, reference, 0)}, reference) == []
    assert inconsistent_targets({"a": reference[:0], "b": reference[:0]}, reference[:0]) == []


@settings(deadline=None)
@given(st.integers(30, 400), st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
def test_the_best_target_is_never_broken_and_a_broken_one_lost_more_than_the_tolerance(
    samples: int, seed: int, one: float, other: float
) -> None:
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, 10, samples)
    tops = {"a": flipped(reference, one, rng), "b": flipped(reference, other, rng), "c": reference.copy()}
    shares = {target: float((top == reference).mean()) for target, top in tops.items()}
    by_target = {broken.target: broken for broken in inconsistent_targets(tops, reference)}
    assert "c" not in by_target
    for target, broken in by_target.items():
        assert broken.share == shares[target] and broken.best - broken.share > TOLERANCE and broken.low > TOLERANCE
    # Nothing depends on the order, or on what the classes are called.
    names = rng.permutation(10)
    renamed = inconsistent_targets({t: names[top] for t, top in reversed(tops.items())}, names[reference])
    assert {b.target for b in renamed} == set(by_target)


@settings(deadline=None)
@given(st.integers(200, 400), st.integers(0, 2**32 - 1), st.floats(0, 0.3))
def test_what_answers_at_random_is_always_broken_beside_what_does_not(samples: int, seed: int, lost: float) -> None:
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, 10, samples)
    tops = {"well": flipped(reference, lost, rng), "noise": rng.integers(0, 10, samples)}
    assert [broken.target for broken in inconsistent_targets(tops, reference)] == ["noise"]


def test_rows_that_are_broken_are_replaced_by_failed_ones() -> None:
    rng = np.random.default_rng(2)
    reference = rng.integers(0, 10, 300)
    artifacts = [
        Artifact("m--savedmodel-float32", "m", "savedmodel", "float32", None),
        Artifact("m--tflite-dynamic", "m", "tflite", "dynamic", None),
        Artifact("m--tflite-int8", "m", "tflite", "int8", None),
    ]
    old, new, tensorflow = "local/tflite-runtime==2.14", "local/litert", "local/tensorflow"
    tops = {
        ("m--savedmodel-float32", tensorflow): reference,
        ("m--tflite-dynamic", old): flipped(reference, 0.9, rng),
        ("m--tflite-dynamic", new): flipped(reference, 0.05, rng),
        ("m--tflite-int8", old): flipped(reference, 0.06, rng),
        ("m--tflite-int8", new): flipped(reference, 0.05, rng),
    }
    answers = {cell: Answered(top == reference, (top == reference).astype(float)) for cell, top in tops.items()}
    rows = [
        Measurement(name, target, "local", target.split("/")[1].split("==")[0], agreement=0.1, samples=300)
        for name, target in answers
    ]
    references = {"m": "m--savedmodel-float32"}
    (failed,) = inconsistent_rows(rows, artifacts, answers, references=references)
    assert (failed.artifact, failed.target, failed.status) == ("m--tflite-dynamic", old, "failed")
    assert (
        "loads and answers wrongly" in failed.reason and "10.0 %" in failed.reason and "local/litert" in failed.reason
    )
    assert failed.remedy and failed.agreement == 0.1
    # Without the float model the labels stand in for it; without either nothing can be said.
    del answers["m--savedmodel-float32", tensorflow]
    (failed,) = inconsistent_rows(rows, artifacts, answers, references=references)
    assert "the labels" in failed.reason
    unscored = {cell: replace(answer, scores=None) for cell, answer in answers.items()}
    assert inconsistent_rows(rows, artifacts, unscored, references=references) == []
    # A row that is not ok stays what it is.
    assert inconsistent_rows([failed, *rows[2:]], artifacts, answers, references=references) == []


def test_answers_without_a_top_class_are_judged_by_their_elements() -> None:
    rng = np.random.default_rng(3)
    well, wrong = 1 - 0.02 * rng.random(60), 0.4 + 0.1 * rng.random(60)  # shares of pixels
    (broken,) = broken_by_scores({"local/litert": well, "local/tflite-runtime": wrong})
    assert broken.target == "local/tflite-runtime" and broken.low > TOLERANCE
    assert broken_by_scores({"a": well, "b": well - 0.05 * rng.random(60)}) == []
