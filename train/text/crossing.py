"""The tensors that cross the frontier of a text encoder, classified by running its string part on single real texts.

A text gives token ids and tensors that follow from their number n: row splits [0, n], positions 0…n-1, row numbers.
Files take the ids, padded to a fixed length, and n; the other tensors are recomputed from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.sanitize import shorten
from ...frameworks.tensorflow import load
from .frontier import TEXT, Frontier, NoFrontier

MAX_PROBES = 48


@dataclass(frozen=True)
class Fixed:
    """The same for every text."""

    value: NDArray[Any]


@dataclass(frozen=True)
class Ids:
    """Token ids: as many as the text has, flat (n,) or a row (1, n). `pad` fills the shorter rows of a batch.

    `end` is the id that every text ends with, if there is one.
    """

    number: int
    row: bool
    pad: int = 0
    end: int | None = None
    size: int = 0  # one more than the highest id that was seen


@dataclass(frozen=True)
class PaddedIds:
    """A fixed number of token ids, (1, n), padded by the encoder itself: they cross unchanged."""

    number: int
    shape: tuple[int, int]
    size: int = 0


@dataclass(frozen=True)
class Linear:
    """``base + step × n`` of the ids `of`, element by element: row splits, lengths, shapes."""

    of: int
    base: NDArray[Any]
    step: NDArray[Any]


@dataclass(frozen=True)
class Positions:
    """A row for each id: columns that count up from `first`, or are constant. Shape (n,) if `flat`."""

    of: int
    first: tuple[int, ...]
    counts: tuple[bool, ...]
    flat: bool


@dataclass(frozen=True)
class Empty:
    """Whether there is no id at all."""

    of: int


Crossing = Fixed | Ids | PaddedIds | Linear | Positions | Empty


class StringPart:
    """Runs the operators before the frontier: texts (n,) string → the wanted tensors, in TensorFlow."""

    def __init__(self, frontier: Frontier, names: Sequence[str]) -> None:
        tf, _ = load()
        flat = frontier.flat
        self.tensor_names = tuple(names)
        self.tables = flat.tables
        needed = [flat.graph.get_tensor_by_name(name) for name in names]
        self.definition = tf.compat.v1.graph_util.extract_sub_graph(
            _without_control(flat.definition), sorted({tensor.op.name for tensor in needed})
        )
        present = {node.name for node in self.definition.node}
        self.tables = {name: table for name, table in flat.tables.items() if name.split(":")[0] in present}
        self.run = tf.function(self._call, input_signature=[tf.TensorSpec([flat.batch], tf.string)], autograph=False)

    def _call(self, texts: Any) -> list[Any]:
        tf, _ = load()
        capture = tf.compat.v1.get_default_graph().capture
        feeds = {f"{TEXT}:0": texts, **{name: capture(table) for name, table in self.tables.items()}}
        return list(
            tf.graph_util.import_graph_def(
                self.definition, input_map=feeds, return_elements=list(self.tensor_names), name="strings"
            )
        )

    def __call__(self, texts: Any) -> list[Any]:
        """Return the wanted tensors; works eagerly and while another function is traced."""
        return list(self.run(texts))

    def values(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Return the wanted tensors of a batch as arrays."""
        tf, _ = load()
        encoded = tf.constant([text.encode("utf-8", "surrogatepass") for text in texts], tf.string)
        return [tensor.numpy() for tensor in self(encoded)]


def describe_crossing(frontier: Frontier, texts: Sequence[str]) -> tuple[StringPart, dict[str, Crossing]]:
    """Return the string part and the kind of each crossing tensor, from its values on `texts`. Raises NoFrontier."""
    part = StringPart(frontier, frontier.crossing)
    probes = list(dict.fromkeys([*texts, *(text.split()[0] for text in texts if text.split()), ""]))[: MAX_PROBES + 1]
    seen: list[list[NDArray[Any]]] = []
    refused: Exception | None = None
    for text in probes:
        try:
            seen.append(part.values([text]))
        except Exception as error:  # an encoder may refuse empty texts
            refused = error
    if len(seen) < 2:
        raise NoFrontier(f"its string part does not run on single texts: {shorten(str(refused), 200)}")
    columns = {name: [values[at] for values in seen] for at, name in enumerate(part.tensor_names)}
    return part, _Describer(part, columns, probes).all()


class _Describer:
    """Classifies each crossing tensor by the pattern of its values over the probe texts."""

    def __init__(self, part: StringPart, columns: dict[str, list[NDArray[Any]]], probes: Sequence[str]) -> None:
        self.part = part
        self.columns = columns
        self.probes = probes
        self.lengths: list[list[int]] = []  # of the ids so far, text by text
        self.content: list[list[list[int]]] = []
        self.inputs = 0

    def all(self) -> dict[str, Crossing]:
        """Classify all tensors: ids first, since dependence on their number can be detected only then."""
        crossing: dict[str, Crossing] = {}
        for name, values in self.columns.items():
            if _same(values):
                crossing[name] = Fixed(values[0])
        rest = [name for name in self.columns if name not in crossing]
        # Ids differ between texts of equal length; the number of ids decides the values of counting rows.
        for name in sorted(rest, key=lambda name: (self._counts_only(name), rest.index(name))):
            crossing[name] = self._varying(name, self.columns[name])
        if not self.inputs:
            raise NoFrontier("no token ids cross into its network, only their number")
        return {name: crossing[name] for name in self.columns}

    def _counts_only(self, name: str) -> bool:
        """Whether the shape decides the values."""
        by_shape: dict[tuple[int, ...], NDArray[Any]] = {}
        for value in self.columns[name]:
            if not np.array_equal(by_shape.setdefault(value.shape, value), value):
                return value.ndim == 0 or (value.shape[-1] <= 4 and _one_shape(self.columns[name]))
        return True

    def _varying(self, name: str, values: list[NDArray[Any]]) -> Crossing:
        for of, lengths in enumerate(self.lengths):
            crossing = self._of_length(of, np.asarray(lengths), values)
            if crossing is not None:
                return crossing
        shapes = {value.shape for value in values}
        integer = values[0].dtype.kind in "iu"
        flat, row = all(len(s) == 1 for s in shapes), all(len(s) == 2 and s[0] == 1 for s in shapes)
        if integer and len(shapes) > 1 and (flat or row):
            return self._ids(name, values, row)
        if integer and len(shapes) == 1 and row:
            self.inputs += 1
            self.lengths.append([-1] * len(values))
            self.content.append([])
            return PaddedIds(len(self.lengths) - 1, (1, values[0].shape[1]), int(max(v.max() for v in values)) + 1)
        shown = ", ".join(sorted(map(str, shapes))[:3])
        raise NoFrontier(f"a tensor of shapes {shown} ({values[0].dtype}) crosses that no fixed input can stand for")

    def _ids(self, name: str, values: list[NDArray[Any]], row: bool) -> Crossing:
        content = [value.reshape(-1).tolist() for value in values]
        size = max((max(ids) for ids in content if ids), default=0) + 1
        lasts = {ids[-1] for ids in content if len(ids) > 1}
        end = int(lasts.pop()) if len(lasts) == 1 and all(len(ids) >= 2 for ids in content) else None
        if content in self.content:
            return Ids(self.content.index(content), row, self._padding(name, row), end, size)
        self.inputs += 1
        self.lengths.append([len(ids) for ids in content])
        self.content.append(content)
        return Ids(len(self.lengths) - 1, row, self._padding(name, row), end, size)

    def _padding(self, name: str, row: bool) -> int:
        """Return the id that pads the shorter of two texts in a batch."""
        if not row:
            return 0
        at = self.part.tensor_names.index(name)
        ordered = sorted(self.probes, key=len)
        try:
            batch = self.part.values([ordered[len(ordered) // 2], ordered[-1]])[at]
            alone = self.part.values([ordered[len(ordered) // 2]])[at].shape[1]
        except Exception:  # an encoder of single texts has no padding
            return 0
        behind = set(batch[0, alone:].tolist()) if batch.ndim == 2 else set()
        return int(behind.pop()) if len(behind) == 1 else 0

    def _of_length(self, of: int, lengths: NDArray[Any], values: list[NDArray[Any]]) -> Crossing | None:
        """Return the rule by which the number of ids decides `values`; None if there is none."""
        if (lengths < 0).any():
            return None
        if values[0].dtype == bool:
            empty = all(
                value.size == 1 and bool(value.all()) == (n == 0) for value, n in zip(values, lengths, strict=True)
            )
            return Empty(of) if empty else None
        if values[0].dtype.kind not in "iu":
            return None
        if _one_shape(values) and values[0].size <= 16:
            stacked = np.stack(values)
            step = np.array(np.any(stacked != stacked[0], axis=0), stacked.dtype)
            base = stacked[0] - step * lengths[0]
            if all(np.array_equal(value, base + step * n) for value, n in zip(values, lengths, strict=True)):
                return Linear(of, base, step)
            return None
        ranks = {value.ndim for value in values}
        if ranks not in ({1}, {2}) or any(value.shape[0] != n for value, n in zip(values, lengths, strict=True)):
            return None
        columns = [value.reshape(len(value), int(np.prod(value.shape[1:]))) for value in values]
        first = next((c[0] for c in columns if len(c)), None)
        longest = max(columns, key=len)
        if first is None or len(longest) < 2:
            return None
        counts = longest[1] - longest[0]
        if not set(counts.tolist()) <= {0, 1}:
            return None
        for column in columns:
            if not np.array_equal(column, first + counts * np.arange(len(column))[:, None]):
                return None
        return Positions(of, tuple(first.tolist()), tuple(bool(c) for c in counts), ranks == {1})


def _same(values: Sequence[NDArray[Any]]) -> bool:
    return all(np.array_equal(values[0], value) for value in values)


def _one_shape(values: Sequence[NDArray[Any]]) -> bool:
    return len({value.shape for value in values}) == 1


def _without_control(definition: Any) -> Any:
    """Return a copy of a GraphDef without control inputs, which mostly order checks of inputs."""
    copy = type(definition).FromString(definition.SerializeToString())
    for node in copy.node:
        data_inputs = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(data_inputs)
    return copy
