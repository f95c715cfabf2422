"""Tables of pictures or texts whose labels are tags, ``cat|dog``, read as samples with targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..core.errors import InputError
from ..core.recipe_data import Data
from ..core.sample_files import SampleFile, UnreadableError
from ..core.sanitize import shorten
from ..data.decode_text import check_encoding
from ..data.label_targets import targets_of
from ..data.sources import open_source
from ..data.splits import rows_of_split
from ..data.tables import ImageTable, TextTable
from ..data.tags import SEPARATOR, are_tags, tags_of
from ..tasks.multilabel import Multilabel
from ..tasks.regression import Regression
from .input_spec import InputSpec
from .samples import PictureFiles, Samples

SCHEMES = ("csv", "tsv", "jsonl")


def with_tags(
    data: Data, spec: InputSpec, folder: Path, path: Path, use: str, task: str, *, targets: bool
) -> Samples | None:
    """Return the samples in a table of tags, and with `targets` the tags of each; None where the labels are classes.

    With the task of regression the labels of pictures are numbers.

    Labels are tags where `are_tags` finds them to be, or `task` says so. A sample may have none.

    Raises InputError for a table with wrong rows, or tags that `tags_of` refuses.
    """
    numbers = task == Regression.name and spec.kind == "image"
    if (
        (task not in ("", Multilabel.name) and not numbers)
        or spec.kind == "tensor"
        or use == "all"
        or not path.is_file()
    ):
        return None  # what is trained on is of classes, whatever they are called
    if not task and SEPARATOR.encode() not in path.read_bytes():
        return None
    if spec.kind == "text":
        check_encoding(data.encoding)
    table = open_source(data.source, data, folder, spec.kind)
    if not isinstance(table, ImageTable | TextTable):
        return None
    listing = replace(table, tagged=True).listing()
    if not task and not are_tags(listing.labels):
        return None
    chosen = rows_of_split(listing, use)
    files, texts = None, list[str]()
    if spec.kind == "image":
        payloads = [payload for payload in listing.stream(chosen) if isinstance(payload, SampleFile)]
        files = PictureFiles(Path(payloads[0].root), tuple(listing.names[row] for row in chosen.tolist()))
    else:
        for row, payload in zip(chosen.tolist(), listing.stream(chosen), strict=True):
            if isinstance(payload, UnreadableError):
                raise InputError(f"{path}, {listing.names[row]}: {payload}", "correct the text, or leave the row out")
            texts.append(str(payload))
    settings = {"max_pixels": data.max_pixels, "on_unreadable": data.on_unreadable} if files else {}
    samples = Samples({}, tuple(texts), None, source=data.source, files=files, settings=settings)
    if not targets:
        return samples
    if numbers:
        values, _ = targets_of(listing, task, path)
        return replace(samples, targets=values[chosen], task=task)
    cells = [listing.labels[number] for number in listing.targets[chosen].tolist()]
    found, names = tags_of(cells, lambda row: f"{path}, {shorten(listing.names[int(chosen[row])], 200)}")
    return replace(samples, names=names, targets=found, task=Multilabel.name, by_name=True)
