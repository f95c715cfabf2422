"""Turns any function into the one SavedModel that export reads: fixed shapes, batch 1, weights as constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import StageError
from .arithmetic import as_arithmetic, tables_of
from .constants import LOOPS, RandomError, StateError, fix_shapes, make_constant, operators
from .freeze import serving, write
from .operators import SAVER
from .precision import HALVES, graph_in_float32
from .tensorflow import load

TOLERANCE = 1e-4  # relative to the largest value (at least one); constants are folded, kernels stay the same


@dataclass(frozen=True)
class Plain:
    """A model as a concrete function of `inputs` (name, shape, dtype) in order; returns a list in order of `outputs`.

    `owner` keeps the function's variables and tables alive.
    """

    function: Any
    inputs: tuple[tuple[str, tuple[int, ...], str], ...]
    outputs: tuple[str, ...]
    owner: Any


def trace(call: Callable[[list[Any]], list[Any]], inputs: Sequence[tuple[str, tuple[int, ...], str]]) -> Any:
    """Return `call` as a concrete function of tensors of these names, shapes and dtypes."""
    tf, _ = load()
    specs = [tf.TensorSpec(shape, dtype, name=name) for name, shape, dtype in inputs]
    function = tf.function(lambda *values: call(list(values)), input_signature=specs, autograph=False)
    return function.get_concrete_function()


@dataclass(frozen=True)
class Saved:
    """How a model was saved: whether its weights are constants, and its state variables.

    `halves` is the original's 16-bit type, if it has one; the saved model computes in float32.
    """

    constant: bool
    state: tuple[str, ...] = ()
    halves: str = ""

    @property
    def tolerance(self) -> float:
        """The largest accepted difference from the original's outputs."""
        return {"": TOLERANCE, "float16": 0.01, "bfloat16": 0.08}[self.halves]  # ten times the rounding of one number


def save(plain: Plain, folder: Path) -> Saved:
    """Save `plain` as a SavedModel at `folder`, replacing what is there, and return how.

    Its signature ``serving_default`` has the names of `plain`. A model with lookup tables or a state keeps them, and
    its variables, beside the graph. Raises StageError when TensorFlow cannot save it, or the graph writes files.
    """
    tf, _ = load()
    specs = [tf.TensorSpec(shape, dtype, name=name) for name, shape, dtype in plain.inputs]
    tables = tables_of(plain.function)
    try:
        frozen = make_constant(plain.function, beside=tables)
    except RandomError:
        raise
    except StageError as error:  # saved with its variables and tables; the comparison of outputs decides

        def serve(*values: Any) -> dict[str, Any]:
            return dict(zip(plain.outputs, plain.function(*values), strict=True))

        write(serve, specs, folder, keep=plain.owner)
        return Saved(False, error.variables if isinstance(error, StateError) else ())
    definition = as_arithmetic(frozen, tables)
    _check(definition)
    halves = graph_in_float32(definition)
    names = [tensor.name for tensor in frozen.outputs]
    if operators(frozen) & LOOPS:
        definition = fix_shapes(definition, plain.inputs, names)

    def constant(*values: Any) -> dict[str, Any]:
        # Imported again, so that every shape is inferred from the fixed ones.
        feeds = {f"{name}:0": value for (name, _, _), value in zip(plain.inputs, values, strict=True)}
        feeds = {
            name: tf.cast(value, "float32") if value.dtype.name in HALVES else value for name, value in feeds.items()
        }
        results = tf.graph_util.import_graph_def(definition, input_map=feeds, return_elements=names, name="")
        return dict(zip(plain.outputs, results, strict=True))

    write(constant, specs, folder)
    return Saved(True, halves=halves)


def _check(definition: Any) -> None:
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    if saver_operators := sorted({node.op for node in nodes} & SAVER):
        raise StageError(
            f"the model reads or writes checkpoints while it runs ({', '.join(saver_operators)})", "do not use it"
        )


def answers(
    folder: Path, names: Sequence[str], inputs: Sequence[Sequence[NDArray[Any]]]
) -> list[dict[str, NDArray[Any]]]:
    """Run the SavedModel at `folder` on lists of arrays in the order of `names`, one after another."""
    tf, _ = load()
    signature = serving(folder)
    feeds = [{name: tf.constant(value) for name, value in zip(names, one, strict=True)} for one in inputs]
    return [{name: value.numpy() for name, value in signature(**one).items()} for one in feeds]


def difference(expected: dict[str, NDArray[Any]], actual: dict[str, NDArray[Any]]) -> float:
    """Return the largest difference relative to the largest expected value of its output (at least one).

    Texts, integers and NaN must be equal; otherwise, or if an output is missing, the difference is infinite.
    """
    worst = 0.0
    for name, value in expected.items():
        other = actual.get(name)
        if other is None or other.shape != value.shape:
            return float("inf")
        if value.dtype.kind != "f":
            same = (
                np.array_equal(value.astype(other.dtype), other)
                if value.dtype.kind in "OS"
                else np.array_equal(value, other)
            )
            worst = max(worst, 0.0 if same else float("inf"))
            continue
        finite = np.isfinite(value)
        if not np.array_equal(value[~finite], other[~finite], equal_nan=True):
            return float("inf")
        if finite.any():
            scale = max(1.0, float(np.abs(value[finite]).max()))
            worst = max(worst, float(np.abs(value[finite].astype(np.float64) - other[finite]).max()) / scale)
    return worst
