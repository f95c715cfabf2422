"""The report of quantization: why accuracy dropped, what a search traded, trainings, makers, calibration, runtimes.

The results are made up of the real dataclasses; what is tested is what the reports make of them.
"""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest

from edgeproof.core.artifact import Operator, artifact_id
from edgeproof.core.codec import to_json
from edgeproof.core.diagnosis import Diagnosis, Finding, TensorError
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.results import load_results
from edgeproof.core.variant import Variant
from edgeproof.evaluate.select import verdict
from edgeproof.report.content import Content
from edgeproof.report.reading import layer
from edgeproof.report.sections import provenance, runtimes
from edgeproof.report.sections.diagnosis import diagnoses
from edgeproof.report.sections.provenance import trades

from ..support.example_results import HOSTILE, Page, example, section, terminal, written

NASTY = "".join(HOSTILE)
PLAIN = {"median": 2.9, "low": 2.8, "high": 3.0, "confidence": 0.96875}


def blocks():
    """Names of a MobileNet's activations, from input to output."""
    yield "image", "input", "QUANTIZE"
    yield "model/Conv1_relu/Relu6;model/bn_Conv1", "activation", "CONV_2D"
    for i in range(16):
        for part, operator in (("expand", "CONV_2D"), ("depthwise", "DEPTHWISE_CONV_2D"), ("project", "CONV_2D")):
            yield f"model/block_{i}_{part}/Relu6;model/block_{i}_{part}_BN", "activation", operator
    yield "model/global_average_pooling2d/Mean", "activation", "MEAN"
    yield "StatefulPartitionedCall:0", "activation", "SOFTMAX"


def tensor_errors(rng, hard=(4, 5, 22, 37)):
    """A tensor for each activation; the operators at `hard` do harm themselves."""
    level, errors = 46.0, []
    for i, (name, kind, operator) in enumerate(blocks()):
        own = float(rng.normal(11 if i in hard else 34, 2))
        level = -10 * np.log10(10 ** (-level / 10) * 0.93 + 10 ** (-own / 10) * 0.6)
        errors.append(
            TensorError(
                name, kind, operator, i, (1, 12, 12, 96), "int8", snr_db=float(level), own_snr_db=own,
                cosine=float(1 - 0.4 * 10 ** (-level / 10)), saturated=0.0212 if i in hard else 0.0001,
                range_use=0.41, float_low=-3.0, float_high=6.0, low=-2.0, high=5.5, channel=17, channel_ratio=23.5,
                cause="outlier-channel" if i in hard else "",
                why="channel 17 spans 23.5 times what the median channel does" if i in hard else "",
            )
        )  # fmt: skip
    return errors


def diagnosis(artifact, rng):
    """A row of `Results.diagnoses`, as the pipeline writes it."""
    tensors = tensor_errors(rng)
    weight = TensorError("model/block_1_depthwise/kernel", "weight", "DEPTHWISE_CONV_2D", 5, (1, 3, 3, 96), "int8",
                         snr_db=19.5, cause="weights", why="one scale for all channels")  # fmt: skip
    ranked = (*sorted(tensors, key=lambda t: t.own_snr_db)[:11], weight)
    complete = Diagnosis(
        artifact, "ef" * 32, "mobilenet--tflite-float32", "validation split", 64, 0.91, ranked,
        (
            Finding("outlier-channel", "4 layers have a channel whose range is over 20 times the others'",
                      "use a per-channel scheme (tflite:int8), or train with quantization (tflite:qat-int8)",
                      tuple(t.name for t in ranked[:4])),
            Finding("calibration", "2.1 % of the values lie outside of what 20 samples showed",
                      "set export.calibration.samples = 200"),
        ),
    )  # fmt: skip
    document = to_json(complete)
    keys = ("name", "operator", "position", "kind", "snr_db", "own_snr_db", "cosine", "saturated", "range_use")
    return {
        **{k: document[k] for k in ("artifact", "reference", "samples", "agreement", "suspicions")},
        "path": f"diagnosis/{artifact}.json", "model_explorer": f"diagnosis/{artifact}.model-explorer.json",
        "worst": document["tensors"], "tensors": [{k: t[k] for k in keys} for t in to_json(tensors)],
    }  # fmt: skip


def steps():
    """Five steps of a search: the drop falls, latency and size grow."""
    drops = (0.0405, 0.021, 0.0124, 0.0052, 0.0048)
    return tuple(
        {
            "kept": [f"model/block_{k}_depthwise/Relu6" for k in range(2 * i)], "keep": "float32",
            "bytes": 2_665_000 + 41_000 * i * i, "drop": drop, "drop_low": drop - 0.004, "drop_high": drop + 0.004,
            "samples": 500, "latency_ms": {**PLAIN, "median": 2.9 + 0.21 * i, "low": 2.8 + 0.21 * i,
                                           "high": 3.0 + 0.21 * i}, "chosen": i == 3,
            "samples_of": "481 validation and 19 training samples",
        }
        for i, drop in enumerate(drops)
    )  # fmt: skip


def quantized(folder=None, budget=None):
    """A finished run with every kind of quantization: a diagnosed int8, a searched int8-mixed, qat, pruned, makers."""
    results = example(folder=folder)
    rng = np.random.default_rng(5)
    plain = next(a for a in results.artifacts if a.scheme == "int8")
    record = {"samples": 200, "method": "min and max", "seed": 1, "size": [96, 96, 3], "split": "training",
              "resemblance": {"samples": 200, "channels": 3, "warnings": [
                  "channel 2 of the calibration samples is brighter by 0.31 of its range"]}}  # fmt: skip
    ops = (Operator("CONV_2D", 5, 36, "2.11.0"), Operator("FULLY_CONNECTED", 12, 1, "2.17.0"),
           Operator("SOFTMAX", 2, 1, "1.14.0"))  # fmt: skip
    curve = [{"epoch": e, "loss": 0.5 / e, "accuracy": 0.83 + 0.01 * e, "val_loss": 0.6 / e,
              "val_accuracy": 0.82 + 0.01 * e} for e in range(1, 4)]  # fmt: skip
    tuning = {"kind": "qat", "of": "cd" * 32, "history": curve, "layers": {"quantized": 65, "total": 71},
              "head_only": False, "why": "all but the reshaping layers", "epochs": 3}  # fmt: skip
    pruned = {"kind": "pruned", "of": "cd" * 32, "history": curve, "head_only": True, "sparsity": 0.5,
              "why": "the backbone comes from TensorFlow Hub and its architecture is not known"}  # fmt: skip
    variants = (("qat-int8", {"training": tuning}), ("qat-int8-int8io", {"training": tuning}),
                ("int8-mixed", {"trade": steps(), "calibration": record}),
                ("pruned-dynamic", {"training": pruned, "compressed_bytes": 1_345_000}),
                ("dynamic-conv", {"workaround": {
                    "for": "tflite-runtime==2.14", "instead_of": "mobilenet--tflite-dynamic", "bytes_ratio": 1.01,
                    "what": "dense layers stored as 1×1 convolutions", "target": "local/litert", "latency_ratio": 1.08,
                    "accuracy": {"drop": 0.0005, "low": -0.001, "high": 0.002, "samples": 2000}}}))  # fmt: skip
    for scheme, fields in variants:
        variant = Variant("tflite", scheme)
        artifact = replace(
            plain, id=artifact_id("mobilenet", variant), scheme=scheme, ops=ops, min_runtime="tflite 2.17.0"
        )
        results.add_artifact(replace(artifact, **{"calibration": {}, **fields}))
        for m in [m for m in results.measurements if m.artifact == plain.id]:
            results.add_measurement(replace(m, artifact=artifact.id, raw=""))
    loser = {"made_by": "ai-edge-quantizer 0.10.0", "bytes": 2_702_000, "agreement": 0.962, "status": "ok",
             "latency_ms": 3.4, "why": "agrees on 96.2 %, 2.6 points less, and takes 1.17× the latency",
             "chosen": {"agreement": 0.988, "latency_ms": 2.9, "samples": 500,
                        "samples_of": "481 validation and 19 training samples", "target": "local/litert"}}  # fmt: skip
    wreck = {"made_by": "onnxruntime 1.31.1", "bytes": 0, "agreement": None, "latency_ms": None, "status": "crashed",
             "why": "the process ended with signal 11"}  # fmt: skip
    gpu = {"delegate": "GPU delegate", "takes": 36, "total": 38, "refuses": [
        {"op": "FULLY_CONNECTED", "count": 1, "why": "version 12 is not supported"},
        {"op": "SOFTMAX", "count": 1, "why": ""}], "source": "model_builder.cc of TensorFlow 2.21"}  # fmt: skip
    npu = {"delegate": "Ethos-U", "takes": 38, "total": 38, "refuses": []}
    results.add_artifact(
        replace(plain, calibration=record, ops=ops, min_runtime="tflite 2.17.0", alternatives=(loser, wreck),
                delegates=(gpu, npu), compressed_bytes=2_100_000)
    )  # fmt: skip
    results.measurements = [
        replace(m, drop=0.0405, drop_low=0.031, drop_high=0.05) if m.artifact == plain.id and m.status == "ok" else m
        for m in results.measurements
    ]
    results.diagnoses = [diagnosis(plain.id, rng)]
    results.budget, results.recommendation = verdict(results, budget or Budget(max_latency_ms=40))
    return results


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    results = quantized(folder)
    return results, *written(results, folder)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The same run with every free text of the new parts hostile."""
    results = quantized()
    results.diagnoses = [nasty(row, ("samples", "agreement", "artifact")) for row in results.diagnoses]
    results.artifacts = [
        replace(
            a,
            training=nasty(a.training, ()),
            trade=tuple(nasty(row, ()) for row in a.trade),
            alternatives=tuple(nasty(row, ()) for row in a.alternatives),
            delegates=tuple(nasty(row, ()) for row in a.delegates),
            workaround=nasty(a.workaround, ()),
            calibration=nasty(a.calibration, ()),
            ops=tuple(replace(op, name=NASTY) for op in a.ops),
            storage={NASTY: {NASTY: 1}},
        )
        for a in results.artifacts
    ]
    for row in (results.recommendation, *results.recommendation["targets"]):
        row["why"] = NASTY
        for part in ("fits", "rejected"):
            row[part] = [{**r, "why": NASTY} for r in row[part]]
    return results, *written(results, tmp_path_factory.mktemp("hostile"))


def nasty(value, keep):
    """Return a record with every text in it replaced, and those under `keep` left."""
    if isinstance(value, dict):
        return {k: v if k in keep else nasty(v, keep) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [nasty(v, keep) for v in value]
    return NASTY if isinstance(value, str) else value


def test_the_page_stays_well_formed_and_harmless(finished, hostile):
    for _, html, markdown in (finished, hostile):
        page = Page(html)
        assert len(page.ids) == len(set(page.ids))
        assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
        assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
        assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
        assert "<script" not in markdown and "<img" not in markdown and "@everyone" not in markdown
        assert "://example.org" not in markdown
    assert "\u202e" not in hostile[1]
    assert "<script>alert(1)</script>" in section(hostile[1], "diagnosis").words


def test_each_target_has_its_card_and_a_reason_for_every_other_file(finished):
    results, html, markdown = finished
    words = section(html, "targets").words
    assert html.count('<article class="choice') == 3
    assert html.count('<article class="choice overall"') == 1
    for here in results.recommendation["targets"]:
        assert here["artifact"] is not None
        for row in here["fits"]:
            assert row["why"] in words
        for row in here["rejected"]:
            assert row["why"].partition(": ")[2] in words
    assert "timeout tflite: int16x8 no answer within 600 s." in words
    assert "6 fit as well, 3 are turned down" in words
    assert "- **local/litert**: tflite:dynamic-conv (82.2 %, drop +0.15 points, 2.92 ms, 2.54 MiB)" in markdown
    assert "on local/onnxruntime: onnx:float32 (" in terminal(results)


def test_why_accuracy_dropped_is_said_drawn_and_tabled(finished):
    results, html, markdown = finished
    part = section(html, "diagnosis")
    for phrase in (
        "loses 4.05 points of accuracy on local/litert (95 % interval +3.10 to +5.00)",
        "Outlier channel. 4 layers have a channel whose range",
        "train with quantization (tflite:qat-int8)",
        "Calibration too small.",
        "model/ block_11_project/ Relu6",
        "channel 17 spans 23.5 times",
        "2.1 %",
        "64 images",
        "91.0 % (measured)",
        "diagnosis/mobilenet--tflite-int8.model-explorer.json",
    ):
        assert phrase in part.words
    drawings = re.findall(r'<svg class="plot (?:wide|narrow)".*?</svg>', html, re.DOTALL)
    labels = [re.search(r'aria-label="([^"]+)"', d)[1] for d in drawings]
    assert sum("worst: 1 block_11_project; 2 block_6_project" in label for label in labels) == 2
    assert "1. outlier channel: 4 layers" in markdown
    (card,) = diagnoses(Content(results))
    assert len(card.points) == len(list(blocks())), "weights are no places along the graph"
    assert sorted(p.rank for p in card.points if p.rank) == [1, 2, 3, 4]


def test_a_diagnosis_that_found_nothing_says_so(tmp_path):
    results = example()
    results.diagnoses = [{"artifact": "gone", "suspicions": [], "worst": None, "tensors": "?", "samples": "many"}]
    html, markdown = written(results, tmp_path)
    assert "Nothing stands out" in section(html, "diagnosis").words
    assert "Nothing stands out" in markdown


def test_the_trade_of_a_search_is_told_with_its_steps(finished):
    results, html, markdown = finished
    sentence = "With 6 layers kept in float32: the drop is 0.52 points instead of 4.05 points, at 1.22× the latency"
    assert sentence in section(html, "quantization").words
    assert sentence in markdown
    for words in (section(html, "quantization").words, markdown):
        assert "Tried on 481 validation and 19 training samples." in words
    (trade,) = trades(Content(results))
    assert [step.count for step in trade.steps] == [0, 2, 4, 6, 8]
    assert [step.chosen for step in trade.steps].index(True) == 3
    assert html.count("<details><summary>which</summary>") == 4


def test_further_training_and_makers_and_calibration_are_recorded(finished):
    results, html, _ = finished
    words = section(html, "quantization").words
    for phrase in ("Quantization-aware training tflite: qat-int8, tflite: qat-int8-int8io", "65 of 71", "Pruning",
                  "Only the head was trained: the backbone comes from TensorFlow Hub", "50.0 %",
                  "tflite:pruned-dynamic 1.28 MiB of 2.54 MiB",
                  "tensorflow 2.21.0 chosen compared on 481 validation and 19 training samples on",
                  "agrees on 96.2 %, 2.6 points less", "crashed the process ended with signal 11",
                  "tflite: int8, tflite: int8-mixed channel 2 of the calibration samples is brighter",
                  "Ranges of tflite:int8 min and max"):  # fmt: skip
        assert phrase in words
    qat, pruned = provenance.trainings(Content(results))
    assert (len(qat.files), qat.warning, len(qat.history)) == (2, "", 3)
    assert pruned.warning
    assert words.count("Resemblance, samples") == 1, "equal records are told once"


def test_runtimes_name_operators_workarounds_and_what_delegates_refuse(finished):
    results, html, markdown = finished
    words = section(html, "runtimes").words
    for phrase in ("tflite 2.17.0 FULLY_CONNECTED version 12", "Dense layers stored as 1×1 convolutions",
                  "tflite-runtime==2.14", "Instead of tflite:dynamic", "1.08× the latency; 1.01× the size; measured on",
                  "a drop of +0.05 points (95 % interval −0.10 to +0.20)",
                  "takes 36 of 38 operators estimated", "takes 38 of 38 operators",
                  "FULLY_CONNECTED 1×: version 12 is not supported"):  # fmt: skip
        assert phrase in words
    assert "**tflite:dynamic-conv**: Dense layers stored as 1×1 convolutions; Made for tflite" in markdown
    assert [r.takes_all for r in runtimes.refusals(Content(results))] == [True, False]


def test_parts_without_anything_to_say_are_not_there(tmp_path):
    html, markdown = written(example(), tmp_path)
    for name in ("diagnosis", "runtimes"):
        assert f'id="{name}"' not in html
        assert f'href="#{name}"' not in html
    assert "Why accuracy dropped" not in markdown
    assert "How the files were made" not in markdown


def test_without_a_budget_the_front_is_shown(tmp_path):
    results = example()
    results.budget, results.recommendation = verdict(results, None)
    html, markdown = written(results, tmp_path)
    words = Page(html).words
    assert "No budget was given: " in words
    assert "budget met" not in words and "budget not met" not in words and "over budget" not in words
    assert html.count('<table class="numbers front">') == 3
    assert "on the front" in words and "Thin rings: what no other file beats" in words
    assert markdown.startswith("## No budget was given: ")
    shown = terminal(results)
    assert "Budget" not in shown and "No budget was given: " in shown
    assert "on local/litert: " in shown


def test_an_older_run_with_one_recommendation_is_still_told(tmp_path):
    results = example()
    del results.recommendation["targets"]
    html, _ = written(results, tmp_path)
    words = section(html, "targets").words
    assert "tflite: int8 on local/ litert" in words or "on local/ litert tflite: int8" in words
    for row in results.recommendation["fits"]:
        assert row["why"] in words


def test_csv_says_what_was_recommended_where_and_is_safe(hostile, finished, tmp_path):
    results, _, _ = finished
    results.save(tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text(encoding="utf-8"))))
    verdicts = {(r["artifact"], r["target"]): r["verdict"] for r in rows}
    assert verdicts["mobilenet--tflite-dynamic-conv", "local/litert"] == "recommended"
    assert verdicts["mobilenet--onnx-float32", "local/onnxruntime"] == "recommended"
    assert verdicts["mobilenet--tflite-int8", "local/litert"] == "rejected"
    assert verdicts["mobilenet--savedmodel-float32", "local/tensorflow"] == ""
    assert {r["training"] for r in rows} == {"", "qat", "pruned"}
    assert {r["agreement_by"] for r in rows if r["agreement"]} == {"class"}
    (small,) = {r["compressed_bytes"] for r in rows if r["scheme"] == "pruned-dynamic"}
    assert small == "1345000"
    assert to_json(load_results(tmp_path).artifacts) == to_json(results.artifacts)
    evil = hostile[0]
    evil.artifacts = [replace(a, made_by="=cmd()", min_runtime="@x") for a in evil.artifacts]
    assert "'=cmd()" in evil.to_csv() and ",=cmd()" not in evil.to_csv() and ",@x" not in evil.to_csv()


def test_the_telling_part_of_a_tensor_s_name():
    assert layer("model/block_3_expand/Relu6;model/block_3_expand_BN/x") == "block_3_expand"
    assert layer("StatefulPartitionedCall:0") == "StatefulPartitionedCall:0"
    assert layer("model/Relu") == "model"
    assert layer("") == ""
