"""TFLite files as objects, to be changed and written again (`writer`), and the operator versions that they need.

The objects are those of the schema that LiteRT carries (``ai_edge_litert.schema_py_generated``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ..core.extras import EXTRAS
from .graph import check_work
from .operator_versions import needed_version

WRITER = EXTRAS["litert"]  # brings the schema's classes, of which files are written
# Operators that only change the representation of a number.
CASTS = frozenset({"QUANTIZE", "DEQUANTIZE"})


def read(content: bytes, name: str = "it") -> Any:
    """Return a file's ``ModelT``, its weights as views of `content`.

    Raises InputError when it is not a TFLite file; messages call it `name`.
    """
    WRITER.require("changing a .tflite needs")
    from ai_edge_litert import schema_py_generated as schema

    check_work(content, name)
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    file_bytes = np.frombuffer(content, np.uint8)
    # Offsets count from the file's beginning; 0 and 1 mean that there is nothing (schema.fbs, table Buffer).
    for buffer in model.buffers or ():
        if buffer.offset > 1:
            buffer.data = file_bytes[buffer.offset : buffer.offset + buffer.size]
            buffer.offset = buffer.size = 0
    for operator in (operator for graph in model.subgraphs or () for operator in graph.operators or ()):
        if operator.largeCustomOptionsOffset > 1:
            start = operator.largeCustomOptionsOffset
            operator.customOptions = file_bytes[start : start + operator.largeCustomOptionsSize]
            operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
    return model


def operator_name(model: Any, operator: Any) -> str:
    """Return an operator's name, e.g. ``CONV_2D``; for a custom one the custom name."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.customCode:
        return text(code.customCode)
    # Codes above 127 do not fit the old field; the new one is 0 in files from before it existed.
    builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
    return _names("BuiltinOperator").get(builtin, f"BUILTIN_{builtin}")


def text(name: bytes | str | None) -> str:
    """Return a name from a file's objects; empty where there is none."""
    return name if isinstance(name, str) else bytes(name or b"").decode("utf-8", "replace")


def name_of(tensor: Any) -> str:
    """Return a tensor's name."""
    return text(tensor.name)


def type_name(tensor: Any) -> str:
    """Return a tensor's type in lower case, e.g. ``int8``."""
    return _names("TensorType").get(tensor.type, f"type {tensor.type}").lower()


def activation(operator: Any) -> str:
    """Return the activation that is fused into an operator, e.g. ``RELU6``; empty where there is none."""
    fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
    return _names("ActivationFunctionType").get(fused, "") if fused else ""


@lru_cache
def _names(enumeration: str) -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    values = vars(getattr(schema, enumeration)).items()
    return {value: name for name, value in values if isinstance(value, int)}


def tensors(graph: Any, indices: Any) -> Iterator[Any]:
    """Return the tensors of `graph` at `indices`; -1 means an omitted one."""
    return (graph.tensors[index] for index in (() if indices is None else indices) if index >= 0)


def constant(model: Any, tensor: Any) -> bool:
    """Return whether a tensor's values are stored in the file."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def scales(tensor: Any) -> int:
    """Return how many scales a tensor has: 0 for plain numbers, more than 1 for per-channel quantization.

    Blockwise scales are stored in another tensor, and count here as one for each row.
    """
    quantization = tensor.quantization
    if quantization is None:
        return 0
    if type(quantization.details).__name__ == "BlockwiseQuantizationT":
        return int(tensor.shape[0])
    return 0 if quantization.scale is None else len(quantization.scale)


def blockwise(tensor: Any) -> bool:
    """Return whether a tensor has a scale for each block of weights."""
    quantization = tensor.quantization
    return quantization is not None and type(quantization.details).__name__ == "BlockwiseQuantizationT"


def set_versions(model: Any) -> None:
    """Raise the version of every operator to what its tensors need; none is lowered.

    A runtime refuses a version that it does not know. If a tool leaves the versions unchanged, an old runtime loads the
    file and runs it with kernels that ignore, say, a scale for each channel: the results are wrong. Operators of one
    kind that need different versions get separate codes.
    """
    from ai_edge_litert import schema_py_generated as schema

    codes: dict[tuple[int, int], int] = {}
    new_codes: list[Any] = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            version = max(code.version, needed_version(operator_name(model, operator), _signature(graph, operator)))
            key = (operator.opcodeIndex, version)
            if key not in codes:
                new = schema.OperatorCodeT()
                new.__dict__.update(code.__dict__, version=version)
                codes[key] = len(new_codes)
                new_codes.append(new)
            operator.opcodeIndex = codes[key]
    model.operatorCodes = new_codes


def _signature(graph: Any, operator: Any) -> dict[str, Any]:
    """Return what an operator's version depends on; see `operator_versions.needed_version`."""
    inputs, outputs = list(tensors(graph, operator.inputs)), list(tensors(graph, operator.outputs))
    options = operator.builtinOptions
    return {
        "inputs": tuple(type_name(tensor) for tensor in inputs),
        "outputs": tuple(type_name(tensor) for tensor in outputs),
        "arity": len(operator.inputs),
        "per_channel": any(scales(tensor) > 1 for tensor in inputs),
        "scaled": any(scales(tensor) for tensor in inputs),
        "rescale": _rescale(inputs, outputs),
        "options": vars(options) if options is not None else {},
    }


def _rescale(inputs: list[Any], outputs: list[Any]) -> float:
    """Return the product of two inputs' scales over the output's: the factor of an integer product."""
    three = [*inputs[:2], *outputs[:1]]
    if len(three) < 3 or any(scales(tensor) != 1 for tensor in three):
        return 0.0
    first, second, out = (float(tensor.quantization.scale[0]) for tensor in three)
    return first * second / out
