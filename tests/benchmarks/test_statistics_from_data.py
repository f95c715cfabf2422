"""Random weights get the statistics of trained ones, so that integer schemes of untrained networks can be tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.frameworks import tensorflow

PIXELS, CALIBRATED, TRIED = 32, 32, 16


@pytest.fixture(scope="module")
def samples() -> Any:
    """Smooth random pictures, −1 to 1."""
    coarse = np.random.default_rng(0).uniform(-1, 1, (CALIBRATED + TRIED, 4, 4, 3))
    return np.kron(coarse, np.ones((1, PIXELS // 4, PIXELS // 4, 1))).astype(np.float32)


def network(seed: int) -> Any:
    _, keras = tensorflow.fresh(seed)
    base = keras.applications.MobileNetV2(
        weights=None, alpha=0.35, input_shape=(PIXELS, PIXELS, 3), include_top=False, pooling="avg"
    )
    pictures = keras.Input((PIXELS, PIXELS, 3))  # the base is a model nested in a model
    return keras.Model(pictures, keras.layers.Dense(10)(base(pictures)))


def outputs_of_the_int16_file(model: Any, samples: Any) -> Any:
    """Answers of the int16x8 file for the samples that it was not calibrated with."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    run = tf.function(lambda batch: model(batch, training=False))
    one = run.get_concrete_function(tf.TensorSpec((1, PIXELS, PIXELS, 3)))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([one], model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples[:CALIBRATED])
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    answers = []
    for sample in samples[CALIBRATED:]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.array(answers)


@pytest.mark.slow
@pytest.mark.thorough  # a whole network through the converter, twice; what is done to each layer is tried below
def test_random_weights_become_fit_for_16_bits(samples: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    from benchmarks.statistics_from_data import calibrate_random_weights

    model = network(seed=1)
    with pytest.raises(RuntimeError, match="failed to prepare"):
        outputs_of_the_int16_file(model, samples)
    calls = [type(layer).call for layer in model.layers]
    calibrate_random_weights(model, samples[:CALIBRATED])
    assert [layer.call.__func__ for layer in model.layers] == calls  # nothing of it stays in the layers
    float_ = model(samples[CALIBRATED:], training=False).numpy()
    assert 0.1 < float_.std(axis=0).mean() < 10
    answered = outputs_of_the_int16_file(model, samples)
    error = ((answered - float_) ** 2).mean()
    assert 10 * np.log10(float_.var(axis=0).mean() / error) > 10  # dB


@pytest.mark.slow
def test_each_layer_is_scaled_by_what_reaches_it(samples: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    from benchmarks.statistics_from_data import calibrate_random_weights

    _, keras = tensorflow.fresh(2)
    model = keras.Sequential(
        [
            keras.layers.SeparableConv2D(8, 3, activation="relu", input_shape=(PIXELS, PIXELS, 3)),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(4, activation="softmax"),
        ]
    )
    calibrate_random_weights(model, samples)
    convolution, norm, dense = model.layers
    convolution.activation = dense.activation = keras.activations.linear
    assert convolution(samples).numpy().std() == pytest.approx(1, abs=1e-3)
    convolution.activation = keras.activations.relu
    reaching = convolution(samples).numpy().reshape(-1, 8)
    assert norm.moving_mean.numpy() == pytest.approx(reaching.mean(axis=0), abs=1e-4)
    least = 0.25 * reaching.var(axis=0).mean()
    assert norm.moving_variance.numpy() == pytest.approx(np.maximum(reaching.var(axis=0), least), rel=1e-3)
    assert model(samples).numpy().std() == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_branches_are_small_and_what_is_pooled_has_no_shift(samples: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    from benchmarks.statistics_from_data import calibrate_random_weights

    _, keras = tensorflow.fresh(3)
    layers = keras.layers
    given = keras.Input((PIXELS, PIXELS, 3))
    x = layers.BatchNormalization(name="first")(layers.Conv2D(8, 3, padding="same")(given))
    # A projected input beside a branch that is weighted by channel and dropped: the branch is the longer way.
    beside = layers.BatchNormalization(name="projection")(layers.Conv2D(8, 1)(x))
    branch = layers.Conv2D(8, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 1)(x))))
    branch = layers.BatchNormalization(name="weighted")(branch)
    weights = layers.Dense(8, "sigmoid", name="excitation")(layers.GlobalAveragePooling2D(keepdims=True)(branch))
    x = layers.Add()([layers.Dropout(0.2)(layers.Multiply()([branch, weights])), beside])
    # A branch that ends in a convolution with a bias.
    branch = layers.Conv2D(8, 3, padding="same", name="biased")(layers.ReLU()(layers.BatchNormalization()(x)))
    ended = layers.Add()([x, branch])
    last = layers.ReLU()(layers.BatchNormalization(name="last")(ended))
    model = keras.Model(given, layers.Dense(4)(layers.GlobalAveragePooling2D()(last)))
    calibrate_random_weights(model, samples)

    norms = {name: model.get_layer(name) for name in ("first", "projection", "weighted", "last")}
    gammas = {name: norm.gamma.numpy().mean() for name, norm in norms.items()}
    assert gammas == pytest.approx({"first": 1, "projection": 1, "weighted": 0.25, "last": 1})
    betas = {name: norm.beta.numpy().mean() for name, norm in norms.items()}
    assert betas == pytest.approx({"first": 1, "projection": 1, "weighted": 0, "last": 0})
    added = keras.Model(given, model.get_layer("biased").output)(samples, training=False).numpy().reshape(-1, 8)
    assert added.mean(axis=0) == pytest.approx(np.zeros(8), abs=1e-3)
    assert added.std() == pytest.approx(0.25, abs=1e-3)
