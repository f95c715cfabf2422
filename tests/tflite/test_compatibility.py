"""Will it load there? The table of operator versions against real runtimes, old and new, on real and made files."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof.core.artifact import Artifact, Operator
from edgeproof.core.codec import to_json
from edgeproof.core.errors import InputError
from edgeproof.core.maker import CONVERTER
from edgeproof.core.target import Target
from edgeproof.devices import locate, missing_runtime, open_runner
from edgeproof.devices.runtimes import installed_versions
from edgeproof.export import inspect
from edgeproof.tflite import incompatibilities, needs_of, newest_version, oldest, tflite_of
from edgeproof.tflite.delegates import estimate
from edgeproof.tflite.graph import Node, Tensor
from edgeproof.tflite.metadata import read_metadata
from edgeproof.tflite.runtime_versions import NEWEST, VERSIONS, order
from edgeproof.workflows import runtime_fallbacks

from ..conftest import TinyRun
from ..support.operator_files import OLD_LITERT, built, one_operator, schema
from ..support.scheme_files import shared

# Loads each file in a fresh process of a runtime, all in one process: what is asked is whether it opens.
_OPEN = """
import json, os, sys
folder, module, source = sys.argv[1:4]
if folder: sys.path.insert(0, folder)
interpreter = __import__(module + ".interpreter", fromlist=["Interpreter"]).Interpreter
answer = os.dup(1); null = os.open(os.devnull, os.O_WRONLY); os.dup2(null, 1); os.dup2(null, 2)
def opens(content):
    try:
        interpreter(model_content=bytes.fromhex(content))
    except ValueError:
        return False
    return True
with os.fdopen(answer, "w") as stream:
    json.dump([opens(content) for content in json.load(open(source))], stream)
"""


def opened(target: Target, contents: Sequence[bytes], folder: Path) -> list[bool]:
    """Whether each file opens in the runtime that a target names."""
    location = locate(target)
    if location is None:
        pytest.skip(f"{target} is not on this machine")
    source = folder / "contents.json"
    source.write_text(json.dumps([content.hex() for content in contents]))
    command = [sys.executable, "-I", "-c", _OPEN, str(location.folder or ""), target.engine.module, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    answers: list[bool] = json.loads(done.stdout)
    return answers


def check_table(target: Target, folder: Path) -> None:
    """What the table says of each row, and of the version after an operator's last, is what the runtime does."""
    last = {name: max(v for n, v in VERSIONS if n == name) for name, _ in VERSIONS}
    asked = [*VERSIONS, *((name, version + 1) for name, version in last.items())]
    location = locate(target)
    if location is None:
        pytest.skip(f"{target} is not on this machine")
    answers = opened(target, [one_operator(*key) for key in asked], folder)
    needs = [needs_of([Operator(name, version, 1)]) for name, version in asked]
    predicted = [not incompatibilities(need, target.runtime, location.version) for need in needs]
    wrong = [(key, real) for key, real, guess in zip(asked, answers, predicted, strict=True) if real != guess]
    assert not wrong
    assert 300 < sum(answers) < len(asked)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["tflite-runtime", "litert"])
def test_the_table_is_what_installed_runtimes_have(runtime: str, tmp_path: Path) -> None:
    check_table(Target("local", runtime), tmp_path)


@pytest.mark.slow
def test_the_table_is_what_an_old_litert_has(old_litert: Target, tmp_path: Path) -> None:
    check_table(old_litert, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["tflite-runtime", "litert", f"litert=={OLD_LITERT}"])
def test_tensor_types_are_what_runtimes_read(runtime: str, old_litert: Target, tmp_path: Path) -> None:
    target = Target.parse(f"local/{runtime}")
    types = ["UINT16", "INT4", "BFLOAT16", "INT2", "UINT4", "FLOAT8_E4M3FN", "FLOAT8_E5M2", "FLOAT32", "INT8", "BOOL"]
    contents = [one_operator("ADD", 1, dtype) for dtype in types]
    location, answers = locate(target), opened(target, contents, tmp_path)
    for dtype, content, real in zip(types, contents, answers, strict=True):
        path = tmp_path / f"{dtype}.tflite"
        path.write_bytes(content)
        assert location is not None
        needs = inspect(path).needs
        assert (not incompatibilities(needs, target.runtime, location.version)) == real, dtype


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["tflite-runtime", "litert", f"litert=={OLD_LITERT}"])
def test_what_the_table_says_of_real_files_is_what_runtimes_do(runtime: str, tiny: TinyRun, old_litert: Target) -> None:
    target = Target.parse(f"local/{runtime}")
    if missing_runtime(target):
        pytest.skip(f"{runtime} is not on this machine")
    for scheme in ("float32", "float16", "dynamic", "int8", "int8-int8io", "int8-uint8io"):
        artifact = tiny.artifact(f"tflite:{scheme}")
        outcome = open_runner(artifact, target, timeout_seconds=120).load(tiny.data.images("test"))
        wrong = runtime_fallbacks.incompatibility(artifact, target)
        assert outcome.ok == (wrong is None), (scheme, outcome.reason, wrong)


def test_the_table_is_in_itself_consistent() -> None:
    for (name, version), first in VERSIONS.items():
        older = VERSIONS.get((name, version - 1))
        if older and first.tflite:
            assert order(older.tflite) <= order(first.tflite), (name, version)
            assert order(older.litert) <= order(first.litert), (name, version)
    assert len(VERSIONS) == 441
    assert (
        oldest("FULLY_CONNECTED", 12) == "2.17.0" and newest_version("tflite-runtime", "2.14", "FULLY_CONNECTED") == 10
    )
    assert oldest("FULLY_CONNECTED", 99) == "" and oldest("STABLEHLO_CBRT", 1) == ""


def test_litert_is_called_by_the_tensorflow_lite_that_it_is() -> None:
    releases = ["1.0.0", "1.0.1", "1.1.2", "1.4.0", "2.0.2", "2.1.1", "2.1.2", "2.1.5", "2.1.6", "2.2.0", "2.3.0"]
    for release in releases:
        same = tflite_of("litert", release)
        assert all(
            order(first.litert) <= order(release)
            for first in VERSIONS.values()
            if first.tflite and order(first.tflite) <= order(same)
        ), release
        newer = [first for first in VERSIONS.values() if first.tflite and order(first.tflite) > order(same)]
        assert not newer or any(order(first.litert) > order(release) for first in newer), release
    assert tflite_of("tflite-runtime", "2.14") == "2.14.0"


def test_a_version_that_nobody_has_is_refused_by_known_runtimes_and_open_for_newer_ones() -> None:
    needs = needs_of([Operator("ADD", 77, 1), Operator("MyOp", 1, 1, custom=True)])
    assert [m.operator for m in incompatibilities(needs, "litert", "2.3.0")] == ["ADD"]
    assert "in no runtime that is known" in incompatibilities(needs, "tflite-runtime", "2.14")[0].reason
    assert not incompatibilities(needs, "litert", "9.0") and not incompatibilities(needs, "tflite-runtime", "3.0.0")
    assert order(NEWEST["tflite"]) == (2, 23, 0)


# --- files that say too little ---------------------------------------------------------------------------------------


def hybrid_dense(version: int, channels: int) -> bytes:
    """A dense layer with float activations and int8 weights, with one scale or one for each channel."""
    tensors = []
    for name, shape, kind in (("x", [1, 4], "FLOAT32"), ("w", [3, 4], "INT8"), ("y", [1, 3], "FLOAT32")):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), shape, getattr(schema.TensorType, kind)
        tensors.append(tensor)
    tensors[1].buffer = 1
    tensors[1].quantization = schema.QuantizationParametersT()
    tensors[1].quantization.scale, tensors[1].quantization.zeroPoint = [0.5, 0.1, 2.0][:channels], [0] * channels
    code, node = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = version
    node.inputs, node.outputs, node.opcodeIndex = [0, 1, -1], [2], 0
    node.builtinOptionsType, node.builtinOptions = (
        schema.BuiltinOptions.FullyConnectedOptions,
        schema.FullyConnectedOptionsT(),
    )
    graph, model, empty, weights = schema.SubGraphT(), schema.ModelT(), schema.BufferT(), schema.BufferT()
    weights.data = np.arange(-6, 6, dtype=np.int8).view(np.uint8)
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [2], [node]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [empty, weights]
    return built(model)


def test_a_file_that_says_less_than_it_needs_is_seen_through(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(hybrid_dense(version=3, channels=3))
    contents = inspect(path)
    assert contents.min_runtime == "tflite 2.17.0" and contents.ops[0].version == 3
    assert "says version 3 and needs version 12" in contents.notes[0]
    assert incompatibilities(contents.needs, "tflite-runtime", "2.14.0") and not incompatibilities(
        contents.needs, "litert", "1.0.1"
    )
    assert [(q.name, q.scales, q.axis) for q in contents.quantized] == [("w", 3, 0)]

    path.write_bytes(hybrid_dense(version=3, channels=1))
    contents = inspect(path)
    assert contents.min_runtime == "tflite 1.14.0" and not contents.notes


@pytest.mark.slow
def test_old_runtimes_load_and_misanswer_what_says_too_little(tmp_path: Path) -> None:
    """Why `kernels` overrules the file: what 2.14 computes of such a file is not what it says."""
    if not installed_versions()["tflite-runtime"]:
        pytest.skip("tflite-runtime is not installed in this Python")
    path = tmp_path / "x.tflite"
    path.write_bytes(hybrid_dense(version=3, channels=3))
    inputs = tmp_path / "in.npy"
    np.save(inputs, np.array([[1.0, 2.0, 3.0, 4.0]], np.float32))
    weights = np.arange(-6, 6).reshape(3, 4) * np.array([[0.5], [0.1], [2.0]])
    right = weights @ np.array([1.0, 2.0, 3.0, 4.0])
    answers = {}
    for runtime in ("litert", "tflite-runtime"):
        artifact = Artifact("x", "x", "tflite", "dynamic", path)
        outcome = open_runner(artifact, Target("local", runtime)).infer(inputs, tmp_path / f"{runtime}.npy", 0, 1)
        assert outcome.ok, outcome.reason
        answers[runtime] = np.load(tmp_path / f"{runtime}.npy")[0]
    np.testing.assert_allclose(answers["litert"], right, rtol=0.05, atol=0.1)
    assert not np.allclose(answers["tflite-runtime"], right, rtol=0.2)


@pytest.fixture(scope="module")
def int16x8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with 16-bit activations, by TensorFlow's converter."""
    path = shared(tmp_path_factory)("tflite:int16x8", CONVERTER).path
    assert path is not None
    return path


def test_int16_kernels_are_younger_than_their_version_numbers(int16x8: Path) -> None:
    contents = inspect(int16x8)
    assert contents.min_runtime == "tflite 2.4.0"
    assert contents.claimed_runtime and order(contents.claimed_runtime.split()[1]) < order("2.4.0")


# --- inspect ----------------------------------------------------------------------------------------------------------


def test_inspect_tells_what_a_file_is(tiny: TinyRun) -> None:
    path = tiny.artifact("tflite:dynamic").path
    assert path is not None
    contents = inspect(path)
    assert contents.min_runtime == "tflite 2.17.0" and contents.min_litert == "1.0.0"
    assert {op.name: op.min_runtime for op in contents.ops}["FULLY_CONNECTED"] == "2.17.0"
    assert any(tensor.scales > 1 and tensor.axis is not None for tensor in contents.quantized)
    document = to_json(contents)
    assert {"min_runtime", "ops", "inputs", "outputs", "metadata"} <= document.keys()
    assert "min_runtime_version" in document["metadata"]["entries"]
    (gpu,) = [row for row in contents.delegates if row["delegate"] == "TFLite GPU delegate"]
    assert gpu["kind"] == "estimated" and gpu["total"] == sum(op.count for op in contents.ops)
    assert [(r["op"], r["count"]) for r in gpu["refuses"]] == [("FULLY_CONNECTED", 1)]
    assert "version 12" in gpu["refuses"][0]["why"]


def test_npus_take_an_int8_file_but_for_its_float_edges(tiny: TinyRun, int16x8: Path) -> None:
    """As Vela 5.2 says of such files: two operators on the CPU, QUANTIZE and DEQUANTIZE; with int8 edges none."""
    for scheme, refused in (("int8", {"QUANTIZE", "DEQUANTIZE"}), ("int8-int8io", set())):
        path = tiny.artifact(f"tflite:{scheme}").path
        assert path is not None
        rows = {row["delegate"]: row for row in inspect(path).delegates}
        for name in ("Arm Ethos-U55/U65", "Arm Ethos-U85", "Coral Edge TPU"):
            assert {r["op"] for r in rows[name]["refuses"]} == refused
            assert rows[name]["takes"] + sum(r["count"] for r in rows[name]["refuses"]) == rows[name]["total"]
    rows = {row["delegate"]: row for row in inspect(int16x8).delegates}
    assert rows["Coral Edge TPU"]["takes"] == 0 and rows["TFLite GPU delegate"]["takes"] == 0
    assert rows["Arm Ethos-U55/U65"]["takes"] > 0


def test_delegates_say_why() -> None:
    def tensor(dtype: str = "int8", shape: tuple[int, ...] = (1, 8, 8, 3), **more: Any) -> Tensor:
        return Tensor("t", shape, dtype, scales=1 if dtype != "float32" else 0, **more)

    def why(name: str, node: Node) -> str:
        (row,) = [row for row in estimate([node]) if row["delegate"] == name]
        assert row["total"] == 1 and row["takes"] == 1 - len(row["refuses"])
        return row["refuses"][0]["why"] if row["refuses"] else ""

    plain = Node("ADD", 2, (tensor(), tensor()), (tensor(),))
    for name in ("TFLite GPU delegate", "Arm Ethos-U55/U65", "Coral Edge TPU"):
        assert why(name, plain) == ""
        free = tensor(shape=(1, 1, 8, 3), dynamic=(1,))
        assert "only known when it runs" in why(name, replace(plain, inputs=(free, tensor())))
        assert "custom" in why(name, Node("MyOp", 1, custom=True))
        assert "not among" in why(name, Node("WHILE", 1))
    batch = tensor(shape=(4, 8, 8, 3))
    assert "batch" in why("Coral Edge TPU", Node("ADD", 2, (batch, batch), (batch,)))
    assert "a batch of 4" in why("Arm Ethos-U55/U65", Node("MEAN", 2, (batch,), (batch,)))
    assert "float32" in why("Coral Edge TPU", Node("ADD", 1, (tensor("float32"),), (tensor("float32"),)))
    assert "version 99" in why("TFLite GPU delegate", replace(plain, version=99))
    pool = Node("MAX_POOL_2D", 2, (tensor(),), (tensor(),), {"activation": "RELU6", "strides": (4, 4)})
    assert "RELU6" in why("Coral Edge TPU", pool) and "strides" in why("Arm Ethos-U55/U65", pool)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files_are_told_and_never_a_traceback(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(hybrid_dense(3, 3))
    for _ in range(data.draw(st.integers(1, 12))):
        place = data.draw(st.integers(8, len(content) - 5))
        value = data.draw(st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 2**31, 2**32 - 1, 4, 2**20])))
        content[place : place + 4] = struct.pack("<I", value)
    path = tmp_path_factory.mktemp("damaged") / "x.tflite"
    path.write_bytes(content[: data.draw(st.integers(8, len(content)))])
    try:
        to_json(inspect(path))
    except InputError as error:
        assert str(path) in error.message


def test_a_file_whose_tables_repeat_one_another_is_refused_early(tmp_path: Path) -> None:
    """Some kilobytes can refer to the same names a million times over."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = b"x" * 60_000, [1], 0
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.inputs, graph.outputs = [tensor], [], []
    model.version, model.subgraphs, model.buffers = 3, [graph] * 1, [schema.BufferT()]
    builder = flatbuffers.Builder(0)
    packed = graph.Pack(builder)
    schema.ModelStartSubgraphsVector(builder, 2000)
    for _ in range(2000):
        builder.PrependUOffsetTRelative(packed)
    subgraphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, subgraphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    path = tmp_path / "x.tflite"
    path.write_bytes(bytes(builder.Output()))
    with pytest.raises(InputError, match="more than they can hold"):
        inspect(path)


def test_names_from_a_file_reach_nobody_s_terminal(tmp_path: Path) -> None:
    content = hybrid_dense(3, 1)
    path = tmp_path / "x.tflite"
    path.write_bytes(content.replace(b"x\0", b"\x1b\0", 1) if b"x\0" in content else content)
    assert all(name.isprintable() for name in (t.name for t in inspect(path).inputs))


def test_appended_files_are_listed_and_not_unpacked(tiny: TinyRun, tmp_path: Path) -> None:
    source = tiny.artifact("tflite:float32").path
    assert source is not None
    path = tmp_path / "x.tflite"
    path.write_bytes(source.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "a\nb\n")
        archive.writestr("../../evil\x1b.txt", "x")
    appended = inspect(path).metadata["appended"]
    assert appended[0] == {"name": "labels.txt", "bytes": 4} and appended[1]["name"].isprintable()
    assert not (tmp_path.parent / "evil.txt").exists()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_metadata_of_any_bytes_are_read_or_told(noise: bytes) -> None:
    metadata = read_metadata(b"\x08\0\0\0M001" + noise)
    assert isinstance(metadata, dict)
    assert json.dumps(metadata)


def test_metadata_are_read(tmp_path: Path) -> None:
    content = metadata()
    parsed = read_metadata(content)
    assert parsed["name"] == "flowers" and parsed["description"] == "which flower"
    assert parsed["inputs"][0]["normalization"] == {"mean": [127.5], "std": [127.5]}
    assert parsed["outputs"][0]["files"] == [{"name": "labels.txt", "type": "axis labels"}]
    for cut in range(0, len(content), 7):
        read_metadata(content[:cut])


def metadata() -> bytes:
    """Build TFLite metadata slot by slot: a name, a description, an input's normalization, an output's labels."""
    b = flatbuffers.Builder(0)

    def table(slots: dict[int, Any], size: int) -> int:
        b.StartObject(size)
        for slot, (kind, value) in slots.items():
            (b.PrependUOffsetTRelativeSlot if kind == "offset" else b.PrependUint8Slot)(slot, value, 0)
        return int(b.EndObject())

    def vector(offsets: list[int]) -> int:
        b.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            b.PrependUOffsetTRelative(offset)
        return int(b.EndVector())

    def floats(value: float) -> int:
        b.StartVector(4, 1, 4)
        b.PrependFloat32(value)
        return int(b.EndVector())

    name, description, labels = (b.CreateString(text) for text in ("flowers", "which flower", "labels.txt"))
    normal = table({0: ("offset", floats(127.5)), 1: ("offset", floats(127.5))}, 2)
    unit = table({0: ("byte", 1), 1: ("offset", normal)}, 2)
    units = vector([unit])
    image = table({4: ("offset", units)}, 7)
    file = table({0: ("offset", labels), 2: ("byte", 2)}, 5)
    files = vector([file])
    scores = table({6: ("offset", files)}, 7)
    inputs, outputs = vector([image]), vector([scores])
    subgraphs = vector([table({2: ("offset", inputs), 3: ("offset", outputs)}, 10)])
    b.Finish(table({0: ("offset", name), 1: ("offset", description), 3: ("offset", subgraphs)}, 8), b"M001")
    return bytes(b.Output())
