"""Reads and writes the idx files of the MNIST family: a big-endian header, then bytes. The header is not trusted.

The format is described at the foot of http://yann.lecun.com/exdb/mnist/: two zero bytes, a type code (0x08 is
unsigned byte), the number of dimensions, then each dimension as a 32-bit unsigned integer, most significant first.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.codec import sha256_file
from ..core.errors import InputError
from ..core.sample_files import Payload, Pixels
from ..core.sanitize import shorten
from ..core.unpacking import max_unpacked_size
from .files import stat_identity
from .listing import TEST, TRAIN, UNASSIGNED, Indices, Listing, Probe, existing_folder

UNSIGNED_BYTE = 0x08

_FILE = re.compile(r"(?P<family>.*?)(?P<split>train|t10k|test)-(?P<kind>images|labels)[-.]idx[13]-ubyte(\.gz)?")


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the uint8 array of an idx file with that many dimensions; ``.gz`` is decompressed on the fly.

    An uncompressed file is memory-mapped. Raises InputError for a wrong magic number or type, for sizes that the file
    cannot hold, and for a truncated or overlong file.
    """
    packed = path.suffix == ".gz"
    try:
        size = path.stat().st_size
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            head = stream.read(4)
            if len(head) < 4 or head[:2] != b"\0\0":
                raise _invalid(path, f"it starts with {head.hex(' ') or 'nothing'}, not with 00 00 08 {dimensions:02x}")
            if head[2] != UNSIGNED_BYTE or head[3] != dimensions:
                raise _invalid(
                    path,
                    f"its type code is 0x{head[2]:02x} with {head[3]} dimensions; "
                    f"expected 0x08 (unsigned bytes) with {dimensions}",
                )
            sizes = stream.read(4 * dimensions)
            if len(sizes) < 4 * dimensions:
                raise _invalid(path, "it ends inside its header")
            shape = struct.unpack(f">{dimensions}I", sizes)
            length = math.prod(shape)
            if length == 0:
                raise _invalid(path, f"its header declares {' × '.join(map(str, shape))} bytes, so it is empty")
            if length > (max_unpacked_size(size) if packed else size):
                raise _invalid(
                    path, f"its header declares {length:,} bytes, and it has {size:,}: truncated, or a wrong header"
                )
            if not packed:
                offset = 4 + 4 * dimensions
                if size - offset != length:
                    raise _invalid(path, f"it holds {size - offset:,} bytes of data, and declares {length:,}")
                return np.memmap(path, np.uint8, "r", offset, shape)
            content = stream.read(length + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _invalid(path, f"it cannot be read: {error}") from error
    if len(content) != length:
        actual = f"more than {length:,}" if len(content) > length else f"{len(content):,}"
        raise _invalid(path, f"it holds {actual} bytes of data, and declares {length:,}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an array as a gzip-compressed idx file without a time or a name: equal arrays give equal bytes."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, UNSIGNED_BYTE, array.ndim, *array.shape)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=9, fileobj=raw, mtime=0) as stream:
        stream.write(head + array.tobytes())


def _invalid(path: Path, what: str) -> InputError:
    return InputError(f"{path} is not a valid idx file: {what}", "download it again, or remove it from the folder")


@dataclass(frozen=True)
class IdxSource:
    """A folder of the MNIST family: ``train-images-idx3-ubyte[.gz]``, ``train-labels-…`` and perhaps ``t10k-…``.

    Label names come from ``labels.txt`` in the folder (one per line, UTF-8); without it they are the numbers. With
    `by_content` the identity is the files' hashes, so that it does not depend on when the package was installed.
    """

    source: str
    folder: Path
    max_pixels: int
    by_content: bool = False

    def probe(self) -> Probe:
        """Return the files' hashes, or a hash over their names, sizes and times."""
        files = sorted(path for pair in self._files().values() for path in pair.values())
        names = self.folder / "labels.txt"
        files += [names] if names.is_file() else []
        if self.by_content:
            return Probe({path.name: sha256_file(path) for path in files})
        return Probe(stat_identity((path.name, str(path)) for path in files))

    def listing(self) -> Listing:
        """Return the samples as pixels (height, width). Raises InputError when the files do not fit each other."""
        arrays = []
        for split, pair in self._files().items():
            images, labels = read_idx(pair["images"], 3), read_idx(pair["labels"], 1)
            if len(images) != len(labels):
                raise InputError(
                    f"{pair['images']} holds {len(images):,} images, and {pair['labels'].name} {len(labels):,} labels",
                    "the two files belong to different data sets: put two that match into the folder",
                )
            if images.shape[1] * images.shape[2] > self.max_pixels:
                raise InputError(
                    f"{pair['images']}: its images have {images.shape[1]} × {images.shape[2]} pixels, more than "
                    f"data.max_pixels = {self.max_pixels:,}",
                    "raise data.max_pixels if this is intended",
                )
            arrays.append((split, images, labels))
        values = np.concatenate([labels for _, _, labels in arrays]).astype(np.int64)
        names = self._label_names(int(values.max()))
        if names is None:
            present = np.unique(values)
            names, targets = tuple(str(v) for v in present), np.searchsorted(present, values)
        else:
            targets = values
        splits = [np.full(len(labels), split, np.int8) for split, _, labels in arrays]
        return from_arrays(
            self.source, names, [images for _, images, _ in arrays], targets.astype(np.int64), np.concatenate(splits)
        )

    def _files(self) -> dict[int, dict[str, Path]]:
        """Return ``{TRAIN: {"images": path, "labels": path}, TEST: …}``. Raises InputError when some are missing."""
        folder = existing_folder(self.folder, self.source)
        pairs: dict[int, dict[str, Path]] = {}
        families = set()
        for path in sorted(folder.iterdir()):
            match = _FILE.fullmatch(path.name)
            if match is None or not path.is_file():
                continue
            families.add(match["family"])
            # Sorted order puts X before X.gz, so the uncompressed file is used.
            pairs.setdefault(TRAIN if match["split"] == "train" else TEST, {}).setdefault(match["kind"], path)
        if len(families) > 1:
            raise InputError(
                f"{folder} holds idx files of several data sets: {', '.join(sorted(map(repr, families)))}",
                "put each data set into its own folder",
            )
        names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
        if TRAIN not in pairs:
            raise InputError(f"{folder} holds no {names[0]} (.gz or not)", "name the folder that holds the idx files")
        for pair in pairs.values():
            missing = {"images", "labels"} - set(pair)
            if missing:
                present = next(iter(pair.values()))
                raise InputError(
                    f"{folder} holds {present.name}, but not the {missing.pop()} that belong to it",
                    "put them into the same folder",
                )
        return dict(sorted(pairs.items()))

    def _label_names(self, highest: int) -> tuple[str, ...] | None:
        path = self.folder / "labels.txt"
        if not path.is_file():
            return None
        try:
            names = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read as UTF-8 text: {error}") from error
        while names and not names[-1].strip():
            names.pop()
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated or "" in names:
            raise InputError(
                f"{path}: the label {shorten((repeated or [''])[0])!r} is repeated or empty",
                "write one label per line, each different",
            )
        if len(names) <= highest:
            raise InputError(
                f"{path} names {len(names)} labels, and the idx files use label number {highest}",
                f"it needs at least {highest + 1} lines, the first for number 0",
            )
        return tuple(names)


def from_arrays(
    source: str, labels: tuple[str, ...], arrays: list[Pixels], targets: Indices, splits: NDArray[np.int8]
) -> Listing:
    """Return a Listing over pixel arrays, (n, height, width) or (n, height, width, 3) uint8, one array per split.

    If all images are training images, they count as unassigned, so that a test split is made from them.
    """
    starts = np.cumsum([0, *map(len, arrays)])

    def stream(indices: Indices) -> Iterator[Payload]:
        positions = np.searchsorted(starts, indices, side="right") - 1
        for position, index in zip(positions.tolist(), indices.tolist(), strict=True):
            yield arrays[position][index - starts[position]]

    names = []
    for array, start in zip(arrays, starts[:-1].tolist(), strict=True):
        split = "test" if splits[start] == TEST else "train"
        names += [f"{split}/{number:07d}" for number in range(len(array))]
    if np.all(splits == TRAIN):
        splits = np.full(len(splits), UNASSIGNED, np.int8)
    return Listing(source, labels, names, targets, splits, stream, light=True)
