"""Runs an artifact on an Android device in `benchmark_model`: answers by value files, times in threes.

Every verb is one script of the device's shell, in a folder of its own there, which is removed at its end.
"""

from __future__ import annotations

import shlex
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.children import Conversation
from ...core.codec import sha256_file
from ...core.files import move
from ...core.quiet import working
from ...core.runner import Outcome, Server
from ...core.sanitize import shorten
from ...tflite.graph import Graph, read_graph
from ..agent_runner import AgentRunner
from ..feeds import feed_identity
from .benchmark_model import RUNS, Input, OperatorRow, OutputError, Report, cause, flags, read_profile, read_report
from .value_files import Answers, ValueFileError, answers_of, pack, shapes_of

if TYPE_CHECKING:
    from .phone import AdbPhone

SAMPLES_IN_TIMING = 16
_WARM_SECONDS = 0.2
_MOST_LOG, _SLACK = 1 << 22, 1 << 12
# Exit statuses of our scripts, which neither the shell nor the tool has.
_NO_FOLDER, _GONE, _NO_SAMPLE, _NO_ANSWER = 90, 92, 93, 94
_GONE_WORDS = "Gone"
# After a run: its log, or what is needed of it to say why it failed.
_LOG = "s=$?; [ $s = 0 ] || { tail -c 3000 log >&2; end $s; }; cat log"
_NO_OUTPUT = (
    "this benchmark_model writes no answers",
    "take TensorFlow Lite's own, of TensorFlow 2.11 or newer: LiteRT's tool of the same name has no --output_filepath "
    "(docs/devices.md)",
)
_NOT_THE_TOOL = (
    "name TensorFlow Lite's benchmark_model for this device's processor: benchmark_model = … (docs/devices.md)"
)


@dataclass(frozen=True)
class Staged:
    """A job whose files are on the device: their names there, and how samples and answers are stored.

    `packed` are files of all samples, one for each input, and `sizes` the bytes of one sample in each.
    """

    tool: str
    model: str
    inputs: tuple[Input, ...]
    packed: tuple[str, ...]
    sizes: tuple[int, ...]
    samples: int
    answer: Answers
    graph: Graph
    threads: int


@dataclass(frozen=True, kw_only=True)
class BenchmarkRunner(AgentRunner):
    """One artifact in `benchmark_model`, on the CPU or with a delegate. See `core.runner.Runner`."""

    device: AdbPhone

    def identity(self) -> dict[str, Any]:
        """What a figure taken there depends on, beside the artifact."""
        phone = self.device.last_phone()
        return {
            "target": str(self.target),
            "runtime_version": self.version(),
            "cpu": phone.cpu if phone else "",
            "cores": phone.cores if phone else 0,
            "model": phone.model if phone else "",
            "os": phone.system if phone else "",
            "xnnpack": self.device.table.xnnpack,
            **feed_identity(self.artifact),
        }

    def free_bytes(self) -> int:
        """Return the device's available memory."""
        phone = self.device.last_phone()
        return phone.available_bytes if phone else 0

    def rest(self) -> None:
        """Let the device cool down."""
        self.device.cool_down()

    def missing(self) -> Outcome | None:
        """Return why the device cannot be reached, or has no such program."""
        missing = self.device.missing_runtime(self.target)
        if missing is None:
            return None
        return Outcome("skipped" if self.device.unreachable else "unsupported", *missing)

    def version(self) -> str:
        """Return the first digits of the program's SHA-256: it does not tell its version."""
        return self.device.tool.version

    def start(self, job: dict[str, Any]) -> Conversation | Outcome:
        """Refuse: no process of the tool answers requests. `BenchmarkServer` starts one for each."""
        return Outcome("unsupported", "benchmark_model answers no requests")

    def replied(self, answer: bytes, request: dict[str, Any]) -> Outcome:
        """Refuse: see `start`."""
        return Outcome("unsupported", "benchmark_model answers no requests")

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> Server | Outcome:
        """Claim the device; each burst is a process of its own."""
        from .benchmark_server import BenchmarkServer

        if batch > 1:
            return Outcome(
                "unsupported",
                f"benchmark_model is fed one sample at a time here, not {batch}",
                "take this number out of evaluate.latency.batch, or leave this target out",
            )
        job = self._job("serve", inputs, threads=threads, start=0, stop=SAMPLES_IN_TIMING)
        return job if isinstance(job, Outcome) else BenchmarkServer(self, job)

    def run(self, job: dict[str, Any]) -> Outcome:
        """Do a job in processes of the tool."""
        verbs = {"load": self._load, "infer": self._infer, "profile": self._profile}
        with self.device.slots:
            return self.on_device(job, lambda staged: verbs[job["verb"]](staged, job))

    def on_device(self, job: dict[str, Any], work: Callable[[Staged], Outcome]) -> Outcome:
        """Put a job's files there and do some work with them; again if somebody has removed them."""
        for _ in range(2):
            staged = self._stage(job)
            outcome = staged if isinstance(staged, Outcome) else work(staged)
            if outcome.reason != _GONE_WORDS:
                return outcome
            self.device.files.forget()
        return Outcome(
            "failed", f"the files on {self.device.adb.place} are removed while they are used", "run this again"
        )

    def _stage(self, job: dict[str, Any]) -> Staged | Outcome:
        """Put the tool, the file and the samples of a job there."""
        artifact, tool = Path(job["artifact"]), self.device.tool
        if tool.path is None:
            return Outcome("unsupported", tool.reason, tool.remedy)
        try:
            with working():
                graph = read_graph(artifact)
        except Exception:  # a damaged file may raise anything
            return Outcome("unsupported", "the file cannot be read as a .tflite", "export it again")
        try:
            answer, shapes = answers_of(graph, job), shapes_of(graph)
            with working():
                packed = pack(graph, job["feed"], Path(job["inputs"]), job.get("start", 0), job.get("stop", 1))
        except (ValueFileError, ValueError, OSError) as error:
            return self.failed("unsupported", str(error))
        with tempfile.TemporaryDirectory(prefix="edgeproof-values-") as folder:
            model = f"{self.device.digest(artifact)}.tflite"
            files, names = {tool.name: tool.path, model: artifact}, []
            for place, (content, _) in enumerate(packed):
                path = Path(folder) / f"in{place}"
                path.write_bytes(content)
                names.append(f"{sha256_file(path)}.bin")
                files[names[-1]] = path
            failure = self.device.files.put(files)
        sizes = tuple(size for _, size in packed)
        named = tuple(Input(f"in{place}", shape, f"in{place}") for place, shape in enumerate(shapes))
        return failure or Staged(
            tool.name, model, named, tuple(names), sizes, len(packed[0][0]) // sizes[0], answer, graph, job["threads"]
        )

    def _shell(self, staged: Staged, body: str, verb: str, *, most_bytes: int, seconds: float | None = None) -> Outcome:
        """Run a script there, in a folder of its own, with every file that it needs. Data: ``output``."""
        folder, work = self.device.files.folder, f"work-{uuid.uuid4().hex[:12]}"
        needed = " ".join((staged.tool, staged.model, *staged.packed))
        script = (
            f"mkdir -p {folder}/{work} && cd {folder}/{work} || exit {_NO_FOLDER}; "
            f"end() {{ cd {folder}; rm -rf {work}; exit $1; }}; "
            f"for f in {needed}; do [ -f ../files/$f ] || end {_GONE}; done; {body}; end 0"
        )
        patience = seconds or self.timeout_seconds
        outcome = self.device.adb.ask(script, silence=patience, most_bytes=most_bytes)
        if outcome.status == "timeout":
            return self.late(verb, patience)
        return outcome if outcome.ok else self._explained(outcome)

    def _explained(self, outcome: Outcome) -> Outcome:
        """Return what the failure of a script means."""
        status, said = outcome.data.get("status"), outcome.data.get("errors", "")
        if status is None or outcome.data.get("lost"):
            self.device.forget_phone()
            return replace(outcome, data={})
        place = self.device.adb.place
        if status == _GONE:
            return Outcome("skipped", _GONE_WORDS)
        if status == _NO_ANSWER:
            return Outcome("unsupported", *_NO_OUTPUT)
        if status in (_NO_FOLDER, _NO_SAMPLE) or "No space left on device" in said:
            return Outcome(
                "failed", *(self.device.adb.on_device(said) or (f"{place}: {cause(said)}", "run this again"))
            )
        if status in (126, 127):
            return Outcome("failed", f"{place} cannot run benchmark_model: {cause(said)}", _NOT_THE_TOOL)
        if status > 128:
            reason = f"benchmark_model was ended by signal {status - 128}; it said: {cause(said)}"
            return Outcome("crashed", shorten(reason, 400), "this runtime cannot run this file; do not ship the pair")
        told = self.failed("unsupported", cause(said) or f"benchmark_model ended with exit status {status}")
        if told.remedy:
            return told
        return replace(told, reason=f"benchmark_model: {told.reason}", remedy="use another scheme, or another target")

    def _slice(self, staged: Staged, sample: str) -> str:
        """Return the commands that take one sample out of the packed ones."""
        return "; ".join(
            f"dd if=../files/{name} of=in{place} bs={size} skip={sample} count=1 2>err "
            f"|| {{ cat err >&2; end {_NO_SAMPLE}; }}"
            for place, (name, size) in enumerate(zip(staged.packed, staged.sizes, strict=True))
        )

    def _tool(
        self, staged: Staged, *, runs: int, warmup_runs: int = 0, seconds: float = 0.0, pinned: bool = True,
        more: Mapping[str, str],
    ) -> str:  # fmt: skip
        """Return the command of the tool. On the CPU it is kept on the fastest cores, where the device lets it."""
        delegate = self.target.engine.device
        arguments = flags(
            f"../files/{staged.model}", staged.inputs, delegate=delegate, xnnpack=self.device.table.xnnpack,
            threads=staged.threads, runs=runs, warmup_runs=warmup_runs, warmup_seconds=seconds,
            most_seconds=self.timeout_seconds, more=more,
        )  # fmt: skip
        cores = self.device.cores(staged.threads) if pinned and not delegate else []
        mask = f"taskset {sum(1 << core for core in cores):x} " if cores else ""
        return mask + shlex.join([f"../files/{staged.tool}", *arguments])

    def measure(
        self, staged: Staged, *, sample: int = 0, warmup_runs: int = 1, seconds: float = _WARM_SECONDS,
        memory: bool = False, patience: float | None = None,
    ) -> Report | Outcome:  # fmt: skip
        """Run the tool once on one sample: a warm-up, and three runs."""
        more = {"report_peak_memory_footprint": "true", "memory_footprint_check_interval_ms": "5"} if memory else {}
        tool = self._tool(staged, runs=RUNS, warmup_runs=warmup_runs, seconds=seconds, more=more)
        body = f"{self._slice(staged, str(sample % staged.samples))}; {tool} >log 2>&1; {_LOG}"
        outcome = self._shell(staged, body, "a run of benchmark_model", most_bytes=_MOST_LOG, seconds=patience)
        return (
            outcome if not outcome.ok else self._read(outcome, lambda text: read_report(text, len(staged.graph.nodes)))
        )

    def _read(self, outcome: Outcome, read: Callable[[str], Any]) -> Any:
        try:
            return read(outcome.data["output"].decode("utf-8", "replace"))
        except OutputError as error:
            return Outcome("failed", str(error), _NOT_THE_TOOL)

    def figures(self, staged: Staged) -> dict[str, Any] | Outcome:
        """Return the figures of a fresh process that loads the file, as the agent has them."""
        report = self.measure(staged, memory=True)
        if isinstance(report, Outcome):
            return report
        grown = report.grown or 0
        peak = max(report.peak or 0, grown)
        applied = report.applied or ("XNNPACK" if self.device.table.xnnpack else "TensorFlow Lite's own")
        facts = {
            "runtime_version": self.version(),
            "load_ms": report.init / 1000,
            "first_ms": report.first / 1000,
            "run_ms": report.runs.times[-1] / 1000,
            "peak_memory_bytes": peak,
            "import_memory_bytes": peak - grown,
            "import_ms": 0.0,
            "kernels": f"benchmark_model, {applied}",
        }
        if self.target.engine.cpu and report.placed is not None:
            left = report.placed["operators"] - report.placed["delegated"]
            facts["placement"] = {**report.placed, "kept": {"OTHERS": left} if left else {}, "software": False}
        return facts

    def _load(self, staged: Staged, job: dict[str, Any]) -> Outcome:
        facts = self.figures(staged)
        if isinstance(facts, Outcome):
            return facts
        placement = facts.get("placement")
        if placement is not None and not placement["delegated"]:
            words = f"the accelerator runs none of the file's {placement['operators']} operators"
            return self.failed("unsupported", words)
        answers = self._answers(staged)
        if isinstance(answers, Outcome):
            return answers
        return Outcome("ok", data={**facts, "finite": bool(np.isfinite(answers).all())})

    def _answers(self, staged: Staged) -> Any:
        """Return the answers to all packed samples, (samples, values) float32; each is a process of its own."""
        tool = self._tool(staged, runs=1, pinned=False, more={"output_filepath": "out", **self._serialized(staged)})
        body = (
            f"i=0; while [ $i -lt {staged.samples} ]; do {self._slice(staged, '$i')}; rm -f out; "
            f"{tool} >log 2>&1 || {{ s=$?; tail -c 3000 log >&2; end $s; }}; [ -f out ] || end {_NO_ANSWER}; "
            "cat out; i=$((i+1)); done"
        )
        most = staged.samples * staged.answer.size + _SLACK
        outcome = self._shell(staged, body, "an answer of benchmark_model", most_bytes=most)
        if not outcome.ok:
            return outcome
        try:
            return staged.answer.read(outcome.data["output"], staged.samples)
        except ValueFileError as error:
            return Outcome("failed", f"{self.device.adb.place}: {error}", _NOT_THE_TOOL)

    def _serialized(self, staged: Staged) -> dict[str, str]:
        """Return the flags by which a delegate keeps what it compiled for the next process."""
        kept = {"delegate_serialize_dir": ".", "delegate_serialize_token": staged.model[:16]}
        return kept if self.target.engine.device else {}

    def _infer(self, staged: Staged, job: dict[str, Any]) -> Outcome:
        if staged.samples != job["stop"] - job["start"]:
            return Outcome("failed", f"there are {staged.samples} samples, not {job['stop'] - job['start']}", "")
        answers = self._answers(staged)
        if isinstance(answers, Outcome):
            return answers
        outputs = Path(job["outputs"])
        part = outputs.with_name(f"{outputs.name}.part")
        with part.open("wb") as stream:
            np.save(stream, answers)
        move(part, outputs, root=outputs.parent)
        return Outcome("ok", data={"runtime_version": self.version()})

    def _profile(self, staged: Staged, job: dict[str, Any]) -> Outcome:
        """Profile single runs, each in a process of its own: of several the tool tells means alone."""
        facts = self.figures(staged)
        if isinstance(facts, Outcome):
            return facts
        tool = self._tool(staged, runs=1, warmup_runs=1, seconds=_WARM_SECONDS, more={"enable_op_profiling": "true"})
        body = f"{self._slice(staged, '0')}; {tool} >log 2>&1; {_LOG}"
        rows: list[list[OperatorRow]] = []
        runs_ms: list[float] = []
        for _ in range(job["runs"]):
            outcome = self._shell(staged, body, "a profiled run", most_bytes=_MOST_LOG)
            read = (
                outcome
                if not outcome.ok
                else self._read(outcome, lambda text: (read_report(text, 0), read_profile(text)))
            )
            if isinstance(read, Outcome):
                return read
            runs_ms.append(read[0].runs.times[-1] / 1000)
            rows.append(read[1])
        names = [(row.op, row.name) for row in rows[0]]
        if any([(row.op, row.name) for row in other] != names for other in rows):
            return Outcome("failed", "benchmark_model named other operators in another run", "profile it again")
        operators = [
            {
                "op": row.op, "name": row.name, "kernel": self._kernel(row), "node": row.node, "shapes": None,
                "us": [other[place].ms * 1000 for other in rows],
            }
            for place, row in enumerate(rows[0])
        ]  # fmt: skip
        engine = f"benchmark_model {self.version()}, one process for each run"
        return Outcome("ok", data={**facts, "operators": operators, "runs_ms": runs_ms, "engine": engine})

    def _kernel(self, row: OperatorRow) -> str:
        delegate = self.target.engine.device
        return (delegate.lower() or "xnnpack") if row.delegated or "elegate" in row.op else "builtin"
