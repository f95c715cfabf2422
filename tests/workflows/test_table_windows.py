"""Windows of a time series in a table: of one series each, with the target of the last row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.errors import InputError
from edgeproof.core.recipe_data import Data
from edgeproof.train.external import Input
from edgeproof.workflows.array_files import with_arrays
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.samples import Samples

from ..support.array_data import WEIGHTS, X, measured, spread, table
from ..support.external_imports import Heard
from ..support.micro_files import CLASSES, dense


def series(path: Path, groups: str, answers: str, splits: str = "") -> Path:
    """A table whose row i is (i, i + 0.5), with one character a row for the group, the answer and the split."""
    rows, called = ["v,w,who,answer" + ",split" * bool(splits)], {"t": "train", "e": "test"}
    for at, (group, answer) in enumerate(zip(groups, answers, strict=True)):
        split = f",{called[splits[at]]}" if splits else ""
        rows.append(f"{at},{at + 0.5},{group},{answer}{split}")
    path.write_text("\n".join(rows), "utf-8")
    return path


def test_windows_cross_no_group_and_have_the_target_of_their_last_row(tmp_path: Path) -> None:
    answers = "0001112220"
    csv = series(tmp_path / "s.csv", "aabbabbaab", answers)
    data = Data(source=f"csv:{csv}", features=("v", "w"), target="answer", group="who", window=2, stride=1)
    heard, two = Heard(), (Input("x", (1, 2, 2), "float32"),)
    samples = with_arrays(data, InputSpec("tensor", inputs=two), Path(), use="test", targets=True, listener=heard)
    assert isinstance(samples, Samples) and samples.classes is not None
    rows = [[0, 1], [1, 4], [4, 7], [7, 8], [2, 3], [3, 5], [5, 6], [6, 9]]
    assert samples.inputs[""][..., 0].tolist() == rows and (samples.inputs[""][..., 1] - 0.5).tolist() == rows
    assert samples.classes.tolist() == [int(answers[last]) for _, last in rows]
    mixed = sum(answers[first] != answers[last] for first, last in rows)
    assert [f"{mixed} of 8 windows" in said and "last row's" in said for said in heard.notes] == [True, False]
    assert "windows that overlap" in heard.notes[1] and "they are too narrow" in heard.notes[1]
    whole = spread(data.model_copy(update={"stride": None, "group": ""}), two)
    assert whole.inputs[""][..., 0].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


def test_rows_of_the_asked_split_are_taken_and_windows_have_no_gap(tmp_path: Path) -> None:
    csv = series(tmp_path / "s.csv", "a" * 9, "012012012", "eeettteee")
    data = Data(source=f"csv:{csv}", features=("v", "w"), target="answer")
    two = (Input("x", (1, 2), "float32"),)
    assert spread(data, two).inputs[""][:, 0].tolist() == [0, 1, 2, 6, 7, 8]
    assert spread(data, two, use="train").inputs[""][:, 0].tolist() == [3, 4, 5]
    windows = data.model_copy(update={"window": 2, "stride": 1})
    found = spread(windows, (Input("x", (1, 2, 2), "float32"),)).inputs[""][..., 0]
    assert found.tolist() == [[0, 1], [1, 2], [6, 7], [7, 8]]
    csv.write_text("v,w,answer,split\n1,2,0,fold 1\n", "utf-8")
    with pytest.raises(InputError, match="the column split has 'fold 1'"):
        spread(data, two)


def test_a_window_longer_than_a_series_is_refused(tmp_path: Path) -> None:
    csv = series(tmp_path / "s.csv", "aaab", "0000")
    data = Data(source=f"csv:{csv}", features=("v", "w"), group="who", window=2)
    with pytest.raises(InputError, match=r"line 5: the series of the group 'b' .* has 1 rows, and a window takes 2"):
        spread(data, (Input("x", (1, 2, 2), "float32"),))
    with pytest.raises(InputError, match=r"in windows of 2 rows, and the model's input 'x' takes samples of \(3, 2\)"):
        spread(data, (Input("x", (1, 3, 2), "float32"),))


def test_windows_are_measured_as_numpy_does(tmp_path: Path, edgeproof: Callable[..., str]) -> None:
    artifact = dense(tmp_path / "m--tflite-float32.tflite", "float32")
    assert artifact.path is not None
    signal = X.reshape(-1, 1)[:96]
    answers = np.random.default_rng(8).integers(0, CLASSES, len(signal))
    csv = table(tmp_path / "s.csv", answers, signal)
    row = measured(
        artifact.path, tmp_path, f"csv:{csv}", edgeproof, "--target", "answer", "--window", "16", "--stride", "4"
    )
    starts = range(0, len(signal) - 15, 4)
    right = [(signal[at : at + 16, 0] @ WEIGHTS.T + [0.1, 0, 0, -0.1]).argmax() == answers[at + 15] for at in starts]
    assert row["samples"] == 21 and row["accuracy"] == pytest.approx(float(np.mean(right)))
