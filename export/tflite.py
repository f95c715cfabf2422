"""TFLite by TensorFlow's converter: one frozen SavedModel and a scheme in, the file's bytes out.

Always from the SavedModel, never from Keras: `TFLiteConverter.from_keras_model` spends nine tenths of its time saving
the Keras model to a SavedModel, once per file; the frozen one is saved once, and its signature keeps tensors' names.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.environment import release_memory, usable_cores
from ..core.model import SIGNATURE, Model
from ..core.recipe import Export
from ..core.remedies import CannotMakeError, Remedy
from ..core.variant import Scheme
from ..frameworks.meta_graph import has_loops
from ..tasks import trained_task
from ..tflite.converter import convert as run_converter
from ..tflite.converter import saved_model_converter
from ..tflite.objects import read, set_versions
from ..tflite.storage import counted, storage
from ..tflite.writer import write
from .agreement import Difference
from .calibrator import Calibration, calibrate_once
from .dense_as_conv import dense_as_conv
from .in_process import in_parallel, litert
from .quantizer import TRIED
from .ranges import MIN_MAX
from .samples import Samples, evenly, feeds, identity


def convert(model: Model, scheme: Scheme, options: Export, calibration: Samples | None) -> tuple[bytes, dict[str, Any]]:
    """Return the ``.tflite`` file of `model` in `scheme`, and the calibration record (empty without samples).

    `calibration`: what `export.export` reads from its ``.npy``, needed by calibrated schemes, and by models that were
    trained for quantization in parts only. Raises whatever the converter raises, and StageError when its file is not
    in the scheme.
    """
    import tensorflow as tf

    if not scheme.training and scheme.weights == "float32":
        return float_file(model.saved_model, model.sha256), {}
    converter = _converter(model.saved_model)
    _set_up(tf, converter, scheme, dense_per_channel=options.dense_per_channel)
    integer = scheme.arithmetic.kernels == "integer"
    if scheme.training == "qat" and calibration is None:
        # The ranges are in the graph. The converter does not see that when asked for integers alone, and wants samples.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if integer and calibration is not None:
        converter.representative_dataset = feeds(model.input, calibration)
    # TensorFlow 2.21's calibrator cannot run loops.
    if calibration is not None and converter.representative_dataset is not None and has_loops(model.saved_model):
        raise CannotMakeError(
            "the converter's calibration crashes on loops, which the model's recurrent layers are",
            Remedy(
                ("tflite:dynamic", "tflite:float16"),
                also=("build the recurrent layers with unroll=True and save the model again",),
            ),
        )
    with calibrate_once(_shared(model, calibration)) if integer and calibration is not None else nullcontext():
        content = run_converter(converter)
    if scheme.dense_as_conv:
        return dense_as_conv(content), {}
    if scheme.activations == "int16":
        # The converter writes the versions of the int8 operators; int16 needs later ones.
        graph = read(content)
        set_versions(graph)
        content = write(graph)
    if integer:
        _check(content, scheme)
    return content, _calibrated(model, content, calibration, scheme) if calibration is not None else {}


def _shared(model: Model, calibration: Samples) -> Calibration:
    return Calibration(identity(calibration), len(calibration), lambda part: feeds(model.input, calibration[part]))


def _calibrated(model: Model, content: bytes, calibration: Samples, scheme: Scheme) -> dict[str, Any]:
    """Return the calibration record as `quantizer.quantize` does; there is one method, so none are compared."""
    tried = evenly(len(calibration), TRIED[scheme.activation_bits])
    difference = Difference(model.answer, trained_task(model.labels, model.task))
    source, samples = float_file(model.saved_model, model.sha256), feeds(model.input, calibration[tried])
    # LiteRT runs these by reference kernels, on one core each.
    runs = [litert(content) for _ in range(usable_cores() if scheme.activations == "int16" else 1)]
    reference = litert(source)
    for sample, answers in in_parallel(runs, samples()):
        difference.add(reference(sample), answers)
    return {"method": MIN_MAX, "float_agreement": difference.record()}


@lru_cache(maxsize=1)
def float_file(saved_model: Path, sha256: str) -> bytes:
    """Return the float32 file of a frozen SavedModel, whose hash is `sha256`. Other tools start from it."""
    del sha256  # part of the key: a folder's content may change
    content = run_converter(_converter(saved_model))
    release_memory()
    return content


def _converter(saved_model: Path) -> Any:
    converter = saved_model_converter(saved_model, SIGNATURE)
    converter.experimental_enable_resource_variables = True  # where a model keeps a state
    return converter


def _set_up(tf: Any, converter: Any, scheme: Scheme, *, dense_per_channel: bool) -> None:
    """Set the converter to what a scheme's row says."""
    if scheme.weights == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    kernels, sets = scheme.arithmetic.kernels, tf.lite.OpsSet
    if kernels == "integer":
        # Integer kernels alone. The converter does not guarantee it: see `_check`.
        wide = sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [wide if scheme.activations == "int16" else sets.TFLITE_BUILTINS_INT8]
        if scheme.float_allowed:
            converter.target_spec.supported_ops.append(sets.TFLITE_BUILTINS)
        converter._experimental_disable_per_channel = scheme.scales == "per-tensor"
    if kernels == "dynamic" and (scheme.scales == "dense-per-tensor" or not dense_per_channel):
        # FULLY_CONNECTED with per-channel weights is version 12, which runtimes before 2.17 refuse.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if scheme.io != "float32":
        converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(scheme.io)


def _check(content: bytes, scheme: Scheme) -> None:
    """Raise CannotMakeError when an integer file is not in its scheme: the converter does not report it.

    Even with integer kernels alone it leaves operators in float that have none, which is wrong unless the scheme allows
    it. Arithmetic on inputs that are not quantized, such as the number of tokens, does not count as a fall-back.
    """
    stored = storage(read(content))
    if scheme.scales == "per-tensor" and set(stored["scales"]) - {"per-tensor"}:
        raise CannotMakeError(
            f"the converter left {stored['scales'].get('per-channel', 0)} layers with a scale for each channel",
            Remedy(("tflite:int8",), model="whose layers have int8 kernels with one scale"),
        )
    if scheme.training == "qat" and stored["float_operators"]:
        raise CannotMakeError(
            f"quantization-aware training left operators in float: {counted(stored['float_operators'])}",
            Remedy(("tflite:int8-fallback", "tflite:dynamic")),
        )
    if not scheme.float_allowed and stored["fallen_back"]:
        raise CannotMakeError(
            f"there is no integer kernel for {counted(stored['fallen_back'])}",
            Remedy(("tflite:int8-fallback", "tflite:dynamic"), model="without them"),
        )
