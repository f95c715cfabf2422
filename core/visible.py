"""Escapes invisible and control characters of untrusted texts, so that they cannot control a terminal or reorder text.

It is used for the console, messages and JSON. Records keep the texts unchanged.
"""

from __future__ import annotations

import re

# Control characters except tab and line feed; marks, embeddings and isolates that change the direction of text
# (Unicode's Bidi_Control); line separators; invisible tags; surrogates (undecodable bytes). Soft hyphens are allowed.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
    "\ud800-\udfff]"
)


def visible(text: str) -> str:
    """Return `text` with invisible and control characters escaped: ``\\x1b``, ``\\u202e``.

    Bytes of a file name that are not UTF-8 become ``\\xff``.
    """
    return _UNSAFE.sub(lambda match: _escape(ord(match[0])), text)


def visible_in_json(document: str) -> str:
    """Return JSON text with the same characters as JSON escapes, so that the document is the same.

    Half a surrogate pair, which strict readers refuse, is escaped as in `visible`.
    """
    return _UNSAFE.sub(lambda match: _json_escape(ord(match[0])), document)


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # Python's surrogate for an undecodable byte
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(code: int) -> str:
    if 0xD800 <= code <= 0xDFFF:
        return "\\" + _escape(code)
    return "".join(f"\\u{unit:04x}" for unit in _units(code))


def _units(code: int) -> tuple[int, ...]:
    """Return the UTF-16 code units of a code point."""
    return (code,) if code < 0x10000 else (0xD800 + ((code - 0x10000) >> 10), 0xDC00 + (code & 0x3FF))
