"""Quantization-aware training of the head alone, for a model whose backbone is available only as a graph.

The backbone is not changed; the conversion quantizes it by calibration. The head is therefore trained on the features
of the integer backbone, with its weights in eight bits, to give the float model's answers. Its weights are then saved
with the values of the eight bits, so that calibration finds the same scales.
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
from ...core.recipe_quantize import Qat
from ...core.sanitize import shorten
from ...frameworks.tensorflow import load, load_tfmot
from .fake_quant_ranges import calibrate, fit_weights
from .frozen_head import HeadCut, cut_head, freeze
from .pruning import evaluate_network
from .tflite_eval import CrashError, convert, model_values, run
from .training import Phase, Plan, Row, State, Trainable, train
from .training_data import Split, TrainingData

TASK = "quantization-aware training of the head"
RATE_FACTOR = 20.0  # of the learning rate of a whole network: a head alone needs a higher one


def train_head(
    model: Model, settings: Qat, training_data: TrainingData, *, scratch: Path, listener: Listener
) -> tuple[Any, State, list[NDArray[Any]]]:
    """Train the head of a frozen model; return the function of the whole model (for `frozen_head.freeze`), the training
    state, and the head's weights. Raises StageError if the model does not end in a dense layer."""
    tf, keras = load()
    tfmot = load_tfmot()
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry,
    )

    parts = cut_head(model)
    features = _features(parts, model, training_data, scratch, listener)
    count, classes = parts.kernel.shape
    values = keras.Input((count,), name="features")
    dense = keras.layers.Dense(classes, activation="softmax" if parts.softmax else None, name="probabilities")
    plain = keras.Model(values, dense(values))
    dense.set_weights([parts.kernel, parts.bias])
    # One scale for each class, as the converter has for dense layers when it calibrates.
    config = default_8bit_quantize_registry.Default8BitConvQuantizeConfig(["kernel"], ["activation"], False)
    api = tfmot.quantization.keras

    def annotate(layer: Any) -> Any:
        is_dense = isinstance(layer, keras.layers.Dense)
        return api.quantize_annotate_layer(layer, quantize_config=config) if is_dense else layer

    with api.quantize_scope({"Default8BitConvQuantizeConfig": type(config)}):
        annotated = keras.models.clone_model(plain, clone_function=annotate)
        annotated.set_weights(plain.get_weights())
        network = api.quantize_apply(annotated)
    calibrate(network, features.train.stored[: len(training_data.calibration)].astype(np.float32))

    def evaluate() -> Row:
        fit_weights(network)
        return evaluate_network(network, features.validation, settings.distill)

    plan = Plan(
        phases=(Phase(settings.epochs + settings.frozen_epochs, list(network.trainable_weights)),),
        learning_rate=settings.learning_rate * RATE_FACTOR,
        batch_size=settings.batch_size,
        distill=settings.distill,
        patience=settings.patience,
    )
    trainable = Trainable(network, evaluate)
    state = train(trainable, plan, features, checkpoint=scratch / "head.npz", task=TASK, listener=listener)
    fit_weights(network)
    kernel, bias = _stored(network)

    def function(image: Any) -> Any:
        logits = tf.matmul(parts.base(image), tf.constant(kernel)) + tf.constant(bias)
        return tf.nn.softmax(logits) if parts.softmax else logits

    return function, state, [kernel, bias]


def _stored(network: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the dense layer's kernel, rounded to the values of eight bits, and its bias."""
    tf, _ = load()
    (layer,) = (layer for layer in network.layers if getattr(layer, "_weight_vars", None))
    ((weight, _, own),) = layer._weight_vars
    kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        weight, own["min_var"], own["max_var"], narrow_range=True
    )
    return kernel.numpy(), layer.layer.bias.numpy()


def _features(
    parts: HeadCut, model: Model, training_data: TrainingData, scratch: Path, listener: Listener
) -> TrainingData:
    """Return `training_data` with each sample replaced by its features of the integer backbone; with a warning by those
    of the float backbone, if the integer one cannot be made."""
    base = replace(model, answer="features")
    saved = freeze(parts.base, base, scratch / "base")

    def samples() -> Iterator[dict[str, Any]]:
        for one in model_values(training_data.calibration, model.input):
            yield {model.input.name: one[None]}

    try:
        content = convert(saved, quantized=True, samples=samples)
        both = np.concatenate([training_data.train.stored, training_data.validation.stored])
        features = run(content, both, model.input, scratch).values
    except Exception as error:  # the converter may raise anything
        why = shorten(str(error), 200)
        listener.note("warning", f"{TASK}: it uses float features, because the integer backbone cannot be made: {why}")
        features = _float_features(
            saved, np.concatenate([training_data.train.stored, training_data.validation.stored]), model, scratch
        )
    contract = InputContract("features", (1, features.shape[1]), kind="tensor")
    used = len(training_data.train.labels)
    return TrainingData(
        train=Split(features[:used], training_data.train.labels, training_data.train.answers, contract),
        validation=Split(features[used:], training_data.validation.labels, training_data.validation.answers, contract),
        orders=training_data.orders,
        calibration=training_data.calibration,
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
