"""A small classifier and files of it that are made wrong on purpose, each in one way. Run in a process of its own.

``python defective_models.py DATA OUT NAME…``: DATA is a prepared data set, OUT receives the model folders and the
``.tflite`` files that are named. `hard` is `plain` with one channel a thousand times as large, and what reads it a
thousandth: the same function, and a per-tensor outlier that int8 cannot hold.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np

from edgeproof.core.dataset import load_prepared
from edgeproof.core.model import InputContract, Model, save_model
from edgeproof.frameworks.freeze import freeze, graph_sha256

LARGER = 1000.0


def network(keras: Any, size: int, classes: int, second: str = "relu", middle: Any = None) -> Any:
    layers = keras.layers
    image = keras.Input((size, size, 3), name="image")
    x = layers.Rescaling(1 / 127.5, -1.0)(image)
    x = layers.Conv2D(16, 3, 2, "same", activation="relu", name="first")(x)
    x = layers.Conv2D(32, 3, 2, "same", activation=second, name="second")(x)
    x = layers.Conv2D(32, 3, 2, "same", activation="relu", name="third")(x)
    x = layers.Flatten()(x)
    if middle is not None:
        x = middle(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax", name="head")(x))


def trained(keras: Any, images: Any, labels: Any, classes: int) -> Any:
    keras.utils.set_random_seed(1)
    model = network(keras, images.shape[1], classes)
    model.compile(keras.optimizers.legacy.Adam(2e-3), "sparse_categorical_crossentropy")
    model.fit(images.astype(np.float32), labels, batch_size=64, epochs=5, verbose=0)
    return model


def scaled(keras: Any, model: Any, layer: str, after: str | None, factor: float, **other: Any) -> Any:
    """Return a copy with one channel of `layer` times `factor`, and what `after` makes of it divided by that."""
    copy = network(keras, model.input_shape[1], model.output_shape[-1], **other)
    copy.set_weights(model.get_weights())
    kernel, bias = (v.numpy() for v in copy.get_layer(layer).weights)
    channel = int(np.abs(kernel).sum(axis=(0, 1, 2)).argsort()[len(bias) // 2])
    kernel[..., channel] *= factor
    bias[channel] *= factor
    copy.get_layer(layer).set_weights([kernel, bias])
    if after is not None:
        kernel, bias = (v.numpy() for v in copy.get_layer(after).weights)
        kernel[:, :, channel] /= factor
        copy.get_layer(after).set_weights([kernel, bias])
    return copy


class Files:
    """Converts models; `samples` are what calibration sees, (N, size, size, 3) float32."""

    def __init__(self, tf: Any, out: Path) -> None:
        self.tf, self.out = tf, out

    def converter(self, saved: Path, samples: Any = None) -> Any:
        new = self.tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=["serving_default"])
        if samples is not None:
            new.optimizations = [self.tf.lite.Optimize.DEFAULT]
            new.target_spec.supported_ops = [self.tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            new.representative_dataset = lambda: ({"image": one[None]} for one in samples)
        return new

    def float32(self, name: str, saved: Path) -> None:
        (self.out / f"{name}-float32.tflite").write_bytes(self.converter(saved).convert())

    def int8(self, name: str, saved: Path, samples: Any, *, per_tensor: bool = False) -> None:
        converter = self.converter(saved, samples)
        converter._experimental_disable_per_channel = per_tensor
        (self.out / f"{name}-int8.tflite").write_bytes(converter.convert())

    def weights(self, name: str, saved: Path, kind: Any = None) -> None:
        converter = self.converter(saved)
        converter.optimizations = [self.tf.lite.Optimize.DEFAULT]
        if kind is not None:
            converter.target_spec.supported_types = [kind]
        (self.out / f"{name}.tflite").write_bytes(converter.convert())

    def with_range(self, name: str, saved: Path, samples: Any, layer: str, factor: float) -> None:
        """Quantize with the calibrated range of one layer's result changed."""
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema
        from tensorflow.lite.python.convert import mlir_quantize

        converter = self.converter(saved, samples)
        converter._experimental_calibrate_only = True
        model = schema.ModelT.InitFromPackedBuf(converter.convert(), 0)
        graph = model.subgraphs[0]
        results = {int(op.outputs[0]) for op in graph.operators}
        (place,) = (i for i in results if f"/{layer}/Relu" in graph.tensors[i].name.decode())
        graph.tensors[place].quantization.max = np.asarray(graph.tensors[place].quantization.max) * factor
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        (self.out / f"{name}-int8.tflite").write_bytes(mlir_quantize(bytes(builder.Output())))


def main(data_folder: Path, out: Path, wanted: set[str]) -> None:
    import tensorflow as tf
    import tf_keras as keras

    data = load_prepared(data_folder)
    images, labels = data.rows("train")[:], np.load(data.targets("train"))
    contract = InputContract("image", (1, data.height, data.width, 3))
    calibration = images[:100].astype(np.float32)
    files = Files(tf, out)

    def frozen(name: str, model: Any) -> Path:
        saved: Path = freeze(model, data.labels, contract, out / name / "saved_model")
        sha256 = graph_sha256(saved, data.labels)
        save_model(Model(name, "test", saved, sha256, data.labels, contract, 0.0), out / name)
        if name in wanted:
            files.float32(name, saved)
        return saved

    plain = trained(keras, images, labels, len(data.labels))
    saved = frozen("plain", plain)
    if "plain" in wanted:
        files.int8("plain", saved, calibration)
        files.weights("plain-dynamic", saved)
        files.weights("plain-float16", saved, tf.float16)
    if "dark" in wanted:
        darkest = images[images.reshape(len(images), -1).mean(axis=1).argsort()[:1]]
        files.int8("dark", saved, darkest.astype(np.float32) * 0.5)
    if "unit" in wanted:
        files.int8("unit", saved, calibration / 255.0)
    if "saturated" in wanted:
        files.with_range("saturated", saved, calibration, "second", 0.15)
    if "unused" in wanted:
        files.with_range("unused", saved, calibration, "second", 250.0)
    if "hard" in wanted:
        hard = frozen("hard", scaled(keras, plain, "first", "second", LARGER))
        files.int8("hard", hard, calibration)
    if "weights" in wanted:
        weights = frozen("weights", scaled(keras, plain, "second", None, 200.0, second="relu6"))
        files.int8("weights", weights, calibration, per_tensor=True)
    if "shares" in wanted:
        # 512 probabilities of about 1/512: int8 stores a softmax in steps of 1/256.
        soft = network(keras, data.height, len(data.labels), middle=keras.layers.Softmax(name="shares"))
        soft.set_weights([w * 0.3 for w in plain.get_weights()])
        files.int8("shares", frozen("shares", soft), calibration)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), set(sys.argv[3:]))
