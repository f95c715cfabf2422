"""Finds the device tokenizer that equals a Hub model's own, verified on real texts.

The steps and tables of a string part are derived from its graph (`lift`); vocabularies and SentencePiece models are
among a SavedModel's assets and in its graph. Each proposal is checked on texts: it must give exactly the crossing ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.codec import write_json
from ...core.errors import InputError
from ...core.files import discard
from ...core.tokenizer import VERSION, open_tokenizer
from ...frameworks.freeze import write
from ...frameworks.meta_graph import nodes, read_meta_graphs
from ...frameworks.tensorflow import load
from . import lift
from .crossing import PaddedIds
from .divide import Divided, inputs_of
from .vocabulary import TokenizerData, write_tokenizer

ENOUGH = 0.98  # of the sample texts; the whole test split is compared later, and reported
UNKNOWN_TOKENS = ("[UNK]", "<unk>", "[unk]", "<UNK>")
STRING_PART = "string_part"
VOCABULARY_BYTES = 64 << 20


class TokenizerNotFound(Exception):  # noqa: N818 - a finding, which its catcher turns into a note
    """No setting of the device's tokenizer gives the expected ids; the message says why."""


@dataclass(frozen=True)
class _Source:
    """A vocabulary (words, a line each) or a SentencePiece model found in a SavedModel."""

    name: str
    words: tuple[str, ...] = ()
    model: bytes = b""


@dataclass(frozen=True)
class _Proposal:
    """A tokenizer and its origin."""

    origin: str
    data: TokenizerData


def find_tokenizer(
    path: Path, texts: Sequence[str], ids: NDArray[Any], lens: NDArray[Any], folder: Path
) -> dict[str, Any]:
    """Write to `folder` the tokenizer that maps `texts` to `ids` (n, length) and `lens` (n,); return its description.

    `path` is the preprocessor's SavedModel. Start, end and padding are derived from the ids. Raises TokenizerNotFound.
    """
    ends = _ends(ids, lens)
    proposals = [
        _Proposal(source.name, _data(source, {**common, **settings}))
        for source in _sources(path)
        for settings in _settings(source)
        for common in ends
    ]
    best = _best(proposals, texts, ids, lens, "")
    write_tokenizer(folder, best.data.settings, best.data.vocabulary, best.data.model)
    return {"tokenizer": _record(best)}


def tokenizer_of(divided: Divided, path: Path, texts: Sequence[str], folder: Path) -> dict[str, Any]:
    """Write to `folder` the tokenizers that give the crossing ids of `divided`; return their description.

    `path` is the encoder's SavedModel. Raises TokenizerNotFound, naming the step that the device does not support.
    """
    tf, _ = load()
    arrays = iter([np.asarray(part) for part in divided.tokenize(tf.constant(list(texts)))])
    chosen: list[_Proposal] = []
    for what, source in zip(divided.inputs, divided.sources, strict=True):
        ids = next(arrays)
        lens = None if isinstance(what, PaddedIds) else next(arrays)
        proposals, why = _proposals(divided, path, source, texts, ids, lens)
        chosen.append(_best(proposals, texts, ids, lens, why))
    discard(folder, root=folder.parent)
    first, *more = (
        replace(proposal.data, settings={**proposal.data.settings, "names": list(part.names)})
        for proposal, part in zip(chosen, inputs_of(divided), strict=True)
    )
    write_tokenizer(folder, first.settings, first.vocabulary, first.model, more)
    records = [_record(proposal) for proposal in chosen]
    return {"tokenizer": records[0] | ({"more": records[1:]} if more else {})}


def write_string_part(divided: Divided, keep: Any, folder: Path, why: str) -> dict[str, Any]:
    """Write to `folder` a tokenizer of the encoder's own operators, in TensorFlow; return its description.

    `keep` is the loaded encoder with its tables; `why` says why there is no other. Replaces what is in `folder`.
    """
    tf, _ = load()
    discard(folder, root=folder.parent)
    inputs = inputs_of(divided)
    names = [name for part in inputs for name in part.names]

    def serve(text: Any) -> dict[str, Any]:
        return dict(zip(names, divided.tokenize(text), strict=True))

    write(serve, [tf.TensorSpec((1,), tf.string, name="text")], folder / STRING_PART, keep=keep)
    parts: list[dict[str, Any]] = [
        {"kind": "tensorflow", "length": part.length, "pad": getattr(what, "pad", 0), "size": what.size,
         "names": list(part.names)}
        for part, what in zip(inputs, divided.inputs, strict=True)
    ]  # fmt: skip
    more = {"more": parts[1:]} if len(parts) > 1 else {}
    write_json(folder / "tokenizer.json", {"version": VERSION, **parts[0], **more})
    return {"tokenizer": {"from": "its own operators, in TensorFlow", "kind": "tensorflow", "why": why}}


def _proposals(
    divided: Divided, path: Path, source: str, texts: Sequence[str], ids: NDArray[Any], lens: NDArray[Any] | None
) -> tuple[list[_Proposal], str]:
    """Return candidate tokenizers for one crossing tensor, and why there are no others."""
    why: list[str] = []
    proposals: list[_Proposal] = []
    length = int(ids.shape[1])
    try:
        steps = lift.sentencepiece_steps(divided.frontier, source)
        more: dict[str, Any] = {"kind": "sentencepiece", **({"steps": steps} if steps else {})}
        ends = _ends(ids, lens)
        proposals += [
            _Proposal(model.name, TokenizerData({**common, **more}, model=model.model))
            for model in _sources(path)
            if model.model
            for common in ends
        ]
    except (lift.NotLifted, TokenizerNotFound) as error:
        why.append(str(error))
    if proposals:
        return proposals, ""
    try:
        data = lift.words(divided.frontier, source, texts, length=length, padded=lens is None)
        return [_Proposal("the tables of its graph", data)], ""
    except lift.NotLifted as error:
        why.append(str(error))
    try:
        ends = _ends(ids, lens)
        sources = [*_sources(path), *_tables(divided)]
        proposals = [
            _Proposal(s.name, _data(s, {**common, **settings}))
            for s in sources
            for settings in _settings(s)
            for common in ends
        ]
    except TokenizerNotFound as error:
        why.append(str(error))
    return proposals, why[-1]


def _ends(ids: NDArray[Any], lens: NDArray[Any] | None) -> list[dict[str, Any]]:
    """Return the settings that follow from ids: length, padding, and the start and end ids.

    All texts may start or end alike by chance, for example with the piece for a space; so variants without start or end
    id follow the likelier ones.
    """
    if lens is None:
        raise TokenizerNotFound("its ids cross already padded")
    padding = {int(i) for row, n in zip(ids, lens, strict=True) for i in row[n:]}
    if len(padding) > 1:
        raise TokenizerNotFound("its padding is not one id")
    many = [(row, n) for row, n in zip(ids, lens, strict=True) if n]
    first, last = {int(row[0]) for row, _ in many}, {int(row[n - 1]) for row, n in many}
    starts = [*first, None] if len(first) == 1 and len(many) > 1 else [None]
    ends = [*last, None] if len(last) == 1 and len(many) > 1 else [None]
    common = {"length": int(ids.shape[1]), "pad": padding.pop() if padding else 0}
    return [{**common, "start": start, "end": end} for start in starts for end in ends]


def _best(
    proposals: Sequence[_Proposal], texts: Sequence[str], ids: NDArray[Any], lens: NDArray[Any] | None, why: str
) -> _Proposal:
    """Return the proposal that gives most texts their ids. Raises TokenizerNotFound if there are too few."""
    best, best_proposal = 0.0, None
    for proposal in proposals:
        same = _agreement(proposal.data, texts, ids, lens)
        if same > best:
            best, best_proposal = same, proposal
        if best == 1.0:
            break
    if best_proposal is None or best < ENOUGH:
        problem = (
            f"at best {best:.0%} of {len(texts)} texts get its ids" if proposals else "no vocabulary was found in it"
        )
        raise TokenizerNotFound(f"{problem} ({why})" if why else problem)
    return best_proposal


def _agreement(data: TokenizerData, texts: Sequence[str], ids: NDArray[Any], lens: NDArray[Any] | None) -> float:
    """Return the share of texts to which a tokenizer gives the same ids; 0 if it cannot be opened."""
    with TemporaryDirectory(prefix="edgeproof-") as folder:
        try:
            write_tokenizer(Path(folder), data.settings, data.vocabulary, data.model)
            tokenizer = open_tokenizer(folder)
        except (ValueError, InputError):
            return 0.0
        encoded = [tokenizer.encode(text) for text in texts]
    same = [row == expected for (row, _), expected in zip(encoded, ids.tolist(), strict=True)]
    if lens is not None:
        same = [s and n == count for s, (_, n), count in zip(same, encoded, lens.tolist(), strict=True)]
    return sum(same) / max(1, len(texts))


def _record(proposal: _Proposal) -> dict[str, Any]:
    settings = {key: value for key, value in proposal.data.settings.items() if key != "unknown" or value is not None}
    return {"from": proposal.origin, **settings}


def _data(source: _Source, settings: dict[str, Any]) -> TokenizerData:
    if source.model:
        return TokenizerData({key: value for key, value in settings.items() if key != "unknown"}, model=source.model)
    return TokenizerData(settings, list(source.words))


def _tables(divided: Divided) -> Iterator[_Source]:
    """Yield the vocabularies in the graph's tables whose ids are line numbers."""
    for name, table in lift.exported_tables(divided.frontier.flat):
        ordered = sorted(table, key=lambda token: table[token])
        if [table[token] for token in ordered] == list(range(len(ordered))):
            yield _Source(name.rsplit("/", 1)[-1], tuple(token.decode("utf-8", "replace") for token in ordered))


def _sources(path: Path) -> Iterator[_Source]:
    """Yield the vocabularies and SentencePiece models in a SavedModel's assets and graph."""
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
    models: dict[bytes, None] = {}
    for meta in read_meta_graphs(path):
        models |= {node.attr["model"].s: None for node in nodes(meta) if node.op == "SentencepieceOp"}
    return [model for model in models if model]


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
