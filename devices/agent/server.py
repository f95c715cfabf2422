"""The verb ``serve``: a process that stays, and runs bursts of inferences when it is asked to."""

import gc
import json
import sys
import time
from typing import Any, Dict, List, Tuple

from .errors import Unsupported
from .feed import read_samples
from .machine import conditions, core_facts, peak_memory, pin
from .report import guarded
from .sessions import import_session, milliseconds, open_session
from .shelf import Shelf

# A warm-up ends when its last runs are no faster than those before, by more than this share.
STEADY, STEADY_RUNS, LONGEST_WARMUP = 0.02, 8, 10.0


class Server:
    """Verb ``serve``: a process that runs bursts of inferences when it is asked to, and waits in between.

    Requests, each with its answer's data:

    - ``{"do": "open"}``: pin the process, load the file and run it twice → the figures of `start`, and ``cores``.
    - ``{"do": "warm", "seconds": S}``: run for S seconds and until runs no longer get faster → ``warmup_ms``,
      ``steady``.
    - ``{"do": "burst", "runs": N, "sample": I}``: time N runs on one sample → ``runs_ms``, and the parts of each run
      that the session tells apart: ``tokenize_ms``, ``set_ms``, ``invoke_ms``, ``get_ms``.
    - ``{"do": "state"}`` → ``peak_memory_bytes``, ``conditions``.

    A run is: tokenize (where the device does that), copy the input in, run, copy the output out.
    """

    def __init__(self, job: Dict[str, Any]) -> None:
        self.job = job
        self.session, self.imported = import_session(job)

    def answer(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Do what a request asks, and return the data of the answer."""
        doing: Dict[str, Any] = {"open": self.open, "warm": self.warm, "burst": self.burst, "state": self.state}
        facts: Dict[str, Any] = doing[request.pop("do")](**request)
        return facts

    def open(self) -> Dict[str, Any]:
        pinned = pin(self.job["threads"])
        self.samples = read_samples(self.job)
        self.feed, self.alone, facts = open_session(self.job, self.session, self.samples)
        if self.job["batch"] > 1:
            self._check_batch()
        indices = range(len(self.samples))
        self.prepared = [] if self.feed.tokenizes else [self.session.prepare(self._fed(i)) for i in indices]
        gc.collect()
        gc.disable()
        facts.update(self.imported, cores=pinned)
        if pinned:
            about = core_facts()
            facts["core_facts"] = [dict(about[core], core=core) for core in pinned]
        return facts

    def _fed(self, index: int) -> Dict[str, Any]:
        """Return the inputs for a batch of one sample, repeated. The device tokenizes each text of a batch."""
        import numpy

        sample, batch = self.samples[index : index + 1], self.job["batch"]
        if batch == 1:
            return self.feed(sample)
        fed = [self.feed(sample) for _ in range(batch if self.feed.tokenizes else 1)] * batch
        return {name: numpy.concatenate([one[name] for one in fed[:batch]]) for name in fed[0]}

    def _check_batch(self) -> None:
        """Raise Unsupported unless the file answers each sample of a batch like the sample alone."""
        import numpy

        batch, alone = self.job["batch"], self.session.finish(self.alone)
        if self.job.get("answers"):
            raise Unsupported("a file of which several outputs are judged is measured one sample at a time")
        try:
            self.session.resize(batch)
            rows = self.session.finish(self.session.run(self.session.prepare(self._fed(0))))
        except (ValueError, RuntimeError) as error:
            raise Unsupported("the file does not take {} samples at a time: {}".format(batch, error))
        scale = max(float(numpy.abs(alone).max()), 1e-6)
        if rows.size != batch * alone.size or float(numpy.abs(rows.reshape(batch, -1) - alone).max()) > 0.1 * scale:
            raise Unsupported("the file takes {} samples at a time, and does not answer each of them".format(batch))

    def warm(self, seconds: float) -> Dict[str, Any]:
        runs: List[float] = []
        started = time.perf_counter_ns()
        steady = False
        while not steady:
            runs.append(self._run(len(runs) % len(self.samples))[0])
            passed = milliseconds(started) / 1000
            if passed < seconds:
                continue
            late, early = runs[-STEADY_RUNS:], runs[-2 * STEADY_RUNS : -STEADY_RUNS]
            steady = len(early) == STEADY_RUNS and median(late) > median(early) * (1 - STEADY)
            if passed > max(LONGEST_WARMUP * seconds, 0.05):
                break
        return {"warmup_ms": [round(t, 5) for t in runs], "steady": steady}

    def burst(self, runs: int, sample: int) -> Dict[str, Any]:
        timed = [self._run(sample % len(self.samples)) for _ in range(runs)]
        parts = {name: [round(run[1][name], 5) for run in timed] for name in timed[0][1]}
        return dict(parts, runs_ms=[round(run[0], 5) for run in timed])

    def _run(self, index: int) -> Tuple[float, Dict[str, float]]:
        """Run one inference. Returns its milliseconds, and those of its parts."""
        started = time.perf_counter_ns()
        if self.feed.tokenizes:
            prepared = self.session.prepare(self._fed(index))
            tokenized = milliseconds(started)
        else:
            prepared = self.prepared[index]
        self.session.run(prepared)
        total = milliseconds(started)
        parts = self.session.parts()
        if self.feed.tokenizes:
            parts.update(tokenize_ms=tokenized, infer_ms=total - tokenized)
        return total, parts

    def state(self) -> Dict[str, Any]:
        return {"peak_memory_bytes": peak_memory(), "conditions": conditions()}


def median(values: List[float]) -> float:
    return sorted(values)[len(values) // 2]


def serve(job: Dict[str, Any], stream: Any) -> None:
    """Answer requests line by line until standard input ends, or opening the file fails."""

    def reply(answer: Dict[str, Any]) -> Dict[str, Any]:
        stream.write(json.dumps(answer) + "\n")
        stream.flush()
        return answer

    servers: List[Server] = []
    claims: List[Any] = []  # held as long as this process is there

    def begin() -> Dict[str, Any]:
        if "shelf" in job:
            claims.append(Shelf(job).claim(job["owner"]))
        servers.append(Server(job))
        return servers[0].imported

    last = reply(guarded(begin))
    for line in iter(sys.stdin.buffer.readline, b""):
        if last["status"] != "ok":
            return
        last = reply(guarded(lambda: servers[0].answer(json.loads(line))))  # noqa: B023 (called at once)
