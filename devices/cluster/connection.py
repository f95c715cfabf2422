"""A Dask cluster: other machines that answer samples, and the devices at them. By default there is none.

Dask's scheduler places tasks, and gives those of a worker that disappears to another one. This module decides which
workers may answer for this machine: only those whose answers are the same to the last digit, since answers are kept
under what they depend on. Where a worker or the whole cluster is lost, the work is done here.
"""

from __future__ import annotations

import io
import logging
import math
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from ...core.codec import from_json, sha256_file, to_json
from ...core.device_tables import BUILT_IN
from ...core.environment import usable_cores
from ...core.errors import InputError
from ...core.extras import EXTRAS
from ...core.files import move
from ...core.helpers import Room, sha256
from ...core.progress import Listener
from ...core.runner import Outcome, Runner
from ...core.sanitize import shorten
from ...core.store import package_versions
from . import worker as work

R = TypeVar("R")

CONNECT_SECONDS = 10
# Seconds between two looks at whether a task still has a worker; tries of a task whose files were lost on the way.
_LOOK, _TRIES = 2.0, 4
_AGE = 0.5  # seconds, of the list of workers for a task: Dask gives it to another one if its worker is gone
_RESULT = 60.0  # seconds for a result that is there to arrive
# Of a piece of a file of samples; and of files that workers are asked to keep, the last used ones.
_PIECE_BYTES, _KEPT_BYTES = 8 << 20, 1 << 30
_START = "start one there: dask scheduler; and workers: dask worker tcp://HOST:8786 (edgeproof docs cluster)"
SAME = "install the same version of Edgeproof on all machines"


@dataclass(frozen=True)
class Worker:
    """A worker: its address, its threads, the devices at it, and what it says of itself; or why it is not used."""

    address: str
    threads: int
    devices: tuple[str, ...]
    host: str = ""
    runtimes: Mapping[str, str] | None = None
    refused: str = ""
    differs: str = ""

    @property
    def room(self) -> int:
        """How many samples it answers at once, besides serving its devices."""
        return 0 if self.refused or self.differs else max(0, self.threads - len(self.devices))


class Cluster:
    """A connection to a Dask scheduler; `open_cluster` makes one. For any thread."""

    def __init__(self, client: Any, address: str, listener: Listener) -> None:
        self.client, self.location, self.listener = client, address, listener
        self.address = shorten(address, 200)
        self.room = Room(usable_cores())  # for processes that answer samples on this machine
        self._here = work.about()
        self._lock = threading.RLock()
        self._workers: dict[str, Worker] = {}
        self._seen: tuple[float, list[Worker]] = (-math.inf, [])
        self._unfit: set[tuple[str, str]] = set()
        self._blobs: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._digests: dict[tuple[str, int, int], str] = {}
        self._said: set[str] = set()
        self.done: dict[str, int] = {}  # tasks by worker

    @property
    def lost(self) -> bool:
        """Whether the scheduler is away."""
        return bool(self.client.status != "running")

    @property
    def helpers(self) -> int:
        """How many tasks the workers do at once."""
        return sum(worker.room for worker in self.workers())

    def workers(self, *, age: float = 0.0) -> list[Worker]:
        """Return the workers that are there, or were some seconds ago (`age`). New ones are asked what they are."""
        with self._lock:
            if time.monotonic() - self._seen[0] < age:
                return self._seen[1]
            try:
                found = {} if self.lost else self.client.scheduler_info(n_workers=-1)["workers"]
                for _ in range(_TRIES):
                    if not (new := [address for address in found if address not in self._workers]):
                        break
                    for address, facts in self.client.run(work.about, workers=new, on_error="return").items():
                        if not isinstance(facts, OSError | TimeoutError):  # of one that has just come, or gone
                            self._workers[address] = self._described(address, found[address], facts)
                if not self.lost:
                    there = [self._workers[address] for address in found if address in self._workers]
                    self._seen = time.monotonic(), there
                    return there
            except (OSError, TimeoutError):
                pass
            self.say(f"the cluster at {self.address} is lost: the rest is done here", "check the scheduler")
            return []

    def _described(self, address: str, info: Mapping[str, Any], facts: Any) -> Worker:
        devices = tuple(name for name, count in sorted(info["resources"].items()) if count >= 1)
        worker = Worker(address, info["nthreads"], devices)
        if not isinstance(facts, dict):
            return replace(worker, refused=f"it has no Edgeproof of this version ({shorten(str(facts), 120)})")
        worker = replace(worker, host=shorten(facts["host"], 60), runtimes=facts["runtimes"])
        if facts["edgeproof"] != self._here["edgeproof"]:
            theirs, ours = shorten(facts["edgeproof"], 20), self._here["edgeproof"]
            return replace(worker, refused=f"it has Edgeproof {theirs}, and this machine {ours}")
        if facts["code"] != self._here["code"]:
            return replace(worker, refused="its Edgeproof has other code than this machine's")
        ours, theirs = self._here["arithmetic"], facts["arithmetic"]
        other = next((key for key in ours if ours[key] != theirs[key]), "")
        if not other:
            return worker
        has = "" if other == "flags" else f" ({shorten(str(theirs[other]), 60)})"
        words = {"cpu": "processor", "flags": "instructions", "system": "system"}.get(other, other)
        return replace(worker, differs=f"other {words}{has}")

    def has(self, device: str) -> bool:
        """Whether a worker has a device."""
        return any(device in worker.devices for worker in self.workers() if not worker.refused)

    def describe(self) -> None:
        """Say which workers there are and what they are used for."""
        workers = self.workers()
        useful = [worker for worker in workers if worker.room]
        devices = sorted({name for worker in workers if not worker.refused for name in worker.devices})
        words = f"{len(workers)} worker{'' if len(workers) == 1 else 's'}"
        words += f", {sum(w.room for w in useful)} threads that answer samples"
        self.listener.note("info", f"cluster {self.address}: {words}; devices: {', '.join(devices) or 'none'}")
        for reason in dict.fromkeys(worker.refused for worker in workers if worker.refused):
            names = ", ".join(worker.host or worker.address for worker in workers if worker.refused == reason)
            self.listener.note("warning", f"not used: {names}: {reason}", remedy=SAME)
        if differ := [worker for worker in workers if worker.differs and not worker.refused]:
            names = "; ".join(dict.fromkeys(f"{worker.host}: {worker.differs}" for worker in differ))
            words = f"workers that answer no samples, since answers could differ in the last digits: {names}"
            self.listener.note("warning", words)

    def say(self, message: str, remedy: str) -> None:
        """Warn once."""
        if message not in self._said:
            self._said.add(message)
            self.listener.note("warning", message, remedy=remedy)

    def answer(
        self, runner: Runner, inputs: Path, outputs: Path, start: int, stop: int, *, seconds: float
    ) -> Outcome | None:
        """Have a worker write the answers for samples [start, stop), as `Runner.infer`; None: it must be done here."""
        target, artifact = runner.target, runner.artifact
        # An accelerator's answers depend on the hardware beside the processor.
        if target.device not in BUILT_IN or target.engine.cpu or artifact.path is None:
            return None
        pieces, first = self._pieces(inputs, start, stop)
        files: dict[str, Path | bytes] = {}
        job = {
            "target": str(target), "seconds": seconds, "start": start - first, "stop": stop - first,
            "artifact": to_json(replace(artifact, path=None, tokenizer=None)),
            "file": self.tree(artifact.path, files), "file_suffix": artifact.path.suffix,
            "tokenizer": self.tree(artifact.tokenizer, files),
            "depends_on": work.depends_on(runner), "arithmetic": self._here["arithmetic"],
            "pieces": [_named(piece, files) for piece in pieces], "suffix": inputs.suffix, "blobs": list(files),
        }  # fmt: skip
        reply = self._shared(work.answer, job, files, str(target))
        return None if reply is None else self._taken(reply, outputs, stop - start)

    def call(
        self,
        function: Callable[..., R],
        job: dict[str, Any],
        blobs: Sequence[bytes],
        packages: Sequence[str],
        kept: Sequence[bytes] = (),
    ) -> R | None:
        """As `core.helpers.Helpers`. The blobs travel by their hash."""
        files: dict[str, Path | bytes] = {}
        order = [_named(blob, files) for blob in (*kept, *blobs)]
        versions = package_versions(packages)
        whole = {
            "function": function, "job": job, "order": order, "blobs": list(files), "versions": versions,
            "arithmetic": self._here["arithmetic"],
        }  # fmt: skip
        reply = self._shared(work.compute, whole, files, str(versions))
        self._drop(order[len(kept) :])
        return None if reply is None else cast(R, reply["result"])

    def _shared(
        self, function: Any, job: Mapping[str, Any], files: Mapping[str, Path | bytes], about: str
    ) -> dict[str, Any] | None:
        """Have a like worker do a task; None where none can. Workers that say they are `different` are left out."""
        for _ in range(_TRIES):
            fit = [w.address for w in self.workers(age=_AGE) if w.room and (w.address, about) not in self._unfit]
            if not fit:
                return None
            worker, reply = self._run(function, job, files, fit)
            if not isinstance(reply, dict):
                continue
            if "different" in reply:
                self._unfit.add((worker, about))
                continue
            with self._lock:
                self.done[worker] = self.done.get(worker, 0) + 1
            return reply
        return None

    def _taken(self, reply: Mapping[str, Any], outputs: Path, samples: int) -> Outcome | None:
        """Write a worker's answers. What failed there is done here: a row tells of this machine."""
        try:
            outcome = from_json(Outcome, reply["outcome"], "a worker's reply")
            if outcome.ok:
                write_answers(reply["answers"], outputs, samples)
        except (InputError, ValueError, KeyError, TypeError) as error:
            self.say(f"a worker's reply cannot be read: {shorten(str(error), 200)}", SAME)
            return None
        return outcome if outcome.ok else None

    def _run(
        self, function: Any, job: Mapping[str, Any], files: Mapping[str, Path | bytes], workers: Sequence[str]
    ) -> tuple[str, Any]:
        """Run a task on one of some workers. Return that worker and its result; None if it, or its files, got lost."""
        from distributed import KilledWorker

        try:
            blobs = self._sent(files, workers)
            future = self.client.submit(
                work.on_worker, function, job, *blobs, key=f"edgeproof-{function.__name__}-{uuid.uuid4().hex}",
                workers=list(workers), allow_other_workers=False,
            )  # fmt: skip
        except Exception:  # whatever a worker or scheduler that has just gone makes of it
            self._forget(files)
            return "", None
        finished = threading.Event()
        future.add_done_callback(lambda _: finished.set())
        try:
            while not finished.wait(_LOOK):
                if not {worker.address for worker in self.workers()}.intersection(workers):
                    return "", None
            error: BaseException | None = None
            try:
                worker, result = future.result(timeout=_RESULT)
                return str(worker), result
            except (CancelledError, TimeoutError, OSError):
                pass  # it, or what it needed, was lost with a worker
            except Exception as raised:
                error = raised
            if isinstance(error, KilledWorker):
                self.say(
                    "workers end at a task of this run: it is done here", "see the workers' logs: is memory short?"
                )
            elif error is not None:
                self.say(f"a worker cannot do its tasks: {shorten(str(error), 200)}", "see the workers' logs")
            self._forget(files)
            return "", None
        finally:
            future.release()

    def _sent(self, files: Mapping[str, Path | bytes], workers: Sequence[str]) -> list[Any]:
        """Return a future of each file's bytes, by hash; those that no worker has are sent to one of `workers`."""
        with self._lock:
            futures = []
            for sha256, source in files.items():
                future, size = self._blobs.pop(sha256, (None, 0))
                if future is None or future.status != "finished":
                    content = source if isinstance(source, bytes) else source.read_bytes()
                    key = f"edgeproof-file-{sha256}"
                    future = self.client.scatter({key: content}, workers=list(workers))[key]
                    size = len(content)
                self._blobs[sha256] = (future, size)
                futures.append(future)
            while len(self._blobs) > len(files) and sum(size for _, size in self._blobs.values()) > _KEPT_BYTES:
                self._blobs.popitem(last=False)  # tasks that wait for it keep it
            return futures

    def _forget(self, files: Iterable[str]) -> None:
        """Send the files again, and look for the workers: some were lost."""
        with self._lock:
            self._seen = -math.inf, []
            self._drop(files)

    def _drop(self, files: Iterable[str]) -> None:
        with self._lock:
            for name in files:
                self._blobs.pop(name, None)

    def tree(self, path: Path | None, files: dict[str, Path | bytes]) -> dict[str, str]:
        """Return the hashes of a file (its name is ``""``) or of a folder's files; add them to `files`."""
        if path is None or not path.exists():
            return {}
        tree = {}
        for part in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
            stat = part.stat()
            key = (str(part), stat.st_size, stat.st_mtime_ns)
            if key not in self._digests:
                self._digests[key] = sha256_file(part)
            tree[part.relative_to(path).as_posix() if part != path else ""] = self._digests[key]
            files[self._digests[key]] = part
        return tree

    def _pieces(self, inputs: Path, start: int, stop: int) -> tuple[list[bytes], int]:
        """Return the pieces of a file of samples that hold [start, stop), and the first sample in them.

        Pieces are cut at the same samples for every task, so that a worker gets each once. Texts are one piece.
        """
        if inputs.suffix != ".npy":
            return [inputs.read_bytes()], 0
        samples = np.load(inputs, mmap_mode="r", allow_pickle=False)
        rows = max(1, _PIECE_BYTES // max(1, samples[:1].nbytes))
        first = start // rows * rows
        pieces = []
        for begin in range(first, stop, rows):
            stream = io.BytesIO()
            np.save(stream, samples[begin : begin + rows])
            pieces.append(stream.getvalue())
        return pieces, first

    def close(self) -> None:
        """Give up the connection, and say what the workers did."""
        if self.done:
            tasks, workers = sum(self.done.values()), len(self.done)
            words = f"{tasks} task{'' if tasks == 1 else 's'} by {workers} worker{'' if workers == 1 else 's'}"
            self.listener.note("info", f"cluster {self.address}: {words}")
        with suppress(Exception):  # whatever is left of the connection
            self.client.close(timeout=5)


def _named(piece: bytes, files: dict[str, Path | bytes]) -> str:
    name = sha256(piece)
    files[name] = piece
    return name


def write_answers(content: bytes, outputs: Path, samples: int) -> None:
    """Write the ``.npy`` of answers that a worker gave. Raises ValueError if it is none of so many samples."""
    answers = np.load(io.BytesIO(content), allow_pickle=False)
    if answers.dtype != np.float32 or answers.ndim != 2 or len(answers) != samples:
        raise ValueError(f"a worker's answers are {answers.dtype} {answers.shape}, not ({samples}, …) float32")
    part = outputs.with_name(f"{outputs.name}.part")
    part.write_bytes(content)
    move(part, outputs, root=outputs.parent)


@contextmanager
def helpers_of(address: str, listener: Listener) -> Iterator[Cluster | None]:
    """As `open_cluster` for a cluster that another process of this run is connected to: it may be lost by now."""
    with ExitStack() as stack:
        cluster = None
        try:
            cluster = stack.enter_context(open_cluster(address, listener, describe=False))
        except InputError as error:
            listener.note("warning", f"{error.message}: the rest is done here", remedy=error.remedy)
        yield cluster


@contextmanager
def open_cluster(address: str, listener: Listener, *, describe: bool = True) -> Iterator[Cluster | None]:
    """Connect to a Dask scheduler, e.g. ``tcp://lab:8786``; without an address there is no cluster.

    Raises InputError when it cannot be reached, when it has another version, and for what is no address.
    """
    if not address:
        yield None
        return
    EXTRAS["cluster"].require("a cluster needs")
    cluster = Cluster(_connected(address), address, listener)
    try:
        if describe:
            cluster.describe()
        yield cluster
    finally:
        cluster.close()


def _connected(address: str) -> Any:
    import distributed

    class Client(distributed.Client):  # type: ignore[misc]
        def start(self, **options: Any) -> Any:
            """Connect; a client that cannot is closed, else its end at exit is 20 s late and a traceback."""
            try:
                return super().start(**options)
            except BaseException:
                self.status = "closed"
                self._loop_runner.stop()
                raise

    for name in ("client", "core", "comm", "scheduler", "batched", "utils"):  # what is wrong, we say
        logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)
    place = shorten(address, 200)
    if "://" not in address:
        raise InputError(f"--cluster {place!r} is no address", "give that of a Dask scheduler, e.g. tcp://lab:8786")
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError, RuntimeError, TypeError, AssertionError) as error:
        cause = shorten(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)
        raise InputError(f"the cluster at {place} cannot be reached: {cause}", _START) from None
    try:
        theirs = client.run_on_scheduler(work.version)
        if theirs != work.version():
            raise InputError(
                f"the scheduler at {place} has another Edgeproof", "install the same version on all machines"
            )
    except InputError:
        client.close()
        raise
    except Exception as error:
        client.close()
        reason = f"the scheduler at {place} has no Edgeproof of this version: {shorten(str(error), 200)}"
        raise InputError(reason, SAME) from None
    return client
