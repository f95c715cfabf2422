"""Diagnose one quantized file: a process compares it with its float file, the figures are judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ...core import children
from ...core.artifact import Artifact
from ...core.codec import read_json, write_json
from ...core.dataset import PreparedData
from ...core.diagnosis import Diagnosis
from ...core.environment import usable_cores
from ...core.errors import InputError, StageError
from ...core.progress import Listener, Silent
from ...core.store import package_versions
from . import samples as drawing
from .causes import judge
from .graph import read_graph

PACKAGES = ("ai-edge-litert",)
# Part of a diagnosis's key in the store: raise it when the figures or the rules change their meaning.
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

    Both run on `samples` of the `split` of `data`, drawn with `seed`, in a process of their own. `own_snr_db` of a
    tensor: the float operator is given the very values that the file's operator read (dequantized), and the difference
    of both results is the operator's own error. That error, alone, is then put into the float model:
    `answer_snr_db` and `share` are what comes of it at the answer (on up to 16 samples, fewer for large models).

    Raises InputError when the file is no .tflite, when it and the reference are not of one model, or the samples do
    not fit; StageError when the process dies.
    """
    listener = listener or Silent()
    path = _checked(artifact, reference)
    fed = drawing.feed(artifact, data)
    workspace.mkdir(parents=True, exist_ok=True)
    drawn = workspace / "samples.npy"
    count = drawing.draw(data, split, samples, seed, artifact, drawn)
    job = {
        "artifact": str(path.resolve()),
        "reference": str(reference.resolve()),
        "samples": str(drawn.resolve()),
        "feed": fed,
        "answer": artifact.answer,
        "classes": len(artifact.labels),
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
    tensors, suspicions = judge(result, artifact.scheme, artifact.origin)
    if not tensors:
        raise InputError(
            f"no tensor of {path.name} has a counterpart in {reference.name}",
            "give the float32 .tflite of the same model with --float",
        )
    version = package_versions(PACKAGES).get("ai-edge-litert", "")
    facts = {key: value for key, value in result.items() if key not in ("rows", "samples", "agreement")}
    return Diagnosis(
        artifact=artifact.id,
        sha256=artifact.sha256,
        reference=reference.name,
        source=f"{data.source} ({split})",
        samples=count,
        agreement=result["agreement"],
        tensors=tensors,
        suspicions=suspicions,
        engine=f"ai-edge-litert {version}, built-in kernels",
        facts={**facts, "split": split, "seed": seed},
    )


def _checked(artifact: Artifact, reference: Path) -> Path:
    """Return the artifact's file; InputError where a comparison makes no sense."""
    if artifact.format != "tflite":
        raise InputError(
            f"{artifact.id} is of the format {artifact.format}; only .tflite files are compared tensor by tensor",
            f"export the model as tflite:{artifact.scheme} as well and diagnose that: its layers lose the same way",
        )
    if artifact.path is None:
        raise InputError(f"{artifact.id} has no file: {artifact.reason}", artifact.remedy)
    if not reference.is_file():
        raise InputError(f"{reference} does not exist", "give the float32 .tflite of the same model with --float")
    if artifact.path.resolve() == reference.resolve():
        if not any(tensor.scale is not None or tensor.dtype == "FLOAT16" for tensor in read_graph(reference).tensors):
            raise _nothing_quantized(reference)
        raise InputError(
            f"{reference} is the file that is to be diagnosed",
            "give the float32 .tflite of the same model with --float",
        )
    return artifact.path


def _nothing_quantized(path: Path) -> InputError:
    return InputError(
        f"{path.name} is a float file: nothing in it is quantized",
        "diagnose a quantized file of this model, e.g. its tflite:int8",
    )


def _run(job: dict[str, Any], workspace: Path, name: str, count: int, listener: Listener) -> None:
    """Run the comparing process, hear its progress. Raises InputError or StageError with what it said."""
    write_json(workspace / "job.json", job)
    command = [sys.executable, "-m", "edgeproof.quantize.diagnosis.compare_worker", str(workspace / "job.json")]
    refused: list[InputError] = []

    def hear(line: str) -> None:
        event = json.loads(line) if line.startswith("{") else {}
        if "error" in event:
            refused.append(InputError(f"diagnosing {name}: {event['error']}", event["remedy"]))
        if "done" in event:
            listener.progress(f"diagnose {name}", event["done"], count)

    try:
        ending = children.stream(command, silence=SILENT_SECONDS, log=workspace / "errors.txt", hear=hear)
    except subprocess.TimeoutExpired as error:
        why = f"diagnosing {name}: a sample took more than {SILENT_SECONDS} s"
        raise StageError(why, "one of the files may compute without end: evaluate them first") from error
    if ending.status == 0:
        return
    if refused:
        raise refused[-1]
    last = ending.last_words or "nothing"
    if ending.status < 0:
        remedy = ending.remedy("the runtime cannot run one of the files")
        raise StageError(f"diagnosing {name}: the process {ending.how}; it said: {last}", remedy)
    raise StageError(
        f"diagnosing {name} failed: {last}",
        "check that --float is the float32 .tflite of the same model, and that the samples are of its kind",
    )
