"""Builds users' files: ``python -m benchmarks.coverage.user_files BUILDER KERAS FOLDER SUFFIX``.

It is a program of its own, because a process can load only one version of Keras. The model is written to
``FOLDER/model`` with the suffix (without one it is a SavedModel). Some builders are those of the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..sides import ROOT


def build(builder: str, keras: str, folder: Path, suffix: str) -> Path:
    """Build a file in a process of its own and return its path. Raises RuntimeError with the end of its output."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"model{suffix}"
    if path.exists():
        return path
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.coverage.user_files", builder, keras, str(folder), suffix],
        cwd=ROOT,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1" if keras == "2" else "0", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{builder} of Keras {keras} could not be built: {done.stderr[-500:]}")
    return path


# --- Keras models: those of the tests, and more -----------------------------------------------------------------------


def grouped(keras: Any) -> Any:
    """A grouped convolution."""
    layers = keras.layers
    image = keras.Input((16, 16, 8), name="x")
    x = layers.Conv2D(16, 3, groups=4, activation="relu")(image)
    return keras.Model(image, layers.Dense(3, name="y")(layers.GlobalAveragePooling2D()(x)))


def integer_lookup(keras: Any) -> Any:
    """Integers that are looked up in a table and then embedded."""
    layers = keras.layers
    codes = keras.Input((4,), dtype="int64", name="x")
    x = layers.Embedding(8, 5)(layers.IntegerLookup(vocabulary=[2, 3, 5, 7, 11, 13])(codes))
    return keras.Model(codes, layers.Dense(3, name="y")(layers.Flatten()(x)))


def own_layers(keras: Any) -> Any:
    """Layers and an activation that a user's module defines; one layer is registered, one is not."""
    from tests.support import external_layers as own

    x = source = keras.Input((4,), name="x")
    for layer in (own.Scale(3.0), own.Shift(0.5), keras.layers.Dense(3, activation=own.bent, name="y")):
        x = layer(x)
    return keras.Model(source, x)


def beyond_float16(keras: Any) -> Any:
    """A weight beyond the range of float16."""
    layers = keras.layers
    values = keras.Input((6,), name="x")
    scaled = layers.Dense(4, use_bias=False, name="scale")
    x = layers.Rescaling(1e-5)(scaled(values))
    model = keras.Model(values, layers.Dense(3, name="y")(x))
    scaled.set_weights([weights * 2e5 for weights in scaled.get_weights()])
    return model


def sensors(keras: Any) -> Any:
    """A few numbers in, one out."""
    layers = keras.layers
    values = keras.Input((8,), name="x")
    return keras.Model(values, layers.Dense(1, name="y")(layers.Dense(16, activation="relu")(values)))


def windows(keras: Any) -> Any:
    """Windows of a signal: an LSTM and classes."""
    layers = keras.layers
    steps = keras.Input(batch_shape=(1, 6, 3), name="x")  # the converter makes no loop with an open batch size
    return keras.Model(steps, layers.Dense(4, activation="softmax", name="y")(layers.LSTM(8)(steps)))


def waveform(keras: Any) -> Any:
    """A second of sound → spectrogram → pictures of a fixed size → convolutions, as in the speech tutorial."""
    import tensorflow as tf

    layers = keras.layers

    class Spectrogram(layers.Layer):  # type: ignore[misc,name-defined]
        def call(self, waves: Any) -> Any:
            return tf.abs(tf.signal.stft(waves, frame_length=255, frame_step=128))[..., None]

    waves = keras.Input((8000,), name="x")
    x = layers.Resizing(32, 32)(Spectrogram()(waves))
    x = layers.Flatten()(layers.MaxPooling2D()(layers.Conv2D(4, 3, activation="relu")(x)))
    return keras.Model(waves, layers.Dense(3, name="y")(x))


_OWN: dict[str, Callable[[Any], Any]] = {
    "grouped": grouped,
    "integer_lookup": integer_lookup,
    "waveform": waveform,
    "own_layers": own_layers,
    "beyond_float16": beyond_float16,
    "sensors": sensors,
    "windows": windows,
}


def _keras_builders() -> dict[str, Callable[[Any], Any]]:
    from tests.support import external_files, freeze_files

    shared = {name: getattr(external_files, name) for name in ("nested", "plain", "texts")}
    return {**shared, **freeze_files.MODELS, **_OWN}


# --- SavedModels without Keras ----------------------------------------------------------------------------------------


def detector(tf: Any) -> Any:
    """Boxes and scores from a picture, through non_max_suppression_padded, which is a loop."""
    kernel = tf.Variable(tf.random.stateless_normal((4, 4, 3, 5), (1, 2)) * 0.1)

    def call(x: Any) -> Any:
        cells = tf.reshape(tf.nn.conv2d(x, kernel, 4, "VALID"), [16, 5])
        corner = tf.sigmoid(cells[:, :2])
        boxes = tf.concat([corner, corner + 0.2 + tf.sigmoid(cells[:, 2:4])], axis=1)
        scores = tf.sigmoid(cells[:, 4])
        chosen, count = tf.image.non_max_suppression_padded(
            boxes, scores, 6, iou_threshold=0.5, pad_to_max_output_size=True
        )
        return {"y": tf.gather(scores, chosen), "boxes": tf.gather(boxes, chosen), "count": count}

    return call, [tf.TensorSpec([1, 16, 16, 3], tf.float32, name="x")], [kernel]


def loop(tf: Any) -> Any:
    """tf.while_loop and tf.cond, each with weights inside."""
    kernel = tf.Variable(tf.random.stateless_normal((6, 6), (3, 4)) * 0.4)

    def call(x: Any) -> Any:
        _, y = tf.while_loop(
            lambda step, _: step < 4, lambda step, y: (step + 1, tf.tanh(tf.matmul(y, kernel))), (tf.constant(0), x)
        )
        return {"y": tf.cond(tf.reduce_sum(x) > 0, lambda: tf.matmul(y, kernel), lambda: y * 2.0)}

    return call, [tf.TensorSpec([1, 6], tf.float32, name="x")], [kernel]


def mfcc(tf: Any) -> Any:
    """A waveform's mel-frequency cepstral coefficients, and a dense layer."""
    kernel = tf.Variable(tf.random.stateless_normal((13, 3), (5, 6)) * 0.1)

    def call(x: Any) -> Any:
        spectrum = tf.abs(tf.signal.stft(x, 256, 128))
        mel = tf.matmul(spectrum, tf.signal.linear_to_mel_weight_matrix(40, 129, 8000, 80.0, 3800.0))
        coefficients = tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(mel + 1e-6))[..., :13]
        return {"y": tf.matmul(tf.reduce_mean(coefficients, axis=1), kernel)}

    return call, [tf.TensorSpec([1, 4000], tf.float32, name="x")], [kernel]


_MODULES: dict[str, Callable[[Any], Any]] = {"detector": detector, "loop": loop, "mfcc": mfcc}


def module_with_state(tf: Any, folder: Path) -> None:
    """A running mean that each call updates."""

    class Running(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.mean = tf.Variable(tf.zeros((1, 4)), trainable=False, name="mean")

        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def call(self, x: Any) -> Any:
            self.mean.assign(0.9 * self.mean + 0.1 * x)
            return {"y": x - self.mean}

    module = Running()
    tf.saved_model.save(module, str(folder), signatures=module.call)


def without_signature(tf: Any, folder: Path) -> None:
    """Two functions and no signature."""

    class Two(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(tf.random.stateless_normal((4, 3), (7, 8)))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="files")])  # type: ignore[untyped-decorator]
        def from_files(self, files: Any) -> Any:
            return tf.strings.length(files)

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def from_values(self, x: Any) -> Any:
            return {"y": tf.matmul(x, self.kernel)}

    tf.saved_model.save(Two(), str(folder))


def several_graphs(tf: Any, folder: Path) -> None:
    """Graphs for training, evaluation and serving."""
    from tests.train.test_external_saved_models import several

    several(folder, [(["train"], 1.0), (["eval"], 2.0), (["serve"], 5.0)])


def hub_layer(tf: Any, path: Path) -> None:
    """A Keras 2 file with a `hub.KerasLayer`, as in the transfer-learning tutorials."""
    import tensorflow_hub as hub
    import tf_keras as keras

    layers = keras.layers
    module = path.parent / "module"
    keras.Sequential([keras.Input((24, 24, 3)), layers.Conv2D(6, 3), layers.ReLU(), layers.GlobalMaxPooling2D()]).save(
        module
    )
    layer = hub.KerasLayer(str(module), trainable=True)
    keras.Sequential([keras.Input((24, 24, 3)), layer, layers.Dense(3, name="y")]).save(str(path))


def waveform_of_any_length(tf: Any, folder: Path) -> None:
    """A module like YAMNet: a waveform of any length without a batch; scores, embeddings and spectrogram per frame."""

    class Sounds(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(tf.random.stateless_normal((3, 3, 1, 8), (1, 2)) * 0.3)
            self.top = tf.Variable(tf.random.stateless_normal((8, 5), (3, 4)))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="waveform")])  # type: ignore[untyped-decorator]
        def __call__(self, waveform: Any) -> Any:
            spectrum = tf.abs(tf.signal.stft(waveform, 400, 160, 512))
            mel = tf.matmul(spectrum, tf.signal.linear_to_mel_weight_matrix(64, 257, 16000, 125.0, 7500.0))
            logarithm = tf.math.log(mel + 0.01)
            patches = tf.signal.frame(logarithm, 96, 48, axis=0)[..., None]
            features = tf.nn.relu(tf.nn.conv2d(patches, self.kernel, 2, "SAME"))
            embeddings = tf.reduce_mean(features, axis=(1, 2))
            scores = tf.sigmoid(tf.matmul(embeddings, self.top))
            return {"output_0": scores, "output_1": embeddings, "output_2": logarithm}

    module = Sounds()
    tf.saved_model.save(module, str(folder), signatures=module.__call__.get_concrete_function())


_WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "module_with_state": module_with_state,
    "without_signature": without_signature,
    "several_graphs": several_graphs,
    "hub_layer": hub_layer,
    "waveform_of_any_length": waveform_of_any_length,
}


def main(builder: str, version: str, folder: Path, suffix: str) -> None:
    """Write one file."""
    import tensorflow as tf

    path = folder / f"model{suffix}"
    if builder in _WRITERS:
        _WRITERS[builder](tf, path)
        return
    if builder in _MODULES:
        call, signature, variables = _MODULES[builder](tf)
        module = tf.Module()
        module.weights = variables
        module.call = tf.function(call, input_signature=signature)
        tf.saved_model.save(module, str(path), signatures=module.call)
        return
    if version == "2":
        import tf_keras as keras
    else:
        import keras
    keras.utils.set_random_seed(7)
    model = _keras_builders()[builder](keras)
    if suffix == ".tflite":  # with the Keras file beside it, as the reference
        model.save(str(path.with_suffix(".keras")))
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    elif suffix:
        model.save(str(path))
    else:
        model.export(str(path), **({"verbose": False} if version == "3" else {}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])
