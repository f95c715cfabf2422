"""Which class of a model a class of the data is: by its name, or by its name and position."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import InputError
from ..core.sanitize import shorten

_SHOWN = 12


def class_numbers(names: Sequence[str], labels: Sequence[str], where: str) -> list[int]:
    """Return for each class of the data, `names`, its position among a model's `labels`.

    The data may have a part of the classes. Where the model has a name twice, ``NAME#POSITION`` says which is meant.
    Raises InputError, which `where` begins, for names that the model has not, or has more than once.
    """
    places: dict[str, list[int]] = {}
    for number, label in enumerate(labels):
        places.setdefault(label, []).append(number)
    numbers = [_number(label, places) for label in names]
    unknown = [label for label, number in zip(names, numbers, strict=True) if number is None]
    if unknown:
        raise InputError(
            f"{where} knows the {len(labels)} classes {shown(labels)}; the data have the {len(names)} classes "
            f"{shown(names)}, and it does not know {shown(unknown)}",
            "evaluate on data with the same classes, or a part of them, called as the file calls them",
        )
    twice = [label for label, number in zip(names, numbers, strict=True) if number == _TWICE]
    if twice:
        places_of = " and ".join(str(place) for place in places[twice[0]])
        named = " or ".join(repr(f"{twice[0]}#{place}") for place in places[twice[0]])
        raise InputError(
            f"{where} has {len(places[twice[0]])} classes called {twice[0]!r}, at the positions {places_of} (from 0), "
            "and the data do not say which is meant",
            f"call the class of the data {named}",
        )
    same = [label for label, number in zip(names, numbers, strict=True) if numbers.count(number) > 1]
    if same:
        raise InputError(f"{where}: the classes {shown(same)} of the data are one class of the file", "join them")
    return [number for number in numbers if number is not None]


_TWICE = -1


def _number(label: str, places: dict[str, list[int]]) -> int | None:
    """Return a class's position; `_TWICE` where its name has several, None where it is not known."""
    if label in places:
        return places[label][0] if len(places[label]) == 1 else _TWICE
    name, mark, position = label.rpartition("#")
    is_known = mark and position.isdecimal() and int(position) in places.get(name, [])
    return int(position) if is_known else None


def shown(labels: Sequence[str]) -> str:
    """Return label names for a message."""
    return ", ".join(shorten(label, 20) for label in labels[:_SHOWN]) + (", …" if len(labels) > _SHOWN else "")
