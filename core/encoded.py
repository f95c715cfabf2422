"""Texts as token ids: the output of a model's tokenizer for each text, in one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tokenizer import Tokenizer


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[Any]:
    """Return a structured array (n,): a field (length,) int32 for each input of ids, and int32 for their number."""
    fields: list[Any] = []
    for part in (tokenizer, *tokenizer.more):
        fields.append((part.names[0], np.int32, (part.length,)))
        fields += [(name, np.int32) for name in part.names[1:]]
    encoded = np.zeros(len(texts), fields)
    for index, text in enumerate(texts):
        for name, value in tokenizer.feed(text).items():
            encoded[name][index] = value[0]
    return encoded
