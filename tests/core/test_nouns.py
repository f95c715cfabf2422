"""Names, codec, store, lock, results: what every stage stands on."""

from __future__ import annotations

import csv
import errno
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.artifact import Artifact, Operator, TensorSpec, artifact_id
from edgeproof.core.codec import from_json, sha256_file, sha256_of, to_json, write_atomic
from edgeproof.core.errors import InputError, StageError, explain_disk_errors
from edgeproof.core.measurement import Latency, Measurement
from edgeproof.core.model import InputContract, Model, load_model, save_model
from edgeproof.core.results import Results, load_results
from edgeproof.core.sanitize import csv_cell, shorten, slug
from edgeproof.core.store import Store, copy_out, lock
from edgeproof.core.variant import Variant

HOSTILE = [
    "../x",
    "<script>alert(1)</script>",
    "=cmd()",
    "a" * 300,
    "😀 emoji",
    "a\nb",
    "",
    ".",
    "..",
    "con\x00",
    "-rf",
]


@given(st.text() | st.sampled_from(HOSTILE))
def test_a_slug_is_one_harmless_path_component(name: str) -> None:
    safe = slug(name)
    assert safe and len(safe) <= 60
    assert Path(safe).name == safe
    assert safe.isascii() and not safe.startswith((".", "-"))


@given(st.text(), st.text())
def test_two_names_never_become_one_file(a: str, b: str) -> None:
    assert (slug(a) == slug(b)) == (a == b)


@given(st.text() | st.sampled_from(HOSTILE))
def test_no_csv_cell_is_a_formula(text: str) -> None:
    assert not csv_cell(text).startswith(("=", "+", "-", "@"))


@given(st.text(), st.integers(1, 50))
def test_shortened_text_is_one_printable_line(text: str, limit: int) -> None:
    line = shorten(text, limit)
    assert len(line) <= limit
    assert line.isprintable()


def test_nouns_survive_json() -> None:
    artifact = Artifact(
        "m--tflite-int8", "m", "tflite", "int8", Path("a/b.tflite"),
        inputs=(TensorSpec("image", (1, 2, 2, 3), "int8", 0.5, -3),),
        ops=(Operator("CONV_2D", 3, 7),), labels=tuple(HOSTILE), calibration={"count": 3},
    )  # fmt: skip
    assert from_json(Artifact, json.loads(json.dumps(to_json(artifact)))) == artifact
    with pytest.raises(InputError, match="does not describe an Artifact"):
        from_json(Artifact, {"id": 3})


def test_a_model_is_found_again_where_its_folder_was_moved(tmp_path: Path) -> None:
    model = Model("m", "keras:X", Path("/elsewhere"), "ab", ("a", "b"), InputContract("image", (1, 8, 8, 3)), 1.5)
    save_model(model, tmp_path)
    assert load_model(tmp_path).saved_model == tmp_path / "saved_model"
    assert load_model(tmp_path).input == model.input
    with pytest.raises(InputError, match="does not exist"):
        load_model(tmp_path / "none")


def test_an_entry_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = store.key("stage", {"a": 1})
    with pytest.raises(RuntimeError), store.write(key) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert store.get(key) is None
    with store.write(key) as folder:
        assert (folder / "half").read_text() == "x", "unfinished work is given again"
    assert (tmp_path / key / "half").exists() and store.get(key) == tmp_path / key
    assert store.key("stage", {"a": 2}) != key != store.key("other", {"a": 1})


def test_a_copy_cannot_reach_into_the_store(tmp_path: Path) -> None:
    (tmp_path / "entry").mkdir()
    (tmp_path / "entry" / "f").write_text("kept")
    copy_out(tmp_path / "entry", tmp_path / "run" / "copy", root=tmp_path / "run")
    copy_out(tmp_path / "entry", tmp_path / "run" / "copy", root=tmp_path / "run")
    with (tmp_path / "run" / "copy" / "f").open("a") as stream:
        stream.write(" and changed")
    assert (tmp_path / "entry" / "f").read_text() == "kept"
    copy_out(tmp_path / "entry", tmp_path / "run" / "copy", root=tmp_path / "run")
    assert (tmp_path / "run" / "copy" / "f").read_text() == "kept"
    copy_out(tmp_path / "entry" / "f", tmp_path / "run" / "file", root=tmp_path / "run")
    assert (tmp_path / "run" / "file").read_text() == "kept"


def test_two_runs_cannot_write_to_one_folder(tmp_path: Path) -> None:
    code = f"from edgeproof.core.store import lock, Path\nwith lock(Path({str(tmp_path)!r})): print('in')"
    with lock(tmp_path):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another run is writing" in other.stderr
    with lock(tmp_path):
        pass


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "no permission"), (errno.EROFS, "no permission")]
)
def test_the_disk_s_refusals_have_remedies(code: int, words: str) -> None:
    with pytest.raises(StageError, match=words) as caught, explain_disk_errors(Path("x")):
        raise OSError(code, "no")
    assert "--out" in caught.value.remedy


def test_a_real_full_disk_is_told_and_leaves_no_half_file(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(StageError, match="disk is full"), explain_disk_errors(full), full.open("w") as stream:
        stream.write("x" * 100_000)
    blocked = tmp_path / "folder"
    blocked.mkdir()
    (blocked / "inside").write_text("")
    with pytest.raises(StageError, match="a folder where a file is needed"):
        write_atomic(blocked, "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]


def test_hashes_depend_on_content_and_names(tmp_path: Path) -> None:
    assert sha256_of({"a": 1, "b": 2}) == sha256_of({"b": 2, "a": 1}) != sha256_of({"a": 2, "b": 1})
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_text("1")
    first = sha256_file(tmp_path / "d")
    (tmp_path / "d" / "x").rename(tmp_path / "d" / "y")
    assert sha256_file(tmp_path / "d") != first


def results() -> Results:
    reference = Artifact(
        artifact_id("m", Variant("savedmodel", "float32")), "m", "savedmodel", "float32", Path("models/m")
    )
    other = Artifact("m--tflite-int8", "m", "tflite", "int8", Path("artifacts/m--tflite-int8.tflite"), bytes=7)
    created = Results(run={"name": "r"}, environment={"cpu": "c"})
    created.add_model(Model("m", "b", Path("s"), "h", tuple(HOSTILE), InputContract("image", (1, 8, 8, 3)), 1.0))
    for artifact in (reference, other):
        created.add_artifact(artifact)
        for runtime in ("tensorflow", "litert"):
            created.add_measurement(Measurement(artifact.id, f"local/{runtime}", "local", runtime, status="skipped"))
    return created


def test_rows_are_replaced_in_place_and_the_reference_gives_the_model_its_accuracy() -> None:
    document = results()
    reference, other = document.artifacts
    document.add_artifact(other)
    row = Measurement(reference.id, "local/tensorflow", "local", "tensorflow", accuracy=0.5, samples=10)
    document.add_measurement(row)
    assert [a.id for a in document.artifacts] == [reference.id, other.id]
    assert document.measurements[0] == row and len(document.measurements) == 4
    assert document.models[0]["accuracy"] == 0.5 and document.models[0]["samples"] == 10


def test_results_json_is_the_contract_and_can_be_read_back(tmp_path: Path) -> None:
    original = results()
    timed = Latency(1, 0.9, 1.1, 0.97, 2, 3, 4, 6, 99, 1)
    original.add_measurement(Measurement("m--tflite-int8", "local/litert", "local", "litert", latency_ms=timed))
    original.save(tmp_path)
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["schema"] == 1
    assert {"run", "environment", "models", "artifacts", "measurements", "budget", "recommendation"} <= document.keys()
    latency = document["measurements"][3]["latency_ms"]
    assert {"median", "low", "high", "p90", "p95", "p99", "processes", "runs", "threads"} <= latency.keys()
    assert document["models"][0]["labels"] == HOSTILE
    assert load_results(tmp_path).to_json() == original.to_json()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text())))
    assert len(rows) == 4 and rows[3]["latency_median"] == "1" and rows[3]["bytes"] == "7"


def test_results_of_another_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"schema": 99}')
    with pytest.raises(InputError, match="schema 99, expected 1"):
        load_results(tmp_path)
    (tmp_path / "results.json").write_text("[")
    with pytest.raises(InputError, match="not readable JSON"):
        load_results(tmp_path)
