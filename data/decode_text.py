"""Decodes one text, from a file or a table's cell, to checked Unicode, and notes its properties for the data check.

Two texts are the same when they are equal in Unicode's normal form C with every run of white space replaced by one
space. So composed and decomposed accents, line breaks and trailing blanks make no difference; letter case and
punctuation do.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import unicodedata
from typing import NamedTuple

from ..core.errors import InputError
from ..core.sample_files import Payload, SampleFile, UnreadableError, read_error_reason, read_sample
from ..core.sanitize import shorten

# No encoding that Python knows takes more bytes for a character of the Basic Multilingual Plane: UTF-7 and the
# ISO 2022 family take up to eight with their escapes; the rest at most four.
MAX_CHARACTER_BYTES = 8
# Text encodings of Python that no text file uses: escapes of source code, domain names.
NON_FILE_ENCODINGS = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"})
# Byte order marks, longest first, and the encoding family of each.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

# UTF-8 that was decoded as Latin-1 or Windows-1252: the lead byte of a two-byte sequence with its second byte, and the
# two characters that most punctuation begins with. No language writes these pairs.
_MOJIBAKE = re.compile("[ÂÃ][\u0080-\u00bf]|â€|â\u0080")
# All control characters except layout: tab, line feed, vertical tab, form feed, carriage return, next line.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")


class DecodedText(NamedTuple):
    """A text, the digests that identify copies of it, and counts of its characters and words.

    `digest` (SHA-256) is of the normalized text, `exact` of the unchanged text. Words are separated by white space.
    `controls`, `replaced` and `mojibake` say whether it holds control characters, U+FFFD, or signs of UTF-8 that was
    decoded in another encoding.
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
    """Raise InputError when `name` is not an encoding of text files."""
    try:
        codec = codecs.lookup(name)
        b"a\n".decode(name, "replace")
    except (LookupError, ValueError) as error:
        raise InputError(
            f"data.encoding = {shorten(name)!r} is not an encoding of texts",
            'name one that Python supports: "utf-8", "utf-16", "cp1252", "latin-1", "shift_jis", …',
        ) from error
    if codec.name.replace("_", "-") in NON_FILE_ENCODINGS:
        raise InputError(f"data.encoding = {shorten(name)!r} is not an encoding of files", 'try "utf-8"')


def check_mark(content: bytes, encoding: str) -> None:
    """Raise UnreadableError when a file begins with the byte order mark of another encoding."""
    family = next((MARKS[mark] for mark in MARKS if content.startswith(mark)), None)
    if family is not None and not codecs.lookup(encoding).name.startswith(family):
        raise UnreadableError(
            f'not {encoding}: it begins with the byte order mark of {family}; data.encoding = "{family}"', "encoding"
        )


def to_text(content: bytes, encoding: str, offset: int = 0) -> str:
    """Return `content` decoded, without a byte order mark. `offset` is where it starts in its file, in bytes.

    Raises UnreadableError that names the first byte which cannot be decoded.
    """
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
    """Return the decoded text. Raises UnreadableError with the reason when it cannot be used."""
    if isinstance(payload, UnreadableError):
        raise payload
    if isinstance(payload, SampleFile):
        try:
            content = read_sample(payload, MAX_CHARACTER_BYTES * max_characters + 4)
        except OSError as error:
            raise UnreadableError(read_error_reason(error)) from error
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
    normalized = unicodedata.normalize("NFC", " ".join(words))
    return DecodedText(
        text,
        hashlib.sha256(normalized.encode()).digest(),
        exact,
        len(text),
        len(words),
        _CONTROL.search(text) is not None,
        "\ufffd" in text,
        _MOJIBAKE.search(text) is not None,
    )


def _visible(character: str) -> bool:
    """Return whether a character is neither a control character nor invisible formatting (zero-width space, …)."""
    return unicodedata.category(character) not in ("Cc", "Cf")
