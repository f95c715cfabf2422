"""Documents (JSON, TOML) with one thing changed: every field of every record, to what no figure of that field is."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

Place = tuple[str | int, ...]

# What stands in a field in place of what belongs there.
STRANGERS: tuple[Any, ...] = (
    None, True, 0, -1, 3, 2**31, 10**18, -(10**18), 0.0, -0.5, 1e308, -1e308, 5e-324, "", "x", "0", "../../x", "/etc/x",
    "a\0b", "x" * 5000, "\x1b[31mred\x1b]0;t\x07", "\u202eevil\u2066", "<b>&\"'", "NaN", [], {}, [[]], [None],
    ["x"], [0], [-1], {"a": 1}, {"": None}, [{}], [[1, 2], [3]], {"a": {"b": [1, "x", None]}}, [1] * 100, [10**18] * 4,
    [-1, -1],
)  # fmt: skip


def places(document: Any, place: Place = ()) -> Iterator[Place]:
    """Yield where everything of a document stands; of long lists the first three entries."""
    yield place
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*place, key))
    elif isinstance(document, list):
        for index, value in enumerate(document[:3]):
            yield from places(value, (*place, index))


def replaced(document: Any, place: Place, value: Any) -> Any:
    """Return a copy of a document with another value at a place."""
    if not place:
        return value
    first, rest = place[0], place[1:]
    if isinstance(document, dict):
        return {key: replaced(inner, rest, value) if key == first else inner for key, inner in document.items()}
    return [replaced(inner, rest, value) if at == first else inner for at, inner in enumerate(document)]


def without(document: Any, place: Place) -> Any:
    """Return a copy of a document in which a key or an entry is missing."""
    first, rest = place[0], place[1:]
    if isinstance(document, dict):
        remaining = {key: value for key, value in document.items() if rest or key != first}
        return {key: without(value, rest) if rest and key == first else value for key, value in remaining.items()}
    return [without(v, rest) if rest and at == first else v for at, v in enumerate(document) if rest or at != first]


def mutants(document: Any, draw: random.Random, strangers: Sequence[Any] = STRANGERS) -> Iterator[Any]:
    """Yield documents without end, each with one to three things exchanged or left out; every place in its turn."""
    everywhere = list(places(document))
    while True:
        for place in draw.sample(everywhere, len(everywhere)):
            changed = _changed(document, place, draw, strangers)
            for _ in range(draw.choice((0, 0, 0, 1, 2))):
                inside = list(places(changed))
                changed = _changed(changed, draw.choice(inside), draw, strangers)
            yield changed


def _changed(document: Any, place: Place, draw: random.Random, strangers: Sequence[Any]) -> Any:
    if place and draw.random() < 0.1:
        return without(document, place)
    there = _at(document, place)
    alike = [one for one in strangers if type(one) is type(there)] if draw.random() < 0.6 else []
    return replaced(document, place, draw.choice(alike or strangers))


def _at(document: Any, place: Place) -> Any:
    for part in place:
        document = document[part]
    return document
