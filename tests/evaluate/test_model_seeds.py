"""Models of any metric compared over several seeds: the intervals by simulation and against the closed form."""

from dataclasses import replace

import numpy as np
import pytest

from edgeproof.core.formatting import significant
from edgeproof.core.statistics import Drawn, drawn_difference, drawn_mean, seeds_accuracy, seeds_difference
from edgeproof.evaluate.model_comparison import compare_models
from edgeproof.report.content import Content
from edgeproof.report.sections.model_comparison import model_rows, pair_rows
from edgeproof.tasks.regression import Regression
from edgeproof.tasks.task import recorded

from .test_model_comparison import run, trained


def drawing(n, random, draws=200):
    """What makes the mean over n samples of (seeds, n) a metric that is drawn."""
    weights = random.multinomial(n, np.full(n, 1 / n), size=draws) / n
    return lambda rows: Drawn(rows.mean(axis=1), rows @ weights.T)


def test_seeds_by_draws_agree_with_the_closed_form():
    random = np.random.default_rng(6)
    easy = random.normal(0, 1.5, 600)
    a, b = (trained(random, level, easy, 3, 600, 0.2) for level in (1.9, 1.3))
    of = drawing(600, random, 4000)
    ours, exact = drawn_difference(of(a * 1.0), of(b * 1.0)), seeds_difference(a, b)
    assert ours.estimate == pytest.approx(exact.estimate)
    assert ours.high - ours.low == pytest.approx(exact.high - exact.low, rel=0.1)
    assert ours.seeds_part == pytest.approx(exact.seeds_part, abs=0.1)
    assert drawn_mean(of(a * 1.0))[1:] == pytest.approx(seeds_accuracy(list(a.mean(axis=1)), 600)[1:], abs=0.01)
    turned = drawn_difference(of(b * 1.0), of(a * 1.0))
    assert (turned.low, turned.high, turned.p) == pytest.approx((-ours.high, -ours.low, ours.p))
    nothing = Drawn(np.ones(2), np.full((2, 4000), np.nan))
    assert np.isnan(drawn_difference(nothing, of(b * 1.0))[1:3]).all() and drawn_difference(nothing, nothing).p == 1
    assert np.isnan(drawn_mean(nothing)[1:]).all() and drawn_mean(nothing)[0] == 1
    alike = Drawn(np.ones(2), np.ones((2, 9)))
    assert drawn_difference(alike, alike)[:4] == (0, 0, 0, 1)


@pytest.mark.parametrize("seed_effect", [0.0, 0.3])
def test_intervals_of_errors_over_seeds_cover_the_truth(seed_effect):
    """Absolute errors, heavy to one side; a's seeds are worse by 0.2 on average."""
    random = np.random.default_rng(9)
    covered, wrong, times = 0, 0, 300
    for _ in range(times):
        hard = random.gamma(2, 0.5, 150)
        a, b = (
            hard + level + seed_effect * random.normal(size=(3, 1)) + random.normal(0, 0.4, (3, 150))
            for level in (0.2, 0.0)
        )
        of = drawing(150, random)
        found = drawn_difference(of(a), of(b))
        covered += found.low <= 0.2 <= found.high
        other = hard + seed_effect * random.normal(size=(3, 1)) + random.normal(0, 0.4, (3, 150))
        wrong += drawn_difference(of(other), of(b)).p < 0.05
    assert 0.92 <= covered / times <= 1.0 and wrong / times <= 0.08


def test_models_of_other_tasks_are_compared_over_their_seeds():
    random, task = np.random.default_rng(4), Regression(0)
    targets = random.normal(20, 5, (60, 1))
    parts = {
        name: {
            seed: task.parts(targets + off * (1 + luck * (seed - 2)) * random.normal(size=(60, 1)), targets)
            for seed in (1, 2, 3)
        }
        for name, off, luck in (("a", 1.0, 0.05), ("b", 2.0, 0.05))
    }
    results = run(a=1.0, b=2.0)
    results.measurements = [
        recorded(task, replace(m, accuracy=None, accuracy_low=None, accuracy_high=None), task.estimate(parts["a"][1]))
        for m in results.measurements
    ]
    (row,) = compare_models(results, parts)
    errors = {name: [np.abs(p[:, 0] - p[:, 1]).mean() for p in by.values()] for name, by in parts.items()}
    assert row["verdict"] == "a" and row["metric"] == "MAE" and "3 seeds" in row["sentence"]
    assert row["difference"]["difference"] == pytest.approx(np.mean(errors["b"]) - np.mean(errors["a"]))
    assert row["accuracy_a"]["mean"] == pytest.approx(np.mean(errors["a"]))
    assert row["accuracy_b"]["spread"] == pytest.approx(np.std(errors["b"], ddof=1)) and row["first"]["seeds"] == [1, 1]
    assert [one["seed"] for one in row["by_seed"]] == [1, 2, 3]
    assert row["by_seed"][2]["difference"] == pytest.approx(errors["b"][2] - errors["a"][2])
    one_lucky = {"a": parts["a"], "b": {1: parts["b"][1], 2: parts["a"][2]}}
    (unsure,) = compare_models(results, one_lucky)
    assert unsure["verdict"] == "not distinguishable" and unsure["difference"]["seeds_part"] > 0.5
    assert "3 and 2 seeds" in unsure["sentence"]
    results.comparisons = [row]
    content = Content(results)
    assert pair_rows(content)[0].difference.startswith("+")
    assert (content.quality, content.quality_name, content.by_metric) == ("Mean absolute error", "MAE", True)
    for name, values in errors.items():
        results.set_repeats(name, [{"seed": 1, "accuracy": None, "score": v, "samples": 60} for v in values])
    table, mean = model_rows(content)[0], row["accuracy_a"]
    assert table.accuracy == significant(mean["mean"])
    assert table.interval == f"{significant(mean['low'])} to {significant(mean['high'])}"
    assert table.seeds.startswith("3 seeds, ") and table.seeds.endswith(f"exported {significant(errors['a'][0])}")
    results.comparisons = []
    assert (model_rows(content)[0].accuracy, model_rows(content)[0].interval) == (table.accuracy, "")
