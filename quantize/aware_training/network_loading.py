"""Loads the network that `train.fit` stored (``network/``) as one flat Keras network, and compares it with the model.

TFMOT needs a flat functional network of Keras' own layers. Nested networks are flattened, layers without effect in
inference are left out, and a Hub module of a known architecture is rebuilt (`rebuild`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.model import Model
from ...frameworks.network_format import KERAS, PREPROCESS, numbered, read_network
from ...frameworks.tensorflow import load
from .frozen_head import signature_answers
from .hub_networks import UnavailableNetworkError, rebuild

TOLERANCE = 1e-4  # of a probability, on real samples
CHANNELS = 4  # of a picture, at most
IDLE = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise", "GaussianDropout",
        "AlphaDropout", "ActivityRegularization")  # fmt: skip


def open_network(model: Model, samples: NDArray[Any]) -> Any:
    """Return the network that `model` was frozen from, flat; all of it is trainable except the preprocessing.

    `samples` (N, …) are real inputs of the model, for which the answers of the network and of the frozen model agree
    within `TOLERANCE`. Raises UnavailableNetworkError if there is no such network.
    """
    if model.network is None:
        why = str(model.provenance.get("not_kept", ""))
        raise UnavailableNetworkError(why or "the network that it was frozen from was not stored with it")
    described, arrays = read_network(model.network)
    expected = signature_answers(model.saved_model, model.input.name, model.answer, samples)
    least = np.inf
    for candidate in [_from_layers(described, arrays)] if described["kind"] == KERAS else rebuild(described, arrays):
        network = flatten(candidate)
        answers = np.asarray(network(samples, training=False))
        difference = float(np.abs(answers - expected).max()) if answers.shape == expected.shape else np.inf
        if difference <= TOLERANCE:
            return network
        least = min(least, difference)
    raise UnavailableNetworkError(
        f"the rebuilt network does not agree with the frozen model: its answers differ by {least:.2g}, allowed are "
        f"{TOLERANCE:g}"
    )


def _from_layers(described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Any:
    _, keras = load()
    config = json.dumps(described["config"])
    if '"class_name": "Lambda"' in config:  # its configuration is code
        raise UnavailableNetworkError("it has a Lambda layer, which only its code can build")
    try:
        network = keras.models.model_from_json(config)
        network.set_weights(numbered(arrays))
    except (ValueError, TypeError, KeyError) as error:
        raise UnavailableNetworkError(f"Keras cannot rebuild it: {str(error)[:200]}") from error
    return network


def flatten(model: Any) -> Any:
    """Return a functional Keras model as a new flat one with the same layers and weights.

    Layers without effect in inference are left out. Scalings of pixels become 1×1 convolutions, which are quantized as
    one operator. All layers are trainable except `fixed` ones. Duplicate names get a number.
    """
    _, keras = load()
    names: set[str] = set()
    image = keras.Input(model.input_shape[1:], name=model.input_names[0], dtype=model.inputs[0].dtype)
    names.add(image.node.layer.name)
    output = _replay(model, [image], names)[0]
    flat = keras.Model(image, output, name="flat")
    own = keras.models.clone_model(flat)  # its layers have one node each
    own.set_weights(flat.get_weights())
    own.trainable = True
    for layer in own.layers:
        if fixed(layer):
            layer.trainable = False
    return own


def fixed(layer: Any) -> bool:
    """Whether a layer is preprocessing, whose weights are not trained."""
    return layer.name == PREPROCESS or layer.name.startswith(f"{PREPROCESS}_")


def _replay(model: Any, inputs: list[Any], names: set[str]) -> list[Any]:
    """Call the layers of a functional `model`, and of models nested in it, on `inputs`; return the outputs."""
    tf, keras = load()
    tensors: dict[str, Any] = {str(id(old)): _Reusable(new) for old, new in zip(model.inputs, inputs, strict=True)}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            layer = node.layer
            arguments, named = node.map_arguments(tensors)
            if isinstance(layer, keras.Model):
                if not getattr(layer, "_is_graph_network", False):
                    raise UnavailableNetworkError(f"layer {layer.name!r} is a model with its own code")
                outputs = _replay(layer, tf.nest.flatten(arguments), names)
            elif type(layer).__name__ in IDLE:
                outputs = tf.nest.flatten(arguments)
            elif (scaling := _scaling(layer, arguments)) is not None:
                outputs = [_as_convolution(*scaling, arguments[0], names)]
            else:
                _name(layer, names)
                outputs = tf.nest.flatten(_call(layer, arguments, named, names))
            for place, tensor in zip(node.flat_output_ids, outputs, strict=True):
                tensors[place] = _Reusable(tensor)
    return [tensors[str(id(tensor))].pop() for tensor in model.outputs]


def _call(layer: Any, arguments: Any, named: Any, names: set[str]) -> Any:
    """Call a layer; a swish inside it becomes a separate layer, because its input is quantized as well."""
    _, keras = load()
    activation = getattr(layer, "activation", None)
    if isinstance(layer, keras.layers.Activation) or activation is not keras.activations.swish:
        return layer(*arguments, **named)
    layer.activation = keras.activations.linear
    swish = keras.layers.Activation(activation, name=f"{layer.name}_swish")
    _name(swish, names)
    return swish(layer(*arguments, **named))


def _scaling(layer: Any, arguments: Any) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return factor and offset of each channel if `layer` only scales a picture, otherwise None."""
    kind, shape = type(layer).__name__, tuple(getattr(arguments[0], "shape", ()) if arguments else ())
    if kind not in ("Rescaling", "Normalization") or len(shape) != 4 or not (shape[-1] or CHANNELS + 1) <= CHANNELS:
        return None
    ones = np.ones(shape[-1])
    if kind == "Rescaling":
        return ones * np.asarray(layer.scale), ones * np.asarray(layer.offset)
    if getattr(layer, "invert", False):
        return None
    deviation = np.maximum(np.sqrt(np.asarray(layer.variance).reshape(-1)), 1e-7)  # Keras' epsilon
    return ones / deviation, -ones * np.asarray(layer.mean).reshape(-1) / deviation


def _as_convolution(factor: NDArray[Any], offset: NDArray[Any], image: Any, names: set[str]) -> Any:
    _, keras = load()
    layer = keras.layers.Conv2D(len(factor), 1, name=PREPROCESS, trainable=False)
    _name(layer, names)
    scaled = layer(image)
    layer.set_weights([np.diag(factor)[None, None].astype(np.float32), offset.astype(np.float32)])
    return scaled


class _Reusable:
    """A source of arguments for Keras' nodes: `pop` returns the tensor any number of times."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def pop(self) -> Any:
        return self._tensor


def _name(layer: Any, names: set[str]) -> None:
    if getattr(layer, "_edgeproof_named", False):
        return
    name, number = layer.name, 1
    while layer.name in names:
        number += 1
        layer._name = f"{name}_{number}"
    names.add(layer.name)
    layer._edgeproof_named = True
