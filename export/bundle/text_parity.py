"""Compares a text model's file with the one rewritten for stock text classifiers, on the same texts.

LiteRT runs the files, which are untrusted, so that is done in another process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import isolated
from ...core.artifact import Artifact
from ...core.codec import read_json, write_json
from ...core.errors import InputError, StageError, explain_disk_errors
from ...core.sanitize import shorten
from ...core.tokenizer import Tokenizer, open_tokenizer
from ...tasks.classification import top_class
from .input_adapter import IDS, MASK, PADDING, SEGMENTS, Frame
from .stock_tokenizers import Stock, stock_tokenizer

GOLDEN = "golden.json"
MAX_EXAMPLES = 5
EXAMPLE_CHARACTERS = 120
TOLERANCE = 1e-4  # of a probability: the same kernels run, in another partition of the graph at most


def golden_texts(tokenizer_folder: Path) -> list[str]:
    """Return the texts of the tokenizer's golden vectors; none where there are no vectors. Raises InputError."""
    path = tokenizer_folder / GOLDEN
    if not path.is_file():
        return []
    document = read_json(path)
    vectors = document.get("vectors") if isinstance(document, dict) else None
    texts = [v.get("text") for v in vectors if isinstance(v, dict)] if isinstance(vectors, list) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{path} does not hold vectors with texts", "make or copy the tokenizer's folder again")
    return [str(text) for text in texts]


def compare_in_child(
    function: str, artifact: Artifact, tokenizer_folder: Path, frame: Frame, content: bytes = b""
) -> Any:
    """Call `measure_files` or `own_scores` in another process, and return what it returned.

    `content` is the rewritten file. Raises InputError and StageError as these do, StageError where LiteRT ends it.
    """
    assert artifact.path is not None  # noqa: S101 - _refusal
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as scratch, explain_disk_errors(Path(scratch)):
        rewritten, facts = Path(scratch) / "made.tflite", Path(scratch) / "facts.json"
        rewritten.write_bytes(content)
        write_json(facts, {"frame": asdict(frame), "labels": list(artifact.labels)})
        paths = (artifact.path.absolute(), rewritten, tokenizer_folder.absolute(), facts)
        try:
            return isolated.call(f"{__name__}:{function}", *map(str, paths))
        except isolated.ProcessEndedError as error:
            raise StageError(
                f"LiteRT did not run the file for text classifiers: {shorten(str(error), 200)}",
                "try the file itself: edgeproof evaluate",
            ) from error


def measure_files(original: str, rewritten: str, tokenizer_folder: str, facts: str) -> dict[str, Any]:
    """Compare two files over the golden texts, in this process; return what `TextFile.parity` holds."""
    settings, folder = read_json(Path(facts)), Path(tokenizer_folder)
    tokenizer = open_tokenizer(folder)
    stock = stock_tokenizer(folder, tokenizer)
    pair = _Pair(Path(original).read_bytes(), Path(rewritten).read_bytes(), Frame(**settings["frame"]), stock.kind)
    return _measure(pair, tuple(settings["labels"]), tokenizer, stock, golden_texts(folder))


def own_scores(original: str, _: str, tokenizer_folder: str, facts: str) -> list[list[float]]:
    """Return the model's scores for each golden text, in this process."""
    frame, folder = Frame(**read_json(Path(facts))["frame"]), Path(tokenizer_folder)
    tokenizer, run = open_tokenizer(folder), _runner(Path(original).read_bytes())
    encoded = [tokenizer.encode(text) for text in golden_texts(folder)]
    feeds = [{frame.ids: np.array([ids], np.int32), frame.lengths: np.array([n], np.int32)} for ids, n in encoded]
    return [run(feed, frame.answer).tolist() for feed in feeds]


class _Pair:
    """The artifact and its rewritten file, both on LiteRT."""

    def __init__(self, original: bytes, content: bytes, frame: Frame, kind: str) -> None:
        self.frame, self.kind = frame, kind
        self._own, self._new = _runner(original), _runner(content)

    def own(self, ids: Sequence[int], count: int) -> NDArray[Any]:
        """Return the scores (classes,) of the artifact for its own tokenizer's ids."""
        feeds = {self.frame.ids: np.array([ids], np.int32), self.frame.lengths: np.array([count], np.int32)}
        return self._own(feeds, self.frame.answer)

    def new(self, tokens: Sequence[int]) -> NDArray[Any]:
        """Return the scores of the rewritten file, fed as stock classifiers do; `tokens` in the model's numbering."""
        room = self.frame.room
        fed = [token - self.frame.offset for token in tokens[:room]]
        if self.kind == "regex":
            return self._new({IDS: np.array([fed + [PADDING] * (room - len(fed))], np.int32)}, "")
        ids, mask = np.zeros((2, 1, room + 2), np.int32)
        ids[0, 1 : 1 + len(fed)] = fed
        mask[0, : 2 + len(fed)] = 1
        return self._new({IDS: ids, MASK: mask, SEGMENTS: np.zeros_like(ids)}, "")


def _runner(content: bytes) -> Callable[[dict[str, NDArray[Any]], str], NDArray[Any]]:
    """Return a function that runs a file: feeds by name and the name of the output (empty: the first) → scores."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
        runner = interpreter.get_signature_runner(next(iter(interpreter.get_signature_list())))
        outputs = runner.get_output_details()
    except (ValueError, RuntimeError, StopIteration) as error:
        raise StageError(f"LiteRT does not run the file for text classifiers: {error or 'no signature'}") from error

    def run(feeds: dict[str, NDArray[Any]], answer: str) -> NDArray[Any]:
        name = answer if answer in outputs else next(iter(outputs))
        try:
            scores = runner(**feeds)[name][0]
        except (ValueError, RuntimeError) as error:
            raise StageError(f"LiteRT does not run the file for text classifiers: {error}") from error
        scale, zero_point = outputs[name]["quantization"]
        return (scores.astype(np.float64) - zero_point) * scale if scale else scores.astype(np.float64)

    return run


def _measure(
    pair: _Pair, labels: tuple[str, ...], tokenizer: Tokenizer, stock: Stock, texts: Sequence[str]
) -> dict[str, Any]:
    """Compare the results of the model's tokenizer and the stock one on `texts`. Raises StageError as `text_bundle`."""
    same_tokens = same_labels = same_prepared = 0
    examples: list[dict[str, Any]] = []
    room = pair.frame.room
    _check(pair, tokenizer, "")
    for text in texts:
        expected = _check(pair, tokenizer, text)
        own, theirs = tokenizer.tokens(text)[:room], stock.tokens(text)[:room]
        answered = pair.new(theirs)
        same_tokens += own == theirs
        if stock.prepare is not None:
            same_prepared += own == stock.tokens(stock.prepare(text))[:room]
        if top_class(expected) == top_class(answered):
            same_labels += 1
        elif len(examples) < MAX_EXAMPLES:
            examples.append(example(text, labels, expected, answered))
    return {
        "texts": len(texts),
        "same_tokens": same_tokens,
        "same_labels": same_labels,
        "same_tokens_prepared": same_prepared if stock.prepare is not None else None,
        "examples": examples,
    }


def _check(pair: _Pair, tokenizer: Tokenizer, text: str) -> NDArray[Any]:
    """Return the model's scores for a text. Raises StageError if the rewritten file gives others for its tokens."""
    expected, answered = pair.own(*tokenizer.encode(text)), pair.new(tokenizer.tokens(text))
    difference = float(np.abs(expected - answered).max())
    if not difference <= TOLERANCE:
        raise StageError(
            f"the file rewritten for text classifiers differs from the model, by {difference:.3g} for "
            f"{shorten(text, EXAMPLE_CHARACTERS)!r}",
            "please report this, with the model",
        )
    return expected


def example(text: str, labels: tuple[str, ...], own: NDArray[Any], theirs: NDArray[Any]) -> dict[str, Any]:
    """Return a text with the two labels that it gets, as `TextFile.parity` holds it."""
    tops = [int(top_class(scores)) for scores in (own, theirs)]
    named = [labels[top] if len(labels) == len(own) else str(top) for top in tops]
    return {"text": shorten(text, EXAMPLE_CHARACTERS), "own": named[0], "theirs": named[1]}
