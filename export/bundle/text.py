"""A text model's file for stock text classifiers: inputs as they feed them, tokenizer and labels inside.

`text_bundle` makes it and reports how often the classifier's tokens, and with them its outputs, equal ours;
`compare_with_mediapipe` runs the real classifier where it is installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...core import children
from ...core.artifact import Artifact, judged_output
from ...core.codec import read_json
from ...core.errors import InputError, StageError
from ...core.model import VALUES
from ...core.sanitize import shorten
from ...core.tokenizer import Tokenizer, open_tokenizer
from ...tasks.classification import top_class
from ...tflite.metadata_append import attach
from ...tflite.metadata_writer import (
    AssociatedFile,
    BertTokenizer,
    FeatureContent,
    ModelMetadata,
    RegexTokenizer,
    SentencePieceTokenizer,
    TensorMetadata,
    pack,
)
from .images import LABELS, label_file
from .input_adapter import IDS, MASK, PADDING, SEGMENTS, Frame, for_masked, for_padded
from .stock_tokenizers import PIECES, VOCABULARY, WHITE_SPACE, Stock, stock_tokenizer
from .text_parity import MAX_EXAMPLES, compare_in_child, example, golden_texts

MEDIAPIPE = "MediaPipe Tasks TextClassifier"
# Both run these files and give the same tokens: measured with mediapipe 1.2.2 and tflite-support 0.4.4.
TASK_LIBRARY = {
    "bert": "Task Library BertNLClassifier",
    "sentencepiece": "Task Library BertNLClassifier",
    "regex": "Task Library NLClassifier",
}
TIMEOUT = 300.0  # seconds


@dataclass(frozen=True)
class TextFile:
    """Result of `text_bundle`: `content` is the file and `name` its name; both are empty where no file is possible.

    `consumers` are rows {``consumer``, ``accepts``, ``why``}; `notes` are sentences for the user who ships the file.
    `parity` counts over the golden texts: ``texts``, ``same_tokens`` (as the model's own tokenizer gives),
    ``same_labels`` (the highest score), ``same_tokens_prepared`` (None where no preparation helps), and up to five
    ``examples`` {``text``, ``own``, ``theirs``} of labels that differ.
    """

    content: bytes
    name: str
    consumers: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()
    parity: dict[str, Any] = field(default_factory=dict)


def text_bundle(artifact: Artifact, tokenizer_folder: Path) -> TextFile:
    """Return a stock classifier's version of a ``.tflite`` that takes token ids.

    The model's operators and weights are the artifact's; what is new is checked here: with the same tokens both files
    have to give the same scores on LiteRT. Raises InputError when the file or the tokenizer is damaged, StageError
    when the new file does not run or gives other scores.
    """
    why = _refusal(artifact)
    if why or artifact.path is None:
        return _refused(why)
    try:
        tokenizer = open_tokenizer(tokenizer_folder)
    except ValueError as error:
        raise InputError(str(error)) from error
    try:
        stock = stock_tokenizer(tokenizer_folder, tokenizer)
    except InputError as error:
        return _refused(error.message)
    frame = _frame(artifact, tokenizer, stock.offset)
    try:
        original = artifact.path.read_bytes()
    except OSError as error:
        raise InputError(f"{artifact.path} cannot be read: {error}") from error
    rewrite = for_padded if stock.kind == "regex" else for_masked
    files = dict(stock.files)
    if len(artifact.labels) == artifact.outputs[0].shape[-1]:
        files[LABELS] = label_file(artifact.labels)
    content = attach(rewrite(original, frame), pack(_metadata(artifact, stock, frame.room, LABELS in files)), files)
    parity = compare_in_child("measure_files", artifact, tokenizer_folder, frame, content)
    names = (MEDIAPIPE, TASK_LIBRARY[stock.kind])
    return TextFile(
        content,
        f"{artifact.id}--text-classifier.tflite",
        tuple({"consumer": name, "accepts": True, "why": _in_words(parity)} for name in names),
        _notes(stock, frame),
        parity,
    )


def _refusal(artifact: Artifact) -> str:
    contract = artifact.contract
    if artifact.format != "tflite":
        return f"they take .tflite files, this is {artifact.format}"
    if artifact.status != "ok" or artifact.path is None:
        return f"there is no file: {artifact.reason or artifact.status}"
    if contract is None or contract.kind != "text":
        return "they take texts, and this model does not"
    if contract.dtype != "int32" or not contract.lengths or artifact.tokenizer is None:
        return "this model's tokenizer is inside its graph, as operators that they do not have"
    values = judged.shape[-1] if (judged := judged_output(artifact.outputs, artifact.answer)) and judged.shape else 0
    if values == 1 or artifact.answer == VALUES:
        return "they take a score for each class, and this file answers with " + (
            "numbers" if values != 1 else f"one for {len(artifact.labels)}" if artifact.labels else "a number"
        )
    return ""


def _refused(why: str) -> TextFile:
    rows = [
        {"consumer": name, "accepts": False, "why": why} for name in (MEDIAPIPE, *dict.fromkeys(TASK_LIBRARY.values()))
    ]
    return TextFile(b"", "", tuple(rows), (f"stock text classifiers do not take it: {why}",))


def _frame(artifact: Artifact, tokenizer: Tokenizer, offset: int) -> Frame:
    contract = artifact.contract
    assert contract is not None  # noqa: S101 - _refusal
    if contract.shape != (1, tokenizer.length):
        raise InputError(f"the file takes ids of shape {contract.shape}, its tokenizer gives {tokenizer.length}")
    return Frame(
        ids=contract.name,
        lengths=contract.lengths,
        length=tokenizer.length,
        pad=tokenizer.pad,
        start=tokenizer.start,
        end=tokenizer.end,
        offset=offset,
        answer=artifact.answer,
    )


def _metadata(artifact: Artifact, stock: Stock, room: int, labelled: bool) -> ModelMetadata:
    """Return the metadata that the classifiers read: the tokenizer, the inputs by name, and the labels."""
    words = AssociatedFile(VOCABULARY, "vocabulary", "The tokens that the model knows.")
    labels = AssociatedFile(LABELS, "axis labels", "The classes, in the order of the scores.")
    score = TensorMetadata(
        "probability",
        "A score for each class.",
        FeatureContent(),
        low=(0.0,),
        high=(1.0,),
        files=(labels,) if labelled else (),
    )
    classes = artifact.outputs[0].shape[-1]
    inputs: tuple[TensorMetadata, ...]
    units: tuple[Any, ...] = ()
    if stock.kind == "regex":
        unit = RegexTokenizer(WHITE_SPACE, words)
        inputs = (TensorMetadata(IDS, f"Ids of up to {room} words, {PADDING} behind them.", units=(unit,)),)
    else:
        inputs = (
            TensorMetadata(IDS, f"A marker, ids of up to {room} tokens, another marker, and anything behind."),
            TensorMetadata(MASK, "1 on markers and tokens, 0 behind them."),
            TensorMetadata(SEGMENTS, "Not looked at."),
        )
        pieces = AssociatedFile(PIECES, "unknown", "The SentencePiece model.")
        units = (BertTokenizer(words) if stock.kind == "bert" else SentencePieceTokenizer(pieces),)
    return ModelMetadata(
        name=shorten(artifact.model, 200),
        description=f"Tells {classes} classes of texts apart ({artifact.format}:{artifact.scheme}).",
        version=artifact.sha256[:16],
        author="edgeproof",
        inputs=inputs,
        outputs=(score,),
        input_units=units,
    )


def _in_words(parity: dict[str, Any]) -> str:
    texts, prepared = parity["texts"], parity["same_tokens_prepared"]
    if not texts:
        return "the file was made for it; how often its tokens are the model's was not measured, for want of texts"
    words = (
        f"the file was made for it; of {texts} golden texts {parity['same_tokens']} get the model's tokens from it and "
        f"{parity['same_labels']} the same label"
    )
    if prepared is not None and parity["same_tokens"] < texts:
        words += f"; prepared as the notes say, {prepared} get the model's tokens and so its scores"
    return words


def _notes(stock: Stock, frame: Frame) -> tuple[str, ...]:
    """Return notes on the file, without a full stop at the end."""
    fed = "ids with padding behind them" if stock.kind == "regex" else "ids, mask and segment ids"
    return (
        f"it takes {fed}, of up to {frame.room} tokens, instead of ids and their number: small operators in front make "
        "the one from the other, and the model behind them is the same",
        *stock.says,
        "a text ends for it at a NUL character",
    )


# In a process of its own: native code may end it, and with TensorFlow hidden it starts in a second instead of five
# (mediapipe imports it where it can and does not use it).
_CLASSIFY = """
import json, sys
sys.modules["tensorflow"] = None
from mediapipe.tasks.python.core.base_options import BaseOptions
from mediapipe.tasks.python.text.text_classifier import TextClassifier, TextClassifierOptions
model, texts, answers = sys.argv[1:]
with open(texts, encoding="utf-8") as stream:
    texts = json.load(stream)
options = TextClassifierOptions(base_options=BaseOptions(model_asset_path=model))
with TextClassifier.create_from_options(options) as classifier:
    results = [classifier.classify(text).classifications[0].categories for text in texts]
with open(answers, "w", encoding="utf-8") as stream:
    json.dump([[[c.index, c.category_name or "", c.score] for c in result] for result in results], stream)
"""


def classify_with_mediapipe(content: bytes, texts: Sequence[str]) -> list[list[tuple[int, str, float]]]:
    """Return for each text the results of MediaPipe's TextClassifier: (class, label, score), in the order of classes.

    Raises InputError where mediapipe is not installed, StageError with its own words when it refuses the file.
    """
    if find_spec("mediapipe") is None:
        raise InputError("mediapipe is not installed here", "pip install mediapipe")
    with tempfile.TemporaryDirectory() as name:
        model, asked_texts, answers = (Path(name) / part for part in ("model.tflite", "texts.json", "answers.json"))
        model.write_bytes(content)
        # Halves of surrogate pairs are not Unicode: replaced as decoders do, and as core.tokenizer does.
        plain = [text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for text in texts]
        asked_texts.write_text(json.dumps(plain), encoding="utf-8")
        command = [sys.executable, "-c", _CLASSIFY, str(model), str(asked_texts), str(answers)]
        try:
            ending = children.run(command, timeout=TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise StageError(f"MediaPipe's TextClassifier did not answer within {TIMEOUT:.0f} s") from error
        if ending.status or not answers.is_file():
            message = ending.last_error_line or f"it {ending.how}"
            raise StageError(f"MediaPipe's TextClassifier refuses the file: {message}")
        results = read_json(answers)
    return [sorted((int(place), str(label), float(score)) for place, label, score in result) for result in results]


def compare_with_mediapipe(file: TextFile, artifact: Artifact, tokenizer_folder: Path) -> dict[str, Any]:
    """Run MediaPipe's TextClassifier on the golden texts and compare it with the artifact on LiteRT.

    Returns ``texts``, ``same_labels`` (the highest score), ``largest_difference`` of a score, and up to five
    ``examples`` as in `TextFile.parity`. Raises InputError and StageError as `classify_with_mediapipe`, and
    InputError when `file` is none or there are no golden texts.
    """
    texts = golden_texts(tokenizer_folder)
    if not file.content or artifact.path is None or not texts:
        raise InputError("there is nothing to compare: no file for text classifiers, or no golden texts")
    try:
        tokenizer = open_tokenizer(tokenizer_folder)
    except ValueError as error:
        raise InputError(str(error)) from error
    scores = compare_in_child("own_scores", artifact, tokenizer_folder, _frame(artifact, tokenizer, 0))
    same, largest = 0, 0.0
    examples: list[dict[str, Any]] = []
    for text, answer, own_ in zip(texts, classify_with_mediapipe(file.content, texts), scores, strict=True):
        own, theirs = np.array(own_), np.array([score for _, _, score in answer])
        largest = max(largest, float(np.abs(own - theirs).max()))
        if top_class(own) == top_class(theirs):
            same += 1
        elif len(examples) < MAX_EXAMPLES:
            examples.append(example(text, artifact.labels, own, theirs))
    return {"texts": len(texts), "same_labels": same, "largest_difference": largest, "examples": examples}
