"""The interface of text backbones: a function from texts to features, and optionally a cut at its token ids.

Every backbone that can be cut has two paths: texts → (original tokenizer) → ids → features, which is the reference,
and ids → features, which is exported. They share their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.progress import Listener

IDS, LENGTHS = "ids", "lens"


@dataclass(frozen=True)
class IdsInput:
    """An input of token ids: `name` (1, length) int32 and, unless its name is empty, `lengths` (1,) int32."""

    length: int
    name: str = IDS
    lengths: str = LENGTHS

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its tensors."""
        return (self.name, self.lengths) if self.lengths else (self.name,)


@dataclass(frozen=True)
class Cut:
    """The part of a backbone behind its token ids.

    `tokenizer` is the folder of the device tokenizer. `inputs` are what a file takes, nearly always one. `tokenize`
    maps texts (n,) string to the tensors of all inputs in order, ids (n, length or less) int32, padded behind, and
    lengths (n,) int32, with the tokenizer of the reference. `embed(tensors, training)` gives features (n, width).
    `singly`: it takes one text at a time. `string_part(folder, why)` writes the encoder's own operators as a tokenizer
    that needs TensorFlow, used when no other gives its ids, and returns its description.
    """

    tokenizer: Path
    inputs: tuple[IdsInput, ...]
    tokenize: Callable[[Any], tuple[Any, ...]]
    embed: Callable[[Sequence[Any], bool], Any]
    singly: bool = False
    string_part: Callable[[Path, str], dict[str, Any]] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all inputs of a file, in order."""
        return tuple(name for part in self.inputs for name in part.names)


@dataclass(frozen=True)
class TextBase:
    """A text backbone without a head.

    `embed(texts, training)` maps texts (n,) string to features (n, width) float32: it is trained, and is the reference
    if there is no cut. `keep` must be saved with it (weights, tables, tokenizer models). `learned` are the variables
    that fine-tuning changes, `losses` their regularization. Without a `cut`, `note` says why there is none. `recut`
    repeats the cut with the current weights, if the cut holds earlier ones as constants. `from_scratch`: its weights
    are random, so that it is always trained as a whole.
    """

    features: int
    embed: Callable[[Any, bool], Any]
    keep: Sequence[Any]
    learned: Sequence[Any] = ()
    losses: Callable[[], Sequence[Any]] = tuple
    cut: Cut | None = None
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    recut: Callable[[], Cut] | None = None
    from_scratch: bool = False


@dataclass(frozen=True)
class TextRequest:
    """What a text backbone is built for: the training `texts`; `samples(n)` returns about n of them, spread evenly.

    Relative handles start at `folder`; a tokenizer may be written to `scratch`.
    """

    folder: Path
    scratch: Path
    seed: int
    texts: Callable[[], Sequence[str]]
    samples: Callable[[int], Sequence[str]]
    listener: Listener
