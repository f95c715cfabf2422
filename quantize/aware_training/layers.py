"""Transformations of a flat Keras network that preserve its answers, applied before quantization or pruning."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...frameworks.tensorflow import load

Arrays = list[NDArray[Any]]


def following_norm(layer: Any) -> Any:
    """Return the batch norm that is the only reader of `layer`'s output; None if there is none."""
    _, keras = load()
    behind = [node.layer for node in layer._outbound_nodes]
    alone = len(behind) == 1 and isinstance(behind[0], keras.layers.BatchNormalization) and behind[0].axis[0] in (-1, 3)
    linear = getattr(layer, "activation", None) is keras.activations.linear
    return behind[0] if alone and linear else None


def equalize_channels(model: Any) -> int:
    """Scale each channel of depthwise kernels to a largest weight of one, and compensate in the following batch norm.

    TFMOT has one scale for all channels of a depthwise kernel, TFLite one for each: with channels of equal range these
    are the same. Returns the number of changed layers.
    """
    _, keras = load()
    count = 0
    for layer in model.layers:
        if not isinstance(layer, keras.layers.DepthwiseConv2D) or layer.use_bias or layer.depth_multiplier != 1:
            continue
        norm = following_norm(layer)
        if norm is None or not (norm.scale and norm.center):
            continue
        (kernel,) = layer.get_weights()
        gamma, beta, mean, variance = (weight.astype(np.float64) for weight in norm.get_weights())
        largest = np.abs(kernel).max(axis=(0, 1, 3)).astype(np.float64)
        factor = 1 / np.where(largest > 0, largest, 1.0)
        # gamma / sqrt(factor² · variance + epsilon) must stay gamma / sqrt(variance + epsilon) / factor.
        gamma *= np.sqrt((variance * factor**2 + norm.epsilon) / (factor**2 * (variance + norm.epsilon)))
        layer.set_weights([(kernel * factor[None, None, :, None]).astype(np.float32)])
        scaled = (gamma, beta, mean * factor, variance * factor**2)
        norm.set_weights([part.astype(np.float32) for part in scaled])
        count += 1
    return count


def fold_norms(model: Any) -> Any:
    """Return the network with every batch norm that follows a convolution or a dense layer folded into that layer.

    The converter does the same, so properties of the file's weights (zeros, few different values) must be properties of
    the folded weights. The answers differ only by rounding.
    """
    _, keras = load()
    foldable = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
    other = (keras.layers.Conv2DTranspose, keras.layers.SeparableConv2D)
    norms: dict[str, str] = {}  # batch norm → the layer it goes into
    weights: dict[str, Arrays] = {}
    for layer in model.layers:
        weights[layer.name] = layer.get_weights()
        if not isinstance(layer, foldable) or isinstance(layer, other) or (norm := following_norm(layer)) is None:
            continue
        norms[norm.name] = layer.name
        weights[layer.name] = _folded(layer, norm)
    config = json.loads(model.to_json())
    layers = []
    for described in config["config"]["layers"]:
        if described["name"] in norms:
            continue
        if described["name"] in norms.values():
            described["config"]["use_bias"] = True
        described["inbound_nodes"] = _rewired(described["inbound_nodes"], norms)
        layers.append(described)
    config["config"]["layers"] = layers
    config["config"]["output_layers"] = _rewired(config["config"]["output_layers"], norms)
    folded = keras.models.model_from_json(json.dumps(config))
    for layer in folded.layers:
        if layer.weights:
            layer.set_weights(weights[layer.name])
    return folded


def _folded(layer: Any, norm: Any) -> Arrays:
    parts = [weight.astype(np.float64) for weight in norm.get_weights()]
    gamma = parts.pop(0) if norm.scale else 1.0
    beta = parts.pop(0) if norm.center else 0.0
    mean, variance = parts
    scale = gamma / np.sqrt(variance + norm.epsilon)
    kernel, *rest = layer.get_weights()
    bias = rest[0].astype(np.float64) if rest else np.zeros_like(scale)
    # Output channels are the last axis; of a depthwise kernel the last two axes together.
    depthwise = type(layer).__name__ == "DepthwiseConv2D"
    folded = kernel * (scale.reshape(kernel.shape[2:]) if depthwise else scale)
    return [folded.astype(np.float32), (beta + (bias - mean) * scale).astype(np.float32)]


def _rewired(nodes: Any, norms: dict[str, str]) -> Any:
    """Return a configuration's references to layers with each batch norm replaced by the layer it was folded into."""
    if isinstance(nodes, list):
        return [_rewired(node, norms) for node in nodes]
    if isinstance(nodes, dict):
        return {key: _rewired(value, norms) for key, value in nodes.items()}
    return norms.get(nodes, nodes) if isinstance(nodes, str) else nodes
