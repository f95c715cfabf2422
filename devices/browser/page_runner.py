"""Runs an artifact in the page of a browser: one worker for each verb, or for each process of the bench."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...core.children import TooLongError
from ...core.device import Located
from ...core.files import move
from ...core.quiet import working
from ...core.runner import Outcome, Server
from ...core.sanitize import shorten
from ...core.target import Target
from ..agent_runner import DOING, JobRunner
from ..feeds import feed_identity
from ..remote.replies import ReplyError
from .page_host import BusyError, GoneError, Talk
from .page_replies import (
    AboutPage,
    Answers,
    Burst,
    First,
    Imported,
    Kind,
    Nothing,
    Opened,
    RefusedError,
    State,
    Warm,
    numbers_of,
    read_page_reply,
)  # fmt: skip
from .page_tensors import PageFeed, RefusedSampleError, real_values, tensors_of

_SAMPLES_IN_TIMING = 16
_MOST_AT_ONCE = 8 << 20  # bytes of samples on their way
_TOO_LONG = ("the reply is longer than any can be: it was cut off", "see what runs in place of our page")
_NOT_OURS = "see what runs in place of our page: extensions of the browser may change it"


class PageDevice(Protocol):
    """What a runner asks of a device that has a page."""

    name: str

    def talk(self, target: Target, seconds: float) -> Talk:
        """Return a new worker. Raises GoneError, BusyError, and subprocess.TimeoutExpired."""
        ...

    def about(self) -> AboutPage | None:
        """Return what the page says of itself; None without a page."""
        ...

    def page_identity(self) -> dict[str, Any]:
        """Return what figures depend on beside the artifact and the target."""
        ...

    def locate(self, target: Target) -> Located | None:
        """Return a target's runtime."""
        ...

    def away(self, target: Target) -> Outcome | None:
        """Return why a target cannot be run now."""
        ...

    def conditions(self) -> dict[str, Any]:
        """Return what may disturb a measurement."""
        ...

    def free_bytes(self) -> int:
        """Return the memory that workers can take."""
        ...

    @property
    def back(self) -> str:
        """What to do when the page is gone."""
        ...


@dataclass(frozen=True, kw_only=True)
class PageRunner(JobRunner):
    """One artifact on one runtime of a browser."""

    device: PageDevice

    def identity(self) -> dict[str, Any]:
        """What a figure depends on, beside the artifact."""
        return {
            "target": str(self.target),
            "runtime_version": self.version(),
            **self.device.page_identity(),
            **feed_identity(self.artifact),
        }

    def free_bytes(self) -> int:
        """Return the memory that workers can take."""
        return self.device.free_bytes()

    def rest(self) -> None:
        """Do not wait: a page is not told how warm its device is."""

    def missing(self) -> Outcome | None:
        """Return why the browser, its page or the runtime is not there."""
        return self.device.away(self.target)

    def version(self) -> str:
        """Return the runtime's version."""
        located = self.device.locate(self.target)
        return located.version if located else ""

    def run(self, job: dict[str, Any]) -> Outcome:
        """Do a job in a worker of its own."""
        try:
            with self.opened(job) as session:
                facts = session.start()
                if job["verb"] == "infer":
                    answers = session.answers(job["start"], job["stop"])
                    with working():
                        _save(Path(job["outputs"]), answers)
                return Outcome("ok", data=facts)
        except _FAILURES as error:
            return self.failure(error, job["verb"], self.timeout_seconds)

    @contextmanager
    def opened(self, job: dict[str, Any]) -> Iterator[Session]:
        """Return a session of a new worker, which ends with it."""
        began = time.monotonic()
        talk = self.device.talk(self.target, self.timeout_seconds)
        try:
            yield Session(self, job, talk, began + self.timeout_seconds).started(began)
        finally:
            talk.close()

    def failure(self, error: Exception, what: str, seconds: float) -> Outcome:
        """Return the outcome that an error of a session stands for."""
        if isinstance(error, subprocess.TimeoutExpired):
            return self.late(what, seconds)
        if isinstance(error, GoneError):
            return Outcome("crashed", str(error), self.device.back)
        if isinstance(error, BusyError):
            return Outcome("skipped", str(error), "run this again when it has ended")
        if isinstance(error, TooLongError):
            return Outcome("failed", *_TOO_LONG)
        if isinstance(error, ReplyError):
            return Outcome("failed", f"{self.device.name}: {error}", _NOT_OURS)
        if isinstance(error, RefusedError):
            return self.failed(error.status, error.reason)
        return self.failed("unsupported", str(error))

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> Server | Outcome:
        """Start a worker that runs bursts on request."""
        if not self.timed:
            return Outcome("unsupported", f"{self.target} says nothing about a device's speed", "")
        if batch > 1:
            reason = f"the file does not take {batch} samples at a time: pages run one sample at a time"
            return self.failed("unsupported", reason)
        about = self.device.about()
        if threads > 1 and about is not None and not about.isolated:
            return Outcome(
                "unsupported",
                "the page has one thread: browsers allow more on https and on loopback alone",
                "take further numbers out of evaluate.latency.threads, or run it on the device browser",
            )
        job = self._job("serve", inputs, threads=threads)
        if isinstance(job, Outcome):
            return job
        try:
            began = time.monotonic()
            talk = self.device.talk(self.target, self.timeout_seconds)
            return PageServer(self, Session(self, job, talk, began + self.timeout_seconds).started(began))
        except _FAILURES as error:
            return self.failure(error, "the start of the browser", self.timeout_seconds)

    def profile(self, inputs: Path, *, runs: int, threads: int = 1) -> Outcome:
        """Refuse: no runtime of a browser times its operators."""
        return Outcome(
            "unsupported",
            f"{self.target.engine.title} does not time operators in a page",
            "profile the file on local/litert or local/onnxruntime",
        )


Result = TypeVar("Result")
_FAILURES = (
    subprocess.TimeoutExpired, GoneError, BusyError, TooLongError, ReplyError, RefusedError, RefusedSampleError,
)  # fmt: skip


class Session:
    """A job in a worker: imports the runtime, opens the file, feeds samples and takes answers."""

    def __init__(self, runner: PageRunner, job: dict[str, Any], talk: Talk, until: float) -> None:
        self._runner, self._job, self.talk = runner, job, talk
        self.until = until  # of the monotonic clock: the end of what is going on
        graph = job.get("graph") or {}
        self._scales = {
            side: {edge["name"]: (edge["scale"], edge["zero_point"]) for edge in graph.get(side, [])}
            for side in ("inputs", "outputs")
        }
        self._stateful, self._operators = graph.get("stateful", False), len(graph.get("operators", []))
        self._facts: dict[str, Any] = {}
        self._start_ms = 0.0

    def started(self, began: float) -> Session:
        """Note since when (monotonic seconds) the worker has been waited for: until then it could do nothing."""
        self._start_ms = 1000 * (time.monotonic() - began)
        return self

    def _ask(self, kind: type[Kind], do: str, what: str = "", detail: str = "", **request: Any) -> Kind:
        seconds = max(0.0, self.until - time.monotonic())
        request = {**request, "do": do, **({"what": what, "detail": detail} if what else {})}
        return read_page_reply(self.talk.ask(request, seconds), kind)

    def import_runtime(self) -> dict[str, Any]:
        """Import the runtime; return the figures of that."""
        engine, runner = self._runner.target.engine, self._runner
        imported = self._ask(
            Imported,
            "import",
            f"Loading {engine.title}",
            runner.version(),
            session=engine.session,
            threads=self._job["threads"],
            accelerator=engine.device,
        )
        self._facts = imported.model_dump() | {"import_ms": self._start_ms + imported.import_ms}
        if (memory := self.talk.memory()) is not None:
            self._facts["import_memory_bytes"] = memory
        return self._facts

    def open(self) -> dict[str, Any]:
        """Open the file, feed the first samples and run it twice. Returns the figures."""
        artifact = Path(self._job["artifact"])
        size = artifact.stat().st_size
        name, _ = self.talk.put(artifact)
        detail = f"{size / 2**20:.1f} MiB"
        opened = self._ask(Opened, "open", f"Loading {shorten(self._runner.artifact.id, 80)}", detail,
                           file=name, bytes=size)  # fmt: skip
        names = [edge.name for edge in opened.outputs]
        self._judged = [(self._picked(name, names), size) for name, size in self._job.get("answers", [])]
        self._judged = self._judged or [(self._picked(self._job["answer"], names), 0)]
        self._names = names
        self._choose(self._judged[0][0])
        self._edges = opened.inputs
        self._feed = PageFeed(self._job["feed"], Path(self._job["inputs"]))
        start = self._job.get("start", 0)
        self._send(self._feed.samples(start, start + (1 if self._job["verb"] != "serve" else _SAMPLES_IN_TIMING)))
        first = self._ask(First, "first")
        self.peak = self.talk.memory() or first.peak_memory_bytes
        self._facts |= {
            "load_ms": opened.load_ms,
            "first_ms": first.first_ms,
            "run_ms": first.run_ms,
            "peak_memory_bytes": self.peak,
            "finite": bool(np.isfinite(self._values(first, 1)).all()),
            "kernels": self._kernels(),
            "runtime_version": self._runner.version(),
            "timer_us": clock_step(first.timer_us),
        }
        if self._runner.target.engine.cpu:
            self._facts["placement"] = self._placement(opened)
        return self._facts

    def _kernels(self) -> str:
        if self._runner.target.engine.device:
            return self._runner.target.engine.device
        threads = self._job["threads"]
        return "wasm" if threads == 1 else f"wasm, {threads} threads"

    def _placement(self, opened: Opened) -> dict[str, Any] | None:
        """Return what the accelerator took: all of the file, or the runtime has refused it."""
        about = self._runner.device.about()
        adapter = about.adapter if about else None
        count = self._operators or 1
        return {
            "delegated": count if opened.whole else 0,
            "operators": count,
            "partitions": 1,
            "kept": {} if opened.whole else {"OTHERS": count},
            "adapter": adapter.name if adapter else "",
            "software": adapter.software if adapter else False,
        }

    def start(self) -> dict[str, Any]:
        """Import, open and run; return the figures."""
        self.import_runtime()
        return self.open()

    def _send(self, samples: list[dict[str, Any]]) -> int:
        """Feed the worker with samples; return how many."""
        with working():
            rows = [tensors_of(sample, self._edges, self._scales["inputs"]) for sample in samples]
            first = [tensor.shape for tensor in rows[0]] if rows else []
            if any([tensor.shape for tensor in row] != first for row in rows):
                raise RefusedSampleError("the samples differ in their shapes, which a page does not take")
            content = b"".join(tensor.tobytes() for row in rows for tensor in row)
            inputs = [
                {"dtype": edge.dtype, "shape": list(tensor.shape), "bytes": tensor.nbytes}
                for edge, tensor in zip(self._edges, rows[0], strict=True)
            ]
            name, size = self.talk.put(content)
        self._ask(Nothing, "feed", file=name, bytes=size, inputs=inputs, count=len(rows), output=self._output)
        return len(rows)

    def _values(self, reply: Answers, samples: int) -> NDArray[np.float32]:
        maybe_none = bool(self._job.get("answers")) and self._is_open()  # a picture without boxes
        return real_values(numbers_of(reply, samples, maybe_none=maybe_none), *self._scale)

    @staticmethod
    def _picked(answer: str, names: list[str]) -> int:
        """Return the position of the output called `answer`; the first if it is empty or there is only one."""
        if answer and answer not in names and len(names) > 1:
            raise RefusedSampleError(f"the file has no output {answer}; it has {', '.join(names)}")
        return names.index(answer) if answer in names else 0

    def _is_open(self) -> bool:
        """Whether the chosen output has sides that the file leaves open: samples may then differ in their size."""
        name = self._names[self._output]
        spec = next((one for one in self._runner.artifact.outputs if one.name == name), None)
        return spec is None or not spec.shape or min(spec.shape) < 0

    def _choose(self, output: int) -> None:
        """Have the page answer with that output."""
        self._output, self._scale = output, self._scales["outputs"].get(self._names[output], (0.0, 0))

    def answers(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the answers to the samples [start, stop), (samples, values) float32.

        A page answers with one output at a time: of several, each is asked for, and they are put one behind the other.
        """
        found = []
        for output, size in self._judged:
            self._choose(output)
            found.append(self._of_output(start, stop, size))
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)

    def _of_output(self, start: int, stop: int, most: int) -> NDArray[np.float32]:
        """Return the answers in one output, filled up to `most` values unless it is 0.

        Samples travel in parts; where the size of an output is open, as of a detector's boxes, one by one.
        """
        parts: list[NDArray[np.float32]] = []
        one = self._feed.samples(start, start + 1)
        size = sum(tensor.nbytes for tensor in tensors_of(one[0], self._edges, self._scales["inputs"]))
        step = 1 if most and self._is_open() else max(1, _MOST_AT_ONCE // max(size, 1))
        for first in range(start, stop, step):
            count = self._send(self._feed.samples(first, min(first + step, stop)))
            what = f"Running {shorten(self._runner.artifact.id, 80)}"
            detail = f"samples {first + 1:,}–{first + count:,}"
            reply = self._ask(Answers, "answer", what, detail, stateful=self._stateful)
            with working():
                values = self._values(reply, count)
            if most and values.shape[1] > most:
                words = f"an output holds {values.shape[1]} values, and at most {most} are judged"
                raise RefusedSampleError(words)
            parts.append(np.pad(values, ((0, 0), (0, max(0, most - values.shape[1])))))
            if parts[-1].shape[1] != parts[0].shape[1]:
                raise ReplyError("the answers' size changes")
        return np.concatenate(parts)

    def warm(self, seconds: float) -> dict[str, Any]:
        """Run until runs no longer get faster."""
        what = f"Warming up {shorten(self._runner.artifact.id, 80)}"
        return self._ask(Warm, "warm", what, f"{seconds:g} s and more", seconds=seconds).model_dump()

    def burst(self, runs: int, sample: int) -> dict[str, Any]:
        """Time some runs on one sample."""
        burst = self._ask(Burst, "burst", runs=runs, sample=sample)
        if len(burst.runs_ms) != runs:
            raise ReplyError(f"the reply has {len(burst.runs_ms)} runs, {runs} were asked for")
        return burst.model_dump()

    def state(self) -> dict[str, Any]:
        """Return the peak memory, and what may disturb a measurement."""
        state = self._ask(State, "state")
        memory = self.talk.memory() or state.peak_memory_bytes
        return {"peak_memory_bytes": memory, "conditions": {"at": time.monotonic(), **self._runner.device.conditions()}}


def clock_step(microseconds: float) -> float:
    """Return the step of a clock as 1, 2 or 5 times a power of ten: pages find it a little differently each time."""
    power = 10.0 ** math.floor(math.log10(microseconds))
    return min(
        (power * factor for factor in (1.0, 2.0, 5.0, 10.0)), key=lambda step: abs(math.log(step / microseconds))
    )


class PageServer:
    """A worker that runs bursts on request. See `core.runner.Server`."""

    def __init__(self, runner: PageRunner, session: Session) -> None:
        self._runner, self._session = runner, session

    def ready(self) -> Outcome:
        """Wait until the runtime is imported."""
        return self._do({"do": "import"}, "the import of the runtime", self._runner.timeout_seconds)

    def ask(self, request: dict[str, Any], *, seconds: float | None = None) -> Outcome:
        """Do a request."""
        return self._do(request, DOING[request["do"]], seconds or self._runner.timeout_seconds)

    def _do(self, request: dict[str, Any], what: str, seconds: float) -> Outcome:
        session = self._session
        session.until = time.monotonic() + seconds
        verbs: dict[str, Callable[..., dict[str, Any]]] = {
            "import": session.import_runtime,
            "open": session.open,
            "warm": session.warm,
            "burst": session.burst,
            "state": session.state,
        }
        try:
            return Outcome("ok", data=verbs[request["do"]](**{k: v for k, v in request.items() if k != "do"}))
        except _FAILURES as error:
            if isinstance(error, subprocess.TimeoutExpired):
                self.close()
            return self._runner.failure(error, what, seconds)

    def close(self) -> None:
        """End the worker."""
        self._session.talk.close()


def _save(outputs: Path, answers: NDArray[np.float32]) -> None:
    """Write answers; the file is there only when it is whole."""
    part = outputs.with_name(f"{outputs.name}.part")
    with part.open("wb") as stream:
        np.save(stream, answers)
    move(part, outputs, root=outputs.parent)
