"""Diagnoses one quantized file: a process compares it with its float file, and rules find the causes in the figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ...core import children
from ...core.artifact import Artifact
from ...core.codec import read_json, to_json, write_json
from ...core.dataset import PreparedData
from ...core.diagnosis import Diagnosis
from ...core.environment import usable_cores
from ...core.errors import InputError, StageError
from ...core.progress import Listener, Silent
from ...core.runtime import RUNTIMES
from ...core.store import package_versions
from ...tasks import TARGETED
from ...tasks.detection import Detection
from . import samples as drawing
from .causes import find_causes
from .graph import read_graph

_LITERT = RUNTIMES["litert"].distribution
PACKAGES = (_LITERT,)
# Part of a diagnosis's key in the store: increase it when the meaning of a figure or a rule changes.
VERSION = 2
SILENT_SECONDS = 900


def diagnose(
    artifact: Artifact,
    reference: Path,
    data: PreparedData,
    *,
    samples: int,
    workspace: Path,
    listener: Listener | None = None,
    split: str = "test",
    seed: int = 1,
) -> Diagnosis:
    """Compare every quantized tensor of `artifact` with `reference`, the float32 ``.tflite`` of the same model.

    Both run on `samples` of the `split` of `data`, drawn with `seed`, in a process of their own. The own error of a
    tensor (`own_snr_db`) is the difference between its operator's result and that of a float operator with the same
    (dequantized) inputs. This error alone is then injected into the float model: `answer_snr_db` and `share` say how
    large its effect on the answer is (on up to 16 samples, fewer for large models). Of a detector (`artifact.boxes`)
    the answer is all outputs that are judged, or what its suppression is given.

    Raises InputError if the file is not a .tflite, it and the reference are not of the same model, or the samples do
    not fit; StageError if the process fails.
    """
    listener = listener or Silent()
    path = _checked(artifact, reference)
    feed = drawing.feed(artifact, data)
    workspace.mkdir(parents=True, exist_ok=True)
    drawn = workspace / "samples.npy"
    count = drawing.draw(data, split, samples, seed, artifact, drawn)
    job = {
        "artifact": str(path.resolve()),
        "reference": str(reference.resolve()),
        "samples": str(drawn.resolve()),
        "feed": feed,
        "answer": artifact.answer,
        "classes": len(artifact.labels),
        "task": _task(artifact, data),
        **({"boxes": to_json(artifact.boxes)} if artifact.boxes else {}),
        "threads": usable_cores(),
        "out": str((workspace / "figures.json").resolve()),
    }
    try:
        _run(job, workspace, artifact.id, count, listener)
        result = read_json(workspace / "figures.json")
    finally:
        drawn.unlink(missing_ok=True)
    if not result["quantized"]:
        raise _nothing_quantized(path)
    tensors, findings = find_causes(result, artifact.scheme, artifact.origin)
    if not tensors:
        raise InputError(
            f"no tensor of {path.name} has a counterpart in {reference.name}",
            "give the float32 .tflite of the same model with --float",
        )
    version = package_versions(PACKAGES).get(_LITERT, "")
    facts = {key: value for key, value in result.items() if key not in ("rows", "samples", "agreement")}
    return Diagnosis(
        artifact=artifact.id,
        sha256=artifact.sha256,
        reference=reference.name,
        source=f"{data.source} ({split})",
        samples=count,
        agreement=result["agreement"],
        tensors=tensors,
        suspicions=findings,
        engine=f"{_LITERT} {version}, built-in kernels",
        facts={**facts, "split": split, "seed": seed},
    )


def _task(artifact: Artifact, data: PreparedData) -> str:
    """Return the task that the targets of the samples say, else the file's own.

    Empty where neither does, and of boxes, which are read.
    """
    if artifact.task in TARGETED and data.task not in TARGETED:
        return artifact.task
    said = data.task in TARGETED or bool(data.classes and artifact.labels)
    return data.task if said and data.task != Detection.name and artifact.boxes is None else ""


def _checked(artifact: Artifact, reference: Path) -> Path:
    """Return the artifact's file. Raises InputError if it cannot be compared with `reference`."""
    if artifact.format != "tflite":
        raise InputError(
            f"{artifact.id} is of the format {artifact.format}; only .tflite files are compared tensor by tensor",
            f"export the model as tflite:{artifact.scheme} too and diagnose that file: its layers have the same errors",
        )
    if artifact.path is None:
        raise InputError(f"{artifact.id} has no file: {artifact.reason}", artifact.remedy)
    if not reference.is_file():
        raise InputError(f"{reference} does not exist", "give the float32 .tflite of the same model with --float")
    if artifact.path.resolve() == reference.resolve():
        if not any(tensor.scale is not None or tensor.dtype == "FLOAT16" for tensor in read_graph(reference).tensors):
            raise _nothing_quantized(reference)
        raise InputError(
            f"{reference} is the file to diagnose, not its float file",
            "give the float32 .tflite of the same model with --float",
        )
    return artifact.path


def _nothing_quantized(path: Path) -> InputError:
    return InputError(
        f"{path.name} is a float file: nothing in it is quantized",
        "diagnose a quantized file of this model, e.g. its tflite:int8",
    )


def _run(job: dict[str, Any], workspace: Path, name: str, count: int, listener: Listener) -> None:
    """Run the comparing process and report its progress. Raises InputError or StageError with its message."""
    write_json(workspace / "job.json", job)
    command = [sys.executable, "-m", "edgeproof.quantize.diagnosis.compare_worker", str(workspace / "job.json")]
    refusals: list[InputError] = []

    def hear(line: str) -> None:
        event = json.loads(line) if line.startswith("{") else {}
        if "error" in event:
            refusals.append(InputError(f"diagnosing {name}: {event['error']}", event["remedy"]))
        if "done" in event:
            listener.progress(f"diagnose {name}", event["done"], count)

    try:
        ending = children.stream(command, silence=SILENT_SECONDS, log=workspace / "errors.txt", hear=hear)
    except subprocess.TimeoutExpired as error:
        why = f"diagnosing {name}: a sample took more than {SILENT_SECONDS} s"
        raise StageError(why, "one of the files may not terminate: evaluate both files first") from error
    if ending.status == 0:
        return
    if refusals:
        raise refusals[-1]
    last = ending.last_error_line or "nothing"
    if ending.status < 0:
        remedy = ending.remedy("the runtime cannot run one of the files")
        raise StageError(f"diagnosing {name}: the process {ending.how}; it said: {last}", remedy)
    raise StageError(
        f"diagnosing {name} failed: {last}",
        "check that --float is the float32 .tflite of the same model, and that the samples are of its kind",
    )
