"""Magnitude pruning with TFMOT: along a polynomial schedule the smallest weights of each layer become zero, for good.

Batch norms are folded in first, as the converter would do: what is pruned are the weights that the file holds. Left
alone are depthwise kernels and the first convolution, which have few weights and lose most, and the fixed
preprocessing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import StageError
from ...core.progress import Listener
from ...core.recipe import Prune
from ...frameworks.tensorflow import load, load_tfmot
from .layers import fold_norms
from .network_loading import fixed
from .training import Phase, Plan, Row, State, Trainee, score, train
from .training_data import Material, Split

TASK = "pruning"
RAMP = 2 / 3  # of all steps, until the sparsity is reached; the rest is for recovering
UPDATES = 20  # times that masks are drawn anew on the way


def train_pruned(
    flat: Any, settings: Prune, material: Material, *, scratch: Path, listener: Listener
) -> tuple[Any, State, dict[str, Any]]:
    """Prune a flat network; return it without TFMOT's wrappers, how it went, and what is to be told of it.

    Raises StageError when it has no layer to prune, or the zeros asked for are not in the result.
    """
    _, keras = load()
    tfmot = load_tfmot()
    api, folded = tfmot.sparsity.keras, fold_norms(flat)
    chosen = worth_changing(folded)
    steps = sum(math.ceil(len(order) / settings.batch_size) for order in material.orders)
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

    def judge() -> Row:
        mask()
        return judge_network(network, material.validation, settings.distill)

    plan = Plan(
        phases=(Phase(settings.epochs, learnable(network)),),
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        distill=settings.distill,
        keep_best=False,  # an earlier epoch is not sparse yet
    )
    trainee = Trainee(network, judge)
    state = train(trainee, plan, material, checkpoint=scratch / "pruned.npz", task=TASK, listener=listener)
    mask()
    stripped = api.strip_pruning(network)
    zeros = {name: _zeros(stripped.get_layer(name)) for name in sorted(chosen)}
    sizes = {name: _kernel(stripped.get_layer(name)).size for name in zeros}
    missing = [name for name in zeros if zeros[name] < math.floor(settings.sparsity * sizes[name])]
    if missing:
        raise StageError(
            f"layer {missing[0]!r} has {zeros[missing[0]]:,} weights of zero, expected {settings.sparsity:.0%} of "
            f"{sizes[missing[0]]:,}",
            "prune for more epochs, so that the schedule reaches its end",
        )
    everything = sum(_kernel(layer).size for layer in stripped.layers if _kernel(layer) is not None)
    told = {
        "sparsity": settings.sparsity,
        "zero_weights": sum(zeros.values()),
        "pruned_weights": sum(sizes.values()),
        "weights": everything,
        "layers": {"pruned": len(chosen), "done": len(chosen), "total": len(_with_kernels(stripped))},
    }
    return stripped, state, told


def worth_changing(network: Any) -> set[str]:
    """Return the names of the layers whose weights may be pruned or clustered. Raises StageError for none."""
    _, keras = load()
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    apart = (keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose, keras.layers.SeparableConv2D)
    able = [
        layer for layer in network.layers
        if isinstance(layer, kinds) and not isinstance(layer, apart) and not fixed(layer)
    ]  # fmt: skip
    convolutions = [layer for layer in able if isinstance(layer, keras.layers.Conv2D)]
    chosen = {layer.name for layer in able} - {layer.name for layer in convolutions[:1]}
    if not chosen:
        raise StageError(
            "the network has no layer whose weights are worth pruning or clustering",
            "dense layers and all convolutions but the first and depthwise ones are; use tflite:int8 for this network",
        )
    return chosen


def learnable(network: Any) -> list[Any]:
    """Make the network ready to learn, what batch norms are left in inference mode; return the variables that learn."""
    _, keras = load()
    found: list[Any] = []
    for layer in network.layers:
        inner = getattr(layer, "layer", layer)
        if isinstance(inner, keras.layers.BatchNormalization):
            inner.trainable = False
        elif not fixed(inner):
            found += list(layer.trainable_weights)
    return found


def judge_network(network: Any, validation: Split, distill: float) -> Row:
    """Judge a float network on the validation split: its file computes the same."""
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
