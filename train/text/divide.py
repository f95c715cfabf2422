"""Divides an encoder of strings into two halves: its operators from texts to token ids, and its network from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.sanitize import shorten
from ...frameworks.tensorflow import load
from .base import IDS, LENGTHS, IdsInput
from .crossing import Crossing, Ids, PaddedIds, StringPart, describe_crossing
from .frontier import FlatEncoder, Frontier, NoFrontier, find_frontier, flatten
from .numeric_part import NumericPart

CLOSE = 1e-4  # of the largest feature: folded constants and sums in another order differ in the last bits
CHECKED = 8


@dataclass(frozen=True)
class Divided:
    """A divided encoder. `inputs` are the crossing tensors of a file, in order (`Ids` with their number, `PaddedIds`).

    `padded`: padding does not change a text's features, so all shapes are fixed. `difference` is the largest one
    between the two halves and the original, relative to the largest feature.
    """

    frontier: Frontier
    part: StringPart
    crossing: dict[str, Crossing]
    inputs: tuple[Ids | PaddedIds, ...]
    length: int
    padded: bool
    difference: float

    @property
    def sources(self) -> tuple[str, ...]:
        """The crossing tensor that each input holds."""
        return tuple(next(name for name, what in self.crossing.items() if what is i) for i in self.inputs)

    def tokenize(self, texts: Any) -> tuple[Any, ...]:
        """Return for texts (n,) string the ids (n, length) and their number (n,), int32, of each input in turn.

        A `PaddedIds` has no number. Ids beyond the length are cut; if every text ends with the same id, a cut text does
        too. Can be traced.
        """
        tf, _ = load()
        if texts.shape[0] == 1:
            return self._one(texts)
        return self._each(texts) if tf.inside_function() else self._compiled_each(texts)

    @cached_property
    def _compiled_each(self) -> Callable[[Any], tuple[Any, ...]]:
        """`_each`, traced once: operators that Python starts one by one take milliseconds a text."""
        tf, _ = load()
        function: Callable[[Any], tuple[Any, ...]] = tf.function(
            self._each, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
        )
        return function

    def _each(self, texts: Any) -> tuple[Any, ...]:
        tf, _ = load()
        kinds = tuple(
            spec
            for what in self.inputs
            for spec in (
                (tf.TensorSpec([self.length], tf.int32), tf.TensorSpec([], tf.int32))
                if isinstance(what, Ids)
                else (tf.TensorSpec(what.shape[1:], tf.int32),)
            )
        )
        one = tf.autograph.experimental.do_not_convert(lambda text: tuple(part[0] for part in self._one(text[None])))
        return tuple(tf.map_fn(one, texts, fn_output_signature=kinds))

    def _one(self, text: Any) -> tuple[Any, ...]:
        tf, _ = load()
        values = dict(zip(self.part.tensor_names, self.part(text), strict=True))
        tensors: list[Any] = []
        for what, source in zip(self.inputs, self.sources, strict=True):
            if isinstance(what, PaddedIds):
                tensors.append(tf.ensure_shape(tf.cast(values[source], tf.int32), what.shape))
                continue
            ids = tf.cast(tf.reshape(values[source], [-1]), tf.int32)
            count = tf.minimum(tf.size(ids), self.length)
            cut = ids[: self.length]
            if what.end is not None:
                too_long = tf.size(ids) > self.length
                cut = tf.where(tf.logical_and(too_long, tf.range(count) == self.length - 1), what.end, cut)
            padded = tf.pad(cut, [[0, self.length - count]], constant_values=what.pad)
            tensors += [tf.ensure_shape(padded, [self.length])[None], count[None]]
        return tuple(tensors)

    def embed(self, *tensors: Any) -> Any:
        """Return the features (1, width) of one text's `tensors`, as `tokenize` gives them. For tracing."""
        remaining = iter(tensors)
        values, lengths = [], []
        for what in self.inputs:
            values.append(next(remaining))
            lengths.append(next(remaining) if isinstance(what, Ids) else None)
        return NumericPart(self.frontier, self.crossing, self.length, padded=self.padded)(values, lengths)

    def compiled(self) -> Callable[..., Any]:
        """Return `embed` as a function that is traced once."""
        tf, _ = load()
        specs = []
        for what in self.inputs:
            if isinstance(what, Ids):
                specs += [tf.TensorSpec([1, self.length], tf.int32), tf.TensorSpec([1], tf.int32)]
            else:
                specs.append(tf.TensorSpec(what.shape, tf.int32))
        return tf.function(self.embed, input_signature=specs, autograph=False)


def inputs_of(divided: Divided) -> tuple[IdsInput, ...]:
    """Return the inputs of a file of `divided`: ``ids`` and ``lens`` for the first ids, ``ids_2`` and so on."""
    inputs = []
    for number, what in enumerate(divided.inputs, 1):
        ending = f"_{number}" if number > 1 else ""
        length = divided.length if isinstance(what, Ids) else what.shape[1]
        inputs.append(IdsInput(length, IDS + ending, LENGTHS + ending if isinstance(what, Ids) else ""))
    return tuple(inputs)


def divide(embed: Callable[[Any], Any], texts: Sequence[str], length: int, flat: FlatEncoder | None = None) -> Divided:
    """Divide `embed`, which maps texts (n,) string to features (n, width), where its strings end.

    On the real `texts` the halves must give the same features as `embed`. `length` is the number of token ids that a
    file takes; `flat` is the result of `flatten`, if it was called before. Raises NoFrontier with the reason if the
    encoder cannot be divided.
    """
    frontier = find_frontier(flat or flatten(embed))
    part, crossing = describe_crossing(frontier, texts)
    inputs: dict[int, Ids | PaddedIds] = {}
    for what in crossing.values():
        if isinstance(what, Ids | PaddedIds):
            inputs.setdefault(what.number, what)
    ordered = tuple(inputs[number] for number in sorted(inputs))
    short = [text for text in (_fitting(part, crossing, text, length) for text in texts[:CHECKED]) if text is not None]
    if not short:
        raise NoFrontier(f"no text has as few as {length} token ids: raise max_tokens")
    reasons = []
    for padded in (True, False):
        divided = Divided(frontier, part, crossing, ordered, length, padded, 0.0)
        try:
            difference = _difference(divided, embed, short)
        except Exception as error:  # placing an operator again may raise any exception
            reasons.append(shorten(str(error), 200))
            continue
        if difference <= CLOSE:
            return Divided(frontier, part, crossing, ordered, length, padded, difference)
        reasons.append(f"its features differ by {difference:.2g} of the largest")
    raise NoFrontier(f"the network behind its strings cannot be rebuilt from token ids: {reasons[-1]}")


def _fitting(part: StringPart, crossing: dict[str, Crossing], text: str, length: int) -> str | None:
    """Return the start of `text` that gives at most `length` ids; None if even one word gives more."""
    words = text.split()
    count = len(words)
    while True:
        values = part.values([text])
        most = max(
            [value.size for value, what in zip(values, crossing.values(), strict=True) if isinstance(what, Ids)],
            default=0,
        )
        if most <= length:
            return text
        count = min(count - 1, count * length // most)
        if count < 1:
            return None
        text = " ".join(words[:count])


def _difference(divided: Divided, embed: Callable[[Any], Any], texts: Sequence[str]) -> float:
    tf, _ = load()
    run = divided.compiled()
    actual: list[NDArray[Any]] = []
    expected: list[NDArray[Any]] = []
    for text in texts:
        batch = tf.constant([text])
        actual.append(np.asarray(run(*divided.tokenize(batch))))
        expected.append(np.asarray(embed(batch)))
    scale = max(float(np.abs(expected).max()), 1e-6)
    return float(np.abs(np.asarray(expected) - np.asarray(actual)).max()) / scale
