"""What a file says of itself: inputs, outputs, operators with versions, the oldest runtime it claims to need."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core.artifact import Operator, TensorSpec
from ..core.errors import InputError

# First ONNX Runtime release with each default-domain opset; source: onnxruntime.ai, "ONNX Runtime compatibility".
_ORT_OF_OPSET = {
    13: "1.7",
    14: "1.8",
    15: "1.10",
    16: "1.11",
    17: "1.12",
    18: "1.14",
    19: "1.15",
    20: "1.17",
    21: "1.18",
}


@dataclass(frozen=True)
class Contents:
    """What `inspect` found in a file."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ops: tuple[Operator, ...]
    min_runtime: str
    metadata: tuple[str, ...] = ()


def inspect(path: Path) -> Contents:
    """Read a ``.tflite`` or ``.onnx`` file without running it. Raises InputError when it is neither, or broken."""
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file", "give a .tflite or .onnx file")
    readers = {".tflite": (_tflite, "ai_edge_litert", "litert"), ".onnx": (_onnx, "onnx", "onnx")}
    if path.suffix not in readers:
        raise InputError(f"{path.name} is not a file that can be inspected", "expected .tflite or .onnx")
    reader, module, extra = readers[path.suffix]
    if find_spec(module) is None:
        raise InputError(f"reading {path.suffix} files needs {module}", f"pip install 'edgeproof[{extra}]'")
    try:
        return reader(path)
    except InputError:
        raise
    except Exception as error:  # a file from outside may break its reader in any way
        raise InputError(f"{path} is damaged: {type(error).__name__}: {error}", "make or copy it again") from error


def _tflite(path: Path) -> Contents:
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    # A flatbuffer carries its file identifier at bytes 4–7 (TFLite's schema: "TFL3").
    if content[4:8] != b"TFL3":
        raise InputError(f"{path} is not a TFLite file", "expected the file identifier TFL3")
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    types = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}

    def tensor(index: int, name: bytes | None) -> TensorSpec:
        found = graph.tensors[index]
        quantization = found.quantization
        scaled = quantization is not None and quantization.scale is not None and len(quantization.scale) == 1
        return TensorSpec(
            name=(name or found.name or b"").decode("utf-8", "replace"),
            shape=tuple(int(n) for n in (found.shape if found.shape is not None else ())),
            dtype=types.get(found.type, str(found.type)),
            scale=float(quantization.scale[0]) if scaled else None,
            zero_point=int(quantization.zeroPoint[0]) if scaled else None,
        )

    signature = model.signatureDefs[0] if model.signatureDefs else None
    input_names = {m.tensorIndex: m.name for m in signature.inputs} if signature else {}
    output_names = {m.tensorIndex: m.name for m in signature.outputs} if signature else {}
    used = Counter(op.opcodeIndex for subgraph in model.subgraphs for op in subgraph.operators)
    ops = []
    for index, count in used.items():
        code = model.operatorCodes[index]
        # Codes above 127 do not fit the old field; the new one is 0 in files from before it existed.
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        name = code.customCode.decode("utf-8", "replace") if code.customCode else names.get(builtin, str(builtin))
        ops.append(Operator(name, code.version, count))
    metadata = {m.name.decode("utf-8", "replace"): m.buffer for m in model.metadata or ()}
    oldest = ""
    if "min_runtime_version" in metadata:
        text = bytes(model.buffers[metadata["min_runtime_version"]].data).split(b"\0")[0].decode("ascii", "replace")
        oldest = f"tflite {text}" if text else ""
    return Contents(
        tuple(tensor(i, input_names.get(i)) for i in graph.inputs),
        tuple(tensor(i, output_names.get(i)) for i in graph.outputs),
        tuple(sorted(ops, key=lambda op: op.name)),
        oldest,
        tuple(sorted(metadata)),
    )


def _onnx(path: Path) -> Contents:
    import onnx

    model = onnx.load(str(path))
    if not model.graph.node:  # any empty or foreign protocol buffer parses as a model without a graph
        raise InputError(f"{path} is not an ONNX model", "expected a graph with operators")
    opsets = {entry.domain: entry.version for entry in model.opset_import}

    def tensor(value: Any) -> TensorSpec:
        kind = value.type.tensor_type
        return TensorSpec(
            value.name,
            tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim),
            onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
        )

    used = Counter((node.op_type, node.domain) for node in model.graph.node)
    ops = tuple(Operator(name, opsets.get(domain, 0), count) for (name, domain), count in sorted(used.items()))
    weights = {w.name for w in model.graph.initializer}
    oldest = _ORT_OF_OPSET.get(opsets.get("", 0), "")
    return Contents(
        tuple(tensor(v) for v in model.graph.input if v.name not in weights),
        tuple(tensor(v) for v in model.graph.output),
        ops,
        f"onnxruntime {oldest}" if oldest else "",
        tuple(f"{p.key}={p.value}" for p in model.metadata_props),
    )
