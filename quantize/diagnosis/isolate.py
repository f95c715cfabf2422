"""Two rewritten forms of a float file that measure single operators.

- *Isolated*: every operator reads inputs of the file's own, so that each can be given the values that its counterpart
  in the quantized file reads. Its output is that of a float operator with the quantized file's inputs.
- *Error injection*: behind every chosen tensor an addition takes its second operand from an input of the file (zero
  unless it is set), so that one operator's error alone can be put into an otherwise exact model.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...tflite.edit import new_operator
from ...tflite.writer import write
from .graph import Graph


@dataclass(frozen=True)
class IsolatedFile:
    """A file's bytes. `inputs` maps ``(position, k)``, the input `k` of the operator at a position, to the tensor that
    sets it."""

    content: bytes
    inputs: dict[tuple[int, int], int]


@dataclass(frozen=True)
class InjectionFile:
    """A file's bytes. `errors` maps a tensor to the input tensor whose value is added to it, `answers` a compared one
    to the output that has its values."""

    content: bytes
    errors: dict[int, int]
    answers: dict[int, int]


def isolate_operators(graph: Graph, shapes: dict[int, tuple[int, ...]]) -> IsolatedFile:
    """Return the file with every float activation that an operator reads replaced by an input of the file.

    Integers (token ids, computed shapes) stay connected: they are not quantized. `shapes` are the tensors' shapes at
    run time.
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
    integers = [i for i in graph.inputs if graph.tensors[i].dtype != "FLOAT32"]
    main.inputs = np.array([*integers, *extra], np.int32)
    outputs = [i for op in graph.ops for i in op.outputs if graph.tensors[i].dtype == "FLOAT32"]
    main.outputs = np.array(outputs or list(graph.outputs), np.int32)
    return IsolatedFile(_pack(graph, model, main), inputs)


def inject_errors(
    graph: Graph, tensors: list[int], answers: Sequence[int], shapes: dict[int, tuple[int, ...]]
) -> InjectionFile:
    """Return the file with an input added to each of `tensors`; its only outputs are the tensors `answers`."""
    model = copy.copy(graph.model)
    main = copy.copy(graph.model.subgraphs[0])
    model.subgraphs = [main, *graph.model.subgraphs[1:]]
    main.tensors = list(main.tensors)
    model.operatorCodes = list(model.operatorCodes)
    renamed: dict[int, int] = {}
    errors: dict[int, int] = {}
    operators: list[Any] = []

    def addition(index: int) -> Any:
        errors[index] = _add_input(main, index, shapes)
        renamed[index] = _add_input(main, index, shapes)
        return new_operator(model, "ADD", [index, errors[index]], [renamed[index]], ("AddOptions", {}))

    chosen = set(tensors)
    operators += [addition(index) for index in graph.inputs if index in chosen]
    for op, original in zip(graph.ops, main.operators, strict=True):
        rewritten = copy.copy(original)
        rewritten.inputs = np.array([renamed.get(index, index) for index in op.inputs], np.int32)
        operators.append(rewritten)
        operators += [addition(index) for index in op.outputs if index in chosen]
    main.operators = operators
    main.inputs = np.array([*graph.inputs, *errors.values()], np.int32)
    outputs = {answer: renamed.get(answer, answer) for answer in answers}
    main.outputs = np.array(list(outputs.values()), np.int32)
    return InjectionFile(_pack(graph, model, main), errors, outputs)


def _add_input(main: Any, index: int, shapes: dict[int, tuple[int, ...]]) -> int:
    """Add a tensor like the one at `index`, without values; return its index."""
    tensor = copy.copy(main.tensors[index])
    tensor.name = f"edgeproof/{len(main.tensors)}".encode()
    tensor.buffer = 0  # the schema says that buffer 0 is empty
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
