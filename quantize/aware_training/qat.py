"""Quantization-aware training with TFMOT: the float model with fake quantization in it learns to answer as before.

It starts calibrated (`ranges`), so that nothing has to be learnt twice. Batch norms always use their running
statistics, as they did when the head was trained: statistics of small batches would be those of another network. In
phase one their scale and offset learn with the weights, in phase two they are frozen. Epochs are judged by the
converted file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.model import Model
from ...core.progress import Listener
from ...core.recipe import Qat
from ...core.sanitize import shorten
from ...frameworks.tensorflow import load, load_tfmot
from .fake_quant_ranges import calibrate, fit_weights, fix_input
from .frozen_head import freeze
from .hub_networks import UnknownError
from .layers import equalize
from .network_loading import fixed
from .tflite_eval import CrashError, convert, run, values_of
from .training import Phase, Plan, Row, State, Trainee, score, train
from .training_data import Material, Split

TASK = "quantization-aware training"
CHECKED = 4  # samples for a file that is not judged
# Layers that TFMOT knows nothing of, and whose output alone has to be quantized.
OUTPUT_ONLY = ("Multiply", "Subtract", "Maximum", "Minimum")


@dataclass(frozen=True)
class Quantized:
    """A network with fake quantization; `layers` is (quantized, all) of those that compute."""

    network: Any
    layers: tuple[int, int]


def quantize(flat: Any) -> Quantized:
    """Put fake quantization into a flat network. Raises UnknownError naming the layer that TFMOT has none for."""
    _, keras = load()
    tfmot = load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_configs,
        default_8bit_quantize_registry,
    )

    equalize(flat)
    _skip_taken_names(flat)
    api, registry = tfmot.quantization.keras, default_8bit_quantize_registry.Default8BitQuantizeRegistry()
    output_only = default_8bit_quantize_configs.Default8BitOutputQuantizeConfig
    scope = {"Default8BitOutputQuantizeConfig": output_only}

    def annotate(layer: Any) -> Any:
        kind = type(layer).__name__
        if kind == "InputLayer":
            return layer
        if kind in OUTPUT_ONLY:
            return api.quantize_annotate_layer(layer, quantize_config=output_only())
        if kind == "BatchNormalization" and not _follows_weights(layer):
            raise UnknownError(f"batch norm {layer.name!r} follows no convolution that it could be folded into")
        if kind not in ("BatchNormalization", "SeparableConv2D") and not registry.supports(layer):
            raise UnknownError(f"TFMOT has no quantization for layer {layer.name!r} ({kind})")
        return api.quantize_annotate_layer(layer)

    try:
        with api.quantize_scope(scope):
            annotated = keras.models.clone_model(flat, clone_function=annotate)
            annotated.set_weights(flat.get_weights())
            network = api.quantize_apply(annotated)
    except UnknownError:
        raise
    except Exception as error:  # TFMOT raises whatever a network makes it stumble over
        raise UnknownError(f"TFMOT cannot quantize the network: {shorten(str(error), 200)}") from error
    wrapped = [layer for layer in network.layers if hasattr(layer, "quantize_config")]
    with_weights = [layer for layer in wrapped if layer._weight_vars]
    return Quantized(network, (len(with_weights), len(_computing(network))))


def _skip_taken_names(flat: Any) -> None:
    """Let Keras give out no name again that a layer of `flat` has.

    TFMOT makes two layers of each SeparableConv2D, and Keras names them: ``conv2d``, which a layer of a network that
    was made in another process may have, too. With two layers of one name TFMOT's rebuilding never ends.
    """
    _, keras = load()
    taken = {layer.name for layer in flat.layers}
    for new in (lambda: keras.layers.Conv2D(1, 1), lambda: keras.layers.DepthwiseConv2D(1)):
        stem = re.sub(r"_\d+$", "", new().name)
        last = max(
            (int(name[len(stem) + 1 :] or 0) for name in taken if re.fullmatch(rf"{stem}(_\d+)?", name)), default=-1
        )
        while int(new().name[len(stem) + 1 :] or 0) < last:
            pass


def _follows_weights(norm: Any) -> bool:
    """Whether a batch norm stands behind a convolution or dense layer that it can be folded into."""
    _, keras = load()
    before = norm._inbound_nodes[0].inbound_layers
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense, keras.layers.SeparableConv2D)
    linear = getattr(before, "activation", None) is keras.activations.linear
    return isinstance(before, kinds) and linear


def _computing(network: Any) -> list[Any]:
    """Return the layers with kernels."""
    inner = [getattr(layer, "layer", layer) for layer in network.layers]
    return [layer for layer in inner if hasattr(layer, "kernel") or hasattr(layer, "depthwise_kernel")]


def learned(network: Any) -> tuple[list[Any], list[Any]]:
    """Make the network ready to learn; return what phase one moves, and what phase two does (no batch norm)."""
    _, keras = load()
    norms: list[Any] = []
    others: list[Any] = []
    for layer in network.layers:
        inner = getattr(layer, "layer", layer)
        if isinstance(inner, keras.layers.BatchNormalization):
            norms += [v for v in (inner.gamma, inner.beta) if v is not None]
            inner.trainable = False  # inference mode: running statistics, which stay as they are
        elif not fixed(inner):
            others += list(layer.trainable_weights)
    return [*others, *norms], others


def train_qat(
    flat: Any, model: Model, settings: Qat, material: Material, *, scratch: Path, listener: Listener
) -> tuple[Any, State, tuple[int, int]]:
    """Train a flat network for quantization; return it with fake quantization, how it went, and `Quantized.layers`.

    Raises UnknownError when it cannot be quantized as a whole: TFMOT does not know a layer, or the converter leaves
    operators in float.
    """
    quantized = quantize(flat)
    network = quantized.network
    calibrate(network, values_of(material.calibration, model.input))
    low, high = (model.input.low, model.input.high) if model.input.kind == "image" else (0.0, 0.0)

    def settle() -> None:
        fit_weights(network)
        if high > low:
            fix_input(network, low, high)

    def function(values: Any) -> Any:
        return network(values, training=False)

    settle()
    judge = judge_file(
        function, model, material.validation, settings.distill, scratch=scratch, listener=listener,
        spare=material.calibration, before=settle,
    )  # fmt: skip
    with_norms, without = learned(network)
    plan = Plan(
        phases=(Phase(settings.epochs, with_norms), Phase(settings.frozen_epochs, without)),
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        distill=settings.distill,
        patience=settings.patience,
    )
    trainee = Trainee(network, judge)
    state = train(trainee, plan, material, checkpoint=scratch / "qat.npz", task=TASK, listener=listener)
    settle()
    return network, state, quantized.layers


def judge_file(
    function: Callable[[Any], Any], model: Model, validation: Split, distill: float, *, scratch: Path,
    listener: Listener, spare: Any, before: Callable[[], None],
) -> Callable[[], Row]:  # fmt: skip
    """Return what judges a network by its file: frozen, converted to integers by its own ranges, run by LiteRT.

    The first file decides whether it works at all: raises UnknownError when the converter refuses it or leaves
    operators in float. When a later one cannot be run, the network itself is judged instead, with a warning. Without a
    validation split the file is only tried, on the `spare` samples.
    """
    tried = False

    def judge() -> Row:
        nonlocal tried
        before()
        judged = len(validation.labels) > 0
        stored = validation.stored if judged else spare[:CHECKED]
        try:
            saved = freeze(function, model, scratch / "judged")
            found = run(convert(saved, quantized=True), stored, model.input, scratch)
        except CrashError as error:
            listener.note("warning", f"{TASK}: the converted file could not be run, its network is judged: {error}")
            values = np.concatenate(
                [np.asarray(function(values_of(stored[at : at + 64], model.input))) for at in range(0, len(stored), 64)]
            )
            return {**score(values, validation.labels, validation.answers, distill), "converted": 0.0} if judged else {}
        except Exception as error:  # the converter raises anything
            if tried:
                raise
            raise UnknownError(f"the converter refuses the quantized network: {shorten(str(error), 200)}") from error
        if not tried and found.floats:
            raise UnknownError(f"the converter leaves {', '.join(found.floats)} in float")
        tried = True
        return score(found.values, validation.labels, validation.answers, distill) if judged else {}

    return judge
