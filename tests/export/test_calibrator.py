"""Calibration on several cores: the files are those of one calibrator that saw all samples, whatever a process does."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.model import Model
from edgeproof.core.recipe import Export
from edgeproof.core.variant import Variant
from edgeproof.export import calibrator, tflite
from edgeproof.tflite.ranges_merge import merge_ranges

from ..conftest import TinyRun
from ..support.scheme_files import shared

pytestmark = pytest.mark.slow
SCHEMES = ("int8", "int16x8")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return shared(tmp_path_factory).model


def _files(model: Model, patch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the files of samples of its own, so that no calibrator of another test is reused."""
    calibrator._calibrator.cache_clear()
    patch.setattr(tflite, "_calibrated", lambda *_: {})  # how near they are to the float model is not the point
    samples = np.random.default_rng(5).integers(0, 256, (50, 32, 32, 3), np.uint8)
    return [tflite.convert(model, Variant("tflite", scheme).scheme, Export(), samples)[0] for scheme in SCHEMES]


@pytest.fixture(scope="module")
def by_one(model: Model) -> list[bytes]:
    """The files by TensorFlow's own calibration, anew for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tflite, "calibrate_once", lambda _: nullcontext())
        return _files(model, patch)


def test_processes_that_share_the_samples_change_no_byte(
    model: Model, by_one: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[int] = []

    def spy(contents: Any) -> bytes | None:
        joined.append(len(contents))
        return merge_ranges(contents)

    monkeypatch.setattr(calibrator, "merge_ranges", spy)
    monkeypatch.setattr(calibrator, "usable_cores", lambda: 3)
    assert _files(model, monkeypatch) == by_one
    assert joined == [3], "the samples were shared once, and both files made of their ranges"


def test_a_process_that_fails_changes_no_byte(
    model: Model, by_one: list[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "worker.py"
    broken.write_text("raise SystemExit(3)")
    monkeypatch.setattr(calibrator, "_WORKER", broken)
    monkeypatch.setattr(calibrator, "usable_cores", lambda: 2)
    assert _files(model, monkeypatch) == by_one


def test_a_full_disk_changes_no_byte(model: Model, by_one: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(calibrator, "_Share", full)
    monkeypatch.setattr(calibrator, "usable_cores", lambda: 2)
    assert _files(model, monkeypatch) == by_one


def test_ranges_of_different_files_are_not_joined(tiny: TinyRun) -> None:
    files = [tiny.artifact(f"tflite:{scheme}").path for scheme in ("float32", "int8")]
    contents = [path.read_bytes() for path in files if path is not None]
    assert merge_ranges(contents) is None
    assert merge_ranges(contents[:1] * 3) == contents[0]


def test_one_process_where_samples_or_memory_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrator, "usable_cores", lambda: 8)
    assert calibrator._processes(b"x" * 1000, 31) == 1
    assert calibrator._processes(b"x" * 1000, 64) == 4
    monkeypatch.setattr(calibrator.psutil, "virtual_memory", lambda: type("Memory", (), {"total": 24_000}))
    assert calibrator._processes(b"x" * 1000, 64) == 1
