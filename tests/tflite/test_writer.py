"""The writer: every file that leaves has its values on 16 bytes, and its operators' old codes; nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.errors import InputError
from edgeproof.core.model import Model
from edgeproof.core.variant import SCHEMES
from edgeproof.export.mixed import MAKERS, export_mixed
from edgeproof.tflite import converter, writer
from edgeproof.tflite.metadata_append import attach
from edgeproof.tflite.metadata_writer import ModelMetadata, pack
from edgeproof.tflite.objects import read
from edgeproof.tflite.writer import conform, write

from ..support.bundle_models import mean_colour_model
from ..support.scheme_files import Files, make, shared

PLAIN = [(name, maker) for name, scheme in SCHEMES["tflite"].items() if not scheme.searched for maker in scheme.makers]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return shared(tmp_path_factory)


def model_of(content: bytes) -> Any:
    """The objects, by the code that is generated from the schema."""
    from ai_edge_litert import schema_py_generated as schema

    assert schema.Model.ModelBufferHasIdentifier(content, 0)
    return schema.ModelT.InitFromPackedBuf(content, 0)


def starts(content: bytes) -> list[int]:
    """Where in the file each buffer's values begin."""
    first = np.frombuffer(content, np.uint8).ctypes.data
    return [
        buffer.offset if buffer.offset > 1 else buffer.data.ctypes.data - first
        for buffer in model_of(content).buffers
        if buffer.offset > 1 or (buffer.data is not None and len(buffer.data))
    ]


def assert_as_the_schema_asks(content: bytes) -> None:
    assert starts(content) and not [start for start in starts(content) if start % 16]
    for code in model_of(content).operatorCodes:
        assert code.deprecatedBuiltinCode == min(code.builtinCode, 127), code.builtinCode
    assert conform(content) is content


def plain(table: Any) -> Any:
    """A tree of objects as what compares: no empty fields, no buffers' places, and codes by the new field."""
    if isinstance(table, np.ndarray | list | tuple):
        return [plain(value) for value in table]
    if not hasattr(table, "__dict__"):
        return table
    fields = {name: plain(value) for name, value in vars(table).items() if name != "deprecatedBuiltinCode"}
    return {name: value for name, value in fields.items() if value not in (None, [], 0, b"")}


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "maker"), PLAIN)
def test_every_schemes_file_is_as_the_schema_asks(files: Files, tmp_path: Path, scheme: str, maker: str) -> None:
    kind = SCHEMES["tflite"][scheme].training
    if not kind:
        assert_as_the_schema_asks(files.content(f"tflite:{scheme}", maker))
        return
    trained = replace(files.model, tuning={"kind": kind, "of": "float", "head_only": True})
    artifact = make(trained, f"tflite:{scheme}", tmp_path, files.samples, maker)
    assert artifact.path is not None, artifact.reason
    assert_as_the_schema_asks(artifact.path.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(("keep", "maker"), [(keep, maker) for keep, makers in MAKERS.items() for maker in makers])
def test_so_is_mixed_precision(files: Files, tmp_path: Path, keep: Any, maker: str) -> None:
    graph = read(files.content("tflite:float32")).subgraphs[0]
    names = [graph.tensors[graph.operators[2].outputs[0]].name.decode()]
    artifact = export_mixed(files.model, names, keep=keep, maker=maker, folder=tmp_path, calibration=files.samples)
    assert artifact.path is not None, artifact.reason
    assert_as_the_schema_asks(artifact.path.read_bytes())


def converted(model: Model) -> Any:
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_saved_model(str(model.saved_model), signature_keys=["serving_default"])


@pytest.mark.slow
def test_the_converters_own_file_differs_in_its_places_only(files: Files) -> None:
    theirs, ours = converted(files.model).convert(), converter.convert(converted(files.model))
    assert any(start % 16 for start in starts(theirs)), "the converter aligns by itself: this is not needed any more"
    assert_as_the_schema_asks(ours)
    assert plain(model_of(theirs)) == plain(model_of(ours)) and len(ours) < len(theirs) + 16 * len(starts(ours))
    assert conform(theirs) == write(read(theirs)) == ours


@pytest.mark.slow
def test_a_quantizers_own_file_is_mended_in_its_codes_and_places_only(files: Files) -> None:
    from ai_edge_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(bytearray(files.content("tflite:float32")), recipe.dynamic_wi8_afp32())
    theirs = bytes(tool.quantize().quantized_model)
    ours = conform(theirs)
    assert_as_the_schema_asks(ours)
    assert plain(read(theirs)) == plain(read(ours))


@pytest.mark.parametrize("outlying", [False, True])
def test_a_supplied_file_is_aligned_before_metadata_go_in(outlying: bool) -> None:
    content = mean_colour_model(outlying=outlying)
    crooked = attach(content, pack(ModelMetadata("a")), {"labels.txt": b"r\ng\nb\n"})
    assert any(start % 16 for start in starts(crooked))
    written = attach(conform(crooked), pack(ModelMetadata("b")), {"labels.txt": b"r\ng\nb\n"})
    assert not [start for start in starts(written) if start % 16]
    assert conform(written) is written


def answer(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    picture = np.arange(8 * 8 * 3, dtype=np.float32).reshape(1, 8, 8, 3)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_what_a_flatbuffer_cannot_hold_stands_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    small = mean_colour_model()
    monkeypatch.setattr(writer, "_MOST_INSIDE", 4)
    behind = write(read(small))
    buffers = [buffer for buffer in model_of(behind).buffers if buffer.offset]
    assert [(buffer.offset % 16, buffer.size, buffer.data) for buffer in buffers] == [(0, 8, None), (0, 12, None)]
    assert_as_the_schema_asks(behind)
    assert np.array_equal(answer(behind), answer(small))
    monkeypatch.undo()
    assert write(read(behind)) == write(read(small)) == conform(small)


def test_options_that_stand_behind_the_graph_are_kept() -> None:
    from ai_edge_litert import schema_py_generated as schema

    model = read(mean_colour_model())
    operator = model.subgraphs[0].operators[0]
    operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize = 1 << 20, 4
    read_again = schema.ModelT.InitFromPackedBuf(write(read(write(model).ljust(1 << 20, b"\0") + b"abcd")), 0)
    operator = read_again.subgraphs[0].operators[0]
    assert (bytes(operator.customOptions), operator.largeCustomOptionsOffset) == (b"abcd", 0)


def test_codes_of_operators_are_in_both_fields() -> None:
    from ai_edge_litert import schema_py_generated as schema

    model = read(mean_colour_model())
    old, new, late = model.operatorCodes
    old.builtinCode = 0  # a file from before there was a new field
    new.deprecatedBuiltinCode = 0
    late.builtinCode, late.deprecatedBuiltinCode = schema.BuiltinOperator.GELU, 0
    codes = [(code.builtinCode, code.deprecatedBuiltinCode) for code in model_of(write(model)).operatorCodes]
    operators = schema.BuiltinOperator
    assert codes == [(operators.MEAN,) * 2, (operators.MUL,) * 2, (operators.GELU, 127)]


def test_what_is_no_model_is_refused() -> None:
    for content in (b"", b"PK\3\4", bytes(64)):
        with pytest.raises(InputError, match="not a TFLite file"):
            conform(content)
