"""Estimates of an NPU by its compiler: what it takes, what it leaves to the CPU, and what is no NPU's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeproof import evaluate
from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import from_json, to_json
from edgeproof.core.device_tables import Devices, EthosTable
from edgeproof.core.errors import InputError
from edgeproof.core.measurement import Measurement, NpuEstimate, Placement
from edgeproof.core.results import Results, load_results
from edgeproof.core.runner import Outcome
from edgeproof.core.target import Target
from edgeproof.devices import OpenDevices, open_runner
from edgeproof.devices import device as device_of
from edgeproof.report import html, markdown

from ..support.example_results import HOSTILE, terminal
from ..support.micro_files import CLASSES, dense, features
from ..support.quick import QUICK

pytest.importorskip("ethosu.vela", reason="ethos-u-vela is not installed here")
U55 = Target("ethos-u55", "vela")


def load(artifact: Artifact, target: Target = U55, declared: Devices | None = None) -> Outcome:
    with OpenDevices(declared) as devices:
        return devices.open_runner(artifact, target).load(Path("nothing is run"))


def test_an_int8_file_has_an_estimate_and_no_answers(tmp_path: Path) -> None:
    artifact = dense(tmp_path / "d.tflite", "int8")
    runner = open_runner(artifact, U55)
    assert runner.kind == "estimated" and not runner.timed and not runner.answers
    loaded = load(artifact)
    assert loaded.ok, loaded.reason
    npu = from_json(NpuEstimate, loaded.data["npu"], "npu")
    assert npu.cycles > 0 and npu.milliseconds == pytest.approx(npu.cycles / npu.clock_mhz / 1000)
    assert npu.macs == 16 * CLASSES and 0 < npu.sram_bytes < 1 << 16 and npu.accelerator == "Ethos_U55_128"
    placement = from_json(Placement, loaded.data["placement"], "placement")
    assert (placement.delegated, placement.operators, placement.partitions, placement.kept) == (1, 1, 1, {})
    assert list(tmp_path.iterdir()) == [tmp_path / "d.tflite", *tmp_path.glob("*.json")]
    inputs = features(tmp_path / "x.npy")
    refused = (runner.infer(inputs, tmp_path / "y.npy", 0, 1), runner.serve(inputs), runner.profile(inputs, runs=1))
    for outcome in refused:
        assert isinstance(outcome, Outcome) and outcome.status == "unsupported" and "runs nothing" in outcome.reason


def test_what_the_npu_does_not_take_is_said(tmp_path: Path) -> None:
    outcome = load(dense(tmp_path / "float.tflite", "float32"))
    assert outcome.status == "unsupported" and "tflite:int8" in outcome.remedy
    assert outcome.reason.startswith("not for this NPU: Ethos-U55-128 takes none of the file's 1 operators")
    part = load(dense(tmp_path / "part.tflite", "int8", then="SIGN"))
    assert part.ok and part.data["placement"]["kept"] == {"SIGN": 1}
    assert (part.data["placement"]["delegated"], part.data["placement"]["operators"]) == (1, 2)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 200)
    outcome = load(replace(dense(tmp_path / "d.tflite", "int8"), path=damaged))
    assert outcome.status in ("unsupported", "crashed", "failed") and 0 < len(outcome.reason) < 600 and outcome.remedy
    onnx = replace(dense(tmp_path / "o.tflite", "int8"), format="onnx")
    assert "does not read onnx" in load(onnx).reason


def test_a_declared_npu_has_its_own_configuration(tmp_path: Path) -> None:
    artifact = dense(tmp_path / "d.tflite", "int8")
    table = EthosTable(
        accelerator="ethos-u55-32", system_config="Ethos_U55_Deep_Embedded", memory_mode="Sram_Only",
    )  # fmt: skip
    devices = Devices({"chip": table, "lost": EthosTable(config=str(tmp_path / "none.ini"))})
    npu = load(artifact, Target("chip", "vela"), devices).data["npu"]
    assert (npu["accelerator"], npu["system_config"]) == ("Ethos_U55_32", "Ethos_U55_Deep_Embedded")
    assert npu["memory_mode"] == "Sram_Only" and npu["clock_mhz"] == 200
    with OpenDevices(devices) as opened:
        identities = [opened.open_runner(artifact, Target(name, "vela")).identity() for name in ("chip", "ethos-u55")]
        assert identities[0]["memory_mode"] == "Sram_Only" and identities[0] != identities[1]
        (check,) = opened["lost"].checks()
        assert check.state == "missing" and "none.ini" in check.found and "[device.lost]" in check.remedy
    wrong = Devices({"chip": EthosTable(system_config="No_Such")})
    outcome = load(artifact, Target("chip", "vela"), wrong)
    assert outcome.status == "unsupported" and "system_config" in outcome.remedy


def test_vela_is_on_its_devices_alone_and_machines_have_other_runtimes(tmp_path: Path) -> None:
    artifact = dense(tmp_path / "d.tflite", "int8")
    here = load(artifact, Target("local", "vela"))
    assert here.status == "unsupported" and "ethos-u55/vela" in here.remedy
    assert "vela" not in device_of("local").runtimes()
    there = load(artifact, Target("ethos-u55", "litert"))
    assert there.status == "unsupported" and there.remedy == "write ethos-u55/vela"
    assert load(artifact, Target("ethos-u55", "vela", "0.1")).status == "unsupported"
    npu = device_of("ethos-u85")
    located = npu.locate(Target("ethos-u85", "vela"))
    assert located is not None and npu.runtimes() == {"vela": located.version} and npu.checks()[0].state == "ok"
    with pytest.raises(InputError, match="unknown device 'ethos-u99'"):
        Devices().parse("ethos-u99/vela")


def test_an_evaluation_shows_the_estimate_beside_what_was_run_and_never_recommends_it(tmp_path: Path) -> None:
    artifact = dense(tmp_path / "m--tflite-int8.tflite", "int8")
    x = np.load(features(tmp_path / "x.npy"))
    targets = [str(U55), "local/litert"]
    data = (x, np.arange(len(x)) % CLASSES)
    run = evaluate([artifact], data, targets, out=tmp_path / "out", latency=QUICK, budget={"max_latency_ms": 1000})
    results = load_results(run.folder)
    npu, cpu = results.measurements
    assert (npu.status, npu.kind, npu.accuracy, npu.latency_ms) == ("ok", "estimated", None, None), npu.reason
    assert npu.npu is not None and npu.placement is not None and npu.placement.whole
    assert cpu.kind == "measured" and cpu.accuracy is not None and cpu.latency_ms is not None
    assert [row["target"] for row in results.recommendation["targets"]] == ["local/litert"]
    assert results.environments["ethos-u55"]["cpu"] == "Arm Ethos-U55-128, by Vela"
    page = (run.folder / "report.html").read_text("utf-8")
    assert "cycles at 500 MHz" in page and "estimated" in page


def test_reports_say_what_is_estimated_and_hostile_words_do_nothing() -> None:
    nasty = "".join(HOSTILE)
    artifact = Artifact("m--tflite-int8", "m", "tflite", "int8", Path("x"), bytes=10)
    row = Measurement(
        artifact.id, str(U55), "ethos-u55", "vela", kind="estimated", placement=Placement(71, 73, 1, {"QUANTIZE": 2}),
        npu=NpuEstimate(2926974, 5.853948, 500.0, 280928, 0, 2293440, 55116436, nasty, "Embedded", "Shared_Sram"),
    )  # fmt: skip
    assert from_json(Measurement, to_json(row), "row") == row
    made = Results(run={"name": "r"}, environment={}, artifacts=[artifact], measurements=[row])
    for page in (html.render(made), markdown.render(made)):
        assert "2,926,974 cycles at 500 MHz" in page and "274 KiB of SRAM" in page and "estimated" in page
        assert "71 of 73 operators on the accelerator" in page
        assert "<script>" not in page.replace("<script>\n", "")
    assert "5.85 ms" in terminal(made) and "all estimated" in terminal(made)
    assert "5.853948,2926974,280928" in made.to_csv()
