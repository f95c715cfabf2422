"""What a text backbone is to the rest of training: a function from texts to features, and perhaps a cut at its ids.

Two paths lead through every backbone that can be cut: texts → (original tokenizer) → ids → features, which is the
reference, and ids → features, which ships. They share the weights, so what one learns the other knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cut:
    """A backbone from its token ids on.

    `tokenizer` is the folder of the device tokenizer. `tokenize` maps texts (n,) string to ids (n, length or less)
    int32, padded behind, and lengths (n,) int32, with the tokenizer of the reference. `embed(ids, lens, training)`
    gives features (n, width) float32.
    """

    tokenizer: Path
    length: int
    tokenize: Callable[[Any], tuple[Any, Any]]
    embed: Callable[[Any, Any, bool], Any]


@dataclass(frozen=True)
class TextBase:
    """A text backbone without a head.

    `embed(texts, training)` maps texts (n,) string to features (n, width) float32: the reference. `keep` is what must
    be saved with it (weights, tables, models of tokenizers). `learned` are the variables that fine-tuning changes,
    `losses` their regularization. Without a `cut`, `note` says why there is none.
    """

    features: int
    embed: Callable[[Any, bool], Any]
    keep: Sequence[Any]
    learned: Sequence[Any] = ()
    losses: Callable[[], Sequence[Any]] = tuple
    cut: Cut | None = None
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
