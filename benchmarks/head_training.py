"""Training a head on a frozen backbone: Keras' `model.fit`, compared with Edgeproof, which computes features once.

Both sides have the same ImageNet weights, arrays, optimizer (Adam), learning rate, batch size, dropout and number of
epochs, and both validate after every epoch. Both times include building the model and everything until the end of the
last epoch (for Edgeproof also the LiteRT copy of the backbone, its comparison with Keras, and the features). Both
exclude importing TensorFlow, and saving. The whole of `train.fit.fit` also freezes, saves and verifies the model; its
time is given below the table.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import fixtures
from .sides import Job, Row, Scale, in_turns, run_side, seconds, serve

CLAIM, POINTS = 15.0, 0.5
PHASE_ONE = ("build", "features", "head")  # the steps of `fit` that correspond to building the model and `model.fit`


# --- By hand: transfer learning as in the Keras guide -----------------------------------------------------------------


def build_by_hand(backbone: Any, mean: Any, deviation: Any, classes: int, dropout: float) -> Any:
    """Return pixels 0–255 → standardization → frozen backbone in inference mode → pooling → dropout → softmax."""
    import tf_keras as keras

    backbone.trainable = False
    image = keras.Input(backbone.input_shape[1:])
    x = keras.layers.Rescaling(scale=(1 / (255 * deviation)).tolist(), offset=(-mean / deviation).tolist())(image)
    x = backbone(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(dropout)(x)
    return keras.Model(image, keras.layers.Dense(classes, activation="softmax")(x))


def train_by_hand(model: Any, train: Any, validation: Any, epochs: int, batch: int, rate: float) -> None:
    import tensorflow as tf
    import tf_keras as keras

    images, _ = train
    training = tf.data.Dataset.from_tensor_slices(train).shuffle(len(images)).batch(batch).prefetch(tf.data.AUTOTUNE)
    validating = tf.data.Dataset.from_tensor_slices(validation).batch(batch).prefetch(tf.data.AUTOTUNE)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(training, validation_data=validating, epochs=epochs, verbose=2)


# --- The two sides ----------------------------------------------------------------------------------------------------


def _by_hand(job: Job) -> Job:
    from edgeproof.frameworks.tensorflow import load
    from edgeproof.train.packaged import mobilenet_v2

    _, keras = load()
    train, validation, test = (_split(job, split) for split in ("train", "validation", "test"))
    keras.utils.set_random_seed(job["seed"])
    began = time.perf_counter()
    # In place of keras.applications.MobileNetV2(weights="imagenet"), which needs a network connection.
    backbone = mobilenet_v2(job["image_size"])
    model = build_by_hand(backbone, fixtures.MEAN, fixtures.DEVIATION, 10, job["dropout"])
    train_by_hand(model, train, validation, job["epochs"], job["batch_size"], job["learning_rate"])
    spent = time.perf_counter() - began
    return {"seconds": spent, "right": _right(lambda images: model.predict(images, verbose=0), test)}


def _edgeproof(job: Job) -> Job:
    from edgeproof.core.dataset import load_prepared
    from edgeproof.core.progress import Silent
    from edgeproof.core.recipe import ModelSpec, Train
    from edgeproof.frameworks.tensorflow import load
    from edgeproof.train.fit import fit

    os.environ["EDGEPROOF_CACHE"] = str(Path(job["workspace"]) / "cache")  # empty: the backbone's copy is made
    tf, _ = load()
    # Patience 0: no early stopping, as by hand.
    train = Train(patience=0, **{k: job[k] for k in ("epochs", "batch_size", "learning_rate", "dropout")})
    spec = ModelSpec(name="mobilenet_v2", backbone="package:mobilenet_v2", image_size=job["image_size"])
    began = time.perf_counter()
    model = fit(
        spec,
        train,
        seed=job["seed"],
        data=load_prepared(Path(job["data"])),
        folder=Path(),
        workspace=Path(job["workspace"]),
        listener=Silent(),
    )
    spent, steps = time.perf_counter() - began, model.provenance["seconds"]
    answer = tf.saved_model.load(str(model.saved_model)).signatures["serving_default"]

    def predict(images: Any) -> Any:
        return np.concatenate([answer(tf.constant(one[None], tf.float32))["probabilities"] for one in images])

    return {
        "seconds": sum(steps[name] for name in PHASE_ONE),
        "whole": spent,
        "right": _right(predict, _split(job, "test")),
        "steps": steps,
        "engine": model.provenance["features_engine"],
    }


def _split(job: Job, split: str) -> tuple[Any, Any]:
    """Return images (N, height, width, 3) uint8 and labels (N,) int64, both in memory."""
    return np.load(Path(job["data"]) / f"{split}.npy"), np.load(Path(job["data"]) / f"{split}-labels.npy")


def _right(predict: Callable[[Any], Any], test: tuple[Any, Any]) -> int:
    """Return the number of correct answers on the test split; not timed."""
    return int((np.asarray(predict(test[0])).argmax(axis=1) == test[1]).sum())


# --- The benchmark ----------------------------------------------------------------------------------------------------


def run(scale: Scale, folder: Path) -> list[Row]:
    """Time both sides and compare their accuracy on the test split."""
    data = fixtures.prepared(scale, folder)
    job = {
        "data": str(data),
        "image_size": scale.image_size,
        "epochs": scale.epochs,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "dropout": 0.2,
        "seed": 1,
    }
    mine = folder / "head_training"

    def edgeproof(number: int) -> Job:
        return run_side("head_training", "edgeproof", {**job, "workspace": str(mine / f"fit-{number}")}, mine)

    by_hand, ours = in_turns(scale.long_repeats, lambda _: run_side("head_training", "by-hand", job, mine), edgeproof)
    images = {split: len(np.load(data / f"{split}-labels.npy")) for split in ("train", "test")}
    hand, edge = (float(np.mean(seconds(side, "right"))) / images["test"] * 100 for side in (by_hand, ours))
    ratio = float(np.median(seconds(by_hand)) / np.median(seconds(ours)))
    steps = ", ".join(f"{name} {spent:.1f} s" for name, spent in ours[0]["steps"].items())
    return [
        Row(
            f"Head training: {scale.epochs} epochs, {images['train']:,} images of {scale.image_size} px, "
            "MobileNetV2 frozen",
            seconds(by_hand),
            seconds(ours),
            f"≥ {CLAIM:g}×, same accuracy within {POINTS:g} points",
            None if scale.quick else ratio >= CLAIM and abs(edge - hand) <= POINTS,
            f"accuracy on {images['test']:,} test images: by hand {hand:.2f} %, Edgeproof {edge:.2f} % "
            f"({edge - hand:+.2f} points); Edgeproof's steps: {steps}, whole fit {ours[0]['whole']:.1f} s; "
            f"features by {ours[0]['engine']}",
        )
    ]


if __name__ == "__main__":
    serve({"by-hand": _by_hand, "edgeproof": _edgeproof})
