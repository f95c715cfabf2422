"""Trains a small SSD on recipes/boxes/pictures, with Keras alone: a detector as users bring theirs.

    python recipes/boxes/make_detector.py [FOLDER]

Writes detector.keras, anchors.csv and labels.txt into FOLDER (default: beside the pictures). The model takes pixels
from 0 to 1 and answers with `encodings` (432, 4) relative to the anchors and `logits` (432, 2): its boxes come raw.
A minute or two on 2 cores.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, CELLS = 96, 12
SIZES = ((0.25, 0.25), (0.2, 0.34), (0.34, 0.2))  # height and width of the anchors at each place
SCALES = np.array([10.0, 10.0, 5.0, 5.0])
LIKE = 0.5  # an anchor of that IoU with a box learns to find it
EPOCHS = 40

Floats = NDArray[np.float32]


def anchors() -> Floats:
    """Return rows of ycenter, xcenter, height, width in shares (432, 4), in the order of the model's outputs."""
    across = (np.arange(CELLS) + 0.5) / CELLS
    places = np.stack(np.meshgrid(across, across, indexing="ij"), -1).reshape(-1, 1, 2)
    sizes = np.broadcast_to(np.array(SIZES), (len(places), len(SIZES), 2))
    rows: Floats = np.concatenate([np.broadcast_to(places, sizes.shape), sizes], -1).reshape(-1, 4).astype(np.float32)
    return rows


def encoded(boxes: NDArray[Any], classes: NDArray[Any], kinds: int) -> tuple[Floats, Floats]:
    """Return what the model is to answer: encodings (432, 4) and 0 or 1 for each class (432, kinds).

    `boxes` are (n, 4): ymin, xmin, ymax, xmax in shares.
    """
    own = anchors()
    low, high = own[:, None, :2] - own[:, None, 2:] / 2, own[:, None, :2] + own[:, None, 2:] / 2
    shared = np.prod(np.clip(np.minimum(high, boxes[:, 2:]) - np.maximum(low, boxes[:, :2]), 0, None), -1)
    areas = np.prod(own[:, None, 2:], -1) + np.prod(boxes[:, 2:] - boxes[:, :2], -1)
    overlap = shared / (areas - shared)
    best = overlap.argmax(axis=1)
    found = overlap.max(axis=1) >= LIKE
    nearest = overlap.argmax(axis=0)
    best[nearest], found[nearest] = np.arange(len(boxes)), True
    size = (boxes[:, 2:] - boxes[:, :2])[best]
    centre = boxes[best, :2] + size / 2
    values = np.concatenate([(centre - own[:, :2]) / own[:, 2:], np.log(size / own[:, 2:])], -1) * SCALES
    right = np.zeros((len(own), kinds))
    right[found, classes[best[found]]] = 1
    return (values * found[:, None]).astype(np.float32), right.astype(np.float32)


def read(folder: Path, split: str) -> tuple[Floats, Floats, Floats, list[str]]:
    """Return pictures (n, 96, 96, 3) from 0 to 1, their encodings and classes, and the names of the classes."""
    document = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
    names = [one["name"] for one in document["categories"]]
    pictures: list[Floats] = []
    values: list[Floats] = []
    rights: list[Floats] = []
    for image in document["images"]:
        own = [one for one in document["annotations"] if one["image_id"] == image["id"]]
        corners = np.array([one["bbox"] for one in own], np.float64)[:, [1, 0, 3, 2]]
        corners[:, 2:] += corners[:, :2]
        kinds = np.array([one["category_id"] - 1 for one in own])
        pictures.append(np.asarray(Image.open(folder / split / image["file_name"]), np.float32) / 255)
        for rows, one in zip((values, rights), encoded(corners / SIDE, kinds, len(names)), strict=True):
            rows.append(one)
    return np.stack(pictures), np.stack(values), np.stack(rights), names


def train(folder: Path, out: Path, epochs: int = EPOCHS) -> None:
    """Train on ``folder/train.json``, and write the model with its anchors and labels into `out`."""
    import tensorflow as tf
    import tf_keras as keras

    keras.utils.set_random_seed(1)
    pictures, values, rights, names = read(folder, "train")
    given = x = keras.Input((SIDE, SIDE, 3), name="pixels")
    for filters, stride in ((16, 2), (32, 2), (64, 2), (64, 1), (64, 1)):
        x = keras.layers.Conv2D(filters, 3, stride, "same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    count = CELLS * CELLS * len(SIZES)
    rare = keras.initializers.Constant(-4.0)  # most anchors have no box
    boxes = keras.layers.Conv2D(4 * len(SIZES), 3, padding="same")(x)
    kinds = keras.layers.Conv2D(len(names) * len(SIZES), 3, padding="same", bias_initializer=rare)(x)
    outputs = {
        "encodings": keras.layers.Reshape((count, 4), name="encodings")(boxes),
        "logits": keras.layers.Reshape((count, len(names)), name="logits")(kinds),
    }
    model = keras.Model(given, outputs)

    def of_boxes(right: Any, answer: Any) -> Any:
        there = tf.cast(tf.reduce_any(right != 0, -1), tf.float32)
        lost = tf.reduce_sum(tf.minimum(tf.abs(right - answer), 0.5 * (right - answer) ** 2 + 0.5), -1)
        return tf.reduce_sum(lost * there, -1) / tf.maximum(tf.reduce_sum(there, -1), 1)

    def of_classes(right: Any, answer: Any) -> Any:  # the focal loss (Lin et al. 2017)
        lost = tf.nn.sigmoid_cross_entropy_with_logits(right, answer)
        sure = tf.sigmoid(answer) * right + (1 - tf.sigmoid(answer)) * (1 - right)
        return tf.reduce_sum((1 - sure) ** 2 * lost, (1, 2)) / tf.maximum(tf.reduce_sum(right, (1, 2)), 1)

    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * len(pictures) // 16)
    model.compile(keras.optimizers.Adam(rate), loss={"encodings": of_boxes, "logits": of_classes})
    model.fit(pictures, {"encodings": values, "logits": rights}, batch_size=16, epochs=epochs, verbose=2)
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / "detector.keras")
    np.savetxt(out / "anchors.csv", anchors(), "%.8g", ",", header="ycenter,xcenter,height,width", comments="")
    (out / "labels.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


if __name__ == "__main__":
    where = Path(__file__).parent / "pictures"
    train(where, Path(sys.argv[1]) if len(sys.argv) > 1 else where)
