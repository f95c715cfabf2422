"""Pictures with boxes (``coco:``), read as samples of the task of detection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..core.errors import InputError
from ..core.recipe_data import Data
from ..data.coco import read_coco
from ..tasks.detection import Detection
from .input_spec import InputSpec
from .samples import PictureFiles, Samples


def with_boxes(
    data: Data, spec: InputSpec, rest: str, path_of: Callable[[str], Path], task: str, *, targets: bool
) -> Samples:
    """Return the pictures of ``coco:FILE.json`` or ``coco:FILE.json,FOLDER``, and with `targets` the boxes of each.

    `path_of` makes paths of what the source says. Raises InputError as `read_coco` does, and for another `task`.
    """
    if spec.kind != "image":
        raise InputError(
            f"{data.source} holds pictures, and the model takes {spec.kind}s",
            "export the model for pictures, with --value-range, or give a source of those",
        )
    if task not in ("", Detection.name):
        raise InputError(f"{data.source} holds boxes, which is no {task}", "leave the task out")
    name, comma, folder = rest.partition(",")
    if comma and path_of(rest).is_file():
        name, folder = rest, ""
    found = read_coco(path_of(name), path_of(folder) if folder else None, boxes=targets)
    files = PictureFiles(found.root, found.pictures)
    settings = {"max_pixels": data.max_pixels, "on_unreadable": data.on_unreadable}
    if not targets:
        return Samples({}, (), None, source=data.source, files=files, settings=settings)
    return Samples(
        {},
        (),
        None,
        found.names,
        source=data.source,
        targets=found.boxes,
        task=Detection.name,
        files=files,
        settings=settings,
    )
