"""A runner's process that runs bursts on request, for a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeproof.core.runner import Outcome, Runner, Server


@contextmanager
def served(runner: Runner, inputs: Path, *, threads: int = 1, batch: int = 1) -> Iterator[Server]:
    """Yield the server of a runner, its runtime imported."""
    server = runner.serve(inputs, threads=threads, batch=batch)
    assert not isinstance(server, Outcome), server.reason
    try:
        ready = server.ready()
        assert ready.ok, ready.reason
        yield server
    finally:
        server.close()
