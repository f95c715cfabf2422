"""Makes the files that `test_external` takes in, with plain Keras 2 or 3: ``python external_files.py 2|3 FOLDER``.

A program of its own, since one process holds one Keras, and so that the files are made without any code of ours.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def nested(keras: Any) -> Any:
    """Pictures of 24 pixels through a rescaling and a model inside the model; two outputs."""
    layers = keras.layers
    image = keras.Input((24, 24, 3), name="photo")
    inner = keras.Sequential(
        [
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(6, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
        ],
        name="trunk",
    )
    inner.compile("adam", "mse", metrics=["mae"])
    features = inner(layers.Rescaling(1 / 127.5, -1)(image))
    kinds = layers.Dense(4, activation="softmax", name="kind")(features)
    age = layers.Dense(1, name="age")(features)
    return keras.Model(image, [age, kinds])


def plain(keras: Any) -> Any:
    """A Sequential with a classification layer at its end; the size is open and nothing tells the range."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(5, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax", name="top"),
        ]
    )


def tabular(keras: Any, np: Any) -> Any:
    """Two inputs, one normalized by statistics of its own, one through an embedding."""
    layers = keras.layers
    numbers, code = keras.Input((5,), name="numbers"), keras.Input((1,), dtype="int32", name="code")
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(3, 2, (50, 5)).astype("float32"))
    embedded = layers.Flatten()(layers.Embedding(7, 4)(code))
    joined = layers.Concatenate()([normalization(numbers), embedded])
    return keras.Model([numbers, code], layers.Dense(3, name="logits")(joined))


def waves(keras: Any) -> Any:
    """A classifier of waveforms (500,), with a channel in Keras 3; its features are the maxima of 4 filters."""
    layers = keras.layers
    channel = keras.__version__.startswith("3")
    x = wave = keras.Input((None, 1) if channel else (500,), name="wave")
    x = x if channel else layers.Reshape((500, 1))(x)
    x = layers.GlobalMaxPooling1D(name="maxima")(layers.Conv1D(4, 16, strides=8, activation="relu")(x))
    return keras.Model(wave, layers.Dense(3, activation="softmax")(x))


def with_lambda(keras: Any) -> Any:
    """A model that carries Python."""
    image = keras.Input((16, 16, 3), name="image")
    doubled = keras.layers.Lambda(lambda x: x * 2.0, name="twice", output_shape=(16, 16, 3))(image)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(doubled))


def texts(keras: Any) -> Any:
    """Strings in, so a lookup table inside."""
    layers = keras.layers
    vectorize = layers.TextVectorization(output_sequence_length=6, vocabulary=["good", "bad", "film"])
    sentence = keras.Input((1,), dtype="string", name="sentence")
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(10, 4)(vectorize(sentence)))
    return keras.Model(sentence, layers.Dense(2, activation="softmax", name="mood")(pooled))


def _with_own_layers(keras: Any, np: Any, folder: Path, version: str) -> None:
    """A model of classes that a module of the user defines, registered and not, and its answer to ones."""
    import external_layers as own  # type: ignore[import-not-found]

    layers = keras.layers
    x = given = keras.Input((4,), name="x")
    for layer in (own.Scale(3.0), own.Shift(0.5), layers.Dense(3, activation=own.bent, name="top")):
        x = layer(x)
    model = keras.Model(given, x)
    model.layers[1].set_weights([np.arange(4, dtype="float32")])
    for suffix in (".keras", ".h5"):
        model.save(str(folder / f"own{version}{suffix}"))
    model.export(str(folder / f"own{version}"))
    np.save(folder / f"own{version}.npy", np.asarray(model(np.ones((1, 4), "float32"))))


def _with_hub_layer(tf: Any, keras: Any, np: Any, folder: Path) -> None:
    """A classifier of pictures behind a `hub.KerasLayer` that was fine-tuned, and its answer to ones."""
    import tensorflow_hub as hub

    module = tf.train.Checkpoint()
    module.kernel = tf.Variable(np.random.default_rng(1).normal(size=(3, 6)).astype("float32"))
    module.__call__ = tf.function(lambda x, training=False: tf.reduce_mean(x, (1, 2)) @ module.kernel)
    for training in (True, False):
        module.__call__.get_concrete_function(tf.TensorSpec((None, 24, 24, 3), tf.float32), training=training)
    module.variables = module.trainable_variables = [module.kernel]
    module.regularization_losses = []
    tf.saved_model.save(module, str(folder / "hub_module"))
    layer = hub.KerasLayer(str(folder / "hub_module"), trainable=True)
    model = keras.Sequential([keras.Input((24, 24, 3)), layer, keras.layers.Dense(3, activation="softmax", name="top")])
    layer.resolved_object.kernel.assign(module.kernel * 2)
    for suffix in (".keras", ".h5"):
        model.save(str(folder / f"hub2{suffix}"))
    model.export(str(folder / "hub2"))
    np.save(folder / "hub2.npy", np.asarray(model(np.ones((1, 24, 24, 3), "float32"))))


def _saved_models(tf: Any, folder: Path) -> None:
    """SavedModels that no Keras made: of TensorFlow 1, with two signatures, with a fixed batch, of Python code."""

    class Two(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.weight = tf.Variable(tf.random.stateless_normal((3, 4), (1, 2)))

        @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="the.x")])  # type: ignore[untyped-decorator]
        def scores(self, x: Any) -> Any:
            return {"class/scores": x @ self.weight, "sum": tf.reduce_sum(x, 1)}

        @tf.function(input_signature=[tf.TensorSpec((2, 3), tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def pair(self, x: Any) -> Any:
            return {"scores": x @ self.weight}

    two = Two()
    tf.saved_model.save(two, str(folder / "two"), signatures={"first": two.scores, "pair": two.pair})

    class Snake(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32)])  # type: ignore[untyped-decorator]
        def run(self, x: Any) -> Any:
            return {"y": tf.numpy_function(lambda v: v + 1, [x], tf.float32)}

    snake = Snake()
    tf.saved_model.save(snake, str(folder / "python"), signatures=snake.run)

    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 8, 8, 3), "pixels")
        kernel = v1.get_variable("kernel", (3, 3, 3, 2), use_resource=False)
        y = v1.nn.softmax(v1.reduce_mean(v1.nn.relu(v1.nn.conv2d(x, kernel, padding="SAME")), (1, 2)))
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(folder / "v1"), {"images": x}, {"probabilities": y})


def main(version: str, folder: Path) -> None:
    """Write the files of one version of Keras."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1" if version == "2" else "0"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import numpy as np
    import tensorflow as tf

    if version == "2":
        import tf_keras as keras
    else:
        import keras
    keras.utils.set_random_seed(7)
    random = np.random.default_rng(5)
    pictures = {"photo": random.uniform(0, 255, (3, 24, 24, 3)).astype("float32")}
    table = {"numbers": random.normal(3, 2, (3, 5)).astype("float32"), "code": np.array([[0], [3], [6]], "int32")}
    for name, model, inputs, outputs in (
        ("nested", nested(keras), pictures, ("age", "kind")),
        ("plain", plain(keras), {}, ()),
        ("tabular", tabular(keras, np), table, ("logits",)),
    ):
        for suffix in (".keras", ".h5"):
            model.save(str(folder / f"{name}{version}{suffix}"))
        if inputs:
            values = list(inputs.values())
            output = model(values if len(values) > 1 else values[0], training=False)
            answers = dict(zip(outputs, output if len(outputs) > 1 else [output], strict=True))
            arrays = {f"in/{key}": value for key, value in inputs.items()}
            np.savez(
                folder / f"{name}{version}.npz", **arrays, **{f"out/{k}": np.asarray(v) for k, v in answers.items()}
            )
    for suffix in (".keras", ".h5"):
        with_lambda(keras).save(str(folder / f"lambda{version}{suffix}"))
    texts(keras).save(str(folder / f"texts{version}.keras"))
    _with_own_layers(keras, np, folder, version)
    if version == "2":
        plain(keras).save_weights(str(folder / "weights.h5"))
        _with_hub_layer(tf, keras, np, folder)
        _saved_models(tf, folder)
    else:
        nested(keras).export(str(folder / "exported"), verbose=False)
    model, sound = waves(keras), random.uniform(-1, 1, (2, 500, 1)).astype("float32")
    model.save(str(folder / f"waves{version}.keras"))
    features = keras.Model(model.input, model.get_layer("maxima").output)
    np.savez(
        folder / f"waves{version}.npz",
        x=sound[..., 0],
        y=np.asarray(features(sound if version == "3" else sound[..., 0])),
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
