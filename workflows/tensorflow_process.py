"""The caller's side of the TensorFlow process: sends jobs, receives progress, and survives crashes."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..core.artifact import Status
from ..core.children import Ending, kill_group, start, tail_of
from ..core.errors import EdgeproofError, InputError, StageError, explain_disk_errors
from ..core.files import discard, open_log
from ..core.progress import Listener
from ..core.sanitize import shorten

# Seconds of silence after which a job without a time limit is ended: an untrusted model may never end.
SILENCE = {"import": 1800.0, "fit": 3600.0, "train_further": 3600.0}


class CrashError(StageError):
    """The process ended in the middle of a job. `status` is ``crashed`` or ``timeout``."""

    def __init__(self, message: str, remedy: str, status: Status) -> None:
        super().__init__(message, remedy)
        self.status = status


class TensorFlowProcess:
    """A context manager. The process starts with `start` or with the first job, and again after a crash.

    It does one job at a time; threads wait for their turn.
    """

    def __init__(self, log: Path, listener: Listener) -> None:
        self._log = log
        self._temporary = log.resolve().parent / "tmp"
        self._listener = listener
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._starting = threading.Lock()
        self._over = False

    def __enter__(self) -> TensorFlowProcess:
        return self

    def __exit__(self, *_: object) -> None:
        with self._starting:
            self._over = True  # a thread that still had a job to give starts no other process
        self.stop()

    def start(self) -> None:
        """Start the process now, so that it imports TensorFlow in the meantime."""
        with self._starting:
            if self._over:
                raise StageError("the TensorFlow process has ended with its run", "start the run again")
            if self._process is None:
                self._process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        self._lines = queue.SimpleQueue()
        with explain_disk_errors(self._log):
            discard(self._temporary, root=self._temporary.parent)  # of a process that was killed, or a link
            self._temporary.mkdir(parents=True, exist_ok=True)
            with open_log(self._log) as log:
                process = start(
                    [sys.executable, "-m", "edgeproof.workflows.tensorflow_worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    encoding="utf-8",
                    env={
                        **os.environ,
                        "TF_CPP_MIN_LOG_LEVEL": "2",
                        "TF_USE_LEGACY_KERAS": "1",
                        # AutoGraph writes files there that a killed process leaves behind.
                        "TMPDIR": str(self._temporary),
                    },
                )
        threading.Thread(target=_pump, args=(process, self._lines), daemon=True).start()
        return process

    def stop(self) -> None:
        """End the process, at once if it is busy."""
        if self._process is None:
            return
        kill_group(self._process)
        self._forget(self._process)

    def _forget(self, process: subprocess.Popen[str]) -> int:
        """Wait for a process that has ended or was ended, close its pipes, return its exit status."""
        code = process.wait()
        self._process = None
        with suppress(BrokenPipeError):
            if process.stdin is not None:
                process.stdin.close()
        discard(self._temporary, root=self._temporary.parent)
        return code

    def call(self, job: str, *, timeout: float | None = None, **facts: Any) -> None:
        """Do a job and return when it is done; its results are the files that it wrote.

        Raises what the job raised (InputError, StageError), or CrashError when the process died or `timeout` seconds
        passed.
        """
        with self._turn:
            self._do(job, timeout, facts)

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Wait for the job that runs, and do none within the block."""
        with self._turn:
            yield

    def _do(self, job: str, timeout: float | None, facts: dict[str, Any]) -> None:
        self.start()
        process = self._process
        if process is None or process.stdin is None:
            raise StageError("the TensorFlow process could not be started", f"see {self._log}")
        with suppress(BrokenPipeError):  # it ended before: the end of the queue reports it below
            process.stdin.write(json.dumps({"job": job, **facts}) + "\n")
            process.stdin.flush()
        while True:
            try:
                # The time-out covers silence too: a converter reports nothing while it works.
                line = self._lines.get(timeout=timeout or SILENCE.get(job))
            except queue.Empty:
                self.stop()
                raise _too_long(job, timeout) from None
            if line is None:
                raise self._post_mortem(job)
            event = json.loads(line)
            if event["event"] == "done":
                return
            self._hear(event)

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            self._listener.progress(event["task"], event["done"], event["total"], event["note"])
        elif event["event"] == "note":
            self._listener.note(event["level"], event["message"], **event["facts"])
        else:
            raise self._error(event)

    def _error(self, event: dict[str, Any]) -> EdgeproofError:
        if event["kind"]:
            kind = InputError if event["kind"] == "InputError" else StageError
            return kind(event["message"], event["remedy"])
        self._listener.note("error", event["message"], trace=event["trace"])
        return StageError(shorten(event["message"], 400), "log.jsonl has the details; please report it")

    def _post_mortem(self, job: str) -> CrashError:
        code = self._forget(self._process) if self._process else 0
        ending = Ending(code, errors=tail_of(self._log))
        why = f"{job}: the TensorFlow process ended ({ending.cause}){ending.error_suffix}"
        return CrashError(why, ending.remedy(f"{self._log} has what it printed"), "crashed")


def _too_long(job: str, timeout: float | None) -> CrashError:
    if timeout:
        return CrashError(f"{job} did not end within {timeout:g} s", "raise its timeout_seconds", "timeout")
    return CrashError(
        f"{job} was ended: it reported nothing for {SILENCE[job]:g} s",
        "the model may run forever: try it in its original environment, on one sample",
        "timeout",
    )


def _pump(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    """Move the process's lines into a queue that can be waited on; None marks the end."""
    if process.stdout is not None:
        with process.stdout:
            for line in process.stdout:
                lines.put(line)
    lines.put(None)
