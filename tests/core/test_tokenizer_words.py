"""The device's tokenizer of kind ``words``: steps, vocabularies and hashes, compared with TensorFlow's operators."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core import tokenizer as device
from edgeproof.core.tokenizer import open_tokenizer, python_pattern
from edgeproof.frameworks.tensorflow import load
from edgeproof.train.text.vocabulary import TokenizerData, write_tokenizer

TEXTS = [
    "", " ", "The cat, the DOG; and 3.50 €!", "Größe ÄÖÜ ß ſ", "a  b   c ", "tab\tnew\nline\x0bvt\x0cff", "it's (well)",
    "東京は日本の首都です。", "Привет, МИР", "x" * 200, "a_b-c d__e", "ẛ̣ ﬁ Ⅷ", "emoji 👍🏽 ok", "[x] {y} ^z$ \\ |",
]  # fmt: skip
SPLIT = {"do": "split", "separator": " "}


def open_steps(folder: Path, steps: list[dict[str, Any]], **settings: Any) -> device.Tokenizer:
    common = {"kind": "words", "length": 8, "steps": steps, "unknown": 0} | settings
    write_tokenizer(folder, common, None if "hash" in settings else ["a", "b"])
    return open_tokenizer(folder)


def strings(tokenizer: device.Tokenizer, text: str) -> list[str]:
    return tokenizer._steps([text])


def random_bytes(count: int, seed: int = 1) -> list[bytes]:
    draw = random.Random(seed)
    sizes = [*range(200), *(draw.choice((16, 17, 32, 33, 64, 65, 128, 129)) for _ in range(count - 200))]
    return [bytes(draw.randrange(256) for _ in range(size)) for size in sizes]


@pytest.mark.slow
def test_hashes_are_those_of_tensorflow_for_strings_of_all_lengths() -> None:
    tf, _ = load()
    data = [*random_bytes(3000), *(text.encode() for text in TEXTS)]
    many = 2**62
    fast = tf.strings.to_hash_bucket_fast(data, many).numpy()
    assert [device.fingerprint64(one) % many for one in data] == fast.tolist()
    strong = tf.strings.to_hash_bucket_strong(data, many, [12345678901234, 987654321]).numpy()
    assert [device.siphash(one, (12345678901234, 987654321)) % many for one in data] == strong.tolist()


def test_hashes_are_the_published_ones() -> None:
    # SipHash-2-4's vector for the bytes 0…14 under the key 0…15 (Aumasson and Bernstein, 2012, appendix A).
    key = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    assert device.siphash(bytes(range(15)), key) == 0xA129CA6149BE45E5
    assert device.fingerprint64(b"") == 0x9AE16A3B2F90404F


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "operator"),
    [
        ({"do": "lower", "ascii": True}, lambda tf, x: tf.strings.lower(x)),
        ({"do": "lower"}, lambda tf, x: tf.strings.lower(x, encoding="utf-8")),
        ({"do": "upper", "ascii": True}, lambda tf, x: tf.strings.upper(x)),
        ({"do": "strip"}, lambda tf, x: tf.strings.strip(x)),
        ({"do": "join", "before": "<", "after": ">"}, lambda tf, x: tf.strings.join(["<", x, ">"])),
    ],
)
def test_steps_do_what_tensorflows_operators_do(
    step: dict[str, Any], operator: Callable[[Any, Any], Any], tmp_path: Path
) -> None:
    tf, _ = load()
    tokenizer = open_steps(tmp_path, [step])
    expected = [one.decode() for one in operator(tf, tf.constant(TEXTS)).numpy()]
    assert [strings(tokenizer, text)[0] for text in TEXTS] == expected


PATTERNS = [
    (r"[[:punct:]]", ""), (r"[^[:alnum:] ]", "_"), (r"([.,!?;:'\"()-])", r" \1 "), (r"\s+", " "), (r"\S", "x"),
    (r"\d", "0"), (r"[\s\d]+", "-"), (r"\W", "#"), (r"\x{20ac}", "euro"), (r"[\x{0400}-\x{04FF}]+", "<\\0>"),
    (r"\pL", "L"),
    (r"\p{Lu}", "U"), (r"[\p{P}\p{S}]", "p"), (r"\PL+", "."), (r"e$", "E"), (r"^\w+", "first"), (r"(?i)the", "THE"),
    (r"[]x]", "r"), (r"[^]x]", "r"), (r"(\w)(\w)", r"\2\1"), (r"a|b", r"\\"),
    ("[!\"#$%&()\\*\\+,-\\./:;<=>?@\\[\\\\\\]^_`{|}~\\']", ""),
]  # fmt: skip


@pytest.mark.slow
def test_regular_expressions_mean_what_they_mean_to_tensorflow(tmp_path: Path) -> None:
    tf, _ = load()
    for pattern, rewrite in PATTERNS:
        for first in (False, True):
            tokenizer = open_steps(tmp_path, [{"do": "replace", "pattern": pattern, "with": rewrite, "first": first}])
            replaced = tf.strings.regex_replace(TEXTS, pattern, rewrite, replace_global=not first).numpy()
            results = [strings(tokenizer, text)[0] for text in TEXTS]
            assert results == [one.decode() for one in replaced], pattern


@pytest.mark.slow
def test_splits_and_ngrams_are_those_of_tensorflow(tmp_path: Path) -> None:
    tf, _ = load()
    import tensorflow_text as tf_text

    cases: list[tuple[list[dict[str, Any]], Callable[[Any], Any]]] = [
        ([{"do": "split", "separator": ""}], tf.strings.split),
        ([SPLIT], lambda x: tf.strings.split(x, " ")),
        ([{"do": "characters"}], lambda x: tf.strings.unicode_split(x, "UTF-8")),
        ([{"do": "split_pattern", "pattern": r"\s+|[[:punct:]]", "keep": "[[:punct:]]"}],
         lambda x: tf_text.regex_split(x, r"\s+|[[:punct:]]", "[[:punct:]]")),
    ]  # fmt: skip
    for widths, pad, short in (([2], 0, False), ([1, 3], 0, True), ([2, 3], -1, False), ([4], 1, True)):
        left, right = ("<", ">") if pad else ("", "")
        step = {"do": "ngrams", "widths": widths, "separator": "_", "left": left, "right": right} | {
            "pad": pad, "short": short,
        }  # fmt: skip

        def ngrams(x: Any, step: dict[str, Any] = step) -> Any:
            rows = tf.strings.split(x, " ")
            grams, splits = tf.raw_ops.StringNGrams(
                data=rows.flat_values, data_splits=rows.row_splits, separator="_", ngram_widths=step["widths"],
                left_pad=step["left"], right_pad=step["right"], pad_width=step["pad"],
                preserve_short_sequences=step["short"],
            )  # fmt: skip
            return tf.RaggedTensor.from_row_splits(grams, splits)

        cases.append(([SPLIT, step], ngrams))
    for skip in (True, False):
        for separators in (" ", " -_"):
            step = {"do": "split_any", "separators": separators, "skip_empty": skip}

            def split(x: Any, separators: str = separators, skip: bool = skip) -> Any:
                parts = tf.raw_ops.StringSplit(input=x, delimiter=separators, skip_empty=skip)
                return tf.RaggedTensor.from_value_rowids(parts.values, parts.indices[:, 0], nrows=len(TEXTS))

            cases.append(([step], split))

    def filled(x: Any) -> Any:
        split = tf.compat.v1.string_split(x, delimiter=" ")
        return tf.RaggedTensor.from_sparse(tf.sparse.fill_empty_rows(split, "<none>")[0])

    words = {"do": "split_any", "separators": " ", "skip_empty": True}
    cases.append(([words, {"do": "fill", "with": "<none>"}], filled))
    for steps, operator in cases:
        tokenizer = open_steps(tmp_path, steps)
        rows = [[one.decode() for one in row] for row in operator(tf.constant(TEXTS)).to_list()]
        assert [strings(tokenizer, text) for text in TEXTS] == rows, steps


def test_words_are_looked_up_hashed_or_unknown(tmp_path: Path) -> None:
    steps = [{"do": "lower"}, {"do": "split", "separator": ""}]
    write_tokenizer(
        tmp_path / "plain", {"kind": "words", "length": 5, "steps": steps, "unknown": 9}, [None, "a", "b c", "b"]
    )
    plain = open_tokenizer(tmp_path / "plain")
    assert plain.encode("A b z") == ([1, 3, 9, 0, 0], 3) and plain.size == 10
    assert (tmp_path / "plain" / "vocab.json").is_file()  # an id without a token: no line can be that
    about = {"kind": "fingerprint64", "buckets": 7, "add": 2}
    write_tokenizer(
        tmp_path / "hashed", {"kind": "words", "length": 3, "steps": steps, "hash": about, "unknown": 0}, ["a", "b"]
    )
    hashed = open_tokenizer(tmp_path / "hashed")
    zebra = device.fingerprint64(b"zebra") % 7 + 2
    assert hashed.encode("a zebra") == ([0, zebra, 0], 2) and hashed.size == 9
    assert not hashed.fits("a b a b") and hashed.fits("a b a")


def test_several_tokenizers_feed_a_model_of_several_inputs(tmp_path: Path) -> None:
    words = {"kind": "words", "length": 4, "steps": [SPLIT], "unknown": 1, "names": ["ids", "lens"]}
    pairs = {
        "kind": "words", "length": 3, "steps": [SPLIT, {"do": "ngrams", "widths": [2], "separator": " "}], "pad": 5,
        "hash": {"kind": "siphash", "key": [1, 2], "buckets": 100, "add": 0}, "unknown": 0, "names": ["ids_2"],
    }  # fmt: skip
    write_tokenizer(tmp_path, words, ["x", "?"], more=[TokenizerData(pairs)])
    bucket = device.siphash(b"x y", (1, 2)) % 100
    assert open_tokenizer(tmp_path).feed("x y") == {"ids": [[0, 1, 0, 0]], "lens": [2], "ids_2": [[bucket, 5, 5]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": "lower"}, "not a list"),
        ({"steps": [{"do": "magic"}]}, "'magic' is none of"),
        ({"steps": [{"do": "__init__"}]}, "is none of"),
        ({"steps": [{"do": "replace", "pattern": r"\p{Han}", "with": ""}]}, r"\p{Han}"),
        ({"steps": [{"do": "replace", "pattern": "(", "with": ""}]}, "cannot be used"),
        ({"steps": [{"do": "replace", "with": ""}]}, "cannot be done"),
        ({"steps": [{"do": "normalize", "form": "NFX"}]}, "NFX"),
        ({"hash": {"kind": "md5", "buckets": 3, "add": 0}}, "hash"),
        ({"hash": {"kind": "siphash", "buckets": 3, "add": 0}}, "key"),
        ({"hash": {"kind": "fingerprint64", "buckets": 0, "add": 0}}, "buckets"),
        ({"names": ["1x"]}, "names"),
        ({"more": [{"kind": "words"}]}, ""),
    ],
)
def test_settings_that_say_nothing_possible_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    open_steps(tmp_path, [SPLIT])
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError) as caught:
        open_tokenizer(tmp_path)
    assert message in str(caught.value)


def test_patterns_that_python_cannot_have_are_refused_by_name() -> None:
    for pattern in (r"\C", r"\Qa\E", r"[\S]", r"[[:nothing:]]", r"[\P{L}]", "a" * (1 << 17)):
        with pytest.raises(ValueError):
            python_pattern(pattern)


def test_without_tensorflow_a_string_part_says_what_is_missing(tmp_path: Path) -> None:
    """The program that runs on devices, in a Python that sees no packages at all."""
    (tmp_path / "string_part").mkdir()
    (tmp_path / "string_part" / "saved_model.pb").write_bytes(b"")
    settings = {"version": 1, "kind": "tensorflow", "length": 4, "pad": 0, "size": 9}
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings))
    code = (
        "import sys; sys.executable = sys.argv[3]; sys.path.insert(0, sys.argv[1]); import tokenizer\n"
        "try: tokenizer.open_tokenizer(sys.argv[2])\n"
        "except ValueError as error: print(error)"
    )
    lonely = tmp_path / "python"
    lonely.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    lonely.chmod(0o755)
    core = str(Path(device.__file__).parent)
    run = [sys.executable, "-I", "-S", "-c", code, core, str(tmp_path), str(lonely)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert "no tokenizer for devices" in done.stdout and "No module named 'tensorflow'" in done.stdout
