"""A ``.tflite`` whose shapes are open (−1 in a tensor's ``shape_signature``), made one with fixed shapes.

``TFLiteConverter.from_keras_model`` leaves the batch open by default. A quantizer wants fixed shapes, and so do
LiteRT.js and most delegates. The batch becomes 1. Other open dimensions, such as the height and width of a fully
convolutional network, must be given. LiteRT itself then resizes the file's inputs and infers all other shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.model import plain_name
from ..tflite.objects import constant, read, text
from ..tflite.writer import write

Shape = tuple[int, ...]
FIX = "fix them with `edgeproof export FILE --to tflite:float32`, and --size N (of pictures) or --shape NAME=1,…"


def open_inputs(model: Any) -> dict[str, Shape]:
    """Return the inputs of a file's ``ModelT`` that have open dimensions, by name, with −1 where one is."""
    shapes = {name: _shape(model.subgraphs[0].tensors[index]) for name, index in _inputs(model).items()}
    return {name: shape for name, shape in shapes.items() if any(side < 1 for side in shape)}


def _inputs(model: Any) -> dict[str, int]:
    """Return the tensor indices of the main graph's inputs, by their names in the signature."""
    graph = model.subgraphs[0]
    called = {int(e.tensorIndex): e.name for definition in (model.signatureDefs or ())[:1] for e in definition.inputs}
    names = {int(index): called.get(int(index)) or graph.tensors[index].name or b"" for index in graph.inputs}
    return {plain_name(text(name)): index for index, name in names.items()}


def described(shapes: Mapping[str, Shape]) -> str:
    """Return inputs with their shapes in words."""
    return ", ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in shapes.items())


def chosen_shapes(content: bytes, size: int | None, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return the fixed shape of each open input of a file: batch 1, and the rest as `size` or `shapes` say.

    `size` is the height and width of images; `shapes` are by input name, ``""`` for a single input. Raises InputError
    when a dimension stays open, or a given size or shape does not fit.
    """
    open_ones = open_inputs(read(content))
    only = next(iter(open_ones), "") if len(open_ones) == 1 else ""
    chosen = {name or only: shape for name, shape in shapes.items()}
    if (chosen or size) and not open_ones:
        raise InputError("all its inputs have fixed shapes", "leave --size and --shape out")
    if unknown := sorted(chosen.keys() - open_ones.keys()):
        raise InputError(
            f"no input {unknown[0]!r} has an open shape",
            f"its open inputs: {described(open_ones)}; e.g. --shape NAME=1,…",
        )
    return {name: _chosen(name, shape, size, chosen.get(name)) for name, shape in open_ones.items()}


def _chosen(name: str, shape: Shape, size: int | None, chosen: Shape | None) -> Shape:
    if chosen is not None:
        fits = len(chosen) == len(shape) and all(b > 0 and a in (b, -1) for a, b in zip(shape, chosen, strict=True))
        if not fits:
            raise InputError(
                f"--shape {','.join(map(str, chosen))} does not fit {described({name: shape})}",
                "give a number above 0 for each −1, and the other numbers as they are",
            )
        return chosen
    fixed = (1 if shape[0] < 1 else shape[0], *shape[1:])
    if len(fixed) == 4 and size:
        fixed = (fixed[0], *(size if side < 1 else side for side in fixed[1:3]), fixed[3])
    if min(fixed) < 1:
        picture = " (--size N)" if len(fixed) == 4 and fixed[3] > 0 else ""
        raise InputError(
            f"it leaves more than the batch open: {described({name: shape})}",
            f"give --shape {name}={','.join('N' if side < 1 else str(side) for side in fixed)}{picture}",
        )
    return fixed


def fix_shapes(content: bytes, shapes: Mapping[str, Shape]) -> bytes:
    """Return a file with the `shapes` of `chosen_shapes` at its inputs, and all others as LiteRT infers them.

    The file is run once, on zeros: some shapes follow from values. Raises InputError when LiteRT refuses them.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = read(content)
    places = _inputs(model)
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    try:
        for name, shape in shapes.items():
            interpreter.resize_tensor_input(places[name], shape)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"LiteRT does not run it with {described(shapes)}: {str(error).strip().splitlines()[0][:200]}",
            "give another --size or --shape, as the model was trained with",
        ) from error
    inferred = {detail["index"]: detail["shape"] for detail in interpreter.get_tensor_details()}
    for number, graph in enumerate(model.subgraphs):
        for index, tensor in enumerate(graph.tensors):
            if number == 0 and index in inferred and not constant(model, tensor):
                tensor.shape = np.asarray(inferred[index], np.int32)
            tensor.shapeSignature = None
    return write(model)


def _shape(tensor: Any) -> Shape:
    sides = tensor.shapeSignature if tensor.shapeSignature is not None and len(tensor.shapeSignature) else tensor.shape
    return tuple(int(side) for side in (sides if sides is not None else ()))
