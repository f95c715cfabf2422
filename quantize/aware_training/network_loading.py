"""Opens what `train.fit` kept of a model (``network/``) as one flat Keras network, proven against the frozen model.

TFMOT wants a flat functional network of Keras' own layers. Networks inside networks are taken apart, layers that do
nothing in inference are left out, and a Hub module is built again where its architecture is known (`rebuild`).
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
from .hub_networks import UnknownError, rebuild

TOLERANCE = 1e-4  # of a probability, on real samples
CHANNELS = 4  # of an input whose scaling becomes such a convolution, at most
IDLE = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise", "GaussianDropout",
        "AlphaDropout", "ActivityRegularization")  # fmt: skip


def open_network(model: Model, samples: NDArray[Any]) -> Any:
    """Return the network that `model` was frozen from: flat, all of it trainable but the preprocessing.

    `samples` (N, …) are real inputs as the model takes them; on them the network answers as the frozen model does,
    within `TOLERANCE`. Raises UnknownError when there is no such network.
    """
    if model.network is None:
        why = str(model.provenance.get("not_kept", ""))
        raise UnknownError(why or "the network it was frozen from was not kept with it")
    described, arrays = read_network(model.network)
    expected = signature_answers(model.saved_model, model.input.name, model.answer, samples)
    least = np.inf
    for whole in [_from_layers(described, arrays)] if described["kind"] == KERAS else rebuild(described, arrays):
        network = flatten(whole)
        answers = np.asarray(network(samples, training=False))
        difference = float(np.abs(answers - expected).max()) if answers.shape == expected.shape else np.inf
        if difference <= TOLERANCE:
            return network
        least = min(least, difference)
    raise UnknownError(
        f"the network that was built again answers otherwise than the frozen model (by {least:.2g}, allowed are "
        f"{TOLERANCE:g})"
    )


def _from_layers(described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Any:
    _, keras = load()
    config = json.dumps(described["config"])
    if '"class_name": "Lambda"' in config:  # it would bring code
        raise UnknownError("it has a Lambda layer, which only its own code can build")
    try:
        whole = keras.models.model_from_json(config)
        whole.set_weights(numbered(arrays))
    except (ValueError, TypeError, KeyError) as error:
        raise UnknownError(f"Keras cannot build it again: {str(error)[:200]}") from error
    return whole


def flatten(model: Any) -> Any:
    """Return a functional Keras model as a flat one of its own: the same layers and weights, one after another, without
    those that do nothing in inference. Scalings of pixels become 1×1 convolutions: one operator, which quantizes as a
    whole. All layers are trainable but `fixed` ones. One whose name is taken gets a number behind it."""
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
    """Whether a layer is preprocessing, whose weights say what pixels mean and must not learn."""
    return layer.name == PREPROCESS or layer.name.startswith(f"{PREPROCESS}_")


def _replay(model: Any, inputs: list[Any], names: set[str]) -> list[Any]:
    """Call the layers of a functional `model` one by one on `inputs`, and those of models inside it."""
    tf, keras = load()
    tensors: dict[str, Any] = {str(id(old)): _Always(new) for old, new in zip(model.inputs, inputs, strict=True)}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            layer = node.layer
            arguments, named = node.map_arguments(tensors)
            if isinstance(layer, keras.Model):
                if not getattr(layer, "_is_graph_network", False):
                    raise UnknownError(f"layer {layer.name!r} is a model of its own making, with code in it")
                outputs = _replay(layer, tf.nest.flatten(arguments), names)
            elif type(layer).__name__ in IDLE:
                outputs = tf.nest.flatten(arguments)
            elif (scaling := _scaling(layer, arguments)) is not None:
                outputs = [_convolved(*scaling, arguments[0], names)]
            else:
                _name(layer, names)
                outputs = tf.nest.flatten(_apart(layer, arguments, named, names))
            for place, tensor in zip(node.flat_output_ids, outputs, strict=True):
                tensors[place] = _Always(tensor)
    return [tensors[str(id(tensor))].pop() for tensor in model.outputs]


def _apart(layer: Any, arguments: Any, named: Any, names: set[str]) -> Any:
    """Call a layer; a swish inside a convolution becomes a layer of its own, as its input is in eight bits, too."""
    _, keras = load()
    activation = getattr(layer, "activation", None)
    if isinstance(layer, keras.layers.Activation) or activation is not keras.activations.swish:
        return layer(*arguments, **named)
    layer.activation = keras.activations.linear
    swish = keras.layers.Activation(activation, name=f"{layer.name}_swish")
    _name(swish, names)
    return swish(layer(*arguments, **named))


def _scaling(layer: Any, arguments: Any) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return factor and offset of each channel, where `layer` does nothing but scale a picture; None elsewhere."""
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


def _convolved(factor: NDArray[Any], offset: NDArray[Any], image: Any, names: set[str]) -> Any:
    _, keras = load()
    layer = keras.layers.Conv2D(len(factor), 1, name=PREPROCESS, trainable=False)
    _name(layer, names)
    scaled = layer(image)
    layer.set_weights([np.diag(factor)[None, None].astype(np.float32), offset.astype(np.float32)])
    return scaled


class _Always:
    """What Keras' nodes take their arguments from: `pop` gives the tensor as often as it is asked for."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def pop(self) -> Any:
        return self._tensor


def _name(layer: Any, names: set[str]) -> None:
    if getattr(layer, "_edgeproof_named", False):
        return
    wanted, number = layer.name, 1
    while layer.name in names:
        number += 1
        layer._name = f"{wanted}_{number}"
    names.add(layer.name)
    layer._edgeproof_named = True
