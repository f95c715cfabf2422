"""The columns that a model was trained on, found by name in tables and frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..core.errors import InputError
from ..core.sanitize import shorten
from .samples import Samples


def features_of(asked: Sequence[str], columns: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return the columns of a table to read, in the model's order, and what to say where one is missing.

    `asked` are those that the user names, `columns` those that the model was trained on; either may be none. Other
    names than the model's are taken in the user's order.
    """
    if not columns or (asked and set(asked) != set(columns)):
        return tuple(asked), ""
    return tuple(columns), "" if asked else f"; the model was trained on the columns {_shown(columns)}"


def in_model_order(samples: Samples, columns: Sequence[str]) -> Samples:
    """Return samples of a frame with the `columns` that the model was trained on, in its order; others as they are.

    Raises InputError for a frame that lacks one. A frame whose columns have no names but their numbers has none.
    """
    held = samples.columns
    if not columns or held in ((), tuple(columns), tuple(map(str, range(len(held))))):
        return samples
    if missing := [name for name in columns if name not in held]:
        raise InputError(
            f"x is a frame without the column {shorten(missing[0], 80)!r}; it has {_shown(held)}; the model was "
            f"trained on the columns {_shown(columns)}",
            "name the frame's columns so; frame.to_numpy() takes them in the order in which they stand",
        )
    at = [held.index(name) for name in columns]
    inputs = {name: array[..., at] for name, array in samples.inputs.items()}
    return replace(samples, inputs=inputs, columns=tuple(columns))


def _shown(names: Sequence[str]) -> str:
    return shorten(", ".join(names), 200)
