"""Reads untrusted JSON and TOML within bounds, and writes strict JSON.

Every document that may come from outside is read here. An InputError is raised if it is not text, too long,
nested too deep, malformed, or holds numbers that are not finite or have more than 64 bits.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from .errors import InputError
from .inputs import open_input
from .visible import visible, visible_in_json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Far more than any of our records needs, and far less than Python's stack allows.
MAX_DEPTH = 64
# A run of hundreds of files, each with its operators and a diagnosis, has about 50 MB.
MAX_JSON_BYTES = 1 << 28
MAX_TOML_BYTES = 1 << 20
MAX_INTEGER = 2**63 - 1
_REMEDY = "copy it again from where it was made, or make it again; do not edit it"


def read_text(path: Path, limit: int) -> str:
    """Return the text of a plain file of at most `limit` bytes.

    Raises InputError when it is too long or not UTF-8. OSErrors pass through (FileNotFoundError, IsADirectoryError, …).
    """
    with open_input(path) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise InputError(f"{path} has more than {limit:,} bytes", "give a file of the kind that its name says")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}", "write it as UTF-8") from error


def parse_json(text: str | bytes, where: str, remedy: str = _REMEDY) -> Any:
    """Return the data of a strict JSON text. Raises InputError, naming `where`, if it is invalid or out of bounds."""
    try:
        data = json.loads(text, parse_constant=_not_a_number)
    except RecursionError as error:
        raise InputError(f"{where} is nested deeper than {MAX_DEPTH} levels", remedy) from error
    except ValueError as error:  # not JSON, not UTF-8, or an integer of thousands of digits
        raise InputError(f"{where} is not readable JSON: {error}", remedy) from error
    check_bounds(data, where, remedy)
    return data


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Return the tables of a TOML text. Raises InputError, naming `where`, if it is invalid or out of bounds."""
    if len(text) > MAX_TOML_BYTES:
        raise InputError(f"{where} has more than {MAX_TOML_BYTES:,} characters", "give a recipe")
    if any(_has_long_key(line) for line in text.splitlines()):  # the parser's time grows with the square of the parts
        raise InputError(f"{where} has a key of more than {MAX_DEPTH} parts", "shorten it")
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except RecursionError as error:
        raise InputError(f"{where} is nested deeper than {MAX_DEPTH} levels", "flatten it") from error
    except ValueError as error:  # not TOML, or an integer of thousands of digits
        raise InputError(f"{where} is not TOML: {error}") from error
    check_bounds(table, where, "see `edgeproof docs recipe`", finite=False)  # the recipe checks each number
    return table


def check_bounds(data: Any, where: str, remedy: str = _REMEDY, *, finite: bool = True) -> None:
    """Raise InputError if `data` is nested too deep, or holds numbers or texts that not every JSON reader accepts."""
    level: list[Any] = [data]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                for key in value:
                    _check_text(key, where, remedy)
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            else:
                _check_value(value, where, remedy, finite=finite)
        if not inner:
            return
        level = inner
    raise InputError(f"{where} is nested deeper than {MAX_DEPTH} levels", remedy)


def encode_json(data: Any, *, indent: int | None = None) -> str:
    """Return `data` as strict JSON on one line, or indented.

    NaN and infinity become null, paths and other objects their texts. Control characters are escaped (`visible`).
    """
    try:
        text = json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(_finite(data), indent=indent, ensure_ascii=False, allow_nan=False, default=str)
    return visible_in_json(text)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(value) for value in data] if isinstance(data, list | tuple) else data


def _not_a_number(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")


def _check_value(value: Any, where: str, remedy: str, *, finite: bool) -> None:
    if isinstance(value, str):
        _check_text(value, where, remedy)
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise InputError(f"{where} has an integer of more than 64 bits", remedy)
    elif finite and isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where} has a number that is not finite ({value})", remedy)


def _check_text(text: str, where: str, remedy: str) -> None:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{where} has a text that is not Unicode: {visible(text)[:80]}", remedy)


def _has_long_key(line: str) -> bool:
    """Return whether a line has more than `MAX_DEPTH` parts in a row that are separated by dots."""
    if line.count(".") < MAX_DEPTH:
        return False
    run = 0
    for part in line.split("."):
        run = run + 1 if part.strip() else 0
        if run > MAX_DEPTH:
            return True
    return False
