"""Makes the files that `test_freeze` takes in, with plain Keras 2 or 3: ``python freeze_files.py 2|3 FOLDER``.

Each file has its answers beside it: what plain Keras said to inputs drawn here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def swish(keras: Any) -> Any:
    """Convolutions with swish, as a name and as a layer."""
    layers = keras.layers
    image = keras.Input((12, 12, 3), name="x")
    x = layers.Conv2D(4, 3, activation="swish")(image)
    x = layers.Activation("silu" if keras.__version__[0] == "3" else "swish")(layers.Conv2D(4, 3)(x))
    return keras.Model(image, layers.Dense(3, activation="softmax", name="y")(layers.GlobalAveragePooling2D()(x)))


def recurrent(keras: Any) -> Any:
    """All kinds of recurrent layers, one on the other."""
    layers = keras.layers
    steps = keras.Input((7, 4), name="x")
    x = layers.LSTM(6, return_sequences=True)(steps)
    x = layers.SimpleRNN(5, return_sequences=True)(x)
    x = layers.GRU(5, reset_after=False, return_sequences=True)(x)
    x = layers.Bidirectional(layers.GRU(4))(x)
    return keras.Model(steps, layers.Dense(3, name="y")(x))


def masked(keras: Any) -> Any:
    """Token ids of which 0 is padding."""
    layers = keras.layers
    ids = keras.Input((8,), dtype="int32", name="x")
    x = layers.LSTM(6)(layers.Embedding(20, 5, mask_zero=True)(ids))
    return keras.Model(ids, layers.Dense(3, name="y")(x))


def streaming(keras: Any) -> Any:
    """A GRU whose state is an input and an output."""
    layers = keras.layers
    steps, state = keras.Input((5, 4), name="x"), keras.Input((6,), name="state")
    sequence, following = layers.GRU(6, return_sequences=True, return_state=True, name="gru")(
        steps, initial_state=state
    )
    return keras.Model([steps, state], [layers.Dense(2, name="y")(sequence), layers.Identity(name="next")(following)])


def augmented(keras: Any) -> Any:
    """The tutorial's pattern: layers that change pictures at random while training, here in a model of their own."""
    layers = keras.layers
    augmentation = keras.Sequential(
        [layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomZoom(0.1)], name="augmentation"
    )
    image = keras.Input((12, 12, 3), name="x")
    x = layers.RandomContrast(0.2)(layers.RandomTranslation(0.1, 0.1)(augmentation(image)))
    x = layers.Rescaling(1 / 255)(layers.RandomBrightness(0.2)(x))
    x = layers.GaussianNoise(0.1)(layers.Conv2D(4, 3, activation="relu")(x))
    x = layers.SpatialDropout2D(0.2)(layers.GaussianDropout(0.2)(x))
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(3, name="y")(x))


def gelu(keras: Any) -> Any:
    """A piece of a vision transformer: dense layers with an exact GELU."""
    layers = keras.layers
    image = keras.Input((16, 16, 3), name="x")
    x = layers.Reshape((16, 32))(layers.Conv2D(32, 4, strides=4)(image))
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 16)(y, y)])
    y = layers.Dense(64, activation="gelu")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(32)(y)])
    return keras.Model(image, layers.Dense(3, name="y")(layers.GlobalAveragePooling1D()(x)))


def halves(keras: Any, precision: str) -> Any:
    """A model of mixed precision: float32 variables, arithmetic of 16 bits."""
    keras.mixed_precision.set_global_policy(precision)
    layers = keras.layers
    image = keras.Input((12, 12, 3), name="x")
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, activation="relu")(image))
    inner = keras.Sequential([layers.SeparableConv2D(8, 3), layers.ReLU()], name="inner")
    x = layers.GlobalAveragePooling2D()(inner(x))
    model = keras.Model(image, layers.Dense(3, dtype="float32", name="y")(x))
    keras.mixed_precision.set_global_policy("float32")
    return model


def remembering(keras: Any) -> Any:
    """A stateful LSTM."""
    layers = keras.layers
    steps = keras.Input(batch_shape=(1, 4, 3), name="x")
    return keras.Model(steps, layers.Dense(2, name="y")(layers.LSTM(5, stateful=True, name="memory")(steps)))


# What the tests ask for, by version of Keras: a name without an ending is a SavedModel. Writing them takes the time.
FILES = {
    "2": [
        "swish2.keras", "swish2.h5", "recurrent2.keras", "masked2.keras", "masked2",
        "streaming2.keras", "augmented2.h5", "gelu2.keras", "float162.keras", "float162.h5", "bfloat162",
        "remembering2.keras",
    ],
    "3": [
        "swish3.keras", "recurrent3.keras", "recurrent3", "streaming3", "augmented3.keras", "augmented3",
        "gelu3", "float163", "bfloat163.h5", "remembering3.keras",
    ],
}  # fmt: skip
MODELS: dict[str, Callable[[Any], Any]] = {
    "swish": swish,
    "recurrent": recurrent,
    "masked": masked,
    "streaming": streaming,
    "augmented": augmented,
    "gelu": gelu,
    "float16": lambda keras: halves(keras, "mixed_float16"),
    "bfloat16": lambda keras: halves(keras, "mixed_bfloat16"),
    "remembering": remembering,
}


def inputs_of(np: Any, name: str, model: Any) -> list[Any]:
    """Three samples for each input of a model."""
    random = np.random.default_rng(11)
    if name == "masked":
        return [np.array([[3, 5, 9, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7, 8], [4, 0, 0, 0, 0, 0, 0, 0]], "int32")]
    span = 255 if name == "augmented" else 1
    return [random.uniform(0, span, (3, *one.shape[1:])).astype("float32") for one in model.inputs]


def main(version: str, folder: Path) -> None:
    """Write the files of one version of Keras."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1" if version == "2" else "0"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import numpy as np

    if version == "2":
        import tf_keras as keras
    else:
        import keras
    for name, build in MODELS.items():
        files = [file for file in FILES[version] if file.partition(".")[0] == f"{name}{version}"]
        if not files:
            continue
        keras.utils.set_random_seed(7)
        model = build(keras)
        for weights in model.weights:  # no bias or statistic stays at its start, where it would hide a fault
            value = np.asarray(weights)
            if value.dtype == np.float32 and "seed" not in weights.name:
                weights.assign(value + np.random.default_rng(value.size).uniform(0, 0.2, value.shape))
        for file in files:
            if version == "2" or "." in file:
                model.save(str(folder / file))
            else:
                model.export(str(folder / file), verbose=False)
        given = inputs_of(np, name, model)
        # The measure of a mixed model is the one of its weights that computes in float32.
        exact = plain_precision(keras, model) if name in ("float16", "bfloat16") else model
        arrays = {f"in/{one.name.split(':')[0]}": value for one, value in zip(model.inputs, given, strict=True)}
        rows = []
        for at in range(3):  # one by one, as a device does: a stateful model remembers
            outputs = exact(
                [value[at : at + 1] for value in given] if len(given) > 1 else given[0][at : at + 1], training=False
            )
            rows.append([np.asarray(one) for one in (outputs if isinstance(outputs, list | tuple) else [outputs])])
        names = list(model.output_names)
        answers = {f"out/{key}": np.concatenate([row[at] for row in rows]) for at, key in enumerate(names)}
        np.savez(folder / f"{name}{version}.npz", **arrays, **answers)


def plain_precision(keras: Any, model: Any) -> Any:
    """The same network in float32."""
    other = halves(keras, "float32")
    other.set_weights(model.get_weights())
    return other


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
