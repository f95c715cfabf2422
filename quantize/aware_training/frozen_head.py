"""Frozen SavedModels, which export reads: written from a Keras network, or cut before their last dense layer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import StageError
from ...core.model import Model
from ...frameworks.freeze import signature_of, write
from ...frameworks.tensorflow import load

THROUGH = ("Identity", "StopGradient")  # operators that do not change values


def freeze(function: Callable[[Any], Any], model: Model, folder: Path) -> Path:
    """Save `function`, its variables made constants, as a SavedModel with `model`'s signature at `folder`.

    `function` maps a tensor of the input contract's shape to (1, classes). An existing folder is replaced.
    """
    tf, _ = load()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    spec = tf.TensorSpec(model.input.shape, tf.float32, name=model.input.name)
    concrete = tf.function(function, autograph=False).get_concrete_function(spec)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)

    def serve(tensor: Any) -> dict[str, Any]:
        return {model.answer: frozen(tensor)[0]}

    return write(serve, [spec], folder)


def signature_answers(folder: Path, name: str, answer: str, samples: NDArray[Any]) -> NDArray[Any]:
    """Run `samples` (N, …) one by one through the SavedModel at `folder`: the output `answer` (N, classes)."""
    tf, _ = load()
    serve = signature_of(folder)
    return np.concatenate([serve(**{name: tf.constant(one[None])})[answer].numpy() for one in samples])


def digest(arrays: list[NDArray[Any]]) -> str:
    """Return the hex SHA-256 of arrays, including their shapes and dtypes."""
    sums = hashlib.sha256()
    for array in arrays:
        sums.update(f"{array.dtype.str}{array.shape}".encode())
        sums.update(np.ascontiguousarray(array).tobytes())
    return sums.hexdigest()


@dataclass(frozen=True)
class HeadCut:
    """A frozen model cut before its last dense layer.

    `base` maps the model's input to the features x (1, n). The head is x · `kernel` (n, classes) + `bias` (classes,),
    followed by a softmax if `softmax`.
    """

    base: Callable[[Any], Any]
    kernel: NDArray[Any]
    bias: NDArray[Any]
    softmax: bool


def cut_head(model: Model) -> HeadCut:
    """Cut `model` before its last dense layer. Raises StageError if it does not end in one."""
    tf, _ = load()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = signature_of(model.saved_model)
    inlined = convert_variables_to_constants_v2(signature, lower_control_flow=False)
    graph = inlined.graph
    outputs = dict(zip(sorted(signature.structured_outputs), inlined.outputs, strict=True))
    tensor = _source(outputs[model.answer])
    softmax = tensor.op.type == "Softmax"
    if softmax:
        tensor = _source(tensor.op.inputs[0])
    bias = None
    if tensor.op.type in ("BiasAdd", "AddV2", "Add"):
        bias, tensor = _constant(tensor.op.inputs[1]), _source(tensor.op.inputs[0])
    dense = tensor.op
    plain = dense.type == "MatMul" and not dense.get_attr("transpose_a") and not dense.get_attr("transpose_b")
    kernel = _constant(dense.inputs[1]) if plain else None
    if kernel is None:
        raise StageError(
            f"model {model.name!r} cannot be trained further: its network is not available, and the frozen model does "
            f"not end in a dense layer (found: {dense.type})",
            "use a backbone of Keras layers (keras:, package:mobilenet_v2), or use tflite:int8",
        )
    place, features = inlined.inputs[0].name, dense.inputs[0].name
    definition = graph.as_graph_def()

    def body(image: Any) -> Any:
        return tf.import_graph_def(definition, input_map={place: image}, return_elements=[features], name="base")[0]

    classes = kernel.shape[1]
    return HeadCut(body, kernel, bias if bias is not None else np.zeros(classes, np.float32), softmax)


def _source(tensor: Any) -> Any:
    while tensor.op.type in THROUGH:
        tensor = tensor.op.inputs[0]
    return tensor


def _constant(tensor: Any) -> NDArray[Any] | None:
    tf, _ = load()
    tensor = _source(tensor)
    return tf.make_ndarray(tensor.op.get_attr("value")) if tensor.op.type == "Const" else None
