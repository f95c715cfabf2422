"""Writes a text model: the ids model that ships, frozen, and the string model that it is held against."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.codec import canonical, sha256_of
from ...core.errors import StageError, explain_disk_errors
from ..frameworks import load
from ..freeze import OUTPUT, SIGNATURE, graph_sha256
from ..head import Head
from .base import Cut, TextBase

IDS, LENGTHS, TEXT = "ids", "lens", "text"
TOLERANCE = 1e-4  # of a probability, as for images: the same kernels over the same weights


def save_ids_model(cut: Cut, head: Head, folder: Path) -> None:
    """Save the network from the ids on as a SavedModel, every weight a constant; what stood there is replaced.

    Its one signature ``serving_default`` takes ``ids`` (1, length) int32 and ``lens`` (1,) int32 and gives
    ``probabilities`` (1, classes) float32.
    """
    tf, _ = load()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specifications = [
        tf.TensorSpec((1, cut.length), tf.int32, name=IDS),
        tf.TensorSpec((1,), tf.int32, name=LENGTHS),
    ]

    def infer(ids: Any, lens: Any) -> Any:
        return _probabilities(cut.embed(ids, lens, False), head)

    function = tf.function(infer, autograph=False)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(*specifications))
    order = [tensor.name.split(":")[0] for tensor in frozen.inputs]
    module = tf.Module()
    module.frozen = frozen

    def serve(ids: Any, lens: Any) -> dict[str, Any]:
        given = {IDS: ids, LENGTHS: lens}  # freezing may have swapped them
        return {OUTPUT: frozen(*(given[name] for name in order))[0]}

    module.serve = tf.function(serve, input_signature=specifications, autograph=False)
    _save(module, folder)


def save_text_model(base: TextBase, head: Head, folder: Path) -> None:
    """Save the reference as a SavedModel: ``text`` (1,) string → ``probabilities`` (1, classes) float32.

    Its weights stay variables: encoders may be larger than a graph can be, and only TensorFlow will run it.
    """
    tf, _ = load()
    module = tf.Module()
    module.keep = list(base.keep)
    module.head = [head.kernel, head.bias]

    def serve(text: Any) -> dict[str, Any]:
        return {OUTPUT: _probabilities(base.embed(text, False), head)}

    specification = tf.TensorSpec((1,), tf.string, name=TEXT)
    module.serve = tf.function(serve, input_signature=[specification], autograph=False)
    _save(module, folder)


def _probabilities(features: Any, head: Head) -> Any:
    tf, _ = load()
    return tf.nn.softmax(tf.matmul(features, head.kernel) + head.bias)


def _save(module: Any, folder: Path) -> None:
    tf, _ = load()
    with explain_disk_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})


def run_texts(folder: Path, texts: Sequence[str]) -> NDArray[Any]:
    """Return what the string model at `folder` gives: (n, classes) float32."""
    tf, _ = load()
    signature = tf.saved_model.load(str(folder)).signatures[SIGNATURE]
    return np.concatenate([signature(**{TEXT: tf.constant([text])})[OUTPUT].numpy() for text in texts])


def open_ids_model(folder: Path) -> Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]:
    """Return what runs the ids model at `folder`: ids (n, length) and lens (n,) → (n, classes) float32."""
    tf, _ = load()
    signature = tf.saved_model.load(str(folder)).signatures[SIGNATURE]

    def infer(ids: NDArray[Any], lens: NDArray[Any]) -> NDArray[Any]:
        pairs = zip(ids.astype(np.int32), lens.astype(np.int32), strict=True)
        rows = [signature(**{IDS: tf.constant(row[None]), LENGTHS: tf.constant([n])}) for row, n in pairs]
        return np.concatenate([row[OUTPUT].numpy() for row in rows])

    return infer


def compare(expected: NDArray[Any], found: NDArray[Any], what: str) -> float:
    """Return the largest difference of two arrays of probabilities. Raises StageError when it exceeds `TOLERANCE`."""
    difference = float(np.abs(expected - found).max()) if len(expected) else 0.0
    if not difference <= TOLERANCE:  # NaN must not pass
        raise StageError(
            f"{what} give probabilities that differ by {difference:.2g}, expected at most {TOLERANCE:g}",
            "this is a defect of the conversion; please report it with the recipe",
        )
    return difference


def ids_sha256(folder: Path, labels: tuple[str, ...], tokenizer_sha256: str) -> str:
    """Return the hash of what an ids model computes, of its labels and of its tokenizer."""
    return sha256_of([graph_sha256(folder, labels), tokenizer_sha256])


def strings_sha256(base: TextBase, head: Head, labels: tuple[str, ...], identity: Any) -> str:
    """Return the hash of a model that cannot be cut: of its origin, its labels and every weight that was learnt."""
    digest = hashlib.sha256(canonical([identity, list(labels)]).encode())
    for variable in (*base.learned, head.kernel, head.bias):
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()
