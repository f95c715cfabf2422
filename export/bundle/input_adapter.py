"""Rewrites a finished text model so that its inputs are what a stock text classifier feeds.

Our text models take ``ids`` (1, length) and ``lens`` (1,), how many ids are real. Stock classifiers feed other
tensors: ids between two markers with a mask, or ids with padding and no count. A few small operators in front of the
model convert those into ours. The model itself does not change: operators, their order, and every byte of the weights.
The new operators are version 1 of builtin ones on 32-bit integers, which every runtime has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError
from ...core.model import SIGNATURE
from ...tflite.edit import add_constant, add_tensor, new_operator, sign, type_number
from ...tflite.objects import name_of, read, text, type_name
from ...tflite.writer import write

PADDING = -1  # marks "no token" for `for_padded`: no vocabulary has this id

IDS, MASK, SEGMENTS = "ids", "mask", "segment_ids"

# Versions of DEQUANTIZE by the type that it reads (tflite/converter/tools/versioning/op_version.cc).
_DEQUANTIZE_VERSION = {"uint8": 1, "int8": 2, "int16": 3}


@dataclass(frozen=True)
class Frame:
    """A model's inputs: `ids` holds `start`, the tokens, `end` and then `pad`, `length` ids in all; `lengths` a count.

    `ids` and `lengths` are the inputs' names in the file's signature, or the tensors' own without a signature. `offset`
    is added to the ids of tokens. `answer` names the output to keep; empty: the first.
    """

    ids: str
    lengths: str
    length: int
    pad: int = 0
    start: int | None = None
    end: int | None = None
    offset: int = 0
    answer: str = ""

    @property
    def room(self) -> int:
        """Number of tokens that fit between start and end."""
        return self.length - (self.start is not None) - (self.end is not None)


def for_masked(tflite: bytes, frame: Frame) -> bytes:
    """Return the model with inputs ``ids``, ``mask`` and ``segment_ids``, each (1, room + 2) int32, as BERT takes.

    ``ids`` holds a marker, the tokens, another marker and any values after it; ``mask`` is 1 up to the second marker
    and 0 after it. Any markers will do: the model gets its own. Segments are ignored. Raises InputError when the file
    is not a text model of ours.
    """
    front = _Front(tflite, frame)
    width = frame.room + 2
    ids, mask = front.input(IDS, width), front.input(MASK, width)
    front.input(SEGMENTS, width)
    tokens = front.slice(ids, 1, frame.room)
    real = front.slice(mask, 2, frame.room)  # markers are two of those that it counts
    return front.finish(tokens, real)


def for_padded(tflite: bytes, frame: Frame) -> bytes:
    """Return the model with one input ``ids`` (1, room) int32: the tokens, and `PADDING` behind them."""
    front = _Front(tflite, frame)
    tokens = front.input(IDS, frame.room)
    return front.finish(tokens, front.at_least_zero(tokens, frame.room))


class _Front:
    """A model under rewriting: new inputs and the operators behind them, until `finish`."""

    def __init__(self, tflite: bytes, frame: Frame) -> None:
        self.frame = frame
        try:
            self.model = read(tflite)
            self.graph = self.model.subgraphs[0]
        except InputError:
            raise
        except Exception as error:  # an untrusted file may make its reader fail in any way
            raise InputError(
                f"the model file is damaged: {type(error).__name__}: {error}", "make or copy it again"
            ) from error
        self.operators: list[Any] = []
        self.inputs: list[int] = []
        self.old_ids = self._named(frame.ids, self.graph.inputs, "inputs", (1, frame.length))
        self.old_lengths = self._named(frame.lengths, self.graph.inputs, "inputs", (1,))
        if len(self.graph.inputs) != 2:
            raise InputError(f"the model has {len(self.graph.inputs)} inputs, expected ids and their number")
        # New tensors take their places in the list, so that no tensor is left unused.
        self._free = [self.old_ids, self.old_lengths]
        self._names = {bytes(tensor.name or b"") for tensor in self.graph.tensors}

    def input(self, name: str, width: int) -> int:
        """Add an input (1, width) int32."""
        index = self._tensor((1, width), name=name)
        self.inputs.append(index)
        return index

    def slice(self, source: int, begin: int, width: int) -> int:
        """Return columns begin … begin + width of `source` (1, n)."""
        places = [self._constant([[0, begin]], (2,)), self._constant([[1, width]], (2,))]
        return self._operator("SLICE", [source, *places], (1, width))

    def at_least_zero(self, source: int, width: int) -> int:
        """Return 1 where `source` is 0 or more and 0 elsewhere."""
        at_least = self._operator("GREATER_EQUAL", [source, self._constant([[0]])], (1, width), "bool")
        types = {"inDataType": type_number("bool"), "outDataType": type_number("int32")}
        return self._operator("CAST", [at_least], (1, width), options=("CastOptions", types))

    def multiply(self, first: int, second: int, width: int) -> int:
        """Return the product."""
        return self._operator("MUL", [first, second], (1, width), options=("MulOptions", {}))

    def finish(self, tokens: int, real: int) -> bytes:
        """Feed the model with `tokens` (1, room), of which `real` (1, room) is 1 on those that count, and write it."""
        frame = self.frame
        before, after = int(frame.start is not None), int(frame.end is not None)
        count = self._operator(
            "SUM", [real, self._constant([[1]], (1,))], (1,), options=("ReducerOptions", {"keepDims": False})
        )
        if frame.offset:
            tokens = self._add(tokens, self._constant([[frame.offset]]), frame.room)
        ids = self.multiply(tokens, real, frame.room)
        filled = real
        if before or after:
            first = [] if frame.start is None else [self._constant([[frame.start]])]
            zero, one = [self._constant([[0]])], [self._constant([[1]])]
            ids = self._join([*first, ids, *zero * after])
            filled = self._join([*one * (before + after), real])
            if frame.end is not None:
                all_but_end = self._join([*one * before, real, *zero])
                last = self._operator("SUB", [filled, all_but_end], (1, frame.length), options=("SubOptions", {}))
                last = self.multiply(last, self._constant([[frame.end]]), frame.length)
                ids = self._add(ids, last, frame.length)
            count = self._operator(
                "ADD", [count, self._constant([[before + after]], (1,))], (1,), options=("AddOptions", {})
            )
        if frame.pad:
            empty = self._operator(
                "SUB", [self._constant([[1]]), filled], (1, frame.length), options=("SubOptions", {})
            )
            empty = self.multiply(empty, self._constant([[frame.pad]]), frame.length)
            ids = self._add(ids, empty, frame.length)
        now = {self.old_ids: ids, self.old_lengths: count}
        for operator in self.graph.operators:
            operator.inputs = [now.get(int(index), int(index)) for index in operator.inputs]
        output = self._answer()
        self.graph.operators = [*self.operators, *self.graph.operators]
        output = self._as_float(output)
        self.graph.inputs, self.graph.outputs = self.inputs, [output]
        self._sign(output)
        return write(self.model)

    def _add(self, first: int, second: int, width: int) -> int:
        return self._operator("ADD", [first, second], (1, width), options=("AddOptions", {}))

    def _join(self, parts: list[int]) -> int:
        options = ("ConcatenationOptions", {"axis": 1})
        return self._operator("CONCATENATION", parts, (1, self.frame.length), options=options)

    def _answer(self) -> int:
        if not self.frame.answer:
            return int(self.graph.outputs[0])
        return self._named(self.frame.answer, self.graph.outputs, "outputs")

    def _as_float(self, output: int) -> int:
        """Return the output as float32: the model's own, or a new DEQUANTIZE of it."""
        tensor = self.graph.tensors[output]
        kind = type_name(tensor)
        if kind == "float32":
            return output
        if kind not in _DEQUANTIZE_VERSION:
            raise InputError(f"the answer is {kind}, expected float32 or 8 or 16 bits")
        new = self._tensor(tuple(int(n) for n in tensor.shape), "float32", "scores")
        operator = new_operator(self.model, "DEQUANTIZE", [output], [new], version=_DEQUANTIZE_VERSION[kind])
        self.graph.operators.append(operator)
        return new

    def _sign(self, output: int) -> None:
        """Give the model the signature of its new inputs and its one output."""
        old = (self.model.signatureDefs or [None])[0]
        names = {int(entry.tensorIndex): entry.name for entry in old.outputs} if old else {}
        name = names.get(output) or self.frame.answer or self.graph.tensors[output].name
        key = old.signatureKey if old else SIGNATURE
        sign(self.model, key, {index: self.graph.tensors[index].name for index in self.inputs}, {output: name})

    def _named(self, name: str, places: Sequence[int], what: str, shape: tuple[int, ...] | None = None) -> int:
        """Return the tensor of this name among the graph's inputs or outputs; it must be int32 of `shape`, if given."""
        signature = (self.model.signatureDefs or [None])[0]
        entries = getattr(signature, what) or [] if signature else []
        indices = {name_of(self.graph.tensors[int(i)]): int(i) for i in places}
        indices |= {text(entry.name): int(entry.tensorIndex) for entry in entries}
        if name not in indices:
            raise InputError(f"the model has no {what[:-1]} {name!r}, only {', '.join(sorted(indices))}")
        tensor = self.graph.tensors[indices[name]]
        if shape is not None:
            stored = tuple(int(n) for n in tensor.shape)
            if stored != shape or type_name(tensor) != "int32":
                raise InputError(f"the model's input {name!r} has shape {stored}, expected {shape} of int32")
        return indices[name]

    def _constant(self, values: Sequence[Sequence[int]], shape: tuple[int, ...] | None = None) -> int:
        """Add a constant of int32, (rows, columns) or of `shape`."""
        array: NDArray[np.int32] = np.asarray(values, np.int32)
        array = array.reshape(array.shape if shape is None else shape)
        return self._placed(add_constant(self.model, self.graph, self._unused(""), array))

    def _tensor(self, shape: tuple[int, ...], dtype: str = "int32", name: str = "") -> int:
        return self._placed(add_tensor(self.graph, self._unused(name), shape, dtype))

    def _placed(self, index: int) -> int:
        """Return where a tensor that was added last stands: in the place of an old input, while there is one."""
        if not self._free:
            return index
        place = self._free.pop(0)
        self.graph.tensors[place] = self.graph.tensors.pop()
        return place

    def _unused(self, name: str) -> bytes:
        """Return an unused name. Inputs and outputs get plain `name`s; a tensor that has it already is renamed."""
        if name:
            for tensor in self.graph.tensors:
                if tensor.name == name.encode():
                    tensor.name = name.encode() + b"/inner"
            return name.encode()
        number = len(self._names)
        while (unused := f"front/{number}".encode()) in self._names:
            number += 1
        self._names.add(unused)
        return unused

    def _operator(
        self,
        name: str,
        inputs: list[int],
        shape: tuple[int, ...],
        dtype: str = "int32",
        options: tuple[str, dict[str, Any]] | None = None,
    ) -> int:
        output = self._tensor(shape, dtype)
        self.operators.append(new_operator(self.model, name, inputs, [output], options))
        return output
