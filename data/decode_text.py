"""One text: from a file or a table's cell to checked Unicode, with what a check needs to know of it.

Two texts are the same when they agree in Unicode's normal form C with every run of white space taken as one space:
so composed and decomposed accents, line breaks and trailing blanks make no difference; letter case and punctuation do.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import unicodedata
from typing import NamedTuple

from ..core.errors import InputError
from ..core.sanitize import shorten
from .listing import Payload, SampleFile, UnreadableError
from .reading import read_sample, why_not_read

# No encoding that Python knows takes more bytes for a character of the Basic Multilingual Plane: UTF-7 and the
# ISO 2022 family take up to eight with their escapes; the rest at most four.
MOST_BYTES = 8
# Text encodings that Python knows and that no file of texts is in: escapes of source code, domain names.
NOT_FOR_FILES = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"})
# Byte order marks, longest first, and the family of encodings that each belongs to.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

# UTF-8 that was read as Latin-1 or Windows-1252: the lead byte of two-byte sequences with what may follow, and the
# two characters that most punctuation begins with. Pairs that no language writes.
_MOJIBAKE = re.compile("[ÂÃ][\u0080-\u00bf]|â€|â\u0080")
# All but those that texts are laid out with: tab, line feed, vertical tab, form feed, carriage return, next line.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")


class DecodedText(NamedTuple):
    """`text`; `digest` of what makes it the same as another; counts of characters and words (between white space).

    `exact` is a digest of the text as it stands. `controls`, `replaced` and `mojibake` are whether it holds control
    characters, U+FFFD, or signs of UTF-8 that was read in another encoding.
    """

    text: str
    digest: bytes
    exact: bytes
    characters: int
    words: int
    controls: bool
    replaced: bool
    mojibake: bool


def check_encoding(name: str) -> None:
    """Raise InputError when `name` is not an encoding that texts can be read in."""
    try:
        known = codecs.lookup(name)
        b"a\n".decode(name, "replace")
    except (LookupError, ValueError) as error:
        raise InputError(
            f"data.encoding = {shorten(name)!r} is not an encoding of texts",
            'name one that Python knows: "utf-8", "utf-16", "cp1252", "latin-1", "shift_jis", …',
        ) from error
    if known.name.replace("_", "-") in NOT_FOR_FILES:
        raise InputError(f"data.encoding = {shorten(name)!r} is not an encoding of files", 'try "utf-8"')


def check_mark(content: bytes, encoding: str) -> None:
    """Raise UnreadableError when a file begins with the byte order mark of another encoding."""
    family = next((MARKS[mark] for mark in MARKS if content.startswith(mark)), None)
    if family is not None and not codecs.lookup(encoding).name.startswith(family):
        raise UnreadableError(
            f'not {encoding}: it begins with the byte order mark of {family}; data.encoding = "{family}"', "encoding"
        )


def to_text(content: bytes, encoding: str, offset: int = 0) -> str:
    """Return `content` decoded, without a byte order mark. Raises UnreadableError naming the byte (from `offset`)."""
    if offset == 0:
        check_mark(content, encoding)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        byte = content[error.start : error.start + 1].hex()
        raise UnreadableError(
            f"not {encoding}: byte 0x{byte} at offset {offset + error.start:,} ({error.reason})", "encoding"
        ) from error
    except UnicodeError as error:
        raise UnreadableError(f"not {encoding}: {shorten(str(error), 100)}", "encoding") from error
    return text.removeprefix("\ufeff") if offset == 0 else text


def decode_text(payload: Payload, *, encoding: str, max_characters: int) -> DecodedText:
    """Return a text that can be used. Raises UnreadableError with the reason why it cannot."""
    if isinstance(payload, UnreadableError):
        raise payload
    if isinstance(payload, SampleFile):
        try:
            content = read_sample(payload, MOST_BYTES * max_characters + 4)
        except OSError as error:
            raise UnreadableError(why_not_read(error)) from error
        except UnreadableError as error:
            if error.cause != "large":
                raise
            raise UnreadableError(f"{error}, for data.max_characters = {max_characters:,}", "large") from error
        text = to_text(content, encoding)
    elif isinstance(payload, str):
        text = payload
    else:
        raise UnreadableError("an image, not a text")
    if len(text) > max_characters:
        raise UnreadableError(
            f"{len(text):,} characters, more than data.max_characters = {max_characters:,}: cut it into several texts",
            "large",
        )
    if "\0" in text:
        raise UnreadableError(
            f"a NUL character at position {text.index(chr(0)):,}: a binary file, or one in UTF-16 (data.encoding)",
            "encoding",
        )
    try:
        exact = hashlib.sha256(text.encode()).digest()
    except UnicodeEncodeError as error:
        raise UnreadableError(
            f"half a surrogate pair (U+{ord(text[error.start]):04X}) at position {error.start:,}: not Unicode text",
            "encoding",
        ) from error
    words = text.split()
    if not any(_visible(character) for word in words for character in word):
        raise UnreadableError("empty: white space only" if text else "empty: no characters", "empty")
    same = unicodedata.normalize("NFC", " ".join(words))
    return DecodedText(
        text,
        hashlib.sha256(same.encode()).digest(),
        exact,
        len(text),
        len(words),
        _CONTROL.search(text) is not None,
        "\ufffd" in text,
        _MOJIBAKE.search(text) is not None,
    )


def _visible(character: str) -> bool:
    """Whether a character is more than a control or an invisible mark of formatting (zero-width space, …)."""
    return unicodedata.category(character) not in ("Cc", "Cf")
