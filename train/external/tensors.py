"""Inputs and outputs of external models: their names and their fixed shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError
from ...core.sanitize import shorten

Shape = tuple[int | None, ...]
Answer = TypeVar("Answer")
LARGEST_INPUT = 1 << 30  # elements


@dataclass(frozen=True)
class Tensor:
    """A model's input or output as the file describes it. `shape` is None where not even the rank is known.

    `limit` bounds integers from above where that is known (an embedding's rows).
    """

    name: str
    shape: Shape | None
    dtype: str
    limit: int | None = None


def fixed_shapes(
    inputs: Sequence[Tensor], *, size: int | None, shapes: Mapping[str, tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Return the shape that each input is fixed to: batch 1, the rest as the file, `shapes` or `size` says.

    A shape of `shapes` stands as it is; where its first side is not 1, the input has no batch.
    `size` is the side in pixels for inputs of rank 4 that leave theirs open; `shapes` names inputs (or ``""``, the only
    one). Raises InputError where something is left open, or contradicts the file.
    """
    names = [tensor.name for tensor in inputs]
    for name in shapes:
        if name not in names and not (name == "" and len(inputs) == 1):
            raise InputError(f"there is no input {shorten(name)!r}", f"the model has: {', '.join(names)}")
        if len(inputs) > 1 and shapes[name][:1] not in ((), (1,)):
            raise InputError(
                f"the input {shorten(name)!r} is one of several, and {describe(shapes[name])} has no batch of 1",
                "save the model with a batch for each of its inputs",
            )
    several = len(inputs) > 1
    return [
        _fixed(tensor, several, size, shapes.get(tensor.name, shapes.get("") if len(inputs) == 1 else None))
        for tensor in inputs
    ]


def _fixed(tensor: Tensor, several: bool, size: int | None, given: tuple[int, ...] | None) -> tuple[int, ...]:
    shown = f"the input {tensor.name!r} has the shape {describe(tensor.shape)}"
    if given is not None:
        if tensor.shape is not None and not _fits(tensor.shape, given):
            raise InputError(f"{shown}, but {describe(given)} was asked for", "give a shape that fits it")
        return _sane(tensor, given)
    example = f"say which with --shape {tensor.name}=1,…"
    if tensor.shape is None:
        raise InputError(f"{shown}: its rank is not known", example)
    if not tensor.shape:
        return ()
    if tensor.shape[0] not in (None, 1):
        raise InputError(
            f"{shown}: the batch is fixed to {tensor.shape[0]}, but files are made for one sample at a time",
            "save the model with a batch of 1 or None for each of its inputs"
            if several
            else "save the model with batch size 1 or None; if that side is no batch, give the whole shape: "
            f"--shape {tensor.name}={','.join(str(side or 'N') for side in tensor.shape)}",
        )
    shape: list[int | None] = [1, *tensor.shape[1:]]
    if len(shape) == 4 and None in shape[1:3]:
        if size is None:
            raise InputError(
                f"{shown}: its height and width are open, and files have fixed ones", "say which with --size N"
            )
        shape[1:3] = [side or size for side in shape[1:3]]
    fixed = tuple(side for side in shape if side is not None)
    if len(fixed) != len(shape):
        raise InputError(f"{shown}, and files have fixed ones", example)
    if size is not None and len(fixed) == 4 and size not in fixed[1:3]:
        raise InputError(f"{shown}, but size {size} was asked for", "leave --size out")
    return _sane(tensor, fixed)


def _fits(shape: Shape, given: tuple[int, ...]) -> bool:
    return len(shape) == len(given) and all(s in (None, w) for s, w in zip(shape, given, strict=True))


def _sane(tensor: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    if any(side < 1 for side in shape) or math.prod(shape) > LARGEST_INPUT:
        raise InputError(f"the input {tensor.name!r} cannot have the shape {describe(shape)}", "give a smaller one")
    return shape


def describe(shape: Shape | None) -> str:
    """Return a shape as people write it: ``(?, 224, 224, 3)``."""
    if shape is None:
        return "?"
    return (
        "(" + ", ".join("?" if side is None else str(side) for side in shape) + ("," if len(shape) == 1 else "") + ")"
    )


def safe_names(names: Sequence[str], reserved: Sequence[str] = ()) -> list[str]:
    """Return names that every format takes, each once and none of `reserved`.

    What is not a letter, digit or underscore becomes ``_``. An ONNX file cannot have an input and an output of one
    name.
    """
    safe: list[str] = []
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("_") or "tensor"
        if plain[0].isdigit():
            plain = f"tensor_{plain}"
        candidate, number = plain[:60], 1
        while candidate in (*safe, *reserved):
            number += 1
            candidate = f"{plain[:55]}_{number}"
        safe.append(candidate)
    return safe


def example_inputs(
    inputs: Sequence[Tensor],
    shapes: Sequence[tuple[int, ...]],
    value_range: tuple[float, float] | None,
    count: int,
    *,
    integers: bool = False,
) -> list[list[NDArray[Any]]]:
    """Return `count` random inputs, each a list of one array per input, on which two forms of a model are compared.

    Floating-point numbers lie in `value_range`. Without one they come from 0–1 and from the standard normal
    distribution in turn, or are integers with `integers`. Integers are below the input's `limit`, or 0 and 1. The seed
    is fixed.
    """
    random = np.random.default_rng(20)
    return [
        [
            _example(tensor, shape, value_range, number, random, integers)
            for tensor, shape in zip(inputs, shapes, strict=True)
        ]
        for number in range(count)
    ]


def answered_examples(
    answer: Callable[[list[NDArray[Any]]], Answer],
    inputs: Sequence[Tensor],
    shapes: Sequence[tuple[int, ...]],
    value_range: tuple[float, float] | None,
    count: int,
) -> tuple[list[list[NDArray[Any]]], list[Answer]]:
    """Return example inputs and the original model's outputs for each, computed by `answer`.

    Where it refuses floating-point numbers, the examples are integers: an input without a dtype before an Embedding
    holds token ids and does not declare it. Raises what `answer` raised at the floating-point examples.
    """
    examples = example_inputs(inputs, shapes, value_range, count)
    try:
        return examples, [answer(values) for values in examples]
    except Exception:  # a model may refuse its inputs with any exception
        examples = example_inputs(inputs, shapes, value_range, count, integers=True)
        with suppress(Exception):
            return examples, [answer(values) for values in examples]
        raise


_SENTENCES = ("a plain sentence, with a comma", "", "Zwölf Boxkämpfer jagen 12 Hunde — 火曜日")


def _example(
    tensor: Tensor,
    shape: tuple[int, ...],
    value_range: tuple[float, float] | None,
    number: int,
    random: Any,
    integers: bool,
) -> NDArray[Any]:
    if tensor.dtype == "string":
        return np.full(shape, _SENTENCES[number % len(_SENTENCES)].encode(), object)
    if tensor.dtype == "bool":
        return np.asarray(random.integers(0, 2, shape), bool)
    kind = np.dtype(tensor.dtype)
    if kind.kind in "iu" or integers:
        high = 256 if tensor.dtype == "uint8" and tensor.limit is None else tensor.limit or 2
        return np.asarray(random.integers(0, high, shape)).astype(kind)
    if value_range is not None:
        return np.asarray(random.uniform(*value_range, shape)).astype(kind)
    return np.asarray(random.normal(size=shape) if number % 2 else random.uniform(size=shape)).astype(kind)
