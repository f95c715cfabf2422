"""Converts models of 16-bit arithmetic (mixed precision) to float32, when they are opened and when they are frozen.

Their variables are float32: 16-bit arithmetic was a choice of training alone. Files compute in float32 (or as their
scheme says), and on a CPU each framework emulates the 16-bit types in its own way.
"""

from __future__ import annotations

import json
from typing import Any

MIXED = ("mixed_float16", "mixed_bfloat16")
HALVES = ("float16", "bfloat16")


def is_mixed(config: Any) -> bool:
    """Whether a Keras configuration has a mixed-precision policy."""
    return any(f'"{policy}"' in json.dumps(config) for policy in MIXED)


def in_float32(config: Any) -> Any:
    """Return a Keras configuration with float32 in place of mixed policies and of the 16-bit types they imply."""
    if isinstance(config, dict):
        return {key: "float32" if _is_half(key, value) else in_float32(value) for key, value in config.items()}
    return [in_float32(value) for value in config] if isinstance(config, list) else config


def _is_half(key: str, value: Any) -> bool:
    # A policy is given by its name; anything else called float16 is a layer.
    return isinstance(value, str) and (value in MIXED or (value in HALVES and key != "name"))


def graph_in_float32(definition: Any) -> str:
    """Change every float16 and bfloat16 tensor of a frozen graph to float32; return the former type (empty: none)."""
    from tensorflow import as_dtype, make_ndarray, make_tensor_proto

    halves = {as_dtype(name).as_datatype_enum: name for name in HALVES}
    single = as_dtype("float32").as_datatype_enum
    half_type = ""
    bodies = [definition.node, *(called.node_def for called in definition.library.function)]
    for node in (node for body in bodies for node in body):
        for attribute in node.attr.values():
            kind = attribute.WhichOneof("value")
            if kind == "type" and attribute.type in halves:
                half_type, attribute.type = halves[attribute.type], single
            elif kind == "list" and any(one in halves for one in attribute.list.type):
                half_type = next(halves[one] for one in attribute.list.type if one in halves)
                attribute.list.type[:] = [single if one in halves else one for one in attribute.list.type]
            elif kind == "tensor" and attribute.tensor.dtype in halves:
                half_type = halves[attribute.tensor.dtype]
                attribute.tensor.CopyFrom(make_tensor_proto(make_ndarray(attribute.tensor).astype("float32")))
    for called in definition.library.function:
        for argument in [*called.signature.input_arg, *called.signature.output_arg]:
            if argument.type in halves:
                argument.type = single
    return half_type
