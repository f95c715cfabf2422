"""Pictures with label pictures (``masks:``), read as samples whose targets are maps of classes."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InputError
from ..core.picture_size import sides
from ..core.progress import Listener
from ..core.recipe_data import Data
from ..data.masks import find_masks, read_masks
from ..tasks.segmentation import Segmentation
from .input_spec import InputSpec
from .model_files import read_labels
from .samples import PictureFiles, Samples


def with_masks(
    data: Data, spec: InputSpec, folder: Path, use: str, listener: Listener, task: str, *, targets: bool
) -> Samples:
    """Return the pictures in `folder`, and with `targets` the map of each, for a model that takes `spec`.

    Raises InputError as `find_masks` and `read_masks` do, and for another `task`.
    """
    if spec.kind != "image":
        raise InputError(
            f"{data.source} holds pictures, and the model takes {spec.kind}s",
            "export the model for pictures, with --value-range, or give a source of those",
        )
    if task not in ("", Segmentation.name):
        raise InputError(f"{data.source} holds maps of classes, which is no {task}", "leave the task out")
    found = find_masks(folder, data.source, use)
    files = PictureFiles(found.root, found.pictures)
    settings = {"max_pixels": data.max_pixels, "on_unreadable": data.on_unreadable}
    if not targets:
        return Samples({}, (), None, source=data.source, files=files, settings=settings)
    if found.unused:
        listener.note("warning", f"{len(found.unused)} masks of {data.source} have no picture: {found.unused[0]}")
    _check_layout(spec)
    names = read_labels(found.names) if found.names else ()
    maps = read_masks(
        found, size=spec.size, resize=spec.resize, answer=spec.answer, names=names, max_pixels=data.max_pixels
    )
    return Samples(
        {}, (), None, names, source=data.source, targets=maps, task=Segmentation.name, files=files, settings=settings
    )


def _check_layout(spec: InputSpec) -> None:
    """Raise InputError for an answer with the classes before the pixels, as PyTorch has them.

    Its last two sides are then as those of the picture, and its first two are not.
    """
    if len(spec.answer) != 3:
        return
    height, width = sides(spec.size)[:2]
    first, second, last = spec.answer
    if second * width == last * height and first * width != second * height:
        raise InputError(
            f"the model answers {tuple(spec.answer)} to a picture of {height} × {width}, with the classes before the "
            "pixels",
            "add a transpose to (height, width, classes) behind its output",
        )
