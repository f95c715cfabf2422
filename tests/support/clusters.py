"""A real Dask cluster on loopback, for a test: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_PATIENCE = 60.0


@dataclass
class RunningCluster:
    """A scheduler at `address`, and its workers by name."""

    folder: Path
    address: str = ""
    scheduler: subprocess.Popen[bytes] | None = None
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_worker(self, name: str, *options: str, env: Mapping[str, str] | None = None) -> None:
        """Start a worker of one thread, and wait until the scheduler knows it."""
        command = [
            "worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name,
            "--death-timeout", "30", "--local-directory", str(self.folder / name), "--host", "127.0.0.1", *options,
        ]  # fmt: skip
        log = self.folder / f"{name}.log"
        self.workers[name] = _dask(command, log, env)
        _until("Registered to:", log, self.workers[name])

    def kill(self, name: str) -> None:
        """Kill a worker, as a power cut would."""
        self.workers[name].kill()
        self.workers[name].wait()

    def kill_scheduler(self) -> None:
        """Kill the scheduler."""
        assert self.scheduler is not None
        self.scheduler.kill()
        self.scheduler.wait()

    def log(self, name: str) -> str:
        """What a worker has written."""
        return (self.folder / f"{name}.log").read_text(errors="replace")


def _dask(arguments: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], stdout=stream, stderr=stream, env={**os.environ, **(env or {})}
        )


def _until(words: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _PATIENCE
    while words not in (text := log.read_text(errors="replace")):
        assert process.poll() is None and time.monotonic() < until, text
        time.sleep(0.05)


@contextmanager
def dask_cluster(folder: Path, workers: Sequence[str] = ()) -> Iterator[RunningCluster]:
    """Yield a scheduler with some workers."""
    cluster, facts = RunningCluster(folder), folder / "scheduler.json"
    try:
        command = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(facts)]
        log = folder / "scheduler.log"
        cluster.scheduler = _dask(command, log)
        _until("Scheduler at:", log, cluster.scheduler)
        until = time.monotonic() + _PATIENCE
        # The file is there before its words are.
        while not (facts.exists() and facts.read_text()) and time.monotonic() < until:
            time.sleep(0.05)
        cluster.address = json.loads(facts.read_text())["address"]
        for name in workers:
            cluster.start_worker(name)
        yield cluster
    finally:
        for process in [*cluster.workers.values(), *filter(None, [cluster.scheduler])]:
            process.kill()
            process.wait()
