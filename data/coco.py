"""Pictures with boxes in COCO's format (``coco:``): which files they are, and the boxes of each.

The file is untrusted: it is read within bounds, every row is checked, and names and links that lead out of the
pictures' folder are refused. The format: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.decode import pillow_settings, upright_size
from ..core.documents import MAX_JSON_BYTES, parse_json, read_text
from ..core.environment import usable_cores
from ..core.errors import InputError
from ..core.inputs import check_plain
from ..core.sample_files import SampleFile, UnreadableError, read_sample
from ..core.sanitize import shorten

COLUMNS = 8
_FORM = (
    "expected COCO's format: images (id, file_name, width, height), annotations (image_id, category_id, bbox) and "
    "categories (id, name)"
)
_MOST_VALUES = 1 << 26  # of all boxes, filled up to those of the picture that has most
_MOST_SIDE = 1 << 16


@dataclass(frozen=True)
class CocoFile:
    """Pictures by their paths below `root`, which is resolved; `names` are the categories by their ids.

    `boxes` are (pictures, boxes, 8) float64: x1, y1, x2, y2 in pixels, the position of the category in `names` (-1: no
    box), whether it is a crowd, and the picture's width and height.
    """

    root: Path
    pictures: tuple[str, ...]
    names: tuple[str, ...]
    boxes: NDArray[np.float64]


def read_coco(path: Path, folder: Path | None = None, *, boxes: bool = True) -> CocoFile:
    """Read a file in COCO's format, with its pictures in `folder`, or where they are found beside the file.

    Without `boxes` none are read. Raises InputError that names file and row: for what is no such file, unknown or
    double ids, pictures that are missing, of another size than the file says, or outside the folder, and boxes without
    width or height, with values that are no finite numbers, or outside their picture.
    """
    check_plain(path)
    try:
        text = read_text(path, MAX_JSON_BYTES)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}", f"give coco:FILE.json; {_FORM}"
        ) from error
    document = parse_json(text, str(path), _FORM)
    images = _rows(path, document, "images")
    if not images:
        raise InputError(f"{path} has no images", _FORM)
    numbers: dict[Any, int] = {}
    sizes, names = [], []
    for at, image in enumerate(images):
        where = f"{path}: images[{at}]"
        _new(numbers, _id(image, "id", where), at, where)
        names.append(_file_name(image, where))
        sizes.append(tuple(_side(image, key, where) for key in ("width", "height")) if boxes else (0, 0))
    root = _root(path, names[0], folder)
    if missing := next((at for at, name in enumerate(names) if not _is_file(root / name)), None):
        raise InputError(
            f"{path}: images[{missing}] is {shorten(names[missing], 200)}, which is not in {root}",
            "put the picture there, or take its row out",
        )
    if not boxes:
        return CocoFile(root, tuple(names), (), np.zeros((len(names), 0, COLUMNS)))
    _check_sizes(path, root, names, sizes)
    categories = _categories(path, document)
    return CocoFile(
        root,
        tuple(names),
        tuple(name for name, _ in categories.values()),
        _boxes(path, document, numbers, sizes, categories),
    )


def _rows(path: Path, document: Any, key: str) -> list[Mapping[str, Any]]:
    rows = document.get(key) if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise InputError(f"{path} has no list of {key}", _FORM)
    if (wrong := next((at for at, row in enumerate(rows) if not isinstance(row, dict)), None)) is not None:
        raise InputError(f"{path}: {key}[{wrong}] is no object", _FORM)
    return rows


def _id(row: Mapping[str, Any], key: str, where: str) -> int | str:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError(f"{where} has no {key}", _FORM)
    return value


def _new(known: dict[Any, int], id_: int | str, at: int, where: str) -> None:
    if id_ in known:
        raise InputError(
            f"{where} has the id {shorten(str(id_))}, as row {known[id_]} has", "give each row an id of its own"
        )
    known[id_] = at


def _file_name(image: Mapping[str, Any], where: str) -> str:
    name = image.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"{where} has no file_name", _FORM)
    windows = PureWindowsPath(name)
    if PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        raise InputError(
            f"{where}: {shorten(name, 200)} leads out of the pictures' folder",
            "name files in it, and give the folder as coco:FILE.json,FOLDER",
        )
    return name


def _side(image: Mapping[str, Any], key: str, where: str) -> int:
    value = image.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < _MOST_SIDE or value % 1:
        raise InputError(f"{where}: {key} is {shorten(repr(value))}, and no number of pixels", _FORM)
    return int(value)


def _root(path: Path, first: str, folder: Path | None) -> Path:
    """Return the folder of the pictures: the one that is named, else the first that has the first of them."""
    here = path.resolve().parent
    split = path.stem.rpartition("_")[2]
    places = [here, here / "images", here / split, here.parent / "images", here.parent / split]
    for place in [folder] if folder else places:
        if _is_file(place / first):
            return place.resolve()
    looked = ", ".join(str(place) for place in ([folder] if folder else places))
    raise InputError(
        f"{path}: images[0] is {shorten(first, 200)}, which is not in {looked}",
        "say where the pictures are: coco:FILE.json,FOLDER",
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long
        return False


def _check_sizes(path: Path, root: Path, names: Sequence[str], sizes: Sequence[tuple[int, ...]]) -> None:
    """Raise InputError for a picture of another size than the file says: its boxes would be elsewhere."""

    def one(name: str) -> tuple[int, int] | None:
        try:
            return upright_size(read_sample(SampleFile(str(root / name), str(root))))
        except (UnreadableError, OSError):
            return None  # the pass over the pictures says why, and leaves it out

    with pillow_settings(), ThreadPoolExecutor(usable_cores()) as pool:
        for at, (size, found) in enumerate(zip(sizes, pool.map(one, names), strict=True)):
            if found is not None and found != size:
                turned = ", turned by its EXIF orientation," if found == size[::-1] else ""
                raise InputError(
                    f"{path}: images[{at}] says {size[0]} × {size[1]} pixels, and {shorten(names[at], 200)}{turned} "
                    f"has {found[0]} × {found[1]}",
                    "correct width and height, and the boxes with them",
                )


def _categories(path: Path, document: Any) -> dict[int | str, tuple[str, int]]:
    """Return the name and the position of each category by its id, in the order of ids."""
    known: dict[Any, int] = {}
    places: dict[str, int] = {}
    rows = _rows(path, document, "categories")
    for at, row in enumerate(rows):
        where = f"{path}: categories[{at}]"
        _new(known, _id(row, "id", where), at, where)
        name = row.get("name")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{where} has no name", _FORM)
        if name in places:
            raise InputError(f"{where} is called {shorten(name)!r}, as row {places[name]} is", "call it otherwise")
        places[name] = at
    if len({type(id_) for id_ in known}) > 1:
        raise InputError(f"{path}: the ids of categories are numbers and texts", "give numbers")
    ordered = sorted(known, key=lambda id_: id_)
    names = list(places)
    return {id_: (names[known[id_]], position) for position, id_ in enumerate(ordered)}


def _boxes(
    path: Path,
    document: Any,
    numbers: Mapping[Any, int],
    sizes: Sequence[tuple[int, ...]],
    categories: Mapping[int | str, tuple[str, int]],
) -> NDArray[np.float64]:
    found: list[list[tuple[float, ...]]] = [[] for _ in sizes]
    known: dict[Any, int] = {}
    for at, row in enumerate(_rows(path, document, "annotations")):
        where = f"{path}: annotations[{at}]"
        if "id" in row:
            _new(known, _id(row, "id", where), at, where)
        image, category = (_id(row, key, where) for key in ("image_id", "category_id"))
        if image not in numbers:
            raise InputError(f"{where}: there is no image of the id {shorten(str(image))}", "take the row out")
        if category not in categories:
            raise InputError(f"{where}: there is no category of the id {shorten(str(category))}", "take the row out")
        size = sizes[numbers[image]]
        corners = _corners(row.get("bbox"), size, where)
        crowd = row.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise InputError(f"{where}: iscrowd is {shorten(repr(crowd))}", "write 0 or 1")
        found[numbers[image]].append((*corners, categories[category][1], float(crowd), *size))
    rows = [box for boxes in found for box in boxes]
    if not any(box[5] == 0 for box in rows):
        counted = f"{len(rows)} boxes, all of them crowds" if rows else "no box"
        raise InputError(
            f"{path}: annotations has {counted}, and there is nothing to find in its {len(sizes)} images",
            "give a file with boxes of iscrowd 0; without any, images:FOLDER compares files with their float model",
        )
    return _filled(path, found, sizes)


def _corners(box: Any, size: tuple[int, ...], where: str) -> tuple[float, float, float, float]:
    """Return x1, y1, x2, y2 of [x, y, width, height]. A box may be a pixel outside its picture, and is cut later."""
    if not isinstance(box, list) or len(box) != 4 or not all(_finite(value) for value in box):
        raise InputError(f"{where}: bbox is {shorten(repr(box))}, and not [x, y, width, height]", _FORM)
    x, y, width, height = map(float, box)
    if width <= 0 or height <= 0:
        raise InputError(f"{where}: the box {box} has no width or no height", "correct it, or take the row out")
    beyond = x < -1 or y < -1 or x + width > size[0] + 1 or y + height > size[1] + 1
    if beyond or x >= size[0] or y >= size[1] or x + width <= 0 or y + height <= 0:
        raise InputError(
            f"{where}: the box {box} is outside its picture of {size[0]} × {size[1]} pixels",
            "correct it; a box is [x, y, width, height] in pixels of the picture, from its upper left corner",
        )
    return x, y, x + width, y + height


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _filled(
    path: Path, found: Sequence[Sequence[tuple[float, ...]]], sizes: Iterable[tuple[int, ...]]
) -> NDArray[np.float64]:
    most = max(1, *(len(rows) for rows in found), 1)
    if len(found) * most * COLUMNS > _MOST_VALUES:
        raise InputError(f"{path} has an image of {most:,} boxes, of {len(found):,} images", "measure on fewer images")
    boxes = np.zeros((len(found), most, COLUMNS))
    boxes[..., 4] = -1
    boxes[..., 6:] = np.array(list(sizes), np.float64)[:, None]
    for at, rows in enumerate(found):
        if rows:
            boxes[at, : len(rows)] = rows
    return boxes
