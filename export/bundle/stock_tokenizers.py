"""The tokenizers inside stock text classifiers, and our vocabularies in the form that they read.

MediaPipe Tasks and the Task Library have three: BERT's WordPiece, SentencePiece behind it, and words between matches
of a regular expression. Each resembles one of ours without being equal. Their rules are repeated here so that the
differences can be counted without them; the tests compare these with the real ones.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.tokenizer import Tokenizer, WordPiece, read_file, read_settings, word_splitter
from .input_adapter import PADDING

VOCABULARY, PIECES = "vocab.txt", "sentencepiece.model"
UNKNOWN, CLASSIFY, SEPARATE = "[UNK]", "[CLS]", "[SEP]"
MAX_WORD_BYTES = 100  # mediapipe/tasks/cc/text/tokenizers/bert_tokenizer.h: kDefaultMaxBytesPerToken
MAX_SPARE = 4096  # lines of a vocabulary without a token

# White_Space of the Unicode Character Database, as `core.tokenizer` cuts words, in RE2's syntax.
WHITE_SPACE = r"[\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]+"

# The same in Python's syntax, and what bert_tokenizer.h takes for ideographs.
_WHITE_SPACE = re.compile("[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_RE2_SPACE = "\t\n\f\r "
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_WIDE = {code: code - ord("A") + 0xFF21 for code in _LOWER}


@dataclass(frozen=True)
class Stock:
    """A stock tokenizer that reads our vocabulary.

    `kind` is ``bert``, ``sentencepiece`` or ``regex``, `files` are its files, by name. `tokens` returns its ids for a
    text, in the model's numbering. `prepare` rewrites a text so that both tokenizers read it alike as far as possible;
    None where nothing helps. `says` names the differences. `offset` is what the model still has to add to the ids.
    """

    kind: str
    files: dict[str, bytes]
    tokens: Callable[[str], list[int]]
    prepare: Callable[[str], str] | None
    says: tuple[str, ...]
    offset: int = 0


def stock_tokenizer(folder: Path, tokenizer: Tokenizer) -> Stock:
    """Return the stock tokenizer that comes closest to `tokenizer`, which was opened from `folder`.

    Raises InputError when none of the stock ones can read its vocabulary.
    """
    try:
        settings = read_settings(folder)
        if settings["kind"] in ("words", "tensorflow") or settings.get("steps") or settings.get("more"):
            raise InputError(
                "stock text classifiers have no tokenizer that makes this model's token ids: "
                + (
                    "its own operators do, in TensorFlow"
                    if settings["kind"] == "tensorflow"
                    else "it changes, hashes or joins words differently"
                ),
                "make the ids in the app, as tokenizer.py does, and give them to the plain file",
            )
        data = read_file(folder, settings)
    except ValueError as error:
        raise InputError(str(error)) from error
    if settings["kind"] == "sentencepiece":
        return _sentencepiece(tokenizer, data)
    return (_bert if settings["kind"] == "wordpiece" else _regex)(tokenizer, settings, data)


def _bert(tokenizer: Tokenizer, settings: dict[str, Any], data: bytes) -> Stock:
    lower_case = bool(settings.get("lower_case", False))
    split = word_splitter("wordpiece", lower_case, settings.get("normalize", ""))
    says: tuple[str, ...]
    if lower_case:
        says = (
            "BertTokenizer lower-cases A–Z and nothing else: accents stay on their letters, compatible forms (ﬁ, ², "
            "full-width letters) stay what they are, and non-breaking spaces and control characters do not end a word. "
            "A word that has one of these is unknown to it. So prepare texts in the app: NFKC, lower case, NFD with "
            "the combining marks left out, control characters turned into spaces",
        )
    else:
        says = (
            "BertTokenizer lower-cases A–Z, and this vocabulary is case-sensitive: a word with a capital gets other "
            "tokens than the model was trained on",
        )
    if settings.get("max_word_bytes", MAX_WORD_BYTES) != MAX_WORD_BYTES:
        says += (f"words of more than {MAX_WORD_BYTES} bytes are unknown to it",)
    return Stock(
        "bert",
        {VOCABULARY: bert_vocabulary(tokenizer)},
        _BertTokenizer(settings, data).tokens,
        (lambda text: " ".join(split(text))) if lower_case else None,
        says,
    )


def bert_vocabulary(tokenizer: Tokenizer) -> bytes:
    """Return a vocabulary for BertTokenizer, one token per line: line n is the model's id n.

    It looks up the unknown token and the two markers by name, so these are on the lines of the model's ids. Unused
    lines are filled with names that no word can have.
    """
    unknown = tokenizer.unknown
    lines = [*[""] * tokenizer.offset, *tokenizer.vocabulary] if tokenizer.offset <= MAX_SPARE else []
    if not lines or unknown >= len(lines) + MAX_SPARE:
        raise InputError("its vocabulary leaves out more ids than a list of tokens can represent")
    lines += [""] * (unknown + 1 - len(lines))
    # Brackets are words of their own: no text gives these names. A line's last \r would be taken for its end.
    lines = ["" if line in (UNKNOWN, CLASSIFY, SEPARATE) or line.endswith("\r") else line for line in lines]
    named = {tokenizer.start: CLASSIFY, tokenizer.end: SEPARATE, unknown: UNKNOWN}
    for number, name in named.items():
        if number is not None and number < len(lines):
            lines[number] = name
    used = set(lines)
    for number, line in enumerate(lines):
        if not line:
            name = f"[unused{number}]"
            while name in used:
                name += "]"
            lines[number] = name
    return "".join(f"{line}\n" for line in lines).encode()


class _BertTokenizer(WordPiece):
    """BertTokenizer of MediaPipe and of the Task Library with our vocabulary."""

    def __init__(self, settings: dict[str, Any], data: bytes) -> None:
        super().__init__(settings, data)
        self._max_bytes = MAX_WORD_BYTES
        self._split = _bert_words


def _bert_words(text: str) -> Iterator[str]:
    """Split a text as the regular expressions of bert_tokenizer.h do, after its callers' normalization."""
    text = _as_c_string(text).translate(_LOWER)
    start = 0
    for at, character in enumerate(text):
        space, alone = character in _RE2_SPACE, _stands_alone(character)
        if not space and not alone:
            continue
        if at > start:
            yield text[start:at]
        if alone:
            yield character
        start = at + 1
    if start < len(text):
        yield text[start:]


def _stands_alone(character: str) -> bool:
    if "!" <= character <= "~":
        return not character.isalnum()
    code = ord(character)
    return unicodedata.category(character)[0] == "P" or any(low <= code <= high for low, high in _IDEOGRAPHS)


def _regex(tokenizer: Tokenizer, settings: dict[str, Any], _: bytes) -> Stock:
    lower_case, normalize = bool(settings.get("lower_case", False)), settings.get("normalize", "")
    table = surface_forms(tokenizer, lower_case)
    split = word_splitter("whitespace", lower_case, normalize)
    says: tuple[str, ...] = ()
    if lower_case:
        says += (
            "RegexTokenizer looks words up as they stand: the vocabulary in the file has each in lower case, in "
            "capitals and capitalized, and other mixtures (iPhone) are unknown to it",
        )
    if normalize or lower_case:
        says += (
            "it does not normalize: words with compatible forms (ﬁ, full-width letters) or combining marks are unknown "
            "to it. So prepare texts in the app: NFKC" + (", lower case" if lower_case else ""),
        )
    lines = [f"<PAD> {PADDING}", f"<UNKNOWN> {tokenizer.unknown}", *(f"{word} {id_}" for word, id_ in table.items())]

    def tokens(text: str) -> list[int]:
        words = (word for word in _WHITE_SPACE.split(_as_c_string(text)) if word)
        return [table.get(word, tokenizer.unknown) for word in words]

    return Stock(
        "regex",
        {VOCABULARY: "".join(f"{line}\n" for line in lines).encode()},
        tokens,
        (lambda text: " ".join(split(text))) if says else None,
        says,
    )


def surface_forms(tokenizer: Tokenizer, lower_case: bool) -> dict[str, int]:
    """Return words as they occur in texts, with the ids that a whitespace tokenizer gives them.

    All words of the vocabulary; where case is folded, also upper-case and capitalized. Left out are words that no text
    can contain, such as those with white space, and three names with a special meaning for RegexTokenizer.
    """
    table: dict[str, int] = {}
    for token in tokenizer.vocabulary:
        for word in dict.fromkeys(
            (token, token.upper(), token.capitalize(), token.title()) if lower_case else (token,)
        ):
            ids = tokenizer.tokens(word)
            if len(ids) == 1 and ids[0] != tokenizer.unknown and not _WHITE_SPACE.search(word) and "\0" not in word:
                table[word] = ids[0]
    for name in ("<PAD>", "<START>", "<UNKNOWN>"):
        table.pop(name, None)
    return table


def _sentencepiece(tokenizer: Tokenizer, data: bytes) -> Stock:
    says = "A–Z are lower-cased before SentencePiece sees a text, and what has capitals gets other tokens"
    prepare = None
    if all(tokenizer.tokens(f"a{wide}a") == tokenizer.tokens(f"a{plain}a") for plain, wide in _pairs()):
        says += (
            ". So write them as full-width letters in the app (U+FF21 for A, to U+FF3A): these are left alone, and "
            "the model's own normalization turns them back"
        )
        prepare = _widened
    return Stock(
        "sentencepiece",
        {PIECES: data},
        lambda text: tokenizer.tokens(_as_c_string(text).translate(_LOWER)),
        prepare,
        (
            says,
            "where two cuts of a text are equally good (one character over and over), it may take the other one",
        ),
        tokenizer.offset,
    )


def _pairs() -> Iterator[tuple[str, str]]:
    for code, wide in _WIDE.items():
        yield chr(code), chr(wide)


def _widened(text: str) -> str:
    return text.translate(_WIDE)


def _as_c_string(text: str) -> str:
    return text.split("\0", 1)[0]
