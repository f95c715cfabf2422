"""Texts: where they come from, what is read, what the check says of them, and what is said when they are wrong."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data
from edgeproof.data import fingerprint, kind_of, prepare, prepare_texts
from edgeproof.data import rows as rows_module
from edgeproof.data.rows import Columns
from edgeproof.data.tables import TextTable

from ..support.text_sources import everything, reasons, run, texts, warnings_of, write_csv

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
