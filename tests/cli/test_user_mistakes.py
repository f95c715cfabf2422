"""What users do wrong with finished files and folders: each ends with a message that says what to do."""

from __future__ import annotations

import errno
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeproof.cli.main import edgeproof, explain
from edgeproof.core import tokenizer
from edgeproof.core.codec import to_json, write_json
from edgeproof.core.errors import InputError, StageError, explain_disk_errors
from edgeproof.core.progress import Silent
from edgeproof.core.recipe_file import parse_budget, parse_latency, parse_recipe
from edgeproof.core.results import SCHEMA, load_results
from edgeproof.core.target import Target, parse_runtime
from edgeproof.export import inspect, sidecar
from edgeproof.export.inspect import Quantized
from edgeproof.workflows.bundle import bundle_file
from edgeproof.workflows.evaluate import evaluate
from edgeproof.workflows.model_files import _scheme, open_artifact

from ..support.bundle_models import mean_colour_model


class Heard(Silent):
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, level: str, message: str, **facts: Any) -> None:
        self.notes.append(message)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A float .tflite with nothing beside it."""
    path = tmp_path / "mean.tflite"
    path.write_bytes(mean_colour_model())
    return path


def described(path: Path, **fields: Any) -> None:
    """Write the sidecar of a file, with `fields` in it."""
    artifact = replace(open_artifact(path), path=Path(path.name), **fields)
    write_json(sidecar(path), to_json(artifact))


@pytest.mark.parametrize("text", ["local/litert==", "local/tflite-runtime=="])
def test_a_target_that_promises_a_version_names_one(text: str) -> None:
    with pytest.raises(InputError, match="names no version"):
        Target.parse(text)
    with pytest.raises(InputError, match="names no version"):
        parse_runtime(text.removeprefix("local/"))


@pytest.mark.parametrize("limit", ["max_latency_ms=inf", "max_latency_ms=nan", "max_accuracy_drop=inf"])
def test_a_budget_is_finite_for_json_knows_no_infinity(limit: str) -> None:
    with pytest.raises(InputError, match=r"budget\.max"):
        parse_budget([limit])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["threads"], "--latency 'threads' is not of the form KEY=VALUE"),
        (["thread=2"], "did you mean 'threads'"),
        (["threads=0", "processes=no"], "evaluate.latency.threads"),
        (["threads=2", "evaluate.latency.threads=4"], "--latency threads is given twice"),
    ],
)
def test_settings_of_latency_are_checked_before_anything_is_read(settings: list[str], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        evaluate("missing.tflite", "folder:missing", latency=parse_latency(settings))


def test_a_recipe_is_finite_too() -> None:
    table = {
        "data": {"source": "builtin:fashion-mnist-mini"},
        "model": [{"name": "m", "backbone": "package:mobilenet_v2"}],
        "export": {"timeout_seconds": float("inf")},
    }
    with pytest.raises(InputError, match=r"export\.timeout_seconds.*finite"):
        parse_recipe(table)


def test_evaluate_refuses_a_target_that_is_none_before_it_starts(file: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(file), "--data", "builtin:fashion-mnist-mini", "--out", str(tmp_path / "out")]
    error = CliRunner().invoke(edgeproof, [*arguments, "--on", "local/lite-rt"]).exception
    assert isinstance(error, InputError)
    assert "unknown runtime 'lite-rt'" in error.message
    error = CliRunner().invoke(edgeproof, [*arguments, "--on", "litert"]).exception
    assert isinstance(error, InputError)
    assert "target 'litert' names no device. did you mean 'local/litert'?" in error.message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("run", None), ("run", 5), ("models", {}), ("measurements", "x"), ("recommendation", 5), ("diagnoses", {})],
)
def test_results_edited_by_hand_are_told_what_is_wrong(tmp_path: Path, key: str, value: object) -> None:
    document: dict[str, object] = {
        "schema": SCHEMA, "run": {}, "environment": {}, "models": [], "artifacts": [], "measurements": [], key: value
    }  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=f"{key}: Input should be"):
        load_results(tmp_path)


def test_a_sidecar_of_another_file_is_left_aside_and_that_is_said(file: Path) -> None:
    described(file, labels=("a", "b", "c"))
    heard = Heard()
    assert open_artifact(file, heard).labels == ("a", "b", "c")
    assert not heard.notes
    file.write_bytes(file.read_bytes() + b"\0")
    assert open_artifact(file, heard).labels == ()
    assert "mean.json does not match this mean.tflite" in heard.notes[0]


def test_a_sidecar_cannot_bring_a_tokenizer_that_is_not_there_nor_links_that_lead_out(
    file: Path, tmp_path: Path
) -> None:
    described(file, tokenizer=Path("mean.tokenizer"))
    with pytest.raises(InputError, match="names it as its tokenizer"):
        bundle_file(file, out=tmp_path / "b", source=None, samples=1, listener=Silent())
    secret = tmp_path / "secret"
    secret.write_text("secret")
    folder = tmp_path / "mean.tokenizer"
    folder.mkdir()
    with pytest.raises(InputError, match=r"tokenizer\.json does not exist"):
        bundle_file(file, out=tmp_path / "b", source=None, samples=1, listener=Silent())
    write_json(folder / "tokenizer.json", {"version": 1, "kind": "words", "file": "vocab.txt"})
    (folder / "golden.json").symlink_to(secret)
    with pytest.raises(InputError, match=r"golden\.json leads out of"):
        bundle_file(file, out=tmp_path / "b", source=None, samples=1, listener=Silent())
    (folder / "golden.json").unlink()
    (folder / "id_ed25519").write_text("secret")
    (folder / "tokenizer.py").write_text("import this")
    (folder / "vocab.txt").write_text("a\n")
    bundle = bundle_file(file, out=tmp_path / "b", source=None, samples=1, listener=Silent())
    shipped = {path.name: path.read_text("utf-8") for path in (bundle.folder / "tokenizer").iterdir()}
    assert shipped.keys() == {"tokenizer.json", "vocab.txt", "tokenizer.py"}, "what makes ids, and nothing else"
    assert shipped["tokenizer.py"] == Path(tokenizer.__file__).read_text("utf-8"), "this program's, not the stranger's"


def test_a_bundle_that_cannot_be_written_leaves_nothing_behind(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "b"
    complete = bundle_file(file, out=out, source=None, samples=1, listener=Silent())
    before = sorted(out.rglob("*"))

    def full(source: object, target: object, *rest: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(StageError, match="the disk is full"):
        bundle_file(file, out=out, source=None, samples=1, listener=Silent())
    monkeypatch.undo()

    from zipfile import ZipFile

    monkeypatch.setattr(ZipFile, "writestr", full)
    with pytest.raises(StageError, match="the disk is full"):
        bundle_file(file, out=out, source=None, samples=1, listener=Silent())
    assert sorted(out.rglob("*")) == before
    assert complete.archive.is_file()


def test_a_file_where_a_folder_is_wanted_is_named(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")
    with pytest.raises(StageError, match="is in the way"), explain_disk_errors(tmp_path / "there"):
        (tmp_path / "there" / "x").mkdir(parents=True)


def test_a_full_disk_is_no_mistake_of_ours_wherever_it_is_met(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(OSError(errno.ENOSPC, "No space left on device")) == 3
    assert explain(OSError(errno.EROFS, "Read-only file system", "log.jsonl")) == 3
    errors = capsys.readouterr().err
    assert "the disk is full" in errors
    assert "no permission to write log.jsonl" in errors
    assert "bug in edgeproof" not in errors


@pytest.mark.parametrize(
    ("tensors", "scheme"),
    [
        ((), "float32"),
        ((("int8", True),), "dynamic"),
        ((("int4", True),), "int4"),
        ((("int8", True), ("int8", False)), "int8"),
        ((("int8", True), ("int16", False)), "int16x8"),
    ],
)
def test_a_quantized_file_without_a_sidecar_is_not_called_float(
    file: Path, tensors: tuple[tuple[str, bool], ...], scheme: str
) -> None:
    quantized = tuple(Quantized("t", dtype, (1,), constant, 1) for dtype, constant in tensors)
    assert _scheme(replace(inspect(file), quantized=quantized), "tflite") == scheme
