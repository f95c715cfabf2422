"""Select ``builtin:fashion-mnist-mini`` from Fashion-MNIST: 500 training and 200 test images per class.

    python -m edgeproof.data.builtin.cut_fashion_mnist_mini FASHION_MNIST_FOLDER OUT_FOLDER

The first folder holds the four idx files (Debian: package dataset-fashion-mnist, /usr/share/datasets/fashion-mnist).
The selection depends on `SEED` alone, by SHA-256, so it is the same on every machine. The compressed files are the same
byte for byte with the zlib version that DATACARD.md names.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError
from ..catalogs import FASHION_MNIST
from ..idx import read_idx, write_idx

SEED = "edgeproof fashion-mnist-mini 1"
# Prefix of the source files → number of images of each class to select from them.
PARTS = {"t10k": 200, "train": 500}
IMAGES, LABELS = "{}-images-idx3-ubyte.gz", "{}-labels-idx1-ubyte.gz"


def cut(source: Path, out: Path) -> None:
    """Write the four compressed idx files and ``labels.txt`` into `out`.

    Test images come from Fashion-MNIST's test split, training images from its training split. An image whose pixels
    were selected before, in either split, is skipped. Raises InputError when `source` does not hold the idx files.
    """
    used_pixels: set[bytes] = set()
    out.mkdir(parents=True, exist_ok=True)
    for part, number in PARTS.items():
        images = read_idx(source / IMAGES.format(part), 3)
        labels = read_idx(source / LABELS.format(part), 1)
        chosen = np.array(sorted(_choose(part, images, labels, number, used_pixels)))
        write_idx(out / IMAGES.format(part), images[chosen])
        write_idx(out / LABELS.format(part), labels[chosen])
    (out / "labels.txt").write_text("\n".join(FASHION_MNIST) + "\n", encoding="utf-8")


def _choose(
    part: str, images: NDArray[np.uint8], labels: NDArray[np.uint8], number: int, used_pixels: set[bytes]
) -> list[int]:
    """Return `number` indices per class, in the order of a hash of seed, part and index; extends `used_pixels`."""
    missing = dict.fromkeys(range(len(FASHION_MNIST)), number)
    chosen = []
    for index in sorted(range(len(labels)), key=lambda i: hashlib.sha256(f"{SEED}/{part}/{i}".encode()).digest()):
        label, pixels = int(labels[index]), images[index].tobytes()
        if missing[label] and pixels not in used_pixels:
            missing[label] -= 1
            used_pixels.add(pixels)
            chosen.append(index)
    return chosen


def main(arguments: Sequence[str]) -> int:
    """Run from a command line. Returns the exit status."""
    if len(arguments) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        cut(Path(arguments[0]), Path(arguments[1]))
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
