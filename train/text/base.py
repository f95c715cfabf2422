"""What a text backbone is to the rest of training: a function from texts to features, and perhaps a cut at its ids.

Two paths lead through every backbone that can be cut: texts → (original tokenizer) → ids → features, which is the
reference, and ids → features, which ships. They share the weights, so what one learns the other knows.
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
    """Token ids as a file takes them: `name` (1, length) int32 and, if there is a name for it, `lengths` (1,) int32."""

    length: int
    name: str = IDS
    lengths: str = LENGTHS

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its tensors."""
        return (self.name, self.lengths) if self.lengths else (self.name,)


@dataclass(frozen=True)
class Cut:
    """A backbone from its token ids on.

    `tokenizer` is the folder of the device tokenizer. `inputs` are what a file takes, nearly always one. `tokenize`
    maps texts (n,) string to the tensors of all inputs in order, ids (n, length or less) int32, padded behind, and
    lengths (n,) int32, with the tokenizer of the reference. `embed(tensors, training)` gives features (n, width).
    `singly`: it takes one text at a time. `string_part(folder, why)` writes the encoder's own operators as a tokenizer
    that needs TensorFlow, for where no other gives its ids, and returns what that is.
    """

    tokenizer: Path
    inputs: tuple[IdsInput, ...]
    tokenize: Callable[[Any], tuple[Any, ...]]
    embed: Callable[[Sequence[Any], bool], Any]
    singly: bool = False
    string_part: Callable[[Path, str], dict[str, Any]] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tensors that a file takes, in order."""
        return tuple(name for part in self.inputs for name in part.names)


@dataclass(frozen=True)
class TextBase:
    """A text backbone without a head.

    `embed(texts, training)` maps texts (n,) string to features (n, width) float32: what learns, and the reference where
    there is no cut. `keep` is what must be saved with it (weights, tables, models of tokenizers). `learned` are the
    variables that fine-tuning changes, `losses` their regularization. Without a `cut`, `note` says why there is none.
    `recut` makes the cut anew, with the weights as they are now, where it holds those of an earlier time.
    `from_scratch`: its start is random, so that it always learns as a whole.
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
    """What a text backbone is built for: the training `texts`, of which `samples` gives about so many from all over.

    `folder` is where relative handles are meant from, `scratch` where a tokenizer may be written.
    """

    folder: Path
    scratch: Path
    seed: int
    texts: Callable[[], Sequence[str]]
    samples: Callable[[int], Sequence[str]]
    listener: Listener
