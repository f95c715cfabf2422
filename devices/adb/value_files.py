"""Samples as files of bytes, for programs that read and write a file's tensors as they are stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.pixels import as_input
from ...core.tokenizer import open_tokenizer
from ...tflite.graph import Graph, Tensor


class ValueFileError(Exception):
    """A file that cannot be fed, or whose answers cannot be read, in this way; the text says why."""


@dataclass(frozen=True)
class Answer:
    """Where the answer stands among the bytes of one sample's outputs (`size`), and how it is stored."""

    size: int
    offset: int
    values: int
    dtype: np.dtype[Any]
    scale: float
    zero_point: int

    def read(self, content: bytes, samples: int) -> NDArray[np.float32]:
        """Return the answers in the outputs of some samples: (samples, values) float32. Raises ValueFileError."""
        if len(content) != samples * self.size:
            raise ValueFileError(f"the outputs have {len(content)} bytes; {samples} × {self.size} were to come")
        rows = np.frombuffer(content, np.uint8).reshape(samples, self.size)
        own = np.ascontiguousarray(rows[:, self.offset : self.offset + self.values * self.dtype.itemsize])
        stored = own.view(self.dtype).astype(np.float32)
        if self.dtype.kind == "f" or not self.scale:
            return stored
        return np.asarray((stored - self.zero_point) * self.scale, np.float32)


@dataclass(frozen=True)
class Answers:
    """The answer, or several outputs that are judged: one behind the other, each filled up to `most` values."""

    parts: tuple[Answer, ...]
    most: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of one sample's outputs."""
        return self.parts[0].size

    def read(self, content: bytes, samples: int) -> NDArray[np.float32]:
        """Return the answers in the outputs of some samples: (samples, values) float32. Raises ValueFileError."""
        found = [part.read(content, samples) for part in self.parts]
        if not self.most:
            return found[0]
        return np.concatenate(
            [np.pad(one, ((0, 0), (0, most - one.shape[1]))) for one, most in zip(found, self.most, strict=True)],
            axis=1,
        )


def answers_of(graph: Graph, job: Mapping[str, Any]) -> Answers:
    """Return where the outputs stand that a job (of the agent) asks for. Raises ValueFileError."""
    several = job.get("answers") or []
    if not several:
        return Answers((answer_of(graph, job["answer"]),))
    parts = tuple(answer_of(graph, name) for name, _ in several)
    shapes = {tensor.name: tensor.shape for tensor in graph.outputs}
    for part, (name, most) in zip(parts, several, strict=True):
        if most > 1 and not shapes.get(name, (1,)):
            raise ValueFileError(f"the answer's size changes: {name} has no fixed shape")
        if part.values > most:
            raise ValueFileError(f"the output {name} holds {part.values} values, and at most {most} are judged")
    return Answers(parts, tuple(most for _, most in several))


def answer_of(graph: Graph, name: str) -> Answer:
    """Return where the output of that name stands (empty: the first). Raises ValueFileError."""
    names = [tensor.name for tensor in graph.outputs]
    if name and name not in names and len(names) > 1:
        raise ValueFileError(f"the file has no output {name}; it has {', '.join(names)}")
    chosen = names.index(name) if name in names else 0
    sizes = []
    for tensor in graph.outputs:
        if set(tensor.dynamic) - {0}:
            raise ValueFileError(f"the answer's size changes: {tensor.name} has no fixed shape")
        sizes.append(_count(_shape(tensor)) * _dtype(tensor).itemsize)
    tensor = graph.outputs[chosen]
    dtype = _dtype(tensor)
    if dtype.kind not in "fiub":
        raise ValueFileError(f"the answer holds {tensor.dtype}, not numbers")
    return Answer(
        sum(sizes), sum(sizes[:chosen]), _count(_shape(tensor)), dtype, tensor.scale or 0.0, tensor.zero_point or 0
    )


def shapes_of(graph: Graph) -> list[tuple[int, ...]]:
    """Return the shapes of a file's inputs for one sample. Raises ValueFileError for one without dimensions."""
    shapes = [_shape(tensor) for tensor in graph.inputs]
    if not shapes or () in shapes:
        raise ValueFileError("the file has an input without dimensions, which the tool is not fed")
    return shapes


def pack(graph: Graph, feed: Mapping[str, Any], inputs: Path, start: int, stop: int) -> list[tuple[bytes, int]]:
    """Return for each input in the file's order the bytes of samples [start, stop), and the bytes of one.

    `feed` is what the agent's job says (`feeds.feed`); the bytes are those of the agent's own inputs. Raises
    ValueFileError, and ValueError for a tokenizer that is invalid.
    """
    samples = _samples(inputs, start, stop)
    if not len(samples):
        raise ValueFileError("there are no samples")
    columns: list[list[bytes]] = [[] for _ in graph.inputs]
    tokenizer = open_tokenizer(Path(feed["tokenizer"])) if feed["kind"] == "text" else None
    for index in range(len(samples)):
        values = tokenizer.feed(samples[index]) if tokenizer else _values(feed, samples[index : index + 1])
        bound = _bind(list(values), [tensor.name for tensor in graph.inputs])
        for given, value in values.items():
            place = bound[given]
            tensor = graph.inputs[place]
            stored = _stored(np.asarray(value), tensor)
            if stored.size != _count(_shape(tensor)):
                raise ValueFileError(f"the input {tensor.name} takes {_shape(tensor)}, a sample has {stored.shape}")
            columns[place].append(stored.tobytes())
    return [(b"".join(column), len(column[0])) for column in columns]


def _samples(inputs: Path, start: int, stop: int) -> Any:
    if inputs.suffix == ".jsonl":
        with inputs.open(encoding="utf-8") as stream:
            return [json.loads(line) for line in islice(stream, start, stop)]
    samples: NDArray[Any] = np.load(inputs, mmap_mode="r", allow_pickle=False)
    return samples[start:stop]


def _values(feed: Mapping[str, Any], batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the inputs of a batch of one sample by name, as `agent.feed.Feed` does."""
    if feed["kind"] == "string":
        raise ValueFileError("the file takes strings, which the tool is not fed")
    if batch.dtype.names:
        return {name: batch[name] for name in batch.dtype.names}
    return {feed["input"]: as_input(feed, batch)}


def _bind(given: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Return the file's input for each given name. A single one may have any name."""
    if len(given) == len(names) == 1:
        return {given[0]: 0}
    plain = {name.removeprefix("serving_default_").removesuffix(":0"): place for place, name in enumerate(names)}
    exact = {name: place for place, name in enumerate(names)}
    bound = {name: exact.get(name, plain.get(name, -1)) for name in given}
    if sorted(bound.values()) != list(range(len(names))):
        raise ValueFileError(f"the file takes inputs {', '.join(names)}, and is given {', '.join(given)}")
    return bound


def _stored(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Return real values as the file stores them (value = scale × (stored - zero_point))."""
    dtype, scale = _dtype(tensor), tensor.scale or 0.0
    if dtype not in (np.int8, np.uint8) or not scale:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    stored = np.round(values.astype("float32") / scale) + (tensor.zero_point or 0)
    clipped: NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(dtype)
    return clipped


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """Return a tensor's shape for one sample: dimensions known only at run time are 1."""
    return tuple(1 if place in tensor.dynamic or side < 1 else side for place, side in enumerate(tensor.shape))


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64)) if shape else 1


def _dtype(tensor: Tensor) -> np.dtype[Any]:
    try:
        return np.dtype(tensor.dtype)
    except TypeError:
        raise ValueFileError(f"{tensor.name} holds {tensor.dtype}, which has no plain bytes") from None
