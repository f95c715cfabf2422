"""Quantization-aware training with TFMOT: a network with fake quantization is trained on the float model's answers.

It starts with calibrated ranges (`fake_quant_ranges`). Batch norms always use their running statistics, as in the
training of the head, because statistics of small batches would differ too much. In phase one their scale and offset are
trained with the weights, in phase two they are frozen. Each epoch is evaluated by the converted file.
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
from ...core.recipe_quantize import Qat
from ...core.sanitize import shorten
from ...frameworks.tensorflow import load, load_tfmot
from .fake_quant_ranges import calibrate, fit_weights, fix_input
from .frozen_head import freeze
from .hub_networks import UnavailableNetworkError
from .layers import equalize_channels
from .network_loading import fixed
from .tflite_eval import CrashError, convert, model_values, run
from .training import Phase, Plan, Row, State, Trainable, score, train
from .training_data import Split, TrainingData

TASK = "quantization-aware training"
CHECKED = 4  # samples on which a file is run without a validation split
# Layers that TFMOT does not support, and of which only the output has to be quantized.
OUTPUT_ONLY = ("Multiply", "Subtract", "Maximum", "Minimum")


@dataclass(frozen=True)
class QuantizedNetwork:
    """A network with fake quantization; `layers` is the number of quantized layers with kernels, and of all of them."""

    network: Any
    layers: tuple[int, int]


def quantize(flat: Any) -> QuantizedNetwork:
    """Add fake quantization to a flat network. Raises UnavailableNetworkError with the layer that prevents it."""
    _, keras = load()
    tfmot = load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_configs,
        default_8bit_quantize_registry,
    )

    equalize_channels(flat)
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
            raise UnavailableNetworkError(
                f"batch norm {layer.name!r} does not follow a convolution that it can be folded into"
            )
        if kind not in ("BatchNormalization", "SeparableConv2D") and not registry.supports(layer):
            raise UnavailableNetworkError(f"TFMOT has no quantization for layer {layer.name!r} ({kind})")
        return api.quantize_annotate_layer(layer)

    try:
        with api.quantize_scope(scope):
            annotated = keras.models.clone_model(flat, clone_function=annotate)
            annotated.set_weights(flat.get_weights())
            network = api.quantize_apply(annotated)
    except UnavailableNetworkError:
        raise
    except Exception as error:  # TFMOT may raise anything
        raise UnavailableNetworkError(f"TFMOT cannot quantize the network: {shorten(str(error), 200)}") from error
    wrapped = [layer for layer in network.layers if hasattr(layer, "quantize_config")]
    with_weights = [layer for layer in wrapped if layer._weight_vars]
    return QuantizedNetwork(network, (len(with_weights), len(_computing(network))))


def _skip_taken_names(flat: Any) -> None:
    """Advance Keras' counters of layer names past the names in `flat`.

    TFMOT makes two layers of each SeparableConv2D, and Keras names them, for example ``conv2d``. A layer of a network
    from another process may have the same name, and with two layers of one name TFMOT does not terminate.
    """
    _, keras = load()
    used = {layer.name for layer in flat.layers}
    for new in (lambda: keras.layers.Conv2D(1, 1), lambda: keras.layers.DepthwiseConv2D(1)):
        stem = re.sub(r"_\d+$", "", new().name)
        last = max(
            (int(name[len(stem) + 1 :] or 0) for name in used if re.fullmatch(rf"{stem}(_\d+)?", name)), default=-1
        )
        while int(new().name[len(stem) + 1 :] or 0) < last:
            pass


def _follows_weights(norm: Any) -> bool:
    """Whether a batch norm follows a convolution or dense layer that it can be folded into."""
    _, keras = load()
    before = norm._inbound_nodes[0].inbound_layers
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense, keras.layers.SeparableConv2D)
    linear = getattr(before, "activation", None) is keras.activations.linear
    return isinstance(before, kinds) and linear


def _computing(network: Any) -> list[Any]:
    """Return the layers with kernels."""
    inner = [getattr(layer, "layer", layer) for layer in network.layers]
    return [layer for layer in inner if hasattr(layer, "kernel") or hasattr(layer, "depthwise_kernel")]


def variables_by_phase(network: Any) -> tuple[list[Any], list[Any]]:
    """Set batch norms to inference mode; return the variables of phase one, and of phase two (without batch norms)."""
    _, keras = load()
    norms: list[Any] = []
    others: list[Any] = []
    for layer in network.layers:
        inner = getattr(layer, "layer", layer)
        if isinstance(inner, keras.layers.BatchNormalization):
            norms += [v for v in (inner.gamma, inner.beta) if v is not None]
            inner.trainable = False  # inference mode: running statistics, not updated
        elif not fixed(inner):
            others += list(layer.trainable_weights)
    return [*others, *norms], others


def train_qat(
    flat: Any, model: Model, settings: Qat, training_data: TrainingData, *, scratch: Path, listener: Listener
) -> tuple[Any, State, tuple[int, int]]:
    """Train a flat network for quantization; return it with fake quantization, the training state, and
    `QuantizedNetwork.layers`.

    Raises UnavailableNetworkError if it cannot be quantized as a whole: TFMOT does not support a layer, or the
    converter leaves operators in float.
    """
    quantized = quantize(flat)
    network = quantized.network
    calibrate(network, model_values(training_data.calibration, model.input))
    low, high = (model.input.low, model.input.high) if model.input.kind == "image" else (0.0, 0.0)

    def update_ranges() -> None:
        fit_weights(network)
        if high > low:
            fix_input(network, low, high)

    def function(values: Any) -> Any:
        return network(values, training=False)

    update_ranges()
    evaluate = file_evaluator(
        function, model, training_data.validation, settings.distill, scratch=scratch, listener=listener,
        spare=training_data.calibration, before=update_ranges,
    )  # fmt: skip
    with_norms, without = variables_by_phase(network)
    plan = Plan(
        phases=(Phase(settings.epochs, with_norms), Phase(settings.frozen_epochs, without)),
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        distill=settings.distill,
        patience=settings.patience,
    )
    trainable = Trainable(network, evaluate)
    state = train(trainable, plan, training_data, checkpoint=scratch / "qat.npz", task=TASK, listener=listener)
    update_ranges()
    return network, state, quantized.layers


def file_evaluator(
    function: Callable[[Any], Any], model: Model, validation: Split, distill: float, *, scratch: Path,
    listener: Listener, spare: Any, before: Callable[[], None],
) -> Callable[[], Row]:  # fmt: skip
    """Return a function that evaluates a network by its file: frozen, converted to integers with its ranges, run by
    LiteRT. `before` is called first.

    The function raises UnavailableNetworkError if the converter refuses the first file or leaves operators in float. If
    a later file cannot be run, the network itself is evaluated instead, with a warning. Without a validation split the
    file is only run, on the `spare` samples.
    """
    checked = False

    def evaluate() -> Row:
        nonlocal checked
        before()
        validated = len(validation.labels) > 0
        stored = validation.stored if validated else spare[:CHECKED]
        try:
            saved = freeze(function, model, scratch / "evaluated")
            answers = run(convert(saved, quantized=True), stored, model.input, scratch)
        except CrashError as error:
            listener.note("warning", f"{TASK}: the converted file could not be run, its network is evaluated: {error}")
            if not validated:
                return {}
            batches = [model_values(stored[at : at + 64], model.input) for at in range(0, len(stored), 64)]
            values = np.concatenate([np.asarray(function(batch)) for batch in batches])
            return {**score(values, validation.labels, validation.answers, distill), "converted": 0.0}
        except Exception as error:  # the converter may raise anything
            if checked:
                raise
            why = shorten(str(error), 200)
            raise UnavailableNetworkError(f"the converter refuses the quantized network: {why}") from error
        if not checked and answers.float_operators:
            raise UnavailableNetworkError(f"the converter leaves {', '.join(answers.float_operators)} in float")
        checked = True
        return score(answers.values, validation.labels, validation.answers, distill) if validated else {}

    return evaluate
