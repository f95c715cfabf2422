"""Targets in tables that are no classes: tags in a cell, several columns, and numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe_data import Data
from edgeproof.core.store import Store
from edgeproof.data.number_tables import Columns, read_numbers
from edgeproof.data.tags import are_tags
from edgeproof.export import save
from edgeproof.train.external import Input
from edgeproof.workflows.array_files import with_arrays
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.prepare_data import prepared
from edgeproof.workflows.samples import Samples

from ..support.array_data import COUNT, WEIGHTS, X, measured, spread, table
from ..support.metrics import average_precision
from ..support.micro_files import FEATURES, dense
from ..support.picture_models import linear_model, prepared_pixels, weights_of, write_pictures

TAGS = (np.random.default_rng(6).random((COUNT, 4)) < 0.4) & np.array([True, True, False, True])
LOGITS = X @ WEIGHTS.T + np.array([0.1, 0, 0, -0.1])
EXPECTED = float(np.mean([average_precision(LOGITS[:, tag], TAGS[:, tag].astype(int)) for tag in (0, 1, 3)]))
CELLS = ["|".join(np.array(list("dcba"))[row[::-1]]) for row in TAGS]  # tags in any order, or none
ONE = (Input("x", (1, 1), "float32"),)


def file(folder: Path, **changes: Any) -> Path:
    artifact = dense(folder / "m--tflite-float32.tflite", "float32")
    save(replace(artifact, **changes), folder)
    assert artifact.path is not None
    return artifact.path


def test_tags_in_a_cell_are_found_among_those_of_the_model(tmp_path: Path, edgeproof: Callable[..., str]) -> None:
    """The model has one tag more than the data, and a row may have none."""
    assert "" in CELLS and any("|" in cell for cell in CELLS)
    csv = table(tmp_path / "t.csv", CELLS)
    row = measured(file(tmp_path), tmp_path, f"csv:{csv}", edgeproof, "--target", "answer")
    assert (row["metric"], row["samples"]) == ("mAP", COUNT) and row["accuracy"] == pytest.approx(EXPECTED)
    assert set(row["metrics"]) > {"F1 a", "F1 b", "F1 c", "F1 d"} and 0.3 < EXPECTED < 0.9


def test_tags_of_a_file_that_does_not_name_its_own_need_an_order(tmp_path: Path, edgeproof: Callable[..., str]) -> None:
    path = file(tmp_path, labels=())
    csv = table(tmp_path / "t.csv", [f"{cell}|c" if cell else "c" for cell in CELLS])
    refused = ("evaluate", path, "--data", f"csv:{csv}", "--target", "answer", "--on", "local/litert")
    said = edgeproof(*refused, "--out", tmp_path / "no", status=2)
    assert "the names of its tags are not known" in said and "--labels from-folders" in said
    row = measured(path, tmp_path, f"csv:{csv}", edgeproof, "--target", "answer", "--labels", "from-folders")
    with_c = (TAGS | np.array([False, False, True, False])).astype(int)
    expected = np.mean([average_precision(LOGITS[:, tag], with_c[:, tag]) for tag in range(4)])
    assert row["accuracy"] == pytest.approx(expected)
    (tmp_path / "names.txt").write_text("a\nb\nc\ne\n", "utf-8")
    said = edgeproof(*refused, "--labels", tmp_path / "names.txt", "--out", tmp_path / "no", status=2)
    assert "it does not know d; d is in" in said and "samples, first in" in said


def test_several_columns_are_tags_in_their_order_or_by_name(tmp_path: Path, edgeproof: Callable[..., str]) -> None:
    first, *lines = table(tmp_path / "t.csv", CELLS).read_text("utf-8").splitlines()
    rows = [f"{line},{','.join(map(str, tags))}" for line, tags in zip(lines, TAGS.astype(int), strict=True)]
    features = ("--features", ",".join(f"f{n}" for n in range(FEATURES)))
    for names, asked in (("yes,no,perhaps,never", "yes,no,perhaps,never"), ("a,b,c,d", "d,c,b,a")):
        (tmp_path / "c.csv").write_text("\n".join([f"{first},{names}", *rows]), "utf-8")
        source = f"csv:{tmp_path / 'c.csv'}"
        row = measured(file(tmp_path), tmp_path, source, edgeproof, *features, "--target", asked)
        assert row["metric"] == "mAP" and row["accuracy"] == pytest.approx(EXPECTED)


def test_numbers_are_kept_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('x,t,u,"v,w"\n1,0.5,-3,1\n2,1.25,4,2\n', "utf-8")
    one = read_numbers(path, Columns(("x",), ("t",))).targets
    assert one is not None and one.values.dtype == np.float32 and one.values.tolist() == [0.5, 1.25] and not one.names
    two = read_numbers(path, Columns(("x",), ("t, u",))).targets
    assert two is not None and two.values.dtype == np.float32 and two.names == ("t", "u") and not two.tags
    assert two.values.tolist() == [[0.5, -3], [1.25, 4]]
    whole = read_numbers(path, Columns(("x",), ("v,w",))).targets  # a name with a comma
    assert whole is not None and whole.values.dtype == np.int64 and whole.values.tolist() == [1, 2]
    both = read_numbers(path, Columns(("x",), ('u, "v,w"',))).targets
    assert both is not None and both.names == ("u", "v,w") and both.values.tolist() == [[-3, 1], [4, 2]]
    assert read_numbers(path, Columns(("x",), ("t,u",)), targets=False).targets is None


def test_no_column_of_targets_is_a_feature(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,t,u\n1,0.5,-3\n2,nan,4\n", "utf-8")
    two = Data(source=f"csv:{path}", target="t,u")
    assert spread(two, ONE, use="train").inputs[""].tolist() == [[1], [2]]


def test_windows_have_the_tags_of_their_last_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,t\n1,a|b\n2,\n3,a\n4,b\n", "utf-8")
    samples = spread(Data(source=f"csv:{path}", target="t", window=2), (Input("x", (1, 2, 1), "float32"),))
    assert samples.targets is not None and samples.targets.tolist() == [[0, 0], [0, 1]]
    assert samples.names == ("a", "b") and samples.task == "multilabel" and samples.by_name


@pytest.mark.parametrize(
    "cells, target, words",
    [
        (("a|b", "a||b"), "t", "line 3, column 't': 'a||b' has an empty tag"),
        (("a|a", "b"), "t", "line 2, column 't': 'a|a' has a tag twice"),
        (("1,2", "3,"), "t,u", "line 3, column 'u': empty"),
        (("1,2", "3,x"), "t,u", "line 3, column 'u': 'x' is no number"),
        (("1,2", "nan,3"), "t,u", "line 3, column 't': 'nan' is not finite"),
        (("1,2", "3,4"), "t,t", "named twice among the targets"),
        (("1,2", "3,4"), "t,z", "no column 'z'"),
    ],
)
def test_targets_that_are_none_are_refused_with_the_line(
    cells: tuple[str, ...], target: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    header = "x,t" if target == "t" else "x,t,u"
    path.write_text("\n".join([header, *(f"1,{cell}" for cell in cells)]), "utf-8")
    with pytest.raises(InputError) as caught:
        spread(Data(source=f"csv:{path}", target=target), ONE)
    assert words in f"{caught.value.message} ({caught.value.remedy})"


def test_tags_of_which_each_row_has_one_are_tags_where_the_task_says_so(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,t\n1,b\n2,a\n", "utf-8")
    spec, data = InputSpec("tensor", inputs=ONE), Data(source=f"csv:{path}", target="t")
    samples = with_arrays(data, spec, Path(), use="test", targets=True, listener=Silent(), task="multilabel")
    assert isinstance(samples, Samples) and samples.targets is not None
    assert samples.targets.tolist() == [[0, 1], [1, 0]] and samples.names == ("a", "b")


def test_a_table_of_pictures_may_have_tags(tmp_path: Path, edgeproof: Callable[..., str]) -> None:
    """Pictures of one split, in the files that the table names; one of them has no tag."""
    path, shape = tmp_path / "m.tflite", (12, 20, 3)
    path.write_bytes(linear_model(shape))
    pictures = list(write_pictures(tmp_path / "p", 4))
    tags = np.random.default_rng(9).random((len(pictures), 3)) < 0.5
    tags[1] = False
    rows = ["path,label,split"]
    for number, (picture, row) in enumerate(zip(pictures, tags, strict=True)):
        cell = "|".join(np.array(list("abc"))[row])
        rows.append(f"{picture.relative_to(tmp_path)},{cell},{'train' if number % 3 == 2 else 'test'}")
    (tmp_path / "t.csv").write_text("\n".join(rows), "utf-8")
    (tmp_path / "labels.txt").write_text("a\nb\nc\n", "utf-8")
    options = ("--value-range", "0,1", "--labels", tmp_path / "labels.txt")
    row = measured(path, tmp_path, f"csv:{tmp_path / 't.csv'}", edgeproof, *options)
    test = [number for number in range(len(pictures)) if number % 3 != 2]
    pixels = np.array([prepared_pixels(pictures[number], shape, "stretch") for number in test]).reshape(len(test), -1)
    logits = pixels / 255 @ (weights_of(shape) * 0.002).T
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.mean([average_precision(scores[:, tag], tags[test, tag].astype(int)) for tag in range(3)])
    assert (row["metric"], row["samples"]) == ("mAP", len(test)) and row["accuracy"] == pytest.approx(expected)
    said = edgeproof("evaluate", path, "--data", f"csv:{tmp_path / 't.csv'}", *options, "--task", "segmentation",
                     "--on", "local/litert", "--out", tmp_path / "no", status=2)  # fmt: skip
    assert "has no targets of the task segmentation" in said
    (tmp_path / "t.csv").write_text("path,label\np/a/00.png,a||b\n", "utf-8")
    said = edgeproof("evaluate", path, "--data", f"csv:{tmp_path / 't.csv'}", *options, "--on", "local/litert",
                     "--out", tmp_path / "no", status=2)  # fmt: skip
    assert "t.csv, p/a/00.png: 'a||b' has an empty tag" in said


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_a_table_of_texts_may_have_tags(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{form}"
    rows = [("one", "b|a"), ("two", ""), ("three, four", "c")]
    if form == "jsonl":
        path.write_text("".join(json.dumps({"text": text, "label": cell}) + "\n" for text, cell in rows), "utf-8")
    else:
        mark, quote = (",", '"') if form == "csv" else ("\t", "")
        lines = [f"{quote}{text}{quote}{mark}{cell}" for text, cell in rows]
        path.write_text("\n".join([f"text{mark}label", *lines]), "utf-8")
    data, spec = Data(source=f"{form}:{path}"), InputSpec("text")
    samples = with_arrays(data, spec, Path(), use="test", targets=True, listener=Silent())
    assert isinstance(samples, Samples) and samples.targets is not None
    assert samples.texts == ("one", "two", "three, four") and samples.names == ("a", "b", "c")
    assert samples.targets.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    kept = prepared(
        samples, spec, seed=1, folder=Path(), store=Store(tmp_path / "store"), listener=Silent(), use="test"
    )
    assert np.load(kept.targets("test")).tolist() == samples.targets.tolist() and kept.task == "multilabel"
    assert with_arrays(data, spec, Path(), use="test", targets=True, listener=Silent(), task="classification") is data
    bare = with_arrays(data, spec, Path(), use="train", targets=False, listener=Silent())
    assert isinstance(bare, Samples) and bare.targets is None and len(bare.texts) == 3


@pytest.mark.parametrize(
    ("cells", "tags"),
    [
        (["cat|dog", "cat"], True),
        (["cat|dog", "dog|owl"], True),
        (["cat | dog", "dog", ""], True),
        (["a|b", "a|b", "c"], False),
        (["cat", "dog"], False),
        (["a|b", "", "c"], True),
        (["a|a", "c"], True),
        (["a||b"], True),
        (["", "cat"], False),
        ([], False),
    ],
)
def test_a_class_may_be_called_as_tags_are_written(cells: list[str], tags: bool) -> None:
    assert are_tags(cells) is tags
