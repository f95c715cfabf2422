"""Names from outside are hostile: these functions make them safe for the place they go to, and nothing else does."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

from .errors import InputError

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# Characters that no file name has on Windows; the two slashes part folders.
_FORBIDDEN = frozenset('/\\<>:"|?*')
# Devices on Windows, whatever follows the first dot.
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL)
# UTF-8 bytes: names are joined (file and target, file and suffix), and file systems end at 255.
LONGEST = 200
LONGEST_PATH = 1000
DEEPEST = 32
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def slug(name: str, limit: int = 60) -> str:
    """Return `name` as one harmless path component: ASCII letters, digits, dot, dash, underscore, never empty.

    A name that had to be changed carries eight hex digits of its hash, so that two names never become one file.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    safe = _UNSAFE.sub("-", ascii_name).strip("-._")
    if _RESERVED.fullmatch(safe):
        safe = ""
    if safe and safe == name and len(safe) <= limit:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe[: limit - 9].rstrip('-._')}-{digest}" if safe else digest


def checked_name(name: str, what: str, limit: int = LONGEST) -> str:
    """Return `name` if it is the plain name of a file, here and on any other system. Raises InputError otherwise.

    For names that a file from elsewhere gives (`what` says which), before they become a part of a path. Refused are
    the empty name, ``.`` and ``..``, separators, characters that cannot be printed, names of more than `limit` bytes,
    and what Windows reserves.
    """
    if problem := _problem(name, limit):
        raise InputError(
            f"{what} {shorten(name)!r} is not the plain name of a file: {problem}",
            "make the file that says so anew, and do not use one from a source that you do not trust",
        )
    return name


def checked_path(name: str, what: str, limit: int = LONGEST) -> PurePosixPath:
    """Return the relative path of an archive's member, every part of it a `checked_name`; it may have no parts.

    Raises InputError for a path that is absolute or has a part that is no name.
    """
    path = PurePosixPath(name)
    too_long = len(path.parts) > DEEPEST or len(name.encode("utf-8", "surrogatepass")) > LONGEST_PATH
    if path.is_absolute() or too_long:
        problem = f"more than {DEEPEST} parts or {LONGEST_PATH} bytes" if too_long else "it is absolute"
        raise InputError(f"{what} {shorten(name)!r} is no path below a folder: {problem}", "do not use this file")
    for part in path.parts:
        checked_name(part, what, limit)
    return path


def _problem(name: str, limit: int) -> str:
    if name in ("", ".", ".."):
        return "it names no file" if not name else "it is a folder's own name or the one above"
    if unprintable := next((c for c in name if not c.isprintable()), ""):
        return f"it has the character U+{ord(unprintable):04X}"
    if found := sorted(_FORBIDDEN.intersection(name)):
        return f"it has {' '.join(found)}"
    if len(name.encode()) > limit:
        return f"it has {len(name.encode())} bytes, more than {limit}"
    if _RESERVED.fullmatch(name) or name.endswith((".", " ")):
        return "Windows has no such file"
    return ""


def csv_cell(value: str) -> str:
    """Return `value` so that a spreadsheet shows it as text: a leading formula character gets an apostrophe."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def shorten(text: str, limit: int = 60) -> str:
    """Return `text` on one line without control characters, cut to `limit` characters with an ellipsis."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= limit else line[: limit - 1] + "…"
