"""The anchors of a detector's encodings, as users give them: a file, an array, or the parameters that make them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias, get_args, get_type_hints

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.boxes import AnchorDecoding, Background, Scores
from ..core.errors import InputError
from ..core.inputs import check_plain
from ..core.sanitize import shorten
from ..data.target_cells import is_number
from ..tasks.anchors import AnchorGrid, checked_anchors, packed
from .array_files import load_array

AnchorsLike: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any] | ArrayLike"

_GRID = {one.name: get_type_hints(AnchorGrid)[one.name] for one in fields(AnchorGrid)}
_WORDS: dict[str, tuple[str, ...]] = {
    "order": ("yxhw", "xywh"),
    "sizes": ("exp", "linear"),
    "background": tuple(filter(None, get_args(Background))),
    "scores": tuple(filter(None, get_args(Scores))),
}
_SHARES = ("iou", "score")
_KEYS = ("scales", *_WORDS, *_SHARES)
_FORM = (
    "give --anchors FILE.npy or FILE.csv with rows of ycenter, xcenter, height, width, or parameters such as "
    "strides=16:32:64:128:256:512; behind either, with commas, what is not as TensorFlow has it, e.g. "
    "scales=10:10:5:5,iou=0.6"
)
_MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class Anchors:
    """Anchors as rows (N, 4), or the `grid` that makes them for an input; and how encodings are decoded with them."""

    source: str
    rows: NDArray[np.float32] | None = None
    grid: AnchorGrid | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def decoding(self, size: tuple[int, int]) -> AnchorDecoding:
        """Return how encodings of an input of `size` (height, width) pixels are decoded."""
        rows = self.grid.rows(size) if self.grid is not None else self.rows
        assert rows is not None  # noqa: S101 - `anchors_of` sets one of the two
        return AnchorDecoding(self.source, len(rows), packed(rows), **self.settings)


def anchors_of(given: AnchorsLike | None) -> Anchors | None:
    """Return anchors as they are given; None without any. Raises InputError that names file, row or key.

    They are the path of a ``.npy`` or ``.csv``, perhaps with ``,KEY=VALUE`` behind it; a text ``KEY=VALUE,…``; a
    mapping of the same keys, where ``anchors`` is a path or an array; or an array (N, 4).
    """
    if given is None or (isinstance(given, str) and not given):
        return None
    rows: NDArray[np.float32] | None = None
    source, pairs = "", {}
    if isinstance(given, Mapping):
        pairs = {str(key): value for key, value in given.items() if key != "anchors"}
        given = given.get("anchors")
    if isinstance(given, str | os.PathLike):
        path, further = _parts(os.fspath(given))
        pairs = {**further, **pairs}
        if path is not None:
            rows, source = _read(path), path.name
    elif given is not None:
        rows, source = checked_anchors(_array(given), "anchors"), "arrays in memory"
    if unknown := [key for key in pairs if key not in _KEYS and key not in _GRID]:
        raise InputError(
            f"--anchors does not know {shorten(unknown[0], 80)}", f"known: {', '.join((*_GRID, *_KEYS))}; {_FORM}"
        )
    grid = {key: _of_grid(key, value) for key, value in pairs.items() if key in _GRID}
    if rows is not None and grid:
        raise InputError(f"--anchors has both anchors and the parameter {next(iter(grid))}", "give one of the two")
    settings = {key: _setting(key, value) for key, value in pairs.items() if key in _KEYS}
    if rows is None and "strides" not in grid:
        raise InputError("--anchors has neither anchors nor the strides to make them with", _FORM)
    if rows is None:
        words = ",".join(f"{key}={_shown(value)}" for key, value in grid.items())
        return Anchors(words, grid=AnchorGrid(**grid), settings=settings)
    return Anchors(shorten(source, 200), rows, settings=settings)


def _parts(text: str) -> tuple[Path | None, dict[str, str]]:
    """Return the path and the pairs of a text; a file whose name has commas is found as it is."""
    if _is_file(text):
        return Path(text), {}
    first, *rest = text.split(",")
    pairs: dict[str, str] = {}
    for pair in rest if "=" not in first else [first, *rest]:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not key or not value:
            raise InputError(f"--anchors: {shorten(pair, 80)!r} is not KEY=VALUE", _FORM)
        if key in pairs:
            raise InputError(f"--anchors has {shorten(key, 80)} twice", _FORM)
        pairs[key] = value
    return (None if "=" in first else Path(first)), pairs


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _read(path: Path) -> NDArray[np.float32]:
    if path.suffix.lower() not in (".npy", ".csv"):
        raise InputError(f"--anchors: {shorten(str(path), 200)} is neither a .npy nor a .csv", _FORM)
    check_plain(path)
    if not _is_file(str(path)):
        raise InputError(f"--anchors: there is no file {shorten(str(path), 200)}", _FORM)
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path} has {path.stat().st_size:,} bytes", "anchors are four numbers a row")
    if path.suffix.lower() == ".npy":
        return checked_anchors(load_array(path), str(path))
    try:
        rows = _table(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {shorten(str(error), 200)}", _FORM) from error
    return checked_anchors(rows, str(path))


def _table(path: Path) -> NDArray[np.float64]:
    """Return the numbers of a .csv, which may have a header. Raises ValueError that names the line."""
    rows = []
    for at, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        cells = [cell.strip() for cell in line.split(",")]
        if not line.strip() or (at == 1 and not any(is_number(cell) for cell in cells)):
            continue
        if len(cells) != 4 or not all(is_number(cell) for cell in cells):
            raise ValueError(f"line {at} is {shorten(line, 80)!r}, and not four numbers")
        rows.append([float(cell) for cell in cells])
    return np.array(rows, np.float64).reshape(-1, 4)


def _array(given: Any) -> NDArray[Any]:
    try:
        return np.asarray(given)
    except ValueError as error:
        raise InputError(f"anchors are no array: {shorten(str(error), 200)}", _FORM) from error


def _setting(key: str, value: Any) -> Any:
    """Return the value of a key of `AnchorDecoding`."""
    if key in _WORDS:
        if value not in _WORDS[key]:
            known = ", ".join(_WORDS[key])
            raise InputError(f"--anchors: {key} is {shorten(str(value), 80)!r}", f"known: {known}")
        return value
    if key == "scales":
        scales = _several(key, value, float)
        if len(scales) != 4 or min(scales) <= 0:
            raise InputError(
                f"--anchors: scales is {shorten(str(value), 80)}", "give four above 0: y:x:h:w, as 10:10:5:5"
            )
        return scales
    share = _number(key, value, float)
    if not 0 <= share <= 1:
        raise InputError(f"--anchors: {key} is {share:g}", "give a share from 0 to 1")
    return share


def _of_grid(key: str, value: Any) -> Any:
    """Return the value of a key of `AnchorGrid`."""
    if key == "strides":
        return _several(key, value, int)
    if key == "aspect_ratios":
        return _several(key, value, float)
    kind = _GRID[key]
    if kind is bool:
        known = {"true": True, "false": False}
        if str(value).lower() not in known:
            raise InputError(f"--anchors: {key} is {shorten(str(value), 80)!r}", "give true or false")
        return known[str(value).lower()]
    return _number(key, value, kind)


def _several(key: str, value: Any, kind: Callable[[Any], Any]) -> tuple[Any, ...]:
    parts = value.split(":") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    return tuple(_number(key, part, kind) for part in parts)


def _number(key: str, value: Any, kind: Callable[[Any], Any]) -> Any:
    try:
        number = kind(value)
        if isinstance(value, bool) or not abs(number) < 1e6 or (kind is int and number != float(value)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        whole = "a whole number" if kind is int else "a number"
        raise InputError(
            f"--anchors: {key} has {shorten(repr(value), 80)}", f"give {whole}; several as 8:16:16"
        ) from None
    return number


def _shown(value: Any) -> str:
    return ":".join(f"{one:g}" for one in value) if isinstance(value, tuple) else str(value).lower()
