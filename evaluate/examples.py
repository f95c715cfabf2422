"""The samples on which a file and its float model disagree, or that it answers badly: drawn, or a text's beginning."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.class_figures import ClassFigures, Disagreement
from ..core.dataset import PreparedData, read_texts
from ..core.errors import explain_disk_errors
from ..core.files import move, real_path
from ..core.measurement import Example, Measurement
from ..core.sanitize import shorten
from ..core.target import base_target
from ..tasks import task_of_row
from ..tasks.by_parts import ByParts

if TYPE_CHECKING:
    from .measure import Answered

SIDE = 96
_GAP = 4
TEXT = 300
# A picture of that size takes a tenth of this.
MAX_BYTES = 100_000
_QUALITY = 88


def with_samples(
    rows: Sequence[Measurement],
    data: PreparedData,
    run: Path,
    answers: Mapping[tuple[str, str], Answered],
    float_of: Mapping[str, str],
    split: str = "test",
) -> Iterator[Measurement]:
    """Yield the rows that list samples again, with these: texts, or drawings in ``raw/samples`` of `run`.

    `rows` are of files that were measured on that split of `data`, with `answers` by (artifact id, target);
    `float_of` has the id of each file's float model by the file's own. Tensors have no picture, only what their task
    draws.
    """
    listed = [(row, row.by_class) for row in rows if row.by_class is not None and row.by_class.disagreements]
    if listed and data.kind != "tensor":
        show = _texts(data, split) if data.kind == "text" else _pictures(data, split, run)
        for row, classes in listed:
            yield replace(row, by_class=_shown(classes, show))
    for row in rows:
        if row.examples and (given := answers.get((row.artifact, base_target(row.target)))):
            own = float_of.get(row.artifact)
            float_model = next((one for key, one in answers.items() if key[0] == own and one.answers), None)
            yield replace(row, examples=_drawn(row, data, split, run, given, float_model))


def _drawn(
    row: Measurement, data: PreparedData, split: str, run: Path, given: Answered, reference: Answered | None
) -> tuple[Example, ...]:
    """Return a row's examples with their texts, or with drawings of what is right and what is answered."""
    if data.kind == "text":
        texts = read_texts(data.inputs(split))
        return tuple(replace(one, text=shorten(texts[one.sample], TEXT)) for one in row.examples)
    task = task_of_row(row)
    targets = task.targets(data, split) if task else None
    if not isinstance(task, ByParts) or targets is None or given.answers is None:
        return row.examples
    pixels = data.rows(split) if data.kind == "image" else None
    ours = np.load(given.answers, mmap_mode="r", allow_pickle=False)
    exact = np.load(reference.answers, mmap_mode="r", allow_pickle=False) if reference and reference.answers else None
    drawn = []
    for one in row.examples:
        target, picture = targets[one.sample], None if pixels is None else _rgb(np.asarray(pixels[one.sample]))
        known = exact is not None and exact.shape == ours.shape and one.reference_score is not None
        panels = [
            picture,
            task.drawn(picture, None, target),
            task.drawn(picture, exact[one.sample], target) if exact is not None and known else None,
            task.drawn(picture, ours[one.sample], target),
        ]
        content = _strip([panel for panel in panels if panel is not None])
        drawn.append(replace(one, picture=_saved(content, run) if content else ""))
    return tuple(drawn)


def _rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture (height, width, 1, 3 or 4) as (height, width, 3)."""
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture[..., :3]


def _strip(panels: Sequence[NDArray[np.uint8]]) -> bytes:
    """Return drawings side by side as a JPEG; empty where there is none."""
    from PIL import Image

    shown = []
    for panel in panels:
        image = Image.fromarray(panel)
        larger = max(image.size) < SIDE  # small maps keep their pixels
        factor = SIDE // max(image.size) if larger else SIDE / max(image.size)
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        shown.append(image.resize(size, Image.Resampling.NEAREST if larger else Image.Resampling.BILINEAR))
    if not shown:
        return b""
    paper = Image.new("RGB", (sum(one.width for one in shown) + _GAP * (len(shown) - 1),
                              max(one.height for one in shown)), "#808080")  # fmt: skip
    at = 0
    for image in shown:
        paper.paste(image, (at, 0))
        at += image.width + _GAP
    stream = io.BytesIO()
    paper.save(stream, format="JPEG", quality=_QUALITY)
    return stream.getvalue()


def _saved(content: bytes, run: Path) -> str:
    """Write a drawing under its own hash, since files that answer alike share it; return its path in the run."""
    path = run / "raw" / "samples" / f"{hashlib.sha256(content).hexdigest()[:16]}.jpg"
    _write(path, content, run)
    return path.relative_to(run).as_posix()


def _write(path: Path, content: bytes, run: Path) -> None:
    if path.is_file():
        return
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(content)
        move(new, path, root=run, durable=False)


def read_picture(run: Path | None, path: str) -> bytes:
    """Return a JPEG that a disagreement names, relative to the `run`; empty where there is none.

    A path that leads out of the run is not followed, and what is no small JPEG is not returned: results.json may come
    from anywhere.
    """
    if run is None or not path:
        return b""
    try:
        real = real_path(run / path)
        if not real.is_relative_to(real_path(run)) or not real.is_file() or real.stat().st_size > MAX_BYTES:
            return b""
        content = real.read_bytes()
    except (OSError, ValueError):  # a name that is too long or has a NUL, a folder that may not be entered
        return b""
    return content if content.startswith(b"\xff\xd8\xff") else b""


def _shown(classes: ClassFigures, show: Callable[[Disagreement], Disagreement]) -> ClassFigures:
    return replace(classes, disagreements=tuple(map(show, classes.disagreements)))


def _texts(data: PreparedData, split: str) -> Callable[[Disagreement], Disagreement]:
    texts = read_texts(data.inputs(split))
    return lambda one: replace(one, text=shorten(texts[one.sample], TEXT))


def _pictures(data: PreparedData, split: str, run: Path) -> Callable[[Disagreement], Disagreement]:
    from PIL import Image

    pixels = data.rows(split)
    folder = run / "raw" / "samples"

    def save(one: Disagreement) -> Disagreement:
        # Models of different sizes have different pictures of a sample.
        path = folder / f"{data.sha256[:8]}-{one.sample}.jpg"
        if not path.is_file():
            stream = io.BytesIO()
            shown = np.asarray(pixels[one.sample])
            picture = Image.fromarray(shown[..., 0] if shown.shape[-1] == 1 else shown)
            if picture.mode == "RGBA":  # a JPEG has no alpha
                picture = picture.convert("RGB")
            picture.thumbnail((SIDE, SIDE))
            picture.save(stream, format="JPEG", quality=_QUALITY)
            _write(path, stream.getvalue(), run)
        return replace(one, picture=path.relative_to(run).as_posix())

    return save
