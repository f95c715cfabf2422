"""Freezing: a function's variables become constants, and the one SavedModel is written that export reads.

Every model passes here, of images, of texts and from elsewhere: fixed shapes, batch 1, one signature.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.codec import canonical
from ..core.errors import StageError, explain_disk_errors
from ..core.model import InputContract
from ..core.names import shorten
from .frameworks import load

SIGNATURE = "serving_default"
OUTPUT = "probabilities"
TOLERANCE = 1e-4  # of a probability; the frozen graph runs the same kernels, folded constants differ in the last bits

_COUNTER = re.compile(r"_\d+$")
_CHANGES = re.compile(r"Rng|Random|StatefulUniform|StatefulStandardNormal|StatefulTruncatedNormal|Multinomial|Assign")
_STATELESS = re.compile(r"^Stateless")
REMEDY = (
    "save the model again where it was made: for inference (training=False, without augmentation layers such as "
    "RandomFlip) and without lookup tables"
)


def make_constant(function: Any) -> Any:
    """Return the concrete `function` with the values of its variables written into its graph.

    Its inputs keep their names, but not always their order: see `call_by_name`. Raises StageError for what no file
    format can hold: a graph that changes its variables, draws random numbers from a generator or looks up tables.
    """
    tf, _ = load()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    free = len(function.inputs) - len(function.captured_inputs)
    try:
        frozen = convert_variables_to_constants_v2(function)
    except Exception as error:  # TensorFlow raises whatever the graph makes it stumble over
        changing = sorted(op for op in operators(function) if _CHANGES.search(op) and not _STATELESS.match(op))
        told = (
            f"it draws random numbers or changes its variables while it infers ({', '.join(changing[:4])})"
            if changing
            else shorten(str(error), 300)
        )
        raise StageError(f"the model's variables cannot be made constants: {told}", REMEDY) from error
    left = sorted(op for op in operators(frozen) if "Table" in op or op in ("VarHandleOp", "Variable", "VariableV2"))
    if left or len(frozen.inputs) != free or any(tensor.dtype in (tf.resource, tf.variant) for tensor in frozen.inputs):
        what = ", ".join(left[:4]) or "resources of TensorFlow"
        raise StageError(f"the model needs more than its variables: {what}", REMEDY)
    return frozen


def operators(function: Any) -> set[str]:
    """Return the operators of a concrete function, and of what it may call."""
    definition = function.graph.as_graph_def()
    bodies = [definition.node, *(called.node_def for called in definition.library.function)]
    return {node.op for body in bodies for node in body}


def call_by_name(frozen: Any, values: Mapping[str, Any]) -> list[Any]:
    """Call what `make_constant` gave with tensors by name."""
    return list(frozen(*(values[tensor.name.split(":")[0]] for tensor in frozen.inputs)))


def write(serve: Callable[..., dict[str, Any]], inputs: Sequence[Any], folder: Path, *, keep: Any = None) -> Path:
    """Save `serve` as a SavedModel at `folder` and return `folder`; what stood there is replaced.

    `serve` takes tensors in the order of `inputs` (`tf.TensorSpec`) and gives a dictionary of them; `keep` is what of
    variables and tables it needs. Raises StageError when TensorFlow cannot save it, or the disk refuses.
    """
    tf, _ = load()
    module = tf.Module()
    module.keep = keep
    module.serve = tf.function(serve, input_signature=list(inputs), autograph=False)
    with explain_disk_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})
        except (AssertionError, ValueError, KeyError, TypeError) as error:
            raise StageError(f"TensorFlow cannot save the model: {shorten(str(error), 300)}", REMEDY) from error
    return folder


def serving(folder: Path) -> Any:
    """Load the SavedModel at `folder` and return its signature: tensors by name in, tensors by name out."""
    tf, _ = load()
    return tf.saved_model.load(str(folder)).signatures[SIGNATURE]


def compare(expected: NDArray[Any], found: NDArray[Any], what: str) -> float:
    """Return the largest difference of two arrays of probabilities. Raises StageError when it exceeds `TOLERANCE`."""
    difference = float(np.abs(expected - found).max()) if len(expected) else 0.0
    if not difference <= TOLERANCE:  # NaN must not pass
        raise StageError(
            f"{what} give probabilities that differ by {difference:.2g}, expected at most {TOLERANCE:g}",
            "this is a defect of the conversion; please report it with the recipe",
        )
    return difference


def constant_function(model: Any, batch: int) -> Any:
    """Return `model` in inference mode as a concrete function of a fixed batch, its variables made constants.

    It takes ``image`` (batch, height, width, channels) float32 and returns a list of one float32 tensor. Raises
    StageError as `make_constant`.
    """
    tf, _ = load()

    def infer(image: Any) -> Any:
        return tf.cast(model(image, training=False), tf.float32)

    shape = (batch, *model.input_shape[1:])
    function = tf.function(infer, autograph=False)
    return make_constant(function.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="image")))


def freeze(keras_model: Any, labels: tuple[str, ...], input_contract: InputContract, folder: Path) -> Path:
    """Save `keras_model`, frozen, as a SavedModel at `folder` and return `folder`; what stood there is replaced.

    Its one signature ``serving_default`` takes ``image`` (1, height, width, 3) float32 and gives ``probabilities``
    (1, number of labels) float32. Raises StageError when the model does not fit its labels or its contract, cannot be
    made constant (`make_constant`), or nothing can be written.
    """
    tf, _ = load()
    expected = (None, *input_contract.shape[1:]), (None, len(labels))
    found = tuple(keras_model.input_shape), tuple(keras_model.output_shape)
    if found != expected:
        raise StageError(f"the model maps {found[0]} to {found[1]}, but its contract and labels say {expected}")
    frozen = constant_function(keras_model, 1)

    def serve(image: Any) -> dict[str, Any]:
        # Freezing drops the names of the outputs; this gives them back.
        return {OUTPUT: frozen(image)[0]}

    return write(serve, [tf.TensorSpec(input_contract.shape, tf.float32, name=input_contract.name)], folder)


def verify(folder: Path, keras_model: Any, samples: NDArray[Any]) -> float:
    """Load the SavedModel at `folder`, run `samples` (N, height, width, 3) and return the largest difference.

    The difference is in probabilities, against `keras_model`. Raises StageError when it exceeds `TOLERANCE`.
    """
    tf, _ = load()
    signature, pixels = serving(folder), samples.astype(np.float32)
    frozen = np.concatenate([signature(tf.constant(one[None]))[OUTPUT].numpy() for one in pixels])
    return compare(np.asarray(keras_model(pixels, training=False)), frozen, "Keras and the frozen model")


def graph_sha256(folder: Path, labels: tuple[str, ...]) -> str:
    """Return the hex SHA-256 of what the SavedModel at `folder` computes, and of its labels.

    Hashed are the nodes of the frozen graph, each serialized deterministically, in order of their names. The
    bytes of ``saved_model.pb`` would not do: they hold counters and random numbers that differ between two
    savings of one model; so do the names of functions, and of constants that were captured from a loaded module.
    Two trainings that end in the same weights have the same hash.
    """
    function = serving(folder)
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
