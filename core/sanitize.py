"""Makes untrusted names safe for file systems, spreadsheets and messages. Nothing else does."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

from .errors import InputError

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# Characters that file names cannot have on Windows; the two slashes separate folders.
_FORBIDDEN = frozenset('/\\<>:"|?*')
# Device names on Windows, whatever follows the first dot.
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL)
# In UTF-8 bytes. Names are joined (file and target, file and suffix), and file systems allow 255.
MAX_NAME_BYTES = 200
MAX_PATH_BYTES = 1000
MAX_PATH_PARTS = 32
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def slug(name: str, limit: int = 60) -> str:
    """Return `name` as one safe path component: ASCII letters, digits, dot, dash, underscore; never empty.

    A changed name ends in eight hex digits of its hash, so that two names never become one file.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    safe = _UNSAFE.sub("-", ascii_name).strip("-._")
    if _RESERVED.fullmatch(safe):
        safe = ""
    if safe and safe == name and len(safe) <= limit:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe[: limit - 9].rstrip('-._')}-{digest}" if safe else digest


def checked_name(name: str, what: str, limit: int = MAX_NAME_BYTES) -> str:
    """Return `name` if it is a plain file name on every operating system. Raises InputError otherwise.

    For names from untrusted files, before they become part of a path; `what` names them in the message. It refuses the
    empty name, ``.`` and ``..``, separators, unprintable characters, names of more than `limit` bytes, and names that
    Windows reserves.
    """
    if problem := _problem(name, limit):
        raise InputError(
            f"{what} {shorten(name)!r} is not a plain file name: {problem}",
            "create the file with this name again, and do not use one from a source that you do not trust",
        )
    return name


def checked_path(name: str, what: str, limit: int = MAX_NAME_BYTES) -> PurePosixPath:
    """Return the relative path of an archive's member; each of its parts is a `checked_name`. It may have no parts.

    Raises InputError for an absolute path, a path that is too long, and an invalid part.
    """
    path = PurePosixPath(name)
    too_long = len(path.parts) > MAX_PATH_PARTS or len(name.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES
    if path.is_absolute() or too_long:
        problem = f"more than {MAX_PATH_PARTS} parts or {MAX_PATH_BYTES} bytes" if too_long else "it is absolute"
        raise InputError(f"{what} {shorten(name)!r} is not a path below a folder: {problem}", "do not use this file")
    for part in path.parts:
        checked_name(part, what, limit)
    return path


def _problem(name: str, limit: int) -> str:
    if name in ("", ".", ".."):
        return "it is empty" if not name else "it means the folder itself or its parent"
    if unprintable := next((c for c in name if not c.isprintable()), ""):
        return f"it has the character U+{ord(unprintable):04X}"
    if forbidden := sorted(_FORBIDDEN.intersection(name)):
        return f"it has {' '.join(forbidden)}"
    if len(name.encode()) > limit:
        return f"it has {len(name.encode())} bytes, more than {limit}"
    if _RESERVED.fullmatch(name) or name.endswith((".", " ")):
        return "Windows does not allow it"
    return ""


def csv_cell(value: str) -> str:
    """Return `value` such that a spreadsheet shows it as text: an apostrophe is put before a formula character."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def shorten(text: str, limit: int = 60) -> str:
    """Return `text` on one line without control characters, cut to `limit` characters with an ellipsis."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= limit else line[: limit - 1] + "…"
