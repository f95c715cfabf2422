"""Names from outside are hostile: these functions make them safe for the place they go to, and nothing else does."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def slug(name: str, limit: int = 60) -> str:
    """Return `name` as one harmless path component: ASCII letters, digits, dot, dash, underscore, never empty.

    A name that had to be changed carries eight hex digits of its hash, so that two names never become one file.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    safe = _UNSAFE.sub("-", ascii_name).strip("-._")
    if safe and safe == name and len(safe) <= limit:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe[: limit - 9].rstrip('-._')}-{digest}" if safe else digest


def csv_cell(value: str) -> str:
    """Return `value` so that a spreadsheet shows it as text: a leading formula character gets an apostrophe."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def shorten(text: str, limit: int = 60) -> str:
    """Return `text` on one line without control characters, cut to `limit` characters with an ellipsis."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= limit else line[: limit - 1] + "…"
