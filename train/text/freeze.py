"""Writes a text model: the frozen ids model that is exported, and the string model that it is compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.codec import canonical, sha256_of
from ...core.model import SIGNATURE
from ...frameworks.constants import make_constant
from ...frameworks.freeze import OUTPUT, caller, graph_sha256, serving, write
from ...frameworks.saved_model import read
from ...frameworks.tensorflow import load
from .base import Cut, TextBase

TEXT = "text"


def save_ids_model(cut: Cut, head: Any, folder: Path, output: str = OUTPUT) -> None:
    """Save the network from the ids on as a SavedModel with constant weights, replacing what is there.

    Its one signature ``serving_default`` takes ``ids`` (1, length) int32 and ``lens`` (1,) int32, and the same of the
    cut's further inputs, and gives `output` (1, values) float32. Raises StageError as `make_constant`.
    """
    tf, _ = load()
    specifications = []
    for part in cut.inputs:
        specifications.append(tf.TensorSpec((1, part.length), tf.int32, name=part.name))
        if part.lengths:
            specifications.append(tf.TensorSpec((1,), tf.int32, name=part.lengths))

    def infer(*tensors: Any) -> Any:
        return head(cut.embed(tensors, False), training=False)

    function = tf.function(infer, autograph=False)
    call = caller(make_constant(function.get_concrete_function(*specifications)), specifications)

    def serve(*tensors: Any) -> dict[str, Any]:
        return {output: call(dict(zip(cut.names, tensors, strict=True)))[0]}

    write(serve, specifications, folder)


def save_text_model(base: TextBase, head: Any, folder: Path, output: str = OUTPUT) -> None:
    """Save the reference as a SavedModel: ``text`` (1,) string → `output` (1, values) float32.

    Its weights stay variables, as encoders may exceed the size limit of a graph, and only TensorFlow runs it; those of
    a divided encoder are constants, as in its files.
    """
    tf, _ = load()

    cut = base.cut if base.cut is not None and base.cut.singly else None

    def serve(text: Any) -> dict[str, Any]:
        features = base.embed(text, False) if cut is None else cut.embed(cut.tokenize(text), False)
        return {output: head(features, training=False)}

    keep = [*base.keep, *head.weights]
    write(serve, [tf.TensorSpec((1,), tf.string, name=TEXT)], folder, keep=keep)


def run_texts(folder: Path, texts: Sequence[str], output: str = OUTPUT) -> NDArray[Any]:
    """Return the `output` (n, values) float32 of the string model at `folder`."""
    tf, _ = load()
    signature = serving(folder)
    return np.concatenate([signature(**{TEXT: tf.constant([text])})[output].numpy() for text in texts])


def open_ids_model(folder: Path, output: str = OUTPUT) -> Callable[..., NDArray[Any]]:
    """Return a function that runs the ids model at `folder`: ids (n, length), lens (n,) and further inputs in order of
    their names (``ids``, ``lens``, ``ids_2``, …) → its `output` (n, values) float32."""
    tf, _ = load()
    signature = serving(folder)
    inputs = read(folder).signatures[SIGNATURE].inputs
    names = sorted(inputs, key=lambda name: (int(name.partition("_")[2] or 1), name))

    def infer(*arrays: NDArray[Any]) -> NDArray[Any]:
        typed = [array.astype(np.int32) for array in arrays]
        rows = [
            signature(**{name: tf.constant(array[at : at + 1]) for name, array in zip(names, typed, strict=True)})
            for at in range(len(typed[0]))
        ]
        return np.concatenate([row[output].numpy() for row in rows])

    return infer


def ids_sha256(folder: Path, labels: tuple[str, ...], tokenizer_sha256: str) -> str:
    """Return the hash of an ids model's graph, its labels and its tokenizer."""
    return sha256_of([graph_sha256(folder, labels), tokenizer_sha256])


def strings_sha256(base: TextBase, head: Any, labels: tuple[str, ...], identity: Any) -> str:
    """Return the hash of a model that cannot be cut: of its origin, its labels and every trained weight."""
    digest = hashlib.sha256(canonical([identity, list(labels)]).encode())
    for variable in (*base.learned, *head.weights):
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()
