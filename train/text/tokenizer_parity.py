"""Compares two implementations of a tokenizer: operators of TensorFlow Text, and the device's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.codec import write_json
from ...core.errors import InputError
from ...core.progress import Listener
from ...core.tokenizer import Tokenizer, open_tokenizer, read_file, read_settings
from ...frameworks.tensorflow import load
from ...tasks.classification import answers_fit
from .vocabulary import GOLDEN, PAD

GOLDEN_VERSION = 1
MAX_GOLDEN = 32
MAX_EXAMPLES = 10
EXAMPLE_CHARACTERS = 120
EXAMPLE_IDS = 4
BATCH = 256

# White_Space of the Unicode Character Database beyond ASCII. WhitespaceTokenizer of tensorflow_text 2.21 leaves the
# first byte of such a character on the word before it, so the reference turns them into plain spaces first.
_WIDE_SPACES = r"[\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]"


def tf_tokenizer(settings: Mapping[str, Any], vocabulary: Sequence[str] | None, model: bytes | None) -> Any:
    """Return a tf.Module that maps texts (n,) string to a RaggedTensor (n, None) int32 of all their tokens' ids.

    `settings` are those of ``tokenizer.json``; `vocabulary` belongs to kinds ``wordpiece`` and ``whitespace``, `model`
    (its bytes) to ``sentencepiece``. Can be called in a tf.function and saved in a SavedModel, which then
    contains the vocabulary; loading it requires tensorflow_text to be imported.
    """
    tf, _ = load()
    import tensorflow_text as tf_text

    module: Any = tf.Module

    offset = settings.get("offset", 0)
    lower_case = settings.get("lower_case", False)
    normalize = settings.get("normalize", "")

    class SentencePiece(module):
        def __init__(self) -> None:
            super().__init__()
            self.tokenizer = tf_text.SentencepieceTokenizer(model=model, out_type=tf.int32)

        def __call__(self, texts: Any) -> Any:
            return self.tokenizer.tokenize(texts) + offset

    class Words(module):
        """`table` gives an unknown word the id that, with the offset, is the settings' unknown one."""

        def __init__(self) -> None:
            super().__init__()
            keys, ids = tf.constant(list(vocabulary or ())), tf.range(len(vocabulary or ()), dtype=tf.int64)
            initializer = tf.lookup.KeyValueTensorInitializer(keys, ids)
            self.table = tf.lookup.StaticHashTable(initializer, settings["unknown"] - offset)

    class WordPiece(Words):
        def __init__(self) -> None:
            super().__init__()
            self.tokenizer = tf_text.BertTokenizer(
                self.table,
                max_bytes_per_word=settings.get("max_word_bytes", 100),
                unknown_token=_absent(vocabulary or ()),
                lower_case=lower_case,
                normalization_form=None if lower_case else normalize or None,
            )

        def __call__(self, texts: Any) -> Any:
            return tf.cast(self.tokenizer.tokenize(texts).merge_dims(-2, -1) + offset, tf.int32)

    class Whitespace(Words):
        def __init__(self) -> None:
            super().__init__()
            self.tokenizer = tf_text.WhitespaceTokenizer()

        def __call__(self, texts: Any) -> Any:
            if normalize:
                texts = tf_text.normalize_utf8(texts, normalize)
            if lower_case:
                texts = tf_text.case_fold_utf8(texts)
            texts = tf.strings.regex_replace(texts, _WIDE_SPACES, " ")
            words = self.tokenizer.tokenize(texts)
            return tf.cast(words.with_flat_values(self.table.lookup(words.flat_values)) + offset, tf.int32)

    kinds = {"sentencepiece": SentencePiece, "wordpiece": WordPiece, "whitespace": Whitespace}
    return kinds[settings["kind"]]()


def reference_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of `folder` in TensorFlow: a tf.Module with the results of the device's `encode`.

    Called with texts (n,) string it returns ids (n, length) int32, with start and end ids, cut and padded, and how
    many of them are real, (n,) int32. Raises InputError when the folder is not a tokenizer's.
    """
    tf, _ = load()
    try:
        device = open_tokenizer(folder)
        settings = read_settings(folder)
        data = read_file(folder, settings)
    except ValueError as error:
        raise InputError(str(error)) from error
    # The device tokenizer has read settings that are left out from the file.
    settings = {**settings, "unknown": device.unknown}
    if settings["kind"] == "sentencepiece":
        tokenize = tf_tokenizer(settings, None, data)
    else:
        tokenize = tf_tokenizer(settings, device.vocabulary, None)
    before = [] if device.start is None else [device.start]
    after = [] if device.end is None else [device.end]
    room = device.length - len(before) - len(after)
    module: Any = tf.Module

    class Reference(module):
        def __init__(self) -> None:
            super().__init__()
            self.tokenizer = tokenize

        def __call__(self, texts: Any) -> tuple[Any, Any]:
            return self.fit(self.tokenizer(texts))

        def fit(self, rows: Any) -> tuple[Any, Any]:
            """Cut and pad the output of `tokenizer`, and set the start and end ids."""
            rows = rows[:, :room]
            count = rows.nrows()
            ends = [tf.tile(tf.constant([[i]], tf.int32), [count, 1]) for i in (*before, *after)]
            rows = tf.concat([*ends[: len(before)], rows, *ends[len(before) :]], axis=1) if ends else rows
            ids = rows.to_tensor(default_value=device.pad, shape=[None, device.length])
            return ids, tf.cast(rows.row_lengths(), tf.int32)

    return Reference()


def measure_parity(
    tokenizer_folder: Path,
    texts: Sequence[str],
    listener: Listener,
    original: Callable[[Any], Sequence[Any]] | None = None,
) -> dict[str, Any]:
    """Compare the model inputs of the reference and of the device tokenizer, over all `texts`.

    `original` is the tokenizer inside the string model if that is not `reference_tokenizer` (a Hub encoder's own): it
    maps texts (n,) string to ids (n, length or less) and their number (n,), and the same for each further input of the
    model.

    Returns ``samples``, ``same`` (texts with equal ids and length), ``rate`` (their share; 1.0 for no texts),
    ``truncated`` (texts with more tokens than fit) and up to ten ``examples`` of differences: the beginning of
    ``text``, the ``position`` of the first id that differs, and the ids around it, ``reference`` and ``device``.
    """
    original = original or reference_tokenizer(tokenizer_folder)
    device = open_tokenizer(tokenizer_folder)
    parts = [device, *device.more]
    same = truncated = 0
    examples: list[dict[str, Any]] = []
    for first in range(0, len(texts), BATCH):
        batch = texts[first : first + BATCH]
        tensors = iter([tensor.numpy() for tensor in original(_tensor(batch))])
        expected = [[next(tensors) for _ in part.names] for part in parts]
        for at, text in enumerate(batch):
            difference = _difference(text, parts, [[array[at] for array in arrays] for arrays in expected])
            truncated += not all(part.fits(text) for part in parts)
            if difference is None:
                same += 1
            elif len(examples) < MAX_EXAMPLES:
                examples.append(difference)
        listener.progress("compare tokenizers", first + len(batch), len(texts))
    return {
        "samples": len(texts),
        "same": same,
        "rate": same / len(texts) if texts else 1.0,
        "truncated": truncated,
        "examples": examples,
    }


def _difference(text: str, parts: Sequence[Tokenizer], expected: Sequence[Sequence[Any]]) -> dict[str, Any] | None:
    """Return how the ids and counts of the device's tokenizers differ from the `expected` ones; None if equal."""
    for part, (ids, *count) in zip(parts, expected, strict=True):
        row = [*ids.tolist(), *([part.pad] * (part.length - len(ids)))]
        device_ids, number = part.encode(text)
        real = int(count[0]) if count else number
        if device_ids != row or number != real:
            return _example(text, row[:real], device_ids[:number])
    return None


def choose_golden(texts: Sequence[str]) -> list[int]:
    """Return the indices, in order, of up to 32 different texts that are hard for a tokenizer. Deterministic.

    The shortest and the longest; those with most characters beyond ASCII, most punctuation, digits, capitals and
    white space for their length; and others, spread evenly.
    """
    chosen: list[int] = []
    seen: set[str] = set()

    def take(indices: Sequence[int], count: int) -> None:
        for index in indices:
            if count == 0 or len(chosen) == MAX_GOLDEN:
                return
            if texts[index] not in seen:
                seen.add(texts[index])
                chosen.append(index)
                count -= 1

    places = range(len(texts))
    measures = (
        lambda text: -len(text),
        len,
        lambda text: _share(text, lambda c: c > "\x7f"),
        lambda text: len({c for c in text if c > "\x7f"}),
        lambda text: _share(text, lambda c: not c.isalnum() and not c.isspace()),
        lambda text: _share(text, str.isdigit),
        lambda text: _share(text, str.isupper),
        lambda text: _share(text, str.isspace),
    )
    for measure in measures:
        values = [measure(text) for text in texts]
        take(sorted(places, key=lambda index: (-values[index], index)), 3)
    left = max(1, len(texts) // MAX_GOLDEN)
    take([*places[::left], *places], MAX_GOLDEN)
    return sorted(chosen)


def write_golden(
    folder: Path, texts: Sequence[str], answers: Any, labels: Sequence[str], output: str = "probabilities"
) -> None:
    """Write ``golden.json`` into a tokenizer's folder: the expected outputs of a port for `texts`.

    `answers` (n, values) are the float reference's. The file: ``version``, ``labels``, ``vectors`` [{``text``, ``ids``
    (padded), ``count`` (how many ids are real), and the answer under the name `output`}], and ``ids_2``, ``count_2``
    and so on where the model takes ids of several tokenizers.
    """
    device = open_tokenizer(folder)
    rows = np.asarray(answers, np.float64)
    if rows.ndim != 2 or len(rows) != len(texts) or (labels and not answers_fit(rows.shape[1], len(labels))):
        raise ValueError(f"answers of {len(texts)} texts and {len(labels)} labels have the shape {rows.shape}")
    vectors = []
    for text, row in zip(texts, rows, strict=True):
        vector: dict[str, Any] = {"text": text}
        for number, part in enumerate([device, *device.more], 1):
            ending = f"_{number}" if number > 1 else ""
            vector[f"ids{ending}"], vector[f"count{ending}"] = part.encode(text)
        # float32 has seven digits.
        vectors.append(vector | {output: [float(f"{p:.7g}") for p in row]})
    write_json(folder / GOLDEN, {"version": GOLDEN_VERSION, "labels": list(labels), "vectors": vectors})


def _example(text: str, reference: list[int], device: list[int]) -> dict[str, Any]:
    pairs = zip(reference, device)  # noqa: B905 - of unequal length where one ends early
    position = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(reference), len(device)))
    around = slice(max(0, position - EXAMPLE_IDS), position + EXAMPLE_IDS + 1)
    return {
        "text": text if len(text) <= EXAMPLE_CHARACTERS else text[: EXAMPLE_CHARACTERS - 1] + "…",
        "position": position,
        "reference": reference[around],
        "device": device[around],
    }


def _tensor(texts: Sequence[str]) -> Any:
    tf, _ = load()
    return tf.constant([text.encode("utf-8", "surrogatepass") for text in texts], tf.string)


def _share(text: str, predicate: Any) -> float:
    return sum(map(bool, map(predicate, text))) / max(1, len(text))


def _absent(vocabulary: Sequence[str]) -> str:
    """Return a token outside the vocabulary, whose look-up gives the unknown id."""
    token, tokens = PAD, set(vocabulary)
    while token in tokens:
        token += "?"
    return token
