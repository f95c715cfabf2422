"""Fallbacks for runtimes that do not load a file, and runtimes that are installed beside this environment."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.measurement import Latency, Measurement
from edgeproof.core.results import Results
from edgeproof.core.target import Target, parse_runtime
from edgeproof.devices import install, missing_runtime, open_runner
from edgeproof.devices.runtimes import installed_versions, side_installations
from edgeproof.workflows import runtime_fallbacks

from ..conftest import TinyRun
from ..support.operator_files import OLD_LITERT, one_operator

# --- fallbacks --------------------------------------------------------------------------------------------------------


def test_what_does_not_load_is_named_with_what_to_make_instead(tiny: TinyRun) -> None:
    runtime = parse_runtime("tflite-runtime==2.14")
    plain = tiny.artifact("tflite:dynamic")
    wrong = runtime_fallbacks.incompatibility(plain, runtime)
    assert wrong is not None
    reason, remedy = wrong
    assert "FULLY_CONNECTED version 12" in reason and "up to version 10" in reason and "2.17.0" in reason
    assert "tflite:dynamic-conv or tflite:dynamic-per-tensor" in remedy and "ai-edge-litert 1.0.0" in remedy
    assert [str(v) for v in runtime_fallbacks.fallback_variants(plain, runtime)] == [
        "tflite:dynamic-conv",
        "tflite:dynamic-per-tensor",
    ]
    # By its row alone, where the file is gone.
    assert runtime_fallbacks.incompatibility(replace(plain, path=None), runtime) is not None

    older = parse_runtime("tflite-runtime==2.3")
    assert [str(v) for v in runtime_fallbacks.fallback_variants(plain, older)] == [
        "tflite:float16",
        "tflite:int8",
        "tflite:float32",
    ]
    for scheme in ("float32", "float16", "int8", "int16x8"):
        assert runtime_fallbacks.incompatibility(tiny.artifact(f"tflite:{scheme}"), runtime) is None
        assert runtime_fallbacks.fallback_variants(tiny.artifact(f"tflite:{scheme}"), runtime) == ()
    assert runtime_fallbacks.incompatibility(tiny.artifact("onnx:float32"), runtime) is None


def test_the_cost_of_a_fallback() -> None:
    def row(artifact: str, target: str, median: float, accuracy: float) -> Measurement:
        latency = Latency(median, median, median, 0.9, median, median, median, 6, 100, 1)
        device, _, runtime = target.partition("/")
        return Measurement(artifact, target, device, runtime, accuracy=accuracy, samples=100, latency_ms=latency)

    plain = Artifact("p", "m", "tflite", "dynamic", None, bytes=1000)
    adapted = Artifact("a", "m", "tflite", "dynamic-conv", None, bytes=1100)
    results = Results(run={}, environment={})
    results.measurements = [row("p", "local/litert", 2.0, 0.9), row("a", "local/litert", 3.0, 0.88)]
    results.measurements += [row("a", "local/tflite-runtime==2.14", 9.0, 0.88)]
    correct = {
        ("p", "local/litert"): np.arange(100) < 90,
        ("a", "local/litert"): np.arange(100) < 88,
    }
    cost = runtime_fallbacks.cost(results, plain, adapted, parse_runtime("tflite-runtime==2.14"), correct)
    assert cost["for"] == "tflite-runtime==2.14" and cost["instead_of"] == "p" and cost["target"] == "local/litert"
    assert cost["latency_ratio"] == 1.5 and cost["bytes_ratio"] == 1.1
    drop = cost["accuracy"]
    assert drop["drop"] == pytest.approx(0.02) and drop["low"] < 0.02 < drop["high"] and drop["samples"] == 100
    bare = runtime_fallbacks.cost(results, plain, adapted, parse_runtime("tflite-runtime==2.14"))
    assert bare["accuracy"] == {"drop": pytest.approx(0.02), "samples": 100}
    results.measurements = [m for m in results.measurements if m.artifact == "a"]
    alone = runtime_fallbacks.cost(results, plain, adapted, parse_runtime("tflite-runtime==2.14"))
    assert "target" not in alone and alone["bytes_ratio"] == 1.1


# --- side installations -----------------------------------------------------------------------------------------------


def test_a_version_that_is_installed_needs_no_side_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPROOF_RUNTIMES", str(tmp_path / "none"))
    version = installed_versions()["litert"]
    target = parse_runtime(f"litert=={version}")
    location = install(target)
    assert location.folder is None and location.version == version and missing_runtime(target) is None
    assert not (tmp_path / "none").exists() and side_installations() == []


def test_a_version_that_is_not_here_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROOF_RUNTIMES", str(tmp_path))
    target = parse_runtime("litert==0.0.9")
    missing = missing_runtime(target)
    assert missing is not None
    reason, remedy = missing
    assert "litert 0.0.9 is not on this machine" in reason and remedy == "edgeproof devices --install litert==0.0.9"
    path = tmp_path / "x.tflite"
    path.write_bytes(one_operator("ADD", 1))
    outcome = open_runner(Artifact("x", "x", "tflite", "float32", path), target).load(tmp_path / "in.npy")
    assert (outcome.status, outcome.reason, outcome.remedy) == ("unsupported", reason, remedy)
    # What lies there and is none of ours, or for another Python, is not taken.
    for name in ("litert-0.0.9-py00", "litert", ".new-x", "evil-1.0-py311"):
        (tmp_path / name).mkdir()
    assert missing_runtime(target) is not None
    with pytest.raises(InputError):
        install(parse_runtime("tensorflow==2.1"))


def test_what_cannot_be_fetched_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROOF_RUNTIMES", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(StageError, match=r"no wheel of litert 1\.1\.0"):
        install(parse_runtime("litert==1.1.0"))
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_PROXY", "http://127.0.0.1:9")  # where nobody listens
    with pytest.raises(StageError, match="does not answer"):
        install(parse_runtime("litert==1.1.0"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_one_process_sees_a_side_installation_and_no_other(old_litert: Target, tiny: TinyRun) -> None:
    inputs = tiny.data.images("test")
    versions = {}
    for target in (old_litert, Target("local", "litert")):
        runner = open_runner(tiny.artifact("tflite:float32"), target, timeout_seconds=120)
        outcome = runner.load(inputs)
        assert outcome.ok, outcome.reason
        assert outcome.data["runtime_version"] == runner.identity()["runtime_version"]
        versions[str(target)] = outcome.data["runtime_version"]
    assert versions[str(old_litert)] == OLD_LITERT and len(set(versions.values())) == 2
