"""Made-up texts with tags and numbers that follow from their words, and what a text model's file answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.tokenizer import open_tokenizer

from .text_models import FILLER, MONEY, SPORT

TAGS = ("money", "sport")


def told(count: int, seed: int = 1) -> tuple[list[str], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return texts, which of `TAGS` each has (N, 2) uint8, and a number (N,): 50, and 20 times its share of sport."""
    draw = np.random.default_rng(seed)
    texts, tags, numbers = [], [], []
    for _ in range(count):
        parts = [draw.choice(words, draw.integers(0, 4)) for words in (MONEY, SPORT)]
        words = [*parts[0], *parts[1], *draw.choice(FILLER, draw.integers(4, 9))]
        draw.shuffle(words)
        texts.append(" ".join(map(str, words)))
        tags.append([len(part) > 0 for part in parts])
        numbers.append(50 + 20 * len(parts[1]) / len(words))
    return texts, np.array(tags, np.uint8), np.array(numbers, np.float32)


def answers(file: Path, tokenizer: Path, texts: list[str], output: str) -> np.ndarray[Any, Any]:
    """Return what a .tflite answers in a plain interpreter to texts that the shipped tokenizer has encoded."""
    from ai_edge_litert.interpreter import Interpreter

    opened, run = open_tokenizer(tokenizer), Interpreter(str(file)).get_signature_runner()
    fed = [{name: np.array(v, np.int32) for name, v in opened.feed(text).items()} for text in texts]
    return np.concatenate([run(**feed)[output] for feed in fed])
