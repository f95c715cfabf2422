"""Samples in memory: arrays or texts, with or without classes.

They are written into a temporary folder, as images, lines or arrays, for the readers of files.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import Kind
from ..core.documents import check_bounds
from ..core.errors import InputError
from ..core.recipe_data import Data
from ..core.recipe_file import parse_table
from ..core.sanitize import shorten
from ..tasks import TARGETED, TASKS, inferred_task
from ..tasks.classification import Classification
from ..tasks.detection import Detection
from .box_targets import holds_boxes, listed_boxes, sized_boxes
from .frames import DatasetLike, column_names, dataset_values, frame_values, is_dataset, is_frame

# How samples are named in Python: a source, or (x,) or (x, y).
DataLike: TypeAlias = str | os.PathLike[str] | Data | tuple[Any, ...] | NDArray[Any] | DatasetLike

# A bound on class numbers, since each class below the highest one gets a name. The largest classifiers have fewer.
MOST_CLASSES = 1 << 20
_FORMS = (
    'give a source such as "folder:photos", or arrays: (x,) or (x, y) with x of shape (samples, …) and y the number of '
    "the class of each; several inputs are a dictionary of arrays by name, texts a list"
)


@dataclass(frozen=True)
class PictureFiles:
    """Pictures in files below a folder, by their paths in it: decoded with the model's input, and not kept here."""

    root: Path
    paths: tuple[str, ...]

    def write(self, folder: Path) -> Data:
        """Write a table of the files into `folder`, each a class of its own; return its source. Raises InputError."""
        path = folder / "pictures.csv"
        try:
            with path.open("w", encoding="utf-8", newline="") as stream:
                table = csv.writer(stream)
                table.writerow(["path", "label"])
                table.writerows([name, _called(number)] for number, name in enumerate(self.paths))
        except UnicodeEncodeError as error:
            raise InputError(f"a name in {self.root} is not UTF-8", "rename the pictures") from error
        return Data(source=f"csv:{path}", root=str(self.root))

    def identity(self) -> list[tuple[str, int, int]]:
        """Return name, size and modification time of each file."""
        facts = []
        for name in self.paths:
            try:
                status = (self.root / name).stat()
                facts.append((name, status.st_size, status.st_mtime_ns))
            except OSError:  # decoding it says why
                facts.append((name, -1, -1))
        return facts


@dataclass(frozen=True)
class Samples:
    """Samples in memory.

    `inputs` are arrays (N, …) by the name of the model's input, an empty name where there is one; or N `texts`.
    `classes` (N,) int64 are positions in `names`, or in the model's output where `names` is empty; None: not known.
    `targets` (N, …) are what is right for a `task` other than classification, and then there are no `classes`, and
    `names` are those of the tags or of the classes in the targets. Pictures may be `files`, instead of inputs.
    """

    inputs: Mapping[str, NDArray[Any]]
    texts: tuple[str, ...]
    classes: NDArray[np.int64] | None
    names: tuple[str, ...] = ()
    source: str = "arrays in memory"
    targets: NDArray[Any] | None = None
    task: str = Classification.name
    by_name: bool = False
    """Whether the targets are in the order of `names`, and not in that of the model's output."""
    said: bool = False
    """Whether `names` are said for the numbers of classes or tags: a file with names of its own must know them, and of
    one without any they are its order."""
    files: PictureFiles | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of a recipe's [data], for pictures in files."""
    columns: tuple[str, ...] = ()
    """The names of a frame's columns, which are the last axis of the only input."""

    @property
    def numbered(self) -> bool:
        """Whether the classes are positions in the model's output, and not names."""
        return self.classes is not None and not self.names

    @property
    def sha256(self) -> str:
        """Hash of everything."""
        digest = hashlib.sha256(json.dumps([self.texts, self.names]).encode())
        if self.files is not None:
            digest.update(json.dumps([self.files.identity(), dict(self.settings)]).encode())
        arrays = [*self.inputs.items(), *([("", self.classes)] if self.classes is not None else [])]
        arrays += [(self.task, self.targets)] if self.targets is not None else []
        for name, array in arrays:
            digest.update(f"{name} {array.shape} {array.dtype.str}".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
        return digest.hexdigest()

    def write(self, kind: Kind, folder: Path, *, channels: int = 3) -> Data:
        """Write the samples into `folder` for a model that takes `kind`; return their source. Raises InputError.

        `channels` are those of the model's pictures: only for 4 of them may pictures have 4, too.

        The classes of images and texts are named by their zero-padded numbers. With `targets` each sample is a class of
        its own, so that it is known which ones were left out.
        """
        if self.files is not None:
            if kind != "image":
                raise InputError(f"{self.source} holds pictures, and the model takes {kind}s", "give a source of those")
            return self.files.write(folder).model_copy(update=dict(self.settings))
        if (kind == "text") != bool(self.texts):
            held = "texts" if self.texts else "arrays"
            raise InputError(f"the data are {held}, and the model takes {kind}s", "give samples of that kind")
        if kind == "text":
            return self._write_lines(folder / "samples.jsonl")
        if kind == "image":
            return self._write_pictures(folder / "pictures", channels)
        if list(self.inputs) == [""]:
            np.save(folder / "samples.npy", self.inputs[""], allow_pickle=False)
            return Data(source=f"npy:{folder / 'samples.npy'}")
        with (folder / "samples.npz").open("wb") as stream:
            _save_by_name(stream, self.inputs)
        return Data(source=f"npy:{folder / 'samples.npz'}")

    def _write_lines(self, path: Path) -> Data:
        lines: list[dict[str, str]] = [{"text": text} for text in self.texts]
        if (numbers := self._numbers()) is not None:
            lines = [{**line, "label": _called(n)} for line, n in zip(lines, numbers.tolist(), strict=True)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return Data(source=f"jsonl:{path}")

    def _write_pictures(self, folder: Path, channels: int) -> Data:
        from PIL import Image

        pixels, numbers = self._pixels(channels), self._numbers()
        for index, picture in enumerate(pixels):
            place = folder if numbers is None else folder / _called(int(numbers[index]))
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place / f"{index:09d}.png", compress_level=1)
        return Data(source=f"{'images' if numbers is None else 'folder'}:{folder}")

    def _numbers(self) -> NDArray[np.int64] | None:
        """Return the class that each sample is written as."""
        return self.classes if self.targets is None else np.arange(len(self.targets))

    def _pixels(self, channels: int) -> NDArray[np.uint8]:
        """Return the only input as pictures (N, height, width) or (N, height, width, 3 or 4)."""
        if len(self.inputs) != 1:
            raise InputError(f"the model takes one picture, and the data have {len(self.inputs)} inputs", _FORMS)
        (array,) = self.inputs.values()
        if array.ndim == 4 and array.shape[3] == 1:
            array = array[..., 0]
        if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (3, channels)):
            raise InputError(
                f"the data have the shape {array.shape}, and the model takes pictures",
                "give an array (samples, height, width, 3), or (samples, height, width) in grey"
                + ", or (samples, height, width, 4) with alpha" * (channels == 4),
            )
        if array.dtype.kind not in "ui" or array.min() < 0 or array.max() > 255:
            raise InputError(
                f"pictures are whole numbers from 0 to 255, and the data are {array.dtype} from {array.min():g} to "
                f"{array.max():g}",
                "e.g. (x * 255).round().astype('uint8') for values from 0 to 1; the range of the file is kept",
            )
        return array.astype(np.uint8)


def data_of(source: str, columns: Mapping[str, Any] | None = None) -> Data:
    """Return a source with further keys of a recipe's [data], unset where None. Raises InputError."""
    table = {"source": source} | {name: value for name, value in (columns or {}).items() if value is not None}
    check_bounds(table, "the data source", "give names that are Unicode text")
    return parse_table(Data, table, "data")


def data_source(data: DataLike, task: str = "") -> Data | Samples:
    """Return where samples are. Raises InputError for what is neither a source nor samples.

    `task` says what the targets of arrays are; without it their shape tells (`inferred_task`).
    """
    if task and task not in TASKS:
        raise InputError(f"there is no task {shorten(task)!r}", f"known: {', '.join(TASKS)}")
    if isinstance(data, Data):
        return data
    if isinstance(data, str | os.PathLike):
        return data_of(os.fspath(data))
    if is_dataset(data):
        data = dataset_values(cast("DatasetLike", data))
    parts = data if isinstance(data, tuple) else (data,)
    if len(parts) not in (1, 2):
        raise InputError(f"the data are a tuple of {len(parts)} parts", _FORMS)
    inputs, texts = _inputs(parts[0])
    counts = {len(array) for array in inputs.values()} or {len(texts)}
    if len(counts) != 1 or counts == {0}:
        raise InputError(f"the inputs have different numbers of samples, or none: {sorted(counts)}", _FORMS)
    source, (count,) = "texts in memory" if texts else "arrays in memory", counts
    columns = column_names(parts[0])
    if len(parts) == 1:
        return Samples(inputs, texts, None, source=source, columns=columns)
    targets = listed_boxes(parts[1]) if holds_boxes(parts[1]) else _array(parts[1], "y")
    if len(targets) != count:
        raise InputError(f"y has {len(targets)} entries for {count} samples", "give one for each sample")
    task = task or inferred_task(targets)
    if task != Classification.name:
        _check_finite(targets)
        if task == Detection.name:
            targets = sized_boxes(targets, inputs)
        return Samples(inputs, texts, None, column_names(parts[1]), source, targets, task, columns=columns)
    return Samples(inputs, texts, *_classes(targets), source=source, columns=columns)


def takes_classes(task: str) -> bool:
    """Return whether the targets of a task (empty: not said) are classes, as folders and labels give them."""
    return task in ("", Classification.name) or (task in TARGETED and TARGETED[task].of_classes)


def _check_finite(targets: NDArray[Any]) -> None:
    wrong = ~np.isfinite(targets.reshape(len(targets), -1)).all(axis=1) if targets.dtype.kind == "f" else np.zeros(0)
    if wrong.any():
        raise InputError(
            f"y has NaN or infinity in {int(wrong.sum())} samples, the first is {int(wrong.argmax())} (from 0)",
            "leave these samples out",
        )


def holds_values(source: Data | Samples | None) -> bool:
    """Return whether a source holds arrays of values as a model takes them, and not pictures or texts."""
    if isinstance(source, Samples):
        return any(array.dtype.kind not in "ui" for array in source.inputs.values())
    return source is not None and source.source.partition(":")[0] in ("npy", "npz", "parquet", "wav")


def _inputs(value: Any) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Return arrays by name, or texts."""
    if isinstance(value, Mapping):
        return {str(name): _array(part, f"the input {name!r}") for name, part in value.items()}, ()
    if isinstance(value, list | tuple) and value and all(isinstance(one, str) for one in value):
        return {}, tuple(value)
    array = _array(value, "x")
    if array.dtype.kind == "U":
        return {}, tuple(map(str, array.reshape(-1)))
    return {"": array}, ()


def _array(value: Any, name: str) -> NDArray[Any]:
    if is_frame(value):
        value = frame_values(value, name)
    try:
        array = np.asarray(value)
    except Exception as error:  # an object of another library may refuse in any way
        raise InputError(f"{name} is no array: {type(error).__name__}: {shorten(str(error), 200)}", _FORMS) from error
    if array.dtype.kind in "OT" and array.size and all(isinstance(one, str) for one in array.flat):
        array = array.astype(str)  # a pandas column of texts
    if array.dtype.kind not in "biufU" or array.ndim == 0:
        raise InputError(f"{name} is no array of numbers: {type(value).__name__} of {array.dtype}", _FORMS)
    return array


def _classes(array: NDArray[Any]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the classes (samples,) as numbers, and their names if they are given by name."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(
            f"y has the shape {array.shape}, expected ({len(array)},)",
            "of one-hot rows: y.argmax(axis=1); of tags that do not exclude each other: task multilabel; "
            "of numbers that are no classes: task regression",
        )
    if array.dtype.kind == "U":
        names, numbers = np.unique(array, return_inverse=True)
        return numbers.astype(np.int64), tuple(map(str, names))
    if array.dtype.kind == "f" or array.min() < 0:
        raise InputError(
            f"y is {array.dtype} from {array.min():g}",
            "give class numbers from 0: y.astype(int); of numbers that are no classes: task regression",
        )
    if array.max() >= MOST_CLASSES:
        raise InputError(
            f"y has the class number {array.max()}, and a model has at most {MOST_CLASSES:,} classes",
            "give the position of the right class in the model's output for each sample, from 0",
        )
    return array.astype(np.int64), ()


def _called(number: int) -> str:
    return f"{number:06d}"


def _save_by_name(stream: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz. Its members may have any name; numpy.savez takes some names for its own parameters."""
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.save(member, array, allow_pickle=False)
