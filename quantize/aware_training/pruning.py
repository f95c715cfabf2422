"""Magnitude pruning with TFMOT: along a polynomial schedule the smallest weights of each layer are set to zero.

Batch norms are folded first, as the converter does, so that the pruned weights are those of the file. Depthwise kernels
and the first convolution are not pruned, because they have few weights and lose the most accuracy; neither is the fixed
preprocessing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import StageError
from ...core.progress import Listener
from ...core.recipe_quantize import Prune
from ...frameworks.tensorflow import load, load_tfmot
from .layers import fold_norms
from .network_loading import fixed
from .training import Phase, Plan, Row, State, Trainable, score, train
from .training_data import Split, TrainingData

TASK = "pruning"
RAMP = 2 / 3  # of all steps, until the sparsity is reached; the rest recovers accuracy
UPDATES = 20  # of the masks during the ramp


def train_pruned(
    flat: Any, settings: Prune, training_data: TrainingData, *, scratch: Path, listener: Listener
) -> tuple[Any, State, dict[str, Any]]:
    """Prune a flat network; return it without TFMOT's wrappers, the training state, and facts for `tuning`.

    Raises StageError if it has no layer to prune, or the result has fewer zeros than set.
    """
    _, keras = load()
    tfmot = load_tfmot()
    api, folded = tfmot.sparsity.keras, fold_norms(flat)
    chosen = prunable_layers(folded)
    steps = sum(math.ceil(len(order) / settings.batch_size) for order in training_data.orders)
    every = max(1, int(steps * RAMP) // UPDATES)
    schedule = api.PolynomialDecay(
        0.0, settings.sparsity, begin_step=0, end_step=every * max(1, int(steps * RAMP) // every), frequency=every
    )

    def wrap(layer: Any) -> Any:
        return api.prune_low_magnitude(layer, pruning_schedule=schedule) if layer.name in chosen else layer

    network = keras.models.clone_model(folded, clone_function=wrap)
    wrapped = [layer for layer in network.layers if hasattr(layer, "pruning_obj")]
    by_name = {getattr(layer, "layer", layer).name: layer for layer in network.layers}
    for layer in folded.layers:
        if layer.weights:
            by_name[layer.name].set_weights(layer.get_weights())
    for layer in wrapped:
        layer.pruning_step.assign(0)

    def mask(_: int = 0) -> None:
        for layer in wrapped:
            layer.pruning_obj.weight_mask_op()

    def evaluate() -> Row:
        mask()
        return evaluate_network(network, training_data.validation, settings.distill)

    plan = Plan(
        phases=(Phase(settings.epochs, trainable_variables(network)),),
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        distill=settings.distill,
        keep_best=False,  # an earlier epoch is not sparse yet
    )
    trainable = Trainable(network, evaluate)
    state = train(trainable, plan, training_data, checkpoint=scratch / "pruned.npz", task=TASK, listener=listener)
    mask()
    stripped = api.strip_pruning(network)
    zeros = {name: _zeros(stripped.get_layer(name)) for name in sorted(chosen)}
    sizes = {name: _kernel(stripped.get_layer(name)).size for name in zeros}
    missing = [name for name in zeros if zeros[name] < math.floor(settings.sparsity * sizes[name])]
    if missing:
        raise StageError(
            f"layer {missing[0]!r} has {zeros[missing[0]]:,} zero weights, expected {settings.sparsity:.0%} of "
            f"{sizes[missing[0]]:,}",
            "prune for more epochs, so that the schedule is completed",
        )
    weights = sum(_kernel(layer).size for layer in stripped.layers if _kernel(layer) is not None)
    facts = {
        "sparsity": settings.sparsity,
        "zero_weights": sum(zeros.values()),
        "pruned_weights": sum(sizes.values()),
        "weights": weights,
        "layers": {"pruned": len(chosen), "done": len(chosen), "total": len(_with_kernels(stripped))},
    }
    return stripped, state, facts


def prunable_layers(network: Any) -> set[str]:
    """Return the names of the layers whose weights can be pruned or clustered. Raises StageError if there are none."""
    _, keras = load()
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    excluded = (keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose, keras.layers.SeparableConv2D)
    layers = [
        layer for layer in network.layers
        if isinstance(layer, kinds) and not isinstance(layer, excluded) and not fixed(layer)
    ]  # fmt: skip
    convolutions = [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]
    chosen = {layer.name for layer in layers} - {layer.name for layer in convolutions[:1]}
    if not chosen:
        raise StageError(
            "the network has no layer that can be pruned or clustered",
            "needed are dense layers, or convolutions except the first and depthwise ones; use tflite:int8 instead",
        )
    return chosen


def trainable_variables(network: Any) -> list[Any]:
    """Set the remaining batch norms to inference mode; return the trainable variables of the other layers."""
    _, keras = load()
    variables: list[Any] = []
    for layer in network.layers:
        inner = getattr(layer, "layer", layer)
        if isinstance(inner, keras.layers.BatchNormalization):
            inner.trainable = False
        elif not fixed(inner):
            variables += list(layer.trainable_weights)
    return variables


def evaluate_network(network: Any, validation: Split, distill: float) -> Row:
    """Evaluate a float network on the validation split; its float file gives the same answers."""
    count = len(validation.labels)
    if not count:
        return {}
    parts = [np.asarray(network(validation.values(slice(at, at + 64)), training=False)) for at in range(0, count, 64)]
    return score(np.concatenate(parts), validation.labels, validation.answers, distill)


def _kernel(layer: Any) -> Any:
    for name in ("kernel", "depthwise_kernel"):
        if hasattr(layer, name):
            return getattr(layer, name).numpy()
    return None


def _with_kernels(network: Any) -> list[Any]:
    return [layer for layer in network.layers if hasattr(layer, "kernel") or hasattr(layer, "depthwise_kernel")]


def _zeros(layer: Any) -> int:
    return int((_kernel(layer) == 0).sum())
