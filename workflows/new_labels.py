"""What the labels of a table look like for which `init` writes a recipe: classes, or rather tags or numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..core.errors import InputError
from ..core.recipe_data import Data
from ..data.listing import Source
from ..data.sound_tables import recordings
from ..data.sources import open_source, resolve_path
from ..data.tables import ImageTable, TextTable
from ..data.tags import are_tags
from ..data.target_cells import is_number
from ..tasks.multilabel import Multilabel
from ..tasks.regression import Regression

HINTS = {
    Multilabel.name: "labels that are empty or several, such as cat|dog, are tags with --task multilabel",
    Regression.name: "labels that are numbers are learnt as numbers with --task regression",
}


def likely_task(data: Data, folder: Path, kind: str) -> str:
    """Return the task of `HINTS` that the labels of a table of pictures, texts or recordings look like; else empty.

    Numbers are those of which one has a decimal point or is below 0: whole ones may well be classes.
    """
    try:
        if kind == "sound":
            place = resolve_path(data.source.partition(":")[2], folder)
            table: Source = recordings(place, data.source, Multilabel.name)
        else:
            table = open_source(data.source, data, folder, "text" if kind == "text" else "image")
        if not isinstance(table, ImageTable | TextTable):
            return ""
        listing = replace(table, tagged=True).listing()
    except InputError:  # what is wrong with it is told elsewhere
        return ""
    cells = [listing.labels[number] for number in listing.targets.tolist()]
    filled = [cell for cell in cells if cell.strip()]
    if filled and (are_tags(cells) or len(filled) < len(cells)):
        return Multilabel.name
    numbers = bool(cells) and all(map(is_number, filled))
    return Regression.name if numbers and any("." in cell or float(cell) < 0 for cell in cells) else ""
