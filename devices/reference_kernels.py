"""Whether a runtime's answers are, bit for bit, those of another runtime's reference kernels, on the same machine.

Reference kernels are the plain ones that define what an operator computes. Equal answers show that an accuracy found in
one holds in the other; the default kernels of a processor may round differently.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.target import Target

if TYPE_CHECKING:
    from .agent_runner import JobRunner

SAMPLES = 32


def compared(runner: JobRunner, inputs: Path) -> dict[str, Any] | None:
    """Return how a runner's answers to the first `SAMPLES` of `inputs` compare with the reference kernels'.

    The keys are those of `core.measurement.ReferenceMatch`; None where one of the two gives no answers.
    """
    target = Target(runner.target.device, runner.target.engine.reference)
    other = replace(runner, target=target)
    samples = min(SAMPLES, _count(inputs))
    with tempfile.TemporaryDirectory(prefix="edgeproof-reference-") as folder:
        paths = (Path(folder) / "own.npy", Path(folder) / "reference.npy")
        outcomes = (
            runner.infer(inputs, paths[0], 0, samples),
            other.infer(inputs, paths[1], 0, samples, kernels="reference"),
        )
        if not all(outcome.ok for outcome in outcomes):
            return None
        own, reference = (np.load(path, allow_pickle=False) for path in paths)
    if own.shape != reference.shape:
        return None
    return {
        "by": f"{target.runtime} {other.version()}".strip(),
        "samples": samples,
        "identical": int((own.view(np.uint32) == reference.view(np.uint32)).all(axis=1).sum()),
        "difference": float(np.nan_to_num(np.abs(own - reference)).max(initial=0.0)),
    }


def _count(inputs: Path) -> int:
    if inputs.suffix == ".jsonl":
        with inputs.open(encoding="utf-8") as stream:
            return sum(1 for _ in stream)
    return len(np.load(inputs, mmap_mode="r", allow_pickle=False))
