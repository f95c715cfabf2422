"""Features of a frozen text backbone: computed once for all epochs and seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...frameworks.tensorflow import load
from .base import Cut, TextBase

BATCH = 16


def extractor(base: TextBase) -> Callable[[Sequence[str]], NDArray[Any]]:
    """Return a function from texts to features (n, width) float32: the reference path, with the original tokenizer."""
    tf, _ = load()
    if base.cut is not None and base.cut.singly:
        return _one_by_one(base, base.cut)
    signature = [tf.TensorSpec([None], tf.string)]
    infer = tf.function(lambda texts: base.embed(texts, False), input_signature=signature, autograph=False)

    def compute(texts: Sequence[str]) -> NDArray[Any]:
        out = np.empty((len(texts), base.features), np.float32)
        order = np.argsort([len(text) for text in texts], kind="stable")  # texts of similar length need little padding
        for at in range(0, len(texts), BATCH):
            index = order[at : at + BATCH]
            out[index] = infer(tf.constant([texts[i] for i in index])).numpy()
        return out

    return compute


def _one_by_one(base: TextBase, cut: Cut) -> Callable[[Sequence[str]], NDArray[Any]]:
    """The same for a cut that takes one text at a time: through its ids, so that the head sees what the files will."""
    tf, _ = load()
    signature = [tf.TensorSpec([1], tf.string)]
    infer = tf.function(lambda text: cut.embed(cut.tokenize(text), False), input_signature=signature, autograph=False)

    def compute(texts: Sequence[str]) -> NDArray[Any]:
        rows = [infer(tf.constant([text])).numpy() for text in texts]
        return np.concatenate(rows) if rows else np.empty((0, base.features), np.float32)

    return compute
