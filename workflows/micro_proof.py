"""The proof of a bundle's part for microcontrollers: its C array is run in the interpreter on the golden vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.artifact import Artifact
from ..core.codec import sha256_file
from ..core.target import Target
from ..devices import open_runner
from ..export import bundle as room
from ..export import inspect
from ..tflite.micro_operators import resolver_method

TARGET = Target("local", "tflite-micro")


def prove_micro(
    folder: Path,
    artifact: Artifact,
    golden: room.Golden,
    tolerance: tuple[float, float],
    samples: Path,
    workspace: Path,
) -> dict[str, Any]:
    """Return what the interpreter says of the code in `folder`, the bundle's, as ``micro.proof`` of bundle.json has it.

    The array is read back from the C text, and its bytes are run on `samples`, the golden inputs. Its answers must be
    the golden ones to within `tolerance` (median and largest difference), and the resolver must register the operators
    that are in the array, and no others. Without an interpreter the status is ``unsupported``.
    """
    written = room.micro_code(folder)
    path = workspace / "array.tflite"
    path.write_bytes(written.array)
    operators = inspect(path).ops
    runner = open_runner(replace(artifact, path=path, sha256=sha256_file(path), ops=operators), TARGET)
    loaded = runner.load(samples)
    answered = runner.infer(samples, workspace / "micro.npy", 0, len(golden.outputs)) if loaded.ok else loaded
    proof: dict[str, Any] = {"kind": runner.kind, "runtime": TARGET.runtime, "status": answered.status}
    if not answered.ok:
        return proof | {"reason": answered.reason, "remedy": answered.remedy}
    differences = np.abs(np.load(workspace / "micro.npy", allow_pickle=False) - golden.outputs)
    proof |= {
        "version": loaded.data["runtime_version"],
        "samples": len(differences),
        "identical": int((differences == 0).all(axis=1).sum()),
        "largest": float(differences.max(initial=0.0)),
        "arena": loaded.data.get("arena"),
        "reference": loaded.data["reference"],
    }
    if wrong := _wrong(written, {operator.name for operator in operators}, differences, tolerance):
        proof |= {"status": "failed", "reason": wrong, "remedy": "do not ship micro/ as it is"}
    return proof


def _wrong(
    written: room.MicroCode, operators: set[str], differences: np.ndarray[Any, Any], tolerance: tuple[float, float]
) -> str:
    """Return what is wrong with the code or its answers; empty where nothing is."""
    needed = {resolver_method(name) for name in operators}
    if needed != set(written.registered) or len(written.registered) != written.room:
        return (
            f"the resolver registers {', '.join(written.registered) or 'nothing'}, with room for {written.room}, and "
            f"the array needs {', '.join(sorted(needed - {''}))}"
        )
    median, most = float(np.median(differences)), float(differences.max(initial=0.0))
    if median > tolerance[0] or most > tolerance[1]:
        return f"its answers differ from the golden ones by {median:.3g} in the median and {most:.3g} at most"
    return ""
