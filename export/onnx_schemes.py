"""ONNX in fewer bits: a float32 ``.onnx`` and a scheme in, bytes out, by ONNX Runtime's own tools.

The settings are those that were most accurate and fast on the CPU kernels of ONNX Runtime 1.31 (MobileNetV2 at 96 px
on x86 with VNNI, one thread; float32 takes 1.8 ms). Static: uint8 activations with int8 weights take 0.8 ms, int8 with
int8 1.9. Averaged ranges agree with float on 96.5 % of 2,000 images, the widest ones on 94.4 %; for models whose
samples have a few values each it is by far the reverse, so both are tried. Dynamic: 27 ms and 87 % agreement with int8
weights, 7.8 ms and 92 % with uint8 weights, 3.9 ms and 97 % with the float layers of `_dynamic`.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np

from ..core.variant import Scheme
from .agreement import Difference, compare, nearest
from .in_process import onnxruntime
from .quantizer import TRIED, UNKNOWN, Judged
from .ranges import MIN_MAX
from .samples import Feeds, folds

# Calibration methods, with the tool's setting `CalibMovingAverage`.
METHODS = {MIN_MAX: False, "moving average of each sample's minimum and maximum (0.99)": True}

# Grouped convolutions have one scale for all channels in dynamic files, although the channels' ranges differ widely.
# Layers with fewer weights than this (TFLite's converter has the same bound) gain nothing.
_FEW_WEIGHTS = 1024


def convert(
    content: bytes, scheme: Scheme, samples: Feeds | None, judged: Judged = UNKNOWN
) -> tuple[bytes, dict[str, Any]]:
    """Return the float32 file `content` in `scheme`, and the calibration record, as `quantizer.quantize` does.

    Inputs and outputs stay float32, with their names. `samples` gives calibration samples as `samples.feeds` does.
    Raises whatever onnx and onnxruntime raise.
    """
    if scheme.weights == "float32":
        return content, {}
    with _quiet(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if samples is not None:
            return _calibrated(content, _prepared(content, folder), samples, judged)
        make = _float16 if scheme.weights == "float16" else _dynamic
        return _finished(make(content, folder)), {}


def _calibrated(content: bytes, source: Path, samples: Feeds, judged: Judged) -> tuple[bytes, dict[str, Any]]:
    """Make the file by each method, and return the one whose outputs are nearest to the float file's."""
    feeds = list(samples())
    reference, sizes = onnxruntime(content), {}
    differences = {method: Difference(judged.answer, judged.task) for method in METHODS}
    for used, held in folds(feeds, TRIED[8]):
        runs = {}
        for method, average in METHODS.items():
            file = _finished(_int8(source, [feeds[index] for index in used], average))
            sizes[method], runs[method] = len(file), onnxruntime(file)
        compare(reference, runs, [feeds[index] for index in held], differences)
    best = nearest({method: difference.error for method, difference in differences.items()})
    methods = [{"method": m, "bytes": sizes[m], **difference.record()} for m, difference in differences.items()]
    facts = {"method": best, "methods": methods, "float_agreement": differences[best].record()}
    return _finished(_int8(source, feeds, METHODS[best])), facts


def _finished(model: Any) -> bytes:
    """Return a file's bytes: with the oldest format version that it needs, without what differs between runs."""
    import onnx

    used = {node.domain for node in model.graph.node} | {""}
    opsets = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    # The oldest format version that holds these operators: older engines then read the file too.
    model.ir_version = onnx.helper.find_min_ir_version_for(opsets, ignore_unknown=True)
    model.producer_name, model.producer_version = "edgeproof", ""
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _float16(content: bytes, _folder: Path) -> Any:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # Operators that the CPU has no half-precision kernel of stay in float32 (the tool's own list). So do those with
    # weights beyond its range, which the tool would silently clip; `beyond_half` names them.
    source = onnx.load_from_string(content)
    beyond = beyond_half(content)
    in_float32 = [node.name for node in source.graph.node if beyond.keys() & set(node.input)]
    halved = convert_float_to_float16(source, keep_io_types=True, node_block_list=in_float32)
    _sort(halved.graph)
    return halved


def beyond_half(content: bytes) -> dict[str, float]:
    """Return the float32 weights of a file that exceed the float16 range, with the largest value of each."""
    import onnx
    from onnx import numpy_helper

    weights = onnx.load_from_string(content).graph.initializer
    values = {w.name: numpy_helper.to_array(w) for w in weights if w.data_type == onnx.TensorProto.FLOAT}
    largest = {name: float(np.abs(value).max(initial=0)) for name, value in values.items()}
    return {name: value for name, value in largest.items() if value > float(np.finfo(np.float16).max)}


def _dynamic(content: bytes, folder: Path) -> Any:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = _prepared(content, folder)
    graph = onnx.load(str(source)).graph
    sizes = {weight.name: _product(weight.dims) for weight in graph.initializer}
    in_float32 = [
        node.name
        for node in graph.node
        if len(node.input) > 1 and (_groups(node) > 1 or sizes.get(node.input[1], _FEW_WEIGHTS) < _FEW_WEIGHTS)
    ]
    path = folder / "dynamic.onnx"
    quantize_dynamic(
        str(source), str(path), per_channel=True, weight_type=QuantType.QUInt8, nodes_to_exclude=in_float32
    )
    return onnx.load(str(path))


def _int8(source: Path, feeds: Sequence[dict[str, Any]], average: bool) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> Any:
            return next(self._feeds, None)

    path = source.with_name("int8.onnx")
    # No runtime has integer kernels for what is left of batch norm, so that 8 bits would cost accuracy alone; and ONNX
    # Runtime 1.32 refuses, with its option for x86 (`core.variant.X86_SUMS`), files whose nodes share such constants.
    nodes = onnx.load(str(source), load_external_data=False).graph.node
    quantize_static(
        str(source),
        str(path),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[node.name for node in nodes if node.op_type == "BatchNormalization"],
        extra_options={"CalibMovingAverage": average},
    )
    return onnx.load(str(path))


def _prepared(content: bytes, folder: Path) -> Path:
    """Return the file with inferred shapes and folded batch norm, as the quantizer needs it."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, path = folder / "float32.onnx", folder / "prepared.onnx"
    source.write_bytes(content)
    # Shapes are fixed: symbolic inference, which needs another package, would add nothing.
    quant_pre_process(str(source), str(path), skip_symbolic_shape=True)
    prepared = onnx.load(str(path))
    _spread_biases(prepared.graph)
    onnx.save(prepared, str(path))
    return path


def _spread_biases(graph: Any) -> None:
    """Give each output of a dense layer its own bias where one number is shared by all: the tool fails on that."""
    from onnx import numpy_helper

    values = {weight.name: weight for weight in graph.initializer}
    for node in graph.node:
        if node.op_type != "Gemm" or len(node.input) < 3 or not {node.input[1], node.input[2]} <= values.keys():
            continue
        bias, kernel = values[node.input[2]], values[node.input[1]]
        if _product(bias.dims) != 1:
            continue
        outputs = kernel.dims[0 if any(a.name == "transB" and a.i for a in node.attribute) else 1]
        name = f"{node.name or node.output[0]}/bias"
        spread = np.repeat(numpy_helper.to_array(bias).reshape(1), outputs)
        graph.initializer.append(numpy_helper.from_array(spread, name))
        node.input[2] = name


def _sort(graph: Any) -> None:
    """Sort the nodes topologically, as the format requires; the float16 tool adds its casts at the end.

    Nodes of nested graphs use tensors of the outer one too, and so come after these.
    """
    maker = {tensor: index for index, node in enumerate(graph.node) for tensor in node.output}
    needs = {index: sorted({maker[t] for t in _uses(node) if t in maker}) for index, node in enumerate(graph.node)}
    order = list(TopologicalSorter(needs).static_order())
    depth: dict[int, int] = {}
    for index in order:
        depth[index] = max((depth[source] + 1 for source in needs[index]), default=0)
    # By depth, then in their old order: equal graphs give equal files.
    nodes = [graph.node[index].SerializeToString() for index in sorted(depth, key=lambda i: (depth[i], i))]
    kind = type(graph.node[0])
    del graph.node[:]
    graph.node.extend(kind.FromString(node) for node in nodes)


def _uses(node: Any) -> set[str]:
    used = set(node.input)
    for attribute in node.attribute:
        for nested in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            used |= {tensor for inner in nested.node for tensor in _uses(inner)}
    return used


def _groups(node: Any) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "group"), 1) if node.op_type == "Conv" else 1


def _product(sides: Any) -> int:
    count = 1
    for side in sides:
        count *= int(side)
    return count


@contextmanager
def _quiet() -> Iterator[None]:
    """Within this block the tools' hints are not logged: they are about choices made here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
