"""A ``.tflite`` file's graph, read lazily from its flatbuffer: tensors, operators and their options, metadata entries.

Nothing is run and no weights are copied. Files are untrusted: offsets may point anywhere, and a few bytes may be
referred to a million times. So reads are counted against a limit that no real model comes near.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.inputs import read_input

# Limit of dimensions, indices and bytes of names read from one file: its size; for a small file some hundred times what
# models have.
_LIMIT = 5_000_000
# Tables (tensors, operators and so on): each takes at least two numbers of four bytes, where none is referred to twice.
_TABLES = 500_000
_TABLE_BYTES = 8
_NAME = 1000
IDENTIFIER = b"TFL3"  # at bytes 4–7, where a flatbuffer carries it


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph.

    `dynamic` are the dimensions known only at run time. A `constant` tensor is stored in the file. A quantized one has
    `scales` (one for each index along `axis`, or a single one) or is `blockwise`; `scale` and `zero_point` are the
    first (value = scale × (stored - zero_point)). `stored_name` is the tensor's own
    name, if `name` is the one that a signature gives it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    dynamic: tuple[int, ...] = ()
    constant: bool = False
    scales: int = 0
    axis: int | None = None
    scale: float | None = None
    zero_point: int | None = None
    blockwise: bool = False
    stored_name: str = ""

    @property
    def per_channel(self) -> bool:
        """Whether it has a scale for each channel."""
        return self.scales > 1


@dataclass(frozen=True)
class Node:
    """An operator of the graph. `options` are those that accelerators restrict."""

    op: str
    version: int
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    custom: bool = False


@dataclass(frozen=True)
class Graph:
    """The contents of a file. `inputs` and `outputs` are the main graph's, with the names of its signature.

    `entries` are its metadata buffers. `offsets`: some values lie behind the flatbuffer, at an offset in the file.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    entries: dict[str, bytes]
    description: str = ""
    offsets: bool = False


class _Reader:
    def __init__(self, content: bytes, where: str) -> None:
        self.where = where
        self.size = len(content)
        self.left = max(_LIMIT, self.size)
        self.tables = min(_TABLES, self.size // _TABLE_BYTES)
        self.offsets = False
        from . import schema  # late: importing this module alone does not need flatbuffers

        self._schema = schema
        self.model = schema.Model.of(content)
        self.ops = {number: name for name, number in schema.OPERATORS.items()}
        self.types = {number: name.lower() for name, number in schema.TENSOR_TYPES.items()}
        self.activations = {number: name for name, number in schema.ACTIVATIONS.items()}

    def spend(self, amount: int) -> int:
        """Count `amount` as read, and return it. Raises InputError when the sum is more than a model can hold."""
        # A vector is not longer than its file; otherwise the file is damaged.
        if amount < 0 or amount > self.size or amount > self.left:
            raise self.too_much()
        self.left -= amount
        return amount

    def each(self, count: int) -> Iterator[int]:
        """Count tables that are about to be read; return their indices. Raises as `spend`."""
        if count < 0 or count > self.tables:
            raise self.too_much()
        self.tables -= count
        return iter(range(count))

    def too_much(self) -> InputError:
        return InputError(f"{self.where} is damaged: its tables refer to more than they can hold", "copy it again")

    def text(self, value: bytes | None) -> str:
        """Return a name or words from the file, on one line, without control characters."""
        if value is None:
            return ""
        self.spend(len(value))
        decoded = value[:_NAME].decode("utf-8", "replace")
        return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in decoded)

    def numbers(self, values: Any) -> tuple[int, ...]:
        """Return a vector as flatbuffers' numpy readers give it (0 where there is none)."""
        if isinstance(values, int):
            return ()
        self.spend(len(values))
        return tuple(values.tolist())

    def tensor(self, table: Any, name: str | None = None) -> Tensor:
        # These are not read here, but by the conversion of the whole file to objects.
        sparsity = table.Sparsity()
        self.each(table.VariantTensorsLength() + (sparsity.DimMetadataLength() if sparsity else 0))
        shape = self.numbers(table.ShapeAsNumpy())
        signature = self.numbers(table.ShapeSignatureAsNumpy())
        tensor = Tensor(
            name=self.text(table.Name()) if name is None else name,
            shape=shape,
            dtype=self.types.get(table.Type(), f"type {table.Type()}"),
            dynamic=tuple(i for i, side in enumerate(signature or shape) if side < 0),
            constant=self.stored(table.Buffer()),
        )
        quantization = table.Quantization()
        if quantization is None:
            return tensor
        scales = quantization.ScaleLength()
        if scales == 0:
            blockwise = quantization.DetailsType() == self._schema.BLOCKWISE
            return Tensor(**{**vars(tensor), "blockwise": blockwise})
        zero_points = quantization.ZeroPointLength()
        return Tensor(
            **{
                **vars(tensor),
                "scales": scales,
                "axis": int(quantization.QuantizedDimension()) if scales > 1 else None,
                "scale": float(quantization.Scale(0)),
                "zero_point": int(quantization.ZeroPoint(0)) if zero_points else 0,
            }
        )

    def stored(self, index: int) -> bool:
        """Return whether a tensor's buffer holds values (behind an offset, in files of more than 2 GB)."""
        if not 0 < index < self.model.BuffersLength():
            return False
        buffer = self.model.Buffers(index)
        # An offset of 1 stands for none: the schema's writers reserve the field so.
        behind = buffer.Offset() > 1
        self.offsets |= behind
        return bool(behind or buffer.DataLength() > 0)

    def codes(self) -> list[tuple[str, int, bool]]:
        """Return name, version and whether it is custom, of each operator code."""
        codes = []
        for index in self.each(self.model.OperatorCodesLength()):
            code = self.model.OperatorCodes(index)
            # Codes above 127 do not fit the old field; the new one is 0 in files from before it existed.
            builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            custom = builtin == self._schema.CUSTOM
            name = self.text(code.CustomCode()) if custom else self.ops.get(builtin, f"BUILTIN_{builtin}")
            codes.append((name or "CUSTOM", int(code.Version()), custom))
        return codes

    def node(self, op: Any, tensors: list[Tensor], codes: list[tuple[str, int, bool]]) -> Node:
        name, version, custom = codes[op.OpcodeIndex()]
        inputs, outputs = self.numbers(op.InputsAsNumpy()), self.numbers(op.OutputsAsNumpy())
        return Node(
            name,
            version,
            tuple(tensors[i] for i in inputs if i >= 0),  # -1: an optional input that is left out
            tuple(tensors[i] for i in outputs if i >= 0),
            self.options(name, op),
            custom,
        )

    def options(self, name: str, op: Any) -> dict[str, Any]:
        kinds: dict[str, type[Any]] = {
            "AVERAGE_POOL_2D": self._schema.Pool2DOptions,
            "MAX_POOL_2D": self._schema.Pool2DOptions,
            "CONCATENATION": self._schema.ConcatenationOptions,
            "CONV_2D": self._schema.Conv2DOptions,
            "DEPTHWISE_CONV_2D": self._schema.DepthwiseConv2DOptions,
        }
        options = op.options(kinds[name]) if name in kinds else None
        if options is None:
            return {}
        read: dict[str, Any] = {"activation": self.activations.get(options.FusedActivationFunction(), "NONE")}
        if name != "CONCATENATION":
            read["strides"] = (int(options.StrideH()), int(options.StrideW()))
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            read["dilation"] = (int(options.DilationHFactor()), int(options.DilationWFactor()))
        return read

    def entries(self) -> dict[str, bytes]:
        """Return the file's metadata buffers by name."""
        entries = {}
        for index in self.each(self.model.MetadataLength()):
            entry = self.model.Metadata(index)
            if not 0 <= entry.Buffer() < self.model.BuffersLength():
                continue
            data = self.model.Buffers(entry.Buffer()).DataAsNumpy()
            entries[self.text(entry.Name())] = b"" if isinstance(data, int) else data[: self.spend(len(data))].tobytes()
        return entries

    def graph(self) -> Graph:
        self.each(self.model.BuffersLength())
        codes = self.codes()
        nodes: list[Node] = []
        every: list[Tensor] = []
        inputs: tuple[Tensor, ...] = ()
        outputs: tuple[Tensor, ...] = ()
        for index in self.each(self.model.SubgraphsLength()):
            subgraph = self.model.Subgraphs(index)
            tensors = [self.tensor(subgraph.Tensors(i)) for i in self.each(subgraph.TensorsLength())]
            nodes += [self.node(subgraph.Operators(i), tensors, codes) for i in self.each(subgraph.OperatorsLength())]
            if index == 0:
                called = self.signature()
                inputs = self.edges(subgraph, self.numbers(subgraph.InputsAsNumpy()), called[0])
                outputs = self.edges(subgraph, self.numbers(subgraph.OutputsAsNumpy()), called[1])
            every += tensors
        if not every:
            raise InputError(f"{self.where} holds no graph", "expected a TFLite model with tensors")
        return Graph(
            inputs,
            outputs,
            tuple(every),
            tuple(nodes),
            self.entries(),
            self.text(self.model.Description()),
            self.offsets,
        )

    def edges(self, subgraph: Any, indices: tuple[int, ...], called: dict[int, str]) -> tuple[Tensor, ...]:
        self.each(len(indices))
        tensors = ((subgraph.Tensors(index), called.get(index)) for index in indices)
        return tuple(
            self.tensor(table)
            if name is None
            else replace(self.tensor(table, name), stored_name=self.text(table.Name()))
            for table, name in tensors
        )

    def signature(self) -> tuple[dict[int, str], dict[int, str]]:
        """Return the names that the first signature gives to the main graph's inputs and outputs, by tensor."""
        if not self.model.SignatureDefsLength():
            return {}, {}
        names = []
        for index in self.each(self.model.SignatureDefsLength()):
            definition = self.model.SignatureDefs(index)
            inputs = [definition.Inputs(i) for i in self.each(definition.InputsLength())]
            outputs = [definition.Outputs(i) for i in self.each(definition.OutputsLength())]
            one, other = ({int(m.TensorIndex()): self.text(m.Name()) for m in part} for part in (inputs, outputs))
            names.append((one, other))
        return names[0]


def read_graph(path: Path) -> Graph:
    """Read a ``.tflite`` file. Raises InputError when it is none; damage may raise whatever the readers raise."""
    return _graph(read_input(path), str(path))


def check_work(content: bytes, name: str = "it") -> None:
    """Raise InputError when a file is none, or refers to more tables than it can hold; messages call it `name`.

    For what makes objects of the whole file.
    """
    _graph(content, name)


def _graph(content: bytes, name: str) -> Graph:
    if content[4:8] != IDENTIFIER:
        raise InputError(f"{name} is not a TFLite file", "expected the file identifier TFL3")
    return _Reader(content, name).graph()
