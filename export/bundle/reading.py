"""What a file's answers are, by its task where that is known, and what an app decides by them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.artifact import Artifact
from ...tasks import Task
from ...tasks.classification import Classification, threshold
from ...tasks.detection import Detection
from ...tasks.embedding import Embedding
from ...tasks.multilabel import Multilabel
from ...tasks.regression import Regression
from ...tasks.segmentation import Segmentation
from ...tasks.tensor import Tensor


@dataclass(frozen=True)
class Reading:
    """What is decided by an answer: `kind` is that of ``closeness.decided``, or empty where nothing is.

    From `threshold` on a value is a yes. `classes` are how many there are to decide between: of one value 2 (the second
    is the yes), or 1, a tag; of a map, `is_map`, those of a pixel.
    """

    kind: str = ""
    threshold: float | None = None
    classes: int = 0
    is_map: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as bundle.json and golden.json have it."""
        return asdict(self)


def answer_kind(artifact: Artifact, answer: int, outputs: NDArray[np.float32], task: Task | None = None) -> str:
    """Return what the file gives: ``scores``, ``tags``, one ``value``, a ``picture``, ``values``, or ``boxes``.

    Of a detector the judged output is that of the scores. Where the `task` is known, it says so. Else scores of classes
    are recognized by labels, or as a distribution: values that add up to one. With labels, values within 0 to 1 that
    are no distribution are tags.
    """
    if artifact.boxes is not None:
        return "boxes"
    shape = artifact.outputs[answer].shape
    count = outputs.shape[-1] if outputs.ndim > 1 else 1
    if count == 1:
        return "value"
    if len(shape) >= 4 or isinstance(task, Segmentation):  # the last two sides but the channels are a plane
        return "picture"
    if isinstance(task, Regression | Embedding | Tensor):
        return "values"
    if isinstance(task, Multilabel | Classification):
        return "tags" if isinstance(task, Multilabel) else "scores"
    shares = len(outputs) > 0 and bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1.0, atol=0.05))
    if len(shape) <= 2 and len(artifact.labels) == count:
        within = len(outputs) > 0 and outputs.min() >= 0 and outputs.max() <= 1
        return "tags" if within and task is None and count > 2 and not shares else "scores"
    return "scores" if len(shape) <= 2 and shares else "values"


def reading_of(
    artifact: Artifact, answer: int, gives: str, outputs: NDArray[np.float32], task: Task | None = None
) -> Reading:
    """Return what is decided by the judged output, of which `outputs` (N, values) are examples."""
    labels, values = len(artifact.labels), outputs.shape[-1] if outputs.ndim > 1 else 1
    if gives == "scores":
        return Reading("top", None, values)
    if gives == "tags":
        return Reading("yes", threshold(outputs), values)
    if gives == "value":
        if isinstance(task, Multilabel) or (task is None and labels == 1 and threshold(outputs)):
            return Reading("yes", threshold(outputs), 1)
        if isinstance(task, Classification) or (task is None and labels == 2):
            return Reading("yes", threshold(outputs), 2)
    if gives == "picture":
        channels = _channels(artifact.outputs[answer].shape, values)
        if channels > 1 and (isinstance(task, Segmentation) or (task is None and labels == channels)):
            return Reading("pixels", None, channels, True)
        if channels == 1 and (isinstance(task, Segmentation) or (task is None and labels == 2)):
            whole = len(outputs) > 0 and bool((outputs == outputs.round()).all() and outputs.max() > 1)
            return Reading("numbers", None, labels, True) if whole else Reading("yes", threshold(outputs), 2, True)
    return Reading()


def columns_of(artifact: Artifact, answer: int, gives: str, task: Task | None) -> int:
    """Return how many units the values of an answer have: one for each of a regression's numbers, else one."""
    shape = artifact.outputs[answer].shape
    own = gives == "values" and len(shape) == 2 and (task is None or isinstance(task, Regression))
    return max(1, shape[-1]) if own and shape[-1] <= 64 else 1


def noun_of(artifact: Artifact, gives: str, reading: Reading, task: Task | None) -> str:
    """Return what a class of app code is called: by the `task`, if it is known, else by what the file `gives`."""
    if task is not None:
        return task.noun
    found = {"scores": Classification.noun, "tags": Multilabel.noun, "boxes": Detection.noun}
    if reading.kind:
        found["value"] = Classification.noun if reading.classes == 2 else Multilabel.noun
        found["picture"] = Segmentation.noun
    return found.get(gives, Tensor.noun)


def _channels(shape: tuple[int, ...], values: int) -> int:
    """Return the values of a pixel of a map (1, height, width) or (1, height, width, channels); 0: it is another."""
    channels = shape[3] if len(shape) == 4 else 1
    fixed = len(shape) in (3, 4) and shape[0] == 1 and min(shape) > 0
    return channels if fixed and shape[1] * shape[2] * channels == values else 0
