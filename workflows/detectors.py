"""Detectors: which outputs of a file are its boxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.artifact import Artifact
from ..core.boxes import BoxReading
from ..core.dataset import PreparedData
from ..core.errors import InputError
from ..core.formatting import percent
from ..core.picture_size import LAYOUTS, is_picture, sides, sides_of
from ..core.progress import Listener, Silent
from ..core.recipe_data import Data
from ..core.runner import Runner
from ..core.sanitize import shorten
from ..evaluate.box_runner import BoxRunner
from ..evaluate.measure import Answered
from ..tasks.anchors import unpacked
from ..tasks.boxes import VALUES, checked_format, reading_of
from ..tasks.classification import Classification
from ..tasks.detection import Detection
from ..train.external import model_outputs
from .anchors import Anchors
from .input_spec import InputSpec
from .model_files import open_model
from .samples import Samples

# How much better boxes must fit with x and y exchanged for a doubt: by this factor, and this much.
_FAR, _FAR_POINTS = 2.0, 0.02

Readings = Mapping[str, BoxReading | InputError]


def readings_of(
    artifacts: Iterable[Artifact],
    spec: InputSpec,
    named: str,
    labels: int,
    listener: Listener,
    *,
    known: bool = True,
    anchors: Anchors | None = None,
) -> dict[str, BoxReading | InputError]:
    """Return how the outputs of each artifact are read as boxes, by its id, or why they cannot be; and say it.

    Unless it is `known` that they are detectors, only those count of which it `is_certain`. `named` is one of
    `tasks.boxes.FORMATS`, or empty; `labels` is how many the data have, for files that do not say theirs. `anchors`
    are those of encoded boxes, the form ``ssd``.
    """
    found: dict[str, BoxReading | InputError] = {}
    said = set()
    for artifact in artifacts:
        outputs: Sequence[Any] = artifact.outputs
        if artifact.format == "savedmodel" and artifact.path is not None:
            outputs = model_outputs(open_model(artifact.path))
        # TensorFlow's own suppression takes and gives [ymin, xmin, ymax, xmax]; exporters of PyTorch [x1, y1, x2, y2].
        ours = artifact.format != "onnx" or bool(artifact.parent_sha256)
        try:
            size = _size(artifact, spec)
            reading = reading_of(
                outputs,
                size,
                named=named,
                classes=len(artifact.labels) or labels,
                corners="yxyx" if ours else "xyxy",
                operators=[op.name for op in artifact.ops],
                decoding=anchors.decoding(size) if anchors is not None else None,
            )
        except InputError as error:
            if known:
                found[artifact.id] = error
            continue
        if not known and not reading.is_certain:
            continue
        found[artifact.id] = reading
        said.add(reading.words)
    for words in sorted(said):
        listener.note("info", f"boxes: {shorten(words, 400)}" + ("" if named else "; --boxes says it otherwise"))
    return found


def with_anchors(named: str, anchors: Anchors | None) -> str:
    """Return the form of boxes, which is ``ssd`` where there are `anchors`. Raises InputError where the two differ."""
    form = checked_format(named)[0]
    if anchors is not None and form not in ("", "ssd"):
        raise InputError(f"--anchors are for --boxes ssd, not for {form}", "leave one of the two out")
    if anchors is None and form == "ssd":
        reading_of([], (1, 1), named="ssd")
    return "ssd" if anchors is not None else named


def judges_boxes(source: Data | Samples, task: str, named: str) -> bool:
    """Return whether files are said to be detectors: by their targets, the `task` or the `named` form of boxes.

    Raises InputError for another form than `tasks.boxes.FORMATS`.
    """
    if named:
        checked_format(named)
    if named or task == Detection.name:
        return True
    return source.task == Detection.name if isinstance(source, Samples) else source.source.startswith("coco:")


def with_reading(artifact: Artifact, readings: Readings) -> Artifact:
    """Return an artifact with how its outputs are read, where it is a detector that can be read."""
    reading = readings.get(artifact.id)
    return replace(artifact, boxes=reading) if isinstance(reading, BoxReading) else artifact


def as_detector(
    artifact: Artifact,
    source: Data | Samples | None,
    listener: Listener,
    *,
    boxes: str = "",
    anchors: Anchors | None = None,
    recorded: BoxReading | None = None,
) -> Artifact:
    """Return a file that is bundled with how its boxes are read, and judged by its scores; other files as they are.

    A file is a detector where its outputs are certainly boxes, the samples have some, or `boxes` or `anchors` say so;
    or it was `recorded` as one when it was measured. Raises InputError where they say so and it cannot be read.
    """
    boxes = with_anchors(boxes, anchors)
    contract = artifact.contract
    if contract is not None and contract.kind == "text":
        return artifact
    is_image = contract is not None and contract.kind == "image"
    spec = InputSpec("image", contract.size) if contract is not None and is_image else InputSpec("tensor")
    known = bool(boxes) or (source is not None and judges_boxes(source, "", ""))
    reading: BoxReading | InputError | None = _checked(recorded, artifact) if recorded and not boxes else None
    if reading is None:
        labels = len(artifact.labels)
        found = readings_of([artifact], spec, boxes, labels, Silent(), known=known, anchors=anchors)
        reading = found.get(artifact.id)
    if boxes and isinstance(reading, InputError):
        raise InputError(f"{artifact.id}: {reading.message}", reading.remedy)
    if not isinstance(reading, BoxReading):
        if reading is not None:
            listener.note("warning", f"{artifact.id}: {reading.message}", remedy=reading.remedy)
        return artifact
    listener.note("info", f"boxes: {shorten(reading.words, 400)}")
    judged = {"scores", "rows", "head", "logits", "scores by class", "scores by class behind a background"}
    answer = next((name for role, name in zip(reading.roles, reading.outputs, strict=True) if role in judged), "")
    return replace(artifact, boxes=reading, answer=answer or artifact.answer)


def _checked(recorded: BoxReading, artifact: Artifact) -> BoxReading | None:
    """Return how a run read a file's boxes; None where the file has other outputs. Raises InputError for wrong anchors.

    It comes from a results.json, which may say anything.
    """
    if not set(recorded.outputs) <= {one.name for one in artifact.outputs}:
        return None
    if recorded.decoding is not None:
        try:
            unpacked(recorded.decoding)
        except ValueError as error:
            words = f"{artifact.id}: results.json describes its boxes, and {error}"
            raise InputError(words, "give them: --anchors FILE, as for evaluate") from error
    return recorded


def certain_readings(group: Sequence[Artifact]) -> dict[str, BoxReading | InputError]:
    """Return how the files of a model are read as boxes, if all of them are detectors for certain; else none."""
    found: dict[str, BoxReading | InputError] = {}
    for artifact in group:
        contract = artifact.contract
        is_image = contract is not None and contract.kind == "image"
        spec = InputSpec("image", contract.size) if contract is not None and is_image else InputSpec("tensor")
        found |= readings_of([artifact], spec, "", len(artifact.labels), Silent(), known=False)
    return found if len(found) == len(group) else {}


def doubt_orders(
    answered: Mapping[tuple[str, str], Answered], data: PreparedData, readings: Readings, listener: Listener
) -> None:
    """Warn of files whose boxes fit the true ones far better with x and y exchanged: which is first is a convention."""
    task, told = Detection(len(data.labels)), set()
    for (artifact, _), one in answered.items():
        reading = readings.get(artifact)
        if artifact in told or one.answers is None or one.parts is None or not isinstance(reading, BoxReading):
            continue
        if reading.corners == "cxcywh":
            continue
        told.add(artifact)
        boxes = np.load(one.answers, mmap_mode="r", allow_pickle=False).reshape(len(one.parts), -1, VALUES)
        turned = task.parts(boxes[..., [1, 0, 3, 2, 4, 5]].reshape(len(boxes), -1), task.targets(data, "test"))
        if turned is None:
            continue
        value, other = task.value_of(one.parts), task.value_of(turned)
        if other > _FAR * value + _FAR_POINTS:
            order = "xyxy" if reading.corners == "yxyx" else "yxyx"
            listener.note(
                "warning",
                f"{artifact} has a {task.metric} of {percent(value)} with its boxes read as {reading.corners}, and of "
                f"{percent(other)} as {order}",
                remedy=f"if that is the order of its outputs, say so: --boxes {order}",
            )


def of_detectors(data: PreparedData, group: Sequence[Artifact]) -> PreparedData:
    """Return data without targets as those of detectors, if all files are: they are compared by their boxes."""
    if data.task != Classification.name or data.labels or any(artifact.boxes is None for artifact in group):
        return data
    return replace(data, task=Detection.name)


def read_by(runner: Runner, readings: Readings) -> Runner:
    """Return a runner whose answers are boxes, where its file is a detector."""
    reading = readings.get(runner.artifact.id)
    return runner if reading is None else BoxRunner(runner, reading)


def _size(artifact: Artifact, spec: InputSpec) -> tuple[int, int]:
    if spec.kind == "image":
        return sides(spec.size)[:2]
    shapes = [one.shape for one in spec.inputs] or [one.shape for one in artifact.inputs]
    shape = next((shape for shape in shapes if is_picture(shape, layouts=LAYOUTS)), None)
    return (1, 1) if shape is None else sides_of(shape)[:2]
