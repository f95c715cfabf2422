"""A fleet: the worst device of each file, and the fewest files that keep the budget on all devices."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import write_json
from edgeproof.core.measurement import Latency, Measurement
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.results import Results, load_results
from edgeproof.core.statistics import paired_drop, wilson
from edgeproof.evaluate.fleet import fleet, smallest_covers
from edgeproof.evaluate.measure import Answered
from edgeproof.evaluate.scores import keep
from edgeproof.tasks.multilabel import Multilabel

N = 1000
BUDGET = Budget(max_latency_ms=10.0, max_accuracy_drop=0.02)


def file(scheme: str, size: int = 1000) -> Artifact:
    return Artifact(f"m--tflite-{scheme}", "m", "tflite", scheme, Path(f"{scheme}.tflite"), bytes=size)


def latency(ms: float) -> Latency:
    return Latency(ms, ms * 0.98, ms * 1.02, 0.95, ms, ms, ms, 6, 540, 1)


def row(artifact: Artifact, device: str, ms: float | None = 5.0, wrong: int = 0, **more: Any) -> Measurement:
    right = np.arange(N) >= wrong
    low, high = wilson(int(right.sum()), N)
    drop = paired_drop(np.ones(N, bool), right)
    facts: dict[str, Any] = {
        "accuracy": float(right.mean()), "accuracy_low": low, "accuracy_high": high, "samples": N, "drop": drop[0],
        "drop_low": drop[1], "drop_high": drop[2], "latency_ms": latency(ms) if ms else None,
    }  # fmt: skip
    return Measurement(artifact.id, f"{device}/litert", device, "litert", **{**facts, **more})


def results(*rows: Measurement, files: tuple[Artifact, ...]) -> Results:
    names = dict.fromkeys(r.device for r in rows)
    return Results(
        {"name": "f"}, {}, artifacts=list(files), measurements=list(rows), environments={n: {} for n in names}
    )


SMALL, FAST, EXACT = file("int8", 300), file("float16", 500), file("float32", 1000)


def chosen(found: dict[str, Any]) -> dict[str, list[str]]:
    return {f["artifact"]: [d["device"] for d in f["devices"]] for f in found["smallest_set"]["files"]}


def test_one_device_is_no_fleet() -> None:
    assert fleet(results(row(SMALL, "pi"), row(FAST, "pi"), files=(SMALL, FAST)), BUDGET) == {}
    away = row(SMALL, "phone", status="skipped", reason="away")
    assert fleet(results(row(SMALL, "pi"), away, files=(SMALL,)), BUDGET) == {}


def test_one_file_that_keeps_the_budget_everywhere_is_the_set_though_others_are_faster() -> None:
    rows = [row(SMALL, "pi", 8), row(SMALL, "phone", 3), row(FAST, "pi", 2), row(FAST, "phone", 30)]
    found = fleet(results(*rows, files=(SMALL, FAST)), BUDGET)
    assert chosen(found) == {SMALL.id: ["pi", "phone"]} and found["smallest_set"]["verdict"] == "met"
    assert found["smallest_set"]["why"] == "1 file keeps the budget on all 2 devices: tflite:int8 for pi and phone."


def test_two_files_where_no_single_one_does_and_each_device_gets_its_own_winner() -> None:
    rows = [
        row(SMALL, "pi", 8), row(SMALL, "phone", 30), row(SMALL, "board", 9),
        row(FAST, "pi", 2), row(FAST, "phone", 3), row(FAST, "board", 30),
    ]  # fmt: skip
    found = fleet(results(*rows, files=(SMALL, FAST)), BUDGET)
    assert chosen(found) == {SMALL.id: ["board"], FAST.id: ["pi", "phone"]}
    assert found["smallest_set"]["why"].startswith("2 files keep the budget on all 3 devices, and no fewer do: ")


def test_of_several_smallest_sets_the_one_with_the_most_recommended_files_then_the_fewest_bytes() -> None:
    rows = [row(one, device, ms) for one, ms in ((SMALL, 5), (EXACT, 2)) for device in ("pi", "phone")]
    assert chosen(fleet(results(*rows, files=(SMALL, EXACT)), BUDGET)) == {EXACT.id: ["pi", "phone"]}
    tied = [row(one, device, 5) for one in (SMALL, EXACT) for device in ("pi", "phone")]
    assert chosen(fleet(results(*tied, files=(EXACT, SMALL)), BUDGET)) == {SMALL.id: ["pi", "phone"]}


def test_a_device_without_a_file_is_named_with_the_nearest_one_and_the_rest_has_its_set() -> None:
    rows = [row(SMALL, "pi", 5), row(SMALL, "phone", 25), row(FAST, "phone", 15), row(SMALL, "board", 4)]
    away = row(SMALL, "lab", status="skipped", reason="lab does not answer")
    one = fleet(results(*rows, away, files=(SMALL, FAST)), BUDGET)["smallest_set"]
    assert one["verdict"] == "not met" and [d["device"] for d in one["files"][0]["devices"]] == ["pi", "board"]
    assert one["why"].startswith(
        "No set of files keeps the budget on all devices: phone and lab have none. On the others"
    )
    phone, lab = one["missing"]
    assert phone["why"] == "The nearest is tflite:float16: p95 latency 15.0 ms is above the 10.0 ms allowed."
    assert "lab does not answer" in lab["why"]


def test_what_the_samples_or_a_missing_latency_do_not_show_is_not_shown() -> None:
    emulated = {"kind": "emulated", "ms": None}
    rows = [row(SMALL, "pi"), row(SMALL, "emulated:arm64", **emulated)]
    one = fleet(results(*rows, files=(SMALL,)), BUDGET)["smallest_set"]
    assert one["verdict"] == "not shown" and one["not_shown"][0]["device"] == "emulated:arm64"
    assert "Latency is not known" in one["not_shown"][0]["why"]
    free = BUDGET.model_copy(update={"max_latency_ms": None})
    assert fleet(results(*rows, files=(SMALL,)), free)["smallest_set"]["verdict"] == "met"
    few = [row(SMALL, "pi"), row(SMALL, "phone", drop=0.01, drop_low=-0.01, drop_high=0.03)]
    one = fleet(results(*few, files=(SMALL,)), BUDGET)["smallest_set"]
    assert one["verdict"] == "not shown" and "Cannot be shown" in one["not_shown"][0]["why"]
    better = fleet(results(*few, row(FAST, "phone"), files=(SMALL, FAST)), BUDGET)["smallest_set"]
    assert better["verdict"] == "met" and len(better["files"]) == 2


def test_an_estimator_is_left_out_of_the_set_and_said_to_be() -> None:
    guess = row(SMALL, "ethos-u55", None, accuracy=None, drop=None, samples=0, kind="estimated")
    found = fleet(results(row(SMALL, "pi"), row(SMALL, "phone"), guess, files=(SMALL,)), BUDGET)
    assert found["smallest_set"]["verdict"] == "met" and [d["device"] for d in found["smallest_set"]["left_out"]] == [
        "ethos-u55"
    ]
    assert found["devices"] == ["pi", "phone", "ethos-u55"] and "Not counted: ethos-u55" in found["smallest_set"]["why"]


def test_without_a_budget_there_is_no_set() -> None:
    found = fleet(results(row(SMALL, "pi"), row(SMALL, "phone"), files=(SMALL,)), None)
    assert found["smallest_set"] is None and {cell["verdict"] for cell in found["cells"]} == {""}
    assert found["worst"][0]["latency"] is None


def with_scores(folder: Path, wrong: dict[str, int]) -> Results:
    rows = [row(SMALL, device, wrong=count) for device, count in wrong.items()]
    answers = {(r.artifact, r.target): Answered(np.arange(N) >= wrong[r.device]) for r in rows}
    kept = list(keep(rows, answers, data="1" * 64, folder=folder / "raw"))
    return results(*kept, files=(SMALL,))


@pytest.mark.parametrize(
    ("wrong", "verdict"),
    [
        ({"pi": 30, "phone": 30, "board": 30}, "same"),
        ({"pi": 30, "phone": 32, "board": 30}, "not distinguishable"),
        ({"pi": 30, "phone": 60, "board": 31}, "lower"),
    ],
)
def test_the_worst_device_is_named_where_the_same_samples_show_it(
    tmp_path: Path, wrong: dict[str, int], verdict: str
) -> None:
    worst = fleet(with_scores(tmp_path, wrong), BUDGET, folder=tmp_path)["worst"][0]["accuracy"]
    assert worst["verdict"] == verdict
    if verdict == "lower":
        assert (worst["device"], worst["against"]) == ("phone", "pi") and 0 < worst["low"] < 0.03 < worst["high"]
        assert worst["confidence"] == pytest.approx(1 - 0.05 / 3)
        # Without the scores of the samples the interval is that of separate samples, and wider.
        apart = fleet(with_scores(tmp_path, wrong), BUDGET)["worst"][0]["accuracy"]
        assert apart["high"] - apart["low"] > worst["high"] - worst["low"]
        assert apart["confidence"] == worst["confidence"], "of all pairs of devices, too"


def test_the_interval_of_any_metric_is_for_all_pairs_of_devices(tmp_path: Path) -> None:
    """Of taggers it is a bootstrap over the same samples, whose tails are those of the corrected confidence."""
    random = np.random.default_rng(3)
    tagged = (random.random((60, 3)) < 0.4).astype(np.float64)
    parts = {
        name: np.stack([tagged + random.normal(0, noise, tagged.shape), tagged], axis=1)
        for name, noise in (("pi", 0.1), ("phone", 0.7), ("board", 0.3), ("old", 0.4))
    }
    task = Multilabel(3)
    rows = [replace(row(SMALL, name), metric="mAP", accuracy=task.value_of(parts[name]), samples=60) for name in parts]
    answers = {(r.artifact, r.target): Answered(task.scores(parts[r.device]), parts=parts[r.device]) for r in rows}
    kept = list(keep(rows, answers, data="1" * 64, folder=tmp_path / "raw"))
    worst = fleet(results(*kept, files=(SMALL,)), BUDGET, folder=tmp_path)["worst"][0]["accuracy"]
    assert (worst["device"], worst["against"], worst["verdict"]) == ("phone", "pi", "lower")
    assert worst["confidence"] == pytest.approx(1 - 0.05 / 6)
    alone = task.drop(parts["pi"], parts["phone"])
    assert alone.value == pytest.approx(worst["difference"])
    assert worst["low"] < alone.low < alone.high < worst["high"], "wider than that of one pair"
    wide = task.drop(parts["pi"], parts["phone"], confidence=1 - 0.05 / 6)
    assert (worst["low"], worst["high"]) == pytest.approx(wide.ends)


def raw(folder: Path, one: Measurement, spread: float) -> Measurement:
    """Give a row a raw record: six processes whose 95th percentile varies by `spread`."""
    assert one.latency_ms is not None
    processes = [
        {
            "block": f"b{n}",
            "rounds": [0],
            "bursts": [20],
            "runs_ms": [one.latency_ms.p95 * (1 + spread * (n - 2.5))] * 20,
        }
        for n in range(6)
    ]
    (folder / "raw").mkdir(exist_ok=True)
    write_json(folder / "raw" / f"{one.device}.json", {"processes": processes, "error": 0.05})
    return replace(one, raw=f"raw/{one.device}.json")


@pytest.mark.parametrize(
    ("times", "spread", "verdict", "also"),
    [
        ((3.0, 20.0, 12.0), 0.001, "above", []),
        ((3.0, 20.0, 19.9), 0.01, "above", ["board"]),
        ((3.0, 10.1, 9.0), 0.05, "not distinguishable", ["board"]),
        ((3.0, 8.0, 4.0), 0.001, "within", []),
    ],
)
def test_latency_is_compared_with_the_limit_on_each_device(
    tmp_path: Path, times: tuple[float, ...], spread: float, verdict: str, also: list[str]
) -> None:
    rows = [
        raw(tmp_path, row(SMALL, name, ms), spread) for name, ms in zip(("pi", "phone", "board"), times, strict=True)
    ]
    worst = fleet(results(*rows, files=(SMALL,)), BUDGET, folder=tmp_path)["worst"][0]["latency"]
    assert (worst["device"], worst["verdict"], worst["also"]) == ("phone", verdict, also)
    assert worst["times_limit"] == pytest.approx(times[1] / 10) and worst["low"] < worst["times_limit"] < worst["high"]


def test_a_device_s_cell_is_the_runtime_that_keeps_the_budget() -> None:
    bad = row(SMALL, "pi", 2, wrong=300)
    rows = [
        bad,
        replace(row(SMALL, "pi", 8), target="pi/tflite-runtime", runtime="tflite-runtime"),
        row(SMALL, "phone"),
    ]
    cells = fleet(results(*rows, files=(SMALL,)), BUDGET)["cells"]
    assert [(c["target"], c["verdict"]) for c in cells] == [("pi/tflite-runtime", "met"), ("phone/litert", "met")]


@given(st.dictionaries(st.sampled_from("pqrst"), st.sets(st.sampled_from("abcdef"), min_size=1), min_size=1))
def test_covers_are_all_of_the_smallest_ones(allowed: dict[str, set[str]]) -> None:
    names = sorted(set().union(*allowed.values()))
    every = [
        c for size in range(1, 6) for c in combinations(names, size) if all(of & set(c) for of in allowed.values())
    ]
    smallest = [c for c in every if len(c) == len(every[0])]
    assert list(smallest_covers({device: sorted(of) for device, of in allowed.items()})) == sorted(smallest)


def test_it_is_in_the_results_and_the_csv(tmp_path: Path) -> None:
    run = results(row(SMALL, "pi", 5), row(SMALL, "phone", 30), row(FAST, "phone", 5), files=(SMALL, FAST))
    run.fleet = fleet(run, BUDGET)
    run.save(tmp_path)
    assert load_results(tmp_path).fleet == run.fleet
    columns = {(r["artifact"], r["target"]): (r["worst_device"], r["in_smallest_set"]) for r in run.rows()}
    assert columns[SMALL.id, "pi/litert"] == ("", "yes") and columns[SMALL.id, "phone/litert"] == ("latency", "")


def test_rows_of_devices_are_in_the_order_of_the_targets_whichever_came_first() -> None:
    run = results(row(SMALL, "phone"), row(FAST, "pi"), row(SMALL, "pi"), files=(SMALL, FAST))
    run.bench = [{"anchor": f"{SMALL.id}@{name}/litert:threads=2"} for name in ("phone", "pi")]
    run.sustained = [{"target": f"{name}/litert"} for name in ("phone", "pi")]
    run.sort(["pi/litert", "phone/litert"])
    assert [(m.artifact, m.device) for m in run.measurements] == [
        (SMALL.id, "pi"), (SMALL.id, "phone"), (FAST.id, "pi"),
    ]  # fmt: skip
    assert "@pi/" in run.bench[0]["anchor"] and run.sustained[0]["target"] == "pi/litert"
