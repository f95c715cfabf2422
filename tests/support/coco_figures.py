"""COCO's own evaluation of boxes, to compare the product's figures with, and boxes to try it on."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np


def coco_eval(targets: np.ndarray, answers: np.ndarray) -> Any:
    """Evaluate with pycocotools targets (n, boxes, 6) x1, y1, x2, y2, class, crowd, and answers with score, class."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict[str, Any]] = []
    found = []
    for image, boxes in enumerate(targets):
        for x1, y1, x2, y2, number, crowd in boxes[boxes[:, 4] >= 0].tolist():
            size = [x1, y1, x2 - x1, y2 - y1]
            annotations.append({"id": len(annotations) + 1, "image_id": image + 1, "category_id": int(number) + 1,
                                "bbox": size, "area": size[2] * size[3], "iscrowd": int(crowd)})  # fmt: skip
        for x1, y1, x2, y2, score, number in answers[image][answers[image][:, 4] > 0].astype(float).tolist():
            found.append({"image_id": image + 1, "category_id": int(number) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1],
                          "score": score})  # fmt: skip
    categories = {int(number) for number in [*targets[..., 4].flat, *answers[..., 5].flat] if number >= 0}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": image + 1} for image in range(len(targets))],
            "annotations": annotations,
            "categories": [{"id": number + 1, "name": str(number)} for number in sorted(categories)],
        }
        truth.createIndex()
        evaluated = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return evaluated


def class_figures(evaluated: Any) -> dict[int, float]:
    """Return the AP@[.50:.95] of each class that has boxes."""
    precision = evaluated.eval["precision"][:, :, :, 0, 2]
    means = {number - 1: float(precision[:, :, at].mean()) for at, number in enumerate(evaluated.params.catIds)}
    return {number: value for number, value in means.items() if value >= 0}


def random_boxes(samples: int = 30, seed: int = 0, crowd: float = 0.15) -> tuple[np.ndarray, np.ndarray]:
    """Return targets (samples, 8, 6) with crowds, and answers (samples, 300, 6) near some of them, with many ties."""
    random = np.random.default_rng(seed)
    targets, answers = np.zeros((samples, 8, 6)), np.zeros((samples, 300, 6), np.float32)
    targets[..., 4] = -1
    for sample in range(samples):
        count = int(random.integers(0, 9))
        low, size = random.integers(0, 40, (count, 2)), random.integers(2, 24, (count, 2))
        targets[sample, :count] = np.column_stack(
            [low, low + size, random.integers(0, 5, count), random.random(count) < crowd]
        )
        rows = []
        for box in targets[sample, :count].tolist():
            for _ in range(random.integers(0, 4)):
                number = box[4] if random.random() < 0.8 else random.integers(0, 5)
                rows.append([*(np.array(box[:4]) + random.normal(0, 2, 4)), round(random.random(), 1) + 0.05, number])
        for _ in range(int(random.integers(0, 200))):  # more than 100 of a class
            corner = random.integers(0, 40, 2)
            end = corner + random.integers(2, 24, 2)
            rows.append([*corner, *end, round(random.random() * 0.7, 2) + 0.01, random.integers(0, 2)])
        kept = np.array(rows, np.float32).reshape(-1, 6)
        kept = kept[(kept[:, 2] > kept[:, 0]) & (kept[:, 3] > kept[:, 1])][:300]
        answers[sample, : len(kept)] = kept
    return targets, answers
