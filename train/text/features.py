"""Features of a frozen text backbone: computed once, whatever the epochs and seeds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import explain_disk_errors
from ..frameworks import load
from .base import TextBase

BATCH = 16
BLOCK = 256  # texts between two writes: what a kill can cost


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


def compute(
    extract: Callable[[Sequence[str]], NDArray[Any]],
    texts: Sequence[str],
    width: int,
    path: Path,
    progress: Callable[[int], None],
) -> NDArray[Any]:
    """Return the features of `texts` as a read-only memory map (n, width) float32 of `path`.

    The file grows block by block: what is there already, from a run that was killed or another seed's, is not
    computed again. `progress` is told how many texts were finished since it was last told. Raises StageError when the
    disk is full.
    """
    shape = (len(texts), width)
    if not len(texts):
        return np.zeros(shape, np.float32)
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "w+b") as stream:
            np.lib.format.write_array_header_2_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
            stream.flush()
            header, row = stream.tell(), 4 * width
            done = min((os.fstat(stream.fileno()).st_size - header) // row, len(texts))
            if done < len(texts):
                done -= done % BLOCK  # the same batches as without an interruption
            stream.truncate(header + done * row)
            stream.seek(header + done * row)
            progress(done)
            for at in range(done, len(texts), BLOCK):
                block = texts[at : at + BLOCK]
                stream.write(extract(block).astype("<f4").tobytes())
                stream.flush()
                progress(len(block))
    features: NDArray[Any] = np.load(path, mmap_mode="r")
    return features
