"""Where a Keras model's features end and its classification head begins, for Keras 2 and 3 alike."""

from __future__ import annotations

from typing import Any

from ...core.errors import InputError
from ...core.sanitize import shorten
from .keras_model import Opened
from .tensors import describe

_DECIDING = ("softmax", "sigmoid")


def check_picture(opened: Opened, size: int) -> None:
    """Raise InputError unless the model takes one RGB picture of `size` × `size` pixels."""
    shape = opened.inputs[0].shape
    if len(opened.inputs) != 1 or shape is None or len(shape) != 4 or shape[3] != 3:
        inputs = ", ".join(f"{tensor.name} {describe(tensor.shape)}" for tensor in opened.inputs)
        raise InputError(
            f"the model takes {inputs}, a backbone takes one RGB picture (?, height, width, 3)",
            "use another model",
        )
    if any(side not in (None, size) for side in shape[1:3]):
        raise InputError(
            f"the model takes pictures of {shape[1]}×{shape[2]} pixels, but image_size = {size}",
            f"set image_size = {shape[1]}" if shape[1] == shape[2] else "only square pictures are supported",
        )


def check_wave(opened: Opened, samples: int) -> tuple[int | None, ...]:
    """Return the shape that the model takes without its batch: (samples,) or (samples, 1).

    Raises InputError unless it takes one waveform of `samples`.
    """
    shape = opened.inputs[0].shape
    if len(opened.inputs) != 1 or shape is None or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 1):
        inputs = ", ".join(f"{tensor.name} {describe(tensor.shape)}" for tensor in opened.inputs)
        raise InputError(
            f"the model takes {inputs}, and the data are waveforms: (?, samples) or (?, samples, 1)",
            "use another model",
        )
    if shape[1] not in (None, samples):
        raise InputError(
            f"the model takes waveforms of {shape[1]:,} samples, and those of the data have {samples:,}",
            f"set data.window_seconds to {shape[1]:,} samples at the model's rate, data.sample_rate",
        )
    return tuple(shape[1:])


def cut_features(keras: Any, opened: Opened, output: str, *, own: bool) -> tuple[Any, str]:
    """Return the model up to its features, and a description of these.

    `output` names the layer that gives the features. Without it they are the input of the classification layer at
    the end: a dense layer with a softmax (or sigmoid), or the softmax alone if another layer computes the logits. For
    other models the features are the output. `own` keeps the head. Features with height and width, or steps, are
    averaged over them.

    Raises InputError when the model has no such layer, or several outputs to choose from.
    """
    if output:
        tensor, source = _named(opened, output), f"the output of the layer {output!r}"
    elif len(opened.outputs) != 1:
        raise InputError(
            f"the model has {len(opened.outputs)} outputs", f"choose one with output = '…': {', '.join(opened.outputs)}"
        )
    elif own:
        tensor, source = _only(opened.output), "its own classes"
    else:
        tensor, source = _before_head(keras, _only(opened.output))
    rank = len(tensor.shape)
    if rank in (3, 4) and not own:
        pool = keras.layers.GlobalAveragePooling2D if rank == 4 else keras.layers.GlobalAveragePooling1D
        tensor, source = pool(name="edgeproof_pool", dtype="float32")(tensor), f"{source}, averaged"
        rank = 2
    if rank != 2 or tensor.shape[-1] is None:
        raise InputError(
            f"{source} has the shape {tuple(tensor.shape)}, which is not a vector of features",
            "choose another with output = '…'",
        )
    return keras.Model(opened.input, tensor), source


def _named(opened: Opened, output: str) -> Any:
    layers = opened.model.layers
    layer = next((layer for layer in layers if layer.name == output), None)
    if layer is not None and layer._inbound_nodes:  # a subclassed model keeps no tensors of its layers
        return _only(layer._inbound_nodes[-1].outputs)  # for a nested model, `output` would be the inner tensor
    if output in opened.outputs:
        outputs = opened.output
        return outputs[output] if isinstance(outputs, dict) else _only(outputs[opened.outputs.index(output)])
    last = ", ".join(layer.name for layer in layers[-8:])
    raise InputError(f"the model has no layer {shorten(output)!r}", f"its last layers are: {shorten(last, 400)}")


def _only(tensors: Any) -> Any:
    if isinstance(tensors, dict):
        tensors = list(tensors.values())
    if isinstance(tensors, list | tuple):
        if len(tensors) != 1:
            raise InputError(f"that layer gives {len(tensors)} tensors", "choose another with output = '…'")
        return tensors[0]
    return tensors


def _before_head(keras: Any, answer: Any) -> tuple[Any, str]:
    """Step back over a final softmax and the dense layer of its logits, in nested models too."""
    last, arguments = _producer(answer)
    if len(arguments) != 1:
        return answer, "its whole output"
    kind, decides = type(last).__name__, _activation(last) in _DECIDING
    if hasattr(last, "layers") and len(getattr(last, "outputs", None) or []) == 1:
        inner, source = _before_head(keras, last.outputs[0])
        return keras.Model(last.inputs, inner, name=f"{last.name}_features")(arguments[0]), source
    if kind == "Dense" and decides:
        return arguments[0], f"what its classification layer {last.name!r} is given"
    if kind == "Softmax" or (kind == "Activation" and decides):
        maker, before = _producer(arguments[0])
        if type(maker).__name__ == "Dense" and len(before) == 1:
            return before[0], f"what its classification layer {maker.name!r} is given"
        return arguments[0], "the logits of its classes"
    return answer, "its whole output"


def _producer(tensor: Any) -> tuple[Any, list[Any]]:
    """Return the layer whose call produced a tensor, and the input tensors of that call."""
    layer, node = tensor._keras_history[:2]
    call = layer._inbound_nodes[node]
    return layer, list(getattr(call, "keras_inputs", None) or getattr(call, "input_tensors", None) or [])


def _activation(layer: Any) -> str:
    return str(getattr(getattr(layer, "activation", None), "__name__", ""))
