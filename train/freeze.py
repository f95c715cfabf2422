"""Freezes a Keras model into the one SavedModel that export reads: batch 1, every weight a constant, one signature."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.codec import canonical
from ..core.errors import StageError, explain_disk_errors
from ..core.model import InputContract
from .frameworks import load

SIGNATURE = "serving_default"
OUTPUT = "probabilities"
_COUNTER = re.compile(r"_\d+$")
TOLERANCE = 1e-4  # of a probability; the frozen graph runs the same kernels, folded constants differ in the last bits


def constant_function(model: Any, batch: int) -> Any:
    """Return `model` in inference mode as a concrete function of a fixed batch, its variables made constants.

    It takes ``image`` (batch, height, width, channels) float32 and returns a list of one float32 tensor.
    """
    tf, _ = load()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    def infer(image: Any) -> Any:
        return tf.cast(model(image, training=False), tf.float32)

    shape = (batch, *model.input_shape[1:])
    function = tf.function(infer, autograph=False)
    return convert_variables_to_constants_v2(
        function.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="image"))
    )


def freeze(keras_model: Any, labels: tuple[str, ...], input_contract: InputContract, folder: Path) -> Path:
    """Save `keras_model`, frozen, as a SavedModel at `folder` and return `folder`; what stood there is replaced.

    Its one signature ``serving_default`` takes ``image`` (1, height, width, 3) float32 and gives ``probabilities``
    (1, number of labels) float32. Raises StageError when the model does not fit its labels or its contract, or
    nothing can be written.
    """
    tf, _ = load()
    expected = (None, *input_contract.shape[1:]), (None, len(labels))
    found = tuple(keras_model.input_shape), tuple(keras_model.output_shape)
    if found != expected:
        raise StageError(f"the model maps {found[0]} to {found[1]}, but its contract and labels say {expected}")
    frozen = constant_function(keras_model, 1)
    module = tf.Module()
    module.frozen = frozen

    def serve(image: Any) -> dict[str, Any]:
        # Freezing drops the names of the outputs; this gives them back.
        return {OUTPUT: frozen(image)[0]}

    specification = tf.TensorSpec(input_contract.shape, tf.float32, name=input_contract.name)
    module.serve = tf.function(serve, input_signature=[specification], autograph=False)
    with explain_disk_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})
    return folder


def verify(folder: Path, keras_model: Any, samples: NDArray[Any]) -> float:
    """Load the SavedModel at `folder`, run `samples` (N, height, width, 3) and return the largest difference.

    The difference is in probabilities, against `keras_model`. Raises StageError when it exceeds `TOLERANCE`.
    """
    tf, _ = load()
    signature = tf.saved_model.load(str(folder)).signatures[SIGNATURE]
    pixels = samples.astype(np.float32)
    frozen = np.concatenate([signature(tf.constant(one[None]))[OUTPUT].numpy() for one in pixels])
    difference = float(np.abs(frozen - np.asarray(keras_model(pixels, training=False))).max())
    if not difference <= TOLERANCE:  # NaN must not pass
        raise StageError(
            f"the frozen model's probabilities differ from Keras' by {difference:.2g}, expected at most {TOLERANCE:g}",
            "this is a defect of the conversion; please report it with the recipe",
        )
    return difference


def graph_sha256(folder: Path, labels: tuple[str, ...]) -> str:
    """Return the hex SHA-256 of what the SavedModel at `folder` computes, and of its labels.

    Hashed are the nodes of the frozen graph, each serialized deterministically, in order of their names. The
    bytes of ``saved_model.pb`` would not do: they hold counters and random numbers that differ between two
    savings of one model; so do the names of functions, and of constants that were captured from a loaded module.
    Two trainings that end in the same weights have the same hash.
    """
    tf, _ = load()
    function = tf.saved_model.load(str(folder)).signatures[SIGNATURE]
    digest = hashlib.sha256(canonical(list(labels)).encode())
    # The signature calls the frozen function; what that one calls in turn (branches, loops) comes after it.
    library = function.graph.as_graph_def().library.function
    body = max(library, key=lambda called: len(called.node_def))
    reached = {called.name for f in library for node in f.node_def for called in _functions(node)}
    inner = [f for f in library if f is not body and f.signature.name in reached]
    for called in [body, *sorted(inner, key=lambda f: _COUNTER.sub("", f.signature.name))]:
        for node in sorted(_steady(called), key=lambda node: node.name):
            digest.update(node.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _functions(node: Any) -> list[Any]:
    """The functions that a node's attributes name. (Asking a protobuf message for another kind would change it.)"""
    single = [attribute.func for attribute in node.attr.values() if attribute.WhichOneof("value") == "func"]
    lists = [attribute.list.func for attribute in node.attr.values() if attribute.WhichOneof("value") == "list"]
    return [*single, *(function for several in lists for function in several)]


def _steady(function: Any) -> list[Any]:
    """Return copies of a function's nodes, with the counters in their names replaced by where they stand in order."""
    counters = {part for node in function.node_def for part in node.name.split("/") if part.isdecimal()}
    place = {part: str(index) for index, part in enumerate(sorted(counters, key=int))}

    def steady(name: str) -> str:
        path, colon, port = name.partition(":")
        return "/".join(place.get(part, part) for part in path.split("/")) + colon + port

    nodes = []
    for original in function.node_def:
        node = type(original).FromString(original.SerializeToString())
        node.name = steady(node.name)
        node.input[:] = [steady(name) for name in node.input]
        for called in _functions(node):
            called.name = _COUNTER.sub("", called.name)
        nodes.append(node)
    return nodes
