"""What the benchmarks that train a head share: Edgeproof's side, the count of correct answers, and the table's row."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .sides import Job, Row, Scale, seconds

PHASE_ONE = ("build", "features", "head")  # the steps of `fit` that correspond to building the model and `model.fit`
# Keys of a job that are settings of training; both sides read them.
SETTINGS = ("epochs", "batch_size", "learning_rate", "dropout")


def image_job(data: Path, scale: Scale) -> Job:
    """Return the job of training a head on the prepared images in `data`."""
    return {
        "data": str(data),
        "image_size": scale.image_size,
        "epochs": scale.epochs,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "dropout": 0.2,
        "seed": 1,
    }


def image_answer(model: Any, answer: Job, job: Job) -> Job:
    """Return Edgeproof's side's answer with how many test images its frozen `model` gets right, and the engine."""
    images, labels = split(job, "test")
    found = right(frozen_answers(model.saved_model, images), labels)
    return {**answer, "right": found, "engine": model.provenance["features_engine"]}


def fit_timed(fit: Callable[..., Any], model: Mapping[str, Any], job: Job) -> tuple[Any, Job]:
    """Train with `fit` (of images or of texts) on the prepared data of `job`; return the model and the side's times.

    `model` is the recipe's ``[[model]]``. ``seconds`` are those of `PHASE_ONE`, ``whole`` those of all of `fit`, which
    also freezes, saves and verifies the model.
    """
    from edgeproof.core.dataset import load_prepared
    from edgeproof.core.progress import Silent
    from edgeproof.core.recipe import ModelSpec, Train

    # Patience 0: no early stopping, as by hand.
    train = Train(patience=0, **{name: job[name] for name in SETTINGS})
    began = time.perf_counter()
    trained = fit(
        ModelSpec(**model),
        train,
        seed=job["seed"],
        data=load_prepared(Path(job["data"])),
        folder=Path(),
        workspace=Path(job["workspace"]),
        listener=Silent(),
    )
    whole, steps = time.perf_counter() - began, trained.provenance["seconds"]
    return trained, {"seconds": sum(steps[name] for name in PHASE_ONE), "whole": whole, "steps": steps}


def frozen_answers(saved_model: Path, images: Any) -> Any:
    """Return a frozen model's probabilities (N, classes) for images (N, height, width, 3)."""
    import tensorflow as tf

    answer = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    return np.concatenate([answer(tf.constant(one[None], tf.float32))["probabilities"] for one in images])


def split(job: Job, name: str) -> tuple[Any, Any]:
    """Return a split's images (N, height, width, 3) uint8 and labels (N,) int64, both in memory."""
    from edgeproof.core.dataset import load_prepared

    data = load_prepared(Path(job["data"]))
    return np.asarray(data.rows(name)[:]), np.load(data.targets(name))


def right(answers: Any, labels: Any) -> int:
    """Return how many of the answers (N, classes) have the right top class."""
    return int((np.asarray(answers).argmax(axis=1) == labels).sum())


def row(
    what: str, by_hand: list[Job], ours: list[Job], *, tests: int, noun: str, claim: float, points: float, quick: bool
) -> Row:
    """Return the row of both sides' times; the claim is met if the ratio is, and the accuracies are within `points`."""
    hand, edge = (float(np.mean(seconds(side, "right"))) / tests * 100 for side in (by_hand, ours))
    ratio = float(np.median(seconds(by_hand)) / np.median(seconds(ours)))
    steps = ", ".join(f"{name} {spent:.1f} s" for name, spent in ours[0]["steps"].items())
    engine = f"; features by {ours[0]['engine']}" if "engine" in ours[0] else ""
    return Row(
        what,
        seconds(by_hand),
        seconds(ours),
        f"≥ {claim:g}×, same accuracy within {points:g} point{'s' * (points != 1)}",
        None if quick else ratio >= claim and abs(edge - hand) <= points,
        f"accuracy on {tests:,} test {noun}: by hand {hand:.2f} %, Edgeproof {edge:.2f} % "
        f"({edge - hand:+.2f} points); Edgeproof's steps: {steps}, whole fit {ours[0]['whole']:.1f} s{engine}",
    )
