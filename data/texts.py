"""The pass over texts: read every one once, write ``.jsonl`` files, note what is peculiar to texts."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.codec import sha256_file
from ..core.dataset import SPLITS, write_texts
from ..core.progress import Listener
from .arrays import write_targets
from .check import NOTABLE, Check
from .decode_text import DecodedText, decode_text
from .listing import TEST, TRAIN, VALIDATION, Indices, Remark, UnreadableError, count
from .splits import Assignment

# Characters below which a text says little.
SHORT = 10
# Texts between two calls of the listener.
STEP = 256


class TextTraits:
    """Lengths and encodings. `encoding` is what the texts are read in."""

    once = True

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._characters, self._words = array("q"), array("q")
        self._controls = self._replaced = self._mojibake = 0
        self._causes = Counter[str]()
        self._exact = set[bytes]()

    def take(self, sample: DecodedText) -> None:
        """Note a text."""
        self._exact.add(sample.exact)
        self._characters.append(sample.characters)
        self._words.append(sample.words)
        self._controls += sample.controls
        self._replaced += sample.replaced
        self._mojibake += sample.mojibake

    def bad(self, error: UnreadableError) -> None:
        """Count the causes."""
        self._causes[error.cause] += 1

    def report(self) -> dict[str, Any]:
        """Return lengths in characters and words, and counts of texts with a peculiarity.

        `identical` is how many of the copies are so to the letter.
        """
        characters, words = np.asarray(self._characters), np.asarray(self._words)
        return {
            "encoding": self._encoding,
            "not_in_encoding": self._causes["encoding"],
            "empty": self._causes["empty"],
            "too_long": self._causes["large"],
            "compared": "Unicode normal form C, every run of white space as one space",
            "identical": len(characters) - len(self._exact),
            "characters": {**_spread(characters), f"shorter_than_{SHORT}": int(np.sum(characters < SHORT))},
            "words": {**_spread(words), "total": int(np.sum(words))},
            "control_characters": self._controls,
            "replacement_characters": self._replaced,
            "mojibake": self._mojibake,
        }

    def warnings(self) -> list[Remark]:
        """Warn of what looks wrongly encoded, and of texts too short to say much."""
        found = []
        seen = len(self._characters)
        wrong = self._causes["encoding"]
        if wrong:
            found.append(
                Remark(
                    f"{count(wrong, 'text')} of {seen + sum(self._causes.values()):,} "
                    f"{'is' if wrong == 1 else 'are'} not {self._encoding} text, the others are: mixed encodings?",
                    'set data.encoding if most texts are in another ("cp1252", "latin-1", …), or convert these',
                )
            )
        if self._replaced:
            found.append(
                Remark(
                    f"{count(self._replaced, 'text')} with replacement characters (U+FFFD): letters were lost before",
                    "export the texts anew, in utf-8",
                )
            )
        if self._mojibake:
            found.append(
                Remark(
                    f"{count(self._mojibake, 'text')} with pairs such as 'Ã©' or 'â€': UTF-8 that was read in another "
                    "encoding",
                    'set data.encoding = "utf-8"; if it is, the file was spoilt before: export it anew',
                )
            )
        if self._controls:
            found.append(
                Remark(
                    f"{count(self._controls, 'text')} with control characters",
                    f"take them out; if they stand where letters should, the texts are not in {self._encoding}",
                )
            )
        short = int(np.sum(np.asarray(self._characters) < SHORT))
        if short > NOTABLE * seen:
            found.append(
                Remark(
                    f"{count(short, 'text')} of {seen:,} shorter than {SHORT} characters",
                    "check that data.text_column is the right one",
                )
            )
        return found


def _spread(lengths: NDArray[np.int64]) -> dict[str, int]:
    if not len(lengths):
        return {}
    ordered = np.sort(lengths)
    places = {"smallest": 0, "median": len(ordered) // 2, "p95": int(0.95 * (len(ordered) - 1)), "largest": -1}
    return {name: int(ordered[place]) for name, place in places.items()}


def text_pass(
    check: Check[DecodedText],
    plan: Assignment,
    *,
    encoding: str,
    max_characters: int,
    workspace: Path,
    listener: Listener,
    enough: Callable[[], None],
) -> dict[str, str]:
    """Read and write every planned text once, telling `check`. Returns the hash of each file.

    `enough` is called after each text that cannot be read and may raise.
    """
    listing = check.listing
    total = sum(map(len, plan.splits))
    done = 0

    def kept_texts(split: int, indices: Indices, kept: list[int]) -> Iterator[str]:
        nonlocal done
        for index, payload in zip(indices.tolist(), listing.stream(indices), strict=True):
            try:
                text = decode_text(payload, encoding=encoding, max_characters=max_characters)
            except UnreadableError as error:
                check.bad(index, error)
                enough()
            else:
                if check.take(index, split, text):
                    kept.append(index)
                    yield text.text
            done += 1
            if done % STEP == 0 or done == total:
                listener.progress("data", done, total)

    digests = {}
    for split in (TEST, VALIDATION, TRAIN):
        name, indices = SPLITS[split], plan.splits[split]
        kept: list[int] = []
        path = workspace / f"{name}.jsonl"
        write_texts(kept_texts(split, indices, kept), path)
        digests[name] = sha256_file(path)
        digests[f"{name}-labels"] = write_targets(listing, kept, workspace / f"{name}-labels.npy")
    return digests
