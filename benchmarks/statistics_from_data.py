"""Gives a network with random weights the statistics of a trained one, so that its integer schemes can be tested.

With random weights most channels are zero or grow from layer to layer. Integer files of such a network fail where those
of a trained one run: 16-bit kernels refuse biases that overflow 32 bits at the scales of vanishing activations. One
forward pass over some samples corrects this. Each layer with a kernel is scaled to outputs of variance 1 ("All you need
is a good init", Mishkin and Matas, 2016), and each batch normalization takes the mean and the variance of its inputs as
its moving statistics, as after training.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Least variance of a channel, relative to its layer's mean: a channel that is nearly constant on a few samples would
# otherwise be scaled to very large values on others.
_LEAST_VARIANCE = 0.25
# The offset of a batch normalization. At one standard deviation an activation function passes most values unchanged.
# Near 0 a deep random network is chaotic and doubles any rounding error from layer to layer, unlike a trained one. At 2
# the values of all pictures are similar, and rounding has more effect: the similarity of int8 files of DenseNet121,
# ResNetRS50 and NASNetMobile to float is 0.93, 0.99 and 0.98 at 1, and 0.79, 0.97 and 0.96 at 2.
_SHIFT = 1.0
# The standard deviation of a residual branch relative to the block's input: trained branches are small. Branches have
# no offset, because offsets would add up from block to block. Pooled features have none either: the features of all
# pictures would be similar, and rounding would remove their differences.
_BRANCH = 0.25
_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
# Layers that may be between the last layer with weights of a branch, or of a network, and the addition or the pooling.
_PASSING = frozenset({"Activation", "Dropout", "Multiply", "ReLU"})
_POOLING = frozenset({"GlobalAveragePooling2D", "GlobalMaxPooling2D"})
_JOINING = frozenset({"Activation", "Add", "Concatenate", "Dropout", "ReLU"})


def calibrate_random_weights(model: Any, samples: Any) -> None:
    """Change the weights of a Keras 2 `model` in place by one forward pass over `samples`, its inputs as one batch.

    24 samples are enough for all of tf.keras.applications. Layers of nested models are included; a layer that is used
    several times is set at its first use. The function destroys trained weights: use it with ``weights=None`` only.
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
    """Wrap `layer` so that its next call sets its weights from its inputs."""
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
    """Whether a layer is the last with weights of a residual branch, whose output is added to the block's input."""
    reached, last = _followed(layer)
    if {type(one).__name__ for one in reached} != {"Add"}:
        return False
    # If both sides end in such a layer, the shorter is the block's input, projected to the branch's shape.
    others = [other for other in _sources(reached[0]) if other is not last]
    return all(not _is_last(other) or len(_before(other)) < len(_before(last)) for other in others)


def _is_pooled(layer: Any) -> bool:
    """Whether the output of `layer` is only pooled at the end of the network."""
    behind = [node.outbound_layer for node in layer._outbound_nodes]
    return all(type(one).__name__ in _POOLING or (type(one).__name__ in _JOINING and _is_pooled(one)) for one in behind)


def _followed(layer: Any) -> tuple[list[Any], Any]:
    """Return the layers that read `layer` behind layers of `_PASSING`, and the last of these (or `layer`).

    A branch that computes weights of channels (squeeze and excitation) is left out: the product is followed.
    """
    while True:
        behind = list({id(node.outbound_layer): node.outbound_layer for node in layer._outbound_nodes}.values())
        products = [one for one in behind if type(one).__name__ == "Multiply" and _sources(one)[0] is layer]
        passing = products or (behind if len(behind) == 1 and type(behind[0]).__name__ in _PASSING else [])
        if len(passing) != 1 or (not products and type(passing[0]).__name__ == "Multiply"):
            return behind, layer
        layer = passing[0]


def _sources(layer: Any) -> list[Any]:
    """Return the layers whose outputs `layer` reads."""
    sources = layer._inbound_nodes[0].inbound_layers if layer._inbound_nodes else []
    return list(sources) if isinstance(sources, list) else [sources]


def _before(layer: Any) -> set[int]:
    """Return the identities of the layers that `layer` depends on, and its own."""
    visited: set[int] = set()
    waiting = [layer]
    while waiting:
        one = waiting.pop()
        if id(one) not in visited:
            visited.add(id(one))
            waiting += _sources(one)
    return visited


def _is_last(layer: Any) -> bool:
    """Whether a layer, or the layer whose values it passes on, has moving statistics or a kernel."""
    while type(layer).__name__ in _PASSING:
        layer = _sources(layer)[0]
    return hasattr(layer, "moving_variance") or any(getattr(layer, name, None) is not None for name in _KERNELS)


def _scale(layer: Any, call: Any, inputs: Any) -> None:
    """Scale a layer's last kernel so that its outputs, before an activation and without the bias, have variance 1.

    At the end of a residual branch their standard deviation is `_BRANCH`, and the bias sets each channel's mean to 0.
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
