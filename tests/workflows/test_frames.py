"""Frames of columns and data sets of TensorFlow as samples in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edgeproof as ep
from edgeproof.core.errors import InputError
from edgeproof.workflows.samples import Samples, data_source

from ..support.array_data import ACCURACY, COUNT, X, Y
from ..support.micro_files import FEATURES, dense

pandas = pytest.importorskip("pandas", reason="pandas is not here", exc_type=ImportError)
QUICK = {"processes": 1, "max_seconds": 0, "run_seconds": 0.02, "warmup_seconds": 0}


class Dataset:
    """What is used of a ``tf.data.Dataset``; the slow test holds it against TensorFlow's."""

    def __init__(self, elements: list[Any], shape: Any, spec: Any = None, cardinality: int = -2) -> None:
        self._elements, self._cardinality = elements, cardinality
        one = SimpleNamespace(shape=Shape(shape))
        self.element_spec = spec if spec is not None else (one, one)

    def as_numpy_iterator(self) -> Iterator[Any]:
        yield from self._elements

    def cardinality(self) -> int:
        return self._cardinality


class Shape(tuple):  # type: ignore[type-arg]
    @property
    def rank(self) -> int:
        return len(self)


def samples(data: Any, task: str = "") -> Samples:
    found = data_source(data, task)
    assert isinstance(found, Samples)
    return found


def test_a_frame_and_a_series_are_measured_as_arrays(tmp_path: Path) -> None:
    artifact = dense(tmp_path / "m--tflite-float32.tflite", "float32")
    assert artifact.path is not None
    frame = pandas.DataFrame(X, columns=[f"f{number}" for number in range(FEATURES)])
    frame["f3"] = frame["f3"].astype("Float64")  # a column that may lack values
    for y in (
        pandas.Series(Y),
        pandas.Series(np.array(list("abcd"))[Y]).astype("category"),
        pandas.DataFrame({"y": Y}),
    ):
        run = ep.evaluate(artifact.path, (frame, y), "local/litert", out=tmp_path / "out", latency=QUICK)
        (row,) = run.results.measurements
        assert row.samples == COUNT and row.accuracy == pytest.approx(ACCURACY)


def test_the_columns_of_targets_keep_their_names() -> None:
    frame, tags = (
        pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, 1, 1.5]}),
        pandas.DataFrame({"u": [1, 1, 0], "v": [1, 0, 0]}),
    )
    found = samples((frame, tags))
    assert found.inputs[""].tolist() == [[1, 0.5], [2, 1], [3, 1.5]] and found.task == "multilabel"
    assert found.names == ("u", "v") and not found.by_name
    assert samples((pandas.DataFrame({"text": ["one", "two"]}), [0, 1])).texts == ("one", "two")


@pytest.mark.parametrize(
    "frame, words",
    [
        ({"a": [1.0, 2], "b": ["x", "y"]}, "x, column 'b', row 0 .from 0.: 'x' is no number"),
        ({"a": pandas.array([1, None], dtype="Int64")}, "x, column 'a', row 1 .from 0.: '?(<NA>|nan)'? is no number"),
        ({"a": pandas.to_datetime(["2026-01-01", "2026-01-02"])}, "column 'a' holds datetime64"),
        ({"a": []}, "a frame of 1 columns and 0 rows"),
    ],
)
def test_frames_that_cannot_serve_are_refused_by_column(frame: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        samples((pandas.DataFrame(frame), [0, 1]))


def test_a_data_set_is_read_sample_by_sample_or_in_batches() -> None:
    x, y = X[:6], Y[:6]
    single = samples(Dataset(list(zip(x, y, strict=True)), (FEATURES,)))
    batches = samples(Dataset([(x[:4], y[:4]), (x[4:], y[4:])], (None, FEATURES)))
    for found in (single, batches):
        assert (found.inputs[""] == x).all() and found.classes is not None and found.classes.tolist() == y.tolist()
    spec = {"left": SimpleNamespace(shape=Shape((FEATURES,)))}
    alone = samples(Dataset([{"left": row} for row in x], (), spec))
    assert (alone.inputs["left"] == x).all() and alone.classes is None
    texts = samples(Dataset([(b"one", b"b"), ("zwölf".encode(), b"a")], ()))
    assert texts.texts == ("one", "zwölf") and texts.names == ("a", "b")


@pytest.mark.parametrize(
    "data, words",
    [
        (Dataset([], (FEATURES,)), "holds no sample"),
        (Dataset([(X[0], 1)], (FEATURES,), cardinality=-1), "has no end"),
        (Dataset([(X[0], 1), (X[1][:3], 1)], (FEATURES,)), r"different shapes: \(3,\), \(16,\)"),
        (Dataset([(b"\xff", 1)], ()), "not UTF-8"),
        (Dataset([], (), (1, 2, 3)), "have 3 parts"),
        (Dataset([], (), SimpleNamespace()), "no known shape"),
    ],
)
def test_data_sets_that_cannot_serve_are_refused(data: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        samples(data)


@pytest.mark.slow
def test_data_sets_of_tensorflow(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    whole = tf.data.Dataset.from_tensor_slices((X, Y))
    for data in (whole, whole.batch(7), whole.batch(7).prefetch(1)):
        found = samples(data)
        assert (found.inputs[""] == X).all() and found.classes is not None and found.classes.tolist() == Y.tolist()
    by_name = samples(tf.data.Dataset.from_tensor_slices({"left": X, "right": X[:, :2]}).batch(3))
    assert by_name.inputs["left"].shape == X.shape and by_name.inputs["right"].shape == (COUNT, 2)
    maps = samples(
        tf.data.Dataset.from_tensor_slices((np.zeros((3, 8, 8, 3), np.uint8), np.eye(8, dtype=int)[None].repeat(3, 0)))
    )
    assert maps.task == "segmentation" and maps.targets is not None and maps.targets.shape == (3, 8, 8)
    with pytest.raises(InputError, match="has no end"):
        samples(whole.repeat())
    with pytest.raises(InputError, match="the data set fails: "):
        samples(whole.map(lambda x, y: (tf.debugging.check_numerics(x / 0.0, "no number"), y)))
