"""Cuts the user's finished model of strings (with TextVectorization, for example) at its token ids.

There are no data here. The cut is verified on texts of words from the model's own tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.encoded import encode_texts
from ...core.model import InputContract, TokenizerRecord, tokenizer_sha256
from ...core.progress import Listener
from ...core.tokenizer import open_tokenizer, read_settings
from ...frameworks.constants import make_constant
from ...frameworks.freeze import caller, write
from ...frameworks.tensorflow import load
from .base import IDS, LENGTHS
from .divide import Divided, divide, inputs_of
from .frontier import NoFrontier, flatten
from .lift import exported_tables
from .tokenizer_parity import choose_golden, measure_parity, write_golden
from .tokenizer_recovery import TokenizerNotFound, tokenizer_of, write_string_part

MAX_TOKENS = 128  # if the model has no length of its own
SENTENCES = (
    "The quick brown fox jumps over the lazy dog.", "It was the best film I have seen this year!", "a", "hello world",
    "Prices rose by 3.5% in 2024, the bank said; nobody was surprised.", "What a waste of time... (and money)",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich", "El niño comió piñas ayer", "UPPER lower MiXeD",
    "an e-mail to someone@example.com, or see http://example.com/a?b=c", "tabs\tand\nnew lines", "don't can't it's",
)  # fmt: skip


@dataclass(frozen=True)
class CutModel:
    """The result of `cut_user_model`: `saved_model` from token ids on, and its tokenizer."""

    contract: InputContract
    tokenizer: TokenizerRecord
    facts: dict[str, Any]


def cut_user_model(
    call: Callable[[Any], Any],
    keep: Any,
    model_path: Path,
    labels: Sequence[str],
    answer: str,
    folder: Path,
    listener: Listener,
) -> CutModel | str:
    """Write ``saved_model/`` (ids → `answer`) and ``tokenizer/`` below `folder`, or return why that is not possible.

    `call` maps one text (1,) string to the answer (1, classes); `keep` is what it needs. `model_path` is the whole
    model as a SavedModel, whatever the format of the user's file: vocabularies and SentencePiece models are read from
    it. Raises StageError when nothing can be written.
    """
    tf, _ = load()
    tokenizer = folder / "tokenizer"
    try:
        flat = flatten(call, batch=1)
        texts = _texts([token for _, table in exported_tables(flat) for token in table])
        divided = divide(call, texts, MAX_TOKENS, flat)
    except NoFrontier as error:
        return str(error)
    try:
        facts = tokenizer_of(divided, model_path, texts, tokenizer)
    except TokenizerNotFound as error:
        facts = write_string_part(divided, keep, tokenizer, str(error))
    _save(divided, answer, folder / "saved_model")
    device = open_tokenizer(tokenizer)
    parity = measure_parity(tokenizer, texts, listener, divided.tokenize)
    chosen = [texts[index] for index in choose_golden(texts)]
    encoded = encode_texts(device, chosen)
    run = divided.compiled()
    names = encoded.dtype.names or ()
    rows = [run(*(tf.constant(encoded[name][at : at + 1]) for name in names)).numpy()[0] for at in range(len(chosen))]
    named = list(labels) or [f"class {number}" for number in range(len(rows[0]))]
    write_golden(tokenizer, chosen, np.asarray(rows), named)
    first = inputs_of(divided)[0]
    kind = str(read_settings(tokenizer)["kind"])
    return CutModel(
        InputContract(
            IDS, (1, first.length), "int32", 0.0, float(device.size - 1), "", "", "text",
            LENGTHS if first.lengths else "",
        ),
        TokenizerRecord(tokenizer, kind, first.length, tokenizer_sha256(tokenizer), parity),
        facts | {"padded": divided.padded, "cut_difference": divided.difference},
    )  # fmt: skip


def _save(divided: Divided, answer: str, folder: Path) -> None:
    """Save the part behind the token ids, with constant weights."""
    tf, _ = load()
    specifications = []
    for part in inputs_of(divided):
        specifications.append(tf.TensorSpec((1, part.length), tf.int32, name=part.name))
        if part.lengths:
            specifications.append(tf.TensorSpec((1,), tf.int32, name=part.lengths))
    names = [one.name for one in specifications]
    function = tf.function(divided.embed, autograph=False).get_concrete_function(*specifications)
    call = caller(make_constant(function), specifications)

    def serve(*tensors: Any) -> dict[str, Any]:
        return {answer: call(dict(zip(names, tensors, strict=True)))[0]}

    write(serve, specifications, folder)


def _texts(tokens: Sequence[Any]) -> list[str]:
    """Return sentences, and sequences of words from the model's tables."""
    random = np.random.default_rng(7)
    words = [token.decode("utf-8", "replace") for token in tokens if isinstance(token, bytes) and token]
    sentences = [" ".join(random.choice(words, random.integers(1, 12))) for _ in range(24)] if words else []
    return [*SENTENCES, *sentences]
