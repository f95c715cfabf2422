"""Files are read without any runtime: what is known of the formats is compared with what runtimes' own code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as google
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from edgeproof.core.errors import InputError
from edgeproof.export import inspect
from edgeproof.export.onnx_reading import DTYPES
from edgeproof.tflite import schema
from edgeproof.workflows.model_files import open_artifact

from ..support.bundle_models import mean_colour_model

TABLES = [
    value for value in vars(schema).values() if isinstance(value, type) and value.__name__ in vars(google)
]  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (schema.OPERATORS, google.BuiltinOperator),
        (schema.TENSOR_TYPES, google.TensorType),
        (schema.ACTIVATIONS, google.ActivationFunctionType),
    ],
)
def test_codes_are_called_as_in_the_format(ours: dict[str, int], theirs: Any) -> None:
    assert {name: number for name, number in vars(theirs).items() if isinstance(number, int)} == ours
    assert google.QuantizationDetails.BlockwiseQuantization == schema.BLOCKWISE


class Recorded:
    """Stands in for a table of the file, and writes down which field of it is read, as what."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.Pos, self.Bytes = 0, b""

    def Offset(self, place: int) -> int:  # noqa: N802
        self.asked.append(place)
        return 0

    def __getattr__(self, name: str) -> Any:
        return lambda *facts: self.asked.append((name, *facts)) or 0


def test_every_field_stands_where_the_format_has_it() -> None:
    compared = 0
    assert len(TABLES) == 15
    for ours in TABLES:
        theirs = getattr(google, ours.__name__)
        for field in vars(ours):
            if field.startswith("_") or field in ("options", "of", "data_start"):
                continue
            one, other = Recorded(), Recorded()
            mine, generated = ours.__new__(ours), theirs()
            mine.content, mine.table, generated._tab = b"", one, other
            indexed = field in ("Scale", "ZeroPoint") or hasattr(ours, f"{field}Length")
            value, expected = (getattr(table, field)(*([1] if indexed else [])) for table in (mine, generated))
            assert one.asked[0] == other.asked[0], (ours.__name__, field)
            if not indexed:
                assert value == expected, (ours.__name__, field)
            compared += 1
    assert compared > 50


def test_a_tflite_file_is_inspected_without_a_runtime(tmp_path: Path) -> None:
    path = tmp_path / "mean.tflite"
    path.write_bytes(mean_colour_model())
    assert "AVERAGE_POOL_2D" in _inspected(path) or "MEAN" in _inspected(path)


@pytest.fixture
def rich_model(tmp_path: Path) -> Path:
    """An ONNX file with open and named sides, weights that are listed as inputs, two domains and properties."""
    sides: list[Any] = [None, "length", 3]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 2], np.ones(6, np.float32))
    edges = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in (
        ("x", TensorProto.FLOAT, sides), ("w", TensorProto.FLOAT, [3, 2]), ("names", TensorProto.STRING, [1]),
        ("half", TensorProto.BFLOAT16, [1]), ("none", TensorProto.INT8, None),
    )]  # fmt: skip
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Gelu", ["y"], ["z"], domain="a.b")]
    nodes += [helper.make_node("MatMul", ["x", "w"], ["u"])]
    out = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("a.b", 3)]
    model = helper.make_model(helper.make_graph(nodes, "g", edges, out, [weight]), opset_imports=opsets)
    helper.set_model_props(model, {"author": "Zoë"})
    path = tmp_path / "rich.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_an_onnx_file_is_read_as_onnx_reads_it(rich_model: Path) -> None:
    contents = inspect(rich_model)
    model = onnx.load(str(rich_model))
    weights = {weight.name for weight in model.graph.initializer}
    for ours, theirs in ((contents.inputs, model.graph.input), (contents.outputs, model.graph.output)):
        expected = [
            (
                value.name,
                tuple(d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim),
                helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
            )
            for value in theirs
            if value.name not in weights
        ]
        assert [(spec.name, spec.shape, spec.dtype) for spec in ours] == expected
    assert {(op.name, op.version, op.count) for op in contents.ops} == {("MatMul", 17, 2), ("Gelu", 3, 1)}
    assert contents.metadata == {"author": "Zoë"} and contents.min_runtime == "onnxruntime 1.12"


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    """Three samples of 6 numbers."""

    def __init__(self) -> None:
        self._left = [{"x": np.full((1, 6), value, np.float32)} for value in (-1, 0, 1)]

    def get_next(self) -> Any:
        return self._left.pop() if self._left else None


@pytest.mark.parametrize(
    ("made", "signed"),
    [
        ("float", False),
        ("dynamic-QInt8", True),
        ("dynamic-QUInt8", False),
        ("constants-QInt8", True),
        ("constants-QUInt8", False),
        *((f"{form}-QInt8", True) for form in ("QDQ", "QOperator")),
        ("QDQ-QUInt8", False),
        ("inner-QInt8", True),
        ("inner-QUInt8", False),
        *((f"{form}7-QInt8", False) for form in ("QDQ", "QOperator")),  # weights of 7 bits
        ("weights", False),
    ],
)
def test_a_file_of_another_make_that_x86_may_answer_otherwise_is_named(made: str, signed: bool, tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    plain, path = tmp_path / "float.onnx", tmp_path / f"{made}.onnx"
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n]) for name, n in (("x", 6), ("y", 4))]
    nodes, held = [helper.make_node("MatMul", ["x", "w"], ["y"])], [numpy_helper.from_array(weights, "w")]
    if made == "weights":  # a file that computes in float and keeps its weights small
        nodes.insert(0, helper.make_node("DequantizeLinear", ["q", "scale"], ["w"]))
        held = [
            numpy_helper.from_array(np.ones((6, 4), np.int8), "q"),
            numpy_helper.from_array(np.array(0.1, np.float32), "scale"),
        ]
    graph = helper.make_graph(nodes, "g", shapes[:1], shapes[1:], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), plain)
    how, _, kind = made.partition("-")
    if how == "dynamic":
        quantize_dynamic(plain, path, weight_type=QuantType[kind])
    elif how.rstrip("7") in ("QDQ", "QOperator"):
        quantize_static(
            plain, path, _Samples(), quant_format=QuantFormat[how.rstrip("7")], weight_type=QuantType[kind],
            activation_type=QuantType.QUInt8, reduce_range=how.endswith("7"),
        )  # fmt: skip
    if how == "inner":  # the quantized operators are in a branch
        quantize_dynamic(plain, path, weight_type=QuantType[kind])
        inside = onnx.load(path).graph
        then = helper.make_graph(list(inside.node), "then", [], list(inside.output), list(inside.initializer))
        other = helper.make_graph([helper.make_node("Identity", ["no"], ["n"])], "other", [], list(inside.output))
        other.output[0].name = "n"
        branch = helper.make_node("If", ["yes"], ["y"], then_branch=then, else_branch=other)
        yes = numpy_helper.from_array(np.array(True), "yes")
        no = numpy_helper.from_array(np.zeros((1, 4), np.float32), "no")
        outer = helper.make_graph([branch], "g", shapes[:1], shapes[1:], [yes, no])
        onnx.save(helper.make_model(outer, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        assert {op.name for op in inspect(path).ops} >= {"If", "Identity", "MatMulInteger", "DynamicQuantizeLinear"}
    if how == "constants":
        quantize_dynamic(plain, path, weight_type=QuantType[kind])
        model = onnx.load(path)
        for weight in model.graph.initializer:
            model.graph.node.insert(0, helper.make_node("Constant", [], [weight.name], value=weight))
        del model.graph.initializer[:]
        onnx.save(model, path)
    path = path if path.exists() else plain
    contents = inspect(path)
    assert contents.signed_sums is signed and any("x64quantprecision" in note for note in contents.notes) is signed
    assert ("x64quantprecision" in open_artifact(path).caution) is signed


def test_onnx_types_are_called_as_onnx_calls_them() -> None:
    for number, name in enumerate(DTYPES[1:], 1):
        assert helper.tensor_dtype_to_np_dtype(number).name == name


def test_an_onnx_file_is_inspected_without_onnx_or_a_runtime(rich_model: Path) -> None:
    assert "MatMul" in _inspected(rich_model) and "rich.onnx" in _inspected(rich_model)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", "damaged: (Value|Index)Error"),
        ("empty", "is empty"),
        ("noise", "damaged: (Value|Index)Error"),
        ("foreign", "is not an ONNX model"),
    ],
)
def test_what_is_no_onnx_file_is_refused(rich_model: Path, kind: str, message: str) -> None:
    content = rich_model.read_bytes()
    noise = np.random.default_rng(1).bytes(500)
    defective = {"cut": content[: len(content) // 2], "empty": b"", "noise": noise, "foreign": b"\x08\x01"}
    rich_model.write_bytes(defective[kind])
    with pytest.raises(InputError, match=message):
        inspect(rich_model)


def _inspected(path: Path) -> str:
    """Inspect a file in a process that has no runtime, no TensorFlow and no onnx."""
    absent = ("ai_edge_litert", "tflite_runtime", "tensorflow", "onnx", "onnxruntime")
    code = (
        f"import sys\nfor name in {absent}: sys.modules[name] = None\n"
        f"sys.argv = ['edgeproof', 'inspect', {str(path)!r}]\n"
        "from edgeproof.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
