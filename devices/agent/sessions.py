"""Opens a session: imports the runtime, loads the file and runs it, with the figures of each."""

import sys
import time
from importlib import import_module
from typing import Any, Dict, Tuple

from .errors import Unsupported
from .feed import Feed
from .machine import peak_memory

# The module of each session: only that of the job is imported.
SESSIONS = {
    "TFLite": "tflite",
    "TFLiteMicro": "tflite",
    "Onnx": "onnx",
    "OnnxGpu": "onnx",
    "OpenVino": "openvino",
    "LiteRtGpu": "litert_gpu",
    "TensorFlow": "tensorflow",
    "TensorFlowGpu": "tensorflow",
}


def milliseconds(started: int) -> float:
    return (time.perf_counter_ns() - started) / 1e6


def import_session(job: Dict[str, Any]) -> Tuple[Any, Dict[str, Any]]:
    """Import the runtime. Returns its session, which is not open, and the figures of the import."""
    try:
        started = time.perf_counter_ns()
        name = job["session"]
        session = getattr(import_module("." + SESSIONS[name], __package__), name)(job)
        import_ms = milliseconds(started)
    except ImportError as error:
        raise Unsupported("the runtime is not installed: {}".format(error))
    return session, {"import_ms": import_ms, "import_memory_bytes": peak_memory()}


def open_session(job: Dict[str, Any], session: Any, samples: Any) -> Tuple[Feed, Any, Dict[str, Any]]:
    """Load the artifact and run it twice. Returns the feed, the output and the figures."""
    import numpy

    feed = Feed(job)
    started = time.perf_counter_ns()
    feed.open()
    tokenizer_ms = milliseconds(started)
    session.open(job)
    load_ms = milliseconds(started)
    times = []
    prepared = None if feed.tokenizes else session.prepare(feed(samples[:1]))
    for _ in range(2):
        started = time.perf_counter_ns()
        output = session.run(session.prepare(feed(samples[:1])) if feed.tokenizes else prepared)
        times.append(milliseconds(started))
    facts = {
        "load_ms": load_ms,
        "first_ms": times[0],
        "run_ms": times[1],
        "peak_memory_bytes": peak_memory(),
        "finite": bool(numpy.isfinite(session.finish(output)).all()),
        "kernels": session.kernels(),
        "runtime_version": version(job["distribution"]),
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
    }
    if feed.tokenizes:
        facts["tokenizer_ms"] = tokenizer_ms  # included in load_ms
    if job["verb"] == "load" and not session.on_cpu:
        placement = session.placement(prepared or session.prepare(feed(samples[:1])))
        if placement and not placement["delegated"]:
            raise Unsupported("the accelerator runs none of the file's {} operators".format(placement["operators"]))
        facts["placement"] = placement
    if job["verb"] == "load":
        facts.update(session.figures())
    return feed, output, facts


def start(job: Dict[str, Any], samples: Any) -> Tuple[Feed, Any, Dict[str, Any]]:
    """Import the runtime, load the artifact and run it twice. Returns the feed, the session and the figures."""
    session, facts = import_session(job)
    feed, _, more = open_session(job, session, samples)
    facts.update(more)
    return feed, session, facts


def version(distribution: str) -> str:
    try:
        from importlib import metadata
    except ImportError:  # Python 3.7
        return "unknown"
    try:
        return str(metadata.version(distribution) or "unknown")
    except Exception:  # there is no record of it, or a damaged one
        return "unknown"
