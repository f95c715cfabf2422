#!/usr/bin/env python3
"""The reference tokenizer of a text model: from a text to the ids that its file takes. Standard library only.

This one file travels with every text model, runs on Python 3.7 or newer, and is written to be read by whoever ports
it to Kotlin, Swift or C++. Its ids equal those of the TensorFlow Text tokenizer inside the model's string reference;
how often they do is measured for each model, and ``golden.json`` in the folder holds texts with their ids for a port
to be checked against.

The folder holds ``tokenizer.json`` and the file that it names::

    {"version": 1,
     "kind": "sentencepiece" | "wordpiece" | "whitespace",
     "file": "sentencepiece.model" or "vocab.txt" (UTF-8, a token a line, its id is the line's number from 0),
     "length": how many ids the model takes,
     "pad": the id behind the last token,           "unknown": the id of what the vocabulary lacks,
     "start": the id before the first token or null,  "end": the id after the last one or null,
     "lower_case": true or false,                   (wordpiece, whitespace)
     "normalize": "" | "NFC" | "NFD" | "NFKC" | "NFKD",   (wordpiece without lower_case, whitespace)
     "max_word_bytes": 100,                         (wordpiece: longer words are unknown)
     "offset": 0}                                   (added to every id of the file, not to the four above)

As a program: ``python tokenizer.py FOLDER < lines`` prints for each line its ids without the padding.
"""

import json
import math
import os
import re
import struct
import sys
import unicodedata
from array import array
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

VERSION = 1
FORMS = ("NFC", "NFD", "NFKC", "NFKD")

# A damaged or hostile folder must not take the machine with it.
MAX_SETTINGS_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 26
MAX_LENGTH = 1 << 20
MAX_LINES = 1 << 22
MAX_PREFIXES = 1 << 23
MAX_PIECE_LENGTH = 512
MAX_WORD_BYTES = 1000
MAX_MAP_BYTES = 1 << 24
MAX_REPLACEMENT_BYTES = 1 << 10
MAX_ID = (1 << 31) - 1


class Tokenizer:
    """Makes token ids from texts.

    `size` is one more than the highest id it can give. `vocabulary` are the tokens of ``vocab.txt``, if it has one.
    """

    def __init__(self, settings: Dict[str, Any]) -> None:
        self.length = _whole(settings, "length", 1, MAX_LENGTH)
        self.pad = _whole(settings, "pad", 0, MAX_ID)
        self.start = None if settings.get("start") is None else _whole(settings, "start", 0, MAX_ID)
        self.end = None if settings.get("end") is None else _whole(settings, "end", 0, MAX_ID)
        self.offset = _whole(settings, "offset", 0, MAX_ID, 0)
        self.unknown = 0
        self.size = 0
        self.vocabulary: List[str] = []
        self._before = [] if self.start is None else [self.start]
        self._after = [] if self.end is None else [self.end]
        if len(self._before) + len(self._after) >= self.length:
            raise ValueError("tokenizer.json: with its start and end ids, length %d has no room" % self.length)

    def tokens(self, text: str) -> List[int]:
        """Return the ids of all of the text's tokens, without start, end, cut or padding."""
        return list(self._ids(_valid(text)))

    def encode(self, text: str) -> Tuple[List[int], int]:
        """Return what the model takes: `length` ids, padded behind, and how many of them are real.

        Tokens that do not fit between the start and end ids are left out; no more of a text is read than is needed.
        """
        room = self.length - len(self._before) - len(self._after)
        ids = list(self._before)
        for token, _ in zip(self._ids(_valid(text)), range(room)):
            ids.append(token)
        ids += self._after
        return ids + [self.pad] * (self.length - len(ids)), len(ids)

    def _ids(self, text: str) -> Iterator[int]:
        """Give the ids one after the other; `text` is valid Unicode."""
        raise NotImplementedError

    def _finish(self, size: int, unknown: int) -> None:
        """Note how many ids the file has and which one stands for the unknown; both as the model sees them."""
        self.unknown = unknown
        ids = [self.pad, unknown, size - 1] + self._before + self._after
        if max(ids) > MAX_ID:
            raise ValueError("tokenizer.json: ids up to %d do not fit into 32 bits" % max(ids))
        self.size = max(ids) + 1


class SentencePiece(Tokenizer):
    """A SentencePiece unigram model: of all ways to cut a text into pieces, the one with the highest sum of scores.

    The text is normalized by the model's own character map, and spaces become ``▁``. Sums are kept in 32-bit floats,
    in reading order, as the original does: where two cuts are equally good, rounding decides, and so it must be the
    same rounding. The method is Kudo's (https://arxiv.org/abs/1804.10959), the file format that of
    sentencepiece_model.proto.
    """

    NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
    UNKNOWN_PENALTY = 10.0
    USER_DEFINED_PENALTY = 0.1
    SMALLEST_FLOAT = 2.0**-126
    BLOCK = 64
    MEMO = 1 << 16

    def __init__(self, settings: Dict[str, Any], data: bytes) -> None:
        super().__init__(settings)
        pieces, trainer, normalizer = _read_model(data)
        if _number(trainer, 3, 1) != 1:
            raise ValueError("the SentencePiece model is not a unigram model: only those are supported")
        self._byte_fallback = bool(_number(trainer, 35, 0))
        self._space_behind = bool(_number(trainer, 24, 0))
        self._add_dummy_prefix = bool(_number(normalizer, 3, 1))
        self._remove_extra_spaces = bool(_number(normalizer, 4, 1))
        self._space = "▁" if _number(normalizer, 5, 1) else " "
        self._map = _CharacterMap(_bytes(normalizer, 2))
        self._index(pieces)
        self._memo: Dict[str, Tuple[str, int]] = {}
        self._plain = self._plain_runs()
        unknown = self._unknown_piece + self.offset
        if settings.get("unknown") is not None and _whole(settings, "unknown", 0, MAX_ID) != unknown:
            raise ValueError("tokenizer.json: unknown is %s, the model's is %d" % (settings["unknown"], unknown))
        self._finish(len(pieces) + self.offset, unknown)

    def _index(self, pieces: List[Tuple[str, float, int]]) -> None:
        """Make from the pieces what the search needs: every prefix of a piece, with the piece's id or -1 for none."""
        self._prefixes: Dict[str, int] = {}
        self._scores = [score for _, score, _ in pieces]
        self._bytes: Dict[int, int] = {}
        self._symbols: Dict[str, int] = {}
        self._longest = 1
        normal = [score for _, score, kind in pieces if kind == self.NORMAL]
        lowest = min(normal) if normal else 0.0
        highest = max([*normal, self.SMALLEST_FLOAT])
        self._unknown_score = _single(lowest - self.UNKNOWN_PENALTY)
        unknown = [index for index, (_, _, kind) in enumerate(pieces) if kind == self.UNKNOWN]
        if len(unknown) != 1:
            raise ValueError("the SentencePiece model has %d unknown pieces instead of one" % len(unknown))
        self._unknown_piece = unknown[0]
        seen = set()
        total = 0
        for index, (piece, _, kind) in enumerate(pieces):
            if not piece or piece in seen:
                raise ValueError("the SentencePiece model: piece %d is empty or there twice" % index)
            seen.add(piece)
            if kind == self.BYTE:
                self._bytes[_byte_of(piece)] = index
            if kind not in (self.NORMAL, self.USER_DEFINED, self.UNUSED):
                continue
            total += len(piece)
            if len(piece) > MAX_PIECE_LENGTH or total > MAX_PREFIXES:
                raise ValueError("the SentencePiece model's pieces are too long to be words")
            self._prefixes[piece] = -1 if kind == self.UNUSED else index
            for end in range(len(piece) - 1, 0, -1):
                if piece[:end] in self._prefixes:
                    break  # and so are all that are shorter
                self._prefixes[piece[:end]] = -1
            self._longest = max(self._longest, len(piece))
            if kind == self.USER_DEFINED:
                # Scored so high that it is always chosen.
                self._scores[index] = len(piece.encode()) * highest - self.USER_DEFINED_PENALTY
                self._symbols[piece] = index
        self._longest_symbol = max((len(symbol) for symbol in self._symbols), default=0)
        if self._byte_fallback and len(self._bytes) != 256:
            raise ValueError("the SentencePiece model has %d of the 256 byte pieces" % len(self._bytes))

    def _ids(self, text: str) -> Iterator[int]:
        was_unknown = False
        for index, character in self._best_pieces(text):
            if index != self._unknown_piece:
                yield index + self.offset
            elif self._byte_fallback:
                for byte in character.encode():
                    yield self._bytes[byte] + self.offset
            elif not was_unknown:  # unknown characters side by side are one token
                yield index + self.offset
            was_unknown = index == self._unknown_piece

    def _best_pieces(self, text: str) -> Iterator[Tuple[int, str]]:
        """Give the pieces of the best cut (id, text), each as soon as nothing that follows can change it."""
        blocks = self._normalized(text)
        text = ""
        # For each place of the normalized text: the best sum up to there, where its last piece starts, and its id.
        best, origin, piece = array("f", [0.0]), [0], [-1]
        rounded = array("f", [0.0])
        start = given = reach = 0
        more = True
        prefixes, scores, longest = self._prefixes, self._scores, self._longest
        while True:
            while more and len(text) - start < longest:
                block = next(blocks, "")
                more = bool(block)
                text += block
                best.extend([0.0] * len(block))
                origin.extend([-1] * len(block))
                piece.extend([-1] * len(block))
            if start == reach:  # no piece reaches over this place: what lies before it is settled
                path = []
                at = start
                while at > given:
                    path.append((piece[at], text[origin[at] : at]))
                    at = origin[at]
                for found in reversed(path):
                    yield found
                given = start
            if start == len(text):
                return
            here = best[start]
            single = False
            for end in range(start + 1, min(start + longest, len(text)) + 1):
                index = prefixes.get(text[start:end])
                if index is None:
                    break
                if index < 0:
                    continue
                if end == start + 1:
                    single = True
                score = here + scores[index]
                if origin[end] < 0 or score > best[end]:
                    best[end], origin[end], piece[end] = score, start, index
                reach = max(reach, end)
            if not single:
                end = start + 1
                rounded[0] = here + self._unknown_score
                if origin[end] < 0 or rounded[0] > best[end]:
                    best[end], origin[end], piece[end] = rounded[0], start, self._unknown_piece
                reach = max(reach, end)
            start += 1

    def _normalized(self, text: str) -> Iterator[str]:
        """Give the normalized text in blocks that are not empty."""
        at = 0
        while self._remove_extra_spaces and at < len(text):
            replaced, count = self._replace(text, at)
            if replaced != " ":
                break
            at += count
        if at == len(text):
            return
        block = self._space if self._add_dummy_prefix and not self._space_behind else ""
        held = ""  # spaces that are dropped if nothing follows them
        after_space = self._remove_extra_spaces
        while at < len(text):
            plain = self._plain.match(text, at)
            if plain:
                at = plain.end()
                block += plain.group()
                after_space = False
            else:
                replaced, count = self._replace(text, at)
                at += count
                if after_space:
                    replaced = replaced.lstrip(" ")
                if replaced:
                    after_space = self._remove_extra_spaces and replaced.endswith(" ")
                    block += replaced.replace(" ", self._space)
            if len(block) >= self.BLOCK:
                kept = block.rstrip(self._space) if self._remove_extra_spaces else block
                if kept:
                    yield held + kept
                    held = ""
                held += block[len(kept) :]
                block = ""
        block = held + block
        if self._remove_extra_spaces:
            block = block.rstrip(self._space)
        if self._add_dummy_prefix and self._space_behind:
            block += self._space
        if block:
            yield block

    def _plain_runs(self) -> Any:
        """Return a pattern for runs of ASCII that normalization leaves as they are; it is here for speed alone."""
        ascii_characters = [chr(code) for code in range(128)]
        plain = [
            first
            for first in ascii_characters[33:127]
            if not any(symbol[0] == first for symbol in self._symbols)
            and all(self._map.longest(first + second, 0)[0] is None for second in ascii_characters)
        ]
        if not plain:
            return re.compile("(?!)")
        # What follows ASCII can change it, an accent for one: the last character before that is no part of the run.
        return re.compile("(?:[%s](?![^\\x00-\\x7f])){1,%d}" % (re.escape("".join(plain)), self.BLOCK))

    def _replace(self, text: str, at: int) -> Tuple[str, int]:
        """Return what the start of text[at:] becomes, and how many characters of it that stands for."""
        for end in range(min(at + self._longest_symbol, len(text)), at, -1):
            if text[at:end] in self._symbols:
                return text[at:end], end - at
        pair = text[at : at + 2]
        known = self._memo.get(pair)
        if known is None:
            replaced, count, read = self._map.longest(text, at)
            known = (text[at], 1) if replaced is None else (replaced, count)
            if read <= 2 and len(self._memo) < self.MEMO:
                self._memo[pair] = known
        return known


class _CharacterMap:
    """SentencePiece's precompiled map of characters: a Darts-clone double-array trie, and the texts it points to.

    A unit of the trie holds 32 bits: a label (bits 0–7), whether a value hangs below it (bit 8), and the distance to
    its children (bits 10–31, times 256 if bit 9 is set). A value's unit has bit 31 set and the value in the others.
    """

    def __init__(self, data: bytes) -> None:
        self._units: Tuple[int, ...] = ()
        self._texts = b""
        if not data:
            return
        size = struct.unpack_from("<I", data)[0] if len(data) >= 4 else 0
        if size == 0 or size % 4 or 4 + size > len(data) or len(data) > MAX_MAP_BYTES:
            raise ValueError("the SentencePiece model's character map is damaged")
        self._units = struct.unpack_from("<%dI" % (size // 4), data, 4)
        self._texts = data[4 + size :]

    def longest(self, text: str, at: int) -> Tuple[Optional[str], int, int]:
        """Look up the longest entry that text[at:] starts with; return its replacement, its length and a bound.

        The replacement is None where there is no entry. No character from `bound` places after `at` was looked at:
        whatever follows there, the answer is the same.
        """
        found, count = None, 0
        units = self._units
        if not units:
            return None, 0, 1
        node = _children(units[0])
        for end in range(at, len(text)):
            for byte in text[end].encode():
                node ^= byte
                if node >= len(units) or units[node] & 0x800000FF != byte:
                    return self._text(found), count, end - at + 1
                unit = units[node]
                node ^= _children(unit)
            if unit & 0x100:
                if node >= len(units):
                    raise ValueError("the SentencePiece model's character map is damaged")
                found, count = units[node] & 0x7FFFFFFF, end - at + 1
        return self._text(found), count, len(text) - at + 1

    def _text(self, start: Optional[int]) -> Optional[str]:
        if start is None:
            return None
        end = self._texts.find(b"\0", start, start + MAX_REPLACEMENT_BYTES)
        if end < 0:
            raise ValueError("the SentencePiece model's character map is damaged")
        return self._texts[start:end].decode("utf-8", "replace")


class WordPiece(Tokenizer):
    """BERT's tokenizer: words are found by rules, then cut from the left into the longest pieces of the vocabulary.

    Pieces that do not start a word are written with ``##``. A word that cannot be cut wholly is one unknown token.
    """

    def __init__(self, settings: Dict[str, Any], data: bytes) -> None:
        super().__init__(settings)
        self.vocabulary = _read_vocabulary(data)
        self._split = word_splitter("wordpiece", _flag(settings, "lower_case"), _form(settings))
        self._max_bytes = _whole(settings, "max_word_bytes", 1, MAX_WORD_BYTES, 100)
        self._index = {token: index for index, token in enumerate(self.vocabulary)}
        self._longest = max(len(token) for token in self.vocabulary)
        self._finish(len(self.vocabulary) + self.offset, _whole(settings, "unknown", 0, MAX_ID))

    def _ids(self, text: str) -> Iterator[int]:
        for word in self._split(text):
            pieces = self._pieces(word)
            if pieces is None:
                yield self.unknown
            else:
                for index in pieces:
                    yield index + self.offset

    def _pieces(self, word: str) -> Optional[List[int]]:
        if len(word.encode()) > self._max_bytes:
            return None
        pieces = []
        start = 0
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                index = self._index.get(("##" if start else "") + word[start:end])
                if index is not None:
                    break
            else:
                return None
            pieces.append(index)
            start = end
        return pieces


class Whitespace(Tokenizer):
    """Words between white space, looked up in a vocabulary."""

    def __init__(self, settings: Dict[str, Any], data: bytes) -> None:
        super().__init__(settings)
        self.vocabulary = _read_vocabulary(data)
        self._split = word_splitter("whitespace", _flag(settings, "lower_case"), _form(settings))
        self._index = {token: index + self.offset for index, token in enumerate(self.vocabulary)}
        self._finish(len(self.vocabulary) + self.offset, _whole(settings, "unknown", 0, MAX_ID))

    def _ids(self, text: str) -> Iterator[int]:
        for word in self._split(text):
            yield self._index.get(word, self.unknown)


KINDS: Dict[str, Callable[[Dict[str, Any], bytes], Tokenizer]] = {
    "sentencepiece": SentencePiece,
    "wordpiece": WordPiece,
    "whitespace": Whitespace,
}


def open_tokenizer(folder: Any) -> Tokenizer:
    """Read a tokenizer's folder (a path). Raises ValueError when something about it is wrong."""
    settings = read_settings(folder)
    kind = settings["kind"]
    try:
        return KINDS[kind](settings, read_file(folder, settings))
    except ValueError as error:
        raise ValueError("the tokenizer in %s: %s" % (folder, error)) from None


def read_settings(folder: Any) -> Dict[str, Any]:
    """Read ``tokenizer.json``; what every kind needs is there. Raises ValueError."""
    path = os.path.join(str(folder), "tokenizer.json")
    try:
        settings = json.loads(_read(path, MAX_SETTINGS_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError("%s is not a tokenizer's settings: %s" % (path, error)) from None
    if not isinstance(settings, dict):
        raise ValueError("%s is not a JSON object" % path)
    if settings.get("version") != VERSION:
        raise ValueError("%s has version %r; this program reads %d" % (path, settings.get("version"), VERSION))
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError("%s: kind %r is none of %s" % (path, kind, ", ".join(KINDS)))
    return settings


def read_file(folder: Any, settings: Dict[str, Any]) -> bytes:
    """Read the file that the settings name. Raises ValueError."""
    name = settings.get("file")
    if not isinstance(name, str) or not re.match(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", name):
        raise ValueError("tokenizer.json: file %r is not the plain name of a file beside it" % (name,))
    return _read(os.path.join(str(folder), name), MAX_FILE_BYTES)


def word_splitter(kind: str, lower_case: bool, normalize: Any = "") -> Callable[[str], Iterator[str]]:
    """Return the function that cuts a text into a vocabulary's words, as kind ``wordpiece`` or ``whitespace`` does."""

    def normalized(text: str) -> str:
        if kind == "whitespace" and normalize:
            text = unicodedata.normalize(normalize, text)
        if lower_case:
            text = fold_case(text)
            if kind == "wordpiece" and not _is_ascii(text):
                text = unicodedata.normalize("NFD", text)
                text = "".join(c for c in text if unicodedata.category(c) != "Mn")
        elif kind == "wordpiece" and normalize:
            text = unicodedata.normalize(normalize, text)
        return text

    def split(text: str) -> Iterator[str]:
        # Nothing composes, folds or reorders across these white spaces: what lies between them stands alone.
        for chunk in re.finditer("[^ \t\n\r\f]+", text):
            words = _bert_words if kind == "wordpiece" else _white_space_words
            for word in words(normalized(chunk.group())):
                yield word

    return split


def fold_case(text: str) -> str:
    """Return the text as Unicode's NFKC_Casefold makes it: compatible forms, no cases, nothing ignorable."""
    if _is_ascii(text):
        return text.lower()
    return unicodedata.normalize("NFC", "".join(map(_fold_character, text)))


def _fold_character(character: str) -> str:
    if _IGNORABLE.match(character):
        return ""
    before, folded = "", character
    while before != folded:
        before = folded
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).casefold())
        folded = _IGNORABLE.sub("", folded)
    return folded


# Default_Ignorable_Code_Point of the Unicode Character Database (DerivedCoreProperties.txt).
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

# White_Space of the Unicode Character Database (PropList.txt).
_WHITE_SPACE = re.compile("[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")

# Ideographs that BERT's tokenizer makes words of their own (google-research/bert, tokenization.py).
_IDEOGRAPH = re.compile(
    "[\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b820-\U0002ceaf"
    "\uf900-\ufaff\U0002f800-\U0002fa1f]"
)


def _white_space_words(text: str) -> Iterator[str]:
    for word in _WHITE_SPACE.split(text):
        if word:
            yield word


def _bert_words(text: str) -> Iterator[str]:
    """Cut at white space and control characters; punctuation and ideographs are words of their own."""
    start = 0
    for at, character in enumerate(text):
        kind = _bert_kind(character)
        if not kind:
            continue
        if at > start:
            yield text[start:at]
        if kind == "word":
            yield character
        start = at + 1
    if start < len(text):
        yield text[start:]


def _bert_kind(character: str) -> str:
    """Return ``word`` (stands alone), ``space`` (is dropped) or nothing (part of a word)."""
    if "a" <= character <= "z" or "0" <= character <= "9":
        return ""
    category = unicodedata.category(character)
    if character == " " or category in ("Cc", "Cf"):
        return "space"
    ascii_symbol = "!" <= character <= "~" and not character.isalnum()
    if ascii_symbol or category[0] == "P" or _IDEOGRAPH.match(character):
        return "word"
    return ""


def _is_ascii(text: str) -> bool:
    return text.isascii()


def _valid(text: str) -> str:
    """Return the text with halves of surrogate pairs, which are not Unicode, replaced byte by byte as decoders do."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text


def _single(value: float) -> float:
    """Round to a 32-bit float."""
    return array("f", [value])[0]


def _children(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)


def _read(path: str, limit: int) -> bytes:
    try:
        if not os.path.isfile(path):
            raise ValueError("%s is not there" % path)
        with open(path, "rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise ValueError("%s cannot be read: %s" % (path, error)) from None
    if len(data) > limit:
        raise ValueError("%s has more than %d bytes" % (path, limit))
    return data


def _read_vocabulary(data: bytes) -> List[str]:
    if data.count(b"\n") > MAX_LINES:
        raise ValueError("the vocabulary has more than %d lines" % MAX_LINES)
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError("the vocabulary is not UTF-8: %s" % error) from None
    if lines and not lines[-1]:
        lines.pop()
    lines = [line[:-1] if line.endswith("\r") else line for line in lines]
    seen = set()
    for number, line in enumerate(lines, 1):
        if not line or line in seen:
            raise ValueError("line %d of the vocabulary is empty or repeats another" % number)
        seen.add(line)
    if not lines:
        raise ValueError("the vocabulary is empty")
    return lines


def _whole(settings: Dict[str, Any], key: str, low: int, high: int, default: Optional[int] = None) -> int:
    value = settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError("tokenizer.json: %s is %r, not a whole number from %d to %d" % (key, value, low, high))
    return value


def _flag(settings: Dict[str, Any], key: str) -> bool:
    value = settings.get(key, False)
    if not isinstance(value, bool):
        raise ValueError("tokenizer.json: %s is %r, neither true nor false" % (key, value))
    return value


def _form(settings: Dict[str, Any]) -> str:
    value = settings.get("normalize", "")
    if not isinstance(value, str) or value not in ("",) + FORMS:
        raise ValueError("tokenizer.json: normalize is %r, not empty or one of %s" % (value, ", ".join(FORMS)))
    return value


Fields = Dict[int, List[Any]]


# A piece as nearly all are written, field 1 of less than 128 bytes and field 2; it is here for speed alone.
_PLAIN_PIECE = re.compile(b"\x0a[\x01-\x7f]([^\x00]{1,127})\x15(.{4})\\Z", re.DOTALL)


def _read_model(data: bytes) -> Tuple[List[Tuple[str, float, int]], Fields, Fields]:
    """Read a ModelProto: its pieces (text, score, type), the fields of its trainer_spec and its normalizer_spec."""
    unpack = struct.Struct("<f").unpack
    try:
        model = _fields(data)
        pieces = []
        for message in model.get(1, []):
            plain = _PLAIN_PIECE.match(message)
            if plain and message[1] == len(plain.group(1)):
                pieces.append((plain.group(1).decode("utf-8"), unpack(plain.group(2))[0], SentencePiece.NORMAL))
                continue
            fields = _fields(message)
            score = unpack(fields[2][-1])[0] if 2 in fields else 0.0
            pieces.append((_bytes(fields, 1).decode("utf-8"), score, _number(fields, 3, 1)))
        trainer, normalizer = _fields(_bytes(model, 2)), _fields(_bytes(model, 3))
    except (ValueError, TypeError, IndexError, struct.error) as error:
        raise ValueError("the SentencePiece model is damaged: %s" % error) from None
    if not pieces:
        raise ValueError("the SentencePiece model has no pieces")
    if not all(math.isfinite(score) for _, score, _ in pieces):
        raise ValueError("the SentencePiece model has scores that are no numbers")
    return pieces, trainer, normalizer


def _fields(data: bytes) -> Fields:
    """Read one protobuf message: its fields by number, each a list of integers or bytes."""
    fields: Fields = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        value: Any
        if wire == 0:
            value, at = _varint(data, at)
        elif wire in (1, 2, 5):
            size, at = _varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value = data[at : at + size]
            at += size
            if at > len(data):
                raise ValueError("it ends in the middle of a field")
        else:
            raise ValueError("it has a field of the unknown type %d" % wire)
        fields.setdefault(key >> 3, []).append(value)
    return fields


def _varint(data: bytes, at: int) -> Tuple[int, int]:
    value = data[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it has a number of more than ten bytes")


def _number(fields: Fields, number: int, default: int) -> int:
    value = fields.get(number, [default])[-1]
    if not isinstance(value, int):
        raise ValueError("field %d of the SentencePiece model is no whole number" % number)
    return value


def _bytes(fields: Fields, number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise ValueError("field %d of the SentencePiece model is no text" % number)
    return value


def _byte_of(piece: str) -> int:
    if not re.match(r"<0x[0-9A-F]{2}>\Z", piece):
        raise ValueError("the SentencePiece model has a byte piece that names no byte")
    return int(piece[3:5], 16)


def main(arguments: List[str]) -> int:
    """Print for each line of standard input its ids, the padding left out."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python tokenizer.py FOLDER < lines\n")
        return 2
    try:
        tokenizer = open_tokenizer(arguments[0])
    except ValueError as error:
        sys.stderr.write("%s\n" % error)
        return 2
    try:
        for line in sys.stdin.buffer:
            ids, count = tokenizer.encode(line.rstrip(b"\r\n").decode("utf-8", "replace"))
            sys.stdout.write(" ".join(map(str, ids[:count])) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough; Python would complain once more when it leaves
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
