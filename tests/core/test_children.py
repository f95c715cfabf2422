"""Child processes that open files from outside: what they may hold, how long they may be silent, how they are ended."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgeproof.core import children
from edgeproof.core.codec import to_json
from edgeproof.core.errors import EdgeproofError
from edgeproof.core.progress import Silent
from edgeproof.train.external import ImportOptions
from edgeproof.workflows import tensorflow_process
from edgeproof.workflows.doctor import doctor
from edgeproof.workflows.tensorflow_process import CrashError, TensorFlowProcess

ROOMS = (
    "cli", "workflows", "report", "data", "train", "quantize", "export", "devices", "evaluate", "tflite", "tasks",
    "frameworks", "core",
)  # fmt: skip
# pip, the import of a runtime, and a question to ssh about its connection, open no file from outside. The tokenizer
# travels: it limits its process itself. The agent, a limited process itself, starts `tee`, which copies its standard
# error.
STARTING = {
    "core/children.py", "devices/runtimes.py", "devices/remote/wheels.py", "devices/remote/ssh.py",
    "devices/emulated/userland.py", "core/tokenizer.py", "devices/agent/placement.py",
}  # fmt: skip


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps such a limit itself")


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("driver", [pytest.param(False, marks=linux), True])
def test_a_process_cannot_take_the_machine_s_memory(
    driver: bool, inner: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a driver for graphics cards the system cannot keep the limit, and the process is watched."""
    most = 200 << 20
    monkeypatch.setattr(children, "_DRIVERS", (tmp_path,) if driver else ())
    monkeypatch.setattr(children, "SHARE", most / psutil.virtual_memory().total)
    code = f"import time; held = bytearray(b'x') * {2 * most}; time.sleep({600 if driver else 0})"
    if inner:  # what it starts is limited, too
        code = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {code!r}]))"
    # the limit comes a moment after the start
    ending = children.run(python("import time; time.sleep(.3)\n" + code), timeout=60)
    assert ending.status == -signal.SIGKILL if driver else ending.status == 1 and "MemoryError" in ending.errors
    assert ending.out_of_memory and ending.remedy("another one") == children.SHORT_OF_MEMORY
    assert children.run(python("held = bytearray(b'x') * (1 << 20)"), timeout=60).status == 0


@pytest.mark.parametrize("driver", [pytest.param(False, marks=linux), True])
def test_doctor_says_who_keeps_the_limit(driver: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_DRIVERS", (tmp_path,) if driver else ())
    (check,) = (check for check in doctor() if check.what == "memory limit")
    assert (check.state, "watched" in check.found) == (("note", True) if driver else ("ok", False))
    assert f"{psutil.virtual_memory().total * 0.9 / 2**30:.0f} GiB" in check.found


def test_files_that_are_mapped_are_no_memory_that_a_watched_process_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays of samples are larger than memory, and mapped; the system takes such pages back when it wants to."""
    most = 200 << 20
    monkeypatch.setattr(children, "_DRIVERS", (tmp_path,))
    monkeypatch.setattr(children, "SHARE", most / psutil.virtual_memory().total)
    with (tmp_path / "array").open("wb") as stream:
        stream.truncate(2 * most)
    code = (
        "import mmap, time\n"
        f"with open({str(tmp_path / 'array')!r}, 'rb') as stream:\n"
        "    held = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)\n"
        "total = sum(held[at] for at in range(0, len(held), 4096)); time.sleep(1)"
    )
    assert children.run(python(code), timeout=60).status == 0


def test_what_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys, time, pathlib\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(inner.pid))\n"
        "time.sleep(600)"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        children.run(python(code), timeout=3)
    pid = int(pid_file.read_text())
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail("what it started goes on")


def test_a_process_that_talks_lives_and_one_that_falls_silent_is_ended() -> None:
    code = "import time\nfor _ in range(10): print(1, flush=True); time.sleep(.2)\ntime.sleep(600)"
    process = subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True)
    lines = 0
    with children.Watchdog(process, 1.5) as watchdog:
        for _ in process.stdout or ():
            watchdog.reset()
            lines += 1
        process.wait()
    assert watchdog.expired and lines == 10 and process.returncode < 0
    process = subprocess.Popen(python("pass"))
    with children.Watchdog(process, 60) as watchdog:
        assert process.wait() == 0
    assert not watchdog.expired


def test_an_ending_says_what_happened(tmp_path: Path) -> None:
    code = "import os, sys; print(sys.stdin.read().upper()); print('INFO: x\\nwhy\\n → remedy\\n', file=sys.stderr); "
    ending = children.run(python(code + "sys.exit(3)"), timeout=60, input=b"told")
    assert (ending.status, ending.output, ending.cause) == (3, b"TOLD\n", "exit status 3")
    assert ending.how == "ended with exit status 3" and ending.error_suffix == "; it said: why"
    assert not ending.out_of_memory and ending.remedy("another one") == "another one"
    log = tmp_path / "log.txt"
    log.write_text("of before\n")
    ending = children.run(python(code + "sys.stdout.flush(); os.kill(os.getpid(), 11)"), timeout=60, log=log)
    assert ending.how == "was ended by SIGSEGV" and ending.output == b"" and ending.last_error_line == "why"
    assert log.read_text().startswith("of before\n")
    assert children.run(python("pass"), timeout=60) == children.Ending(0)


def test_what_a_process_writes_is_heard_line_by_line_and_its_silence_ends_it(tmp_path: Path) -> None:
    code = "import sys, time\nfor n in range(3): print(n, flush=True)\nprint('why', file=sys.stderr); "
    lines: list[str] = []
    ending = children.stream(python(code + "sys.exit(1)"), silence=60, log=tmp_path / "e.txt", hear=lines.append)
    assert lines == ["0\n", "1\n", "2\n"] and ending.status == 1 and ending.error_suffix == "; it said: why"
    with pytest.raises(subprocess.TimeoutExpired):
        children.stream(python(code + "time.sleep(600)"), silence=2, log=tmp_path / "e.txt", hear=lines.append)
    assert len(lines) == 6


def test_no_other_module_starts_a_process() -> None:
    """`core/children.py` limits what it starts, and ends it."""
    home = Path(__file__).parents[2]
    starts = re.compile(r"subprocess\.(Popen\(|run\(|check_|call\()")
    modules = {
        path.relative_to(home).as_posix()
        for room in ROOMS
        for path in (home / room).rglob("*.py")
        if starts.search(path.read_text())
    }
    assert modules == STARTING


@pytest.mark.slow
def test_a_saved_model_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeproof.frameworks.tensorflow import load

    tf, _ = load()

    def waits(x: Any) -> Any:
        """Take from a queue that nobody fills."""
        queue = tf.raw_ops.FIFOQueueV2(component_types=[tf.float32], shapes=[[1]])
        return x + tf.raw_ops.QueueDequeueV2(handle=queue, component_types=[tf.float32])[0]

    root = tf.train.Checkpoint()
    root.__call__ = tf.function(waits, input_signature=[tf.TensorSpec([1, 3], tf.float32)])
    tf.saved_model.save(root, str(tmp_path / "m"))
    asked = {"name": "m", "workspace": str(tmp_path / "w"), "options": to_json(ImportOptions())}
    with TensorFlowProcess(tmp_path / "log.txt", Silent()) as process:
        with pytest.raises(EdgeproofError):  # it has started when it answers; what takes time below is the model
            process.call("import", path=str(tmp_path / "none"), **asked)
        monkeypatch.setitem(tensorflow_process.SILENCE, "import", 8.0)
        with pytest.raises(CrashError, match="it reported nothing for 8 s") as caught:
            process.call("import", path=str(tmp_path / "m"), **asked)
        assert caught.value.status == "timeout"
