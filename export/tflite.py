"""TFLite: one frozen SavedModel and a scheme in, the file's bytes out. Always from the SavedModel, never from Keras.

`TFLiteConverter.from_keras_model` spends nine tenths of its time saving the Keras model to a SavedModel, once per
file; the frozen one is saved once, and its signature keeps the tensors' names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..core.model import Model
from ..core.recipe import Export
from ..core.variant import Scheme
from .calibrator import calibrate_once


def convert(model: Model, scheme: Scheme, options: Export, calibration: np.ndarray[Any, Any] | None) -> bytes:
    """Return the ``.tflite`` file of `model` in `scheme`.

    `calibration`: what `export.export` reads from its ``.npy``, needed by calibrated schemes. Raises whatever the
    converter raises.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(model.saved_model), signature_keys=["serving_default"])
    _SETTINGS[scheme.name.split("-")[0]](tf, converter)
    if scheme.name == "dynamic" and not options.dense_per_channel:
        # FULLY_CONNECTED with per-channel weights is version 12, which runtimes before 2.17 refuse.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if scheme.calibrated and calibration is not None:
        converter.representative_dataset = _representative(model, calibration)
    if scheme.io != "float32":
        converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(scheme.io)
    if not scheme.calibrated or calibration is None:
        return bytes(converter.convert())
    # With their types: some fields of an array have the bytes of all of them.
    with calibrate_once(hashlib.sha256(f"{calibration.dtype.descr}".encode() + calibration.tobytes()).hexdigest()):
        return bytes(converter.convert())


def _float32(_tf: Any, _converter: Any) -> None:
    """The converter's own default."""


def _float16(tf: Any, converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _dynamic(tf: Any, converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _int8(tf: Any, converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # Integer kernels alone: an operator without one is an error here, not a float island found on the device.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def _int16x8(tf: Any, converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]


_SETTINGS: dict[str, Callable[[Any, Any], None]] = {
    "float32": _float32,
    "float16": _float16,
    "dynamic": _dynamic,
    "int8": _int8,
    "int16x8": _int16x8,
}


def _representative(model: Model, samples: np.ndarray[Any, Any]) -> Callable[[], Iterator[dict[str, Any]]]:
    """Return the converter's source of samples: inputs by name, batch 1, as the app will feed them."""
    contract = model.input

    def feed(batch: np.ndarray[Any, Any]) -> dict[str, Any]:
        if batch.dtype.names:
            names = {"ids": contract.name, "lens": contract.lengths} if contract.lengths else {}
            return {names.get(field, field): np.ascontiguousarray(batch[field]) for field in batch.dtype.names}
        if contract.kind == "image" and (contract.low, contract.high) != (0.0, 255.0):
            batch = batch.astype(np.float32) * ((contract.high - contract.low) / 255.0) + contract.low
        return {contract.name: batch.astype(contract.dtype)}

    return lambda: (feed(samples[index : index + 1]) for index in range(len(samples)))
