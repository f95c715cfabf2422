"""Reads a job, does it, and writes the report."""

import json
import os
import sys
from typing import Any, Dict

from .about import about
from .feed import read_samples
from .machine import conditions, die_with_parent, peak_memory, pin
from .report import guarded
from .server import serve
from .sessions import start
from .shelf import Shelf, placed_on_shelf


def load(job: Dict[str, Any], samples: Any) -> Dict[str, Any]:
    """Verb: load the file and run it."""
    return start(job, samples)[2]


def infer(job: Dict[str, Any], samples: Any) -> Dict[str, Any]:
    """Verb: write the outputs for samples [start, stop) to job["outputs"], (stop - start, values) float32.

    The state of a stateful file is reset before each sample, so that its output does not depend on earlier samples.
    """
    import numpy

    feed, session, facts = start(job, samples)
    rows = []
    for index in range(job["stop"] - job["start"]):
        session.forget(job)
        rows.append(session.finish(session.run(session.prepare(feed(samples[index : index + 1])))))
        if rows[-1].shape != rows[0].shape:
            raise ValueError("the answer's size changes: {} values, then {}".format(rows[0].size, rows[-1].size))
    if "shelf" in job:
        import base64

        answers = numpy.asarray(rows, dtype="<f4")
        return dict(facts, shape=list(answers.shape), answers=base64.b64encode(answers.tobytes()).decode("ascii"))
    temporary = "{}.{}.npy".format(job["outputs"], os.getpid())
    with open(temporary, "wb") as stream:
        numpy.save(stream, numpy.asarray(rows, dtype="float32"))
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, job["outputs"])  # atomic for readers, and after a power failure
    return facts


def profile(job: Dict[str, Any], samples: Any) -> Dict[str, Any]:
    """Verb: time each operator (`profiler.py`). A profiled run is no timed run: it is slower."""
    from . import profiler

    pinned = pin(job["threads"])
    feed, session, facts = start(job, samples)
    batches = [session.prepare(feed(samples[i : i + 1])) for i in range(len(samples))]
    return dict(facts, **profiler.profile(session, job, batches), cores=pinned)


VERBS = {"load": load, "infer": infer, "profile": profile}
# Those that need no samples.
SHELF_VERBS: Dict[str, Any] = {
    "about": about,
    "state": lambda job: {"peak_memory_bytes": peak_memory(), "conditions": conditions()},
    "have": lambda job: Shelf(job).have(job),
    "put": lambda job: Shelf(job).put(job),
    "tree": lambda job: Shelf(job).tree(job),
    "clean": lambda job: Shelf(job).clean(job),
    "venv": lambda job: Shelf(job).make_venv(job),
    "unpack": lambda job: Shelf(job).unpack(job),
}


def main() -> None:
    """Read the job named on the command line, and write the report to standard output, or answer requests."""
    die_with_parent()
    # Output of the runtimes goes to standard error, so that standard output holds the report alone.
    answer = os.dup(1)
    os.dup2(2, 1)
    if sys.argv[1] == "-":
        job = json.loads(sys.stdin.buffer.readline())
    else:
        with open(sys.argv[1]) as stream:
            job = json.load(stream)
    if "shelf" in job and job["verb"] not in SHELF_VERBS:
        job = placed_on_shelf(job)
    if job.get("path"):
        sys.path.insert(0, job["path"])
    with os.fdopen(answer, "w") as stream:
        if job.get("gone"):
            stream.write(json.dumps({"status": "skipped", "reason": "Gone", "data": {}}) + "\n")
        elif job["verb"] == "serve":
            serve(job, stream)
        elif job["verb"] in SHELF_VERBS:
            stream.write(json.dumps(guarded(lambda: SHELF_VERBS[job["verb"]](job))) + "\n")
        else:
            stream.write(json.dumps(guarded(lambda: VERBS[job["verb"]](job, read_samples(job)))) + "\n")
    # Some runtimes crash during shutdown. The report is written, so exit without it.
    sys.stdout.flush()
    os._exit(0)
