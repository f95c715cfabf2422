"""A device at a worker of a cluster, leased to one machine at a time: what the worker does for the machine that asks.

`hold` is the task that has the device's resource while the lease lasts. `ask` does what is asked of it; it is called
beside the tasks, so that a worker of one thread can do so. A lease ends when it is given up, or nothing is asked for
a while: the machine that asked may have gone.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ...core.codec import sha256_file, sha256_of, to_json
from ...core.device import THIS_MACHINE
from ...core.device_files import load_devices
from ...core.environment import boot_id
from ...core.errors import EdgeproofError, InputError
from ...core.runner import Outcome, Runner, Server
from ...core.sanitize import checked_name
from ...core.target import Target
from .. import OpenDevices
from .worker import placed

IDLE_SECONDS = 60.0
_LOOK = 0.2
_SESSIONS: dict[str, Session] = {}


def topic(token: str) -> str:
    """Return where `hold` says that it has begun."""
    return f"edgeproof-lease-{token}"


def hold(token: str, name: str) -> None:
    """Lease a device of this worker until the lease is given up; say so as an event, with an error if there is one."""
    from distributed import get_worker

    worker = get_worker()
    try:
        session = Session(name)
    except EdgeproofError as error:
        worker.log_event(topic(token), {"error": error.message, "remedy": error.remedy})
        return
    _SESSIONS[token] = session
    worker.log_event(topic(token), {"worker": worker.address})
    try:
        session.wait()
    finally:
        del _SESSIONS[token]
        session.close()


async def ask(token: str, request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked of a lease; return ``{"is": …}``, ``{"error": …, "remedy": …}``, or ``{"gone": True}``."""
    session = _SESSIONS.get(token)
    if session is None:
        return {"gone": True}
    return await asyncio.to_thread(session.do, request)


class Session:
    """A lease of a device that this worker's ``devices.toml`` declares, and the files that came for it."""

    def __init__(self, name: str) -> None:
        """Raise InputError for a device that is not declared here, or as one of another worker."""
        declared = load_devices()
        if declared[name].kind == "worker":
            raise InputError(
                f"the worker's own devices.toml declares {name} as a device of another worker",
                f'declare what it is where `dask worker` starts, such as [device.{name}] kind = "ssh"',
            )
        self._name, self._devices = name, OpenDevices(declared)
        self._device = self._devices[name]
        self._scratch = tempfile.TemporaryDirectory(prefix="edgeproof-")
        self._files, self._places = Path(self._scratch.name, "files"), Path(self._scratch.name, "places")
        for folder in (self._files, self._places):
            folder.mkdir()
        self._servers: dict[str, Server] = {}
        self._lock, self._placing = threading.Lock(), threading.Lock()
        self._busy, self._last = 0, time.monotonic()
        self._over = threading.Event()

    def wait(self) -> None:
        """Return when the lease is over."""
        while not self._over.wait(_LOOK):
            with self._lock:
                if not self._busy and time.monotonic() - self._last > IDLE_SECONDS:
                    return

    def close(self) -> None:
        """End what runs on the device, and remove the files."""
        with ExitStack() as stack:
            stack.callback(self._scratch.cleanup)
            stack.callback(self._devices.close)
            for server in self._servers.values():
                stack.callback(server.close)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1
                self._last = time.monotonic()

    def do(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do one of the things below."""
        doing: dict[str, Callable[..., Any]] = {
            "close": self._close, "have": self._have, "put": self._put, "device": self._ask_device,
            "facts": self._facts, "run": self._run, "serve": self._serve, "server": self._ask_server,
        }  # fmt: skip
        with self._counted():
            try:
                return {"is": doing[request["do"]](**{key: value for key, value in request.items() if key != "do"})}
            except EdgeproofError as error:
                return {"error": error.message, "remedy": error.remedy}
            except OSError as error:
                return {"error": f"the worker's disk refuses: {error.strerror}", "remedy": "see that machine's disk"}

    def _close(self) -> None:
        self._over.set()

    def _have(self, names: list[str]) -> list[str]:
        """Return which files are missing here."""
        return [name for name in names if not (self._files / checked_name(name, "a file")).exists()]

    def _put(self, name: str, content: bytes, *, last: bool) -> None:
        """Add to a file; with its last part it is checked."""
        path = self._files / checked_name(name, "a file")
        part = path.with_name(f"{path.name}.part")
        with part.open("ab") as stream:
            stream.write(content)
        if last:
            if sha256_file(part) != name:
                part.unlink()
                raise InputError(f"a file has arrived damaged: {name[:12]}", "run this again")
            part.rename(path)

    def _ask_device(self, what: str, target: str = "", fix: bool = False) -> Any:
        device = self._device
        if what == "place":
            return boot_id() if device.place == THIS_MACHINE else device.place
        if what == "checks":
            return [to_json(check) for check in device.checks(fix=fix)]
        if what == "missing_runtime":
            return device.missing_runtime(Target.parse(target))
        if what == "clean":
            return device.clean()
        return device.environment() if what == "environment" else device.runtimes()

    def _runner(self, job: Mapping[str, Any]) -> tuple[Runner, Path]:
        """Return the runner of a job, and its samples; the files are linked to where they have names that tell."""
        place = self._places / sha256_of([job["file"], job["file_suffix"], job["tokenizer"]])
        inputs = self._places / f"samples-{checked_name(job['inputs'], 'a file')}{job['suffix']}"
        with self._placing:
            artifact = placed(job, self._link, place)
            if job["suffix"]:
                self._link(job["inputs"], inputs)
        runner = self._devices.open_runner(artifact, Target.parse(job["target"]), timeout_seconds=job["seconds"])
        return runner, inputs

    def _link(self, sha256: str, path: Path) -> None:
        if not path.exists():
            os.link(self._files / checked_name(sha256, "a file"), path)

    def _facts(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return what a runner says of itself."""
        runner, _ = self._runner(job)
        return {
            "kind": runner.kind, "answers": runner.answers, "timed": runner.timed, "identity": runner.identity(),
            "free_bytes": runner.free_bytes(),
        }  # fmt: skip

    def _run(self, job: dict[str, Any], verb: str, **more: Any) -> dict[str, Any]:
        """Run a verb of a runner; of ``infer``, return the ``.npy`` of the answers, too."""
        runner, inputs = self._runner(job)
        if verb == "rest":
            runner.rest()
            return {"outcome": to_json(Outcome("ok"))}
        if verb == "infer":
            outputs = self._places / f"{uuid.uuid4().hex}.npy"
            outcome = runner.infer(inputs, outputs, more["start"], more["stop"])
            answers = outputs.read_bytes() if outcome.ok else b""
            outputs.unlink(missing_ok=True)
            return {"outcome": to_json(outcome), "answers": answers}
        if verb == "profile":
            return {"outcome": to_json(runner.profile(inputs, runs=more["runs"], threads=more["threads"]))}
        return {"outcome": to_json(runner.load(inputs))}

    def _serve(self, job: dict[str, Any], threads: int, batch: int) -> dict[str, Any]:
        """Start a process for bursts; return its name, or the outcome that says why there is none."""
        runner, inputs = self._runner(job)
        server = runner.serve(inputs, threads=threads, batch=batch)
        if isinstance(server, Outcome):
            return {"outcome": to_json(server)}
        name = uuid.uuid4().hex
        self._servers[name] = server
        return {"server": name}

    def _ask_server(self, server: str, request: dict[str, Any] | None, seconds: float | None) -> dict[str, Any] | None:
        """Pass a request on; ``{}`` waits until the process is ready, and None ends it."""
        if request is None:
            self._servers.pop(server).close()
            return None
        process = self._servers[server]
        return to_json(process.ask(request, seconds=seconds) if request else process.ready())  # type: ignore[no-any-return]
