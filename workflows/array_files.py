"""Files of arrays and tables of numbers, with targets or without, read as the same samples in memory.

How targets are understood is said in `samples`. Files are untrusted: nothing is unpickled, and sizes are checked first.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.inputs import check_plain
from ..core.model import plain_name
from ..core.progress import Listener
from ..core.recipe_data import TABLE_KEYS, Data
from ..core.sanitize import shorten
from ..data.number_tables import Columns, read_numbers
from ..data.target_cells import Targets
from ..data.windows import NOT_INDEPENDENT, mixed_windows, window_rows
from ..tasks.multilabel import Multilabel
from ..train.external import Input
from ..train.external.containers import check_entries
from ..train.external.samples import ARRAY_ERRORS
from ..train.external.tensors import describe
from . import tag_files
from .coco_files import with_boxes
from .feature_columns import features_of, in_model_order
from .input_spec import InputSpec
from .mask_files import with_masks
from .sample_names import with_names
from .samples import Samples, data_source, takes_classes
from .wave_files import with_waves

Split = Literal["all", "train", "test"]
# The arrays of an .npz by the use that is made of them; some data sets hold both splits.
_X = {"train": ("x", "x_train", "x_test"), "test": ("x", "x_test"), "all": ("x", "x_test")}
_Y = ("y", "y_test")
_BLOCK_BYTES = 16 << 20
_SOUND_KEYS = ("sample_rate", "window_seconds")
SAVE = "numpy.savez(FILE, x=…, y=…)"


def with_arrays(
    data: Data | Samples,
    spec: InputSpec,
    folder: Path,
    *,
    use: Split,
    targets: bool,
    listener: Listener,
    task: str = "",
) -> Data | Samples:
    """Return the samples of files of arrays, tables of numbers, ``masks:`` and ``coco:``; else `data`.

    They are for a model that takes `spec`. Relative paths are relative to `folder`. Without `targets` none are read:
    samples for calibration need none. Raises InputError for a file that is damaged or hostile, lacks an array or a
    column, has NaN or infinite values, or fewer targets than samples, and for a `task` whose targets the source cannot
    have.
    """
    if isinstance(data, Samples):
        return in_model_order(data, spec.columns)
    kind, inputs = spec.kind, spec.inputs
    scheme, _, rest = data.source.partition(":")
    table = scheme == "parquet" or (scheme == "csv" and kind == "tensor")
    _check_keys(data, scheme, table=table, texts=kind == "text")
    if scheme == "wav":
        return with_waves(data, spec, source_path(rest, folder), use, listener, task, targets=targets)
    if scheme == "masks":
        return with_masks(data, spec, source_path(rest, folder), use, listener, task, targets=targets)
    if scheme == "coco":
        return with_boxes(data, spec, rest, lambda name: source_path(name, folder), task, targets=targets)
    pair = scheme == "npy" and "," in rest and not source_path(rest, folder).is_file()
    if scheme in tag_files.SCHEMES and not table:
        tagged = tag_files.with_tags(data, spec, folder, source_path(rest, folder), use, task, targets=targets)
        if tagged is not None:
            return tagged
    if not (table or pair or scheme == "npz" or (scheme == "npy" and kind == "image")):
        if not takes_classes(task):
            raise InputError(
                f"{shorten(data.source, 200)} has no targets of the task {shorten(task)}",
                f"give arrays: npz:FILE with x and y ({SAVE}), or npy:X.npy,Y.npy; of segmentation also masks:FOLDER, "
                "of detection coco:FILE.json, and of multilabel a table whose labels are tags, cat|dog",
            )
        return data
    x: Any
    read: Targets | None = None
    names: tuple[str, ...] = ()
    if table:
        x, read = _table(data, source_path(rest, folder), spec, use, listener, targets=targets, task=task)
        y = None if read is None else read.values
    elif scheme == "npz":
        x, y, names = _npz(source_path(rest, folder), [one.name for one in inputs], use, targets=targets)
    else:
        x, y = _npy([source_path(part, folder) for part in (rest.split(",") if pair else [rest])], targets=targets)
    try:
        samples = data_source((x,) if y is None else (x, y), task or (Multilabel.name if read and read.tags else ""))
    except InputError as error:
        raise InputError(f"{data.source}: {error.message}", error.remedy) from error
    if not isinstance(samples, Samples):
        raise TypeError(f"{data.source} was read as {type(samples).__name__}")
    if read and samples.targets is not None:  # classes have names of their own
        samples = replace(samples, names=read.names, by_name=read.tags)
    if names:
        samples = with_names(samples, names, data.source)
    return replace(samples, source=data.source)


def _check_keys(data: Data, scheme: str, *, table: bool, texts: bool) -> None:
    """Raise InputError for a key that has no meaning for this source: nothing that a user says is left unheard."""
    named = {key for key in TABLE_KEYS if getattr(data, key)} - ({"target"} if texts else set())
    if named and not table:
        raise InputError(
            f"{' and '.join(sorted(named))}: for tables of numbers, and for this model {shorten(data.source, 200)!r} "
            "is none",
            "leave them out, or give csv:FILE or parquet:FILE for a model that takes numbers",
        )
    sound = {key for key in _SOUND_KEYS if getattr(data, key)}
    if sound and scheme != "wav":
        raise InputError(f"{' and '.join(sorted(sound))}: for wav:FOLDER alone", "leave them out")
    if not table and scheme not in ("npz", "npy", "wav"):
        return
    known = {"source", *(_SOUND_KEYS if scheme == "wav" else TABLE_KEYS), *(("encoding",) if scheme == "csv" else ())}
    if unheard := sorted(key for key in data.model_fields_set - known if getattr(data, key) != _default(key)):
        raise InputError(
            f"{shorten(data.source, 200)!r} has no use for {', '.join(unheard)}",
            "name the columns of a table of numbers with features and target" if table else "leave it out",
        )
    if (data.stride or data.group) and not data.window:
        raise InputError(
            "stride and group are for windows of a time series", "say how many rows a window has: --window"
        )


def _default(key: str) -> Any:
    return Data.model_fields[key].default


def source_path(rest: str, folder: Path) -> Path:
    """Return the path behind a scheme, relative to `folder`. Raises InputError for what is none."""
    if "\0" in rest or not rest.strip():
        raise InputError("data source: the name holds a zero byte, or there is none", "write npz:FILE")
    try:
        return folder / Path(rest.strip()).expanduser()
    except RuntimeError as error:
        raise InputError(f"{rest!r}: {error}", "write the path out") from error


def _npy(paths: list[Path], *, targets: bool) -> tuple[NDArray[Any], NDArray[Any] | None]:
    if len(paths) > 2:
        raise InputError(f"npy: names {len(paths)} files", "write npy:X.npy,Y.npy, the samples and the targets")
    x = load_array(paths[0])
    check_array(paths[0], "the samples", x)
    if len(paths) == 1 or not targets:
        return x, None
    y = load_array(paths[1])
    check_array(paths[1], "the targets", y)
    check_length(f"{paths[1]}: it", y, f"the samples in {paths[0].name}", len(x))
    return x, y


def load_array(path: Path) -> NDArray[Any]:
    """Return the one array of a .npy file, mapped into memory. Raises InputError for another file."""
    check_array_file(path)
    expected = "expected a .npy file as numpy.save writes it; of an .npz file write npz:FILE"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ARRAY_ERRORS as error:
        raise InputError(f"{path} cannot be read: {shorten(str(error), 200)}", expected) from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays", expected)
    return array


def _npz(
    path: Path, names: Sequence[str], use: Split, *, targets: bool
) -> tuple[NDArray[Any] | dict[str, NDArray[Any]], NDArray[Any] | None, tuple[str, ...]]:
    """Return x, y where there are `targets`, and then the names that `labels` gives to its numbers."""
    check_array_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            check_entries(path, archive.infolist(), unpacked=False)
        with np.load(path, allow_pickle=False) as file:
            keys = list(file.files)
            chosen = _chosen(path, keys, names, use)
            y_key = next((key for key in _Y if key in keys and key not in chosen.values()), "") if targets else ""
            if targets and not y_key and (unused := [key for key in keys if key not in chosen.values()]):
                raise InputError(
                    f"{path} has no targets y, and other arrays: {shorten(', '.join(unused), 200)}",
                    f"call the targets y: {SAVE}; samples without targets are a file of x alone",
                )
            arrays = {name: read_member(path, file, key) for name, key in chosen.items()}
            y = read_member(path, file, y_key) if y_key else None
            named = y is not None and "labels" in keys and "labels" not in chosen.values()
            labels = read_member(path, file, "labels") if named else np.zeros(0, str)
    except ARRAY_ERRORS as error:
        raise InputError(
            f"{path} cannot be read: {shorten(str(error), 200)}", f"expected a .npz file as {SAVE} writes it"
        ) from error
    if y is not None:
        check_length(f"{path}: {y_key}", y, f"the samples in {', '.join(chosen.values())}", _count(path, arrays))
    return (arrays[""] if list(arrays) == [""] else arrays), y, tuple(map(str, labels.ravel().tolist()))


def _chosen(path: Path, keys: Sequence[str], names: Sequence[str], use: Split) -> dict[str, str]:
    """Return the key of the array for each input of the model, by the input's name; "" where it has one input."""
    by_name = {name: next((k for k in (name, plain_name(name)) if k in keys), "") for name in names}
    if len(names) > 1:
        if missing := [name for name, key in by_name.items() if not key]:
            raise InputError(
                f"{path} has no array for the input {missing[0]!r}; it has: {shorten(', '.join(keys), 200)}",
                f"give one array for each of the model's inputs, by its name: {', '.join(map(repr, names))}",
            )
        return by_name
    known = [*by_name.values(), *_X[use]]
    key = next((key for key in known if key and key in keys), keys[0] if len(keys) == 1 else "")
    if not key:
        called = "".join(f" or {name}" for name in names if name != "x")
        raise InputError(
            f"{path} has no array x{called}; it has: {shorten(', '.join(keys), 200) or 'none'}",
            f"call the samples x and the targets y: {SAVE}",
        )
    return {"": key}


def read_member(path: Path, file: Mapping[str, Any], key: str) -> NDArray[Any]:
    """Return an array of an .npz file, checked by `check_array`."""
    array = file[key]
    if not isinstance(array, np.ndarray):  # an entry that is no .npy comes as bytes
        raise InputError(f"{path}: {shorten(key)!r} is no array", f"write the file with {SAVE}")
    check_array(path, key, array)
    return array


def _count(path: Path, arrays: Mapping[str, NDArray[Any]]) -> int:
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"{path} has a different number of samples for each input: {shown}", "give as many of each")
    return next(iter(counts.values()))


def check_array_file(path: Path) -> None:
    """Raise InputError unless there is a plain file."""
    check_plain(path)
    if not path.is_file():
        raise InputError(
            f"{path} does not exist or is not a file", "give a file as numpy.save or numpy.savez writes it"
        )


def check_array(path: Path, name: str, array: NDArray[Any]) -> None:
    """Raise InputError unless an array has rows, and finite values in each."""
    if array.ndim == 0 or array.size == 0 or array.dtype.itemsize == 0:
        raise InputError(f"{path}: {name} has the shape {array.shape}: no sample", "give at least one row")
    if array.dtype.kind != "f":
        return
    rows = max(1, _BLOCK_BYTES // max(1, array[:1].nbytes))
    for at in range(0, len(array), rows):
        block = array[at : at + rows]
        good = np.isfinite(block).reshape(len(block), -1).all(axis=1)
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            value = "NaN" if np.isnan(block[row]).any() else "an infinite value"
            raise InputError(
                f"{path}: {name} has {value} in row {at + row} (of {len(array)}, from 0)",
                "leave such rows out of the samples and of the targets, or fill them as the app will",
            )


def check_length(what: str, y: NDArray[Any], of: str, count: int) -> None:
    """Raise InputError unless there is a target for each of `count` samples."""
    if len(y) != count:
        raise InputError(f"{what} has {len(y)} targets, and {of} are {count}", "give one target for each sample")


def _table(
    data: Data,
    path: Path,
    spec: InputSpec,
    use: Split,
    listener: Listener,
    *,
    targets: bool,
    task: str,
) -> tuple[NDArray[Any], Targets | None]:
    inputs = spec.inputs
    if spec.kind != "tensor":
        raise InputError(f"{data.source} holds numbers, and the model takes {spec.kind}s", "give a source of those")
    if len(inputs) != 1:
        raise InputError(
            f"{data.source} is one table, and the model has {len(inputs)} inputs",
            f"give npz:FILE with one array for each: {', '.join(one.name for one in inputs)}",
        )
    check_plain(path)
    features, why = features_of(data.features, spec.columns)
    columns = Columns(features, (data.target,) if data.target else (), data.group, why)
    table = read_numbers(
        path, columns, encoding=data.encoding, split=use, targets=targets, tags=task == Multilabel.name
    )
    y = table.targets
    if not data.window:
        _check_shape(path, table.names, (len(table.names),), inputs[0], data)
        chosen = None if y is None else y._replace(values=y.values[table.chosen])
        return _as_input(table.values[table.chosen], inputs[0]), chosen
    _check_shape(path, table.names, (data.window, len(table.names)), inputs[0], data)
    rows = window_rows(path, table, data.window, data.stride or data.window)
    if y is not None and y.values.dtype.kind != "f" and (mixed := mixed_windows(y.values, rows)):
        listener.note(
            "warning",
            f"{mixed} of {len(rows)} windows of {data.source} have rows of different targets: each has its last row's",
        )
    if y is not None and ((data.stride or data.window) < data.window or data.group):
        listener.note("info", f"{data.source}: {NOT_INDEPENDENT}")
    last = None if y is None else y._replace(values=y.values[rows[:, -1]])
    return _as_input(table.values[rows], inputs[0]), last


def _check_shape(path: Path, names: Sequence[str], sample: tuple[int, ...], one: Input, data: Data) -> None:
    """Raise InputError unless samples of a table fit an input, whose axes of one value are no columns."""
    if [side for side in one.sample if side != 1] == [side for side in sample if side != 1]:
        return
    windows = f" in windows of {data.window} rows" if data.window else ""
    raise InputError(
        f"{path} has {len(names)} {'chosen' if data.features else 'numeric'} columns "
        f"({shorten(', '.join(names), 200)}){windows}, and the model's input {one.name!r} takes samples of "
        f"{describe(one.sample)}",
        "name the columns in the model's order, and the target's: --features a,b,c --target NAME"
        + "; a sample of several rows is a window of a time series: --window ROWS" * (len(one.sample) > 1),
    )


def _as_input(values: NDArray[np.float64], one: Input) -> NDArray[Any]:
    whole = np.dtype(one.dtype).kind in "iu" and not (values % 1).any()
    return (values.astype(np.int64) if whole else values).reshape(len(values), *one.sample)
