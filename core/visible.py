"""Texts from outside, made harmless to look at: what steers a terminal, or turns text around, is written out.

The console, messages and JSON go through here, and nothing else does. Records keep the texts as they are.
"""

from __future__ import annotations

import re

# Controls but for tab and line feed, soft hyphen aside; marks, embeddings and isolates that change the direction of
# what follows (Unicode's Bidi_Control); separators of lines; invisible tags; bytes that were no text.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
    "\ud800-\udfff]"
)


def visible(text: str) -> str:
    """Return `text` with what cannot be seen, or does something when it is shown, written out: ``\\x1b``, ``\\u202e``.

    Bytes of a file name that are no UTF-8 become ``\\xff``.
    """
    return _UNSAFE.sub(lambda found: _escape(ord(found[0])), text)


def visible_in_json(document: str) -> str:
    """Return JSON text with the same characters escaped as JSON does it, so that the document is the same.

    Half a surrogate pair is no text, and strict readers refuse it: it is written out as `visible` does.
    """
    return _UNSAFE.sub(lambda found: _json_escape(ord(found[0])), document)


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that it could not decode
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(code: int) -> str:
    if 0xD800 <= code <= 0xDFFF:
        return "\\" + _escape(code)
    return "".join(f"\\u{unit:04x}" for unit in _units(code))


def _units(code: int) -> tuple[int, ...]:
    """Return the code units of UTF-16."""
    return (code,) if code < 0x10000 else (0xD800 + ((code - 0x10000) >> 10), 0xDC00 + (code & 0x3FF))
