"""What scripts see of Edgeproof, and the record of it in contract.json: what is recorded must stay as it is.

The record maps the name of a document to a flat tree: the path of each key to the types of its values (``absent`` where
not every table has the key), of each option to what it takes, of each key of the recipe to its type and default.
`hold` compares a document with the record. `make contract` adds what is new; it never removes or changes an entry.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from edgeproof import Recipe
from edgeproof.cli.main import edgeproof
from edgeproof.core.device_tables import DEVICE_KINDS

RECORD = Path(__file__).with_name("contract.json")
# Set by `make contract`: additions are written into the record instead of failing.
ADD = "EDGEPROOF_ADD_TO_CONTRACT"

# Tables whose keys are data (names of files, packages, targets), by the end of their path.
KEYED_BY_DATA = (
    ".loads", ".packages", ".counts", ".per_class", ".splits", ".seconds", ".needs", ".weights", ".scales",
    ".fallen_back", ".float_operators", ".classes", ".formats", ".modes", ".kept", ".found", ".duplicates_within",
    ".core_facts[]", ".environments", "measurements[].metrics",
)  # fmt: skip
# What is chosen by measured figures: there a list may be empty, a choice not made, or a figure not to be had.
CHOSEN_BY_FIGURES = (
    "recommendation.", "comparisons[].targets[].", "alternatives[]", "storage.", ".by_class.", ".profile.",
    "findings[]", "bench[].",
)  # fmt: skip

Tree = dict[str, Any]


def hold(name: str, current: Tree) -> None:
    """Fail when something recorded under `name` is gone or changed, or when something new is not recorded."""
    if os.environ.get(ADD):
        _add(name, current)
    recorded: Tree = json.loads(RECORD.read_text(encoding="utf-8")).get(name, {})
    broken = [*_lost(recorded, current), *_changed(recorded, current)]
    assert not broken, (
        f"{name}: scripts rely on what is gone or changed here. Keep it, and add beside it what is new:\n  "
        + "\n  ".join(broken)
    )
    new = [f"{path}: {value}" for path, value in current.items() if path not in recorded]
    assert not new, (
        f"{name}: new, and not in {RECORD.name} yet. `make contract` adds it; from then on it must stay:\n  "
        + "\n  ".join(new)
    )


def hold_document(name: str, document: Any) -> None:
    """`hold` the keys of a JSON document."""
    hold(name, tree(document))


def hold_columns(name: str, path: Path) -> None:
    """`hold` the columns of a CSV file, each at its position."""
    with path.open(encoding="utf-8", newline="") as stream:
        hold(name, {column: f"column {position}" for position, column in enumerate(next(csv.reader(stream)))})


def tree(document: Any) -> Tree:
    """Return the types of the values at each path of a JSON document; ``[]`` is any entry of a list."""
    types: dict[str, set[str]] = defaultdict(set)
    tables: Counter[str] = Counter()  # by path: how many there are
    holders: Counter[str] = Counter()  # by path: how many tables have this key
    parents: dict[str, str] = {}

    def visit(path: str, value: Any) -> None:
        types[path].add(_type(value))
        if isinstance(value, dict):
            tables[path] += 1
            by_data = path.endswith(KEYED_BY_DATA)
            for key in ("*",) if by_data and value else ():
                holders[f"{path}.{key}"] += 1
                parents[f"{path}.{key}"] = path
            for key, inner in value.items():
                place = f"{path}.*" if by_data else f"{path}.{key}"
                if not by_data:
                    holders[place] += 1
                    parents[place] = path
                visit(place, inner)
        elif isinstance(value, list):
            for inner in value:
                visit(f"{path}[]", inner)

    visit("", document)
    for path, parent in parents.items():
        if holders[path] < tables[parent]:
            types[path].add("absent")
    return {path.removeprefix("."): "|".join(sorted(kinds)) for path, kinds in sorted(types.items())}


def commands() -> Tree:
    """Return every command with its arguments, options, defaults and choices."""
    tree: Tree = {}
    context = click.Context(edgeproof)
    for name in edgeproof.list_commands(context):
        command = edgeproof.get_command(context, name)
        assert command is not None
        tree[name] = "command"
        arguments = [p for p in command.params if isinstance(p, click.Argument)]
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                names = [f"argument {arguments.index(parameter) + 1}"]
            else:
                names = [*parameter.opts, *parameter.secondary_opts]
            for option in names:
                tree[f"{name} {option}"] = _parameter(parameter)
                for choice in getattr(parameter.type, "choices", ()):
                    tree[f"{name} {option} {choice}"] = "choice"
    return tree


def recipe() -> Tree:
    """Return every key of the recipe with its type, bounds and default."""
    schema = Recipe.model_json_schema()
    keys = dict(_recipe_keys(schema, schema["$defs"], ""))
    for name, kind in DEVICE_KINDS.items():
        schema = kind.table.model_json_schema()
        keys |= _recipe_keys(schema, schema.get("$defs", {}), f"device.NAME ({name}).")
    return keys


def _recipe_keys(table: dict[str, Any], definitions: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    for key, field in table["properties"].items():
        inner = field.get("items", field) if "$ref" in field.get("items", {}) else field
        name = inner.get("$ref", "").rpartition("/")[2]
        if name:
            yield place + key, "list of tables" if inner is not field else "table"
            yield from _recipe_keys(definitions[name], definitions, f"{place}{key}.")
            continue
        facts = {k: v for k, v in field.items() if k not in ("title", "description", "examples")}
        choices = facts.pop("enum", ()) or facts.get("items", {}).pop("enum", ())
        if key in table.get("required", ()):
            facts["required"] = True
        yield place + key, facts
        for choice in choices:
            yield f"{place}{key} = {choice!r}", "choice"


def _parameter(parameter: click.Parameter) -> str:
    kind = parameter.type
    bounds = [f"{word} {value}" for word, value in (("min", getattr(kind, "min", None)),
              ("max", getattr(kind, "max", None))) if value is not None]  # fmt: skip
    info = parameter.to_info_dict()
    words = [
        "flag" if info.get("is_flag") else kind.name,
        *bounds,
        "required" if parameter.required else "optional",
        "several" if info["multiple"] or info["nargs"] == -1 else "one",
    ]
    default = info["default"]
    return (
        ", ".join(words) + f", default {default!r}"
        if isinstance(default, str | int | float | tuple)
        else (", ".join(words))
    )


def _type(value: Any) -> str:
    kinds = {dict: "table", list: "list", str: "text", bool: "bool", int: "integer", float: "number"}
    return "null" if value is None else kinds[type(value)]


def _lost(recorded: Tree, current: Tree) -> Iterator[str]:
    for path, value in recorded.items():
        if path in current or value == "absent":
            continue
        holder_is_gone = path.endswith("[]") or path.rpartition(".")[0] not in current
        if _chosen(path) and (holder_is_gone or "absent" in value):
            continue
        yield f"{path} is gone (it was: {value})"


def _changed(recorded: Tree, current: Tree) -> Iterator[str]:
    for path, value in recorded.items():
        now = current.get(path, value)
        if now == value:
            continue
        if _chosen(path) and set(now.split("|")) <= {*value.split("|"), "absent", "null"}:
            continue
        yield f"{path} was {value}, and is {now}"


def _chosen(path: str) -> bool:
    return any(part in path for part in CHOSEN_BY_FIGURES)


def _add(name: str, current: Tree) -> None:
    """Write into the record what is new in `current`; several processes of the tests may do so at once."""
    with RECORD.open("r+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        record = json.load(stream)
        record[name] = dict(sorted((current | record.get(name, {})).items()))
        stream.seek(0)
        stream.truncate()
        stream.write(_lines(record))


def _lines(record: dict[str, Tree]) -> str:
    """Return the record as JSON with an entry a line, so that a difference reads well."""
    documents = []
    for name, entries in sorted(record.items()):
        lines = [f"  {_json(path)}: {_json(value)}" for path, value in entries.items()]
        documents.append(f"{_json(name)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(documents) + "\n}\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
