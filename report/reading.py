"""Reads records of results.json that have no class: written by a stage, by another version, or by hand.

Values of an unexpected type are left out; nothing here fails on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.formatting import percent, seconds, size
from ..core.sanitize import shorten
from .content import NAME_LIMIT, REASON_LIMIT

# The axes of plots overflow long before floats do.
LARGEST = 1e30


def rows(value: Any) -> list[Mapping[str, Any]]:
    """Return the records of a list that may be none."""
    return [r for r in value if isinstance(r, Mapping)] if isinstance(value, list | tuple) else []


def figure(value: Any) -> float | None:
    """Return a number that can be drawn, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST < value < LARGEST else None


def decibels(value: Any) -> str:
    """Return decibels with one decimal and a true minus."""
    value_db = figure(value)
    return f"{value_db:.1f} dB".replace("-", "−") if value_db is not None else "–"


def layer(name: str) -> str:
    """Return the telling end of a tensor's name: ``…/block_3_expand/Relu6;…`` is block_3_expand."""
    parts = [p for p in name.split(";", maxsplit=1)[0].split("/") if p]
    if not parts:
        return shorten(name, 28)
    generic = {"relu", "relu6", "conv2d", "depthwise", "biasadd", "add", "matmul", "fusedbatchnormv3", "batchnorm"}
    telling = [p for p in parts if p.lower() not in generic]
    return shorten((telling or parts)[-1], 28)


def flat(record: Mapping[str, Any], prefix: str = "", depth: int = 2) -> list[tuple[str, str]]:
    """Return a record's simple values with readable titles; lists of records are left to results.json."""
    facts: list[tuple[str, str]] = []
    for key, value in record.items():
        title = shorten(f"{prefix}{key}".replace("_", " "), NAME_LIMIT)
        title = title[:1].upper() + title[1:]
        if isinstance(value, Mapping):
            facts += flat(value, f"{prefix}{key}, ", depth - 1) if depth > 0 else []
        elif isinstance(value, list | tuple):
            if value and not any(isinstance(v, Mapping | list | tuple) for v in value):
                facts.append((title, shorten(", ".join(scalar(key, v) for v in value), REASON_LIMIT)))
        elif value not in (None, ""):
            facts.append((title, scalar(key, value)))
    return facts


def counted(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a record of counts, one row for each of its parts: ``{"weights": {"int8": 9}}`` is Weights, int8 9."""
    facts = []
    for key, value in record.items():
        title = shorten(str(key).replace("_", " "), NAME_LIMIT)
        if isinstance(value, Mapping):
            words = ", ".join(f"{shorten(str(k), 40)} {scalar(str(k), v)}" for k, v in value.items())
        else:
            words = scalar(str(key), value) if value not in (None, "") else ""
        if words:
            facts.append((title[:1].upper() + title[1:], shorten(words, REASON_LIMIT)))
    return facts


def scalar(key: str, value: Any) -> str:
    """Return one value in words, with a unit where its name says which."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "seconds" and figure(value) is not None:
        return seconds(float(value))
    if key == "sparsity" and figure(value) is not None:
        return percent(float(value))
    if key == "bytes" and isinstance(value, int):
        return size(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return shorten(str(value), 200)


def share(value: Any) -> str:
    """Return a share in per cent."""
    number = figure(value)
    return percent(number) if number is not None else "–"
