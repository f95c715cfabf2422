"""Selection: the interval rule, runtimes, a recommendation per target, and the front of a run without a budget."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.errors import InputError
from edgeproof.core.formatting import limits
from edgeproof.core.measurement import PooledDrop
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.recipe_file import parse_budget
from edgeproof.core.statistics import paired_drop, samples_needed
from edgeproof.evaluate.budget import runtime_violations
from edgeproof.evaluate.select import verdict

from .test_select import MIB, TYPICAL, results


def int8(drop, low, high, samples=2000, **changes):
    fields = {"drop": drop, "drop_low": low, "drop_high": high, "samples": samples, **changes}
    return ("tflite:int8", "litert", 0.82, drop, 3.0, MIB, fields)


@pytest.mark.parametrize(
    ("interval", "fits", "words"),
    [
        ((0.002, -0.003, 0.01), True, "0.2 points below float"),
        ((-0.004, -0.011, 0.003), True, "0.4 points above float"),
        ((0.004, -0.005, 0.013), False, "cannot be shown with 2,000 samples to lose at most 1 point"),
        ((0.0, -0.018, 0.018), False, "on these it loses nothing"),
        ((-0.002, -0.022, 0.018), False, "on these it gains 0.2 points"),
        (
            (0.015, 0.005, 0.026),
            False,
            "1 point allowed; 2,000 samples do not exclude that it loses less",
        ),
        ((0.05, 0.04, 0.06), False, "loses 5 points of accuracy against float (95 % interval +4.00 to +6.00), more"),
    ],
)
def test_the_whole_interval_of_the_drop_must_be_inside(interval, fits, words):
    budget, chosen = verdict(results(int8(*interval)), Budget())
    assert budget["met"] is fits
    not_shown = "on these" in words or "cannot be shown" in words
    assert budget["verdict"] == ("met" if fits else "not shown" if not_shown else "not met")
    assert chosen["artifact"] == ("m--tflite-int8" if fits or not_shown else None), "not shown: recommended as such"
    assert ("What would show it: about" in chosen["why"]) is not_shown
    assert ("budget.max_accuracy_drop = 0.018" in chosen["why"]) is (not_shown and interval[2] == 0.018)
    assert words in chosen["why"]
    assert ("do not exclude" in chosen["why"]) is (interval[0] == 0.015)
    assert ("samples instead of 2,000" in chosen["why"]) is ("on these" in chosen["why"]) is not_shown
    assert chosen["why"].count("95 % interval of the drop") == fits, "the drop is told once"
    by_estimate, _ = verdict(results(int8(*interval)), Budget(drop_by="estimate"))
    assert by_estimate["met"] is (interval[0] <= 0.01)


def test_a_file_that_is_shown_to_fit_goes_before_faster_ones_that_are_not_and_what_breaks_a_limit_is_never_not_shown():
    slow = ("tflite:float16", "litert", 0.82, 0.001, 6.0, 4 * MIB)
    fast, fastest = int8(0.0, -0.03, 0.03, 121), ("tflite:dynamic", "litert", 0.7, 0.12, 1.0, MIB)
    budget, chosen = verdict(results(slow, fast, fastest), Budget())
    assert (budget["verdict"], chosen["artifact"]) == ("met", "m--tflite-float16")
    assert {r["artifact"]: r["verdict"] for r in chosen["rejected"]} == {
        "m--tflite-int8": "not shown", "m--tflite-dynamic": "not met"
    }  # fmt: skip
    budget, chosen = verdict(results(fast, fastest), Budget())
    assert (budget, chosen["artifact"]) == (budget | {"met": False, "verdict": "not shown"}, "m--tflite-int8")
    assert [r["artifact"] for r in chosen["rejected"]] == ["m--tflite-dynamic"] and chosen["fits"] == []
    assert chosen["targets"][0]["verdict"] == "not shown"
    budget, chosen = verdict(results(fast), Budget(max_bytes=1000))  # too large, whatever more samples would say
    assert (budget["verdict"], chosen["artifact"]) == ("not met", None)


def pooled(drop, low, high, validation, samples=121):
    splits = {"test": samples, "validation": validation} if validation else {"test": samples}
    return {"pooled_drop": PooledDrop(drop, low, high, samples + validation, splits)}


def test_the_drop_is_judged_on_all_samples_that_chose_nothing_and_the_words_say_on_which():
    few = (0.0, -0.023, 0.023, 121)
    assert verdict(results(int8(*few)), Budget())[0]["verdict"] == "not shown"
    more = int8(*few, **pooled(0.0, -0.0045, 0.0045, 481))
    budget, chosen = verdict(results(more), Budget())
    assert budget["verdict"] == "met"
    assert "no drop against float on test and validation, 602 samples (95 % interval" in chosen["why"]
    # The other way round: what looked well on few samples is not.
    worse = int8(0.0, -0.009, 0.009, 121, **pooled(0.03, 0.02, 0.04, 481))
    budget, chosen = verdict(results(worse), Budget())
    assert budget["verdict"] == "not met"
    assert "loses 3 points of accuracy against float on test and validation, 602 samples (95 %" in chosen["why"]
    unsure = int8(*few, **pooled(0.0, -0.011, 0.011, 200))
    _, chosen = verdict(results(unsure), Budget())
    assert "cannot be shown with 321 samples of test and validation to lose at most 1 point" in chosen["why"]
    assert "samples instead of 321" in chosen["why"] and "budget.max_accuracy_drop = 0.011" in chosen["why"]
    alone = int8(*few, **pooled(*few[:3], 0))
    assert "with 121 samples of test to lose" in verdict(results(alone), Budget())[1]["why"]
    _, chosen = verdict(results(unsure), Budget(drop_by="estimate"))
    assert "321 samples do not exclude one of up to 1.1 points" in chosen["why"]


def test_of_files_that_miss_a_limit_alike_the_faster_one_is_the_closest():
    lost = {"drop": 0.05, "drop_low": 0.04, "drop_high": 0.06}
    slow, fast = (
        ("tflite:float16", "litert", 0.77, 0.05, 6.39, MIB, lost),
        ("tflite:int8", "litert", 0.77, 0.05, 1.23, MIB, lost),
    )
    for rows in ((slow, fast), (fast, slow)):
        assert "Closest is tflite:int8 on" in verdict(results(*rows), Budget())[1]["why"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"relative_error": 0.02, "difference": 0.1}, "relative error, latency and size"),
        ({}, "beaten by no other in latency and size at once"),
        ({"agreement": 0.97}, "agreement with the float model, latency and size"),
    ],
)
def test_files_that_were_measured_are_compared_by_what_is_known_of_them(changes, words):
    unknown = {"accuracy": None, "accuracy_low": None, "accuracy_high": None, "drop": None, **changes}
    small = ("tflite:int8", "litert", 0.8, 0.0, 1.0, MIB, unknown)
    large = ("tflite:float32", "litert", 0.8, 0.0, 2.0, 4 * MIB, unknown)
    _, chosen = verdict(results(small, large), None)
    assert "No exported file" not in chosen["why"] and "has no latency" not in str(chosen)
    assert [row["artifact"] for row in chosen["pareto"]] == ["m--tflite-int8"]
    assert chosen["beaten"][0]["artifact"] == "m--tflite-float32"
    assert words in chosen["why"]
    assert ("How well they answer is not known" in chosen["why"]) is (not changes)


def test_a_drop_of_nothing_can_not_be_shown_by_any_number_of_samples():
    _, chosen = verdict(results(int8(0.0, -0.002, 0.002)), Budget(max_accuracy_drop=0))
    assert "no number of samples would show that" in chosen["why"]


def test_where_all_may_be_lost_an_unknown_drop_is_within_it():
    unknown = int8(None, None, None)
    assert verdict(results((*TYPICAL[2], unknown[-1])), Budget(max_accuracy_drop=1))[0]["met"]
    assert limits({"max_accuracy_drop": 1.0, "drop_by": "interval", "max_bytes": MIB}) == [("file at most", "1.00 MiB")]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(100, 3000), st.floats(0.002, 0.1))
def test_so_many_samples_would_show_it(lost, gained, n, allowed):
    def drops(count):
        only_float, only_file = round(lost * count / n), round(gained * count / n)
        same = count - only_float - only_file
        return paired_drop([True] * only_float + [False] * only_file + [True] * same,
                           [False] * only_float + [True] * only_file + [True] * same)  # fmt: skip

    drop, low, high = drops(n)
    needed = samples_needed(drop, low, high, n, allowed)
    if drop >= allowed:
        assert needed is None
    elif needed is not None and needed < 200_000:
        assert drops(needed)[2] <= allowed + 1.5 / needed
        assert needed <= n * 1.1 or drops(int(needed * 0.85))[2] > allowed - 1.5 / needed


FIXED = ("tflite:int8", "litert", 0.82, 0.0, 3.0, MIB)


def ran_on(version, **changes):
    """An int8 file measured on LiteRT and on one version of tflite-runtime."""
    rows = results(FIXED)
    (m,) = rows.measurements
    target = f"local/tflite-runtime=={version}"
    old = replace(m, target=target, runtime="tflite-runtime", runtime_version=version)
    rows.add_measurement(replace(old, **changes))
    return rows


def test_a_measurement_on_the_runtime_decides():
    budget = Budget(runtime="tflite-runtime==2.14")
    _, chosen = verdict(ran_on("2.14.0"), budget)
    assert chosen["artifact"] == "m--tflite-int8"
    assert "It ran on tflite-runtime 2.14.0." in chosen["why"]
    failed = ran_on("2.14.0", status="failed", reason="answers otherwise than on LiteRT: agreement 0.10")
    _, none = verdict(failed, budget)
    assert none["artifact"] is None
    assert "does not run on tflite-runtime==2.14: answers otherwise than on LiteRT" in none["why"]
    (there,) = [t for t in none["targets"] if t["target"] == "local/tflite-runtime==2.14.0"]
    assert there["rejected"][0]["why"].startswith("Failed: answers otherwise")
    (other,) = [t for t in verdict(failed, Budget())[1]["targets"] if t["target"] == "local/litert"]
    assert other["artifact"] == "m--tflite-int8", "without the demand it ships on LiteRT"


@pytest.mark.parametrize(
    ("oldest", "runtime", "keeps"),
    [
        ("tflite 2.14.0", "tflite-runtime==2.14", True),
        ("tflite 2.17.0", "tflite-runtime==2.14", False),
        ("2.3.0", "tflite-runtime==2.14.0", True),
        ("tflite 2.17.0", "litert==1.0.1", True),
        ("tflite 2.20.0", "litert==1.0.1", False),
        ("tflite 2.20.0", "litert==2.1", True),
        ("tflite 2.5.0", "litert==0.9", False),
        ("", "tflite-runtime==2.14", False),
        ("onnxruntime 1.12", "tflite-runtime==2.14", False),
    ],
)
def test_without_a_measurement_the_table_of_operator_versions_decides(oldest, runtime, keeps):
    rows = results(FIXED)
    rows.artifacts = [replace(a, min_runtime=oldest) for a in rows.artifacts]
    _, chosen = verdict(rows, Budget(runtime=runtime))
    assert (chosen["artifact"] is not None) is keeps
    if keeps:
        assert f"It was not run on {runtime}; by the table of operator versions {oldest}" in chosen["why"]
    else:
        assert runtime in chosen["why"]


def test_a_runtime_that_does_not_read_the_format_is_said():
    (onnx,) = results(("onnx:float32", "onnxruntime", 0.82, 0.0, 3.0, MIB)).artifacts
    (violation,) = runtime_violations(onnx, "tflite-runtime==2.14", [])
    assert violation.why == "tflite-runtime does not read onnx files"
    with_version = replace(onnx, min_runtime="onnxruntime 1.12")
    assert runtime_violations(with_version, "onnxruntime==1.17", []) == []
    assert runtime_violations(with_version, "onnxruntime==1.11", []) != []


def test_the_recipe_s_runtime_counts_where_the_budget_names_none():
    rows = ran_on("2.14.0", status="crashed", reason="signal 11")
    budget, chosen = verdict(rows, Budget(), "tflite-runtime==2.14")
    assert budget["asked"]["runtime"] == "tflite-runtime==2.14"
    assert chosen["artifact"] is None
    _, front = verdict(rows, None, "tflite-runtime==2.14")
    assert front["pareto"] == []
    assert "does not run on tflite-runtime==2.14" in front["rejected"][0]["why"].casefold()


def test_each_target_has_a_recommendation_of_its_own():
    unmade = ("tflite:int16x8", "litert", 0.82, 0.0, 3.0, 0, {"status": "skipped", "accuracy": None})
    rows = results(*TYPICAL, unmade)
    rows.artifacts = [
        a.failed("failed", "the converter stopped") if a.scheme == "int16x8" else a for a in rows.artifacts
    ]
    m = rows.measurements[-1]
    rows.add_measurement(
        replace(m, artifact="m--onnx-float32", status="unsupported", reason="does not read onnx files")
    )
    _, chosen = verdict(rows, Budget())
    litert, onnx = chosen["targets"]
    assert (litert["target"], litert["artifact"]) == ("local/litert", "m--tflite-int8")
    assert (onnx["target"], onnx["artifact"]) == ("local/onnxruntime", "m--onnx-float32")
    assert [r["artifact"] for r in litert["fits"]] == ["m--tflite-float32"]
    assert [r["artifact"] for r in litert["rejected"]] == ["m--tflite-dynamic", "m--tflite-int16x8"]
    assert litert["rejected"][1]["why"] == "No file: the converter stopped."
    assert onnx["rejected"] == onnx["fits"] == [], "what the runtime does not read is no candidate there"
    _, strict = verdict(rows, Budget(max_bytes=4 * MIB))
    assert [t["artifact"] for t in strict["targets"]] == ["m--tflite-int8", None]
    assert strict["targets"][1]["why"].startswith("onnx:float32 on local/onnxruntime is all that ran")


def test_nothing_that_ran_on_a_target_is_said_of_that_target():
    rows = results(TYPICAL[2], (*TYPICAL[4], {"status": "timeout", "reason": "no answer within 600 s"}))
    _, chosen = verdict(rows, Budget())
    onnx = chosen["targets"][1]
    assert onnx["artifact"] is None
    assert "No exported file ran on local/onnxruntime" in onnx["why"]
    assert onnx["rejected"][0]["why"] == "Timeout: no answer within 600 s."


def test_the_file_s_own_bytes_count_and_not_the_compressed_ones():
    rows = results(FIXED)
    rows.artifacts = [replace(a, compressed_bytes=MIB // 2) for a in rows.artifacts]
    _, chosen = verdict(rows, Budget(max_bytes=MIB // 2))
    assert chosen["artifact"] is None
    assert "compressed it is 512 KiB, but the file's own bytes count" in chosen["why"]


def test_without_a_budget_the_front_is_shown_and_nothing_is_chosen():
    budget, chosen = verdict(results(*TYPICAL), None)
    assert budget == {}
    assert (chosen["artifact"], chosen["target"], chosen["fits"]) == (None, None, [])
    assert "A budget ([budget] in the recipe, or --budget) has one of them chosen." in chosen["why"]
    why = {row["artifact"]: row["why"] for row in chosen["pareto"]}
    assert list(why) == ["m--tflite-dynamic", "m--tflite-int8", "m--onnx-float32"]
    assert why["m--tflite-dynamic"].startswith("The fastest and the smallest: accuracy 42.0 %")
    assert why["m--onnx-float32"].startswith("Among the most accurate: "), "a beaten file is as accurate"
    assert chosen["beaten"] == [
        {"artifact": "m--tflite-float32", "target": "local/litert",
         "why": "onnx:float32 on local/onnxruntime answers as well (82.4 %), at 0.860× the latency and no larger."}
    ]  # fmt: skip
    litert, onnx = chosen["targets"]
    assert [row["artifact"] for row in litert["pareto"]][-1] == "m--tflite-float32", "there nothing beats it"
    assert onnx["why"].startswith("One file was measured on local/onnxruntime")
    assert verdict(results(), None)[1]["why"] == "No exported file ran."
    alone = verdict(results(TYPICAL[0]), None)[1]
    assert alone["why"] == "Only float models were measured: there is no exported file to choose from."
    assert verdict(results(TYPICAL[0]), Budget())[1]["why"] == alone["why"]


def test_a_budget_by_key_and_value_is_checked_as_the_recipe_s():
    budget = parse_budget(["max_accuracy_drop=0.02", "budget.max_bytes=4_000_000", "runtime=tflite-runtime==2.14"])
    assert (budget.max_accuracy_drop, budget.max_bytes, budget.runtime) == (0.02, 4_000_000, "tflite-runtime==2.14")
    assert parse_budget(["drop_by=estimate", "target=local/litert"]).drop_by == "estimate"
    for pairs, words in (
        (["max_latency=3"], "did you mean 'max_latency_ms'"),
        (["max_bytes"], "is not of the form KEY=VALUE"),
        (["max_bytes=-1", "drop_by=guess"], "budget.max_bytes"),
        (["max_bytes=1", "max_bytes=2"], "given twice"),
        (["runtime=litert"], "is not written NAME==VERSION"),
    ):
        with pytest.raises(InputError, match=words):
            parse_budget(pairs)


ROWS = st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 100), st.integers(1, 10**7)), min_size=1, max_size=8)


@given(ROWS, st.booleans())
def test_every_candidate_is_told_of_once_on_its_target(figures, budgeted):
    schemes = ("float32", "float16", "dynamic", "int8", "int8-int8io", "int8-uint8io", "int16x8", "int4")
    rows = results(
        *((f"tflite:{schemes[i]}", ("litert", "tflite-runtime")[i % 2], a, 0.9 - a, ms, b)
          for i, (a, ms, b) in enumerate(figures))
    )  # fmt: skip
    budget = Budget(max_accuracy_drop=0.3) if budgeted else None
    _, chosen = verdict(rows, budget)
    for here in chosen["targets"]:
        listed = [r["artifact"] for part in ("rejected", "fits") for r in here[part]]
        listed += [here["artifact"]] if budgeted and here["artifact"] else []
        listed += [] if budgeted else [r["artifact"] for part in ("pareto", "beaten") for r in here[part]]
        assert sorted(listed) == sorted(m.artifact for m in rows.measurements if m.target == here["target"])
    if budgeted and chosen["verdict"] == "met":
        (winner,) = (m for m in rows.measurements if m.artifact == chosen["artifact"])
        assert winner.drop_high <= 0.3
        assert chosen["artifact"] in [here["artifact"] for here in chosen["targets"]]
