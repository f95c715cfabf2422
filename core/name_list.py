"""Names with commas between, as options and recipes take them."""

from __future__ import annotations

import csv


def names_in(text: str) -> tuple[str, ...]:
    """Return the names in `text`, without space around them; one with a comma stands in quotation marks, as in CSV."""
    try:
        cells = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error:  # a line break
        cells = text.split(",")
    return tuple(name.strip() for name in cells if name.strip())
