"""``python -m tools.docs``: write the tables of docs/recipe.md and docs/devices.md, and the API reference.

A table stands between ``<!-- TABLE:begin -->`` and ``<!-- TABLE:end -->``, where TABLE is its name in the recipe
(``recipe`` is the top; ``device.KIND`` is a kind of device). The API reference is static HTML in build/docs, made by
pdoc; it needs no network.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import edgeproof
from edgeproof.core.device_tables import DEVICE_KINDS
from edgeproof.core.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGE, DEVICES = ROOT / "docs" / "recipe.md", ROOT / "docs" / "devices.md"
API = ROOT / "build" / "docs"
HEAD = "| key | default | description |\n|---|---|---|\n"


def main() -> None:
    """Write them."""
    for page in (PAGE, DEVICES):
        page.write_text(filled(page.read_text(encoding="utf-8"), page), encoding="utf-8")
    build_api(API)


def build_api(out: Path) -> None:
    """Write the reference of what ``import edgeproof`` offers, below `out`."""
    for (
        name
    ) in edgeproof.__all__:  # pdoc reads what is there: a room of the same name hides a function not yet asked for
        getattr(edgeproof, name)
    import pdoc

    pdoc.render.configure(docformat="markdown", show_source=False)
    pdoc.pdoc("edgeproof", "!edgeproof.", output_directory=out)


def filled(page: str, path: Path = PAGE) -> str:
    """Return a page's text with its tables as the models have them. Raises ValueError for a missing place."""
    for name, table in (tables() if path == PAGE else device_tables()).items():
        pattern = re.compile(rf"(<!-- {re.escape(name)}:begin -->\n).*?(<!-- {re.escape(name)}:end -->)", re.DOTALL)
        page, count = pattern.subn(lambda match, text=table: f"{match[1]}\n{text}\n{match[2]}", page)
        if count != 1:
            raise ValueError(f"{path.name} has {count} places for the table {name!r}, expected 1")
    return page


def tables() -> dict[str, str]:
    """Return the rows of each table of the recipe as Markdown, by its name there, e.g. ``train.head``."""
    return {name: HEAD + "".join(_rows(kind)) for name, kind in _kinds("recipe", Recipe)}


def device_tables() -> dict[str, str]:
    """Return the rows of the table of each kind of device as Markdown, by its name, e.g. ``device.ssh``."""
    return {f"device.{name}": HEAD + "".join(_rows(kind.table)) for name, kind in DEVICE_KINDS.items()}


def table_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the table that a key is, or a list of which it is."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _kinds(name: str, kind: type[BaseModel]) -> list[tuple[str, type[BaseModel]]]:
    """Return a table and those inside it that have keys of their own, by name."""
    kinds = [(name, kind)] if any(not table_of(field) for field in kind.model_fields.values()) else []
    for key, field in kind.model_fields.items():
        if inner := table_of(field):
            kinds += _kinds(key if name == "recipe" else f"{name}.{key}", inner)
    return kinds


def _rows(kind: type[BaseModel]) -> list[str]:
    fields = {key: field for key, field in kind.model_fields.items() if not (field.exclude or table_of(field))}
    return [f"| `{key}` | {_default(field)} | {_description(key, field)} |\n" for key, field in fields.items()]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value == "":
        return "–"
    return f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return json.dumps(value, ensure_ascii=False)


def _description(key: str, field: FieldInfo) -> str:
    """Return a key's description, with its choices and both its bounds where the description does not say them."""
    if not field.description:
        raise ValueError(f"the key {key!r} has no description")
    text = field.description
    choices = [f"`{_toml(choice)}`" for choice in _choices(field.annotation) if choice]
    if len(choices) > 1 and any(choice not in text for choice in choices):
        text = ", ".join(choices[:-1]) + f" or {choices[-1]}: {text}"
    bounds = {name: getattr(rule, name) for rule in field.metadata for name in ("ge", "le") if hasattr(rule, name)}
    if field.annotation is int and len(bounds) == 2:
        text += f"; {bounds['ge']} to {bounds['le']}"
    return text


def _choices(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


if __name__ == "__main__":
    main()
