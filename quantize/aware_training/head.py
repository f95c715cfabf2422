"""Quantization-aware training of the head alone, for a model whose backbone is only known as a graph.

The backbone stays as it is and is quantized by calibration when the model is converted. So it is here, too: the head
learns on the features that the integer backbone gives, with its own weights in eight bits, to answer as the float model
does. The weights are then written as the eight bits have them, and calibration finds the same again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.model import InputContract, Model
from ...core.progress import Listener
from ...core.recipe import Qat
from ...core.sanitize import shorten
from ...frameworks.tensorflow import load, load_tfmot
from .fake_quant_ranges import calibrate, fit_weights
from .frozen_head import Cut, cut_head, freeze
from .pruning import judge_network
from .tflite_eval import CrashError, convert, run, values_of
from .training import Phase, Plan, Row, State, Trainee, train
from .training_data import Material, Split

TASK = "quantization-aware training of the head"
FASTER = 20.0  # a head alone bears a learning rate this many times that of a whole network


def train_head(
    model: Model, settings: Qat, material: Material, *, scratch: Path, listener: Listener
) -> tuple[Any, State, list[NDArray[Any]]]:
    """Train the head of a frozen model; return the function of the whole model (as `frozen.freeze` takes it), how it
    went, and the head's weights. Raises StageError when the model does not end in a dense layer."""
    tf, keras = load()
    tfmot = load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry,
    )

    opened = cut_head(model)
    features = _features(opened, model, material, scratch, listener)
    count, classes = opened.kernel.shape
    values = keras.Input((count,), name="features")
    dense = keras.layers.Dense(classes, activation="softmax" if opened.softmax else None, name="probabilities")
    plain = keras.Model(values, dense(values))
    dense.set_weights([opened.kernel, opened.bias])
    # A scale for each class, as the converter gives dense layers when it calibrates.
    config = default_8bit_quantize_registry.Default8BitConvQuantizeConfig(["kernel"], ["activation"], False)
    api = tfmot.quantization.keras

    def annotate(layer: Any) -> Any:
        is_dense = isinstance(layer, keras.layers.Dense)
        return api.quantize_annotate_layer(layer, quantize_config=config) if is_dense else layer

    with api.quantize_scope({"Default8BitConvQuantizeConfig": type(config)}):
        annotated = keras.models.clone_model(plain, clone_function=annotate)
        annotated.set_weights(plain.get_weights())
        network = api.quantize_apply(annotated)
    calibrate(network, features.train.stored[: len(material.calibration)].astype(np.float32))

    def judge() -> Row:
        fit_weights(network)
        return judge_network(network, features.validation, settings.distill)

    plan = Plan(
        phases=(Phase(settings.epochs + settings.frozen_epochs, list(network.trainable_weights)),),
        learning_rate=settings.learning_rate * FASTER,
        batch_size=settings.batch_size,
        distill=settings.distill,
        patience=settings.patience,
    )
    trainee = Trainee(network, judge)
    state = train(trainee, plan, features, checkpoint=scratch / "head.npz", task=TASK, listener=listener)
    fit_weights(network)
    kernel, bias = _stored(network)

    def function(image: Any) -> Any:
        found = tf.matmul(opened.base(image), tf.constant(kernel)) + tf.constant(bias)
        return tf.nn.softmax(found) if opened.softmax else found

    return function, state, [kernel, bias]


def _stored(network: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the dense layer's kernel with the values that eight bits have, and its bias."""
    tf, _ = load()
    (layer,) = (layer for layer in network.layers if getattr(layer, "_weight_vars", None))
    ((weight, _, own),) = layer._weight_vars
    kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        weight, own["min_var"], own["max_var"], narrow_range=True
    )
    return kernel.numpy(), layer.layer.bias.numpy()


def _features(opened: Cut, model: Model, material: Material, scratch: Path, listener: Listener) -> Material:
    """Return `material` with samples replaced by what the integer backbone makes of them; by the float one's features,
    with a note, where the backbone cannot be converted."""
    base = replace(model, answer="features")
    saved = freeze(opened.base, base, scratch / "base")

    def samples() -> Iterator[dict[str, Any]]:
        for one in values_of(material.calibration, model.input):
            yield {model.input.name: one[None]}

    try:
        content = convert(saved, quantized=True, samples=samples)
        both = np.concatenate([material.train.stored, material.validation.stored])
        found = run(content, both, model.input, scratch).values
    except Exception as error:  # the converter raises anything
        listener.note("warning", f"{TASK}: with float features, as the backbone has none: {shorten(str(error), 200)}")
        found = _float_features(
            saved, np.concatenate([material.train.stored, material.validation.stored]), model, scratch
        )
    contract = InputContract("features", (1, found.shape[1]), kind="tensor")
    used = len(material.train.labels)
    return Material(
        train=Split(found[:used], material.train.labels, material.train.answers, contract),
        validation=Split(found[used:], material.validation.labels, material.validation.answers, contract),
        orders=material.orders,
        calibration=material.calibration,
    )


def _float_features(saved: Path, stored: NDArray[Any], model: Model, scratch: Path) -> NDArray[Any]:
    try:
        return run(convert(saved, quantized=False), stored, model.input, scratch).values
    except CrashError as error:
        from ...core.errors import StageError

        raise StageError(
            f"the backbone of model {model.name!r} does not run as a TFLite file: {error}",
            "export it as tflite:float32 to see why",
        ) from error
