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
from pathlib import Path
from typing import Any

import numpy as np

from . import fixtures, heads
from .sides import Job, Row, Scale, in_turns, run_side, serve

CLAIM, POINTS = 9.0, 0.5


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
    train, validation, (images, labels) = (heads.split(job, name) for name in ("train", "validation", "test"))
    keras.utils.set_random_seed(job["seed"])
    began = time.perf_counter()
    # In place of keras.applications.MobileNetV2(weights="imagenet"), which needs a network connection.
    backbone = mobilenet_v2(job["image_size"])
    model = build_by_hand(backbone, fixtures.MEAN, fixtures.DEVIATION, 10, job["dropout"])
    train_by_hand(model, train, validation, job["epochs"], job["batch_size"], job["learning_rate"])
    spent = time.perf_counter() - began
    return {"seconds": spent, "right": heads.right(model.predict(images, verbose=0), labels)}


def _edgeproof(job: Job) -> Job:
    from edgeproof.frameworks.tensorflow import load
    from edgeproof.train.fit import fit

    os.environ["EDGEPROOF_CACHE"] = str(Path(job["workspace"]) / "cache")  # empty: the backbone's copy is made
    load()
    spec = {"name": "mobilenet_v2", "backbone": "package:mobilenet_v2", "image_size": job["image_size"]}
    model, answer = heads.fit_timed(fit, spec, job)
    return heads.image_answer(model, answer, job)


# --- The benchmark ----------------------------------------------------------------------------------------------------


def run(scale: Scale, folder: Path) -> list[Row]:
    """Time both sides and compare their accuracy on the test split."""
    data = fixtures.prepared(scale, folder)
    job = heads.image_job(data, scale)
    mine = folder / "head_training"

    def edgeproof(number: int) -> Job:
        return run_side("head_training", "edgeproof", {**job, "workspace": str(mine / f"fit-{number}")}, mine)

    by_hand, ours = in_turns(scale.long_repeats, lambda _: run_side("head_training", "by-hand", job, mine), edgeproof)
    images = {split: len(np.load(data / f"{split}-labels.npy")) for split in ("train", "test")}
    what = (
        f"Head training: {scale.epochs} epochs, {images['train']:,} images of {scale.image_size} px, MobileNetV2 frozen"
    )
    return [
        heads.row(
            what, by_hand, ours, tests=images["test"], noun="images", claim=CLAIM, points=POINTS, quick=scale.quick
        )
    ]


if __name__ == "__main__":
    serve({"by-hand": _by_hand, "edgeproof": _edgeproof})
