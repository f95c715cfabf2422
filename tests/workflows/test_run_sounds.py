"""A run on recordings: from the recipe to files, whose figures are computed again from the files alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeproof import bundle, run
from edgeproof.workflows.run_folder import source_run_of

from ..support.sound_modules import RATE, SAMPLES, sounds, yamnet
from ..support.wave_files import write
from .test_run_numbers import answers

pytestmark = pytest.mark.slow
NAMES = ("high", "hiss", "low")


def test_a_module_of_waveforms_from_recordings_to_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    x, y, _ = sounds(90)
    for number, (wave, kind) in enumerate(zip(x, y, strict=True)):
        write(tmp_path / "clips" / ("low", "high", "hiss")[kind] / f"{number}.wav", wave, rate=RATE)
    yamnet(tmp_path / "module")
    made = run(
        {
            "name": "sounds",
            "data": {"source": f"wav:{tmp_path / 'clips'}", "sample_rate": RATE},
            "model": [
                {"name": "hub", "backbone": f"hub:{tmp_path / 'module'}"},
                {"name": "net", "backbone": "scratch:conv1d", "units": [8, 16], "kernel": 9, "pool": 4},
            ],
            "train": {"epochs": 20, "batch_size": 16, "learning_rate": 0.02},
            "export": {"variants": ["tflite:float32", "tflite:int8"]},
            "evaluate": {"targets": ["local/litert"], "latency": {"processes": 1, "run_seconds": 0.05}},
        },
        tmp_path / "run",
    )
    files, results = tmp_path / "run" / "artifacts", made.results
    assert not made.failures and results.data["report"]["sample"] == f"{SAMPLES} samples at {RATE:,} Hz"
    rows = {row.artifact: row for row in results.measurements if row.target == "local/litert" and row.status == "ok"}
    assert set(rows) == {"hub--tflite-float32", "net--tflite-float32", "net--tflite-int8"}
    (refused,) = [row for row in results.artifacts if row.status != "ok"]
    assert refused.id == "hub--tflite-int8" and "RFFT2D" in (refused.reason or "") and "int8-fallback" in refused.remedy
    for name, row in rows.items():
        source = source_run_of(files / f"{name}.tflite", name.partition("--")[0])
        assert source is not None
        data = source.data()
        waves, right = np.load(data.inputs("test")), np.load(data.targets("test"))
        assert data.labels == NAMES and row.samples == len(right) == 18
        assert row.accuracy == pytest.approx((answers(files / f"{name}.tflite", waves).argmax(axis=1) == right).mean())
    assert (rows["net--tflite-float32"].accuracy or 0) > 0.8

    package = bundle(files / "hub--tflite-float32.tflite", out=tmp_path / "bundle")
    golden = json.loads((package.folder / "golden.json").read_text("utf-8"))
    assert golden and "from the test split of wav:" in (package.folder / "README.md").read_text("utf-8")
