"""The pass over texts: reads each once, writes ``.jsonl`` files and collects text statistics."""

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
from ..core.sample_files import UnreadableError
from .arrays import write_targets
from .check import NOTABLE, Check
from .decode_text import DecodedText, decode_text
from .listing import TEST, TRAIN, VALIDATION, Indices, Remark, count
from .splits import Assignment

# Number of characters below which a text counts as short.
SHORT = 10
# Texts between two progress events.
STEP = 256


class TextTraits:
    """Statistics of lengths and encodings. `encoding` is the one that the texts are decoded with."""

    once = True

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._characters, self._words = array("q"), array("q")
        self._controls = self._replaced = self._mojibake = 0
        self._causes = Counter[str]()
        self._exact = set[bytes]()

    def add(self, sample: DecodedText) -> None:
        """Count a text."""
        self._exact.add(sample.exact)
        self._characters.append(sample.characters)
        self._words.append(sample.words)
        self._controls += sample.controls
        self._replaced += sample.replaced
        self._mojibake += sample.mojibake

    def add_unreadable(self, error: UnreadableError) -> None:
        """Count the cause."""
        self._causes[error.cause] += 1

    def report(self) -> dict[str, Any]:
        """Return lengths in characters and words, and counts of texts with encoding problems.

        `identical` is the number of copies that are equal character by character.
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
        """Warn of texts that seem to be wrongly encoded, and of short ones."""
        remarks = []
        seen = len(self._characters)
        wrong = self._causes["encoding"]
        if wrong:
            remarks.append(
                Remark(
                    f"{count(wrong, 'text')} of {seen + sum(self._causes.values()):,} "
                    f"{'is' if wrong == 1 else 'are'} not {self._encoding} text, the others are: mixed encodings?",
                    'set data.encoding if most texts are in another one ("cp1252", "latin-1", …), or convert these',
                )
            )
        if self._replaced:
            remarks.append(
                Remark(
                    f"{count(self._replaced, 'text')} with replacement characters (U+FFFD): the file was already "
                    "damaged",
                    "export the texts again, in utf-8",
                )
            )
        if self._mojibake:
            remarks.append(
                Remark(
                    f"{count(self._mojibake, 'text')} with pairs such as 'Ã©' or 'â€': UTF-8 that was decoded in "
                    "another encoding",
                    'set data.encoding = "utf-8"; if it is, the file was already damaged: export it again',
                )
            )
        if self._controls:
            remarks.append(
                Remark(
                    f"{count(self._controls, 'text')} with control characters",
                    f"remove them; if they stand in place of letters, the texts are not in {self._encoding}",
                )
            )
        short = int(np.sum(np.asarray(self._characters) < SHORT))
        if short > NOTABLE * seen:
            remarks.append(
                Remark(
                    f"{count(short, 'text')} of {seen:,} shorter than {SHORT} characters",
                    "check that data.text_column is the right one",
                )
            )
        return remarks


def _spread(lengths: NDArray[np.int64]) -> dict[str, int]:
    if not len(lengths):
        return {}
    ordered = np.sort(lengths)
    positions = {"smallest": 0, "median": len(ordered) // 2, "p95": int(0.95 * (len(ordered) - 1)), "largest": -1}
    return {name: int(ordered[position]) for name, position in positions.items()}


def text_pass(
    check: Check[DecodedText],
    plan: Assignment,
    *,
    encoding: str,
    max_characters: int,
    workspace: Path,
    listener: Listener,
    check_stop: Callable[[], None],
) -> dict[str, str]:
    """Read and write every planned text once, and add it to `check`. Returns the SHA-256 of each file.

    `check_stop` is called after each unreadable text and may raise.
    """
    listing = check.listing
    total = sum(map(len, plan.splits))
    done = 0

    def accepted_texts(split: int, indices: Indices, written: list[int]) -> Iterator[str]:
        nonlocal done
        for index, payload in zip(indices.tolist(), listing.stream(indices), strict=True):
            try:
                text = decode_text(payload, encoding=encoding, max_characters=max_characters)
            except UnreadableError as error:
                check.add_unreadable(index, error)
                check_stop()
            else:
                if check.add(index, split, text):
                    written.append(index)
                    yield text.text
            done += 1
            if done % STEP == 0 or done == total:
                listener.progress("data", done, total)

    digests = {}
    for split in (TEST, VALIDATION, TRAIN):
        name, indices = SPLITS[split], plan.splits[split]
        written: list[int] = []
        path = workspace / f"{name}.jsonl"
        write_texts(accepted_texts(split, indices, written), path)
        digests[name] = sha256_file(path)
        digests[f"{name}-labels"] = write_targets(listing, written, workspace / f"{name}-labels.npy")
    return digests
