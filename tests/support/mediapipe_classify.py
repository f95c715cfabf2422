"""Classifies pictures with MediaPipe Tasks, in a process of its own: [[model file, .npz with samples], …] on stdin.

Prints as its last line what it answered: for each file {"labels", "scores"} or {"refused"}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import mediapipe
import numpy as np
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision


def classify(file: str, golden: str) -> dict[str, Any]:
    options = vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=file))
    try:
        classifier = vision.ImageClassifier.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        return {"refused": str(error)}
    rows, labels = [], []
    with classifier:
        for pixels in np.load(golden, allow_pickle=False)["samples"]:
            picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
            categories = sorted(classifier.classify(picture).classifications[0].categories, key=lambda c: c.index)
            rows.append([category.score for category in categories])
            labels = [category.category_name for category in categories]
    return {"labels": labels, "scores": rows}


if __name__ == "__main__":
    print(json.dumps([classify(file, golden) for file, golden in json.load(sys.stdin)]))  # noqa: T201
