"""Metadata in a .tflite: the public schema's own reader understands them, and the model stays what it was."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof.core.errors import InputError
from edgeproof.tflite.metadata_append import attach, read_files
from edgeproof.tflite.metadata_writer import (
    AssociatedFile,
    BertTokenizer,
    ImageContent,
    ModelMetadata,
    Normalization,
    RegexTokenizer,
    SentencePieceTokenizer,
    TensorMetadata,
    min_parser_version,
    pack,
)

from ..support.bundle_models import mean_colour_model

WORDS = AssociatedFile("vocab.txt", "vocabulary")
METADATA = ModelMetadata(
    name="name",
    description="what it does",
    version="v1",
    author="who",
    licence="free",
    inputs=(
        TensorMetadata(
            "image",
            content=ImageContent("rgb"),
            units=(Normalization((127.5,), (127.5,)),),
            low=(-1.0,),
            high=(1.0,),
        ),
    ),
    outputs=(TensorMetadata("scores", files=(AssociatedFile("labels.txt", "axis labels", "classes", "en"),)),),
)


def official() -> Any:
    """The schema's generated reader, as mediapipe carries it; loaded alone, without mediapipe's libraries."""
    package = importlib.util.find_spec("mediapipe")
    if package is None or package.origin is None:
        pytest.skip("mediapipe is not installed")
    path = Path(package.origin).parent / "tasks" / "metadata" / "metadata_schema_py_generated.py"
    spec = importlib.util.spec_from_file_location("metadata_schema", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    about = interpreter.get_input_details()[0]
    values = np.random.default_rng(0).random(about["shape"], "float32")
    interpreter.set_tensor(about["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def metadata_of(content: bytes) -> list[bytes]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    return [bytes(model.buffers[m.buffer].data) for m in model.metadata or () if m.name == b"TFLITE_METADATA"]


def test_the_schemas_own_reader_finds_every_field() -> None:
    schema = official()
    packed = pack(METADATA)
    assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(packed, 0)
    model = schema.ModelMetadataT.InitFromPackedBuf(packed, 0)
    fields = (model.name, model.description, model.version, model.author, model.license, model.minParserVersion)
    assert fields == (b"name", b"what it does", b"v1", b"who", b"free", b"1.0.0")
    (graph,) = model.subgraphMetadata
    (image,), (scores,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    assert image.content.contentPropertiesType == schema.ContentProperties.ImageProperties
    assert image.content.contentProperties.colorSpace == schema.ColorSpaceType.RGB
    (unit,) = image.processUnits
    assert unit.optionsType == schema.ProcessUnitOptions.NormalizationOptions
    assert (list(unit.options.mean), list(unit.options.std)) == ([127.5], [127.5])
    assert (list(image.stats.min), list(image.stats.max)) == ([-1.0], [1.0])
    assert scores.content.contentPropertiesType == schema.ContentProperties.FeatureProperties
    (labels,) = scores.associatedFiles
    assert (labels.name, labels.description, labels.locale) == (b"labels.txt", b"classes", b"en")
    assert labels.type == schema.AssociatedFileType.TENSOR_AXIS_LABELS


def test_tokenizers_are_the_schemas_own() -> None:
    schema = official()
    units = (
        BertTokenizer(WORDS),
        SentencePieceTokenizer(AssociatedFile("model.spm"), WORDS),
        RegexTokenizer(r"[^\w']+", WORDS),
    )
    model = schema.ModelMetadataT.InitFromPackedBuf(pack(ModelMetadata("text", input_units=units)), 0)
    bert, pieces, regex = model.subgraphMetadata[0].inputProcessUnits
    kinds = schema.ProcessUnitOptions
    assert [u.optionsType for u in (bert, pieces, regex)] == [
        kinds.BertTokenizerOptions,
        kinds.SentencePieceTokenizerOptions,
        kinds.RegexTokenizerOptions,
    ]
    assert bert.options.vocabFile[0].name == b"vocab.txt"
    assert bert.options.vocabFile[0].type == schema.AssociatedFileType.VOCABULARY
    assert pieces.options.sentencePieceModel[0].name == b"model.spm"
    assert regex.options.delimRegexPattern == rb"[^\w']+"


@pytest.mark.parametrize(
    ("metadata", "version"),
    [
        (METADATA, "1.0.0"),
        (ModelMetadata("a", files=(WORDS,)), "1.0.1"),
        (ModelMetadata("a", input_units=(BertTokenizer(WORDS),)), "1.1.0"),
        (ModelMetadata("a", inputs=(TensorMetadata(units=(RegexTokenizer(" ", WORDS),)),)), "1.2.1"),
    ],
)
def test_the_oldest_reader_is_named(metadata: ModelMetadata, version: str) -> None:
    assert min_parser_version(metadata) == version


def test_the_model_stays_what_it_was() -> None:
    plain = mean_colour_model()
    written = attach(plain, pack(METADATA), {"labels.txt": b"r\ng\nb\n"})
    at = written.index(plain)
    assert at % 16 == 0  # every alignment inside is kept
    assert metadata_of(written) == [pack(METADATA)]
    assert read_files(written) == {"labels.txt": b"r\ng\nb\n"}
    assert np.array_equal(answers(plain), answers(written))
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_equal_arguments_give_equal_bytes_and_new_metadata_replace_the_old() -> None:
    plain = mean_colour_model()
    once = attach(plain, b"old metadata", {"old.txt": b"old", "labels.txt": b"old"})
    assert once == attach(plain, b"old metadata", {"labels.txt": b"old", "old.txt": b"old"})
    again = attach(once, pack(METADATA), {"labels.txt": b"new\n"})
    assert metadata_of(again) == [pack(METADATA)]
    assert read_files(again) == {"labels.txt": b"new\n"}
    assert np.array_equal(answers(plain), answers(again))


def test_weights_behind_the_flatbuffer_are_found_where_they_went() -> None:
    from ai_edge_litert import schema_py_generated as schema

    plain = mean_colour_model(outlying=True)
    written = attach(plain, pack(METADATA), {"labels.txt": b"r\ng\nb\n"})
    buffer = schema.ModelT.InitFromPackedBuf(written, 0).buffers[2]
    assert written[buffer.offset : buffer.offset + buffer.size] == plain[-12:]
    assert np.array_equal(answers(mean_colour_model()), answers(written))


def test_what_is_no_model_is_refused() -> None:
    for content in (b"", b"PK\3\4", bytes(64), b"\0\0\0\0TFL3", b"\xff\xff\xff\xffTFL3" + bytes(64)):
        with pytest.raises(InputError):
            attach(content, b"m", {})


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(8, 2000), st.integers(0, 255)), max_size=6), st.integers(8, 2000))
def test_damaged_models_are_refused_or_rewritten_but_nothing_else(changes: list[tuple[int, int]], end: int) -> None:
    content = bytearray(mean_colour_model())
    for place, value in changes:
        content[place % len(content)] = value
    old = bytes(content[:end])
    try:
        new = attach(old, b"m", {})
    except InputError as error:
        assert error.message
        return
    tail = new[len(new) + -(-len(old) // 16) * -16 :][: len(old)]
    # A damaged field may make outlying weights of a table's buffers; where these begin is corrected, 8 bytes for each.
    moved = 8 * 16 if changes else 0
    assert len(tail) == len(old) and sum(a != b for a, b in zip(tail, old, strict=True)) <= moved


@pytest.mark.parametrize("package", ["edgeproof.export.bundle", "edgeproof.workflows.bundle"])
def test_the_room_is_light(package: str) -> None:
    heavy = "'tensorflow', 'mediapipe', 'ai_edge_litert', 'flatbuffers', 'onnx'"
    code = f"import sys, {package}; print([m for m in ({heavy}) if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
