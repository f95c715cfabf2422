"""Reads recipes: files and ``a.b=value`` overrides → `Recipe`. Reports all errors, with the closest valid name."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .codec import canonical
from .documents import MAX_DEPTH, MAX_TOML_BYTES, check_bounds, parse_toml, read_text
from .errors import InputError
from .recipe import Recipe
from .recipe_budget import Budget
from .sanitize import shorten

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T", bound=BaseModel)


def load_recipe(path: str | os.PathLike[str], overrides: Mapping[str, Any] | Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply overrides, ``{"a.b": value}`` or ``["a.b=value"]``.

    Raises InputError with every error found.
    """
    path = Path(path)
    try:
        text = read_text(path, MAX_TOML_BYTES)
    except FileNotFoundError as error:
        raise InputError(
            f"recipe {path} does not exist", "give the path of a .toml file; `edgeproof init` writes one to start from"
        ) from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder, not a recipe", "give the path of a .toml file") from error
    except OSError as error:
        raise InputError(f"recipe {path} cannot be read: {error.strerror}", "give the path of a .toml file") from error
    table = parse_toml(text, f"recipe {path}")
    return parse_recipe(_overridden(table, overrides), path.resolve().parent, where=str(path))


def with_overrides(recipe: Recipe | Mapping[str, Any], overrides: Mapping[str, Any] | Sequence[str] = ()) -> Recipe:
    """Return a recipe, or its tables as a dictionary, with keys changed as by `load_recipe`. Raises InputError."""
    if isinstance(recipe, Recipe):
        return parse_recipe(_overridden(recipe.to_dict(), overrides), recipe.folder) if overrides else recipe
    return parse_recipe(_overridden(deepcopy(dict(recipe)), overrides))


def parse_recipe(table: dict[str, Any], folder: Path = Path(), where: str = "recipe") -> Recipe:
    """Check a recipe given as a dictionary. Raises InputError with every error found."""
    if "folder" in table:
        raise InputError(f"{where}: unknown key 'folder'", "remove it")
    try:
        return Recipe.model_validate({**table, "folder": folder})
    except ValidationError as error:
        raise InputError(f"{where}: {described(error)}", "`edgeproof docs recipe` explains every key") from error


def described(error: ValidationError, root: type[BaseModel] = Recipe) -> str:
    """Return all mistakes in a document of the class `root`, a line each."""
    problems = error.errors()
    inside = {problem["loc"][0] for problem in problems if len(problem["loc"]) > 1}
    # A list whose one entry is wrong is also "too short" to the validator: that says nothing new.
    lines = [_describe(p, root) for p in problems if not (p["type"] == "too_short" and p["loc"][0] in inside)]
    return lines[0] if len(lines) == 1 else "\n  - ".join([f"{len(lines)} mistakes", *lines])


def parse_budget(pairs: Sequence[str]) -> Budget:
    """Read ``key=value`` pairs with the keys of a recipe's [budget]. Raises InputError with every error found."""
    return parse_table(Budget, _parse_pairs(pairs, "--budget", "budget", "max_accuracy_drop=0.02"), "budget")


def parse_latency(pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs with the keys of a recipe's [evaluate.latency]; the values are not checked.

    Raises InputError for a pair of another form, and for a key that is given twice.
    """
    return _parse_pairs(pairs, "--latency", "evaluate.latency", "threads=4")


def _parse_pairs(pairs: Sequence[str], option: str, table_name: str, example: str) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip().removeprefix(f"{table_name}.")
        if not equals or not key:
            raise InputError(
                f"{option} {shorten(pair, 100)!r} is not of the form KEY=VALUE", f"e.g. {option} {example}"
            )
        if key in table:
            raise InputError(f"{option} {key} is given twice", "give each key once")
        table[key] = _value(text)
    return table


def parse_table(kind: type[T], table: Mapping[str, Any], name: str) -> T:
    """Check one table of a recipe, called `name` there. Raises InputError with every error found."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise _table_error(error, name) from error


def table_error(error: ValidationError, kind: type[BaseModel]) -> InputError:
    """Return what is wrong with the keys that a table of a recipe was made with in Python."""
    name = next((name for name, field in Recipe.model_fields.items() if field.annotation is kind), None)
    if name is not None:
        return _table_error(error, name)
    lines = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
    return InputError(f"{kind.__name__}: {'; '.join(lines)}", "`edgeproof docs recipe` explains every key")


def _table_error(error: ValidationError, name: str) -> InputError:
    lines = [_describe({**problem, "loc": (name, *problem["loc"])}) for problem in error.errors()]
    return InputError("; ".join(lines), f"`edgeproof docs recipe` explains every key of [{name}]")


# Pydantic's messages about Python types, in TOML's terms.
_IN_TOML = {
    "tuple_type": 'a list is expected, such as ["one", "other"]',
    "model_type": "a table is expected",
    "dict_type": "a table is expected",
    "string_type": 'a text is expected, in quotes, such as "text"',
    "bool_type": "true or false is expected",
    "bool_parsing": "true or false is expected",
    "int_type": "a whole number is expected",
    "int_parsing": "a whole number is expected",
    "int_from_float": "a whole number is expected",
    "float_type": "a number is expected",
    "float_parsing": "a number is expected",
    "string_pattern_mismatch": "not of the form that this key takes",
}


def _describe(problem: Any, root: type[BaseModel] = Recipe) -> str:
    # pydantic says [key] where the key of a table, and not its value, is wrong.
    place = ".".join(str(part) for part in problem["loc"] if part != "[key]")
    if problem["type"] == "extra_forbidden":
        keys = _keys_at(problem["loc"][:-1], root)
        close = get_close_matches(str(problem["loc"][-1]), keys, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(keys)}"
        return f"unknown key {place!r}; {hint}"
    if problem["type"] == "missing":
        return f"{place!r} is missing"
    if problem["type"] == "literal_error":
        values = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
        close = get_close_matches(str(problem["input"]).lower(), values, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{place}: {hint}Known: {', '.join(filter(None, values))} (found {canonical(problem['input'])[:80]})"
    if place == "model" and problem["type"] == "tuple_type":
        return "model: tables are expected, each begun by a line [[model]]"
    message = _IN_TOML.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    value = problem.get("input")
    suffix = f" (found {canonical(value)[:80]})" if isinstance(value, str | int | float | bool) else ""
    return f"{place}: {message}{suffix}" if place else message


def _keys_at(place: Sequence[Any], root: type[BaseModel]) -> list[str]:
    """Return the keys of the table at `place`."""
    table: type[BaseModel] = root
    for part in place:
        if isinstance(part, int):
            continue
        annotation: Any = table.model_fields[part].annotation
        inner = getattr(annotation, "__args__", (annotation,))[0]
        table = inner
    return [name for name in table.model_fields if name != "folder"]


def _overridden(table: dict[str, Any], overrides: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    """Apply overrides to a recipe's tables. The value in ``a.b=value`` is TOML if it parses as TOML, else text."""
    if isinstance(overrides, str):
        raise InputError(f"overrides are {overrides!r}, a single text", 'give a list, e.g. ["train.epochs=3"]')
    if isinstance(overrides, Mapping):
        for place, value in overrides.items():
            _override(table, str(place), value, f"{place}={value}")
        return table
    if not isinstance(overrides, Sequence) or not all(isinstance(override, str) for override in overrides):
        raise InputError(f"overrides are {shorten(repr(overrides))}", 'give a list of texts, e.g. ["train.epochs=3"]')
    for override in overrides:
        place, equals, text = override.partition("=")
        if not equals:
            raise _malformed(override)
        _override(table, place.strip(), _value(text), override)
    return table


def _override(table: dict[str, Any], place: str, value: Any, override: str) -> None:
    """Set the key at `place`; messages show `override`."""
    parts = place.split(".")
    if not all(parts) or len(parts) > MAX_DEPTH:
        raise _malformed(override)
    parent: Any = table
    for part in parts[:-1]:
        parent = _step(parent, part, override)
    last = parts[-1]
    if isinstance(parent, list):
        parent[_index(parent, last, override)] = value
    else:
        parent[last] = value


def _malformed(override: str) -> InputError:
    return InputError(f"--set {shorten(override, 100)!r} is not of the form a.b=value", "e.g. --set train.epochs=3")


def _value(text: str) -> Any:
    """Return a value parsed as TOML, or the text itself if it is not TOML. Raises InputError if it is out of bounds."""
    where = f"the value {shorten(text, 40)!r}"
    try:
        return parse_toml(f"value = {text}", where)["value"]
    except InputError as error:
        if not isinstance(error.__cause__, tomllib.TOMLDecodeError):
            raise
    check_bounds(text, where)
    return text


def _step(parent: Any, part: str, override: str) -> Any:
    if isinstance(parent, list):
        return parent[_index(parent, part, override)]
    inner = parent.setdefault(part, {})
    if not isinstance(inner, dict | list):
        raise InputError(f"--set {shorten(override, 100)!r}: {shorten(part)!r} is a value, not a table")
    return inner


def _index(tables: list[Any], part: str, override: str) -> int:
    """Return the index of a table in a list; `part` is its position or its ``name``."""
    names = [table.get("name") if isinstance(table, dict) else None for table in tables]
    if part in names:
        return names.index(part)
    if part.isdecimal() and len(part) < 10 and int(part) < len(tables):
        return int(part)
    raise InputError(
        f"--set {shorten(override, 100)!r}: there is no entry {shorten(part)!r}",
        f"use a number below {len(tables)} or one of: {', '.join(str(n) for n in names if n)}",
    )
