"""Accelerators: what each needs, what ran there, and answers that are wrong without an error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import edgeproof
from edgeproof.cli.commands.devices import command as devices_command
from edgeproof.core.artifact import Artifact
from edgeproof.core.measurement import Measurement
from edgeproof.core.recipe import Evaluate
from edgeproof.core.runtime import RUNTIMES
from edgeproof.core.target import Target, default_targets, with_cpu
from edgeproof.devices import accelerators, open_runner, runtimes
from edgeproof.devices.agent.litert_gpu import refused_operators
from edgeproof.devices.agent_program import AGENT
from edgeproof.devices.remedies import explain
from edgeproof.devices.runtimes import installed_versions, locate
from edgeproof.workflows.devices import devices

from ..support.software_gpu import padding_files, software_gpu

ACCELERATORS = [row for row in RUNTIMES.values() if row.cpu and row.in_python]

# --- the rows ---------------------------------------------------------------------------------------------------------


def test_an_accelerator_has_a_cpu_that_reads_the_same_files_and_is_in_no_default() -> None:
    assert {row.name for row in ACCELERATORS} == {
        "openvino-gpu", "openvino-npu", "litert-gpu", "tensorflow-gpu", "onnxruntime-cuda", "onnxruntime-webgpu",
    }  # fmt: skip
    for row in ACCELERATORS:
        assert row.formats <= RUNTIMES[row.cpu].formats and row.needs in accelerators._KINDS
        assert f"local/{row.name}" not in default_targets()
    assert default_targets() == ("local/tensorflow", "local/litert", "local/tflite-runtime", "local/onnxruntime")


def test_the_cpu_of_an_accelerator_is_a_target_too_and_comes_first() -> None:
    assert with_cpu(["local/litert-gpu"]) == ("local/litert", "local/litert-gpu")
    assert with_cpu(["local/litert-gpu", "local/litert==1.0.1"]) == ("local/litert-gpu", "local/litert==1.0.1")
    assert Evaluate(targets=("local/onnxruntime-webgpu==1.27",)).targets == (
        "local/onnxruntime",
        "local/onnxruntime-webgpu==1.27",
    )


@pytest.mark.parametrize("row", ACCELERATORS, ids=lambda row: row.name)
def test_hardware_that_is_not_here_is_a_row_with_a_remedy(
    row: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, reason, remedy = accelerators._KINDS[row.needs]
    monkeypatch.setitem(accelerators._KINDS, row.needs, (lambda: False, reason, remedy))
    monkeypatch.setattr(runtimes, "installed_version", lambda _: "1.0")
    monkeypatch.setattr(sys, "platform", "linux")
    path = tmp_path / "x"
    outcome = open_runner(Artifact("a", "m", min(row.formats), "s", path), Target("local", row.name)).load(path)
    assert (outcome.status, outcome.reason, outcome.remedy) == ("unsupported", reason, remedy)
    listed = next(one for one in devices() if one.target == f"local/{row.name}")
    assert not listed.ready and listed.reason == outcome.reason and listed.remedy == remedy
    shown = json.loads(CliRunner().invoke(devices_command, ["--json"]).stdout)
    assert next(one for one in shown if one["target"] == listed.target)["ready"] is False


def test_a_package_that_would_replace_anothers_is_used_from_beside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEPROOF_RUNTIMES", str(tmp_path))
    target = Target("local", "onnxruntime-webgpu")
    if installed_versions()["onnxruntime-webgpu"]:
        pytest.skip("onnxruntime-webgpu is installed in this environment")
    assert locate(target) is None and "--install onnxruntime-webgpu==" in target.engine.not_installed()[1]
    tag = f"py{sys.version_info.major}{sys.version_info.minor}"
    for version in ("1.26.0", "1.27.1"):
        (tmp_path / f"onnxruntime-webgpu-{version}-{tag}").mkdir()
    located = locate(target)
    assert located is not None and located.version == "1.27.1" and located.folder is not None
    # LiteRT's package has both: a version beside the environment serves the GPU too.
    (tmp_path / f"litert-1.9.9-{tag}").mkdir()
    assert locate(Target("local", "litert-gpu", "1.9.9")) is not None
    assert locate(Target("local", "litert-gpu", "1.8")) is None


def test_what_chooses_the_device_is_a_part_of_the_key_of_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    row = RUNTIMES["litert-gpu"]
    before = accelerators.accelerator_identity(row)
    monkeypatch.setenv("VK_ICD_FILENAMES", "/another.json")
    assert accelerators.accelerator_identity(row) != before
    assert accelerators.accelerator_identity(RUNTIMES["litert"]) == {}


# --- fall-backs, in real runtimes -------------------------------------------------------------------------------------


def agent(job: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-I", str(AGENT), "-"], input=json.dumps(job), capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def onnx_job(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A job for a file of two operators."""
    helper = pytest.importorskip("onnx.helper")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("onnx")
    x, y = (helper.make_tensor_value_info(name, 1, [1, 4]) for name in "xy")
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Neg", ["h"], ["y"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    (folder / "x.onnx").write_bytes(model.SerializeToString())
    np.save(folder / "x.npy", np.ones((1, 4), np.float32))
    return {
        **RUNTIMES["onnxruntime-cuda"].job(), "verb": "load", "artifact": str(folder / "x.onnx"), "threads": 1,
        "inputs": str(folder / "x.npy"),
    }  # fmt: skip


def test_onnx_runtimes_fall_backs_to_the_cpu_are_refusals(onnx_job: dict[str, Any]) -> None:
    """A provider that the build lacks, and one that takes no operator: ONNX Runtime runs both files, on the CPU."""
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" not in providers:
        answer = agent(onnx_job)
        assert answer["status"] == "unsupported" and "CUDAExecutionProvider" in answer["reason"]
        assert explain(answer["reason"], "onnxruntime-cuda", "1.32")[1]
    if "AzureExecutionProvider" not in providers:
        pytest.skip("this build of onnxruntime has no provider that takes no operator")
    answer = agent({**onnx_job, "device": "AzureExecutionProvider"})
    assert answer["status"] == "unsupported"
    assert answer["reason"] == "the accelerator runs none of the file's 2 operators"


def test_the_profile_says_which_provider_ran_each_operator(onnx_job: dict[str, Any]) -> None:
    answer = agent({**onnx_job, "device": "CPUExecutionProvider"})
    placement = answer["data"]["placement"]
    assert (placement["delegated"], placement["operators"], placement["partitions"]) == (2, 2, 1)
    assert placement["kept"] == {} and placement["software"] is False


@pytest.mark.skipif(not installed_versions()["openvino"], reason="openvino is not installed here")
def test_openvino_names_the_devices_that_it_finds(onnx_job: dict[str, Any]) -> None:
    answer = agent({**onnx_job, **RUNTIMES["openvino-npu"].job(), "device": "NONE"})
    reason, remedy = explain(answer["reason"], "openvino-npu", "2026.4")
    assert answer["status"] == "unsupported" and "finds no NONE here; it has" in reason and "CPU" in reason and remedy
    refused = agent({**onnx_job, **RUNTIMES["openvino"].job(), "artifact": __file__})
    reason, remedy = explain(refused["reason"], "openvino", "2026.4")
    assert refused["status"] == "unsupported" and "Unable to read the model" in reason and remedy


@pytest.mark.slow
@pytest.mark.skipif(not installed_versions()["tensorflow"], reason="TensorFlow is not installed here")
def test_tensorflow_says_on_which_device_each_operator_ran() -> None:
    code = f"""
import json, os
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
import sys
sys.path.insert(0, {str(AGENT.parent)!r})
from agent.errors import Unsupported
from agent.tensorflow import TensorFlowGpu, TensorFlowRecord
sys.path.pop(0)
import tensorflow as tf
try:
    TensorFlowGpu({{"module": "tensorflow", "threads": 1, "verb": "load"}})
except Unsupported as error:
    refused = str(error)
places = []
for device in ("CPU", "GPU"):
    x, record = tf.constant([1.0, 2.0]), TensorFlowRecord()
    function = tf.function(lambda x: tf.nn.relu(x) * tf.reduce_sum(x))
    function(x), function(x)
    places.append(record.placement(device, []))
print(json.dumps([*places, refused]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    cpu, gpu, refused = json.loads(done.stdout)
    assert cpu["delegated"] == cpu["operators"] >= 3 and cpu["kept"] == {}
    assert gpu["delegated"] == 0 and sum(gpu["kept"].values()) == gpu["operators"] == cpu["operators"]
    assert refused == "TensorFlow finds no GPU here" and explain(refused, "tensorflow-gpu", "2.21")[1]


def test_the_last_words_of_a_runtime_that_takes_the_process_down_are_kept() -> None:
    code = "import os; from edgeproof.devices.agent.placement import CapturedErrors\nwith CapturedErrors() as log:\n "
    done = subprocess.run(
        [sys.executable, "-c", code + "os.write(2, b'free(): invalid size'); os.abort()"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode < 0 and "free(): invalid size" in done.stderr
    said = subprocess.run(
        [sys.executable, "-c", code + "os.write(2, b'a log')\nprint(log.text, end='')"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout == "a log" and "a log" in said.stderr


def test_operators_that_the_gpu_refuses_are_counted_by_their_tensors() -> None:
    log = (
        "INFO: created\nERROR: Following operations are not supported by GPU delegate:\n"
        "CONV_2D: Tensor type(INT16) is not supported. the first\nDEQUANTIZE: Unsupported dequantization type.\n"
        "2 operations will run on the GPU, and the remaining 4 operations will run on the CPU.\n"
        "CONV_2D: not a message\n"
    )
    operators = [
        ["QUANTIZE", ["x", "the first"]], ["CONV_2D", ["the first", "second"]], ["CONV_2D", ["the first", "third"]],
        ["CONV_2D", ["second", "fourth"]], ["ADD", ["third", "fourth", "fifth"]], ["DEQUANTIZE", ["fifth", "y"]],
    ]  # fmt: skip
    refused = refused_operators(log, operators)
    assert refused == ["CONV_2D", "CONV_2D", "DEQUANTIZE"]
    assert refused_operators("", operators) == []


# --- a real accelerator, in software ----------------------------------------------------------------------------------


@pytest.fixture
def gpu(tmp_path: Path) -> Iterator[None]:
    if not installed_versions()["litert"]:
        pytest.skip("ai-edge-litert is not installed here")
    (tmp_path / "loader").mkdir()
    with software_gpu(tmp_path / "loader"):
        yield


def proved(folder: Path, files: list[Path], **options: Any) -> dict[tuple[str, str], Measurement]:
    samples = np.random.default_rng(0).normal(size=(40, 4, 4, 8)).astype(np.float32)
    run = edgeproof.evaluate(
        files, (samples,), "local/litert-gpu", out=folder / "run",
        latency={"processes": 1, "warmup_seconds": 0.0, "run_seconds": 0.01, "min_runs": 1}, **options,
    )  # fmt: skip
    report = (folder / "run" / "report.html").read_text("utf-8")
    assert "What ran on accelerators" in report and "SwiftShader" in report
    return {(m.artifact.rpartition("-")[2], m.target.rpartition("/")[2]): m for m in run.results.measurements}


@pytest.mark.usefixtures("gpu")
def test_litert_on_a_software_gpu_is_emulated_and_its_silent_zeros_are_found(tmp_path: Path) -> None:
    rows = proved(tmp_path, padding_files(tmp_path))
    code = "from edgeproof.devices.agent.placement import vulkan_adapters; print(vulkan_adapters())"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "SwiftShader" in listed.stdout and "True" in listed.stdout
    whole, wrong = rows["float32", "litert-gpu"], rows["int16x8", "litert-gpu"]
    assert (whole.status, whole.kind) == ("ok", "emulated"), whole.reason
    assert whole.placement is not None and (whole.placement.delegated, whole.placement.operators) == (1, 1)
    assert "SwiftShader" in whole.placement.adapter and whole.difference == 0.0
    assert rows["int16x8", "litert"].status == rows["float32", "litert"].status == "ok"
    assert wrong.status == "failed" and "answers 0 on all 40 samples" in wrong.reason
    assert wrong.placement is not None and wrong.placement.kept == {"QUANTIZE": 1, "DEQUANTIZE": 1}
    assert (wrong.placement.delegated, wrong.placement.operators) == (1, 3)


@pytest.mark.usefixtures("gpu")
def test_wrong_answers_of_a_real_accelerator_are_found_by_comparison_with_the_cpu(tmp_path: Path) -> None:
    rows = proved(tmp_path, padding_files(tmp_path, bias=1.0))
    wrong = rows["int16x8", "litert-gpu"]
    assert wrong.status == "failed" and "answers wrongly" in wrong.reason and "on local/litert it" in wrong.reason
    assert rows["float32", "litert-gpu"].status == "ok"


@pytest.mark.usefixtures("gpu")
def test_strict_refuses_what_the_real_accelerator_runs_in_part(tmp_path: Path) -> None:
    rows = proved(tmp_path, padding_files(tmp_path), strict_placement=True)
    assert rows["float32", "litert-gpu"].status == "ok"
    assert (
        "1 of 3 operators on the accelerator; on the CPU: 1 QUANTIZE, 1 DEQUANTIZE"
        in rows["int16x8", "litert-gpu"].reason
    )


@pytest.mark.usefixtures("gpu")
def test_onnx_runtime_on_a_software_gpu_says_what_stayed_on_the_cpu(tmp_path: Path, onnx_job: dict[str, Any]) -> None:
    located = locate(Target("local", "onnxruntime-webgpu"))
    if located is None:
        pytest.skip("onnxruntime-webgpu is not installed: " + RUNTIMES["onnxruntime-webgpu"].not_installed()[1])
    path = {"path": str(located.folder)} if located.folder else {}
    answer = agent({**onnx_job, **RUNTIMES["onnxruntime-webgpu"].job(), **path})
    assert answer["status"] == "ok", answer["reason"]
    placement = answer["data"]["placement"]
    assert placement["delegated"] == placement["operators"] == 2 and placement["software"] is True


def test_without_a_driver_the_runtime_itself_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not installed_versions()["litert"]:
        pytest.skip("ai-edge-litert is not installed here")
    monkeypatch.setenv("VK_ICD_FILENAMES", str(tmp_path / "none.json"))
    (path, _) = padding_files(tmp_path)
    np.save(tmp_path / "x.npy", np.ones((1, 4, 4, 8), np.float32))
    answer = agent(
        {**RUNTIMES["litert-gpu"].job(), "verb": "load", "artifact": str(path), "threads": 1,
         "inputs": str(tmp_path / "x.npy")}
    )  # fmt: skip
    reason, remedy = explain(answer["reason"], "litert-gpu", "2.3")
    assert answer["status"] == "unsupported" and "LiteRT finds no GPU" in reason and "Vulkan" in remedy
