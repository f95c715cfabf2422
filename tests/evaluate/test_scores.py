"""The scores of single samples: two runs are compared pair by pair, damaged and hostile files count as none."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from edgeproof.core.statistics import paired_drop
from edgeproof.evaluate.compare import IDENTICAL, PAIRED, SEPARATE, compare
from edgeproof.evaluate.measure import Answered
from edgeproof.evaluate.scores import keep, kept

from ..support.two_runs import changed, keep_scores, noise, run

RIGHT = np.random.default_rng(5).random(2000) < 0.82


def two(tmp_path, first, second, **facts):
    """Two runs with these scores, compared."""
    a = run("a", noise(3, 1), scores=first, folder=tmp_path / "a", **facts)
    b = run("b", noise(3, 2), scores=second, folder=tmp_path / "b", **facts)
    return a, b


def cell(tmp_path, a, b):
    (only,) = compare(a, b, folder_a=tmp_path / "a", folder_b=tmp_path / "b").cells
    return only


def test_the_same_scores_differ_by_nothing_and_are_not_distinguishable(tmp_path):
    change = cell(tmp_path, *two(tmp_path, RIGHT, RIGHT)).accuracy
    assert change.estimate == 0 and change.method == PAIRED
    assert change.verdict == "not distinguishable"
    assert -0.002 < change.low < 0 < change.high < 0.002, "as two separate samples it would be 2.4 points"


def test_one_file_with_the_same_scores_on_the_same_machine_is_exactly_as_accurate(tmp_path):
    a, b = (changed(r, fingerprint={"cpu": "x"}) for r in two(tmp_path, RIGHT[:60], RIGHT[:60], sha256="ab" * 32))
    change = cell(tmp_path, a, b).accuracy
    assert (change.estimate, change.low, change.high) == (0, 0, 0)
    assert change.method == IDENTICAL and change.verdict == "not distinguishable"
    elsewhere = cell(tmp_path, a, changed(b, fingerprint={"cpu": "y"})).accuracy
    assert elsewhere.method == PAIRED and elsewhere.low < 0 < elsewhere.high


def test_rows_of_further_threads_have_the_scores_of_the_row_that_they_belong_to(tmp_path):
    a = run("a", noise(3, 1), scores=RIGHT, folder=tmp_path)
    (row,) = a.measurements
    answers = {(row.artifact, row.target): Answered(RIGHT)}
    more = replace(row, target=f"{row.target}:threads=2", scores="")
    (kept_row,) = keep([more], answers, data="same", folder=tmp_path / "raw")
    assert kept_row.scores == row.scores and kept(kept_row, tmp_path) is not None
    assert not [*keep([replace(more, status="unsupported")], answers, data="same", folder=tmp_path / "raw")]


def test_scores_that_contradict_the_accuracy_beside_them_are_as_none(tmp_path):
    a, b = two(tmp_path, RIGHT, RIGHT)
    keep_scores(b, ~RIGHT, tmp_path / "b")
    change = cell(tmp_path, a, b).accuracy
    assert change.method.startswith(SEPARATE) and change.estimate == 0


def test_a_small_loss_on_the_same_samples_is_found_which_separate_samples_hide(tmp_path):
    worse = RIGHT.copy()
    worse[np.flatnonzero(RIGHT)[:20]] = False
    a, b = two(tmp_path, RIGHT, worse)
    change = cell(tmp_path, a, b).accuracy
    assert change.verdict == "lower"
    assert change.estimate == pytest.approx(-0.01)
    _, low, high = paired_drop(RIGHT, worse)
    assert (change.low, change.high) == pytest.approx((-high, -low))
    without = cell(tmp_path, changed(a, scores=""), b).accuracy
    assert without.verdict == "not distinguishable" and without.method.startswith(SEPARATE)
    assert "no readable scores" in without.method


@pytest.mark.parametrize("other", [{"data": "another"}, {"split": "validation"}])
def test_scores_of_other_samples_are_not_paired(tmp_path, other):
    a, b = two(tmp_path, RIGHT, RIGHT)
    keep_scores(b, RIGHT, tmp_path / "b", **other)
    change = cell(tmp_path, a, b).accuracy
    assert change.method.startswith(SEPARATE) and "not of the same samples" in change.method


def test_scores_between_wrong_and_right_are_paired_too(tmp_path):
    scores = np.random.default_rng(1).random(400)
    change = cell(tmp_path, *two(tmp_path, scores, np.clip(scores - 0.05, 0, 1))).accuracy
    assert change.method == PAIRED and change.verdict == "lower"
    assert change.estimate == pytest.approx(-0.049, abs=0.002)


def archive(**members):
    """The bytes of a .npz with these members, which are bytes themselves."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return stream.getvalue()


def npy(array, allow_pickle=False):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


TEXTS = {"data": npy(np.array("same")), "split": npy(np.array("test"))}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        archive(**TEXTS),
        archive(scores=npy(RIGHT)),
        archive(scores=npy(RIGHT[:5]), **TEXTS),
        archive(scores=npy(RIGHT.reshape(2, -1)), **TEXTS),
        archive(scores=npy(np.full(2000, np.nan)), **TEXTS),
        archive(scores=npy(np.full(2000, 7.0)), **TEXTS),
        archive(scores=npy(np.array(["x"] * 2000)), **TEXTS),
        archive(scores=npy(np.array([{}] * 2000), allow_pickle=True), **TEXTS),
        archive(scores=npy(RIGHT).replace(b"(2000,)", b"(2001,)"), **TEXTS),
        archive(scores=npy(RIGHT).replace(b"(2000,), }    ", b"(99999999,), }"), **TEXTS),
        archive(scores=npy(RIGHT).replace(b"(2000,), }", b"(2000,     "), **TEXTS),
        archive(scores=npy(RIGHT).replace(b"{", b"\n   \n ("), **TEXTS),
        archive(scores=npy(RIGHT)[:40], **TEXTS),
        archive(scores=npy(RIGHT), data=npy(np.array("x" * 9999)), split=npy(np.array("test"))),
    ],
)  # fmt: skip
def test_damaged_and_hostile_files_are_as_none(tmp_path, content):
    a, b = two(tmp_path, RIGHT, RIGHT)
    (row,) = b.measurements
    (tmp_path / "b" / row.scores).write_bytes(content)
    assert kept(row, tmp_path / "b") is None
    assert cell(tmp_path, a, b).accuracy.method.startswith(SEPARATE)


def test_a_file_outside_the_run_is_not_read(tmp_path):
    _, b = two(tmp_path, RIGHT, RIGHT)
    (row,) = b.measurements
    assert kept(row, tmp_path / "b") is not None
    assert kept(replace(row, scores=f"../b/{row.scores}"), tmp_path / "a") is None
    assert kept(row, None) is None


def test_the_file_is_small_and_the_same_each_time(tmp_path):
    """An unchanged run leaves the same bytes, or its checksums would say that it changed."""
    _, b = two(tmp_path, RIGHT, RIGHT)
    path = tmp_path / "b" / b.measurements[0].scores
    before = path.read_bytes()
    keep_scores(b, RIGHT, tmp_path / "b")
    assert path.read_bytes() == before and len(before) < 2000
    with np.load(path, allow_pickle=False) as file:
        assert (file["scores"] == RIGHT).all() and file["data"] == "same" and file["split"] == "test"
