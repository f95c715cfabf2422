"""Features of a frozen text backbone: computed once, whatever the epochs and seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frameworks import load
from .base import TextBase

BATCH = 16


def extractor(base: TextBase) -> Callable[[Sequence[str]], NDArray[Any]]:
    """Return what maps texts to features (n, width) float32: the reference path, with the original tokenizer."""
    tf, _ = load()
    signature = [tf.TensorSpec([None], tf.string)]
    infer = tf.function(lambda texts: base.embed(texts, False), input_signature=signature, autograph=False)

    def compute(texts: Sequence[str]) -> NDArray[Any]:
        out = np.empty((len(texts), base.features), np.float32)
        order = np.argsort([len(text) for text in texts], kind="stable")  # texts of like length need little padding
        for at in range(0, len(texts), BATCH):
            index = order[at : at + BATCH]
            out[index] = infer(tf.constant([texts[i] for i in index])).numpy()
        return out

    return compute
