"""Reads the tensors of a legacy PyTorch file (before the zip format of PyTorch 1.6) without PyTorch.

Such a file is five pickles (a magic number, a protocol version, facts on the writing system, the object, the keys
of its storages) and then each storage's raw values. A pickle can call any callable by name, so the
unpickler here accepts the few types that make up a tensor and refuses every other name. Even those can crash a process
(a key nested 200,000 deep is hashed on the stack), so a separate process reads the file.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..core import isolated
from ..core.errors import InputError, explain_disk_errors
from ..core.inputs import read_input
from ..core.sanitize import shorten

MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py, MAGIC_NUMBER
PROTOCOL = 1001
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
LIMIT_BYTES = 4 << 30
MOST_SIDES = 16  # of a tensor


@dataclass(frozen=True)
class _Storage:
    """A flat array, stored behind the pickles; tensors are views of it."""

    key: str
    dtype: str
    size: int


@dataclass(frozen=True)
class _Tensor:
    """A strided view of a storage; `offset` and `stride` count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, path: Path) -> None:
        super().__init__(stream)
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        """Return our replacement for one of a tensor's own types; refuse all other names before their code can run."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise InputError(
            f"{self.path} asks for {shorten(f'{module}.{name}', 120)!r}, which no tensor is made of; it was not run",
            "use a file of plain tensors (a state dict) from a source that you trust",
        )

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the storage that a tensor refers to."""
        match pid:
            case ("storage", str(dtype), str(key), str(), int(size), None) if size >= 0:
                return _Storage(key, dtype, size)
        raise pickle.UnpicklingError("a storage's description is malformed")


def _rebuild(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
    sizes = (offset, *shape, *stride)
    if (
        not isinstance(storage, _Storage)
        or not len(shape) == len(stride) <= MOST_SIDES
        or not all(type(n) is int and n >= 0 for n in sizes)
    ):
        raise pickle.UnpicklingError("a tensor's description is malformed")
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a state dict by name, as arrays of their own dtypes. Reads the file in another process.

    Raises InputError when the file is of another format, is damaged, or names anything but tensors' own types.
    """
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as scratch, explain_disk_errors(Path(scratch)):
        target = Path(scratch) / "tensors.npz"
        try:
            names = isolated.call(f"{__name__}:write_tensors", str(path.absolute()), str(target))
        except isolated.ProcessEndedError as error:
            raise _malformed(path, str(error)) from error
        with np.load(target, allow_pickle=False) as arrays:
            return {name: arrays[str(number)] for number, name in enumerate(names)}


def write_tensors(path: str, target: str) -> list[str]:
    """Write the tensors of the file at `path` to `target`, numbered, in this process; return their names."""
    tensors = parse(Path(path))
    np.savez(target, **{str(number): array for number, array in enumerate(tensors.values())})
    return list(tensors)


def parse(path: Path) -> dict[str, NDArray[Any]]:
    """As `read_state_dict`, in this process, which a hostile file may crash."""
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise InputError(f"{path} has more than {LIMIT_BYTES >> 30} GiB; that is no file of weights we can read")
        stream = io.BytesIO(read_input(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        magic, protocol, _, state, keys = (_TensorUnpickler(stream, path).load() for _ in range(5))
        if magic != MAGIC or protocol != PROTOCOL:
            raise pickle.UnpicklingError("the magic number is another one")
        tensors = {name: t for name, t in state.items() if isinstance(name, str) and isinstance(t, _Tensor)}
        if len(tensors) != len(state):
            raise pickle.UnpicklingError("the state dict holds more than named tensors")
        storages = _read_storages(stream, keys, {t.storage.key: t.storage for t in tensors.values()})
        return {name: _view(t, storages[t.storage.key]) for name, t in tensors.items()}
    except InputError:
        raise
    except Exception as error:
        # The bytes may be hostile: the unpickler may raise any exception.
        raise _malformed(path, f"{type(error).__name__}: {error}") from error


def _malformed(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} is not a legacy PyTorch state dict: {shorten(why, 160)}",
        "expected what torch.save(model.state_dict(), …) wrote before PyTorch 1.6, or since with "
        "_use_new_zipfile_serialization=False",
    )


def _read_storages(stream: io.BytesIO, keys: Any, named: dict[str, _Storage]) -> dict[str, NDArray[Any]]:
    """Read each storage: its number of elements as little-endian int64, then its values."""
    arrays = {}
    for key in keys:
        storage = named[key]
        (count,) = struct.unpack("<q", stream.read(8))
        if count != storage.size:
            raise pickle.UnpicklingError(f"a storage has {count} values where {storage.size} were promised")
        raw = stream.read(count * np.dtype(storage.dtype).itemsize)
        arrays[key] = np.frombuffer(raw, dtype=storage.dtype, count=count)
    return arrays


def _view(tensor: _Tensor, flat: NDArray[Any]) -> NDArray[Any]:
    """Copy a tensor out of its storage. The file gives the strides: they must stay inside, without repeats."""
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
    if math.prod(tensor.shape) > flat.size or (all(tensor.shape) and last >= flat.size):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    strides = tuple(step * flat.itemsize for step in tensor.stride)
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False).copy()
