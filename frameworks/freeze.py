"""Freezing: turns a function's variables into constants and writes the one SavedModel that export reads.

Image models, text models and imported models all pass here: fixed shapes, batch 1, one signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.codec import canonical
from ..core.environment import release_memory
from ..core.errors import StageError, explain_disk_errors
from ..core.files import discard
from ..core.model import SIGNATURE, InputContract
from ..core.sanitize import shorten
from .as_written import as_written
from .constants import LOOPS, REMEDY, called_in, fix_shapes, make_constant, operators
from .tensorflow import load

OUTPUT = "probabilities"
TOLERANCE = 1e-4  # of a probability; the frozen graph runs the same kernels, folded constants differ in the last bits


def caller(frozen: Any, inputs: Sequence[Any]) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Return a callable that runs the function `frozen` of `make_constant` on tensors by name.

    `inputs` are its `tf.TensorSpec` with fixed shapes; the shapes inside loops are derived from them.
    """
    tf, _ = load()
    if not operators(frozen) & LOOPS:
        return lambda values: list(frozen(*(values[tensor.name.split(":")[0]] for tensor in frozen.inputs)))
    names = [tensor.name for tensor in frozen.outputs]
    definition = fix_shapes(frozen.graph.as_graph_def(), [(i.name, i.shape, i.dtype) for i in inputs], names)

    def call(values: Mapping[str, Any]) -> list[Any]:
        feeds = {f"{name}:0": value for name, value in values.items()}
        return list(tf.graph_util.import_graph_def(definition, input_map=feeds, return_elements=names, name=""))

    return call


def write(serve: Callable[..., dict[str, Any]], inputs: Sequence[Any], folder: Path, *, keep: Any = None) -> Path:
    """Save `serve` as a SavedModel at `folder`, replacing what is there, and return `folder`.

    `serve` takes tensors in the order of `inputs` (`tf.TensorSpec`) and returns a dictionary of tensors; `keep` holds
    the variables and tables that it needs. Raises StageError when TensorFlow cannot save it, or the disk refuses.
    """
    tf, _ = load()
    module = tf.Module()
    module.keep = keep
    module.serve = tf.function(serve, input_signature=list(inputs), autograph=False)
    with explain_disk_errors(folder):
        discard(folder, root=folder.parent)
        # Some operators (such as swish) have a custom gradient, which cannot be saved from a frozen graph.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        try:
            tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve}, options=options)
        except (AssertionError, ValueError, KeyError, TypeError) as error:
            raise StageError(f"TensorFlow cannot save the model: {shorten(str(error), 300)}", REMEDY) from error
        finally:
            release_memory()
    return folder


def serving(folder: Path) -> Callable[..., dict[str, Any]]:
    """Load the SavedModel at `folder` and return its signature: tensors by name (or the only one) in, by name out.

    It runs without graph optimizers, see `as_written`.
    """
    tf, _ = load()
    signature = signature_of(folder)

    def call(*only: Any, **tensors: Any) -> dict[str, Any]:
        with as_written(tf):
            answer: dict[str, Any] = signature(*only, **tensors)
            return answer

    return call


def signature_of(folder: Path) -> Any:
    """Load the SavedModel at `folder` and return its signature, a function of tensors by name."""
    tf, _ = load()
    return tf.saved_model.load(str(folder)).signatures[SIGNATURE]


def compare(expected: NDArray[Any], actual: NDArray[Any], what: str) -> float:
    """Return the largest difference of two arrays of probabilities. Raises StageError when it exceeds `TOLERANCE`."""
    difference = float(np.abs(expected - actual).max()) if len(expected) else 0.0
    if not difference <= TOLERANCE:  # NaN must not pass
        raise StageError(
            f"{what} give probabilities that differ by {difference:.2g}, expected at most {TOLERANCE:g}",
            "this is a defect of the conversion; please report it with the recipe",
        )
    return difference


def constant_function(model: Any, batch: int) -> Any:
    """Return `model` in inference mode as a concrete function of a fixed batch, with its variables as constants.

    It takes ``image`` (batch, height, width, channels) float32 and returns a list of one float32 tensor. Raises
    StageError as `make_constant`.
    """
    tf, _ = load()

    def infer(image: Any) -> Any:
        return tf.cast(model(image, training=False), tf.float32)

    shape = (batch, *model.input_shape[1:])
    function = tf.function(infer, autograph=False)
    return make_constant(function.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="image")))


def freeze(
    keras_model: Any,
    labels: tuple[str, ...],
    input_contract: InputContract,
    folder: Path,
    *,
    values: int | tuple[int, ...] | None = None,
    output: str = OUTPUT,
) -> Path:
    """Freeze `keras_model`, save it as a SavedModel at `folder`, replacing what is there, and return `folder`.

    Its one signature ``serving_default`` takes the contract's input (1, …) float32, such as ``image`` (1, height,
    width, 3), and gives `output` (1, values) float32, by default ``probabilities``, one for each label. Raises
    StageError when the model does not fit its labels or its contract, cannot be made constant (`make_constant`), or
    nothing can be written.
    """
    tf, _ = load()
    answer = values if isinstance(values, tuple) else (len(labels) if values is None else values,)
    expected = (None, *input_contract.shape[1:]), (None, *answer)
    shapes = tuple(keras_model.input_shape), tuple(keras_model.output_shape)
    if shapes != expected:
        raise StageError(f"the model maps {shapes[0]} to {shapes[1]}, but its contract and labels say {expected}")
    frozen = constant_function(keras_model, 1)

    def serve(image: Any) -> dict[str, Any]:
        # Freezing drops the names of the outputs; this restores them.
        return {output: frozen(image)[0]}

    return write(serve, [tf.TensorSpec(input_contract.shape, tf.float32, name=input_contract.name)], folder)


def verify(folder: Path, keras_model: Any, samples: NDArray[Any], *, output: str = OUTPUT, size: float = 1.0) -> float:
    """Load the SavedModel at `folder`, run `samples` (N, …), such as pictures, and return the largest difference.

    The difference is in probabilities, or in shares of `size`, against `keras_model`. Raises StageError when it exceeds
    `TOLERANCE`.
    """
    tf, _ = load()
    signature, pixels = serving(folder), samples.astype(np.float32)
    frozen = np.concatenate([signature(tf.constant(one[None]))[output].numpy() for one in pixels])
    release_memory()
    expected = np.asarray(keras_model(pixels, training=False))
    return compare(expected / size, frozen / size, "Keras and the frozen model")


def graph_sha256(folder: Path, labels: tuple[str, ...]) -> str:
    """Return the hex SHA-256 of what the SavedModel at `folder` computes, and of its labels.

    The hash covers the operators of the frozen graph with their attributes, each with the hashes of its inputs and of
    the functions it calls (loops, branches). Names do not count, except those of the inputs and outputs: they contain
    counters that differ each time a model is saved, as the bytes of ``saved_model.pb`` do. Two trainings that end in
    the same weights have the same hash.
    """
    function = signature_of(folder)
    definition = function.graph.as_graph_def()
    bodies = {called.signature.name: called for called in definition.library.function}
    hashes: dict[str, bytes] = {}
    nodes = _hash_nodes(definition.node, {}, bodies, hashes)
    names = sorted(function.structured_outputs)  # as a dictionary is flattened
    outputs = {
        name: _hash_input(tensor.name, nodes).hex() for name, tensor in zip(names, function.outputs, strict=True)
    }
    return hashlib.sha256(canonical([list(labels), outputs]).encode()).hexdigest()


def _hash_function(name: str, bodies: Mapping[str, Any], hashes: dict[str, bytes]) -> bytes:
    """Return the hash of a function of the library; `hashes` keeps those that are known."""
    if name not in hashes:
        body = bodies[name]
        argument_hashes = {one.name: f"argument {at}".encode() for at, one in enumerate(body.signature.input_arg)}
        nodes = _hash_nodes(body.node_def, argument_hashes, bodies, hashes)
        returned = [_hash_input(body.ret[one.name], nodes) for one in body.signature.output_arg]
        hashes[name] = hashlib.sha256(b"".join([*returned, *sorted(nodes.values())])).digest()
    return hashes[name]


def _hash_nodes(
    nodes: Sequence[Any], argument_hashes: Mapping[str, bytes], bodies: Mapping[str, Any], hashes: dict[str, bytes]
) -> dict[str, bytes]:
    """Return the hash of each node by its name, added to `argument_hashes`, those of arguments that nodes may read."""
    by_name = {node.name: node for node in nodes}
    node_hashes = dict(argument_hashes)
    stack = list(by_name)
    while stack:
        node = by_name[stack[-1]]
        # The only operator that closes a circle, in loops of TensorFlow 1: its inputs are hashed as nodes themselves.
        inputs = [] if node.op in ("NextIteration", "RefNextIteration") else list(node.input)
        waiting = {_node_of(one) for one in inputs} - node_hashes.keys()
        if waiting:
            stack.extend(sorted(waiting))
            continue
        stack.pop()
        if node.name in node_hashes:
            continue
        digest = hashlib.sha256(node.op.encode())
        if node.op == "Placeholder":
            digest.update(node.name.encode())
        for key in sorted(node.attr):
            # Internal ones hold names and counters, configurations what the process was set to.
            if not key.startswith("_") and key not in ("config", "config_proto", "executor_type"):
                digest.update(key.encode() + _hash_attribute(node.attr[key], bodies, hashes))
        ordered = [_hash_input(one, node_hashes) for one in inputs if not one.startswith("^")]
        control = sorted(_hash_input(one, node_hashes) for one in inputs if one.startswith("^"))
        digest.update(b"".join([*ordered, b"^", *control]))
        node_hashes[node.name] = digest.digest()
    return node_hashes


def _hash_input(name: str, node_hashes: Mapping[str, bytes]) -> bytes:
    return node_hashes[_node_of(name)] + name.removeprefix("^").partition(":")[2].encode() + b";"


def _node_of(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]


def _hash_attribute(value: Any, bodies: Mapping[str, Any], hashes: dict[str, bytes]) -> bytes:
    if functions := called_in(value):
        return b"".join(_hash_function(one.name, bodies, hashes) for one in functions)
    return bytes(value.SerializeToString(deterministic=True))
