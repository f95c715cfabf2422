"""Pictures in arrays that a recipe trains on: checked, and resized as the model's contract says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.decode import decode, decode_again, fit, pillow_settings
from ..core.errors import InputError
from ..core.recipe_data import Data
from ..core.sample_files import SampleFile, UnreadableError
from ..core.sanitize import shorten
from ..data.array_splits import UNKNOWN, Codes
from ..data.files import SPLIT_NAMES
from ..data.label_targets import targets_of
from ..data.masks import find_masks, read_masks
from ..data.sources import resolve_path
from ..data.tables import ImageTable
from ..tasks.segmentation import VOID
from .model_files import read_labels


@dataclass(frozen=True)
class Pictures:
    """Square RGB pictures of `side` pixels, made by `resize` (``stretch``, ``crop`` or ``pad``)."""

    side: int
    resize: str

    def checked(self, x: NDArray[Any], source: str) -> NDArray[np.uint8]:
        """Return pictures (N, height, width) or (N, height, width, 3) uint8. Raises InputError for what are none."""
        if x.ndim == 4 and x.shape[3] == 1:
            x = x[..., 0]
        if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] != 3):
            raise InputError(
                f"{shorten(source, 200)}: the samples have the shape {x.shape}, and the model takes pictures",
                "give pictures (samples, height, width, 3) or in grey (samples, height, width)",
            )
        if x.dtype.kind not in "bui" or x.min() < 0 or x.max() > 255:
            raise InputError(
                f"{shorten(source, 200)}: pictures are whole numbers from 0 to 255, and these are {x.dtype} from "
                f"{x.min():g} to {x.max():g}",
                "e.g. (x * 255).round().astype('uint8') for values from 0 to 1",
            )
        return x.astype(np.uint8)

    def resized(self, x: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return pictures (N, side, side, 3)."""
        made = np.empty((len(x), self.side, self.side, 3), np.uint8)
        for index, one in enumerate(x):
            made[index] = decode_again(one, size=self.side, resize=self.resize)
        return made

    def targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return targets; maps of classes (N, height, width) get the pictures' geometry, by nearest neighbour."""
        if y.ndim != 3:
            return y
        made = np.empty((len(y), self.side, self.side), np.uint8)
        for index, one in enumerate(y.astype(np.uint8)):
            image = Image.fromarray(one)
            made[index] = np.asarray(fit(image, self.side, self.resize, resample=Image.Resampling.NEAREST, border=VOID))
        return made


def mask_files(folder: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of each file below a folder: a cheap identity. Raises InputError for no folder."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", "name the folder with images/ and masks/: masks:FOLDER")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = [(path.relative_to(folder).as_posix(), path.stat()) for path in files]
    return [(name, status.st_size, status.st_mtime_ns) for name, status in facts]


def read_mask_pictures(
    folder: Path, source: str, pictures: Pictures, max_pixels: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Codes, tuple[str, ...]]:
    """Return the pictures (N, side, side, 3) of ``masks:FOLDER``, their maps, the split of each, and names of classes.

    Folders called by a split (``train``, ``validation``, ``test``) keep it. Raises InputError that names the file, as
    `find_masks` and `read_masks` do, and for a picture that cannot be read.
    """
    splits = {name: code for name, code in SPLIT_NAMES.items() if (folder / name).is_dir()} or {"": UNKNOWN}
    x: list[NDArray[np.uint8]] = []
    maps: list[NDArray[np.uint8]] = []
    codes: list[int] = []
    names: tuple[str, ...] = ()
    for split, code in splits.items():
        found = find_masks(folder, source, split)
        names = read_labels(found.names) if found.names else names
        maps.append(
            read_masks(found, size=pictures.side, resize=pictures.resize, answer=(), names=names, max_pixels=max_pixels)
        )
        with pillow_settings():
            for name in found.pictures:
                try:
                    file = SampleFile(str(found.root / name), str(found.root))
                    one = decode(file, size=pictures.side, resize=pictures.resize, max_pixels=max_pixels)
                except UnreadableError as error:
                    raise InputError(
                        f"{found.root / name} cannot be read: {error}", "repair it, or remove it and its mask"
                    ) from error
                x.append(one.pixels)
                codes.append(code)
    return np.stack(x), np.concatenate(maps), np.array(codes, np.int8), names


def picture_table(path: Path, data: Data, source: str, folder: Path) -> ImageTable:
    """Return the table of pictures at `path`, whose labels are tags or numbers."""
    return ImageTable(source, path, resolve_path(data.root, folder) if data.root else None, tagged=True)


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures (N, side, side, 3), their targets (N, …), the split of each, the names of tags, and what is left out."""

    x: NDArray[np.uint8]
    y: NDArray[Any]
    given: Codes
    names: tuple[str, ...]
    warnings: tuple[tuple[str, str], ...]


def read_picture_table(table: ImageTable, task: str, pictures: Pictures, data: Data) -> LabelledPictures:
    """Return the pictures of a table of the columns path, label and perhaps split, for a `task` of tags or numbers.

    Pictures that cannot be read are left out, or with ``on_unreadable = "stop"`` refused. Raises InputError for wrong
    rows, and for labels that are none of the task, with the picture's path.
    """
    listing = table.listing()
    root = table.root or table.file.parent
    y, names = targets_of(listing, task, root)
    x, kept, left = list[NDArray[np.uint8]](), list[int](), dict[str, str]()
    with pillow_settings():
        for row, payload in enumerate(listing.stream(np.arange(len(listing)))):
            try:
                one = decode(payload, size=pictures.side, resize=pictures.resize, max_pixels=data.max_pixels)
            except UnreadableError as error:
                left[listing.names[row]] = str(error)
                continue
            x.append(one.pixels)
            kept.append(row)
    shown = "; ".join(f"{shorten(name, 200)}: {why}" for name, why in list(left.items())[:5])
    if left and (data.on_unreadable == "stop" or not x):
        raise InputError(
            f"{table.file}: {len(left)} of {len(listing)} pictures cannot be read: {shown}",
            'repair or remove them, or set data.on_unreadable = "drop" to continue without them',
        )
    warnings = ((f"{len(left)} pictures cannot be read and are left out: {shown}", "repair or remove them"),)
    return LabelledPictures(np.stack(x), y[kept], listing.splits[kept], names, warnings if left else ())


def check_maps(x: NDArray[Any], maps: NDArray[Any], pictures: Pictures | None, source: str) -> None:
    """Raise InputError unless samples are pictures that have maps of their own size."""
    if pictures is None:
        raise InputError(
            f"{shorten(source, 200)}: y are maps of classes, and the model takes numbers",
            "choose a backbone of pictures for a segmenter, e.g. keras:MobileNetV2; or give one target for each sample",
        )
    if x.shape[1:3] != maps.shape[1:3]:
        raise InputError(
            f"{shorten(source, 200)}: the pictures are {x.shape[1]} × {x.shape[2]} pixels, and the maps "
            f"{maps.shape[1]} × {maps.shape[2]}",
            "give each picture a map of its own height and width",
        )
