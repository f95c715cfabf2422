"""Two rewritings of a float file that let single operators be asked.

- *Taken apart*: every operator reads its own inputs from outside, so that each can be given what the quantized file
  gave its counterpart; what comes out is what a float operator would have made of it.
- *Disturbed*: behind every chosen tensor stands an addition whose second operand comes from outside (zero unless it is
  set), so that one operator's error alone can be put into an otherwise exact model.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...tflite.writer import write
from .graph import Graph


@dataclass(frozen=True)
class Apart:
    """A file's bytes, and which input tensor takes the input `k` of the operator at a position: ``(position, k)``."""

    content: bytes
    inputs: dict[tuple[int, int], int]


@dataclass(frozen=True)
class Disturbed:
    """A file's bytes, which tensor takes a disturbance of which tensor, and where the answer is read."""

    content: bytes
    disturbances: dict[int, int]
    answer: int


def take_apart(graph: Graph, shapes: dict[int, tuple[int, ...]]) -> Apart:
    """Return the file with every float activation cut in front of each operator that reads it.

    Integers (token ids, computed shapes) stay connected: they are not quantized. `shapes` are the tensors' shapes as
    the running file has them.
    """
    model = copy.copy(graph.model)
    main = model.subgraphs[0] = copy.copy(graph.model.subgraphs[0])
    model.subgraphs = [main, *graph.model.subgraphs[1:]]
    main.tensors = list(main.tensors)
    main.operators = [copy.copy(op) for op in main.operators]
    inputs: dict[tuple[int, int], int] = {}
    extra: list[int] = []
    for op, rewritten in zip(graph.ops, main.operators, strict=True):
        places = list(op.inputs)
        for k, index in enumerate(op.inputs):
            if index < 0 or graph.is_constant(index) or graph.tensors[index].dtype != "FLOAT32":
                continue
            places[k] = _add_input(main, index, shapes)
            inputs[op.position, k] = places[k]
            extra.append(places[k])
        rewritten.inputs = np.array(places, np.int32)
    kept = [i for i in graph.inputs if graph.tensors[i].dtype != "FLOAT32"]
    main.inputs = np.array([*kept, *extra], np.int32)
    made = [i for op in graph.ops for i in op.outputs if graph.tensors[i].dtype == "FLOAT32"]
    main.outputs = np.array(made or list(graph.outputs), np.int32)
    return Apart(_pack(graph, model, main), inputs)


def disturb(graph: Graph, tensors: list[int], answer: int, shapes: dict[int, tuple[int, ...]]) -> Disturbed:
    """Return the file with a disturbance added to each of `tensors`, whose one output is the tensor `answer`."""
    from ai_edge_litert import schema_py_generated as schema

    model = copy.copy(graph.model)
    main = copy.copy(graph.model.subgraphs[0])
    model.subgraphs = [main, *graph.model.subgraphs[1:]]
    main.tensors = list(main.tensors)
    model.operatorCodes = list(model.operatorCodes)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    code.version = 1
    model.operatorCodes.append(code)
    renamed: dict[int, int] = {}
    disturbances: dict[int, int] = {}
    operators: list[Any] = []

    def addition(index: int) -> Any:
        disturbances[index] = _add_input(main, index, shapes)
        renamed[index] = _add_input(main, index, shapes)
        op = schema.OperatorT()
        op.opcodeIndex = len(model.operatorCodes) - 1
        op.inputs = np.array([index, disturbances[index]], np.int32)
        op.outputs = np.array([renamed[index]], np.int32)
        op.builtinOptionsType = schema.BuiltinOptions.AddOptions
        op.builtinOptions = schema.AddOptionsT()
        return op

    wanted = set(tensors)
    operators += [addition(index) for index in graph.inputs if index in wanted]
    for op, original in zip(graph.ops, main.operators, strict=True):
        rewritten = copy.copy(original)
        rewritten.inputs = np.array([renamed.get(index, index) for index in op.inputs], np.int32)
        operators.append(rewritten)
        operators += [addition(index) for index in op.outputs if index in wanted]
    main.operators = operators
    main.inputs = np.array([*graph.inputs, *disturbances.values()], np.int32)
    main.outputs = np.array([renamed.get(answer, answer)], np.int32)
    return Disturbed(_pack(graph, model, main), disturbances, renamed.get(answer, answer))


def _add_input(main: Any, index: int, shapes: dict[int, tuple[int, ...]]) -> int:
    """Add a tensor like the one at `index`, without values, and return its place."""
    tensor = copy.copy(main.tensors[index])
    tensor.name = f"edgeproof/{len(main.tensors)}".encode()
    tensor.buffer = 0  # by the schema's rule the empty one
    tensor.shape = np.array(shapes.get(index, tensor.shape), np.int32)
    tensor.shapeSignature = None
    main.tensors.append(tensor)
    return len(main.tensors) - 1


def _pack(graph: Graph, model: Any, main: Any) -> bytes:
    model.signatureDefs = None
    model.metadata = None
    model.metadataBuffer = None
    model.subgraphs = [main, *graph.model.subgraphs[1:]]
    return write(model)
