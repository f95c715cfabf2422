"""Frozen model + variant → artifact. A variant that cannot be made is an artifact too: its status says why."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.artifact import Artifact, artifact_id, file_name
from ..core.codec import from_json, read_json, sha256_file, to_json, write_json
from ..core.errors import InputError, explain_disk_errors
from ..core.model import InputContract, Model
from ..core.names import shorten
from ..core.recipe import Export
from ..core.store import package_versions
from ..core.variant import Variant
from . import onnx, tflite
from .inspect import inspect
from .tokenizer import tokenizer_folder

# What the work depends on beside its inputs; part of its key in the store.
PACKAGES = {"tflite": ("tensorflow",), "onnx": ("tensorflow", "tf2onnx", "onnx"), "savedmodel": ()}

# (pattern in the converter's message, what it means, what to do)
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"Quantization not yet supported for op: '?(\w+)",
        "operator {0} has no integer kernel",
        "use tflite:dynamic or tflite:float16, or a backbone without that operator",
    ),
    (
        r"tf\.(\w+).*(?:neither a custom op nor a flex op|is neither)",
        "operator tf.{0} has no TFLite kernel",
        "use a backbone made of TFLite's builtin operators",
    ),
    (
        r"Max and min for dynamic tensors should be recorded during calibration: Failed for tensor (\S+)",
        "the converter wants a range for tensor {0}, and calibration recorded none (it records none for integers, "
        "such as token ids and their masks)",
        "use tflite:int8, tflite:dynamic or tflite:float16; if the tensor is an activation, raise "
        "export.calibration.samples",
    ),
    (
        r"No Op registered for (\w+) with domain_version",
        "operator tf.{0} has no ONNX counterpart",
        "use a TFLite variant, or a backbone without that operator",
    ),
    (
        r"(?i)exceeds maximum protobuf size|bigger than 2 ?GB",
        "the file would be larger than 2 GB, which the format cannot hold",
        "use a scheme with smaller weights (float16, dynamic, int8), or a smaller backbone",
    ),
    (
        r"Unsupported onnx opset|Opset (\d+) is not supported",
        "tf2onnx does not write this opset",
        "choose export.onnx_opset between 13 and 18",
    ),
)


def export(
    model: Model,
    variant: Variant,
    *,
    options: Export,
    folder: Path,
    calibration: Path | None = None,
    calibration_record: dict[str, Any] | None = None,
) -> Artifact:
    """Make one file in `folder`, with its sidecar beside it, and return it.

    `calibration` is a ``.npy`` of samples, which calibrated schemes need: (N, height, width, 3) uint8 pictures, the
    model's own tensors (N, …), or a structured array with a field for each input (for token ids: ``ids``, ``lens``).
    The file of a model with a tokenizer is of use beside the folder that `place_tokenizer` makes. A model that takes
    strings has no file: status ``unsupported``. The converter's own errors become the status ``failed`` with a
    reason; only the disk's refusals are raised (StageError).
    """
    started = time.perf_counter()
    path = folder / file_name(model.name, variant)
    artifact = Artifact(
        id=artifact_id(model.name, variant),
        model=model.name,
        format=variant.format,
        scheme=variant.scheme_name,
        path=path,
        labels=model.labels,
        contract=model.input,
        parent_sha256=model.sha256,
        made_by=_maker(variant.format),
        answer=model.answer,
        tokenizer=tokenizer_folder(model, folder) if model.tokenizer else None,
        tokenizer_sha256=model.tokenizer.sha256 if model.tokenizer else "",
    )
    if model.input.dtype == "string":
        reason = "the model takes strings: it could not be cut at its token ids, and only TensorFlow runs the whole"
        remedy = (
            "serve its SavedModel with TensorFlow, or choose a backbone that takes token ids "
            "(package:use_multilingual_v3, scratch:average-embedding)"
        )
        return save(artifact.failed("unsupported", reason, remedy), folder)
    samples = None
    if variant.scheme.calibrated:
        if calibration is None:
            raise InputError(f"{variant} needs calibration samples", "draw them from the training data (--calibrate)")
        samples = np.load(calibration, mmap_mode="r", allow_pickle=False)
    try:
        if variant.format == "tflite":
            content = tflite.convert(model, variant.scheme, options, samples)
        else:
            content = onnx.convert(model, options)
    except Exception as error:  # a converter may raise anything; none of it stops the other variants
        return save(artifact.failed("failed", *_explain(error)), folder)
    with explain_disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    contents = inspect(path)
    made = replace(
        artifact,
        sha256=sha256_file(path),
        bytes=len(content),
        inputs=contents.inputs,
        outputs=contents.outputs,
        ops=contents.ops,
        min_runtime=contents.min_runtime,
        seconds=time.perf_counter() - started,
        calibration=(calibration_record or {}) if variant.scheme.calibrated else {},
    )
    return save(made, folder)


def reference(model: Model) -> Artifact:
    """Return the float reference that every other artifact of `model` is held against, as an artifact.

    It is the frozen SavedModel itself; for a text model the one that takes the text, original tokenizer and all.
    """
    variant = Variant("savedmodel", "float32")
    path = model.text_model or model.saved_model
    return Artifact(
        id=artifact_id(model.name, variant),
        model=model.name,
        format=variant.format,
        scheme=variant.scheme_name,
        path=path,
        sha256=model.sha256,
        bytes=sum(part.stat().st_size for part in path.rglob("*") if part.is_file()),
        labels=model.labels,
        contract=InputContract("text", (1,), "string", kind="text") if model.text_model else model.input,
        parent_sha256=model.sha256,
        made_by=_maker("savedmodel"),
        answer=model.answer,
        # Not fed to it, but its ids are made by the same vocabulary: another one is another reference.
        tokenizer_sha256=model.tokenizer.sha256 if model.tokenizer else "",
    )


def sidecar(path: Path) -> Path:
    """Return where the sidecar of an artifact's file stands."""
    return path.with_name(path.name + ".json") if path.suffix not in (".tflite", ".onnx") else path.with_suffix(".json")


def save(artifact: Artifact, folder: Path) -> Artifact:
    """Write the sidecar of an artifact whose file is (or would have been) in `folder`; return the artifact.

    The sidecar names the file and the tokenizer's folder relative to itself.
    """
    name = file_name(artifact.model, artifact.variant)
    relative = {
        "path": name if artifact.path else None,
        "tokenizer": artifact.tokenizer.name if artifact.tokenizer else None,
    }
    write_json(sidecar(folder / name), to_json(artifact) | relative)
    return artifact


def load(path: Path) -> Artifact:
    """Read an artifact by its sidecar. Raises InputError when the sidecar is missing or does not fit."""
    artifact = from_json(Artifact, read_json(path), str(path))
    return replace(
        artifact,
        path=path.parent / artifact.path if artifact.path else None,
        # Beside the file and nowhere else, whatever the sidecar of a stranger says.
        tokenizer=path.parent / artifact.tokenizer.name if artifact.tokenizer else None,
    )


def _maker(format_: str) -> str:
    return ", ".join(
        f"{name} {version}" for name, version in package_versions(PACKAGES[format_] or ["tensorflow"]).items()
    )


def _explain(error: Exception) -> tuple[str, str]:
    """Return (reason, remedy). Messages are cut: a converter may dump the whole model into one."""
    if isinstance(error, KeyError) and len(error.args) == 1:
        # Raised where the converter looks a sample's inputs up by name.
        return f"the calibration samples hold no values for input {error}", "calibrate with samples of all its inputs"
    text = str(error)
    for pattern, meaning, remedy in _KNOWN:
        if found := re.search(pattern, text):
            return meaning.format(*found.groups()), remedy
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = next((line for line in lines if "error:" in line), lines[0] if lines else "no message")
    return (
        f"the converter failed: {type(error).__name__}: {shorten(told, 300)}",
        "the other variants are not concerned; log.jsonl has the whole message's start",
    )
