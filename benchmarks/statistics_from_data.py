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
# What a batch normalization adds: at 2 standard deviations an activation function passes most values as they are.
# Around 0 a deep random network is chaotic and doubles any rounding from layer to layer, as no trained one does.
_SHIFT = 2.0
# What a residual branch adds to the block's input, in its standard deviations, and without a shift: shifts would add up
# from block to block until nothing else is left, and trained branches are small beside what they are added to.
_BRANCH = 0.5
_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


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
        layer.beta.assign(np.full(values.shape[axis], 0.0 if branch else _SHIFT))


def _ends_a_branch(layer: Any) -> bool:
    """Whether a batch normalization is the last of a residual branch: what it gives is added to what came before it."""
    behind = [node.outbound_layer for node in layer._outbound_nodes]
    if [type(one).__name__ for one in behind] != ["Add"]:
        return False
    # Where both sides end in one, the shorter is the block's input, brought to the branch's shape.
    beside = behind[0]._inbound_nodes[0].inbound_layers
    return all(other is layer or not hasattr(other, "moving_variance") for other in beside) or layer is beside[-1]


def _scale(layer: Any, call: Any, inputs: Any) -> None:
    """Scale a layer's last kernel so that its outputs, before an activation and without the bias, have variance 1."""
    import tensorflow as tf

    activation, layer.activation = getattr(layer, "activation", None), tf.identity
    try:
        outputs = np.asarray(call(inputs), np.float64)
    finally:
        layer.activation = activation
    deviation = float(outputs.std())
    if deviation > 0:
        kernel = next(k for name in reversed(_KERNELS) if (k := getattr(layer, name, None)) is not None)
        kernel.assign(kernel / deviation)
