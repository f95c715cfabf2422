"""Selection: the budget's limits one by one, the winner among what fits, and sentences that carry their figures."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.artifact import Artifact
from edgeproof.core.errors import InputError
from edgeproof.core.measurement import Latency, Measurement
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.results import Results
from edgeproof.evaluate.pareto import pareto
from edgeproof.evaluate.select import verdict

MIB = 2**20


def latency(median, spread=0.02, processes=6):
    confidence = 0.96875 if processes == 6 else 1 - 2 / 2**processes
    return Latency(
        median, median * (1 - spread), median * (1 + spread), confidence, median * 1.1, median * 1.2, median * 1.3,
        processes, 600, 1,
    )  # fmt: skip


def results(*rows):
    """Each row: (variant, runtime, accuracy, drop, median in ms, bytes, changes to the measurement)."""
    created = Results(run={"name": "t"}, environment={})
    for variant, runtime, accuracy, drop, median, size, *changes in rows:
        format_, scheme = variant.split(":")
        artifact = Artifact(f"m--{format_}-{scheme}", "m", format_, scheme, Path("f"), bytes=size)
        created.add_artifact(artifact)
        m = Measurement(
            artifact.id, f"local/{runtime}", "local", runtime, accuracy=accuracy, accuracy_low=accuracy - 0.017,
            accuracy_high=accuracy + 0.017, samples=2000, drop=drop, drop_low=drop - 0.005, drop_high=drop + 0.005,
            latency_ms=latency(median), peak_memory_bytes=60 * MIB,
        )  # fmt: skip
        created.add_measurement(replace(m, **changes[0]) if changes else m)
    return created


TYPICAL = (
    ("savedmodel:float32", "tensorflow", 0.824, 0.0, 0.1, 12 * MIB),
    ("tflite:float32", "litert", 0.824, 0.0, 5.7, 8 * MIB),
    ("tflite:int8", "litert", 0.822, 0.002, 2.9, 3 * MIB),
    ("tflite:dynamic", "litert", 0.420, 0.404, 1.2, 3 * MIB),
    ("onnx:float32", "onnxruntime", 0.824, 0.0, 4.9, 8 * MIB),
)


def test_the_fastest_file_that_keeps_its_accuracy_wins_and_the_reference_never_does():
    budget, chosen = verdict(results(*TYPICAL), Budget())
    assert budget == {"asked": {"max_accuracy_drop": 0.01, "drop_by": "interval"}, "met": True, "verdict": "met"}
    assert (chosen["artifact"], chosen["target"]) == ("m--tflite-int8", "local/litert")
    for figure in ("2.90 ms", "82.2 %", "80.5 to 83.9", "0.2 points below float", "3.00 MiB", "measured"):
        assert figure in chosen["why"]
    (row,) = chosen["rejected"]
    assert row["artifact"] == "m--tflite-dynamic"
    assert row["why"] == (
        "Loses 40.4 points of accuracy against float (95 % interval +39.90 to +40.90), more than the 1 point allowed."
    )
    assert [f["artifact"] for f in chosen["fits"]] == ["m--onnx-float32", "m--tflite-float32"]
    assert chosen["fits"][0]["why"] == (
        "1.69× the latency (4.90 ms) and 2.67× the size (8.00 MiB) of the recommended file."
    )


def test_equal_latencies_go_to_the_smaller_file_and_the_sentence_says_so():
    _, chosen = verdict(
        results(
            ("tflite:float32", "litert", 0.82, 0.0, 2.95, 8 * MIB), ("tflite:int8", "litert", 0.82, 0.0, 3.0, 3 * MIB)
        ),
        Budget(),
    )
    assert chosen["artifact"] == "m--tflite-int8"
    assert "It ties in latency with tflite:float32 on local/litert (2.95 ms, 8.00 MiB): the ratios" in chosen["why"]
    assert "not distinguishable" in chosen["fits"][0]["why"]


def test_by_estimate_an_interval_that_does_not_exclude_a_bigger_drop_is_said():
    sure = ("tflite:int8", "litert", 0.82, 0.002, 3.0, MIB)
    unsure = ("tflite:int8", "litert", 0.82, 0.008, 3.0, MIB)
    estimate = Budget(drop_by="estimate")
    assert "do not exclude" not in verdict(results(sure), estimate)[1]["why"]
    assert "2,000 samples do not exclude one of up to 1.3 points" in verdict(results(unsure), estimate)[1]["why"]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"min_accuracy": 0.9}, "accuracy 82.2 % (95 % interval 80.5 to 83.9) is below the 90.0 % asked"),
        ({"max_latency_ms": 2.0}, "p95 latency 3.48 ms is above the 2.00 ms allowed"),
        ({"max_bytes": 2 * MIB}, "the file's size 3.00 MiB is above the 2.00 MiB allowed"),
        ({"max_memory_bytes": 30 * MIB}, "peak memory 60.0 MiB is above the 30.0 MiB allowed"),
        ({"max_accuracy_drop": 0.001}, "loses 0.2 points of accuracy"),
    ],
)
def test_each_limit_turns_down_with_its_figures(limit, words):
    budget, chosen = verdict(results(TYPICAL[2]), Budget(**limit))
    assert budget["met"] is False
    assert chosen["artifact"] is None
    assert chosen["target"] is None
    assert words.casefold() in chosen["rejected"][0]["why"].casefold()
    assert words in chosen["why"]


@pytest.mark.parametrize(
    ("changes", "limit", "words"),
    [
        ({"peak_memory_bytes": None}, {"max_memory_bytes": MIB}, "peak memory is not known"),
        ({"drop": None}, {}, "the float model has no figure"),
        ({"accuracy": None}, {"min_accuracy": 0.5}, "accuracy is not known"),
        ({"latency_ms": None}, {}, "cannot be ranked"),
        ({"latency_ms": None}, {"max_latency_ms": 5}, "5.00 ms of the budget"),
    ],
)
def test_what_is_not_known_is_not_taken_for_kept(changes, limit, words):
    _, chosen = verdict(results((*TYPICAL[2], changes)), Budget(**limit))
    assert chosen["artifact"] is None
    assert words in chosen["why"]


def test_nothing_fits_names_the_closest_and_what_it_missed():
    _, chosen = verdict(results(*TYPICAL), Budget(max_latency_ms=3))
    assert chosen["why"].startswith("None of the 4 measured pairs of file and target fits the budget.")
    assert "Closest is tflite:int8 on local/litert: p95 latency 3.48 ms is above the 3.00 ms allowed" in chosen["why"]


def test_only_the_asked_target_is_considered():
    budget, chosen = verdict(results(*TYPICAL), Budget(target="local/onnxruntime"))
    assert budget["asked"]["target"] == "local/onnxruntime"
    assert chosen["artifact"] == "m--onnx-float32"
    assert chosen["rejected"] == []
    _, nothing = verdict(results(*TYPICAL), Budget(target="local/tflite-runtime"))
    assert nothing["artifact"] is None
    assert "No exported file ran on local/tflite-runtime" in nothing["why"]


def test_the_choice_is_among_the_files_of_the_first_device_that_was_asked_for():
    """Also where the first file does not run on it."""
    there = {"target": "phone/onnxruntime-web", "device": "phone", "runtime": "onnxruntime-web"}
    found = results(("onnx:float32", "onnxruntime", 0.82, 0.0, 9.0, MIB, there), *TYPICAL[1:3])
    found.environments = {"local": {}, "phone": {}}
    for budget in (Budget(), None):
        _, chosen = verdict(found, budget)
        assert "device local" in chosen["why"] and "those on phone" in chosen["why"]


def test_failed_cells_are_no_candidates():
    _, chosen = verdict(results((*TYPICAL[2], {"status": "crashed", "accuracy": None}), TYPICAL[1]), Budget())
    assert chosen["artifact"] == "m--tflite-float32"
    (failed,) = chosen["rejected"]
    assert (failed["artifact"], failed["why"]) == ("m--tflite-int8", "Crashed: no reason was given.")


def test_too_few_processes_are_said():
    _, chosen = verdict(results((*TYPICAL[2], {"latency_ms": latency(3.0, 0.0, 1)})), Budget())
    assert "rests on 1 process, too few" in chosen["why"]


def test_a_more_accurate_file_that_fits_is_named():
    rows = results(TYPICAL[2], ("onnx:float32", "onnxruntime", 0.90, 0.0, 29.0, 8 * MIB))
    _, chosen = verdict(rows, Budget())
    assert chosen["artifact"] == "m--tflite-int8"
    assert "onnx:float32 on local/onnxruntime is more accurate (90.0 %) at 10.0× the latency" in chosen["why"]


def test_a_measurement_of_no_known_artifact_is_an_error_with_a_remedy():
    broken = results(TYPICAL[2])
    broken.artifacts = []
    with pytest.raises(InputError, match="no artifact of that name"):
        verdict(broken, Budget())


CELLS = st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 100), st.integers(1, 10**7)), min_size=1, max_size=12)


@given(CELLS)
def test_pareto_front_is_what_nothing_beats(figures):
    measurements = [
        Measurement(str(i), "local/litert", "local", "litert", accuracy=a, latency_ms=latency(ms))
        for i, (a, ms, _) in enumerate(figures)
    ]
    sizes = {str(i): b for i, (_, _, b) in enumerate(figures)}
    front = pareto(measurements, sizes)
    assert front

    def beats(one, other):
        (a, ms, b), (c, ns, d) = figures[int(one)], figures[int(other)]
        mine, its = latency(ms), latency(ns)
        faster, slower = mine.high < its.low, its.high < mine.low
        return a >= c and not slower and b <= d and (faster or b < d or a > c)

    inside = {m.artifact for m in front}
    for m in measurements:
        beaten = any(beats(other.artifact, m.artifact) for other in measurements)
        assert (m.artifact in inside) is not beaten


@given(CELLS, st.floats(0, 0.2), st.one_of(st.none(), st.floats(0.1, 200)))
def test_every_candidate_is_told_of_once_and_the_winner_keeps_every_limit(figures, drop, max_latency):
    rows = results()
    for i, (accuracy, median, size) in enumerate(figures):
        rows.add_artifact(Artifact(f"a{i}", "m", "tflite", "int8", Path("f"), bytes=size))
        m = Measurement(f"a{i}", "local/litert", "local", "litert", accuracy=accuracy, latency_ms=latency(median))
        rows.add_measurement(replace(m, samples=100, drop=0.9 - accuracy))
    budget, chosen = verdict(rows, Budget(max_accuracy_drop=drop, max_latency_ms=max_latency))
    listed = [r["artifact"] for r in chosen["rejected"] + chosen["fits"]] + [chosen["artifact"]] * budget["met"]
    assert sorted(listed) == sorted(f"a{i}" for i in range(len(figures)))
    if budget["met"]:
        accuracy, median, _ = figures[int(chosen["artifact"][1:])]
        assert 0.9 - accuracy <= drop
        assert max_latency is None or latency(median).p95 <= max_latency


def models(*rows, comparisons=()):
    """Each row: (model, accuracy of its float model, accuracy of its int8 file, median in ms, bytes)."""
    created = results()
    for model, float_accuracy, accuracy, median, size in rows:
        reference = Artifact(f"{model}--savedmodel-float32", model, "savedmodel", "float32", Path("f"), bytes=size)
        int8 = Artifact(f"{model}--tflite-int8", model, "tflite", "int8", Path("f"), bytes=size)
        for artifact, share, runtime in ((reference, float_accuracy, "tensorflow"), (int8, accuracy, "litert")):
            created.add_artifact(artifact)
            has_share = share is not None
            m = Measurement(
                artifact.id, f"local/{runtime}", "local", runtime, accuracy=share, samples=2000, agreement=0.999,
                accuracy_low=share - 0.017 if has_share else None, accuracy_high=share + 0.017 if has_share else None,
                drop=float_accuracy - share if has_share else None, latency_ms=latency(median),
            )  # fmt: skip
            created.add_measurement(m)
    created.comparisons = list(comparisons)
    return created


def test_models_of_numbers_are_spoken_of_by_their_metric():
    rows = models(("small", 0.70, 0.70, 1.0, MIB), ("large", 0.90, 0.90, 4.0, 4 * MIB))
    for m in list(rows.measurements):
        if m.accuracy is not None:
            error = 1 - m.accuracy
            rows.add_measurement(replace(m, metric="MAE", accuracy=None, accuracy_low=None, accuracy_high=None,
                                         score=error, score_low=error - 0.01, score_high=error + 0.01))  # fmt: skip
    _, chosen = verdict(rows, Budget())
    assert chosen["artifact"] == "large--tflite-int8"
    assert "of the models that are not behind in MAE" in chosen["why"] and "accura" not in chosen["why"]
    assert "small is 0.2 of MAE worse than large" in chosen["why"] and "set budget.require to say" in chosen["why"]
    _, chosen = verdict(rows, Budget(require="MAE <= 0.5"))
    assert chosen["artifact"] == "small--tflite-int8", "what is enough is said"
    assert "The best model in MAE, large, is 0.2 of MAE better" in chosen["why"] and "accura" not in chosen["why"]


def test_a_faster_model_that_is_much_less_accurate_does_not_win_in_silence():
    rows = models(("small", 0.70, 0.70, 1.0, MIB), ("large", 0.90, 0.90, 4.0, 4 * MIB))
    _, chosen = verdict(rows, Budget())
    assert chosen["artifact"] == "large--tflite-int8"
    assert "the fastest file that fits the budget, of the models that are not behind in accuracy" in chosen["why"]
    assert (
        "tflite:int8 of small on local/litert takes 0.250× the latency. small is 20 points less accurate than large"
        in (chosen["why"])
    )
    assert "more than the 1 point that a file may lose: set budget.min_accuracy" in chosen["why"]
    (other,) = chosen["fits"]
    assert other["artifact"] == "small--tflite-int8"
    assert other["why"].endswith("small is 20 points less accurate than large (95 % interval +17.60 to +22.40).")


def test_where_nothing_ran_the_float_models_their_float_files_say_which_is_better():
    rows = models(("small", 0.70, 0.70, 1.0, MIB), ("large", 0.90, 0.90, 4.0, 4 * MIB))
    rows.artifacts = [
        replace(a, id=a.id.replace("savedmodel", "tflite"), format="tflite") if a.format == "savedmodel" else a
        for a in rows.artifacts
    ]
    rows.measurements = [
        replace(m, artifact=m.artifact.replace("savedmodel", "tflite"), target="local/litert", runtime="litert")
        for m in rows.measurements
    ]
    chosen = verdict(rows, Budget())[1]
    assert chosen["artifact"].startswith("large--tflite-") and "small is 20 points less accurate" in chosen["why"]


def test_min_accuracy_says_what_is_enough_and_then_the_fastest_wins():
    rows = models(("small", 0.70, 0.70, 1.0, MIB), ("large", 0.90, 0.90, 4.0, 4 * MIB))
    _, chosen = verdict(rows, Budget(min_accuracy=0.65))
    assert chosen["artifact"] == "small--tflite-int8"
    assert "The most accurate model, large, is 20 points better" in chosen["why"]
    assert (
        "its best file, tflite:int8 of large on local/litert, takes 4.00× the latency and 4.00× the size; set "
        in (chosen["why"])
    )
    assert verdict(rows, Budget(min_accuracy=0.8))[1]["artifact"] == "large--tflite-int8"


def test_models_that_cannot_be_told_apart_are_ranked_by_latency_and_it_is_said():
    rows = models(("small", 0.88, 0.88, 1.0, MIB), ("large", 0.895, 0.895, 4.0, 4 * MIB))
    _, chosen = verdict(rows, Budget())
    assert chosen["artifact"] == "small--tflite-int8"
    assert (
        "large, is 1.5 points better (95 % interval −0.90 to +3.90, not distinguishable with 2,000 samples: a "
        in (chosen["why"])
    )
    paired = {"a": "small", "b": "large", "first": {"difference": -0.015, "low": -0.02, "high": -0.01}}
    rows = models(("small", 0.88, 0.88, 1.0, MIB), ("large", 0.895, 0.895, 4.0, 4 * MIB), comparisons=[paired])
    assert verdict(rows, Budget())[1]["artifact"] == "large--tflite-int8", "the paired comparison tells them apart"
    _, tolerant = verdict(rows, Budget(max_accuracy_drop=0.02))
    assert tolerant["artifact"] == "small--tflite-int8", "so much may be lost"
    assert "(95 % interval +1.00 to +2.00); its best file" in tolerant["why"]


def test_the_most_accurate_model_only_counts_if_a_file_of_it_fits():
    rows = models(("small", 0.70, 0.70, 1.0, MIB), ("large", 0.90, 0.90, 4.0, 4 * MIB))
    _, chosen = verdict(rows, Budget(max_latency_ms=2))
    assert chosen["artifact"] == "small--tflite-int8"
    assert "less accurate" not in chosen["why"]


def test_a_model_of_unknown_accuracy_does_not_go_first():
    rows = models(("theirs", None, None, 1.0, MIB), ("ours", 0.9, 0.9, 4.0, MIB))
    _, chosen = verdict(rows, Budget())
    assert chosen["artifact"] == "ours--tflite-int8"
    assert "The accuracy of theirs is not known, so it does not go first." in chosen["why"]
    assert verdict(models(("theirs", None, None, 1.0, MIB)), Budget())[1]["artifact"] == "theirs--tflite-int8"


@pytest.mark.parametrize(("agreement", "fits"), [(0.995, True), (0.985, False)])
def test_without_classes_the_agreement_is_held_against_the_allowed_drop(agreement, fits):
    unknown = {"accuracy": None, "drop": None, "agreement": agreement}
    _, chosen = verdict(results((*TYPICAL[2], unknown)), Budget())
    assert (chosen["artifact"] is not None) is fits
    if fits:
        assert "agrees with its float model on 99.5 % of 2,000 samples, loses at most 0.5 points" in chosen["why"]
    else:
        assert (
            "Agrees with its float model on 98.5 % of 2,000 samples, so it may lose up to 1.5 points"
            in chosen["rejected"][0]["why"]
        )
    assert len(chosen["pareto"]) == 1
