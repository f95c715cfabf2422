"""Pictures and their label pictures (``masks:``): which file belongs to which, and the class number of each pixel.

Files are untrusted: only the listed formats are opened, links out of the folder are refused, and the size is checked in
the header before anything is decoded.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.decode import fit, pillow_settings, upright_size
from ..core.environment import usable_cores
from ..core.errors import InputError
from ..core.picture_size import Size, sides
from ..core.sample_files import SampleFile, UnreadableError, read_error_reason, read_sample
from ..core.sanitize import shorten
from .files import children, walk
from .listing import existing_folder

VOID = 255
"""The number of a pixel that is not judged, as Pascal VOC and Cityscapes have it."""
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
# Of label pictures: formats that keep numbers. JPEG and lossy WebP change them.
MASK_FORMATS = ("PNG", "BMP", "GIF")
MASK_ENDINGS = (".png", ".bmp", ".gif")
PICTURE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "segmentationclass")
MASK_SUFFIXES = ("_mask", "-mask", "_label", "_labels")
NAMES_FILES = ("labels.txt", "classes.txt")
_LAYOUTS = "FOLDER/images/x.jpg with FOLDER/masks/x.png, or x.jpg beside x.png or x_mask.png"
_NUMBERS = (
    "a label picture holds the class number of each pixel: in grey, or as the index of a palette; 255 is not judged"
)
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class MaskFolder:
    """Pictures with their masks: paths below `root`, which is resolved, in the pictures' order by name.

    `unused` are masks without a picture. `names` is the file that names the classes, one a line; None: there is none.
    """

    root: Path
    pictures: tuple[str, ...]
    masks: tuple[str, ...]
    unused: tuple[str, ...] = ()
    names: Path | None = None


def find_masks(folder: Path, source: str, split: str) -> MaskFolder:
    """Pair the pictures in `folder` with their masks by name. Of folders called by a split that of `split` is taken.

    Raises InputError for a picture without a mask, one with several, and where there are none.
    """
    root = existing_folder(folder, source)
    within = root / split if (root / split).is_dir() else root
    inside = {name.lower(): path for name, path in children(within).folders.items()}
    apart = [inside[name] for name in PICTURE_FOLDERS if name in inside][:1]
    apart += [inside[name] for name in MASK_FOLDERS if name in inside][:1]
    masks: dict[str, list[str]]
    if len(apart) == 2:
        pictures, masks = _files(apart[0], split), {}
        for key, paths in _files(apart[1], split).items():
            masks.setdefault(key if key in pictures else _bare(key), []).extend(paths)
    else:
        pictures, masks = _beside(_files(within, ""))
    if not pictures:
        raise InputError(f"{source}: no pictures are there", f"expected {_LAYOUTS}")
    chosen = [_one(paths, "pictures") for _, paths in sorted(pictures.items())]
    for key, picture in zip(sorted(pictures), chosen, strict=True):
        if key not in masks:
            raise InputError(
                f"{picture} has no mask", f"add one of the same name, or remove the picture; expected {_LAYOUTS}"
            )
    unused = [paths[0] for key, paths in sorted(masks.items()) if key not in pictures]
    named = [place / name for place in (within, root) for name in NAMES_FILES if (place / name).is_file()]
    return MaskFolder(
        root,
        _below(root, chosen),
        _below(root, (_one(masks[key], "masks") for key in sorted(pictures))),
        _below(root, unused),
        named[0] if named else None,
    )


def read_masks(
    found: MaskFolder, *, size: Size, resize: str, answer: Sequence[int], names: Sequence[str], max_pixels: int
) -> NDArray[np.uint8]:
    """Return the class of each pixel (N, height, width), 255 where it is not judged, and in the borders of ``pad``.

    Masks get the geometry of their pictures, by nearest neighbour: to `size` by `resize`, and then to the height and
    width of `answer`, the shape of one answer (empty: not known).

    Raises InputError that names the file: for a mask of another size than its picture, of colours instead of numbers,
    that cannot be read, or with a class that the answer has no value for, or that has none of the `names`.
    """
    told = answer[2] if len(answer) == 3 and answer[2] > 1 else VOID
    known = len(names) or VOID
    classes = min((told, f"the model tells {told} apart"), (known, f"{NAMES_FILES[0]} names {known}"), (VOID, ""))
    to = tuple(answer[:2]) if len(answer) in (2, 3) else sides(size)[:2]
    one = partial(_read, found.root, size=size, resize=resize, to=to, classes=classes, max_pixels=max_pixels)
    with pillow_settings(), ThreadPoolExecutor(usable_cores()) as pool:
        read = list(pool.map(one, found.pictures, found.masks))
    held = {value for _, values in read for value in values}
    if held == {0, VOID}:
        raise InputError(
            f"{found.root / found.masks[0]} and the other masks hold 0 and 255 alone, and 255 is a pixel that is not "
            "judged",
            "of masks in black and white write 1 instead of 255: white is then the class 1",
        )
    return np.stack([pixels for pixels, _ in read])


def _read(
    root: Path,
    picture: str,
    mask: str,
    *,
    size: Size,
    resize: str,
    to: tuple[int, ...],
    classes: tuple[int, str],
    max_pixels: int,
) -> tuple[NDArray[np.uint8], set[int]]:
    """Return a mask's pixels as they are judged, and the numbers that it holds."""
    path = root / mask
    numbers = _decoded(path, root, max_pixels)
    try:
        expected = upright_size(read_sample(SampleFile(str(root / picture), str(root))))
    except (UnreadableError, OSError):
        expected = (numbers.shape[1], numbers.shape[0])  # the pass over the pictures says why, and leaves it out
    if expected != numbers.shape[::-1]:
        turned = " (as it is shown, turned by its EXIF orientation)" if expected == numbers.shape else ""
        raise InputError(
            f"{path} is {numbers.shape[1]} × {numbers.shape[0]} pixels, and its picture {picture} {expected[0]} × "
            f"{expected[1]}{turned}",
            "give each picture a mask of its own size",
        )
    held = {int(value) for value in np.unique(numbers)}
    if (most := max(held - {VOID}, default=0)) >= classes[0]:
        raise InputError(
            f"{path} has a pixel of the class {most}, and {classes[1]}, from 0",
            f"{_NUMBERS}; leave other classes out by writing 255",
        )
    image = fit(Image.fromarray(numbers), size, resize, resample=Image.Resampling.NEAREST, border=VOID)
    image = image.resize((to[1], to[0]), Image.Resampling.NEAREST)
    return np.asarray(image), held


def _decoded(path: Path, root: Path, max_pixels: int) -> NDArray[np.uint8]:
    """Return a mask's numbers (height, width). Raises InputError that names the file."""
    try:
        content = read_sample(SampleFile(str(path), str(root)))
        with Image.open(io.BytesIO(content), formats=MASK_FORMATS) as opened:
            mode = opened.mode
            if opened.width * opened.height > max_pixels:
                raise UnreadableError(f"{opened.width} × {opened.height} pixels, more than data.max_pixels")
            opened.load()
            values = np.asarray(opened)
    except UnreadableError as error:
        raise InputError(f"{path} cannot be read: {error}", _NUMBERS) from error
    except OSError as error:
        why = read_error_reason(error) if error.errno else f"expected {', '.join(MASK_FORMATS)}"
        raise InputError(f"{path} cannot be read as a label picture: {why}", _NUMBERS) from error
    except Exception as error:  # Pillow's readers raise nearly anything on a broken file
        raise InputError(f"{path} cannot be read: broken ({type(error).__name__})", _NUMBERS) from error
    if values.ndim != 2:
        raise InputError(
            f"{path} holds colours ({mode}), and no class numbers",
            f"{_NUMBERS}. Of colours write the number of each, or save it with its palette",
        )
    if content.startswith(_PNG) and content[25] == 0 and content[24] in (2, 4):
        values = values // (255 // (2 ** content[24] - 1))  # Pillow spreads grey of 2 and 4 bits to 0–255
    if values.size == 0 or values.min() < 0 or values.max() > VOID:
        raise InputError(f"{path} has the number {values.max()}", f"{_NUMBERS}: numbers up to 255")
    return values.astype(np.uint8)


def _files(folder: Path, split: str) -> dict[str, list[str]]:
    """Return the paths of the files below a folder, or below its folder of a split, by their names without ending."""
    within = folder / split if split and (folder / split).is_dir() else folder
    files: dict[str, list[str]] = {}
    for _, path in walk(within, "")[0]:
        place = PurePosixPath(os.path.relpath(path, within))
        if place.suffix.lower() in PICTURE_ENDINGS:
            files.setdefault(str(place.with_suffix("")), []).append(path)
    return files


def _beside(files: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Divide files in one folder into pictures and masks."""
    pictures: dict[str, list[str]] = {}
    masks: dict[str, list[str]] = {}
    for key, paths in files.items():
        if (of := _bare(key)) != key and of in files:
            masks.setdefault(of, []).extend(paths)
            continue
        numbers = [path for path in paths if path.lower().endswith(MASK_ENDINGS)] if len(paths) > 1 else []
        pictures[key] = [path for path in paths if path not in numbers] or paths
        if numbers and pictures[key] != paths:
            masks.setdefault(key, []).extend(numbers)
    return pictures, masks


def _bare(key: str) -> str:
    return next((key.removesuffix(suffix) for suffix in MASK_SUFFIXES if key.endswith(suffix)), key)


def _one(paths: Sequence[str], what: str) -> str:
    if len(paths) > 1:
        raise InputError(f"two {what} have one name: {shorten(paths[0], 300)} and {shorten(paths[1], 300)}", "keep one")
    return paths[0]


def _below(root: Path, paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(os.path.relpath(path, root) for path in paths)
