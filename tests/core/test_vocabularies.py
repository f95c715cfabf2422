"""Vocabularies learnt from texts: the same every time, the most frequent first, and open for any texts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof.core.errors import InputError
from edgeproof.core.tokenizer import open_tokenizer, word_splitter
from edgeproof.train.text.vocabulary import learn, write_tokenizer

from ..support.tokenizer_texts import corpus

# --- vocabularies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wordpiece", "whitespace"])
def test_a_vocabulary_depends_on_the_texts_alone(kind: Any) -> None:
    texts = corpus()
    vocabulary = learn(texts, size=200, tokenizer=kind)
    assert learn(texts[::-1], size=200, tokenizer=kind) == vocabulary
    assert vocabulary[:2] == ["[PAD]", "[UNK]"]
    assert len(vocabulary) == len(set(vocabulary)) <= 200
    program = (
        "import json, sys; from edgeproof.train.text.vocabulary import learn;"
        "print(json.dumps(learn(json.load(sys.stdin), size=200, tokenizer=sys.argv[1])));"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, kind],
        input=json.dumps(texts), env={**os.environ, "PYTHONHASHSEED": "77"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == vocabulary


def test_words_come_by_frequency_and_then_by_their_letters() -> None:
    texts = ["b b b c c a a once", "B C"]
    assert learn(texts, size=32, tokenizer="whitespace") == ["[PAD]", "[UNK]", "b", "c", "a"]
    assert learn(texts, size=4, tokenizer="whitespace") == ["[PAD]", "[UNK]", "b", "c"]
    cased = learn(["b B B", "B b b"], size=32, tokenizer="whitespace", lower_case=False)
    assert cased == ["[PAD]", "[UNK]", "B", "b"]


def test_pieces_are_joined_most_frequent_first() -> None:
    # h-u 15 times, then hu-g 15 times; p-u 5 times is next with pu-g, both 5 times.
    texts = ["hug " * 10 + "hugs " * 5 + "pug " * 5]
    vocabulary = learn(texts, size=100, tokenizer="wordpiece")
    assert set(vocabulary[2:7]) == {"h", "##u", "##g", "##s", "p"}
    assert vocabulary[7] == "##ug"  # 20 times: in all words
    assert vocabulary[8:] == ["hug", "hugs", "pug"]


@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=10), size=st.integers(32, 120))
@settings(max_examples=60, deadline=None)
def test_any_texts_give_a_vocabulary_that_opens(texts: list[str], size: int, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "learnt"
    for kind in ("wordpiece", "whitespace"):
        try:
            vocabulary = learn(texts, size=size, tokenizer=kind)  # type: ignore[arg-type]
        except InputError:
            assert not any(list(word_splitter(kind, True, "")(text)) for text in texts)
            continue
        assert 2 <= len(vocabulary) <= size
        write_tokenizer(folder, {"kind": kind, "length": 8, "unknown": 1, "lower_case": True}, vocabulary)
        tokenizer = open_tokenizer(folder)
        assert tokenizer.vocabulary == vocabulary


def test_no_words_and_no_room_are_input_errors() -> None:
    with pytest.raises(InputError, match="no words"):
        learn(["", "  \n"], size=100, tokenizer="wordpiece")
    with pytest.raises(InputError, match="holds no words"):
        learn(["a"], size=2, tokenizer="whitespace")
