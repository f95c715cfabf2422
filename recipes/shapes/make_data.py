"""Draws recipes/shapes/pictures for recipes/shapes.toml: pictures of discs and boxes, and their masks.

    python recipes/shapes/make_data.py [FOLDER]

Licence of the data: Apache-2.0, as the rest of the project.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 96
CLASSES = ("ground", "disc", "box")


def draw(folder: Path, count: int = 240) -> None:
    """Write `count` pictures into ``images/``, the class of each pixel into ``masks/``, and ``labels.txt``."""
    random = np.random.default_rng(4)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "labels.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    for number in range(count):
        picture = Image.fromarray(random.integers(60, 140, (SIDE, SIDE, 3), np.uint8))
        mask = Image.new("L", (SIDE, SIDE))
        for _ in range(3):
            left, top, size = random.integers(0, 70), random.integers(0, 70), random.integers(16, 34)
            kind = int(random.integers(1, 3))
            place, colour = (left, top, left + size, top + size), tuple(random.integers(0, 256, 3).tolist())
            for canvas, fill in ((picture, colour), (mask, kind)):
                pen = ImageDraw.Draw(canvas)
                (pen.ellipse if kind == 1 else pen.rectangle)(place, fill=fill)
        picture.save(folder / "images" / f"{number:03d}.png")
        mask.save(folder / "masks" / f"{number:03d}.png")


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures")
