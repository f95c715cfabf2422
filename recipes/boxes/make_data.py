"""Draws recipes/boxes/pictures: pictures of discs and boxes, and where they are, in COCO's format.

    python recipes/boxes/make_data.py [FOLDER]

Licence of the data: Apache-2.0, as the rest of the project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIDE = 96
CLASSES = ("disc", "box")


def draw(folder: Path, split: str, count: int, seed: int) -> None:
    """Write `count` pictures into ``folder/split/`` and their boxes into ``folder/split.json``."""
    random = np.random.default_rng(seed)
    (folder / split).mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        picture = Image.fromarray(random.integers(60, 140, (SIDE, SIDE, 3), np.uint8))
        pen = ImageDraw.Draw(picture)
        taken: list[tuple[int, int, int, int]] = []
        for _ in range(random.integers(1, 4)):
            width, height = (int(side) for side in random.integers(16, 37, 2))
            left, top = int(random.integers(0, SIDE - width)), int(random.integers(0, SIDE - height))
            place = (left, top, left + width, top + height)
            if any(place[0] < x2 and x1 < place[2] and place[1] < y2 and y1 < place[3] for x1, y1, x2, y2 in taken):
                continue  # what is behind another one could not be found
            taken.append(place)
            kind = int(random.integers(0, 2))
            colour = tuple(random.integers(0, 256, 3).tolist())
            (pen.ellipse, pen.rectangle)[kind]((left, top, place[2] - 1, place[3] - 1), fill=colour, outline="white")
            box = {"bbox": [left, top, width, height], "category_id": kind + 1, "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": number, **box})
        picture.save(folder / split / f"{number:04d}.png")
        images.append({"id": number, "file_name": f"{number:04d}.png", "width": SIDE, "height": SIDE})
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / f"{split}.json").write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures"
    draw(where, "train", 800, seed=5)
    draw(where, "test", 200, seed=6)
