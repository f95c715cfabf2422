"""A device at a worker of a cluster. The worker opens it, by its own ``devices.toml``, and runs files beside it.

The device is a resource of the worker (``dask worker … --resources "pi=1"``), so that two machines never share it: a
lease (`session`) is taken with the first question and ends when nothing is asked for a while.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...core.artifact import Artifact
from ...core.codec import from_json, read_json, sha256_of, to_json, write_json
from ...core.device import THIS_MACHINE, Check, Located
from ...core.device_tables import DeviceTable
from ...core.environment import boot_id
from ...core.errors import InputError, StageError
from ...core.quiet import working
from ...core.runner import Outcome
from ...core.runtime import RUNTIMES
from ...core.sanitize import shorten, slug
from ...core.target import Target
from ..runtimes import only_version
from . import session
from .connection import Cluster
from .runner import ClusterRunner

# Seconds that a device which was there may be gone before it counts as away; between two looks; before a line says
# that another machine has it.
RETURN_SECONDS, _LOOK, _SAY = 30.0, 0.05, 3.0
_CHUNK = 4 << 20
_AGAIN = "start the worker again; what was measured is kept, and a rerun goes on"


@dataclass(frozen=True)
class Lease:
    """A device that is this machine's for now: the worker that has it, and the task that holds it."""

    token: str
    worker: str
    task: Any


class ClusterDevice:
    """See `core.device.Device`."""

    def __init__(self, name: str, cluster: Cluster | None, known: Path) -> None:
        """`known` is the file that keeps what the device said last, for runs that find it away."""
        self.name, self._cluster, self._known = name, cluster, known
        self._lock = threading.RLock()
        self._lease: Lease | None = None
        self._was_there = False
        self._closed = threading.Event()
        self._facts: dict[str, dict[str, Any]] = {}

    def lease(self) -> Lease | Outcome:
        """Return the lease; take one, as soon as no other machine has it, unless there is one."""
        with self._lock:
            if self._lease is None:
                taken = self._take()
                if isinstance(taken, Outcome):
                    return taken
                self._lease, self._was_there = taken, True
            return self._lease

    def _take(self) -> Lease | Outcome:
        if self._closed.is_set():
            return Outcome("skipped", f"{self.name} was given back", "run this again")
        if self._cluster is None:
            remedy = "name the cluster: --cluster tcp://HOST:8786 (edgeproof docs cluster)"
            return Outcome("skipped", f"{self.name} is a device at a worker of a cluster", remedy)
        workers = self._workers(RETURN_SECONDS if self._was_there else 0.0)
        if not workers:
            reason = f"no worker of {self._cluster.address} has the device {self.name}"
            remedy = f'start one beside it: dask worker {self._cluster.address} --resources "{self.name}=1"'
            return Outcome("skipped", reason, remedy)
        token, client = uuid.uuid4().hex, self._cluster.client
        began = time.monotonic()
        try:
            task = client.submit(
                session.hold, token, self.name, key=f"edgeproof-{slug(self.name)}-{token}", pure=False,
                workers=workers, allow_other_workers=False, resources={self.name: 1}, retries=0,
            )  # fmt: skip
            while not (events := client.get_events(session.topic(token))):
                waited = time.monotonic() - began
                if self._closed.wait(min(_LOOK + waited / 50, 1.0)):
                    task.release()
                    return Outcome("skipped", f"{self.name} was given back", "run this again")
                if waited > _SAY:
                    self._cluster.say(f"waiting for {self.name}, which another job has", "it begins when that one ends")
                if not set(workers).intersection(self._workers()) or task.status in ("error", "cancelled", "lost"):
                    task.release()
                    return Outcome("crashed", f"the worker of {self.name} was lost", _AGAIN)
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            return self._lost(error)
        said = events[0][1]
        if "error" in said:
            remedy = (
                f"declare [device.{self.name}] in the devices.toml of the worker's machine (edgeproof docs cluster)"
            )
            return Outcome("skipped", f"the worker of {self.name} says: {shorten(str(said['error']), 300)}", remedy)
        return Lease(token, str(said["worker"]), task)

    def _workers(self, seconds: float = 0.0) -> list[str]:
        """Return the addresses of the workers that have the device; wait so long until there is one."""
        until = time.monotonic() + seconds
        while True:
            found = self._cluster.workers() if self._cluster else []
            there = [w.address for w in found if self.name in w.devices and not w.refused]
            if there or time.monotonic() >= until or self._closed.wait(0.2) or (self._cluster and self._cluster.lost):
                return there

    def _lost(self, error: BaseException) -> Outcome:
        words = shorten(str(error) or type(error).__name__, 200)
        return Outcome("crashed", f"the worker of {self.name} was lost: {words}", _AGAIN)

    def ask_lease(self, lease: Lease, request: Mapping[str, Any]) -> Any:
        """Ask something of one lease. Return the answer, or the outcome of what went wrong."""
        assert self._cluster is not None  # noqa: S101 (there is a lease)
        # Dask would try for half a minute to reach a worker that is gone.
        if lease.worker not in self._workers():
            self._forget(lease)
            return Outcome("crashed", f"the worker of {self.name} was lost", _AGAIN)
        try:
            client = self._cluster.client
            reply = client.run(session.ask, lease.token, dict(request), workers=[lease.worker])[lease.worker]
        except Exception as error:  # the worker, the scheduler, or what is between
            self._forget(lease)
            return self._lost(error)
        if reply.get("gone"):
            self._forget(lease)
            return Outcome("crashed", f"the lease of {self.name} has ended, since nothing was asked", "run this again")
        if "error" in reply:
            return Outcome("failed", shorten(str(reply["error"]), 300), shorten(str(reply["remedy"]), 300))
        return reply["is"]

    def _forget(self, lease: Lease) -> None:
        with self._lock:
            if self._lease is lease:
                self._lease = None
                with suppress(Exception):
                    lease.task.release()

    def ask(self, request: Mapping[str, Any], files: Mapping[str, Path] | None = None) -> Any:
        """Ask something; take a lease, and put the files there, if need be. A lease that was lost is taken again, once.

        Returns the answer, or the outcome of what went wrong.
        """
        answer: Any = None
        for _ in range(2):
            lease = self.lease()
            if isinstance(lease, Outcome):
                return lease
            answer = self.put(lease, files) if files else None
            if not isinstance(answer, Outcome):
                answer = self.ask_lease(lease, request)
            if not (isinstance(answer, Outcome) and answer.status == "crashed"):
                return answer
        return answer

    def put(self, lease: Lease, files: Mapping[str, Path]) -> Outcome | None:
        """Put files beside the device, by their SHA-256, unless they are there; return what went wrong, or None."""
        with self._lock:  # a file that two threads need is put there once
            missing = self.ask_lease(lease, {"do": "have", "names": list(files)})
            for name in missing if isinstance(missing, list) else ():
                failed = self._put(lease, name, files[name])
                if failed is not None:
                    return failed
        return missing if isinstance(missing, Outcome) else None

    def _put(self, lease: Lease, name: str, path: Path) -> Outcome | None:
        left = path.stat().st_size
        with path.open("rb") as stream:
            while True:
                with working():
                    content = stream.read(_CHUNK)
                left -= len(content)
                last = left <= 0 or not content
                answer = self.ask_lease(lease, {"do": "put", "name": name, "content": content, "last": last})
                if isinstance(answer, Outcome):
                    return answer
                if last:
                    return None

    def job(self, runner: ClusterRunner, inputs: Path | None) -> tuple[dict[str, Any], dict[str, Path]]:
        """Return a runner's job as the worker reads it, and the files that it names."""
        assert self._cluster is not None  # noqa: S101 (there is a lease)
        files: dict[str, Path | bytes] = {}
        artifact = runner.artifact
        with working():
            job = {
                "target": str(runner.target), "seconds": runner.timeout_seconds,
                "artifact": to_json(replace(artifact, path=None, tokenizer=None)),
                "file": self._cluster.tree(artifact.path, files),
                "file_suffix": artifact.path.suffix if artifact.path else "",
                "tokenizer": self._cluster.tree(artifact.tokenizer, files),
                "inputs": "none", "suffix": "",
            }  # fmt: skip
            if inputs is not None:
                job |= {"inputs": self._cluster.tree(inputs, files)[""], "suffix": inputs.suffix}
        return job, {name: path for name, path in files.items() if isinstance(path, Path)}

    def facts(self, runner: ClusterRunner) -> dict[str, Any]:
        """Return what the worker's runner says of itself; what it said last where it is away, else a guess."""
        artifact = runner.artifact
        about = [artifact.sha256, to_json(artifact.contract) if artifact.contract else None, artifact.answer,
                 artifact.tokenizer_sha256, str(runner.target)]  # fmt: skip
        key = sha256_of(about)
        with self._lock:
            if key not in self._facts:
                answer: Any = self.lease()
                if not isinstance(answer, Outcome):
                    job, files = self.job(runner, None)
                    answer = self.ask({"do": "facts", "job": job}, files)
                if isinstance(answer, Outcome):
                    guess = {"kind": "measured", "answers": True, "timed": True, "free_bytes": 0,
                             "identity": {"target": str(runner.target), "runtime_version": ""}}  # fmt: skip
                    return dict(self._recalled().get(key, guess))
                self._facts[key] = answer
                with suppress(OSError):  # without it, a run that finds the device away cannot use what is stored
                    self._known.parent.mkdir(parents=True, exist_ok=True)
                    write_json(self._known, {**self._recalled(), key: answer}, durable=False)
            return self._facts[key]

    def _recalled(self) -> dict[str, Any]:
        with suppress(OSError, InputError):
            found = read_json(self._known)
            return found if isinstance(found, dict) else {}
        return {}

    @property
    def place(self) -> str:
        """The worker's machine, or what it says of a device elsewhere."""
        place = self.ask({"do": "device", "what": "place"})
        if not isinstance(place, str) or not place:
            return self.name
        return THIS_MACHINE if place == boot_id() else place

    def open_runner(self, artifact: Artifact, target: Target, *, timeout_seconds: float) -> ClusterRunner:
        """Return the runner for an artifact on a target of this device."""
        return ClusterRunner(artifact, target, timeout_seconds, self)

    def runtimes(self) -> dict[str, str]:
        """Return each runtime's version there."""
        found = self.ask({"do": "device", "what": "runtimes"})
        if isinstance(found, Outcome):
            return {name: "" for name, row in RUNTIMES.items() if row.default}
        return {name: shorten(str(found[name]), 60) for name in RUNTIMES if name in found}

    def other_versions(self) -> list[Located]:
        """Return none: a device has one version of a runtime."""
        return []

    def locate(self, target: Target) -> Located | None:
        """Return a target's runtime if it is there."""
        return only_version(target, self.runtimes())

    def missing_runtime(self, target: Target) -> tuple[str, str] | None:
        """Return why a target cannot be run there."""
        found = self.ask({"do": "device", "what": "missing_runtime", "target": str(target)})
        if isinstance(found, Outcome):
            return found.reason, found.remedy
        return (shorten(str(found[0]), 300), shorten(str(found[1]), 300)) if found else None

    def environment(self) -> dict[str, Any]:
        """Return what the device says of itself."""
        found = self.ask({"do": "device", "what": "environment"})
        if isinstance(found, Outcome):
            return {"unreachable": found.reason, "remedy": found.remedy, "packages": {}}
        return dict(found)

    def checks(self, *, fix: bool = False) -> list[Check]:
        """Return what the worker finds."""
        found = self.ask({"do": "device", "what": "checks", "fix": fix})
        if isinstance(found, Outcome):
            return [Check(self.name, "missing", found.reason, found.remedy)]
        return [from_json(Check, check, "a worker's reply") for check in found]

    def clean(self) -> str:
        """Remove what was put on the device. Raises StageError when it cannot be reached."""
        found = self.ask({"do": "device", "what": "clean"})
        if isinstance(found, Outcome):
            raise StageError(f"{self.name}: {found.reason}", found.remedy)
        return shorten(str(found), 300)

    def close(self) -> None:
        """Give the lease back."""
        self._closed.set()
        lease = self._lease
        if lease is not None:
            self.ask_lease(lease, {"do": "close"})
            self._forget(lease)


def open_device(name: str, table: DeviceTable, cluster: Cluster | None = None) -> ClusterDevice:
    """Return a device at a worker. Nothing is asked."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return ClusterDevice(name, cluster, cache / "edgeproof" / "devices" / f"{slug(name)}-worker.json")
