"""Samples for a model of neither images nor texts: the user's arrays, checked against its inputs."""

from __future__ import annotations

import hashlib
import tokenize
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.artifact import TensorSpec
from ...core.dataset import PreparedData, save_prepared
from ...core.errors import InputError, explain_disk_errors
from ...core.inputs import check_plain
from ...core.model import InputContract, Model, sample_shape
from ...core.sanitize import shorten
from .containers import ZIP_ERRORS, check_entries
from .tensors import describe

# NumPy reads the header of an old .npy as Python's tokens, and a header may say anything.
ARRAY_ERRORS = (*ZIP_ERRORS, TypeError, tokenize.TokenError, SyntaxError)

BLOCK_BYTES = 16 << 20
CHOICES = "expected a .npy file, or a .npz file with one array, as numpy.save and numpy.savez write them"


@dataclass(frozen=True)
class Input:
    """An input that is fed."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def sample(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return sample_shape(self.shape)


def model_inputs(model: Model) -> list[Input]:
    """Return all inputs of a model: those of an imported one, else the one of its contract."""
    records = model.provenance.get("inputs") or [asdict(_only(model.input))]
    return [Input(str(one["name"]), tuple(one["shape"]), str(one["dtype"])) for one in records]


def model_outputs(model: Model) -> tuple[TensorSpec, ...]:
    """Return the outputs of an imported model; none of a model that was trained here."""
    records = model.provenance.get("outputs") or []
    return tuple(TensorSpec(str(one["name"]), tuple(one["shape"]), str(one["dtype"])) for one in records)


def _only(contract: InputContract) -> Input:
    return Input(contract.name, contract.shape, contract.dtype)


def tensor_data(
    path: Path, folder: Path, model_input: InputContract, *, inputs: Sequence[Input] = (), split: str = "test"
) -> PreparedData:
    """Copy the samples at `path` into `folder` as `split`, in the model's dtype; return the record.

    ``.npy``: one array (N, …) with what follows N as in ``model_input.shape`` behind its batch; ``.npz``: that array
    alone or under the input's name, and for a model of several `inputs` (see `model_inputs`) an array for each, which
    become the fields of one structured array. There are no classes: the score is agreement with the float
    model. Values are used unchanged; floating-point numbers for an input of whole numbers are refused.

    Raises InputError when the file is not that, holds objects (pickles), has other shapes or dtypes, no samples, or NaN
    or infinite values; StageError when the disk refuses.
    """
    needed = list(inputs) or [_only(model_input)]
    if any(one.dtype == "string" for one in needed):
        raise InputError("the model takes texts, not arrays", "give texts, e.g. csv:FILE or textfolder:FOLDER")
    arrays = _open(path, [one.name for one in needed])
    for one, array in zip(needed, arrays, strict=True):
        _check(path, one, array)
    if len({len(array) for array in arrays}) != 1:
        counts = ", ".join(f"{one.name} {len(array)}" for one, array in zip(needed, arrays, strict=True))
        raise InputError(f"{path} has a different number of samples for each input: {counts}", "give as many of each")
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sha256 = _copy(path, arrays, needed, folder / f"{split}.npy")
    data = PreparedData(
        folder=folder,
        source=f"npy:{path}",
        labels=(),
        height=0,
        width=0,
        resize="",
        counts={"train": 0, "validation": 0, "test": 0, split: len(arrays[0])},
        sha256=sha256,
        report={"arrays": {one.name: [list(a.shape), str(a.dtype)] for one, a in zip(needed, arrays, strict=True)}},
        kind="tensor",
    )
    save_prepared(data, folder)
    return data


def _check(path: Path, one: Input, array: NDArray[Any]) -> None:
    expected = one.sample
    shown = f"{path} has the shape {describe(array.shape)} and dtype {array.dtype}"
    expectation = f"the model's input {one.name!r} takes {describe((None, *expected))} {one.dtype}"
    if array.ndim != len(expected) + 1 or array.shape[1:] != expected:
        hint = " (a single sample? numpy.save(FILE, array[None]))" if array.shape == expected else ""
        raise InputError(f"{shown}, but {expectation}", f"give an array of samples, one after another{hint}")
    if not len(array):
        raise InputError(f"{path} holds no sample", "give at least one")
    if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, np.dtype(one.dtype), "same_kind"):
        raise InputError(f"{shown}, but {expectation}", f"convert it: array.astype({one.dtype!r})")


def _open(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Return the arrays of the inputs, in their order."""
    check_plain(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file", CHOICES)
    try:
        if zipfile.is_zipfile(path):
            return _members(path, names)
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ARRAY_ERRORS as error:
        raise InputError(f"{path} cannot be read: {shorten(str(error), 200)}", CHOICES) from error
    if len(names) > 1:
        raise InputError(f"{path} holds one array, the model takes {len(names)}",
                         f"numpy.savez(FILE, {', '.join(f'{name}=…' for name in names)})")  # fmt: skip
    return [array]


def _members(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    with zipfile.ZipFile(path) as archive:
        check_entries(path, archive.infolist(), unpacked=False)
    with np.load(path, allow_pickle=False) as arrays:
        keys = list(arrays.files)
        if len(names) == len(keys) == 1:
            return [arrays[keys[0]]]
        if missing := [name for name in names if name not in keys]:
            raise InputError(
                f"{path} has no array for the input {missing[0]!r}; it has: {shorten(', '.join(keys), 200)}",
                f"numpy.savez(FILE, {', '.join(f'{name}=…' for name in names)})",
            )
        return [arrays[name] for name in names]


def _copy(path: Path, arrays: list[NDArray[Any]], expected: list[Input], target: Path) -> str:
    """Write the samples block by block, one array as it is, several as fields; return the hash of what was written."""
    fields = np.dtype([(one.name, one.dtype, one.sample) for one in expected])
    single = len(expected) == 1
    dtype, shape = (np.dtype(expected[0].dtype), arrays[0].shape) if single else (fields, arrays[0].shape[:1])
    copy = np.lib.format.open_memmap(target, "w+", dtype, shape)
    rows = max(1, BLOCK_BYTES // max(1, fields.itemsize))
    digest = hashlib.sha256(str(dtype.descr).encode())
    for at in range(0, len(arrays[0]), rows):
        part = slice(at, at + rows)
        for one, array in zip(expected, arrays, strict=True):
            block = array[part].astype(one.dtype)
            if not np.isfinite(block).all():
                raise InputError(f"{path} holds NaN or infinite values (from sample {at} on)", "leave those out")
            if single:
                copy[part] = block
            else:
                copy[one.name][part] = block
        digest.update(copy[part].tobytes())
    copy.flush()
    return digest.hexdigest()
