"""A head on a Hub module: `model.fit` over `hub.KerasLayer`, compared with Edgeproof, which computes features once.

The module is EfficientNet-Lite0 (feature vectors) as a SavedModel, made from the weights of an installed package before
anything is timed: by hand it would be downloaded. Both sides have the same SavedModel, pixel range, arrays, optimizer
(Adam), learning rate, batch size, dropout and number of epochs, and both validate after every epoch. Both times include
loading the module and everything until the end of the last epoch; both exclude importing TensorFlow, and saving.

Over eight seeds each, the test accuracy of one training had a standard deviation of 0.24 points by hand and of 0.28 by
Edgeproof's `fit`. A difference of two trainings therefore has one of 0.37, and 1 point is 2.7 of them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import fixtures, heads
from .sides import Job, Row, Scale, in_turns, run_side, serve

CLAIM, POINTS = 7.0, 1.0


# --- By hand: as in TensorFlow Hub's tutorial "Retraining an image classifier" ----------------------------------------


def build_by_hand(handle: str, size: int, classes: int, dropout: float) -> Any:
    """Return module → dropout → softmax, for pixels that are in the module's range already."""
    import tensorflow_hub as hub
    import tf_keras as keras

    return keras.Sequential(
        [
            keras.layers.InputLayer(input_shape=(size, size, 3)),
            hub.KerasLayer(handle, trainable=False),
            keras.layers.Dropout(rate=dropout),
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )


def train_by_hand(model: Any, train: Any, validation: Any, epochs: int, batch: int, rate: float) -> None:
    import tensorflow as tf
    import tf_keras as keras

    normalization = keras.layers.Rescaling(1 / 128, offset=-127 / 128)  # what this module was trained with

    def batches(split: Any) -> Any:
        normalized = split.batch(batch).map(lambda images, labels: (normalization(images), labels))
        return normalized.prefetch(tf.data.AUTOTUNE)

    training = tf.data.Dataset.from_tensor_slices(train).shuffle(len(train[0]))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        batches(training),
        validation_data=batches(tf.data.Dataset.from_tensor_slices(validation)),
        epochs=epochs,
        verbose=2,
    )


# --- The two sides ----------------------------------------------------------------------------------------------------


def _module(job: Job) -> Job:
    """Make the module in the cache of a turn, which both sides use; the backbone's LiteRT copy is not in it yet."""
    os.environ["EDGEPROOF_CACHE"] = job["cache"]
    from edgeproof.core.progress import Silent
    from edgeproof.train.hub.efficientnet_lite import saved_model

    return {"module": str(saved_model("feature_vector", Silent()))}


def _by_hand(job: Job) -> Job:
    from edgeproof.frameworks.tensorflow import load
    from edgeproof.train.hub.module import load_hub

    _, keras = load()
    load_hub()
    train, validation, (images, labels) = (heads.split(job, name) for name in ("train", "validation", "test"))
    keras.utils.set_random_seed(job["seed"])
    began = time.perf_counter()
    model = build_by_hand(job["module"], job["image_size"], 10, job["dropout"])
    train_by_hand(model, train, validation, job["epochs"], job["batch_size"], job["learning_rate"])
    spent = time.perf_counter() - began
    answers = model.predict((images.astype(np.float32) - 127) / 128, verbose=0)
    return {"seconds": spent, "right": heads.right(answers, labels)}


def _edgeproof(job: Job) -> Job:
    os.environ["EDGEPROOF_CACHE"] = job["cache"]
    from edgeproof.train.fit import fit
    from edgeproof.train.hub.module import load_hub

    load_hub()
    spec = {"name": "hub", "backbone": "package:efficientnet_lite0", "image_size": job["image_size"]}
    model, answer = heads.fit_timed(fit, spec, job)
    return heads.image_answer(model, answer, job)


# --- The benchmark ----------------------------------------------------------------------------------------------------


def run(scale: Scale, folder: Path) -> list[Row]:
    """Time both sides and compare their accuracy on the test split."""
    data, mine = fixtures.prepared(scale, folder), folder / "hub_model"
    job = heads.image_job(data, scale)
    made: dict[int, Job] = {}

    def side(name: str, number: int) -> Job:
        cache = str(mine / f"cache-{number}")
        if number not in made:
            made[number] = run_side("hub_model", "module", {"cache": cache}, mine)
        workspace, module = str(mine / f"fit-{number}"), made[number]["module"]
        return run_side("hub_model", name, {**job, "cache": cache, "module": module, "workspace": workspace}, mine)

    by_hand, ours = in_turns(scale.long_repeats, lambda n: side("by-hand", n), lambda n: side("edgeproof", n))
    images = {split: len(np.load(data / f"{split}-labels.npy")) for split in ("train", "test")}
    what = (
        f"Head on a Hub module: {scale.epochs} epochs, {images['train']:,} images of {scale.image_size} px, "
        "EfficientNet-Lite0 through hub.KerasLayer, frozen"
    )
    return [
        heads.row(
            what, by_hand, ours, tests=images["test"], noun="images", claim=CLAIM, points=POINTS, quick=scale.quick
        )
    ]


if __name__ == "__main__":
    serve({"module": _module, "by-hand": _by_hand, "edgeproof": _edgeproof})
