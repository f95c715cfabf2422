"""TFLite by ai-edge-quantizer: a float ``.tflite`` and a scheme in, the file's bytes out. TensorFlow is not needed.

What the tool leaves undone is done here. It keeps the float file's operator versions, so that old runtimes load what
they then answer wrongly (`flatbuffer.set_versions`); it puts weights behind the flatbuffer, where not every runtime
looks; and it leaves in float, without a word, what it has no rule for (`storage` counts it, and a file that is
hardly in its scheme is refused).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..core.errors import InputError, StageError
from ..core.variant import QUANTIZER, SCHEMES, Scheme
from .flatbuffer import operator_name, read, scales, set_versions, type_name, write
from .storage import FLOATS, WEIGHTS, counted, storage

Feeds = Callable[[], Iterator[dict[str, Any]]]

# The schemes that can be made from a float .tflite alone.
POSSIBLE = tuple(
    f"tflite:{name}" for name, scheme in SCHEMES["tflite"].items() if QUANTIZER in scheme.makers and not scheme.searched
)

# How ranges of activations are found. 8 bits are better spent on the usual range than on its one extreme; in 16 bits
# there is room for both.
METHODS = {"int8": "moving average of each sample's minimum and maximum (0.95)", "int16x8": "min-max"}
BLOCK = 32
_KEY = "serving_default"


def quantize(content: bytes, scheme: Scheme, samples: Feeds | None = None) -> bytes:
    """Return the float file `content` in `scheme`.

    `samples` gives the calibration samples: a dictionary of arrays by input name each, batch 1. Raises InputError when
    the file is not a float one that the tool can take (`check_float`), StageError when what came out is not the
    scheme, and whatever the tool raises.
    """
    from ai_edge_quantizer import quantizer

    model = check_float(content)
    _name_signature(model)
    source = write(model)
    tool = quantizer.Quantizer(source)
    _configure(tool, scheme.name, model)
    found = None
    if scheme.calibrated:
        if samples is None:
            raise InputError(f"tflite:{scheme.name} needs calibration samples", "add --calibrate SOURCE")
        found = ranges(source, scheme.name, samples)
    made = run(tool, found)
    _check(made, scheme)
    return write(made)


def run(tool: Any, found: Any) -> Any:
    """Let a configured ``Quantizer`` quantize, with the `ranges` found (or None); return a ``ModelT`` with amends."""
    made = read(bytes(tool.quantize(found, enable_progress_bar=False, enable_progress_report=False).quantized_model))
    _allow_any_scale(made)
    set_versions(made)
    _forget_runtime(made)
    return made


def check_float(content: bytes) -> Any:
    """Return the ``ModelT`` of a float file with one graph and fixed shapes. Raises InputError for anything else."""
    model = read(content)
    remedy = "give a float32 file with one graph and fixed shapes, as TensorFlow's converter writes it by default"
    if len(model.subgraphs) != 1:
        raise InputError(f"it has {len(model.subgraphs)} graphs (control flow, or several signatures)", remedy)
    graph = model.subgraphs[0]
    if len(model.signatureDefs or ()) > 1:
        raise InputError(f"it has {len(model.signatureDefs)} signatures", remedy)
    if found := next((tensor for tensor in graph.tensors if scales(tensor)), None):
        name = bytes(found.name or b"").decode("utf-8", "replace")
        raise InputError(f"it is quantized already: {name} is {type_name(found)} with a scale", remedy)
    stored = {type_name(tensor) for tensor in graph.tensors}
    if halves := sorted(stored & {"float16", "bfloat16", "int4", "int2"}):
        raise InputError(f"its weights are {' and '.join(halves)} already", remedy)
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[index]
        sides = [int(side) for side in (tensor.shape if tensor.shape is not None else ())]
        signature = [int(side) for side in (tensor.shapeSignature if tensor.shapeSignature is not None else ())]
        if min((*sides, *signature), default=1) < 1:
            name = bytes(tensor.name or b"").decode("utf-8", "replace")
            raise InputError(f"{name} has no fixed shape: {signature or sides}", remedy)
    if "float32" not in stored:
        raise InputError("it holds no float32 numbers", remedy)
    return model


def _name_signature(model: Any) -> None:
    """Give a file without a signature one: calibration feeds its inputs by their names."""
    if model.signatureDefs:
        return
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]

    def named(indices: Any) -> list[Any]:
        entries = []
        for index in indices:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = input_name(graph.tensors[index]).encode(), int(index)
            entries.append(entry)
        return entries

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = _KEY.encode(), 0
    signature.inputs, signature.outputs = named(graph.inputs), named(graph.outputs)
    model.signatureDefs = [signature]


def input_name(tensor: Any) -> str:
    """Return a tensor's own name without what TensorFlow's converter wraps it in."""
    return bytes(tensor.name or b"").decode("utf-8", "replace").removeprefix(f"{_KEY}_").removesuffix(":0")


def _configure(tool: Any, scheme: str, model: Any) -> None:
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName

    everything = (".*", TFLOperationName.ALL_SUPPORTED)
    if scheme in ("int8", "int16x8"):
        tool.add_static_config(*everything, 16 if scheme == "int16x8" else 8, 8)
        for edge in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):  # float32 at the edges
            tool.update_quantization_recipe(".*", edge, algorithm_key=AlgorithmName.NO_QUANTIZE)
    elif scheme.startswith("weight-"):
        tool.add_weight_only_config(*everything, int(scheme.removeprefix("weight-int")))
    elif scheme == "int4-block32":
        tool.add_dynamic_config(*everything, 4, QuantGranularity.BLOCKWISE_32)
        for scope in _uneven(model):  # which would end the tool
            tool.update_quantization_recipe(
                scope, TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
            )
    else:
        tool.add_dynamic_config(*everything, {"dynamic": 8, "int4": 4}[scheme])


def _uneven(model: Any) -> list[str]:
    """Return expressions for the scopes of the operators whose rows of weights are no whole number of blocks.

    A scope is the names of an operator's outputs, each closed by a semicolon; the tool looks for expressions in it.
    """
    graph = model.subgraphs[0]
    scopes = []
    for operator in graph.operators:
        place = WEIGHTS.get(operator_name(model, operator), -1)
        weights = graph.tensors[operator.inputs[place]] if 0 <= place < len(operator.inputs) else None
        if weights is not None and weights.shape is not None and len(weights.shape) and weights.shape[-1] % BLOCK:
            names = (bytes(graph.tensors[index].name or b"").decode("utf-8", "replace") for index in operator.outputs)
            scopes.append(f"^{re.escape(''.join(f'{name};' for name in names))[:10_000]}")
    return scopes


def ranges(source: bytes, scheme: str, samples: Feeds) -> Any:
    """Return the ranges of activations on all samples, as the tool's quantizer takes them, by `METHODS` of `scheme`.

    The runtime itself records them (its profiler): ten times as fast as reading every tensor back.
    """
    from ai_edge_quantizer import calibrator

    more = {"qsv_update_func": _widest} if METHODS[scheme] == "min-max" else {}
    recorder = calibrator.Calibrator(source, 1, calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED, **more)
    key = next(iter(recorder.get_signature_list()))
    recorder.calibrate({key: list(samples())}, None)
    return recorder.get_model_qsvs()


def _widest(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    return {"min": np.minimum(before["min"], now["min"]), "max": np.maximum(before["max"], now["max"])}


def _allow_any_scale(model: Any) -> None:
    """Say of 16-bit sums and differences that their scales are no powers of two, which is the schema's default.

    The tool leaves that as it was in the float file, and LiteRT's SUB then refuses the file.
    """
    for graph in model.subgraphs:
        for operator in graph.operators:
            is_wide = type_name(graph.tensors[operator.outputs[0]]) == "int16" if len(operator.outputs) else False
            if is_wide and hasattr(operator.builtinOptions, "potScaleInt16"):
                operator.builtinOptions.potScaleInt16 = False


def _forget_runtime(model: Any) -> None:
    """Drop the float file's claim of the oldest runtime: it is not this file's."""
    model.metadata = [entry for entry in model.metadata or () if entry.name != b"min_runtime_version"] or None


def _check(model: Any, scheme: Scheme) -> None:
    """Raise StageError when a file is in its scheme by name only."""
    found = storage(model)
    done = found["weights"].get(scheme.weights, 0)
    # Tables that were integers before (a model's own packing) are nobody's to quantize.
    total = done + sum(count for kind, count in found["weights"].items() if kind in FLOATS)
    if not total or done / total < 0.5:
        block = scheme.name == "int4-block32"
        layers = "dense and embedding-lookup" if block else "dense, convolution and embedding-lookup"
        raise StageError(
            f"only {done:,} of this model's {total:,} weights became {scheme.weights}: the tool quantizes those of "
            f"{layers} layers" + (f" whose rows are multiples of {BLOCK} long" if block else ""),
            "use tflite:int4, which has a scale for each output instead"
            if block
            else "use tflite:dynamic or tflite:int8 by TensorFlow's converter, from the SavedModel",
        )
    if scheme.calibrated and found["fallen_back"]:
        raise StageError(
            f"the tool left operators in float: {counted(found['fallen_back'])}",
            "use tflite:int8-fallback, tflite:dynamic or tflite:float16 by TensorFlow's converter, or weight-int8",
        )
