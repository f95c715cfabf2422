"""The ranges of fake quantization: calibrated before training starts, and updated exactly before a file is written.

TFMOT initializes every range to ±6 and moves it by a thousandth a step, so that a network starts at chance level. Here
its quantizers are first replaced by observers while calibration samples are run through the network in float.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...frameworks.tensorflow import load

BATCH = 20
SMALLEST = 1e-6  # upper end of a range: a scale must not be zero


class Observer:
    """Replaces TFMOT's quantizer of activations: records the extremes and returns its input unchanged."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, Any, Any]] = []  # the range's variables, lowest, highest

    def __call__(self, inputs: Any, training: Any, weights: Any, **_: Any) -> Any:
        """Record the extremes of `inputs` and return them; `weights` are the variables of their range."""
        tf, _ = load()
        self.seen.append((weights, tf.reduce_min(inputs), tf.reduce_max(inputs)))
        return inputs


@contextmanager
def observe(network: Any) -> Iterator[Observer]:
    """In this context the quantized `network` computes in float, and the observer records the tensors to quantize."""
    load()
    from tensorflow_model_optimization.python.core.quantization.keras.quantizers import NoQuantizer

    observer, undo = Observer(), []

    def replace(owner: Any, name: str, value: Any) -> None:
        undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    for layer in network.layers:
        if hasattr(layer, "quantizer_vars"):
            replace(layer, "quantizer", observer)
        elif hasattr(layer, "quantize_config"):
            replace(layer, "_weight_vars", [(weight, NoQuantizer(), own) for weight, _, own in layer._weight_vars])
            for activation in layer._quantize_activations:
                replace(activation, "quantizer", observer)
            if layer._output_quantizers:
                replace(layer, "_output_quantizers", [observer])
    try:
        yield observer
    finally:
        for owner, name, value in undo:
            setattr(owner, name, value)


def calibrate(network: Any, samples: NDArray[Any]) -> int:
    """Set the ranges of the quantized `network` from `samples` (N, …), its inputs; return the number of ranges.

    A range is the mean of the batches' extremes, like the moving average in training, and includes zero. Outliers have
    less effect than in post-training calibration.
    """
    tf, _ = load()
    with observe(network) as observer:

        @tf.function(autograph=False)  # type: ignore[untyped-decorator]
        def extremes(batch: Any) -> Any:
            observer.seen.clear()
            network(batch, training=False)
            return tf.stack([low for _, low, _ in observer.seen]), tf.stack([high for _, _, high in observer.seen])

        starts = range(0, max(1, len(samples) - len(samples) % BATCH), BATCH)
        batches = [[part.numpy() for part in extremes(tf.constant(samples[at : at + BATCH]))] for at in starts]
        owners = [own for own, _, _ in observer.seen]
    lows, highs = np.mean([low for low, _ in batches], axis=0), np.mean([high for _, high in batches], axis=0)
    for own, low, high in zip(owners, lows, highs, strict=True):
        own["min_var"].assign(min(float(low), 0.0))
        own["max_var"].assign(max(float(high), SMALLEST))
    fit_weights(network)
    return len(owners)


def fit_weights(network: Any) -> None:
    """Set the ranges of the weights from their present values: after training they are one step behind."""
    for layer in network.layers:
        for weight, quantizer, own in getattr(layer, "_weight_vars", ()):
            values = np.abs(weight.numpy())
            largest = values.max(axis=tuple(range(values.ndim - 1)) if quantizer.per_axis else None)
            largest = np.maximum(largest, SMALLEST)
            own["min_var"].assign(-largest)
            own["max_var"].assign(largest)


def fix_input(network: Any, low: float, high: float) -> None:
    """Set the range of the network's input to that of its contract."""
    for layer in network.layers:
        if hasattr(layer, "quantizer_vars"):
            layer.quantizer_vars["min_var"].assign(min(low, 0.0))
            layer.quantizer_vars["max_var"].assign(max(high, 0.0))
