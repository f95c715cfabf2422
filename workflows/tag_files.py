"""Tables of pictures or texts whose labels are tags, ``cat|dog``, or numbers: samples with targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..core.errors import InputError
from ..core.recipe_data import Data
from ..core.sample_files import SampleFile, UnreadableError
from ..core.sanitize import shorten
from ..data.label_targets import targets_of
from ..data.sources import open_source
from ..data.splits import rows_of_split
from ..data.tables import ImageTable
from ..data.tags import are_tags, tags_of
from ..data.text_targets import mentions_tags, with_targets, without_targets
from ..tasks.multilabel import Multilabel
from ..tasks.regression import Regression
from .input_spec import InputSpec
from .samples import PictureFiles, Samples

SCHEMES = ("csv", "tsv", "jsonl")


def with_tags(
    data: Data, spec: InputSpec, folder: Path, path: Path, use: str, task: str, *, targets: bool
) -> Samples | None:
    """Return the samples in a table of tags or numbers, and with `targets` those of each; None where the labels are
    classes.

    Labels are tags where `are_tags` finds them to be, or `task` says so; those of pictures are numbers with the task of
    regression, those of texts as `text_targets` has them. A sample may have no tag.

    Raises InputError for a table with wrong rows, and for cells that are no such targets.
    """
    if spec.kind == "tensor" or use == "all" or not path.is_file():
        return None  # what is trained on is prepared with its own splits
    if spec.kind == "text":
        return _texts(data, folder, path, use, task, targets=targets)
    return _pictures(data, folder, path, use, task, targets=targets)


def _texts(data: Data, folder: Path, path: Path, use: str, task: str, *, targets: bool) -> Samples | None:
    if task not in ("", Multilabel.name, Regression.name):
        return None
    listing = with_targets(data, task, folder) if targets else without_targets(data, task, folder)
    if listing is None:
        return None
    chosen = rows_of_split(listing, use)
    texts = list[str]()
    for row, payload in zip(chosen.tolist(), listing.stream(chosen), strict=True):
        if isinstance(payload, UnreadableError):
            raise InputError(f"{path}, {listing.names[row]}: {payload}", "correct the text, or leave the row out")
        texts.append(str(payload))
    samples = Samples({}, tuple(texts), None, source=data.source)
    if listing.values is None:
        return samples
    return replace(
        samples, names=listing.labels, targets=listing.values[chosen], task=listing.task, by_name=listing.by_name
    )


def _pictures(data: Data, folder: Path, path: Path, use: str, task: str, *, targets: bool) -> Samples | None:
    if task not in ("", Multilabel.name, Regression.name) or not (task or mentions_tags(path)):
        return None
    table = open_source(data.source, data, folder, "image")
    if not isinstance(table, ImageTable):
        return None
    listing = replace(table, tagged=True).listing()
    if not task and not are_tags(listing.labels):
        return None
    chosen = rows_of_split(listing, use)
    payloads = [payload for payload in listing.stream(chosen) if isinstance(payload, SampleFile)]
    files = PictureFiles(Path(payloads[0].root), tuple(listing.names[row] for row in chosen.tolist()))
    settings = {"max_pixels": data.max_pixels, "on_unreadable": data.on_unreadable}
    samples = Samples({}, (), None, source=data.source, files=files, settings=settings)
    if not targets:
        return samples
    if task == Regression.name:
        values, _ = targets_of(listing, task, path)
        return replace(samples, targets=values[chosen], task=task)
    cells = [listing.labels[number] for number in listing.targets[chosen].tolist()]
    found, names = tags_of(cells, lambda row: f"{path}, {shorten(listing.names[int(chosen[row])], 200)}")
    return replace(samples, names=names, targets=found, task=Multilabel.name, by_name=True)
