"""Every runner keeps one contract, on real files in real runtimes; what goes wrong is an Outcome, not an exception."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pytest
from click.testing import CliRunner

from edgeproof.cli.commands.devices import command
from edgeproof.core.artifact import Artifact
from edgeproof.core.device_tables import BUILT_IN, DEVICE_KINDS, DeviceKind, Devices, DeviceTable
from edgeproof.core.documents import parse_toml
from edgeproof.core.errors import InputError
from edgeproof.core.runner import Runner
from edgeproof.core.runtime import RUNTIMES
from edgeproof.core.target import Target, default_targets
from edgeproof.core.variant import Variant
from edgeproof.devices import OpenDevices, device, missing_runtime, open_runner
from edgeproof.devices.agent.session import Session
from edgeproof.devices.agent.sessions import SESSIONS
from edgeproof.devices.agent_program import AGENT, program
from edgeproof.devices.local import Local, LocalRunner
from edgeproof.devices.remedies import explain
from edgeproof.devices.runtimes import installed_versions

from ..conftest import TinyRun
from ..support.serving import served

REPO = Path(__file__).parents[2]

PAIRS = [
    ("savedmodel:float32", "tensorflow"),
    ("tflite:float32", "litert"),
    ("tflite:int8-int8io", "litert"),
    ("tflite:int8-uint8io", "tflite-runtime"),
    ("tflite:float32", "tflite-runtime"),
    ("onnx:float32", "onnxruntime"),
    ("tflite:float32", "openvino"),
    ("tflite:int8-int8io", "openvino"),
    ("onnx:float32", "openvino"),
]


def runner(tiny: TinyRun, variant: str, runtime: str) -> Runner:
    if not installed_versions()[runtime]:
        pytest.skip(f"{runtime} is not installed in this Python")
    return open_runner(tiny.artifact(variant), Target("local", runtime), timeout_seconds=120)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "runtime"), PAIRS)
def test_a_runner_keeps_the_contract(tiny: TinyRun, tmp_path: Path, variant: str, runtime: str) -> None:
    inputs = tiny.data.images("test")
    run = runner(tiny, variant, runtime)

    loaded = run.load(inputs)
    assert loaded.ok, loaded.reason
    assert loaded.data["finite"] is True
    assert loaded.data["load_ms"] > 0 and loaded.data["first_ms"] > 0 and loaded.data["run_ms"] > 0
    assert loaded.data["peak_memory_bytes"] >= loaded.data["import_memory_bytes"] > 1 << 20
    assert loaded.data["runtime_version"] == run.identity()["runtime_version"]

    assert run.infer(inputs, tmp_path / "all.npy", 0, 12).ok
    assert run.infer(inputs, tmp_path / "part.npy", 5, 9).ok
    outputs = np.load(tmp_path / "all.npy")
    assert outputs.shape == (12, 10) and outputs.dtype == np.float32
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=0.05)
    np.testing.assert_array_equal(outputs[5:9], np.load(tmp_path / "part.npy"))

    with served(run, inputs) as server:
        opened = server.ask({"do": "open"})
        assert opened.ok and opened.data["load_ms"] > 0 and len(opened.data["cores"] or [0]) == 1
        warm = server.ask({"do": "warm", "seconds": 0.01})
        assert len(warm.data["warmup_ms"]) >= 1 and warm.data["steady"] in (True, False)
        for sample in (0, 1, 99):
            burst = server.ask({"do": "burst", "runs": 7, "sample": sample})
            assert burst.ok and len(burst.data["runs_ms"]) == 7 and min(burst.data["runs_ms"]) > 0
            for part in ("set_ms", "invoke_ms", "get_ms"):
                assert len(burst.data.get(part, [0.0] * 7)) == 7, "each run has its parts"
        state = server.ask({"do": "state"})
        assert state.data["peak_memory_bytes"] >= loaded.data["import_memory_bytes"] > 1 << 20


@pytest.mark.slow
def test_runtimes_agree_on_float_files(tiny: TinyRun, tmp_path: Path) -> None:
    inputs = tiny.data.images("test")
    answers = []
    for variant, runtime in PAIRS:
        if variant.endswith("float32") and installed_versions()[runtime]:
            path = tmp_path / f"{variant[:4]}-{runtime}.npy"
            assert runner(tiny, variant, runtime).infer(inputs, path, 0, 20).ok
            answers.append(np.load(path))
    assert len(answers) >= 3
    for other in answers[1:]:
        np.testing.assert_allclose(answers[0], other, atol=1e-4)


@pytest.mark.slow
def test_a_format_that_the_runtime_does_not_read_is_unsupported(tiny: TinyRun) -> None:
    outcome = open_runner(tiny.artifact("tflite:float32"), Target("local", "onnxruntime")).load(Path("unused"))
    assert outcome.status == "unsupported"
    assert "does not read tflite" in outcome.reason and "litert" in outcome.remedy


def broken(path: Path, format_: str, content: bytes) -> Artifact:
    path.write_bytes(content)
    return Artifact("broken", "m", format_, "float32", path)


@pytest.mark.parametrize(
    ("runtime", "format_"),
    [
        ("litert", "tflite"),
        ("tflite-runtime", "tflite"),
        ("onnxruntime", "onnx"),
        ("openvino", "tflite"),
        ("openvino", "onnx"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x1c\0\0\0TFL3" + b"\xff" * 200])
def test_a_damaged_file_is_a_typed_outcome(tmp_path: Path, runtime: str, format_: str, content: bytes) -> None:
    if not installed_versions()[runtime]:
        pytest.skip(f"{runtime} is not installed in this Python")
    inputs = tmp_path / "in.npy"
    np.save(inputs, np.zeros((1, 8, 8, 3), np.uint8))
    artifact = broken(tmp_path / f"x.{format_}", format_, content)
    outcome = open_runner(artifact, Target("local", runtime), timeout_seconds=60).load(inputs)
    assert outcome.status in ("unsupported", "failed", "crashed")
    assert outcome.reason and len(outcome.reason) < 600


@pytest.mark.slow
def test_answers_are_exact_and_latency_is_of_tensorflow_as_it_comes() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from agent.tensorflow import TensorFlow; sys.path.pop(0)\n"
        "for verb in ('serve', 'infer', 'load', 'serve'):\n"
        "    TensorFlow({'threads': 1, 'verb': verb, 'module': 'tensorflow'})\n"
        "    import tensorflow\n"
        "    options = tensorflow.config.optimizer\n"
        "    print(verb, options.get_experimental_options().get('remapping', True), file=sys.stderr)\n"
        "    options.set_experimental_options({'remapping': True})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(AGENT.parent)], check=False, capture_output=True, text=True
    )
    said = [line for line in done.stderr.splitlines() if line.endswith(("True", "False"))]
    assert said == ["serve True", "infer False", "load False", "serve True"], done.stderr


@pytest.mark.slow
def test_tensorflow_is_imported_without_keras_which_can_still_be_used() -> None:
    code = "from edgeproof.devices.agent.tensorflow import import_without_keras as load; tf = load('tensorflow'); "
    code += "text = load('tensorflow_text'); assert text.WhitespaceTokenizer().tokenize(['a b']).shape[0] == 1; "
    code += "import sys; assert not {'keras', 'tf_keras'} & sys.modules.keys(); assert tf.keras.layers.Dense(2)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_a_process_that_hangs_is_a_timeout_and_one_that_dies_a_crash(tiny: TinyRun, tmp_path: Path) -> None:
    artifact, target = tiny.artifact("tflite:float32"), Target("local", "litert")
    inputs = tiny.data.images("test")
    hung = LocalRunner(artifact, target, timeout_seconds=0.01).load(inputs)
    assert hung.status == "timeout" and "timeout_seconds" in hung.remedy

    dies = tmp_path / "python"
    dies.write_text("#!/bin/sh\necho 'assertion failed: kernel' >&2\nkill -SEGV $$\n")
    dies.chmod(0o755)
    crashed = LocalRunner(artifact, target, python=str(dies)).load(inputs)
    assert crashed.status == "crashed"
    assert "SIGSEGV" in crashed.reason and "assertion failed: kernel" in crashed.reason


@pytest.mark.slow
def test_what_an_old_runtime_refuses_is_said_in_words(tiny: TinyRun) -> None:
    run = runner(tiny, "tflite:dynamic", "tflite-runtime")
    outcome = run.load(tiny.data.images("test"))
    assert outcome.status == "unsupported"
    assert "FULLY_CONNECTED version 12" in outcome.reason and "tflite-runtime 2.14.0" in outcome.reason
    assert "tflite:dynamic-conv" in outcome.remedy


def test_an_artifact_without_a_file_is_skipped_with_its_reason(tmp_path: Path) -> None:
    artifact = Artifact("a", "m", "tflite", "int8", None).failed("failed", "no integer kernel", "use float16")
    outcome = open_runner(artifact, Target("local", "litert")).load(tmp_path)
    assert outcome.status == "skipped"
    assert "no integer kernel" in outcome.reason and outcome.remedy == "use float16"


def test_the_agent_imports_nothing_but_numpy_and_the_runtime() -> None:
    """What travels to a device must run there: no edgeproof, no other package, before the runtime is chosen."""
    modules = sorted(path.stem for path in AGENT.glob("*.py") if not path.stem.startswith("__"))
    code = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]); from importlib import import_module; "
        "[import_module('agent.' + name) for name in sys.argv[2:]]; "
        "print(' '.join(sorted({m.split('.')[0] for m in set(sys.modules) - before})))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(AGENT.parent), *modules], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "agent" in loaded and len(modules) > 10
    assert not loaded & {"numpy", "edgeproof", "pydantic", *(runtime.module for runtime in RUNTIMES.values())}


def test_the_agent_runs_from_its_folder_and_as_one_program(tmp_path: Path) -> None:
    """Packages that are called as its modules are (``onnx``, ``openvino``) are the packages."""
    for name in ("onnx", "placement"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken for a module of the agent')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); exec(sys.stdin.buffer.read({len(program())}))"
    job = (
        json.dumps({"verb": "about", "shelf": str(tmp_path / "shelf"), "modules": {"numpy": "numpy"}}).encode() + b"\n"
    )
    replies = [
        json.loads(subprocess.run(command, input=given, capture_output=True, check=True).stdout)
        for command, given in (
            ([sys.executable, "-I", str(AGENT), "-"], job), ([sys.executable, "-c", code, "-"], program() + job),
        )
    ]  # fmt: skip
    for reply in replies:
        assert reply["status"] == "ok" and reply["data"]["packages"] == {"numpy": np.__version__}, reply


def test_each_runtime_names_a_session_of_the_agent_and_each_session_has_a_runtime() -> None:
    assert set(SESSIONS) == {runtime.session for runtime in RUNTIMES.values() if runtime.in_python}
    for name, module in SESSIONS.items():
        assert issubclass(getattr(import_module(f"edgeproof.devices.agent.{module}"), name), Session)


def test_what_a_bundle_calls_a_runtime_is_what_its_row_says() -> None:
    """A bundle's code travels alone and so has names of its own."""
    names = runpy.run_path(str(REPO / "export" / "bundle" / "templates" / "model.py"))
    for name, interpreter in (*names["TFLITE"][:2], *names["ONNX"]):
        runtime = RUNTIMES[name]
        assert interpreter == runtime.interpreter
        assert names["NAMES"].get(name, name) == runtime.title
        assert names["DISTRIBUTIONS"].get(name, name) == runtime.distribution


def test_a_python_without_a_wheel_is_the_one_that_the_extra_leaves_out() -> None:
    project = parse_toml((REPO / "pyproject.toml").read_text("utf-8"), "pyproject.toml")["project"]
    # Packages of npm and programs are none of Python's.
    for runtime in (row for row in RUNTIMES.values() if not row.program and row.home != "browser"):
        requirements = project["optional-dependencies"][runtime.extra.name]
        requirement = next(one for one in requirements if one.startswith(runtime.distribution))
        below = ".".join(map(str, runtime.python_below or ()))
        assert requirement.partition("python_version < ")[2].strip("'") == below


def test_the_agent_answers_one_json_document(tmp_path: Path) -> None:
    job = {"verb": "load", **RUNTIMES["litert"].job(), "artifact": "/none.tflite", "inputs": str(tmp_path / "none.npy")}
    done = subprocess.run(
        [sys.executable, "-I", str(AGENT), "-"], input=json.dumps(job | {"threads": 1}), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["status"] == "failed" and "none.npy" in answer["reason"]


def test_messages_that_are_not_known_are_kept_short() -> None:
    reason, remedy = explain("x" * 10_000 + "\nmore", "litert", "2.3")
    assert len(reason) <= 300 and remedy == ""
    reason, remedy = explain(
        "Didn't find op for builtin opcode 'GELU' version '2'. An older", "tflite-runtime", "2.14.0"
    )
    assert reason == "needs operator GELU version 2, which tflite-runtime 2.14.0 does not have" and remedy


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_missing_runtime_has_a_remedy(runtime: str) -> None:
    reason, remedy = RUNTIMES[runtime].not_installed()
    assert runtime in reason and remedy


def test_variants_and_runtimes_fit() -> None:
    for variant, runtime in PAIRS:
        assert Target("local", runtime).reads(Variant.parse(variant).format)


class Pretended(Local):
    """A device that nobody has: this machine under another name, with no runtime on it."""

    def runtimes(self) -> dict[str, str]:
        return dict.fromkeys(RUNTIMES, "")

    def missing_runtime(self, target: Target) -> tuple[str, str] | None:
        return f"{target} is pretended", "nothing helps"

    def environment(self) -> dict[str, Any]:
        return {"cpu": "none"}


class PretendedTable(DeviceTable):
    kind: Literal["pretended"] = "pretended"


def test_a_kind_of_device_is_one_module_and_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("edgeproof.devices.pretended")
    module.open_device = lambda name, table: Pretended(name)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(InputError, match="unknown device 'pretended'"):
        Devices().parse("pretended/litert")
    monkeypatch.setitem(DEVICE_KINDS, "pretended", DeviceKind("pretended", PretendedTable))
    monkeypatch.setitem(BUILT_IN, "pretended", PretendedTable())
    target, here = Devices().parse("pretended/litert"), Target.parse("local/litert")
    assert str(target) not in default_targets()
    assert device("pretended").environment() == {"cpu": "none"} and device().environment()["cpu"] != "none"
    with OpenDevices() as devices:
        assert list(devices.environments([target, here])) == ["pretended", "local"]
        assert devices.environments([here]) == devices.environments([]) == {"local": device().environment()}
    assert missing_runtime(target) == ("pretended/litert is pretended", "nothing helps")
    assert open_runner(Artifact("a", "m", "tflite", "int8", None), target).target == target
    listed = json.loads(CliRunner().invoke(command, ["--json"]).stdout)
    assert {"target": "pretended/litert", "ready": False, "remedy": "nothing helps"}.items() <= next(
        row for row in listed if row["target"] == str(target)
    ).items()


def test_each_kind_s_module_opens_it() -> None:
    for name in BUILT_IN:
        environment = device(name).environment()
        assert isinstance(environment.get("cores"), int) or environment["unreachable"], name
        assert device(name).runtimes().keys() <= RUNTIMES.keys()
