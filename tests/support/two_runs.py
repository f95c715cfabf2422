"""Runs to compare: results whose cells have given latencies and scores, with raw files where there is a folder."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeproof.core.artifact import Artifact
from edgeproof.core.measurement import Latency, Measurement
from edgeproof.core.results import Results
from edgeproof.core.statistics import median_interval, percentiles, wilson
from edgeproof.evaluate.measure import Answered
from edgeproof.evaluate.scores import keep

from .records import record

ENVIRONMENT = {"cpu": "Some CPU", "cores": 2, "os": "Linux-6.1"}


def run(
    name, medians, *, right=1640, model="m", environment=ENVIRONMENT, folder=None, variants=("tflite:int8",),
    scores=None, sha256="", size=3 * 2**20, speed=1.0, anchor="a" * 64,
):  # fmt: skip
    """A run whose cells all have the given process medians; with `folder`, their raw files too.

    The machine's `speed` multiplies these and the 2 ms of the anchor, the file with that sha256.
    `scores` (samples,) takes the place of `right` of 2,000 samples, and is kept where there is a folder.
    """
    medians = [speed * median for median in medians]
    results = Results(run={"name": name}, environment=dict(environment), data={"sha256": "same"})
    samples = 2000 if scores is None else len(scores)
    accuracy = right / 2000 if scores is None else float(np.mean(scores))
    for variant in variants:
        format_, scheme = variant.split(":")
        artifact = Artifact(
            f"{model}--{format_}-{scheme}", model, format_, scheme, Path("f"), bytes=size, sha256=sha256
        )
        results.add_artifact(artifact)
        low, high = wilson(round(accuracy * samples), samples)
        raw = f"raw/{artifact.id}.json"
        if folder:
            (folder / "raw").mkdir(parents=True, exist_ok=True)
            made = record(medians, anchor=[2.0 * speed] * len(medians), sha256=anchor, blocks=name)
            (folder / raw).write_text(json.dumps(made))
        latency = Latency(*median_interval(medians), *percentiles(medians), len(medians), 3 * len(medians), 1)
        results.add_measurement(
            Measurement(
                artifact.id,
                "local/litert",
                "local",
                "litert",
                accuracy=accuracy,
                accuracy_low=low,
                accuracy_high=high,
                samples=samples,
                latency_ms=latency,
                raw=raw,
            )
        )
    if scores is not None and folder:
        keep_scores(results, np.asarray(scores), folder)
    return results


def keep_scores(results, scores, folder, data="same", split="test"):
    """Write the same scores for every cell of a run."""
    answers = {(m.artifact, m.target): Answered(scores) for m in results.measurements}
    for row in keep(results.measurements, answers, data=data, folder=folder / "raw", split=split):
        results.add_measurement(row)


def noise(scale, seed):
    return list(scale * np.random.default_rng(seed).lognormal(0, 0.02, 6))


def changed(results, **facts):
    """The same results with other facts in every measurement."""
    return replace(results, measurements=[replace(m, **facts) for m in results.measurements])
