"""Gives a network with random weights the statistics of a trained one, so that integer schemes of it can be tried.

Random weights leave most channels dead or growing from layer to layer. Integer files of such a network fail where those
of a trained one run: 16-bit kernels refuse biases that overflow 32 bits at the scales of vanishing activations. One
forward pass over some samples cures that. Each layer with a kernel is scaled until its outputs have variance 1 ("All
you need is a good init", Mishkin and Matas, 2016), and each batch normalization takes the mean and the variance of its
inputs as its moving ones, as training would have left them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# A channel that varies less than this part of its layer's average is not blown up to the others' size: what is nearly
# constant on a few samples would otherwise give huge values on the next ones.
_LEAST_VARIANCE = 0.25
# What a batch normalization adds: at one standard deviation an activation function passes most values as they are.
# Around 0 a deep random network is chaotic and doubles any rounding from layer to layer, as no trained one does; at 2
# the values of all pictures are much alike, and rounding counts for more: int8 files of DenseNet121, ResNetRS50 and
# NASNetMobile are 0.93, 0.99 and 0.98 similar to float at 1, and 0.79, 0.97 and 0.96 at 2.
_SHIFT = 1.0
# What a residual branch adds to the block's input, in its standard deviations, and without a shift: shifts would add up
# from block to block until nothing else is left, and trained branches are small beside what they are added to. Nor is
# there one in what is pooled at the end: the features of all pictures would be alike, and their differences rounded
# away.
_BRANCH = 0.25
_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
# What may stand between the last layer with weights of a branch, or of a network, and the addition or the pooling.
_PASSING = frozenset({"Activation", "Dropout", "Multiply", "ReLU"})
_POOLING = frozenset({"GlobalAveragePooling2D", "GlobalMaxPooling2D"})
_JOINING = frozenset({"Activation", "Add", "Concatenate", "Dropout", "ReLU"})


def calibrate_random_weights(model: Any, samples: Any) -> None:
    """Change the weights of a Keras 2 `model` in place by one forward pass over `samples`, its inputs as one batch.

    24 samples or more are enough for all of tf.keras.applications. Nested models are walked through; a layer that is
    used several times is set at its first use. Trained weights would be spoilt: use it on ``weights=None`` alone.
    """
    leaves = [layer for layer in model._flatten_layers(include_self=False) if not list(_inner(layer))]
    before = [vars(layer).get("call") for layer in leaves]
    for layer in leaves:
        _watch(layer)
    try:
        model(samples, training=False)
    finally:
        for layer, own in zip(leaves, before, strict=True):
            if own is None:
                del layer.call
            else:
                layer.call = own


def _inner(layer: Any) -> Any:
    return layer._flatten_layers(include_self=False, recursive=False)


def _watch(layer: Any) -> None:
    """Let the next call of `layer` set its weights by what comes in."""
    call, done = layer.call, False

    def calibrated(inputs: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal done
        if not done:
            done = True
            if hasattr(layer, "moving_variance"):
                _take_moments(layer, inputs)
            elif any(getattr(layer, name, None) is not None for name in _KERNELS):
                _scale(layer, call, inputs)
        return call(inputs, *arguments, **named)

    layer.call = calibrated


def _take_moments(layer: Any, inputs: Any) -> None:
    values = np.asarray(inputs, np.float64)
    axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
    channels = np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])
    variance = channels.var(axis=0)
    layer.moving_mean.assign(channels.mean(axis=0))
    layer.moving_variance.assign(np.maximum(variance, _LEAST_VARIANCE * (variance.mean() or 1.0)))
    branch = _ends_a_branch(layer)
    if branch and layer.scale:
        layer.gamma.assign(np.full(values.shape[axis], _BRANCH))
    if layer.center:
        layer.beta.assign(np.full(values.shape[axis], 0.0 if branch or _is_pooled(layer) else _SHIFT))


def _ends_a_branch(layer: Any) -> bool:
    """Whether a layer is the last with weights of a residual branch: what it gives is added to what came before it."""
    reached, last = _followed(layer)
    if {type(one).__name__ for one in reached} != {"Add"}:
        return False
    # Where both sides end in such a layer, the shorter is the block's input, perhaps brought to the branch's shape.
    others = [other for other in _given(reached[0]) if other is not last]
    return all(not _is_last(other) or len(_before(other)) < len(_before(last)) for other in others)


def _is_pooled(layer: Any) -> bool:
    """Whether all that `layer` gives is pooled at the end of the network, and nothing reads it before."""
    behind = [node.outbound_layer for node in layer._outbound_nodes]
    return all(type(one).__name__ in _POOLING or (type(one).__name__ in _JOINING and _is_pooled(one)) for one in behind)


def _followed(layer: Any) -> tuple[list[Any], Any]:
    """Return which layers read what `layer` gives behind those of `_PASSING`, and the last of these (or `layer`).

    A side way that gives the weights of channels (squeeze and excitation) is left out: its product is followed.
    """
    while True:
        behind = list({id(node.outbound_layer): node.outbound_layer for node in layer._outbound_nodes}.values())
        products = [one for one in behind if type(one).__name__ == "Multiply" and _given(one)[0] is layer]
        passing = products or (behind if len(behind) == 1 and type(behind[0]).__name__ in _PASSING else [])
        if len(passing) != 1 or (not products and type(passing[0]).__name__ == "Multiply"):
            return behind, layer
        layer = passing[0]


def _given(layer: Any) -> list[Any]:
    """Return the layers that give `layer` its inputs."""
    given = layer._inbound_nodes[0].inbound_layers if layer._inbound_nodes else []
    return list(given) if isinstance(given, list) else [given]


def _before(layer: Any) -> set[int]:
    """Return which layers (by identity) `layer` depends on, itself among them."""
    found: set[int] = set()
    waiting = [layer]
    while waiting:
        one = waiting.pop()
        if id(one) not in found:
            found.add(id(one))
            waiting += _given(one)
    return found


def _is_last(layer: Any) -> bool:
    """Whether a layer, or the one whose values it passes on, has moments or a kernel."""
    while type(layer).__name__ in _PASSING:
        layer = _given(layer)[0]
    return hasattr(layer, "moving_variance") or any(getattr(layer, name, None) is not None for name in _KERNELS)


def _scale(layer: Any, call: Any, inputs: Any) -> None:
    """Scale a layer's last kernel so that its outputs, before an activation and without the bias, have variance 1.

    At the end of a residual branch they have what `_BRANCH` says, and the bias brings each channel's mean to 0.
    """
    import tensorflow as tf

    activation, layer.activation = getattr(layer, "activation", None), tf.identity
    try:
        outputs = np.asarray(call(inputs), np.float64)
    finally:
        layer.activation = activation
    deviation = float(outputs.std())
    if deviation <= 0:
        return
    bias = getattr(layer, "bias", None)
    if bias is not None and _ends_a_branch(layer):
        means = outputs.reshape(-1, outputs.shape[-1]).mean(axis=0)
        deviation = float((outputs - means).std() or 1.0) / _BRANCH
        bias.assign(bias - means / deviation)
    kernel = next(k for name in reversed(_KERNELS) if (k := getattr(layer, name, None)) is not None)
    kernel.assign(kernel / deviation)
