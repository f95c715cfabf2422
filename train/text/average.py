"""scratch:average-embedding: a vocabulary learnt from the training texts, and the mean of the tokens' embeddings.

The smallest text model: a bag of words in a few hundred kilobytes that answers in microseconds. All of it is trained,
from random weights, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import InputError
from ...core.recipe import ModelSpec
from ...core.sanitize import shorten
from ...frameworks.tensorflow import load
from ..families import did_you_mean
from ..hub.module import check_text_installed
from ..source import check_keys, name_of
from .base import Cut, IdsInput, TextBase, TextRequest
from .tokenizer_parity import reference_tokenizer
from .vocabulary import learn, write_tokenizer

NAME = "average-embedding"
_KEYS = frozenset({"name", "backbone", "max_tokens", "tokenizer", "vocabulary", "embedding"})
LOWER_CASE = True
PAD, UNKNOWN = 0, 1
SPREAD = 0.05  # uniform in ±0.05, as Keras' Embedding starts


class AverageEmbedding:
    """A source of backbones: see `source.BackboneSource`."""

    packages = ("tensorflow-hub", "tensorflow-text")

    def check(self, spec: ModelSpec, folder: Path) -> None:
        """Check the name, keys and the extra ``text``."""
        if name_of(spec) != NAME:
            raise InputError(
                f"there is no text backbone {shorten(spec.backbone)!r}",
                did_you_mean(spec.backbone, (f"scratch:{NAME}",)),
            )
        if spec.trainable:
            raise InputError(f"model {spec.name!r}: {spec.backbone} is always trained as a whole", "remove trainable")
        check_keys(spec, _KEYS)
        check_text_installed()

    def identity(self, spec: ModelSpec, folder: Path) -> dict[str, Any]:
        """The recipe's settings: everything else follows from the texts."""
        return {key: getattr(spec, key) for key in sorted(_KEYS - {"name"})}

    def build(self, spec: ModelSpec, request: TextRequest) -> TextBase:
        """Learn the vocabulary from the texts, write the tokenizer, and return the untrained network."""
        return _build(spec, request.texts(), seed=request.seed, scratch=request.scratch)


def _build(spec: ModelSpec, texts: Sequence[str], *, seed: int, scratch: Path) -> TextBase:
    tf, _ = load()
    folder = scratch / "tokenizer"
    vocabulary = learn(texts, size=spec.vocabulary, tokenizer=spec.tokenizer, lower_case=LOWER_CASE)
    settings = {
        "kind": spec.tokenizer,
        "length": spec.max_tokens,
        "pad": PAD,
        "unknown": UNKNOWN,
        "start": None,
        "end": None,
        "lower_case": LOWER_CASE,
    }
    write_tokenizer(folder, settings, vocabulary)
    tokenizer = reference_tokenizer(folder)
    start = np.random.default_rng((seed, 31)).uniform(-SPREAD, SPREAD, (len(vocabulary), spec.embedding))
    table = tf.Variable(start.astype(np.float32), name="embedding")

    def from_texts(texts: Any, training: bool) -> Any:
        ids, lens = tokenizer(texts)
        return mean(table, ids, lens, spec.max_tokens)

    def from_ids(tensors: Sequence[Any], training: bool) -> Any:
        ids, lens = tensors
        return mean(table, ids, lens, spec.max_tokens)

    cut = Cut(folder, (IdsInput(spec.max_tokens),), tokenizer, from_ids)
    return TextBase(
        features=spec.embedding,
        embed=from_texts,
        keep=[tokenizer, table],
        learned=[table],
        cut=cut,
        facts={"vocabulary": len(vocabulary), "tokenizer": spec.tokenizer},
        from_scratch=True,
    )


def mean(table: Any, ids: Any, lens: Any, length: int) -> Any:
    """Return the mean of the embeddings of the first `lens` (n,) of `ids` (n, ≤ length).

    Written for integer schemes: the mask is looked up by the length, as 16-bit kernels have no comparison; and the sum
    is divided by the root of n twice, as 1/n in eight bits loses too much precision for a long text.
    """
    tf, _ = load()
    count = np.arange(length + 1)
    counts = tf.constant(np.arange(length)[None, :] < count[:, None], tf.float32)
    weights = tf.gather(counts, lens)
    if ids.shape[1] != length:  # a batch of shorter texts
        weights = weights[:, : tf.shape(ids)[1]]
    roots = tf.constant(1 / np.sqrt(np.maximum(count, 1))[:, None], tf.float32)
    root = tf.gather(roots, lens)
    summed = tf.reshape(tf.matmul((weights * root)[:, None, :], tf.gather(table, ids)), [-1, table.shape[1]])
    return summed * root
