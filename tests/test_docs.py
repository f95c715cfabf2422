"""The documentation follows the code: every public name is explained, and generated pages are up to date."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pdoc
import pytest
from pydantic import BaseModel

import edgeproof


def _load_tool(name: str) -> Any:
    """Import a script of tools/ by its path: other packages install a folder of that name."""
    spec = spec_from_file_location(f"edgeproof_tools_{name}", Path(__file__).parents[1] / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docs = _load_tool("docs")


def test_the_tables_of_the_recipe_are_those_of_the_models() -> None:
    for path in (docs.PAGE, docs.DEVICES):
        page = path.read_text(encoding="utf-8")
        assert docs.filled(page, path) == page, f"docs/{path.name} is out of date: `make docs` writes its tables"


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    page = docs.PAGE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"0 places for the table 'train\.head'"):
        docs.filled(page.replace("<!-- train.head:begin -->", ""))


def test_every_public_name_and_member_is_documented() -> None:
    missing = [place for name in edgeproof.__all__ for place in undocumented(name, getattr(edgeproof, name))]
    assert not missing


@dataclasses.dataclass
class Example:
    """It has a `named` field."""

    named: int
    words: int
    """Told below it."""
    untold: int

    def method(self) -> None: ...


def test_an_undocumented_member_is_noticed() -> None:
    assert set(undocumented("Example", Example)) == {"Example.untold", "Example.method"}


def test_the_reference_names_all_of_it_and_needs_no_network(tmp_path: Path) -> None:
    # In a process of its own, which has asked for none of the names.
    code = "import sys; from pathlib import Path; from tools import docs; docs.build_api(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[1])
    page = (tmp_path / "edgeproof.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in page for name in edgeproof.__all__ if not name.startswith("_"))
    fetched = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]*)"', page)
    assert not [address for address in fetched if "//" in address.partition("data:")[0]]


def undocumented(name: str, value: Any) -> Iterator[str]:
    """Return the name, and those of its public members, that have no docstring.

    A field of a dataclass is documented by the string below it, or where its class's docstring names it in backquotes;
    a key of a table by its description, or by the docstring of the table that it is.
    """
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return  # a constant, such as the version
    if not inspect.getdoc(value):
        yield name
    if not inspect.isclass(value):
        return
    text = " ".join(inspect.getdoc(kind) or "" for kind in inspect.getmro(value) if _ours(kind))
    if dataclasses.is_dataclass(value):
        members = pdoc.doc.Class(value.__module__, value.__qualname__, value, (value.__module__, name)).members
        fields = [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
        yield from (f"{name}.{key}" for key in fields if not (members[key].docstring or f"`{key}`" in text))
    if issubclass(value, BaseModel):
        keys = value.model_fields.items()
        yield from (f"{name}.{k}" for k, f in keys if not (f.description or docs.table_of(f) or f"`{k}`" in text))
    for kind in filter(_ours, inspect.getmro(value)):
        for member, inner in vars(kind).items():
            if isinstance(inner, property | classmethod | staticmethod) or inspect.isroutine(inner):
                explained = inspect.getdoc(inner.__func__ if isinstance(inner, classmethod | staticmethod) else inner)
                if not member.startswith("_") and not explained:
                    yield f"{name}.{member}"


def _ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("edgeproof", "tests")
