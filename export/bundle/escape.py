"""Escapes untrusted names for the languages of templates: a literal ends where it should, whatever the name holds.

Templates may print only numbers and results of the functions here: `environment` refuses everything else.
"""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...core.errors import InputError
from ...core.sanitize import shorten

TEMPLATES = Path(__file__).parent / "templates"


class Escaped(str):
    """A text that is safe where the template puts it."""

    __slots__ = ()


def kotlin(text: str) -> Escaped:
    """Return a Kotlin string literal. Kotlin escapes are UTF-16 units; ``$`` would begin a template."""

    def character(c: str) -> str:
        if c in '\\"$':
            return "\\" + c
        if c.isprintable():
            return c
        units = c.encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))

    return Escaped('"' + "".join(map(character, text)) + '"')


def cpp(text: str) -> Escaped:
    """Return a C or C++ string literal of the text's UTF-8; octal escapes of three digits cannot run on."""
    plain = {byte for byte in range(0x20, 0x7F) if chr(byte) not in '\\"?'}  # ? would begin a trigraph
    content = text.encode("utf-8", "replace")
    return Escaped('"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in content) + '"')


def markdown(text: str) -> Escaped:
    """Return a text for a Markdown paragraph or table cell: one line, no markup, no tags."""
    return Escaped(re.sub(r"([\\`*_{}\[\]()<>#+!|~&-])", r"\\\1", shorten(text, 300)))


def code(text: str) -> Escaped:
    """Return a Markdown code span of one line, fenced by more backticks than it contains; ``|`` would end a cell."""
    line = shorten(text, 300).replace("|", "¦")
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if line[:1] in ("`", "") or line[-1:] == "`" else ""
    return Escaped(f"{fence}{pad}{line}{pad}{fence}")


def shell(*words: str) -> str:
    """Return a command line for a POSIX shell. Control characters, which no terminal shows, are removed first."""
    return " ".join(shlex.quote(shorten(word, 4000)) for word in words)


def number(value: float) -> Escaped:
    """Return a float literal of Kotlin and C++ (``0.5f``). Raises InputError for values without one."""
    if not math.isfinite(value):
        raise InputError(f"the file's scale or range is {value}", "expected a finite number; export the file again")
    return Escaped(f"{float(value)!r}f")


def environment() -> Environment:
    """Return the templates' environment. Raises TypeError when a template prints an unescaped text."""

    def finalize(value: Any) -> Any:
        if isinstance(value, str) and not isinstance(value, Escaped):
            raise TypeError(f"not escaped: {value!r}")
        return value

    templates = Environment(  # noqa: S701 — autoescape is for HTML; here `finalize` refuses what is not escaped
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, finalize=finalize, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    templates.filters |= {"kotlin": kotlin, "cpp": cpp, "md": markdown, "code": code, "number": number}
    return templates
