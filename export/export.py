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
from ..core.model import Model
from ..core.names import shorten
from ..core.recipe import Export
from ..core.store import package_versions
from ..core.variant import Variant
from . import onnx, tflite
from .inspect import inspect

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
        r"Max and min for dynamic tensors should be recorded",
        "calibration reached no value for some activation",
        "raise export.calibration.samples",
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

    `calibration` is a ``.npy`` of (N, height, width, 3) uint8, which calibrated schemes need. The converter's own
    errors become the status ``failed`` with a reason; only the disk's refusals are raised (StageError).
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
    )
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
    """Return the frozen SavedModel itself as an artifact: the float reference that every other one is held against."""
    variant = Variant("savedmodel", "float32")
    return Artifact(
        id=artifact_id(model.name, variant),
        model=model.name,
        format=variant.format,
        scheme=variant.scheme_name,
        path=model.saved_model,
        sha256=model.sha256,
        bytes=sum(part.stat().st_size for part in model.saved_model.rglob("*") if part.is_file()),
        labels=model.labels,
        contract=model.input,
        parent_sha256=model.sha256,
        made_by=_maker("savedmodel"),
    )


def sidecar(path: Path) -> Path:
    """Return where the sidecar of an artifact's file stands."""
    return path.with_name(path.name + ".json") if path.suffix not in (".tflite", ".onnx") else path.with_suffix(".json")


def save(artifact: Artifact, folder: Path) -> Artifact:
    """Write the sidecar of an artifact whose file is (or would have been) in `folder`; return the artifact."""
    name = file_name(artifact.model, artifact.variant)
    write_json(sidecar(folder / name), to_json(artifact) | {"path": name if artifact.path else None})
    return artifact


def load(path: Path) -> Artifact:
    """Read an artifact by its sidecar. Raises InputError when the sidecar is missing or does not fit."""
    artifact = from_json(Artifact, read_json(path), str(path))
    return replace(artifact, path=path.parent / artifact.path if artifact.path else None)


def _maker(format_: str) -> str:
    return ", ".join(
        f"{name} {version}" for name, version in package_versions(PACKAGES[format_] or ["tensorflow"]).items()
    )


def _explain(error: Exception) -> tuple[str, str]:
    """Return (reason, remedy). Messages are cut: a converter may dump the whole model into one."""
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
