"""Learns vocabularies from training texts, and writes tokenizer folders.

Nothing here needs TensorFlow: the device tokenizer's own rules split the texts, so the vocabulary has the words that
the device looks up.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from ...core.codec import write_json
from ...core.errors import InputError, explain_disk_errors
from ...core.tokenizer import VERSION, open_tokenizer, word_splitter

PAD, UNKNOWN = "[PAD]", "[UNK]"
RESERVED = (PAD, UNKNOWN)
GOLDEN = "golden.json"

# Words that occur once do not generalize to other texts.
MIN_COUNT = 2
# Longer words are unknown to the tokenizer anyway, and rarer ones hardly move the counts of pairs.
MAX_WORD_CHARACTERS = 100
MAX_WORDS = 200_000


def learn(
    texts: Sequence[str], *, size: int, tokenizer: Literal["wordpiece", "whitespace"], lower_case: bool = True
) -> list[str]:
    """Learn a vocabulary of at most `size` tokens; a token's id is its place. ``[PAD]`` is 0 and ``[UNK]`` is 1.

    The same texts in any order give the same vocabulary. ``whitespace``: the most frequent words, ties in
    the order of their characters. ``wordpiece``: single characters, and pieces made by joining the most frequent
    pair of neighbours repeatedly (Sennrich et al., https://arxiv.org/abs/1508.07909); pieces inside a word start
    with ``##``. Raises InputError when the texts hold no words, or when `size` leaves no room for any.
    """
    if size <= len(RESERVED):
        raise InputError(f"a vocabulary of {size} tokens holds no words", "ask for at least 32")
    split = word_splitter(tokenizer, lower_case, "NFKC" if tokenizer == "whitespace" else "")
    counts = Counter(word for text in texts for word in split(text))
    for word in RESERVED:
        counts.pop(word, None)
    if not counts:
        raise InputError("the training texts hold no words", "look at data.text_column and data.encoding")
    room = size - len(RESERVED)
    tokens = _frequent(counts, room) if tokenizer == "whitespace" else _pieces(counts, room)
    return [*RESERVED, *tokens]


@dataclass(frozen=True)
class TokenizerData:
    """A tokenizer to be written.

    `settings` are the keys that `core.tokenizer` describes, without ``version`` and ``file``. It has a `vocabulary`
    (None where an id has no token) or a SentencePiece `model`; with neither, all words are hashed.
    """

    settings: Mapping[str, Any]
    vocabulary: Sequence[str | None] | None = None
    model: bytes | None = None


def write_tokenizer(
    folder: Path,
    settings: Mapping[str, Any],
    vocabulary: Sequence[str | None] | None = None,
    model: bytes | None = None,
    more: Sequence[TokenizerData] = (),
) -> None:
    """Write ``tokenizer.json`` and the vocabulary or SentencePiece model that it names, and read them back.

    `more` are further tokenizers of the same model. Raises InputError when the tokenizer would not open, StageError
    when the disk refuses.
    """
    parts = [TokenizerData(settings, vocabulary, model), *more]
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        documents = [_write_part(folder, part, f"_{at}" if at > 1 else "") for at, part in enumerate(parts, 1)]
    first = {"version": VERSION, **documents[0]} | ({"more": documents[1:]} if more else {})
    write_json(folder / "tokenizer.json", first)
    try:
        tokenizer = open_tokenizer(folder)
    except ValueError as error:
        raise InputError(str(error)) from error
    for document, opened in zip([first, *documents[1:]], [tokenizer, *tokenizer.more], strict=True):
        if document["unknown"] is None:  # a SentencePiece model has its own
            document["unknown"] = opened.unknown
    write_json(folder / "tokenizer.json", first)


def _write_part(folder: Path, part: TokenizerData, ending: str) -> dict[str, Any]:
    """Write the file that one tokenizer reads; return its settings."""
    settings, words, name = part.settings, part.vocabulary, ""
    if part.model is not None:
        name = f"sentencepiece{ending}.model"
        (folder / name).write_bytes(part.model)
    elif words is not None and all(word and not {"\n", "\r"} & set(word) for word in words):
        name = f"vocab{ending}.txt"
        (folder / name).write_bytes("".join(f"{word}\n" for word in words).encode())
    elif words is not None:
        name = f"vocab{ending}.json"
        (folder / name).write_text(json.dumps(list(words), ensure_ascii=False, indent=0), encoding="utf-8")
    elif "hash" not in settings:
        raise ValueError("a tokenizer has either a vocabulary or a model")
    defaults: dict[str, Any] = {"pad": 0, "unknown": None, "start": None, "end": None}
    if settings["kind"] != "words":
        defaults["lower_case"] = False
    if settings["kind"] == "whitespace":
        defaults["normalize"] = "NFKC"
    return {**defaults, "offset": 0, **settings, **({"file": name} if name else {})}


def _frequent(counts: Mapping[str, int], room: int) -> list[str]:
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return [word for word in ranked if counts[word] >= MIN_COUNT][:room]


def _pieces(counts: Mapping[str, int], room: int) -> list[str]:
    """Return the alphabet, at most half of `room`, and then pieces in the order in which they were joined."""
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    ranked = [word for word in ranked if len(word) <= MAX_WORD_CHARACTERS][:MAX_WORDS]
    letters: Counter[str] = Counter()
    for word in ranked:
        for piece in _letters(word):
            letters[piece] += counts[word]
    alphabet = sorted(letters, key=lambda piece: (-letters[piece], piece))[: max(1, room // 2)]
    pieces_known = set(alphabet)
    words = [pieces for word in ranked if pieces_known.issuperset(pieces := _letters(word))]
    weights = [counts[word] for word in ranked if pieces_known.issuperset(_letters(word))]
    return alphabet + _joined(words, weights, room - len(alphabet), pieces_known)


def _letters(word: str) -> list[str]:
    return [word[0], *("##" + letter for letter in word[1:])]


def _joined(words: list[list[str]], weights: list[int], room: int, pieces_known: set[str]) -> list[str]:
    """Return up to `room` new pieces. `words` are lists of pieces that occur `weights` times, and are joined in place.

    The counts of pairs are updated incrementally: joining a pair visits only the words that contain it. The heap may
    hold outdated counts; they are detected when popped, as the true counts are stored separately.
    """
    counts: Counter[tuple[str, str]] = Counter()
    holders: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for index, word in enumerate(words):
        for pair in pairwise(word):
            counts[pair] += weights[index]
            holders[pair].add(index)
    heap = [(-count, pair) for pair, count in counts.items() if count >= MIN_COUNT]
    heapq.heapify(heap)
    pieces: list[str] = []
    while heap and len(pieces) < room:
        negative, pair = heapq.heappop(heap)
        if counts[pair] != -negative:
            continue
        new = pair[0] + pair[1].removeprefix("##")
        if new not in pieces_known:  # two ways to the same piece: the second needs no entry of its own
            pieces_known.add(new)
            pieces.append(new)
        changed = set()
        for index in holders.pop(pair):
            word, weight = words[index], weights[index]
            joined = _join(word, pair, new)
            for old in pairwise(word):
                counts[old] -= weight
                changed.add(old)
            for fresh in pairwise(joined):
                counts[fresh] += weight
                holders[fresh].add(index)
                changed.add(fresh)
            words[index] = joined
        for touched in changed:
            if counts[touched] >= MIN_COUNT:
                heapq.heappush(heap, (-counts[touched], touched))
            else:
                del counts[touched]
    return pieces


def _join(word: list[str], pair: tuple[str, str], new: str) -> list[str]:
    joined, at = [], 0
    while at < len(word):
        if at + 1 < len(word) and (word[at], word[at + 1]) == pair:
            joined.append(new)
            at += 2
        else:
            joined.append(word[at])
            at += 1
    return joined
