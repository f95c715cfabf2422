"""Texts that a recipe trains on whose targets are tags or numbers: what is read, how it is split, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.dataset import SPLITS, PreparedData, read_texts
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe_data import Data
from edgeproof.data import check_trainable, fingerprint, prepare_texts

from ..support.text_sources import warnings_of, write_csv
from ..support.text_tasks import TAGS, told

TEXTS, HELD, NUMBERS = told(60)
CELLS = ["|".join(np.array(TAGS)[row.astype(bool)][::-1]) for row in HELD]


def prepare(folder: Path, task: str = "", **keys: Any) -> PreparedData:
    data = Data.model_validate({"source": "csv:t.csv", **keys})
    fingerprint(data, seed=1, folder=folder, task=task)
    return prepare_texts(data, seed=1, folder=folder, workspace=folder / "out", listener=Silent(), task=task)


def table(folder: Path, rows: list[list[Any]], *columns: str, name: str = "t.csv") -> None:
    write_csv(folder / name, [list(columns), *rows])


def by_text(made: PreparedData) -> dict[str, list[float]]:
    """The target of each text; a text may stand in one split alone."""
    pairs = [
        (text, target)
        for split in SPLITS
        for text, target in zip(read_texts(made.inputs(split)), np.load(made.targets(split)).tolist(), strict=True)
    ]
    assert len(dict(pairs)) == len(pairs) == sum(made.counts.values())
    return dict(pairs)


def test_labels_with_a_bar_are_tags_and_an_empty_cell_has_none(tmp_path: Path) -> None:
    table(tmp_path, [[text, cell] for text, cell in zip(TEXTS, CELLS, strict=True)], "text", "label")
    made = prepare(tmp_path)
    assert made.task == "multilabel" and made.labels == TAGS and made.counts == {
        "train": 43, "validation": 5, "test": 12
    }  # fmt: skip
    assert by_text(made) == dict(zip(TEXTS, HELD.tolist(), strict=True)) and [0, 0] in HELD.tolist()
    counted = {tag: sum(split.values()) for tag, split in made.report["tags"].items()}
    assert counted == dict(zip(TAGS, HELD.sum(axis=0).tolist(), strict=True)) and "classes" not in made.report
    check_trainable(Data(source="csv:t.csv"), seed=1, folder=tmp_path)
    with pytest.raises(InputError, match="the label is empty"):
        prepare(tmp_path, "classification")


def test_a_column_of_numbers_is_a_target(tmp_path: Path) -> None:
    table(tmp_path, [[t, f"{n:.9g}", i] for i, (t, n) in enumerate(zip(TEXTS, NUMBERS, strict=True))], "text", "n", "i")
    for keys, task in (({"target": "n"}, ""), ({"label_column": "n"}, "regression")):
        made = prepare(tmp_path, task, **keys)
        assert made.task == "regression" and made.labels == ()
        assert by_text(made) == {text: [number] for text, number in zip(TEXTS, NUMBERS.tolist(), strict=True)}
    assert "classes" not in made.report and made.report["splits"]["test"] == "cut off by seed 1: 0.2"
    made = prepare(tmp_path, target="n, i")
    assert made.labels == ("n", "i") and by_text(made)[TEXTS[3]] == [NUMBERS[3], 3]
    other = prepare(tmp_path, "regression", target="i")
    assert other.sha256 != made.sha256 and by_text(other)[TEXTS[3]] == [3]


def test_whole_numbers_are_classes_unless_the_task_says_otherwise(tmp_path: Path) -> None:
    table(tmp_path, [[text, index % 3, index] for index, text in enumerate(TEXTS)], "text", "stars", "label")
    made = prepare(tmp_path, target="stars")
    assert made.task == "classification" and made.labels == ("0", "1", "2")
    same = prepare(tmp_path, label_column="stars")
    assert same.sha256 == made.sha256
    keys = fingerprint(Data(source="csv:t.csv", label_column="stars"), seed=1, folder=tmp_path)
    assert "task" not in keys and set(keys["sources"]["source"]) == {"format", "sha256"}
    assert prepare(tmp_path, "regression", target="stars").task == "regression"
    assert prepare(tmp_path, "multilabel", target="stars").labels == ("0", "1", "2")


def test_lines_of_json_hold_lists_of_tags_and_numbers(tmp_path: Path) -> None:
    lines = [
        {"text": text, "tags": [tag for tag, has in zip(TAGS, row, strict=True) if has], "n": float(n)}
        for text, row, n in zip(TEXTS, HELD, NUMBERS, strict=True)
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    made = prepare(tmp_path, "multilabel", source="jsonl:t.jsonl", target="tags")
    assert by_text(made) == dict(zip(TEXTS, HELD.tolist(), strict=True))
    made = prepare(tmp_path, "regression", source="jsonl:t.jsonl", target="n")
    assert by_text(made)[TEXTS[5]] == [NUMBERS[5]]


def test_a_test_source_may_have_other_tags_and_what_one_split_lacks_is_said(tmp_path: Path) -> None:
    table(tmp_path, [[t, "a|b" if i % 2 else "b"] for i, t in enumerate(TEXTS[:40])], "text", "label")
    table(tmp_path, [[t, "b|c" if i % 2 else "b"] for i, t in enumerate(TEXTS[40:])], "text", "label", name="u.csv")
    made = prepare(tmp_path, test_source="csv:u.csv")
    assert made.labels == ("a", "b", "c") and made.counts["test"] == 20
    assert "no test text has 'a': mAP is that of the other tags" in warnings_of(made)
    assert "no training text has 'c': it cannot be learned" in warnings_of(made)


def test_copies_with_other_targets_are_named(tmp_path: Path) -> None:
    rows = [[text, "a|b" if index % 2 else "a", index] for index, text in enumerate(TEXTS)]
    table(tmp_path, [*rows, [TEXTS[0], "b", 99.5]], "text", "label", "n")
    (one,) = prepare(tmp_path).report["conflicts"]["examples"]
    assert {one["label"], one["other_label"]} == {"a", "b"}
    (one,) = prepare(tmp_path, "regression", target="n").report["conflicts"]["examples"]
    assert {one["label"], one["other_label"]} == {"0", "99.5"}


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "a word among numbers": ("regression", {"target": "word"}, r"t\.csv, row 7, column 'word': 'five' is no number"),
    "NaN": ("regression", {"target": "nan"}, r"t\.csv, row 7, column 'nan': 'nan' is not finite"),
    "no number": ("", {"target": "hole"}, r"t\.csv, row 7, column 'hole': no target"),
    "no number of the task": ("regression", {"target": "hole"}, r"row 7, column 'hole': empty, and a number is expe"),
    "an empty tag": ("", {"target": "tag"}, r"t\.csv, row 7, column 'tag': 'a\|\|b' has an empty tag"),
    "a tag twice": ("multilabel", {"target": "twice"}, r"row 7, column 'twice': 'a\|a' has a tag twice"),
    "no tag at all": ("multilabel", {"target": "none"}, "no tag"),
    "one class": ("", {"target": "one"}, "there is only one class: '1'"),
    "one number": ("regression", {"target": "one"}, "all rows have the same target, 1"),
    "one tag": ("multilabel", {"target": "one"}, "all rows have the same target, 1"),
    "no such column": ("regression", {"target": "absent"}, "the header lacks 'absent'"),
    "names as numbers": ("regression", {"target": "label"}, r"row 2, column 'label': 'x0' is no number"),
    "one of two columns": ("", {"target": "n,word"}, r"row 7, column 'word': 'five' is no number"),
}


@pytest.mark.parametrize("case", BAD)
def test_targets_that_cannot_be_trained_on_are_refused_with_their_row(case: str, tmp_path: Path) -> None:
    task, keys, message = BAD[case]
    rows = []
    for index, text in enumerate(TEXTS):
        odd = index == 5
        tag, twice = ("a||b", "a|a") if odd else ("a|b", "b")
        rows.append(
            [text, "five" if odd else index, "nan" if odd else index, "" if odd else index, tag, twice, "", 1,
             f"x{index % 2}", index]
        )  # fmt: skip
    table(tmp_path, rows, "text", "word", "nan", "hole", "tag", "twice", "none", "one", "label", "n")
    with pytest.raises(InputError, match=message) as refused:
        prepare(tmp_path, task, **keys)
    assert refused.value.remedy


def test_folders_of_classes_have_no_numbers(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "set" / name / f"{number}.txt").write_text(f"text {number} {name}", "utf-8")
    with pytest.raises(InputError, match="is no table of texts"):
        prepare(tmp_path, "regression", source="textfolder:set")
    with pytest.raises(InputError, match="is no table of texts"):
        prepare(tmp_path, source="textfolder:set", target="n")
    assert prepare(tmp_path, source="textfolder:set").labels == ("a", "b")
