"""Arrays and tables of numbers that a recipe trains on: read, checked, split, and stored like all prepared data."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..core.codec import sha256_file, sha256_of
from ..core.dataset import SPLITS, PreparedData, save_prepared
from ..core.errors import InputError, explain_disk_errors
from ..core.progress import Listener
from ..core.recipe import TrainedTask
from ..core.recipe_data import TABLE_KEYS, Data
from ..core.sanitize import shorten
from ..data.array_splits import UNKNOWN, Codes, split_arrays
from ..data.files import SPLIT_NAMES
from ..data.listing import TEST, TRAIN, VALIDATION
from ..data.number_tables import Columns, read_numbers
from ..data.tags import missing_tags, tags_by_split
from ..data.windows import NOT_INDEPENDENT, mixed_windows, window_rows
from ..tasks import TARGETED, inferred_task
from ..tasks.classification import Classification
from ..tasks.multilabel import Multilabel
from ..tasks.regression import Regression
from ..tasks.segmentation import VOID, Segmentation
from ..train.external.containers import check_entries
from ..train.external.samples import ARRAY_ERRORS
from .array_files import SAVE, check_array, check_array_file, check_length, load_array, read_member, source_path
from .array_report import check_splits, report_of
from .training_pictures import Pictures, check_maps, mask_files, picture_table, read_mask_pictures, read_picture_table
from .training_waves import Sounds, check_waves, read_waves, wave_identity

# Version of the prepared arrays. Raise it when the same data and settings give other files.
FORMAT = 1
# Names of the arrays in an .npz, by split.
_KEYS = {
    UNKNOWN: ("x", "y"),
    TRAIN: ("x_train", "y_train"),
    VALIDATION: ("x_validation", "y_validation"),
    TEST: ("x_test", "y_test"),
}
_BLOCK_BYTES = 16 << 20
_MOST = float(np.finfo(np.float32).max)
_USED = {"source", "test_source", "validation", "test", "limit_train", "limit_test"}


@dataclass(frozen=True)
class _Arrays:
    """N samples as they were read; `given` is the source's own split of each, `rows` those of a table's windows."""

    x: NDArray[Any]
    y: NDArray[Any]
    given: Codes
    groups: Sequence[Any] = ()
    rows: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    mixed: int = 0
    tags: bool = False
    rate: int = 0
    warnings: tuple[tuple[str, str], ...] = ()

    @property
    def sample(self) -> str:
        """What a sample is, in words."""
        if self.rate:
            return f"{self.x.shape[1]:,} samples at {self.rate:,} Hz"
        return f"{' × '.join(map(str, self.x.shape[1:]))} numbers"


def array_fingerprint(
    data: Data, task: str, *, seed: int, folder: Path, pictures: bool = False
) -> dict[str, Any]:  # fmt: skip
    """Return what the prepared arrays depend on; a table may be one of `pictures`.

    Raises InputError for a file that is not there and for a key that has no meaning for it.
    """
    table_of_pictures = pictures and data.source.startswith("csv:")
    _check_keys(data, pictures=table_of_pictures)
    files = [path for source in (data.source, data.test_source) if source for path in _files(source, folder)]
    settings = {"data": data.model_dump(mode="json"), "task": task, "seed": seed}
    if data.source.startswith("masks:"):
        return {"format": FORMAT, "kind": "image", **settings, "sources": [mask_files(path) for path in files]}
    if table_of_pictures:
        tables = [picture_table(path, data, data.source, folder).probe().identity for path in files]
        return {"format": FORMAT, "kind": "image", **settings, "sources": tables}
    if data.source.startswith("wav:"):
        sources = [wave_identity(path, data.source, task) for path in files]
        return {"format": FORMAT, "kind": "tensor", **settings, "sources": sources}
    for path in files:
        check_array_file(path)
    return {"format": FORMAT, "kind": "tensor", **settings, "sources": [sha256_file(path) for path in files]}


def prepare_arrays(
    data: Data,
    task: str,
    *,
    seed: int,
    folder: Path,
    workspace: Path,
    listener: Listener,
    pictures: Pictures | None = None,
    sounds: Sounds | None = None,
) -> PreparedData:
    """Read, check and split the arrays of `data` into `workspace`: ``SPLIT.npy`` float32 and ``SPLIT-labels.npy``.

    With `pictures` the samples are resized pictures, uint8, and so are maps of classes. The task is `task`, or what the
    targets show. Raises InputError for a file that is damaged or hostile, lacks an array or a column, has NaN or
    infinite values or fewer targets than samples; for targets that do not fit the task; and for too few samples of a
    class.
    """

    def read(source: str) -> _Arrays:
        if not source.startswith("wav:"):
            arrays = _read(data, source, folder, task, pictures)
            return _as_waves(arrays, source, data.sample_rate) if data.sample_rate else arrays
        path = source_path(source.partition(":")[2], folder)
        form = sounds or Sounds(data.sample_rate, data.window_seconds)
        with explain_disk_errors(workspace):
            workspace.mkdir(parents=True, exist_ok=True)
            waves = read_waves(path, source, form, task, listener, workspace, data.group)
        return _Arrays(
            waves.x, waves.y, waves.given, waves.groups, names=waves.names, tags=waves.tags, rate=waves.rate
        )  # fmt: skip

    arrays = read(data.source)
    if data.test_source:
        tests = read(data.test_source)
        arrays = _joined(arrays, replace(tests, given=np.full(len(tests.x), TEST, np.int8)), data)
    if pictures is not None:
        arrays = replace(arrays, x=pictures.checked(arrays.x, data.source))
    name, labels, targets = _targets(arrays, task, data.source)
    if name == Segmentation.name:
        check_maps(arrays.x, targets, pictures, data.source)
    classes = targets if name == Classification.name else np.zeros(len(targets), np.int64)
    splits = split_arrays(
        arrays.given, classes, data, seed=seed, groups=arrays.groups, rows=arrays.rows, samples=arrays.x
    )
    counts = {split: len(splits.indices(code)) for code, split in enumerate(SPLITS)}
    report = report_of(
        arrays.sample, splits, counts, labels, classes if name == Classification.name else None,
        mixed=arrays.mixed, columns=arrays.columns, rate=arrays.rate,
    )  # fmt: skip
    report["warnings"] += [{"what": what, "remedy": remedy} for what, remedy in arrays.warnings]
    check_splits(report, counts, data.source)
    if name == Multilabel.name:
        held = np.array([targets[splits.indices(code)].sum(axis=0) for code in range(len(SPLITS))], np.int64)
        report["tags"] = tags_by_split(labels, held)
        report["warnings"] += [remark._asdict() for remark in missing_tags(labels, held, data.source, "sample")]
    for warning in report["warnings"]:
        listener.note("warning", warning["what"], remedy=warning["remedy"])
    if len(set(arrays.groups)) < len(arrays.groups) or (data.window and (data.stride or data.window) < data.window):
        listener.note("info", f"{data.source}: {NOT_INDEPENDENT}")
    listener.note("info", f"the task is {name}" + (f" of {len(labels)} classes or tags" if labels else ""))
    digest = hashlib.sha256()
    with explain_disk_errors(workspace):
        workspace.mkdir(parents=True, exist_ok=True)
        for code, split in enumerate(SPLITS):
            chosen = splits.indices(code)
            x, y = workspace / f"{split}.npy", workspace / f"{split}-labels.npy"
            if pictures is None:
                _save(x, arrays.x, chosen, digest, np.dtype(np.float32))
                _save(y, targets, chosen, digest, targets.dtype)
            else:
                _save(x, pictures.resized(arrays.x[chosen]), None, digest, np.dtype(np.uint8))
                of_pictures = pictures.targets(targets[chosen])
                _save(y, of_pictures, None, digest, of_pictures.dtype)
    prepared = PreparedData(
        folder=workspace, source=data.source, labels=labels, height=0, width=0, resize="", counts=counts,
        sha256=sha256_of([digest.hexdigest(), name, labels]), report=report, kind="tensor", task=name,
        columns=arrays.columns,
    )  # fmt: skip
    if pictures is not None:
        prepared = replace(
            prepared, kind="image", height=pictures.side, width=pictures.side, resize=pictures.resize,
            sha256=sha256_of([prepared.sha256, pictures.resize]),
        )  # fmt: skip
    with explain_disk_errors(workspace):
        save_prepared(prepared, workspace)
    return prepared


def _save(path: Path, values: NDArray[Any], rows: NDArray[np.int64] | None, digest: Any, dtype: np.dtype[Any]) -> None:
    """Write rows of an array (all: None) to a ``.npy``, block by block, and add them to a digest."""
    shape = (len(values) if rows is None else len(rows), *values.shape[1:])
    digest.update(f"{path.name} {dtype} {shape}".encode())
    if not shape[0]:
        np.save(path, np.zeros(shape, dtype))
        return
    stored: NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)  # type: ignore[no-untyped-call]
    step = max(1, _BLOCK_BYTES // max(1, stored[0].nbytes))
    for at in range(0, shape[0], step):
        part = slice(at, at + step)
        stored[part] = values[part] if rows is None else values[rows[part]]
        digest.update(stored[part].tobytes())
    stored.flush()  # type: ignore[attr-defined]


def _check_keys(data: Data, *, pictures: bool) -> None:
    scheme = data.source.partition(":")[0]
    table = scheme in ("csv", "parquet") and not pictures
    more = {"masks": {"max_pixels"}, "wav": {"sample_rate", "window_seconds", "group"}, "npz": {"sample_rate"}}
    more |= {"npy": more["npz"], "csv": {"root", "max_pixels", "on_unreadable"}}
    known = _USED | ({*TABLE_KEYS, "encoding"} if table else more.get(scheme, set()))
    default = {key: about.default for key, about in Data.model_fields.items()}
    if unheard := sorted(key for key in data.model_fields_set - known if getattr(data, key) != default[key]):
        raise InputError(f"{shorten(data.source, 200)!r} has no use for {', '.join(unheard)}", "leave it out")
    if table and not data.target:
        raise InputError(
            f"{shorten(data.source, 200)!r} is a table of numbers, and no target is named",
            'name the column of the right answers: target = "NAME"',
        )
    if data.stride and not data.window:
        raise InputError("stride is for windows of a time series", "say how many rows a window has: window = ROWS")
    if data.test_source and data.test_source.partition(":")[0] != scheme:
        raise InputError("data.test_source is of another kind than data.source", f"give it as {scheme}:FILE too")


def _files(source: str, folder: Path) -> list[Path]:
    scheme, _, rest = source.partition(":")
    if scheme != "npy":
        return [source_path(rest, folder)]
    parts = rest.split(",")
    if len(parts) != 2:
        raise InputError(
            f"{shorten(source, 200)!r} has no targets, which training needs", "write npy:X.npy,Y.npy, or npz:FILE"
        )
    return [source_path(part, folder) for part in parts]


def _read(data: Data, source: str, folder: Path, task: str, pictures: Pictures | None) -> _Arrays:
    scheme, files = source.partition(":")[0], _files(source, folder)
    try:
        if scheme == "masks" and pictures is not None:
            x, y, given, names = read_mask_pictures(files[0], source, pictures, data.max_pixels)
            return _Arrays(x, y, given, names=names)
        if scheme == "csv" and pictures is not None:
            found = read_picture_table(picture_table(files[0], data, source, folder), task, pictures, data)
            return _Arrays(
                found.x, found.y, found.given, names=found.names, tags=bool(found.names), warnings=found.warnings
            )
        if scheme == "npz":
            return _npz(files[0])
        return _npy(*files) if scheme == "npy" else _table(files[0], data, task)
    except MemoryError as error:
        raise InputError(f"{shorten(source, 200)} does not fit into memory", "give fewer samples") from error


def _as_waves(arrays: _Arrays, source: str, rate: int) -> _Arrays:
    check_waves(arrays.x, source)
    return replace(arrays, rate=rate)


def _npy(x_path: Path, y_path: Path) -> _Arrays:
    x, y = load_array(x_path), load_array(y_path)
    check_array(x_path, "the samples", x)
    check_array(y_path, "the targets", y)
    check_length(f"{y_path}: it", y, f"the samples in {x_path.name}", len(x))
    return _checked(x_path, _Arrays(x, y, _unknown(len(x))))


def _unknown(count: int) -> Codes:
    return np.full(count, UNKNOWN, np.int8)


def _npz(path: Path) -> _Arrays:
    check_array_file(path)
    parts: list[_Arrays] = []
    try:
        with zipfile.ZipFile(path) as archive:
            check_entries(path, archive.infolist(), unpacked=False)
        with np.load(path, allow_pickle=False) as file:
            held = set(file.files)
            for code, (x_key, y_key) in _KEYS.items():
                if x_key not in held:
                    continue
                if y_key not in held:
                    raise InputError(f"{path} has {x_key} and no targets {y_key}", f"write the file with {SAVE}")
                x, y = read_member(path, file, x_key), read_member(path, file, y_key)
                check_length(f"{path}: {y_key}", y, f"the samples in {x_key}", len(x))
                group_key = y_key.replace("y", "group", 1)
                groups = read_member(path, file, group_key).tolist() if group_key in held else ()
                if groups and len(groups) != len(x):
                    raise InputError(f"{path}: {group_key} has {len(groups)} entries for {len(x)} samples", SAVE)
                parts.append(_Arrays(x, y, np.full(len(x), code, np.int8), groups))
            names = tuple(map(str, read_member(path, file, "labels").ravel().tolist())) if "labels" in held else ()
    except ARRAY_ERRORS as error:
        raise InputError(
            f"{path} cannot be read: {shorten(str(error), 200)}", f"expected a .npz file as {SAVE} writes it"
        ) from error
    if not parts:
        raise InputError(
            f"{path} has no array x; it has: {shorten(', '.join(sorted(held)), 200) or 'none'}",
            f"call the samples x and the targets y: {SAVE}; or x_train, y_train, x_test, y_test",
        )
    first = parts[0]
    for part in parts[1:]:
        first = _joined(first, part, None)
    return _checked(path, replace(first, names=names))


def _joined(first: _Arrays, second: _Arrays, data: Data | None) -> _Arrays:
    """Return the samples of both. Rows of two tables are numbered one after the other."""
    if first.x.shape[1:] != second.x.shape[1:] or first.y.shape[1:] != second.y.shape[1:]:
        raise InputError(
            f"samples of the shape {first.x.shape[1:]} with targets {first.y.shape[1:]}, and others of "
            f"{second.x.shape[1:]} with targets {second.y.shape[1:]}",
            "training and test need the same",
        )
    if first.rate != second.rate:
        raise InputError(
            f"data.source has {first.rate:,} Hz, and data.test_source {second.rate:,} Hz",
            "say the rate that the model takes: data.sample_rate = 16000",
        )
    if first.columns != second.columns or (first.tags and first.names != second.names):
        raise InputError("the tables of data.source and data.test_source have other columns or tags", "name features")
    rows = None
    if first.rows is not None and second.rows is not None:
        rows = np.concatenate([first.rows, second.rows + int(first.rows.max()) + 1])
    grouped = len(first.groups) > 0 and len(second.groups) > 0
    return replace(
        first,
        x=np.concatenate([first.x, second.x]),
        y=np.concatenate([first.y, second.y]),
        given=np.concatenate([first.given, second.given]),
        groups=[*first.groups, *second.groups] if grouped else (),
        rows=rows,
        mixed=first.mixed + second.mixed,
        warnings=(*first.warnings, *second.warnings),
    )


def _checked(path: Path, arrays: _Arrays) -> _Arrays:
    if arrays.x.dtype.kind in "iuf" and max(abs(float(arrays.x.min())), abs(float(arrays.x.max()))) > _MOST:
        raise InputError(f"{path}: the samples have numbers that float32 does not hold", "leave these samples out")
    if arrays.x.ndim < 2 or arrays.x.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: the samples have the shape {arrays.x.shape} of {arrays.x.dtype}",
            "expected numbers of shape (samples, features), or (samples, steps, features) of time series",
        )
    return arrays


def _table(path: Path, data: Data, task: str) -> _Arrays:
    columns = Columns(data.features, (data.target,), data.group)
    tags, numbers = task == Multilabel.name, task == Regression.name
    table = read_numbers(path, columns, encoding=data.encoding, tags=tags, numbers=numbers)
    if table.targets is None:
        raise TypeError("a table was read without its targets")
    y, names, tags = table.targets
    codes = np.array([SPLIT_NAMES.get(split, UNKNOWN) for split in table.splits], np.int8)
    codes = codes if len(codes) else _unknown(len(table.values))
    one = _checked(path, _Arrays(table.values, y, codes, table.group, names=names, columns=table.names, tags=tags))
    if not data.window:
        return one
    rows = np.concatenate(
        [
            window_rows(path, replace(table, chosen=codes == code), data.window, data.stride or data.window)
            for code in np.unique(codes)
        ]
    )
    last = rows[:, -1]
    return replace(
        one,
        x=table.values[rows],
        y=y[last],
        given=codes[last],
        groups=[table.group[row] for row in last] if len(table.group) else (),
        rows=rows,
        mixed=mixed_windows(y, rows) if y.dtype.kind != "f" else 0,
    )


def _targets(arrays: _Arrays, task: str, source: str) -> tuple[str, tuple[str, ...], NDArray[Any]]:
    """Return the task, the names of its classes or tags, and the targets as it keeps them."""
    y = arrays.y
    name = task or (Multilabel.name if arrays.tags else inferred_task(y))
    if name not in get_args(TrainedTask):
        raise InputError(
            f"{source}: y has the shape {y.shape} of {y.dtype}: targets of {name}, for which no model is trained here",
            "train it elsewhere, and give it to edgeproof export and evaluate",
        )
    if name != Classification.name:
        try:
            targets = TARGETED[name].check(y, ())
        except InputError as error:
            raise InputError(f"{source}: {error.message}", error.remedy) from error
        return name, _tags(arrays, targets, name), targets
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "biuU":
        raise InputError(
            f"{source}: y has the shape {y.shape} of {y.dtype}, which are no classes",
            "give a class number or a name for each sample; of one-hot rows: y.argmax(axis=1); "
            'of tags: task = "multilabel"; of numbers: task = "regression"',
        )
    unique, numbers = np.unique(y, return_inverse=True)
    if len(unique) < 2:
        raise InputError(f"{source}: there is only one class, {unique[0]}", "a classifier needs two or more")
    if len(unique) > len(y) // 2:
        raise InputError(
            f"{source}: {len(y)} samples have {len(unique)} different targets, and few classes are known twice",
            'give class numbers or names; numbers are trained with task = "regression"',
        )
    if not arrays.names or unique.dtype.kind == "U":
        return name, tuple(map(str, unique.tolist())), numbers.astype(np.int64)
    if unique.min() < 0 or unique.max() >= len(arrays.names):
        raise InputError(
            f"{source}: y has classes up to {int(unique.max())}, and labels names {len(arrays.names)}", SAVE
        )
    return name, tuple(arrays.names[number] for number in unique), numbers.astype(np.int64)


def _tags(arrays: _Arrays, targets: NDArray[Any], task: str) -> tuple[str, ...]:
    if task == Segmentation.name:
        classes = int(targets[targets != VOID].max()) + 1
        if arrays.names and len(arrays.names) < classes:
            raise InputError(f"labels names {len(arrays.names)} classes, and y has the class {classes - 1}", SAVE)
        return arrays.names or tuple(map(str, range(max(2, classes))))
    if task != Multilabel.name:
        return () if arrays.names and len(arrays.names) != targets.shape[-1] else arrays.names
    if arrays.names and len(arrays.names) != targets.shape[1]:
        raise InputError(f"labels names {len(arrays.names)} tags, and y has {targets.shape[1]}", SAVE)
    return arrays.names or tuple(map(str, range(targets.shape[1])))
