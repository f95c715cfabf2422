"""Arrays and tables with targets as data: ``evaluate`` finds what NumPy computes, and bad files are refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeproof as ep
from edgeproof.core import extras
from edgeproof.core.errors import InputError, NotInstalledError
from edgeproof.core.model import InputContract
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data, Recipe
from edgeproof.core.store import Store
from edgeproof.data import fingerprint
from edgeproof.export import save
from edgeproof.train.external import Input
from edgeproof.workflows.array_files import with_arrays
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.prepare_data import prepared

from ..support.array_data import ACCURACY, COUNT, ONE, X, Y, measured, spread, table
from ..support.bundle_models import mean_colour_model
from ..support.micro_files import CLASSES, FEATURES, dense, difference


@pytest.mark.parametrize("form", ["npz", "npz-of-a-data-set", "npz-by-name", "npy", "csv", "csv-names"])
def test_the_accuracy_on_arrays_is_that_of_numpy(
    form: str, tmp_path: Path, edgeproof: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = dense(tmp_path / "m--tflite-float32.tflite", "float32")
    assert artifact.path is not None
    monkeypatch.chdir(tmp_path)
    options: tuple[str, ...] = ()
    source = "npz:windows.npz"
    if form == "npz":
        np.savez("windows.npz", x=X, y=Y)
    elif form == "npz-of-a-data-set":
        np.savez_compressed("windows.npz", x_train=X[:3] + 9, y_train=Y[:3], x_test=X, y_test=Y[:, None])
    elif form == "npz-by-name":
        np.savez("windows.npz", x=X.astype(np.float64), y=np.array(list("abcd"))[Y])
    elif form == "npy":
        np.save("y.npy", Y.astype(np.int8))
        np.save("x.npy", X)
        source = "npy:x.npy,y.npy"
    elif form == "csv":
        table(Path("windows.csv"), more=lambda at: f'"words, {at}"')
        source, options = "csv:windows.csv", ("--target", "answer")
    else:
        # The model's order of columns is not the file's, and the classes are names.
        table(Path("windows.csv"), np.array(list("abcd"))[Y], X[:, ::-1])
        source = "csv:windows.csv"
        options = ("--features", ", ".join(f"f{n}" for n in range(FEATURES - 1, -1, -1)), "--target", "answer")
    row = measured(artifact.path, tmp_path, source, edgeproof, *options)
    assert row["samples"] == COUNT and row["accuracy"] == pytest.approx(ACCURACY) and 0.5 < ACCURACY < 0.8


def test_two_inputs_are_arrays_by_name(tmp_path: Path, edgeproof: Callable[..., str]) -> None:
    artifact = difference(tmp_path / "m--tflite-float32.tflite")
    assert artifact.path is not None
    save(replace(artifact, contract=InputContract("left", (1, CLASSES), kind="tensor")), tmp_path)
    left, right = np.random.default_rng(1).normal(size=(2, COUNT, CLASSES)).astype(np.float32)
    y = np.zeros(COUNT, int)
    np.savez(tmp_path / "two.npz", left=left, about_right=right, y=y)
    row = measured(artifact.path, tmp_path, f"npz:{tmp_path / 'two.npz'}", edgeproof)
    assert row["accuracy"] == pytest.approx(float(((left - right).argmax(1) == y).mean()))
    np.savez(tmp_path / "one.npz", left=left, y=y)
    said = edgeproof("evaluate", artifact.path, "--data", f"npz:{tmp_path / 'one.npz'}", "--on", "local/litert",
                     "--out", tmp_path / "no", status=2)  # fmt: skip
    assert "no array for the input 'about_right'; it has: left, y" in said


def test_pictures_as_arrays_keep_their_classes(tmp_path: Path, edgeproof: Callable[..., str]) -> None:
    path = tmp_path / "colour--tflite-float32.tflite"
    path.write_bytes(mean_colour_model())
    pictures = np.random.default_rng(2).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    pictures[:, :, :, 0] //= 8
    y = np.arange(12) % 3
    np.savez(tmp_path / "p.npz", x=pictures, y=y)
    right = (pictures.mean((1, 2)) * [1, 2, 4]).argmax(1)
    row = measured(path, tmp_path, f"npz:{tmp_path / 'p.npz'}", edgeproof, "--value-range", "0,255")
    assert row["accuracy"] == pytest.approx(float((right == y).mean())) and row["samples"] == 12


def test_samples_for_calibration_need_no_targets(tmp_path: Path) -> None:
    """Targets are not read: they may be of any kind. Of a data set the training samples are taken."""
    path = tmp_path / "a.npz"
    np.savez(path, x_train=X + 9, x_test=X, y_test=np.full(COUNT, np.nan))
    samples = spread(Data(source=f"npz:{path}"), use="train")
    assert samples.classes is None and (samples.inputs[""] == X + 9).all()
    csv = table(tmp_path / "a.csv", np.arange(COUNT) / 7)
    samples = spread(Data(source=f"csv:{csv}", target="answer"), use="train")
    assert samples.classes is None and samples.inputs[""] == pytest.approx(X)
    store = Store(tmp_path / "store")
    data = prepared(
        Data(source=f"csv:{csv}", target="answer"), InputSpec("tensor", inputs=ONE), seed=1, folder=tmp_path,
        store=store, listener=Silent(), use="train",
    )  # fmt: skip
    assert np.load(data.inputs("train")) == pytest.approx(X) and data.source == f"csv:{csv}" and not data.labels


def test_a_table_fits_inputs_with_axes_of_one_value_and_whole_numbers(tmp_path: Path) -> None:
    whole = np.arange(12).reshape(4, 3)
    csv = table(tmp_path / "a.csv", [0, 1, 0, 1], whole)
    data = Data(source=f"csv:{csv}", target="answer")
    samples = spread(data, (Input("x", (1, 3, 1), "int32"),))
    assert samples.inputs[""].dtype.kind == "i" and (samples.inputs[""] == whole[..., None]).all()
    assert samples.classes is not None and samples.classes.tolist() == [0, 1, 0, 1]


def test_arrays_without_targets_are_read_as_before(tmp_path: Path) -> None:
    np.save(tmp_path / "a,b.npy", X)
    for path in ("a,b.npy", "none.npy"):
        data = Data(source=f"npy:{tmp_path / path}")
        assert (
            with_arrays(data, InputSpec("tensor", inputs=ONE), Path(), use="test", targets=True, listener=Silent())
            is data
        )
    pictures = np.zeros((3, 8, 8, 3), np.uint8)
    np.save(tmp_path / "p.npy", pictures)
    assert spread(Data(source=f"npy:{tmp_path / 'p.npy'}"), (), "image").inputs[""].shape == (3, 8, 8, 3)


def test_a_recipe_cannot_train_on_a_table_of_numbers(tmp_path: Path) -> None:
    csv = table(tmp_path / "a.csv")
    for keys in ({"target": "answer"}, {"features": ("f0",)}, {"window": 4}):
        with pytest.raises(InputError, match="cannot be trained on"):
            fingerprint(Data.model_validate({"source": f"csv:{csv}", **keys}), seed=1, folder=tmp_path)


def test_keys_that_came_later_do_not_change_the_hashes_of_data() -> None:
    later = {"features", "target", "window", "stride", "group", "sample_rate", "window_seconds"}
    assert not later & set(Data(source="folder:x").model_dump())
    assert Data(source="csv:x", features=("a",), target="b").model_dump(mode="json")["features"] == ["a"]
    recipe = Recipe.model_validate(
        {"data": {"source": "folder:x"}, "model": [{"name": "m", "backbone": "scratch:small"}]}
    )
    assert not later & set(recipe.to_dict()["data"])


def test_other_commands_take_the_samples_and_leave_the_targets(tmp_path: Path) -> None:
    """Targets are of no kind that has a metric here: they are not read."""
    np.savez(tmp_path / "w.npz", x=X, y=np.full((COUNT, 3), 0.5))
    source = f"npz:{tmp_path / 'w.npz'}"
    plain, quantized = (dense(tmp_path / f"m--tflite-{scheme}.tflite", scheme) for scheme in ("float32", "int8"))
    assert plain.path is not None and quantized.path is not None
    diagnosis = ep.diagnose(quantized.path, reference=plain.path, data=source, samples=8, out=tmp_path / "diagnosis")
    assert diagnosis.samples == 8 and diagnosis.source.startswith(source)
    assert min(tensor.position for tensor in diagnosis.tensors) == -1  # its input is stored as integers
    bundle = ep.bundle(plain.path, data=source, samples=3, out=tmp_path / "bundle")
    assert bundle.manifest["golden"]["source"] == f"the test samples of {source}"
    made = ep.export(plain.path, ["tflite:int8"], calibration=source, samples=20, out=tmp_path / "export")
    (file,) = made.values()
    assert file.status == "ok" and file.calibration["samples"] == 20


def parquet_file(path: Path, columns: dict[str, Any]) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow does not fit the NumPy here", exc_type=ImportError)
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)
    return path


def test_a_parquet_file_is_read_as_a_csv_file(tmp_path: Path) -> None:
    columns = {"a": [1, 2, 3, 4], "note": list("wxyz"), "b": [0.5, 1.5, 2.5, 3.5], "t": [True, False, True, True]}
    path = parquet_file(tmp_path / "a.parquet", {**columns, "state": ["on", "off", "on", "on"], "who": list("aabb")})
    two = (Input("x", (1, 2), "float32"),)
    samples = spread(Data(source=f"parquet:{path}", target="state"), two)
    assert samples.inputs[""].tolist() == [[1, 0.5], [2, 1.5], [3, 2.5], [4, 3.5]]
    assert samples.classes is not None and samples.names == ("off", "on") and samples.classes.tolist() == [1, 0, 1, 1]
    windows = Data(source=f"parquet:{path}", features=("b", "a"), target="state", group="who", window=2)
    assert spread(windows, (Input("x", (1, 2, 2), "float32"),)).inputs[""][1].tolist() == [[2.5, 3], [3.5, 4]]


@pytest.mark.parametrize(
    "columns, words",
    [
        ({"a": [1, None, 3], "t": [0, 1, 0]}, "row 1 .from 0., column 'a': empty"),
        ({"a": [1.0, 2.0, float("nan")], "t": [0, 1, 0]}, "row 2 .from 0., column 'a': not finite"),
        ({"a": [[1], [2]], "t": [0, 1]}, "no column of numbers"),
        ({"a": [1, 2], "u": [0, 1]}, "no column 't'; it has 'a', 'u'"),
        ({"a": [1, 2], "t": [[0], [1]]}, "the column 't' is list"),
        ({"a": np.zeros(0), "t": np.zeros(0)}, "has no rows"),
    ],
)
def test_parquet_files_that_cannot_serve_are_refused(columns: dict[str, Any], words: str, tmp_path: Path) -> None:
    bad = parquet_file(tmp_path / "bad.parquet", columns)
    data = Data(source=f"parquet:{bad}", target="t")
    with pytest.raises(InputError, match=words):
        spread(data, (Input("x", (1, 1), "float32"),))
    bad.write_bytes(bad.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        spread(data)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(NotInstalledError) as caught:
        spread(Data(source=f"parquet:{tmp_path / 'a.parquet'}"))
    assert "pyarrow" in caught.value.message and "edgeproof[parquet]" in caught.value.remedy


def hostile(path: Path, header: str, content: bytes = b"") -> Path:
    """An .npz whose x has a header made by hand."""
    text = header.encode().ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content)
    return path


def nan(row: int) -> Any:
    x = X.copy()
    x[row, 2] = np.nan
    return x


BAD: dict[str, tuple[Any, tuple[str, ...]]] = {
    "NaN in x": ({"x": nan(7), "y": Y}, ("x has NaN in row 7 (of 40, from 0)",)),
    "infinity in y": ({"x": X, "y": np.full(COUNT, -np.inf)}, ("y has an infinite value in row 0",)),
    "y is shorter": ({"x": X, "y": Y[:-1]}, ("y has 39 targets, and the samples in x are 40",)),
    "another name of y": ({"x": X, "labels": Y}, ("no targets y, and other arrays: labels", "call the targets y")),
    "another name of x": ({"data": X, "y": Y}, ("no array x; it has: data, y",)),
    "objects": ({"x": np.array([{}] * COUNT, object), "y": Y}, ("cannot be read", "allow_pickle")),
    "no rows": ({"x": X[:0], "y": Y[:0]}, ("no sample",)),
    "one number": ({"x": np.float32(1), "y": Y}, ("has the shape (): no sample",)),
    "a column is missing": ({"x": X[:, :-1], "y": Y}, ("has the shape", "the model's input 'x' takes")),
}


@pytest.mark.parametrize("case", BAD)
def test_arrays_that_cannot_serve_are_refused_by_name(case: str, tmp_path: Path) -> None:
    arrays, words = BAD[case]
    np.savez(tmp_path / "bad.npz", **arrays)
    source = f"npz:{tmp_path / 'bad.npz'}"
    with pytest.raises(InputError) as caught:
        prepared(
            spread(Data(source=source)), InputSpec("tensor", inputs=ONE), seed=1, folder=tmp_path,
            store=Store(tmp_path / "store"), listener=Silent(), use="test",
        )  # fmt: skip
    said = f"{caught.value.message} ({caught.value.remedy})"
    assert all(word in said for word in (str(tmp_path / "bad.npz"), *words)), said


@pytest.mark.parametrize(
    "header, words",
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000, 16), }", "cannot be read"),
        ("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000000,), }", "no sample"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", "cannot be read"),
        ("((((((((((", "cannot be read"),
    ],
)
def test_hostile_headers_are_refused_at_once(header: str, words: str, tmp_path: Path) -> None:
    path = hostile(tmp_path / "bad.npz", header, b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InputError, match=words):
        spread(Data(source=f"npz:{path}"))


def test_what_is_no_archive_or_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    member = io.BytesIO()
    np.save(member, np.zeros((30_000, 1000), np.float32))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", member.getvalue())
    for name, words in (("text", "cannot be read"), ("bomb", "would unpack to"), ("none", "does not exist")):
        with pytest.raises(InputError, match=words):
            spread(Data(source=f"npz:{tmp_path / name}.npz"))


def test_npy_pairs_are_checked(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y[1:])
    np.savez(tmp_path / "z.npz", x=X)
    x = tmp_path / "x.npy"
    for rest, words in (
        ("y.npy", r"y\.npy: it has 39 targets, and the samples in x\.npy are 40"),
        ("z.npz", "holds several arrays"),
        ("y.npy,x.npy", "names 3 files"),
        ("no.npy", "does not exist"),
    ):
        with pytest.raises(InputError, match=words):
            spread(Data(source=f"npy:{x},{','.join(str(tmp_path / part) for part in rest.split(','))}"))


TABLES = {
    "no number": ("a,b,t\n1,2,0\n3,x,1\n", {}, ("line 3, column 'b': 'x' is no number",)),
    "an empty cell": ("a,b,t\n1,2,0\n,2,1\n", {}, ("line 3, column 'a': empty",)),
    "NaN": ("a,b,t\n1,2,0\n1,nan,1\n", {}, ("line 3, column 'b': 'nan' is not finite",)),
    "NaN as a target": ("a,b,t\n1,2,0\n1,2,inf\n", {}, ("line 3, column 't': 'inf' is not finite",)),
    "a name among numbers": ("a,b,t\n1,2,0\n1,2,1\n1,2,one\n", {}, ("line 4, column 't': 'one' is no number",)),
    "a number among names": ("a,b,t\n1,2,one\n1,2,7\n1,2,two\n", {}, ("line 3, column 't': '7' is a number among",)),
    "no target": ("a,b,t\n1,2,0\n1,2,\n", {}, ("line 3, column 't': no target",)),
    "cells are missing": ("a,b,t\n1,2,0\n1,2\n", {}, ("line 3: 2 cells, and the header has 3",)),
    "an open quotation mark": ('a,b,t\n1,2,0\n1,"2,1\n', {}, ("line 3",)),
    "no such column": ("a,b,t\n1,2,0\n", {"features": ("a", "c")}, ("no column 'c'; it has 'a', 'b', 't'",)),
    "two columns of a name": ("a,a,t\n1,2,0\n", {}, ("two columns called 'a'",)),
    "the target is a feature": ("a,b,t\n1,2,0\n", {"features": ("a", "t")}, ("both a feature and the target",)),
    "a feature twice": ("a,b,t\n1,2,0\n", {"features": ("a", "a")}, ("named twice",)),
    "no rows": ("a,b,t\n", {}, ("a header and no rows",)),
    "an empty file": ("", {}, ("no column 't'",)),
    "no numbers": ("a,b,t\nx,y,0\n", {}, ("no column of numbers",)),
    "too many columns": ("a,b,c,t\n1,2,3,0\n", {}, ("numeric columns (a, b, c)", "takes samples of (2,)")),
    "a target that was not named": ("a,b,t\n1,2,0\n", {"target": ""}, ("3 numeric columns (a, b, t)", "--target")),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
def test_tables_that_cannot_serve_are_refused_with_the_line(case: str, tmp_path: Path) -> None:
    content, keys, words = TABLES[case]
    (tmp_path / "t.csv").write_text(content, "utf-8")
    data = Data.model_validate({"source": f"csv:{tmp_path / 't.csv'}", "target": "t", **keys})
    with pytest.raises(InputError) as caught:
        spread(data, (Input("x", (1, 2), "float32"),))
    said = f"{caught.value.message} ({caught.value.remedy})"
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    "data, kind, words",
    [
        (Data(source="folder:x", target="t"), "image", "target: for tables of numbers"),
        (Data(source="csv:x.csv", features=("a",)), "image", "features: for tables of numbers"),
        (Data(source="npz:x.npz", limit_test=3), "tensor", "has no use for limit_test"),
        (Data(source="csv:x.csv", text_column="words"), "tensor", "has no use for text_column"),
        (Data(source="parquet:x.parquet"), "image", "holds numbers, and the model takes images"),
        (Data(source="npz:"), "tensor", "there is none"),
        (Data(source="csv:x.csv", group="a"), "tensor", "are for windows of a time series"),
        (Data(source="csv:x.csv", window=3), "text", "window: for tables of numbers"),
    ],
)
def test_keys_and_sources_of_another_kind_are_refused(data: Data, kind: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        spread(data, kind=kind)
