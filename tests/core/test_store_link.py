"""A run's `.store` as a link: to another disk where it is the user's own, and to nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeproof.cli.main import status
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.store import MARK, Store, lock, open_store
from edgeproof.workflows import tensorflow_process
from edgeproof.workflows.tensorflow_process import TensorFlowProcess

from ..support.bundle_models import mean_colour_model


def work(store: Store) -> str:
    key = store.key("data", {"a": 1})
    with store.write(key) as folder:
        (folder / "x").write_text("done")
    return key


def linked(run: Path, target: Path) -> Path:
    run.mkdir(parents=True)
    (run / ".store").symlink_to(target)
    return run


def test_work_may_lie_on_another_disk_and_is_found_there_again(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    run = linked(tmp_path / "run", tmp_path / "disk")
    key = work(open_store(run))
    assert (tmp_path / "disk" / key / "x").read_text() == "done" and (tmp_path / "disk" / MARK).is_file()
    assert open_store(run).get(key) == run / ".store" / key
    again = linked(tmp_path / "again", tmp_path / "disk")  # a second run shares it
    assert open_store(again).get(key)
    with lock(run), pytest.raises(InputError, match="another run is writing to"), lock(again):
        pass
    with lock(again):
        pass
    # A store that was made in its run, and moved away afterwards.
    key = work(open_store(tmp_path / "plain"))
    (tmp_path / "plain" / ".store").rename(tmp_path / "moved")
    (tmp_path / "plain" / ".store").symlink_to(tmp_path / "moved")
    assert open_store(tmp_path / "plain").get(key)


def _precious(target: Path) -> None:
    (target / "data").mkdir(parents=True)
    (target / "data" / "mine").write_text("mine")
    (target / "tmp").mkdir()
    (target / "tmp" / "mine").write_text("mine")


def _nothing(target: Path) -> None:
    """Nothing is there."""


def _circle(target: Path) -> None:
    target.symlink_to(target)


def _file(target: Path) -> None:
    target.write_text("mine")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_precious, "holds files and is not a store"),
        (_nothing, "which cannot be a store: No such file"),
        (_circle, "which cannot be a store"),
        (_file, "which cannot be a store: Not a directory"),
    ],
)
def test_a_link_to_anything_else_is_refused_and_nothing_is_touched(
    make: object, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "target"
    assert callable(make)
    make(target)
    (tmp_path / "m.tflite").write_bytes(mean_colour_model())
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    run = linked(tmp_path / "run", target)
    file = str(tmp_path / "m.tflite")
    for command in (
        ("evaluate", file, "--data", "folder:nowhere"),
        ("export", file, "--to", "tflite:weight-int8"),
        ("diagnose", file, "--data", "folder:nowhere", "--float", file),
    ):
        assert status([*command, "--out", str(run)]) == 2
        errors = capsys.readouterr().err
        assert why in errors and "ln -sfn" in errors, command
    now = {path for path in tmp_path.rglob("*") if run not in (path, *path.parents)}
    assert sorted(map(str, now)) == before


def test_a_folder_of_somebody_elses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    run = linked(tmp_path / "run", tmp_path / "disk")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(InputError, match="another user owns"):
        open_store(run)
    assert not list((tmp_path / "disk").iterdir())


@pytest.mark.parametrize("name", ["data", "partial", "sums"])
def test_links_inside_a_store_lead_nowhere(name: str, tmp_path: Path) -> None:
    _precious(tmp_path / "target")
    root = tmp_path / "run" / ".store"
    root.mkdir(parents=True)
    (root / name).symlink_to(tmp_path / "target")
    with pytest.raises(InputError, match="leads out of"):
        work(open_store(tmp_path / "run"))
    assert sorted(path.name for path in (tmp_path / "target").rglob("*")) == ["data", "mine", "mine", "tmp"]


def test_temporary_files_of_tensorflow_go_into_a_folder_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _precious(tmp_path / "target")
    (tmp_path / "tmp").symlink_to(tmp_path / "target" / "tmp")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tensorflow_process.subprocess, "Popen", stop)
    with pytest.raises(KeyboardInterrupt):
        TensorFlowProcess(tmp_path / "tensorflow.log", Silent()).start()
    assert (tmp_path / "tmp").is_dir() and not (tmp_path / "tmp").is_symlink()
    assert (tmp_path / "target" / "tmp" / "mine").read_text() == "mine"
