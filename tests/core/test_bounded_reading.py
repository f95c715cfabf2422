"""Files made to keep a reader busy, and what is no file at all: refused at once, whatever reads them.

A reader that goes on for minutes shows as a test that does not end.
"""

from __future__ import annotations

import os
import socket
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core import protobuf
from edgeproof.core.errors import InputError
from edgeproof.core.inputs import check_folder, check_plain, read_input
from edgeproof.core.recipe import Data, ModelSpec
from edgeproof.export.inspect import inspect
from edgeproof.tflite.objects import read as read_objects

# --- a few bytes that are referred to many times ----------------------------------------------------------------------


def tflite(
    *, tensors: int = 1, graphs: int = 1, name: bytes = b"x", rank: int = 1, sparse: int = 0, inputs: int = 0
) -> bytes:
    """A ``.tflite`` in which one tensor stands many times."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)

    def table(slots: int, **fields: tuple[int, int]) -> int:
        builder.StartObject(slots)
        for slot, offset in fields.values():
            builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        return int(builder.EndObject())

    def repeated(entry: int, times: int) -> int:
        builder.StartVector(4, times, 4)
        for _ in range(times):
            builder.PrependUOffsetTRelative(entry)
        return int(builder.EndVector())

    def zeros(count: int) -> int:
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependInt32(0)
        return int(builder.EndVector())

    sparsity = table(4, dims=(2, repeated(table(6), sparse)))
    tensor = table(
        11, shape=(0, zeros(rank)), name=(3, builder.CreateString(name)), sparsity=(6, sparsity)
    )  # fmt: skip
    graph = table(5, tensors=(0, repeated(tensor, tensors)), inputs=(1, zeros(inputs)))
    model = table(8, graphs=(2, repeated(graph, graphs)))
    builder.Finish(model, file_identifier=b"TFL3")
    return bytes(builder.Output())


BOMBS: dict[str, dict[str, Any]] = {
    "tensors in graphs": {"tensors": 20_000, "graphs": 200},
    "graphs": {"graphs": 20_000},
    "a name": {"tensors": 5_000, "name": b"n" * 60_000},
    "a shape": {"tensors": 5_000, "rank": 20_000},
    "sparse dimensions": {"tensors": 5_000, "sparse": 20_000},
    "inputs": {"inputs": 200_000, "rank": 1_000},
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_tflite_file_that_refers_to_one_thing_many_times_is_refused(bomb: str, tmp_path: Path) -> None:
    content = tflite(**BOMBS[bomb])
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(InputError, match="refer to more than they can hold"):
        inspect(path)
    with pytest.raises(InputError, match="refer to more than they can hold"):
        read_objects(content)
    harmless = tmp_path / "harmless.tflite"
    harmless.write_bytes(tflite())
    assert inspect(harmless).inputs == ()


# --- many fields of two bytes -----------------------------------------------------------------------------------------


def length(number: int) -> bytes:
    """A number as protobuf writes it."""
    return bytes([number & 127 | 128]) + length(number >> 7) if number > 127 else bytes([number])


def field(number: int, content: bytes) -> bytes:
    return length(number << 3 | 2) + length(len(content)) + content


@pytest.fixture
def few_fields(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(protobuf, "LIMIT", 5_000)
    return 6_000


# Where each level of a SavedModel may stand many times: the way down to the field that is repeated.
DEPTHS = {
    "graphs": [2],
    "nodes": [2, 2, 1],
    "functions": [2, 2, 2, 1],
    "nodes of a function": [2, 2, 2, 1, 3],
    "attributes": [2, 2, 1, 5],
    "objects": [2, 7, 1],
    "signatures": [2, 5],
    "assets": [2, 6],
}


@pytest.mark.parametrize("place", DEPTHS)
@pytest.mark.parametrize("entry", [b"", b"\x08\x01" * 10])
def test_a_saved_model_of_very_many_fields_is_refused(
    place: str, entry: bytes, few_fields: int, tmp_path: Path
) -> None:
    from edgeproof.frameworks.saved_model import read

    *outer, last = DEPTHS[place]
    content = field(last, entry) * few_fields
    for number in reversed(outer):
        content = field(number, content)
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(InputError, match="damaged, or not a SavedModel"):
        read(tmp_path)


@pytest.mark.parametrize("outer", [[7, 1], [7, 5], [7, 11], [8], [14]])
def test_an_onnx_file_of_very_many_fields_is_refused(outer: list[int], few_fields: int, tmp_path: Path) -> None:
    content = field(outer[-1], b"") * few_fields
    for number in reversed(outer[:-1]):
        content = field(number, content)
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match="more than 5,000 fields"):
        inspect(path)


def test_the_limit_is_far_from_what_models_have(tmp_path: Path) -> None:
    """A graph of 2,000 nodes with all that TensorFlow writes takes a hundredth of what is read."""
    node = field(1, b"a/very/long/name") + field(2, b"Conv2D") + field(3, b"x") * 2 + field(4, b"/cpu")
    node += field(5, field(1, b"T") + field(2, b"\x30\x01")) * 8
    (tmp_path / "saved_model.pb").write_bytes(field(2, field(2, field(1, node) * 2_000)))
    left = [protobuf.LIMIT]
    from edgeproof.frameworks.saved_model import _meta_graph

    content = memoryview((tmp_path / "saved_model.pb").read_bytes())
    for part in protobuf.Message(content, left).parts(2):
        assert len(_meta_graph(part).nodes) == 2_000
    assert protobuf.LIMIT - left[0] < protobuf.LIMIT / 100


# --- arrays that say they are what no file holds ----------------------------------------------------------------------


HEADS = [
    "<f4 (1000000000000000000, 3)",
    "<f4 (-1, 3)",
    f"<f4 ({'9' * 30}, 3)",
    "<f4 (4000000000, 3)",
    "<f4 (True, 3)",
    f"<f4 ({'1,' * 100})",
    f"<f4 {'(' * 3000}1, 3{')' * 3000}",
    "O (1, 3)",
    "|S2147483647 (10000000,)",
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("head", HEADS)
def test_an_array_that_says_it_is_what_no_file_holds_is_refused(head: str, packed: bool, tmp_path: Path) -> None:
    dtype, _, shape = head.partition(" ")
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(48))
    if packed:
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            archive.write(path, "x.npy")
        path = tmp_path / "x.npz"
    with pytest.raises(InputError, match=r"cannot be read|has the shape"):
        _array(path)


# --- what is no file --------------------------------------------------------------------------------------------------


def special(kind: str, path: Path) -> Path:
    """Make something at `path` that waits, or never ends, when it is opened."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as one:
            one.bind(f"{short}/s")  # a socket's path has room for a hundred characters
            Path(short, "s").rename(path)
    elif kind == "link":
        os.mkfifo(path.with_name("the-pipe"))
        path.symlink_to("the-pipe")
    else:
        path.symlink_to("/dev/zero")
    return path


def _spec(path: Path, **more: Any) -> ModelSpec:
    return ModelSpec.model_validate({"name": "m", "image_size": 32, **more})


def _labels(path: Path) -> None:
    from edgeproof.workflows.model_files import read_labels

    read_labels(path)


def _examine(path: Path) -> None:
    from edgeproof.train.external import identify

    identify(path, trust=True)


def _archive(path: Path) -> None:
    from edgeproof.train.hub.handles import check_handle

    check_handle(str(path), "", Path())


def _weights(path: Path) -> None:
    from edgeproof.train.backbones import check_backbone

    check_backbone(_spec(path, backbone="keras:MobileNetV2", weights=str(path)), folder=Path("/"))


def _table(path: Path) -> None:
    from edgeproof.data.sources import open_source

    data = Data.model_validate({"source": f"csv:{path}"})
    open_source(data.source, data, Path(), "text").listing()


def _array(path: Path) -> None:
    from edgeproof.core.model import InputContract
    from edgeproof.train.external import tensor_data

    tensor_data(path, path.parent / "out", InputContract("tensor", "x", (1, 3), "float32"))


def _saved_model(path: Path) -> None:
    from edgeproof.train.hub.handles import check_saved_model

    (path.parent / "saved_model.pb").touch()
    check_saved_model(path.parent)


def _objects(path: Path) -> None:
    from edgeproof.train.external.custom import check_objects

    check_objects([str(path)])


INPUTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "TFLite file": ("m.tflite", inspect),
    "ONNX file": ("m.onnx", inspect),
    "labels": ("labels.txt", _labels),
    "Keras file": ("m.keras", _examine),
    "HDF5 file": ("m.h5", _examine),
    "archive": ("m.tar.gz", _archive),
    "weights": ("m.weights.h5", _weights),
    "table": ("t.csv", _table),
    "array": ("x.npy", _array),
    "part of a SavedModel": ("variables.index", _saved_model),
    "code": ("mine.py", _objects),
}


@pytest.mark.parametrize("kind", ["pipe", "socket", "link", "device"])
@pytest.mark.parametrize("use", INPUTS)
def test_what_is_no_file_is_refused_before_it_is_opened(use: str, kind: str, tmp_path: Path) -> None:
    name, opens = INPUTS[use]
    path = special(kind, tmp_path / name)
    with pytest.raises(InputError, match=r"is a (named pipe|socket|device), not a file"):
        opens(path)


def test_plain_files_and_folders_pass_and_what_is_missing_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    (tmp_path / "l").symlink_to("f")
    (tmp_path / "broken").symlink_to("nowhere")
    check_folder(tmp_path)
    for name in ("f", "l", "missing", "broken", "."):
        check_plain(tmp_path / name)
    assert read_input(tmp_path / "l") == b"abc"
    with pytest.raises(FileNotFoundError):
        read_input(tmp_path / "missing")
