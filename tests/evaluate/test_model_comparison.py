"""Models beside each other: the intervals by simulation, the tests against SciPy, the verdicts and their sentences."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from edgeproof.core.artifact import Artifact, artifact_id
from edgeproof.core.measurement import Latency, Measurement
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.results import Results
from edgeproof.core.statistics import holm, paired_drop, seeds_accuracy, seeds_difference, wilson
from edgeproof.core.variant import Variant
from edgeproof.evaluate.bursts import Ratios
from edgeproof.evaluate.model_comparison import compare_models
from edgeproof.report.content import Content
from edgeproof.report.sections.model_comparison import pair_rows
from edgeproof.tasks.regression import Regression
from edgeproof.tasks.segmentation import Segmentation
from edgeproof.tasks.task import recorded

from ..support.records import record

ANSWERS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=80).map(np.array)


def trained(rng, level, easy, seeds, n, seed_effect):
    """Answers (seeds, n) of a way of training: some samples are hard for all seeds, and some seeds are luckier."""
    own = easy + rng.normal(0, 0.7, n)
    return level + own + rng.normal(0, seed_effect, (seeds, 1)) + rng.normal(0, 0.4, (seeds, n)) > 0


def truth(level, seed_effect):
    spread = np.sqrt(1.5**2 + 0.7**2 + seed_effect**2 + 0.4**2)
    from statistics import NormalDist

    return NormalDist().cdf(level / spread)


@pytest.mark.parametrize("seed_effect", [0.0, 0.06, 0.2])
def test_pooled_intervals_cover_the_truth_and_pooling_naively_would_not(seed_effect):
    rng = np.random.default_rng(11)
    n, draws = 500, 600
    exact = truth(1.9, seed_effect) - truth(1.6, seed_effect)
    covered = naive = accuracy = 0
    for _ in range(draws):
        easy = rng.normal(0, 1.5, n)
        a, b = (trained(rng, level, easy, 3, n, seed_effect) for level in (1.9, 1.6))
        pooled = seeds_difference(a, b)
        covered += pooled.low <= exact <= pooled.high
        _, low, high = paired_drop(a.ravel(), b.ravel())
        naive += low <= exact <= high
        _, low, high = seeds_accuracy(a.mean(axis=1), n)
        accuracy += low <= truth(1.9, seed_effect) <= high
    assert 0.93 <= covered / draws <= 0.99
    assert 0.93 <= accuracy / draws <= 1.0
    assert naive / draws < 0.88


def test_without_a_difference_the_test_errs_as_seldom_as_it_says():
    rng = np.random.default_rng(5)
    p_values = []
    for _ in range(600):
        easy = rng.normal(0, 1.5, 400)
        p_values.append(seeds_difference(*(trained(rng, 1.6, easy, 3, 400, 0.06) for _ in range(2))).p)
    assert 0.015 <= np.mean(np.array(p_values) < 0.05) <= 0.07


@given(ANSWERS)
def test_one_seed_is_the_paired_interval(answers):
    a, b = answers.T
    difference = seeds_difference([a], [b])
    assert (difference.estimate, difference.low, difference.high) == pytest.approx(paired_drop(a, b))
    assert difference.freedom == np.inf
    assert difference.seeds_part == pytest.approx(0)


@given(ANSWERS, st.integers(2, 4))
def test_seeds_that_answer_alike_tell_no_more_than_one(answers, seeds):
    a, b = answers.T
    again = seeds_difference([a] * seeds, [b])
    assert (again.estimate, again.low, again.high) == pytest.approx(paired_drop(a, b))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(2, 60), st.integers(0, 2**32 - 1))
def test_difference_turned_round_is_its_negative_and_p_goes_with_the_interval(seeds_a, seeds_b, n, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.random((seeds_a, n)) < 0.8, rng.random((seeds_b, n)) < rng.random()
    one, turned = seeds_difference(a, b), seeds_difference(b, a)
    assert (turned.estimate, turned.low, turned.high) == pytest.approx((-one.estimate, -one.high, -one.low))
    assert turned.p == pytest.approx(one.p)
    assert one.estimate == pytest.approx(a.mean() - b.mean())
    assert 0 <= one.seeds_part <= 1
    if abs(one.p - 0.05) > 1e-9:
        assert (one.p < 0.05) == (not one.low <= 0 <= one.high)
    assert tuple(seeds_difference(a[::-1], b))[:4] == pytest.approx(tuple(one)[:4], abs=1e-9)


@given(st.integers(0, 50), st.integers(1, 50))
def test_accuracy_of_one_seed_is_wilson_s(right, wrong):
    mean, low, high = seeds_accuracy([right / (right + wrong)], right + wrong)
    assert (low, high) == pytest.approx(wilson(right, right + wrong), abs=1e-12)
    assert low <= mean <= high


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(1, 5000))
def test_accuracy_over_seeds_stays_within_bounds_and_is_never_narrower_than_wilson_s(shares, n):
    mean, low, high = seeds_accuracy(shares, n)
    _, one_low, one_high = seeds_accuracy([mean], n)
    assert 0 <= low <= mean <= high <= 1
    assert low <= one_low + 1e-9
    assert high >= one_high - 1e-9


@pytest.mark.parametrize("wrong", [([[True]], [[True, False]]), ([], []), ([True], [True])])
def test_answers_of_another_shape_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        seeds_difference(*wrong)


def test_accuracies_that_are_no_shares_are_refused():
    for shares, n in (([], 5), ([1.2], 5), ([0.5], 0)):
        with pytest.raises(ValueError, match="expected"):
            seeds_accuracy(shares, n)


def test_holm_s_own_kind_of_example():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(values):
    adjusted = holm(values)
    for p, corrected in zip(values, adjusted, strict=True):
        assert p <= corrected <= min(1.0, len(values) * p) + 1e-12
    assert adjusted[int(np.argmin(values))] == pytest.approx(min(1.0, len(values) * min(values)))
    inorder = [corrected for _, corrected in sorted(zip(values, adjusted, strict=True))]
    assert all(x <= y for x, y in pairwise(inorder))


LABELS = ["cat", "dog"]


def latency(median):
    return Latency(median, median * 0.98, median * 1.02, 0.96875, median, median * 1.1, median * 1.2, 6, 600, 1)


def run(folder=None, **milliseconds):
    """A run of models with one int8 file each on LiteRT, of the given median latencies."""
    results = Results(run={"name": "t"}, environment={})
    for name, median in milliseconds.items():
        results.models.append(
            {"name": name, "backbone": "keras:X", "labels": LABELS, "train_seconds": 10 * median, "input": {}}
        )
        reference = Artifact(artifact_id(name, Variant("savedmodel", "float32")), name, "savedmodel", "float32", None)
        float32 = Artifact(
            artifact_id(name, Variant("tflite", "float32")), name, "tflite", "float32", None, bytes=int(4e6 * median)
        )
        int8 = Artifact(
            artifact_id(name, Variant("tflite", "int8")), name, "tflite", "int8", None, bytes=int(1e6 * median)
        )
        for artifact in (reference, float32, int8):
            results.add_artifact(artifact)
        raw = ""
        if folder:
            raw = f"raw/{name}.json"
            (folder / "raw").mkdir(exist_ok=True)
            noise = np.random.default_rng(sum(name.encode())).lognormal(0, 0.01, 6)
            (folder / raw).write_text(json.dumps(record(list(median * noise))))
        results.add_measurement(
            Measurement(
                int8.id,
                "local/litert",
                "local",
                "litert",
                accuracy=0.8,
                samples=1000,
                drop=0.0,
                agreement=1.0,
                latency_ms=latency(median),
                raw=raw,
            )
        )
    return results


def answers(share, n=1000, flip=0, seed=0):
    """Whether each sample is answered rightly: the first ones are, then `flip` of those are turned at random."""
    right = np.arange(n) < share * n
    right[np.random.default_rng(seed).permutation(int(share * n))[:flip]] = False
    return right


def test_a_more_accurate_model_is_named_first_with_what_it_costs(tmp_path):
    results = run(folder=tmp_path, small=2.0, large=4.0)
    correct = {
        "small": {s: answers(0.80, flip=10, seed=s) for s in (1, 2, 3)},
        "large": {s: answers(0.86, flip=10, seed=s) for s in (1, 2, 3)},
    }
    (row,) = compare_models(results, correct, ratios=Ratios(tmp_path))
    assert (row["a"], row["b"], row["verdict"]) == ("small", "large", "b")
    assert row["difference"]["difference"] == pytest.approx(-0.06)
    assert row["difference"]["high"] < 0
    assert row["train_seconds"]["ratio"] == row["float_bytes"]["ratio"] == 0.5
    (target,) = row["targets"]
    assert (target["a"], target["b"], target["size_ratio"]) == ("small--tflite-int8", "large--tflite-int8", 0.5)
    assert target["latency_ratio"]["estimate"] == pytest.approx(0.5, rel=0.05)
    assert target["latency_ratio"]["method"].startswith("bursts of the same rounds")
    words = row["sentence"]
    assert words.startswith("large is more accurate than small by 6 points (95 % interval +")
    for phrase in ("p < 0.001; 3 seeds", "it takes 2.00× the training time", "is 2.00× the size in float",
                  "as long (1.9", "on local/litert (tflite:int8)"):  # fmt: skip
        assert phrase in words
    json.dumps(row)


def test_first_seed_is_tested_by_mcnemar_exactly():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.random(200) < 0.8, rng.random(200) < 0.75
        (row,) = compare_models(run(a=1.0, b=1.0), {"a": {4: a, 5: ~a}, "b": {4: b}})
        first = row["first"]
        assert first["only_a"] == int((a & ~b).sum())
        assert first["p"] == pytest.approx(binomtest(first["only_a"], first["only_a"] + first["only_b"]).pvalue)
        assert (first["difference"], first["low"], first["high"]) == pytest.approx(paired_drop(a, b))
        assert first["seeds"] == [4, 4]
        assert [seed["seed"] for seed in row["by_seed"]] == [4]
        assert "2 and 1 seeds" in row["sentence"]


def test_not_distinguishable_is_a_result():
    (row,) = compare_models(run(a=2.0, b=2.01), {"a": {1: answers(0.8)}, "b": {1: answers(0.802)}})
    assert row["verdict"] == "not distinguishable"
    assert row["sentence"].startswith("b and a are not distinguishable in accuracy: b is 0.2 points ahead (95 %")
    assert "McNemar's p = 0.5; 1 seed, so of these two trained models only" in row["sentence"]
    assert "1.00× as long (not distinguishable from equal) on local/litert" in row["sentence"]
    (level,) = compare_models(run(a=1.0, b=1.0), {"a": {1: answers(0.8)}, "b": {1: answers(0.8)}})
    assert "they are level" in level["sentence"]
    assert level["difference"]["low"] < 0 < level["difference"]["high"]


def test_several_pairs_are_corrected_for():
    names = {"a": 0.80, "b": 0.806, "c": 0.90}
    correct = {name: {1: answers(share)} for name, share in names.items()}
    (alone,) = compare_models(run(a=1.0, b=1.0), {k: correct[k] for k in "ab"})
    assert alone["verdict"] == "b", "six samples, all one way: p = 0.031"
    rows = compare_models(run(a=1.0, b=1.0, c=1.0), correct)
    assert [(r["a"], r["b"], r["verdict"]) for r in rows] == [
        ("a", "b", "b"), ("a", "c", "b"), ("b", "c", "b")
    ]  # fmt: skip
    assert rows[0]["difference"]["p_holm"] == rows[0]["difference"]["p"], "the largest p is not multiplied"
    close = {"a": {1: answers(0.80)}, "b": {1: answers(0.806)}, "c": {1: answers(0.806, flip=1)}}
    rows = compare_models(run(a=1.0, b=1.0, c=1.0), close)
    assert [r["verdict"] for r in rows] == ["not distinguishable"] * 3
    assert rows[0]["difference"]["p"] < 0.05 < rows[0]["difference"]["p_holm"]
    assert "after Holm's correction for 3 pairs" in rows[0]["sentence"]


@pytest.mark.parametrize(
    ("change", "correct", "why"),
    [
        ({"labels": []}, {"a": {1: answers(0.8)}, "b": {1: answers(0.8)}}, "the classes of b are not known"),
        ({"labels": ["cat", "cow"]}, {"a": {1: answers(0.8)}, "b": {1: answers(0.8)}}, "know different classes"),
        ({}, {"a": {1: answers(0.8)}}, "the float model b has not answered the test split"),
        ({}, {"a": {1: answers(0.8)}, "b": {1: answers(0.8, n=900)}}, "different samples (1,000 and 900)"),
    ],
)
def test_what_cannot_be_compared_says_so_and_costs_are_told_all_the_same(change, correct, why):
    results = run(a=1.0, b=2.0)
    results.models[1] |= change
    (row,) = compare_models(results, correct)
    assert row["verdict"] == "not compared"
    assert why in row["sentence"]
    assert "a takes 0.500× the training time" in row["sentence"]
    assert "difference" not in row


def test_labels_in_another_order_are_the_same_classes():
    results = run(a=1.0, b=1.0)
    results.models[1]["labels"] = LABELS[::-1]
    (row,) = compare_models(results, {"a": {1: answers(0.8)}, "b": {1: answers(0.9)}})
    assert row["verdict"] == "b"


def test_a_model_that_failed_is_in_no_pair():
    results = run(a=1.0, b=1.0)
    results.models.append({"name": "broken", "labels": [], "status": "failed", "reason": "no weights"})
    (row,) = compare_models(results, {"a": {1: answers(0.8)}, "b": {1: answers(0.9)}})
    assert (row["a"], row["b"]) == ("a", "b")
    assert compare_models(run(a=1.0), {"a": {1: answers(0.8)}}) == []


def test_only_files_within_the_budget_stand_for_a_model():
    correct = {"a": {1: answers(0.8)}, "b": {1: answers(0.9)}}
    (row,) = compare_models(run(a=2.0, b=4.0), correct, budget=Budget(max_latency_ms=3))
    assert row["targets"][0]["b"] is None
    assert "on local/litert only a has a file within the budget" in row["sentence"]
    asked = run(a=2.0, b=4.0)
    asked.budget = {"asked": {"max_latency_ms": 1, "target": "local/onnxruntime", "max_accuracy_drop": 0.01}}
    assert compare_models(asked, correct)[0]["targets"] == []
    asked.budget = {"asked": {"of another version": 1}}
    assert len(compare_models(asked, correct)[0]["targets"]) == 1


def test_latencies_of_unlike_kinds_are_not_put_in_a_ratio():
    results = run(a=1.0, b=1.0)
    results.measurements[0] = replace(results.measurements[0], kind="emulated")
    (row,) = compare_models(results, {"a": {1: answers(0.8)}, "b": {1: answers(0.9)}})
    assert row["targets"][0]["latency_ratio"] is None
    assert row["targets"][0]["kind"] == "emulated and measured"
    assert "on local/litert the latencies cannot be compared" in row["sentence"]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_every_pair_has_one_row_and_one_sentence(models, seeds, seed):
    rng = np.random.default_rng(seed)
    names = [f"m{i}" for i in range(models)]
    correct = {name: {s: rng.random(50) < rng.random() for s in range(seeds)} for name in names}
    rows = compare_models(run(**dict.fromkeys(names, 1.0)), correct)
    assert len(rows) == models * (models - 1) // 2
    for row in rows:
        estimate = row["difference"]["difference"]
        if row["verdict"] in ("a", "b"):
            assert (estimate > 0) == (row["verdict"] == "a")
            assert row["sentence"].startswith(f"{row[row['verdict']]} is more accurate than ")
        assert row["sentence"].endswith(".")
        assert "\n" not in row["sentence"]
        for end in ("a", "b"):
            accuracy = row[f"accuracy_{end}"]
            assert accuracy["low"] <= accuracy["mean"] <= accuracy["high"]
            assert (accuracy["spread"] is None) == (seeds == 1)


def test_hostile_names_stay_on_one_line():
    results = run(a=1.0, b=1.0)
    for model in results.models:
        model["name"] += "\n\u202e<script>"
    correct = {m["name"]: {1: answers(0.8 + 0.1 * i)} for i, m in enumerate(results.models)}
    (row,) = compare_models(results, correct)
    assert "\n" not in row["sentence"]
    assert "\u202e" not in row["sentence"]


@pytest.mark.parametrize(
    ("task", "metric", "unit"), [(Regression(0), "MAE", "of MAE"), (Segmentation(2), "mean IoU", "points")]
)
def test_models_of_other_tasks_are_compared_by_their_metric(task, metric, unit):
    random = np.random.default_rng(8)
    if metric == "MAE":
        targets = random.normal(20, 5, (80, 1))
        parts = {
            name: task.parts(targets + random.normal(0, off, (80, 1)), targets)
            for name, off in (("a", 1.0), ("b", 2.0))
        }
        lost = [np.abs(one[:, 0] - one[:, 1]).mean() for one in parts.values()]
    else:
        targets = random.integers(0, 2, (80, 4, 4)).astype(np.uint8)
        wrong = {name: random.random(targets.shape) < share for name, share in (("a", 0.1), ("b", 0.3))}
        parts = {
            name: task.parts(np.where(off, 1 - targets, targets).reshape(80, -1) * 1.0, targets)
            for name, off in wrong.items()
        }
        lost = [-task.value_of(one) for one in parts.values()]
    results = run(a=1.0, b=2.0)
    results.measurements = [
        recorded(task, replace(m, accuracy=None, accuracy_low=None, accuracy_high=None), task.estimate(parts["a"]))
        for m in results.measurements
    ]
    (row,) = compare_models(results, {name: {3: one} for name, one in parts.items()})
    assert row["metric"] == metric and row["verdict"] == "a" and row["samples"] == 80
    assert row["difference"]["difference"] == pytest.approx(lost[1] - lost[0]), (
        "above 0 a is better, whichever way it goes"
    )
    assert 0 < row["difference"]["low"] < row["difference"]["high"] and row["difference"]["p"] < 0.05
    assert f"a is better in {metric} than b by" in row["sentence"] and unit in row["sentence"]
    assert "McNemar" not in row["sentence"] and "1 seed, so of these two trained models only" in row["sentence"]
    (same,) = compare_models(results, {name: {3: parts["a"]} for name in "ab"})
    assert (
        same["verdict"] == "not distinguishable"
        and f"not distinguishable in {metric}: they are level" in same["sentence"]
    )
    (few,) = compare_models(results, {name: {3: one[:5]} for name, one in parts.items()})
    assert few["verdict"] == "not compared" and "5 samples are too few" in few["sentence"]
    results.comparisons = [row]
    (shown,) = pair_rows(Content(results))
    assert shown.mcnemar == "" and shown.difference.startswith("+")
