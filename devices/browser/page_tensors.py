"""What a page is fed: the samples as the tensors of a file's inputs, and its answers as real values.

The same conversions as those of the agent (`agent.feed.Feed`, `agent.values.quantize`), which travels alone. They are
done here, so that a page gets bytes alone; a page has no tokenizer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.pixels import as_input
from ...core.tokenizer import open_tokenizer
from .page_replies import Edge

Array = NDArray[Any]
# (scale, zero point) of each input or output by its name; scale 0: not quantized.
Scales = Mapping[str, tuple[float, int]]


class RefusedSampleError(Exception):
    """The file does not take these samples; the message is what the agent would say."""


class PageFeed:
    """Converts samples to a file's inputs. `about` is the ``feed`` of a job."""

    def __init__(self, about: Mapping[str, Any], inputs: Path) -> None:
        self._about, self._inputs = about, inputs
        self._tokenizer: Any = None
        if about["kind"] == "text":
            try:
                self._tokenizer = open_tokenizer(about["tokenizer"])
            except Exception as error:  # an untrusted folder may be broken in any way
                words = error or type(error).__name__
                raise RefusedSampleError(f"the tokenizer does not open: {words}") from error

    def samples(self, start: int, stop: int) -> list[dict[str, Array]]:
        """Return the inputs by name, each with batch 1, of the samples [start, stop) that there are."""
        if self._inputs.suffix == ".jsonl":
            with self._inputs.open(encoding="utf-8") as stream:
                texts = [json.loads(line) for line in islice(stream, start, stop)]
            if self._tokenizer is None:
                raise RefusedSampleError("the file takes texts, which the runtimes of browsers do not")
            return [
                {name: np.asarray(value, np.int32) for name, value in self._tokenizer.feed(text).items()}
                for text in texts
            ]
        stored = np.load(self._inputs, mmap_mode="r", allow_pickle=False)[start:stop]
        return [self._inputs_of(stored[index : index + 1]) for index in range(len(stored))]

    def _inputs_of(self, batch: Array) -> dict[str, Array]:
        if batch.dtype.names:
            return {name: batch[name] for name in batch.dtype.names}
        if self._about.get("batchless"):
            batch = batch[0]
        return {self._about["input"]: as_input(self._about, batch)}


def bind(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, Edge]:
    """Return the file's input for each of `names`, as `agent.session.Session.bind`. Raises RefusedSampleError."""
    own = {edge.name: edge for edge in edges}
    plain = {re.sub(r"^serving_default_|:0$", "", edge.name): edge for edge in edges}
    if len(names) == len(edges) == 1:
        return {names[0]: edges[0]}
    bound = {name: own.get(name) or plain.get(name) for name in names}
    matched = {name: edge for name, edge in bound.items() if edge is not None}
    if sorted(edge.name for edge in matched.values()) != sorted(own):
        raise RefusedSampleError(f"the file takes inputs {_listed(own)}, and is given {_listed(names)}")
    return matched


def _listed(names: Any) -> str:
    return ", ".join(name or "(without a name)" for name in names)


def tensors_of(sample: Mapping[str, Array], edges: Sequence[Edge], scales: Scales) -> list[Array]:
    """Return the tensor of each of the file's inputs, in their order. Raises RefusedSampleError for another shape."""
    bound = bind(list(sample), edges)
    tensors: dict[str, Array] = {}
    for name, edge in bound.items():
        value = sample[name]
        if not edge.shape and value.size == 1:
            value = value.reshape(())
        fits = value.ndim == len(edge.shape) and all(
            size in (-1, given) for size, given in zip(edge.shape, value.shape, strict=True)
        )
        if not fits:
            raise RefusedSampleError(
                f"the file takes shape {edge.shape} for its input {edge.name}, and is given {list(value.shape)}"
            )
        tensors[edge.name] = np.ascontiguousarray(_stored(value, edge.dtype, *scales.get(edge.name, (0.0, 0))))
    return [tensors[edge.name] for edge in edges]


def _stored(values: Array, dtype: str, scale: float, zero_point: int) -> Array:
    """Return real values in the input's type (value = scale × (stored - zero point))."""
    kind = np.dtype(dtype).newbyteorder("<")
    if dtype not in ("int8", "uint8") or not scale:
        return values.astype(kind)
    limits = np.iinfo(kind)
    stored = np.round(values.astype("float32") / scale) + zero_point
    return np.asarray(np.clip(stored, limits.min, limits.max).astype(kind))


def real_values(answers: Array, scale: float, zero_point: int) -> NDArray[np.float32]:
    """Return answers as real values, float32."""
    values = answers.astype("float32")
    return values if answers.dtype.kind == "f" or not scale else ((values - zero_point) * scale).astype("float32")
