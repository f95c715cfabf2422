"""Names of classes in figures: each has one of its own."""

from __future__ import annotations

from collections.abc import Sequence


def name_of(number: int, labels: Sequence[str]) -> str:
    """Return the name of a class or a tag; its number where there is none. Of equal names ``NAME#POSITION``."""
    if number >= len(labels):
        return str(number)
    name = labels[number]
    return f"{name}#{number}" if list(labels).count(name) > 1 else name
