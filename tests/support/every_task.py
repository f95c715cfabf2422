"""One small model of each kind that people ship, its samples, and its figures computed in the plainest way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .detectors import SIDE, pictures
from .metrics import average_precision, mean_iou

COUNT, CLASSES = 48, 4
NAMES = tuple("abcd")
Answers = np.ndarray
Taken = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """`x` are the samples by the input's name (empty: the only one); `shift` gives other targets from the right ones.

    `route` is what `export` is given: a Keras file or SavedModel, or the float .tflite that is made of it.
    """

    build: Callable[[Any], Any]
    x: Taken
    metric: str
    score: Callable[[Answers, Any], float]
    same: Callable[[Answers, Answers], float]
    right: Callable[[Answers], Any]
    shift: Callable[[Any], Any]
    interval: Literal["wilson", "percentiles", "basic"] = "wilson"
    route: Literal["keras", "tflite"] = "tflite"
    small: str = "int8"
    output: str = ""  # the judged one of several
    export: dict[str, Any] = field(default_factory=dict)
    evaluate: dict[str, Any] = field(default_factory=dict)
    form: Literal["arrays", "npz", "csv", "folder", "wav", "coco"] = "arrays"
    numbers: bool = False  # `same` is the relative error

    @property
    def is_picture(self) -> bool:
        return next(iter(self.x.values())).dtype == np.uint8

    def judged(self, outputs: dict[str, Answers]) -> Answers:
        """The answers (samples, …) that are scored; of boxes rows x1, y1, x2, y2, score, class."""
        if self.metric == "COCO mAP":
            return boxes_of(outputs)
        return outputs[self.output or next(iter(outputs))]


def boxes_of(outputs: dict[str, Answers]) -> Answers:
    """Rows (samples, 20, 6); what is not counted has the score 0."""
    boxes, scores = outputs["boxes"][..., [1, 0, 3, 2]], outputs["scores"]
    counted = np.arange(scores.shape[1]) < outputs["count"].reshape(-1, 1)
    counted &= (boxes[..., 2:] > boxes[..., :2]).all(axis=-1)  # what has no size is no box
    classes = np.rint(outputs["classes"])  # of an int8 file class 1 is 0.996
    return np.concatenate([boxes, (scores * counted)[..., None], classes[..., None]], axis=-1)


# --- metrics ------------------------------------------------------------------------------------------------------


def yes(answers: Answers) -> np.ndarray:
    """The class: of one value by one half."""
    return (answers[:, 0] >= 0.5).astype(int) if answers.shape[1] == 1 else answers.argmax(axis=1)


def accuracy(answers: Answers, y: Any) -> float:
    return float((yes(answers) == y).mean())


def same_class(a: Answers, b: Answers) -> float:
    return float((yes(a) == yes(b)).mean())


def mean_of_iou(answers: Answers, y: Any) -> float:
    return float(np.mean(list(mean_iou(answers.argmax(axis=-1), y, 255).values())))


def same_pixels(a: Answers, b: Answers) -> float:
    return float((a.argmax(axis=-1) == b.argmax(axis=-1)).mean())


def mean_of_precision(answers: Answers, y: Any) -> float:
    return float(
        np.mean([average_precision(answers[:, tag], y[:, tag]) for tag in range(y.shape[1]) if y[:, tag].any()])
    )


def same_tags(a: Answers, b: Answers) -> float:
    return float(((a >= 0.5) == (b >= 0.5)).mean())


def absolute_error(answers: Answers, y: Any) -> float:
    return float(np.abs(answers.astype(float) - y).mean())


def relative_error(a: Answers, b: Answers) -> float:
    a, b = a.astype(float), b.astype(float)
    return float((((a - b) ** 2).mean() / a.var(axis=0).mean()) ** 0.5)


def recall(answers: Answers, y: Any) -> float:
    """The share of samples whose nearest other one is of the same class; of equally near ones the share of these."""
    unit = answers.astype(float) / np.linalg.norm(answers.astype(float), axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    near = cosines >= cosines.max(axis=1, keepdims=True) - 1e-6
    return float((((y[:, None] == y[None]) & near).sum(axis=1) / near.sum(axis=1)).mean())


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2])
    both = float(np.prod(np.clip(sides, 0, None)))
    return both / (float(np.prod(a[2:4] - a[:2])) + float(np.prod(b[2:4] - b[:2])) - both)


def same_boxes(a: Answers, b: Answers) -> float:
    """The share of boxes of a score from 0.25 on that both have, picture by picture; pairs are one to one."""
    shares = []
    for pair in zip(a, b, strict=True):
        own, other = (sorted((r for r in rows if r[4] >= 0.25), key=lambda r: -r[4]) for rows in pair)
        total, both, free = len(own) + len(other), 0, list(other)
        for row in own:
            best = max((r for r in free if r[5] == row[5]), key=lambda r: overlap(row, r), default=None)
            if best is not None and overlap(row, best) >= 0.5:
                both, free = both + 1, [r for r in free if r is not best]
        shares.append(2 * both / total if total else 1.0)
    return float(np.mean(shares))


def coco_map(answers: Answers, y: list[dict[str, Any]]) -> float:
    from .coco_figures import coco_eval

    targets = np.full((len(y), 8, 6), -1.0)
    for at, one in enumerate(y):
        rows = np.column_stack([one["boxes"] / SIDE, one["classes"], one["crowd"]])
        targets[at, : len(rows)] = rows
    return float(coco_eval(targets, answers.astype(np.float32)).stats[0])


# --- targets: near what the float file answers, so that no figure is 0 or 1 -------------------------------------------


def mixed(right: np.ndarray, classes: int) -> np.ndarray:
    """Every third one is another class."""
    flat = right.reshape(-1)
    return np.where(np.arange(flat.size) % 3 == 0, (flat + 1) % classes, flat).reshape(right.shape)


def near(answers: Answers) -> np.ndarray:
    return answers + np.random.default_rng(8).normal(0, 0.2, answers.shape)


def true_boxes(answers: Answers) -> list[dict[str, Any]]:
    from ..workflows.test_detection import true_boxes as near_boxes

    return near_boxes([rows[rows[:, 4] > 0] for rows in answers], SIDE)


def samples(*shape: int, seed: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(COUNT, *shape)).astype(np.float32)


def coloured(*shape: int) -> np.ndarray:
    """Pictures that differ in their level, so that a small network answers with several classes."""
    random = np.random.default_rng(7)
    levels = random.integers(40, 216, (COUNT, 1, 1, shape[-1]))
    return np.clip(levels + random.normal(0, 30, (COUNT, *shape)), 0, 255).astype(np.uint8)


# --- models -------------------------------------------------------------------------------------------------------


def _unet(keras: Any) -> Any:
    layers = keras.layers
    picture = layers.Input((16, 16, 3))
    wide = layers.Conv2D(8, 3, padding="same", activation="relu")(picture)
    deep = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPool2D()(wide))
    joined = layers.Concatenate()([layers.UpSampling2D()(deep), wide])
    edge = layers.Conv2D(1, 1, activation="sigmoid", name="edge")(joined)
    return keras.Model(picture, [layers.Conv2D(3, 1, activation="softmax", name="mask")(joined), edge])


def _dense(values: int, activation: str | None) -> Callable[[Any], Any]:
    def build(keras: Any) -> Any:
        layers = keras.layers
        hidden = layers.Dense(32, activation="relu")
        return keras.Sequential([layers.Input((8,)), hidden, layers.Dense(values, activation=activation)])

    return build


def _windows(recurrent: bool) -> Callable[[Any], Any]:
    def build(keras: Any) -> Any:
        layers = keras.layers
        window = layers.Input((16, 3))
        if recurrent:  # weights of fewer than 1,024 values stay in float, and those of the loop are in its own graph
            hidden = layers.Dense(64, activation="relu")(layers.LSTM(32)(window))
        else:
            hidden = layers.GlobalAveragePooling1D()(layers.Conv1D(8, 5, activation="relu")(window))
        return keras.Model(window, layers.Dense(CLASSES, activation="softmax")(hidden))

    return build


def _pictures(*shape: int) -> Callable[[Any], Any]:
    def build(keras: Any) -> Any:
        layers = keras.layers
        picture = layers.Input(shape)
        hidden = layers.Conv2D(8, 3, strides=4, activation="relu")(picture)
        hidden = layers.Dense(16, activation="relu")(layers.GlobalAveragePooling2D()(hidden))
        return keras.Model(picture, layers.Dense(CLASSES, activation="softmax")(hidden))

    return build


def _two(keras: Any) -> Any:
    layers = keras.layers
    load, heat = layers.Input((4,), name="load"), layers.Input((3,), name="heat")
    hidden = layers.Dense(8, activation="relu")(layers.Concatenate()([load, heat]))
    return keras.Model([load, heat], layers.Dense(CLASSES, activation="softmax")(hidden))


def _waves(keras: Any) -> Any:
    layers = keras.layers
    clip = layers.Input((64,))
    hidden = layers.Conv1D(8, 9, strides=2, activation="relu")(layers.Reshape((64, 1))(clip))
    return keras.Model(clip, layers.Dense(CLASSES, activation="softmax")(layers.GlobalMaxPooling1D()(hidden)))


def _classifier(build: Callable[[Any], Any], x: Taken, classes: int = CLASSES, **more: Any) -> Case:
    return Case(
        build, x, "accuracy", accuracy, same_class, lambda given: mixed(yes(given), classes),
        lambda y: (y + 1) % classes, **more,
    )  # fmt: skip


PIXELS: dict[str, Any] = {"value_range": (0, 1)}
NAMED: dict[str, Any] = {"labels": NAMES}

CASES = {
    "unet": Case(
        _unet, {"": coloured(16, 16, 3)}, "mean IoU", mean_of_iou, same_pixels,
        lambda given: mixed(given.argmax(axis=-1), 3),
        lambda y: (y + (np.arange(y.size) % 5 == 0).reshape(y.shape)) % 3,
        interval="percentiles", output="mask", export=PIXELS | {"output": "mask"},
    ),
    "detector": Case(
        lambda _: None, {"": pictures(SIDE, 24)}, "COCO mAP", coco_map, same_boxes, true_boxes,
        lambda y: [{**one, "classes": (one["classes"] + (at % 4 == 0)) % 3} for at, one in enumerate(y)],
        interval="basic", small="int8-fallback", route="keras", export=PIXELS,
        evaluate={"labels": ("cup", "pot", "jug")}, form="coco",
    ),
    "tagger": Case(
        _dense(5, "sigmoid"), {"": samples(8)}, "mAP", mean_of_precision, same_tags,
        lambda given: mixed((given >= 0.5).astype(int), 2), lambda y: 1 - y, interval="percentiles", form="npz",
        evaluate={"task": "multilabel"},
    ),
    "yes": _classifier(_dense(1, "sigmoid"), {"": samples(8)}, 2),
    "table": Case(
        _dense(1, None), {"": samples(8)}, "MAE", absolute_error, relative_error, near, lambda y: y + 0.25,
        interval="percentiles", form="csv", numbers=True,
    ),
    "conv1d": _classifier(_windows(False), {"": samples(16, 3)}, route="keras"),
    # The converter's calibration crashes on loops, so an LSTM's smaller file has no int8 activations.
    "lstm": _classifier(_windows(True), {"": samples(16, 3)}, route="keras", small="dynamic"),
    "grey": _classifier(_pictures(48, 48, 1), {"": coloured(48, 48, 1)}, form="folder", export=PIXELS | NAMED),
    "wide": _classifier(_pictures(32, 96, 3), {"": coloured(32, 96, 3)}, form="folder", export=PIXELS | NAMED),
    "two": _classifier(_two, {"load": samples(4), "heat": samples(3, seed=9)}),
    "vectors": Case(
        _dense(6, None), {"": samples(8)}, "recall@1", recall, relative_error,
        lambda given: (given[:, 0] > given[:, 1]).astype(int), lambda y: np.roll(y, 7), form="npz", numbers=True,
        evaluate={"task": "embedding"},
    ),
    "waves": _classifier(_waves, {"": np.clip(samples(64) / 4, -1, 1)}, route="keras", form="wav", export=NAMED),
}  # fmt: skip


def save(name: str, folder: Path) -> Path:
    """Make the model of a case, and return the file or folder that `export` is given."""
    from edgeproof.frameworks import tensorflow

    from .detectors import save_detector

    case, path = CASES[name], folder / f"{name}.{CASES[name].route}"
    if name == "detector":
        save_detector(path.with_suffix(""))
        return path.with_suffix("")
    tf, keras = tensorflow.fresh(5)
    model = case.build(keras)
    if case.route == "keras":
        model.save(path)
    else:
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path
