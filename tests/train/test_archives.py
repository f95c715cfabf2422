"""Archives from elsewhere: whole to the last checksum or refused, and nothing in them decides where anything goes."""

from __future__ import annotations

import gzip
import io
import random
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core import unpacking
from edgeproof.core.errors import InputError
from edgeproof.core.files import plain_files
from edgeproof.core.model import InputContract
from edgeproof.train.external import containers
from edgeproof.train.external.containers import read_archive
from edgeproof.train.external.samples import tensor_data
from edgeproof.train.hub import archive as archives
from edgeproof.train.hub.archive import unpack

PARTS = {
    "./saved_model.pb": b"\x12\x02ab" * 40,
    "./variables/variables.index": bytes(range(256)) * 8,
    "./variables/variables.data-00000-of-00001": random.Random(1).randbytes(4000),
}
GOOD = {
    "config.json": b'{"class_name": "Sequential", "config": {}}',
    "metadata.json": b'{"keras_version": "3.3.0"}',
    "assets/words.txt": b"a\nb\n" * 300,
}


def tar(parts: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:", format=form) as file:
        for name, content in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def unpacked(content: bytes, folder: Path) -> dict[str, bytes]:
    """Unpack a .tar.gz of these bytes into a new folder; return what then lies there."""
    folder.mkdir(parents=True)
    (folder / "m.tar.gz").write_bytes(content)
    target = folder / "inside"
    unpack(folder / "m.tar.gz", target)
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in plain_files(target)}


UNPACKED = {name.removeprefix("./"): content for name, content in PARTS.items()}
PACKED = gzip.compress(tar(PARTS), mtime=0)


def test_a_whole_archive_is_unpacked(tmp_path: Path) -> None:
    for number, form in enumerate((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        assert unpacked(gzip.compress(tar(PARTS, form)), tmp_path / str(number)) == UNPACKED
    long = {f"{'folder' * 20}/{'name' * 40}": b"x", "variables/ключ": b"y"}  # extended headers
    assert unpacked(gzip.compress(tar(long)), tmp_path / "long") == long


@given(st.lists(st.integers(0, len(PACKED) * 8 - 1), min_size=1, max_size=3, unique=True))
def test_flipped_bits_are_noticed_or_change_nothing(tmp_path_factory: pytest.TempPathFactory, bits: list[int]) -> None:
    """Nothing but gzip's own header (the time, the system, flags that nobody reads) may differ without a word."""
    damaged = bytearray(PACKED)
    for bit in bits:
        damaged[bit // 8] ^= 1 << bit % 8
    try:
        files = unpacked(bytes(damaged), tmp_path_factory.mktemp("flipped") / "x")
    except InputError as error:
        assert "m.tar.gz was not unpacked" in error.message
    else:
        assert files == UNPACKED and all(bit < 80 for bit in bits)


@given(st.integers(0, 2), st.integers(0, 511), st.integers(1, 255))
def test_a_damaged_header_is_not_the_archives_end(
    tmp_path_factory: pytest.TempPathFactory, member: int, at: int, change: int
) -> None:
    """Damaged before it was packed, so that gzip's checksum fits: what follows must not be missing in silence."""
    plain = bytearray(tar(PARTS, tarfile.USTAR_FORMAT))
    headers = [plain.index(name.encode()) for name in PARTS]
    plain[headers[member] + at] ^= change
    try:
        files = unpacked(gzip.compress(bytes(plain), 1), tmp_path_factory.mktemp("header") / "x")
    except InputError:
        return
    assert len(files) == len(UNPACKED)


@pytest.mark.parametrize("end", range(0, len(PACKED), 97))
def test_a_cut_archive_is_refused(tmp_path: Path, end: int) -> None:
    with pytest.raises(InputError, match="was not unpacked"):
        unpacked(PACKED[:end], tmp_path / "x")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * 256, "bytes, more than"), ("é" * 200, "bytes, more than"), ("/".join(["ab"] * 40), "not a path below"),
        ("/".join(["a" * 200] * 8), "not a path below"), ("a/" * 3000 + "b", "not a path below"), ("a\nb", "U.000A"),
        ("variables/\x1b[2Jx", "U.001B"), ("\u202ename", "U.202E"), ("con", "Windows"), ("assets/NUL.txt", "Windows"),
        ("a\\..\\b", "it has"), ("C:x", "it has"), ("../x", "leads out"), ("a/../../x", "leads out"),
        ("/x", "leads out"),
    ],
)  # fmt: skip
def test_a_name_that_no_file_should_have_is_refused(tmp_path: Path, name: str, message: str) -> None:
    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        with pytest.raises(InputError, match=message):
            unpacked(gzip.compress(tar({"saved_model.pb": b"x", name: b"y"}, form)), tmp_path / str(number))
        assert {path.name for path in plain_files(tmp_path / str(number))} <= {"m.tar.gz", "saved_model.pb"}


def test_bytes_behind_the_end_are_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unpacked(PACKED + b"\0" * 512, tmp_path / "padding") == UNPACKED
    with pytest.raises(InputError, match="was not unpacked"):
        unpacked(PACKED + b"more", tmp_path / "more")
    for limit in ("SMALL_BYTES", "OVERHEAD"):
        monkeypatch.setattr(archives, limit, 1 << 20)
    bomb = gzip.compress(tar(PARTS) + bytes(3 << 20), 9)  # what is declared is small
    with pytest.raises(InputError, match="unpacks to more than"):
        unpacked(bomb, tmp_path / "bomb")


def header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def test_headers_are_bounded(tmp_path: Path) -> None:
    """Python's reader of extended headers is quadratic in a run of digits, recursive, and keeps the global ones."""
    digits = b"1" * 60_000
    globals_ = b"".join(
        header(tarfile.XGLTYPE, 512) + f"{len(f' k{number}=v') + 3} k{number:03}=v\n".encode().ljust(512, b"\0")
        for number in range(300)
    )
    for number, hostile in enumerate(
        (
            header(tarfile.XHDTYPE, len(digits)) + digits,
            header(tarfile.XHDTYPE, 1 << 33) + bytes(1 << 16),
            header(tarfile.GNUTYPE_LONGNAME, 1 << 20) + b"n" * (1 << 20),
            header(tarfile.XHDTYPE, -512 & 0x7FFFFFFF) + bytes(512),
            (header(tarfile.GNUTYPE_LONGNAME, 512) + b"n".ljust(512, b"\0")) * 2000,
            globals_,
        )
    ):
        with pytest.raises(InputError, match="was not unpacked"):
            unpacked(gzip.compress(hostile + tar(PARTS), 1), tmp_path / str(number))


# Zip archives


def zipped(path: Path, parts: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_in_a_keras_archives_content_is_noticed(tmp_path: Path, method: int) -> None:
    """Also in what is not read by us: weights, which Keras reads here and there, and so without a checksum."""
    intact = zipped(tmp_path / "m.keras", GOOD, method).read_bytes()
    assert read_archive(tmp_path / "m.keras")[0]["class_name"] == "Sequential"
    with zipfile.ZipFile(tmp_path / "m.keras") as file:
        entries = file.infolist()
    for entry in entries:
        start = entry.header_offset + 30 + len(entry.filename)
        for at in range(start, start + entry.compress_size, 7):
            damaged = bytearray(intact)
            damaged[at] ^= 1 << at % 8
            (tmp_path / "m.keras").write_bytes(damaged)
            try:
                read_archive(tmp_path / "m.keras")
            except InputError as error:
                assert "is damaged" in error.message
            else:  # a bit that fills deflate's last byte
                with zipfile.ZipFile(tmp_path / "m.keras") as file:
                    assert {name: file.read(name) for name in GOOD} == GOOD


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../x", "file name"), ("/etc/x", "not a path below"), ("a/../x", "file name"), ("..\\x", "file name"),
        ("C:/x", "file name"), ("a/con", "file name"), ("a" * 300, "file name"), ("a\x01b", "file name"),
        (".", "without a name"), ("/".join("a" * 50), "not a path below"),
    ],
)  # fmt: skip
def test_a_zip_entrys_name_is_a_path_below_a_folder(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_archive(zipped(tmp_path / "m.keras", GOOD | {name: b"x"}))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_zip_holds_no_links_and_devices(tmp_path: Path, kind: int) -> None:
    path = zipped(tmp_path / "m.keras", GOOD)
    entry = zipfile.ZipInfo("assets/x")
    entry.external_attr = (kind | 0o644) << 16
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(entry, "/etc/passwd")
    with pytest.raises(InputError, match="a link or a device"):
        read_archive(path)


def test_a_zip_is_bounded_by_what_it_declares_and_by_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "FREE", 1 << 20)
    path = zipped(tmp_path / "m.keras", GOOD | {"assets/zeros": bytes(3 << 20)})
    with pytest.raises(InputError, match="would unpack to"):
        read_archive(path)
    # The size of the last entry in the central directory, made small: a lie that the checksum tells.
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 10)
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        read_archive(path)
    monkeypatch.setattr(containers, "MEMBERS", 10)
    many = zipped(tmp_path / "many.keras", GOOD | {f"a{number}": b"" for number in range(10)})
    with pytest.raises(InputError, match="files, more than"):
        read_archive(many)


def test_arrays_in_a_zip_are_checked_and_keep_the_names_that_models_give(tmp_path: Path) -> None:
    """They are never unpacked into files, so ``serving_default_x:0`` is as good a name as any."""
    path = tmp_path / "a.npz"
    np.savez(path, **{"x:0": np.arange(8, dtype=np.float32).reshape(2, 4)})
    contract = InputContract("x:0", (1, 4), kind="tensor")
    assert tensor_data(path, tmp_path / "good", contract, split="train").counts["train"] == 2
    intact = path.read_bytes()
    damaged = bytearray(intact)
    damaged[intact.index(b"\x00\x00\x80\x3f")] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="cannot be read"):
        tensor_data(path, tmp_path / "flipped", contract, split="train")
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (1 << 50, 4)})
    zipped(path, {"x:0.npy": stream.getvalue()})
    with pytest.raises(InputError, match="cannot be read"):
        tensor_data(path, tmp_path / "enormous", contract, split="train")
