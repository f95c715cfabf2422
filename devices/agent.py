#!/usr/bin/env python3
"""The one file that travels to a device: loads an artifact in one runtime, runs it, times it, and answers in JSON.

Needs numpy and the runtime, nothing else, and Python 3.7 or newer. It is given one job as a JSON file (or ``-`` for
standard input), does it in this process and writes one JSON document to standard output::

    {"verb": "load" | "infer" | "time", "runtime": "litert", "artifact": "model.tflite", "inputs": "test.npy",
     "threads": 1, ...}                    →  {"status": "ok", "reason": "", "data": {...}}

One process does one job: runtimes disturb one another inside a process, memory is only comparable in a fresh one, and
a runtime that crashes then takes nothing else with it.
"""

import json
import os
import sys
import time
from typing import Any, Dict, List, Optional, Tuple

# What runtimes print belongs to standard error; standard output carries the answer alone.
_ANSWER = os.dup(1)
os.dup2(2, 1)

SAMPLES_IN_TIMING = 16


class Unsupported(Exception):
    """The runtime is missing, or refuses the file: a fact about the pair, not a fault."""


class TFLite:
    """A ``.tflite`` file in LiteRT or in tflite-runtime."""

    def __init__(self, job: Dict[str, Any]) -> None:
        if job["runtime"] == "litert":
            import ai_edge_litert.interpreter as module
        else:
            import tflite_runtime.interpreter as module
        self.new = module.Interpreter

    def open(self, job: Dict[str, Any]) -> None:
        """Read the file and make it ready to run."""
        try:
            self.interpreter = self.new(job["artifact"], num_threads=job["threads"])
            self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise Unsupported(str(error))
        # One picture in, one vector out: what the input contract promises.
        self.input = self.interpreter.get_input_details()[0]
        self.output = self.interpreter.get_output_details()[0]

    def prepare(self, batch: Any) -> Any:
        return quantize(batch, self.input["dtype"], *self.input["quantization"])

    def run(self, batch: Any) -> Any:
        self.interpreter.set_tensor(self.input["index"], batch)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output["index"])

    def finish(self, output: Any) -> Any:
        return dequantize(output, *self.output["quantization"])

    def kernels(self) -> str:
        """Say which kernels run the graph: XNNPACK's, or the runtime's own for the rest."""
        try:
            names = [op["op_name"] for op in self.interpreter._get_ops_details()]
        except Exception:  # a private function: without it we do not know, which is no fault
            return "unknown"
        return "xnnpack" if "DELEGATE" in names else "builtin"


class Onnx:
    """An ``.onnx`` file in ONNX Runtime on the CPU."""

    def __init__(self, job: Dict[str, Any]) -> None:
        import onnxruntime

        self.module = onnxruntime

    def open(self, job: Dict[str, Any]) -> None:
        """Read the file and make it ready to run."""
        options = self.module.SessionOptions()
        options.intra_op_num_threads = job["threads"]
        options.inter_op_num_threads = 1
        try:
            self.session = self.module.InferenceSession(job["artifact"], options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own C extension, all of them "refused"
            raise Unsupported(str(error))
        self.input = self.session.get_inputs()[0].name

    def prepare(self, batch: Any) -> Any:
        return batch.astype("float32")

    def run(self, batch: Any) -> Any:
        return self.session.run(None, {self.input: batch})[0]

    def finish(self, output: Any) -> Any:
        return output

    def kernels(self) -> str:
        return str(self.session.get_providers()[0])


class TensorFlow:
    """A SavedModel in TensorFlow on the CPU: the float reference."""

    def __init__(self, job: Dict[str, Any]) -> None:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(job["threads"])
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        self.module = tensorflow

    def open(self, job: Dict[str, Any]) -> None:
        """Read the SavedModel; the loaded object is kept, for its variables and tables would go with it."""
        try:
            self.loaded = self.module.saved_model.load(job["artifact"])
            self.function = self.loaded.signatures["serving_default"]
        except (OSError, KeyError, ValueError) as error:
            raise Unsupported(str(error))
        self.input = next(iter(self.function.structured_input_signature[1]))

    def prepare(self, batch: Any) -> Any:
        return self.module.constant(batch.astype("float32"))

    def run(self, batch: Any) -> Any:
        return next(iter(self.function(**{self.input: batch}).values())).numpy()

    def finish(self, output: Any) -> Any:
        return output

    def kernels(self) -> str:
        return "tensorflow-cpu"


RUNTIMES: Dict[str, Tuple[str, Any]] = {
    "litert": ("ai-edge-litert", TFLite),
    "tflite-runtime": ("tflite-runtime", TFLite),
    "onnxruntime": ("onnxruntime", Onnx),
    "tensorflow": ("tensorflow", TensorFlow),
}


def quantize(batch: Any, dtype: Any, scale: float, zero_point: int) -> Any:
    """Return real values as the file's input dtype stores them (value = scale x (stored - zero_point))."""
    import numpy

    if dtype not in (numpy.int8, numpy.uint8) or not scale:
        return batch.astype(dtype)
    limits = numpy.iinfo(dtype)
    stored = numpy.round(batch.astype("float32") / scale) + zero_point
    return numpy.clip(stored, limits.min, limits.max).astype(dtype)


def dequantize(output: Any, scale: float, zero_point: int) -> Any:
    """Return a stored output as real values, float32."""
    if output.dtype.kind == "f" or not scale:
        return output.astype("float32")
    return ((output.astype("float32") - zero_point) * scale).astype("float32")


def peak_memory() -> int:
    """Return the highest resident memory of this process so far, in bytes (0 where the system does not tell)."""
    try:
        # Not getrusage: its maximum is inherited from the process that started this one.
        with open("/proc/self/status") as stream:
            for line in stream:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def die_with_parent() -> None:
    """Ask Linux to end this process with the one that started it: a killed run leaves nothing behind."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


def pin(threads: int) -> Optional[List[int]]:
    """Keep this process on its last `threads` cores, away from core 0's interrupts; return them, or None."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))[-threads:]
    os.sched_setaffinity(0, cores)
    return cores


def milliseconds(started: int) -> float:
    return (time.perf_counter_ns() - started) / 1e6


def start(job: Dict[str, Any], samples: Any) -> Tuple[Any, Dict[str, Any]]:
    """Load the artifact and run it twice; return the session and the facts about that."""
    import numpy

    try:
        began = time.perf_counter_ns()
        session = RUNTIMES[job["runtime"]][1](job)
        import_ms = milliseconds(began)
    except ImportError as error:
        raise Unsupported("the runtime is not installed: {}".format(error))
    import_memory = peak_memory()
    began = time.perf_counter_ns()
    session.open(job)
    load_ms = milliseconds(began)
    prepared = session.prepare(samples[:1])
    began = time.perf_counter_ns()
    output = session.run(prepared)
    first_ms = milliseconds(began)
    began = time.perf_counter_ns()
    session.run(prepared)
    facts = {
        "import_ms": import_ms,
        "load_ms": load_ms,
        "first_ms": first_ms,
        "run_ms": milliseconds(began),
        "import_memory_bytes": import_memory,
        "peak_memory_bytes": peak_memory(),
        "finite": bool(numpy.isfinite(session.finish(output)).all()),
        "kernels": session.kernels(),
        "runtime_version": version(RUNTIMES[job["runtime"]][0]),
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
    }
    return session, facts


def version(distribution: str) -> str:
    try:
        from importlib import metadata
    except ImportError:  # Python 3.7
        return "unknown"
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def load(job: Dict[str, Any], samples: Any) -> Dict[str, Any]:
    """Verb: does it load and run at all?"""
    return start(job, samples)[1]


def infer(job: Dict[str, Any], samples: Any) -> Dict[str, Any]:
    """Verb: write the outputs of samples [start, stop) to job["outputs"], (stop - start, classes) float32."""
    import numpy

    session, facts = start(job, samples)
    rows = []
    for index in range(job["start"], job["stop"]):
        rows.append(session.finish(session.run(session.prepare(samples[index : index + 1])))[0])
    temporary = "{}.{}.npy".format(job["outputs"], os.getpid())
    numpy.save(temporary, numpy.asarray(rows, dtype="float32"))
    os.replace(temporary, job["outputs"])  # a reader sees all of it or nothing
    return facts


def measure(job: Dict[str, Any], samples: Any) -> Dict[str, Any]:
    """Verb: time single inferences (input copied in, run, output copied out) after a warm-up."""
    import gc

    pinned = pin(job["threads"])
    session, facts = start(job, samples)
    batches = [session.prepare(samples[i : i + 1]) for i in range(min(SAMPLES_IN_TIMING, len(samples)))]
    gc.collect()
    gc.disable()
    warmup: List[float] = []
    runs: List[float] = []
    for times, seconds, least in (
        (warmup, job["warmup_seconds"], 1),
        (runs, job["run_seconds"], job["min_runs"]),
    ):
        until = time.perf_counter_ns() + int(seconds * 1e9)
        while len(times) < least or time.perf_counter_ns() < until:
            batch = batches[len(times) % len(batches)]
            began = time.perf_counter_ns()
            session.run(batch)
            times.append(milliseconds(began))
    facts.update(
        runs_ms=[round(t, 5) for t in runs],
        warmup_ms=[round(t, 5) for t in warmup],
        cores=pinned,
        peak_memory_bytes=peak_memory(),
    )
    return facts


VERBS = {"load": load, "infer": infer, "time": measure}


def answer(job: Dict[str, Any]) -> Dict[str, Any]:
    """Do a job. Returns the answer; raises nothing that a file or a runtime can cause."""
    import numpy

    try:
        samples = numpy.load(job["inputs"], mmap_mode="r", allow_pickle=False)
        return {"status": "ok", "reason": "", "data": VERBS[job["verb"]](job, samples)}
    except Unsupported as error:
        return {"status": "unsupported", "reason": str(error), "data": {}}
    except Exception as error:  # what a runtime may raise while it runs is not ours to list
        return {"status": "failed", "reason": "{}: {}".format(type(error).__name__, error), "data": {}}


def main() -> None:
    """Read the job named on the command line and write the answer to standard output."""
    die_with_parent()
    if sys.argv[1] == "-":
        job = json.load(sys.stdin)
    else:
        with open(sys.argv[1]) as stream:
            job = json.load(stream)
    with os.fdopen(_ANSWER, "w") as stream:
        json.dump(answer(job), stream)
    # Some runtimes crash while they take themselves down; the answer is given, so leave without that.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
