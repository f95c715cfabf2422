"""Tries to say with the device's tokenizer what a Hub model does inside: believed only where real texts prove it.

A preprocessor's vocabulary is found among its SavedModel's assets, or a SentencePiece model in its graph; settings are
tried until its ids come out. An encoder of strings that is a vocabulary, one table of embeddings and a pooling (as
Hub's swivel and some NNLM models are) is rebuilt from those three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError
from ...core.tokenizer import open_tokenizer
from ..frameworks import load
from .average import POOLINGS, pooled
from .base import Cut
from .parity import reference_tokenizer
from .vocabulary import write_tokenizer

ENOUGH = 0.9  # of the sample texts; the whole test split is compared later, and reported
CLOSE = 1e-4  # of the largest feature
UNKNOWN_TOKENS = ("[UNK]", "<unk>", "[unk]", "<UNK>")
VOCABULARY_BYTES = 64 << 20


class TokenizerNotFound(Exception):  # noqa: N818 - a finding, which its catcher turns into a note
    """No setting of the device's tokenizer gives the ids that were asked for; the message says why."""


@dataclass(frozen=True)
class Rebuilt:
    """A string encoder's network from its ids on, and what must be kept for its tokenizer."""

    cut: Cut
    keep: Any
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Source:
    """A vocabulary (words, a line each) or a SentencePiece model found in a SavedModel."""

    name: str
    words: tuple[str, ...] = ()
    model: bytes = b""


def find_tokenizer(
    path: Path, texts: Sequence[str], ids: NDArray[Any], lens: NDArray[Any], folder: Path
) -> dict[str, Any]:
    """Write to `folder` the tokenizer that turns `texts` into `ids` (n, length) and `lens` (n,); return what it is.

    `path` is the preprocessor's SavedModel. Start, end and padding are read off the ids. Raises TokenizerNotFound.
    """
    length = int(ids.shape[1])
    first, last = set(ids[:, 0].tolist()), {int(row[n - 1]) for row, n in zip(ids, lens, strict=True) if n}
    padding = {int(i) for row, n in zip(ids, lens, strict=True) for i in row[n:]}
    if len(padding) > 1:
        raise TokenizerNotFound("its padding is not one id")
    ends = {"start": first.pop() if len(first) == 1 else None, "end": last.pop() if len(last) == 1 else None}
    common = {"length": length, "pad": padding.pop() if padding else 0, **ends}
    best, found = 0.0, None
    for source in _sources(path):
        for settings in _settings(source):
            same = _agreement(source, {**common, **settings}, texts, ids, lens, folder)
            if same > best:
                best, found = same, (source, {**common, **settings})
            if best == 1.0:
                break
    if found is None or best < ENOUGH:
        what = f"at best {best:.0%} of {len(texts)} texts get its ids" if found else "no vocabulary was found in it"
        raise TokenizerNotFound(what)
    source, settings = found
    _write(source, settings, folder)
    return {"rebuilt": {"from": source.name, **settings}}


def rebuild(
    layer: Any,
    path: Path,
    embed: Callable[[Any], Any],
    texts: Sequence[str],
    length: int,
    folder: Path,
) -> Rebuilt | str:
    """Return the encoder from its ids on if it could be rebuilt, else a sentence that says why not.

    `embed` maps texts to the encoder's own features: the rebuilt ones must equal them on all of `texts`, of which as
    many words are used as fit into `length` ids.
    """
    tf, _ = load()
    tables = [v for v in layer.weights if v.dtype.is_floating]
    if not tables:
        return "its tokenizer is inside the graph, and so is all that it knows, as constants: nothing can be taken out"
    if len(tables) != 1 or len(tables[0].shape) != 2:
        return (
            "its tokenizer is inside the graph, and what follows is more than one table of embeddings: the file would "
            "have to tokenize with TensorFlow's own string operators"
        )
    table = tables[0]
    words = [cut_words(text, length) for text in texts]
    expected = np.asarray(embed(tf.constant(words)))
    close = CLOSE * max(float(np.abs(expected).max()), 1e-6)
    for source in _sources(path):
        for settings in _lookups(source, int(table.shape[0])):
            try:
                _write(source, {"length": length, "pad": 0, "start": None, "end": None, **settings}, folder)
                tokenizer = reference_tokenizer(folder)
                ids, lens = tokenizer(tf.constant(words))
            except (ValueError, InputError):
                continue
            if int(tf.reduce_max(ids)) >= table.shape[0]:
                continue
            for pooling in POOLINGS:
                found = np.asarray(pooled(table, ids, lens, length, pooling))
                if float(np.abs(found - expected).max()) <= close:
                    cut = Cut(folder, length, tokenizer, _embedding(table, length, pooling))
                    return Rebuilt(cut, tokenizer, {"rebuilt": {"from": source.name, "pooling": pooling, **settings}})
    return (
        "its tokenizer is inside the graph, and no tokenizer for devices gives the same embeddings: it cleans texts or "
        "treats unknown words in a way of its own"
    )


def cut_words(text: str, count: int) -> str:
    """Return the start of `text` that holds at most `count` words between white space."""
    words = text.split()
    if len(words) <= count:
        return text
    return " ".join(words[:count])


def _embedding(table: Any, length: int, pooling: str) -> Callable[[Any, Any, bool], Any]:
    return lambda ids, lens, training: pooled(table, ids, lens, length, pooling)


def _sources(path: Path) -> Iterator[_Source]:
    """Yield what a SavedModel's assets and graph hold of vocabularies and SentencePiece models."""
    for asset in sorted((path / "assets").glob("**/*")):
        if not asset.is_file() or asset.stat().st_size > VOCABULARY_BYTES:
            continue
        content = asset.read_bytes()
        if asset.suffix == ".model":
            yield _Source(asset.name, model=content)
            continue
        try:
            words = tuple(line.rstrip("\r") for line in content.decode("utf-8").removesuffix("\n").split("\n"))
        except UnicodeDecodeError:
            continue
        if all(words) and len(set(words)) == len(words) > 1:
            yield _Source(asset.name, words)
    for number, model in enumerate(_inner_models(path)):
        yield _Source(f"SentencePiece model {number + 1} in the graph", model=model)


def _inner_models(path: Path) -> list[bytes]:
    """Return the SentencePiece models that tensorflow_text keeps as an attribute of its operators."""
    load()
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    proto = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    found: dict[bytes, None] = {}
    for meta in proto.meta_graphs:
        bodies = [meta.graph_def.node, *(function.node_def for function in meta.graph_def.library.function)]
        found |= {node.attr["model"].s: None for body in bodies for node in body if node.op == "SentencepieceOp"}
    return [model for model in found if model]


def _settings(source: _Source) -> Iterator[dict[str, Any]]:
    """Yield settings under which a preprocessor may use `source`."""
    if source.model:
        yield {"kind": "sentencepiece", "unknown": None}
        return
    unknown = next((source.words.index(token) for token in UNKNOWN_TOKENS if token in source.words), None)
    if unknown is None:
        return
    for lower_case in (True, False):
        yield {"kind": "wordpiece", "unknown": unknown, "lower_case": lower_case}
    yield {"kind": "wordpiece", "unknown": unknown, "lower_case": False, "normalize": "NFC"}


def _lookups(source: _Source, rows: int) -> Iterator[dict[str, Any]]:
    """Yield settings under which an encoder with a table of `rows` embeddings may look words up in `source`."""
    if source.model:
        yield {"kind": "sentencepiece", "unknown": None}
        return
    count = len(source.words)
    if count > rows:
        return
    for unknown in dict.fromkeys((min(count, rows - 1), 0)):  # a row behind the vocabulary, or the first one
        for lower_case in (False, True):
            yield {"kind": "whitespace", "unknown": unknown, "lower_case": lower_case, "normalize": ""}


def _write(source: _Source, settings: dict[str, Any], folder: Path) -> None:
    known = {key: value for key, value in settings.items() if key != "unknown" or value is not None}
    if source.model:
        write_tokenizer(folder, known, model=source.model)
    else:
        write_tokenizer(folder, known, list(source.words))


def _agreement(
    source: _Source, settings: dict[str, Any], texts: Sequence[str], ids: NDArray[Any], lens: NDArray[Any], folder: Path
) -> float:
    """Return the share of texts to which these settings give the same ids; 0 where they are no tokenizer at all."""
    try:
        _write(source, settings, folder)
        tokenizer = open_tokenizer(folder)
    except (ValueError, InputError):
        return 0.0
    pairs = zip(texts, ids.tolist(), lens.tolist(), strict=True)
    return sum(tokenizer.encode(text) == (row, count) for text, row, count in pairs) / max(1, len(texts))
