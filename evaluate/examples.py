"""The samples on which a file and its float model disagree, as small pictures or the beginning of a text."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.class_figures import ClassFigures, Disagreement
from ..core.dataset import PreparedData, read_texts
from ..core.errors import explain_disk_errors
from ..core.files import move, real_path
from ..core.measurement import Measurement
from ..core.sanitize import shorten

SIDE = 96
TEXT = 300
# A picture of that size takes a tenth of this.
MAX_BYTES = 100_000
_QUALITY = 88


def with_samples(
    rows: Sequence[Measurement], data: PreparedData, run: Path, split: str = "test"
) -> Iterator[Measurement]:
    """Yield the rows that list disagreements again, with the samples: texts, or pictures in ``raw/samples`` of `run`.

    `rows` are of files that were measured on that split of `data`. Tensors have no picture.
    """
    listed = [(row, row.by_class) for row in rows if row.by_class is not None and row.by_class.disagreements]
    if not listed or data.kind == "tensor":
        return
    show = _texts(data, split) if data.kind == "text" else _pictures(data, split, run)
    for row, classes in listed:
        yield replace(row, by_class=_shown(classes, show))


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
            with explain_disk_errors(path):
                folder.mkdir(parents=True, exist_ok=True)
                new = path.with_name(f".{path.name}.new")
                new.write_bytes(stream.getvalue())
                move(new, path, root=run, durable=False)
        return replace(one, picture=path.relative_to(run).as_posix())

    return save
