"""Contents of a file: inputs, outputs, quantization, metadata, operators with versions, and the oldest runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.artifact import Operator, TensorSpec
from ..core.errors import InputError
from ..core.inputs import check_plain
from ..core.opset import RUNTIME_OF
from ..core.variant import X86_SUMS
from ..tflite.delegates import estimate
from ..tflite.graph import Graph, Node, Tensor, read_graph
from ..tflite.kernels import since
from ..tflite.loading import Need, needs
from ..tflite.metadata import appended_files, read_metadata
from ..tflite.metadata_schema import ENTRY
from ..tflite.runtime_versions import highest
from .onnx_reading import read_onnx


@dataclass(frozen=True)
class Quantized:
    """A quantized tensor: the number of `scales`, their `axis` if there are several, and the first scale.

    `blockwise` tensors have a scale for each block of values, stored in another tensor.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    constant: bool
    scales: int
    axis: int | None = None
    scale: float | None = None
    zero_point: int | None = None
    blockwise: bool = False


@dataclass(frozen=True)
class Contents:
    """What `inspect` found in a file.

    `min_runtime` is the oldest runtime that has every operator and tensor type, by the table (``tflite 2.17.0``, or
    ``onnxruntime 1.12``); empty where unknown, and then `notes` say why. `min_litert` is the oldest ai-edge-litert.
    `claimed_runtime` is what the file itself states, if it differs. `needs` are what these follow from: operators,
    tensor types, storage. `quantized` are the tensors with scales. `metadata` holds ``entries`` (the names of the
    file's metadata buffers), its TFLite metadata (`tflite.metadata.read_metadata`), ``labels`` (names of label files)
    and ``appended`` (files in the ZIP behind the model); for ONNX the properties. `delegates` estimate what
    accelerators would refuse (`tflite.delegates.estimate`). `signed_sums`: of ONNX, whether it sums products of 8-bit
    integers with signed weights.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ops: tuple[Operator, ...]
    min_runtime: str
    metadata: dict[str, Any] = field(default_factory=dict)
    claimed_runtime: str = ""
    min_litert: str = ""
    needs: tuple[Need, ...] = ()
    quantized: tuple[Quantized, ...] = ()
    delegates: tuple[dict[str, Any], ...] = ()
    signed_sums: bool = False
    notes: tuple[str, ...] = ()


def inspect(path: Path) -> Contents:
    """Read a ``.tflite`` or ``.onnx`` file; no runtime is needed. Raises InputError when it is neither, or broken."""
    check_plain(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file", "give a .tflite or .onnx file")
    readers = {".tflite": _tflite, ".onnx": _onnx}
    if path.suffix not in readers:
        raise InputError(f"{path.name} is not a file that can be inspected", "expected .tflite or .onnx")
    try:
        return readers[path.suffix](path)
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"no permission to read {path}", "fix the file's permissions") from error
    except Exception as error:  # an untrusted file may make its reader fail in any way
        raise InputError(f"{path} is damaged: {type(error).__name__}: {error}", "make or copy it again") from error


def _tflite(path: Path) -> Contents:
    graph = read_graph(path)
    ops = _operators(graph.nodes)
    needed = needs(graph)
    oldest = highest([need.tflite for need in needed])
    claimed = _claimed(graph)
    return Contents(
        inputs=tuple(_spec(tensor) for tensor in graph.inputs),
        outputs=tuple(_spec(tensor) for tensor in graph.outputs),
        ops=ops,
        min_runtime=f"tflite {oldest}" if oldest else "",
        metadata=_metadata(graph, path),
        claimed_runtime=f"tflite {claimed}" if claimed not in ("", oldest) else "",
        min_litert=highest([need.litert for need in needed]),
        needs=needed,
        quantized=tuple(_quantized(tensor) for tensor in graph.tensors if tensor.scales or tensor.blockwise),
        delegates=estimate(graph.nodes),
        notes=tuple(need.note for need in needed if need.note),
    )


def _operators(nodes: Sequence[Node]) -> tuple[Operator, ...]:
    """Return the operators with the runtime that they need: for each version the newest that one of its nodes needs."""
    used: dict[tuple[str, int, bool], list[str]] = {}
    for node in nodes:
        used.setdefault((node.op, node.version, node.custom), []).append("" if node.custom else since(node).tflite)
    return tuple(
        Operator(name, version, len(needs), highest(needs), custom)
        for (name, version, custom), needs in sorted(used.items())
    )


def _spec(tensor: Tensor) -> TensorSpec:
    one = tensor.scales == 1
    return TensorSpec(
        name=tensor.name,
        # An open batch is 1 unless another is requested; other open dimensions have no default.
        shape=tuple(-1 if i and i in tensor.dynamic else side for i, side in enumerate(tensor.shape)),
        dtype=tensor.dtype,
        scale=tensor.scale if one else None,
        zero_point=tensor.zero_point if one else None,
    )


def _quantized(tensor: Tensor) -> Quantized:
    fields = ("name", "dtype", "shape", "constant", "scales", "axis", "scale", "zero_point", "blockwise")
    return Quantized(**{name: getattr(tensor, name) for name in fields})


def _claimed(graph: Graph) -> str:
    """Return the oldest runtime that the file states; empty if that is not a version."""
    text = graph.entries.get("min_runtime_version", b"").split(b"\0")[0].decode("ascii", "replace")
    return text if all(part.isdecimal() for part in text.split(".")) and len(text) < 20 else ""


def _metadata(graph: Graph, path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {"entries": sorted(graph.entries)}
    if ENTRY in graph.entries:
        facts |= read_metadata(graph.entries[ENTRY])
        tensors = [*facts.get("inputs", ()), *facts.get("outputs", ()), {"files": facts.get("files", ())}]
        files = [file for tensor in tensors for file in tensor.get("files", ())]
        if labels := [file["name"] for file in files if file["type"] in ("axis labels", "value labels")]:
            facts["labels"] = labels
    elif graph.description:
        facts["description"] = graph.description
    appended = appended_files(path)
    if isinstance(appended, str):
        facts["problem"] = appended
    elif appended:
        facts["appended"] = appended
    return facts


def _onnx(path: Path) -> Contents:
    graph = read_onnx(path)
    ops = tuple(
        Operator(name, graph.opsets.get(domain, 0), count) for (name, domain), count in sorted(graph.operators.items())
    )
    opset = graph.opsets.get("", 0)
    oldest_ort = RUNTIME_OF.get(opset, "")
    unknown = "" if oldest_ort else f"opset {opset} is not in the table of ONNX Runtime releases"
    return Contents(
        inputs=graph.inputs,
        outputs=graph.outputs,
        ops=ops,
        min_runtime=f"onnxruntime {oldest_ort}" if oldest_ort else "",
        metadata=dict(graph.properties),
        signed_sums=graph.signed_sums,
        notes=tuple(filter(None, (unknown, X86_SUMS if graph.signed_sums else ""))),
    )
