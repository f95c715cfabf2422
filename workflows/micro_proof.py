"""The proofs of a bundle's part for microcontrollers, on the golden vectors.

Its C array is run in the interpreter of this machine, and its C++ in an image for a Cortex-M, if a TFLM tree is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.artifact import Artifact
from ..core.codec import sha256_file
from ..core.runner import Outcome
from ..core.target import Target
from ..devices import open_runner
from ..devices.cortex_m import NOT_AS_IT_IS, CortexM, Program
from ..export import bundle as room
from ..export import inspect
from ..tflite.micro_operators import resolver_method

TARGET = Target("local", "tflite-micro")
SECONDS = 60.0  # for a sample on an emulated chip


def prove_micro(
    folder: Path,
    artifact: Artifact,
    golden: room.Golden,
    vectors: Mapping[str, Any],
    samples: Path,
    workspace: Path,
) -> dict[str, Any]:
    """Return what the interpreter says of the code in `folder`, the bundle's, as ``micro.proof`` of bundle.json has it.

    The array is read back from the C text, and its bytes are run on `samples`, the golden inputs. Its answers must be
    the golden ones by the limits in `vectors`, the bundle's golden.json, and the resolver must register the operators
    that are in the array, and no others. Without an interpreter the status is ``unsupported``.
    """
    written = room.micro_code(folder)
    path = workspace / "array.tflite"
    path.write_bytes(written.array)
    operators = inspect(path).ops
    # Of a detector one output is golden, whatever others its boxes are read from.
    alone = replace(artifact, path=path, sha256=sha256_file(path), ops=operators, boxes=None)
    runner = open_runner(alone, TARGET)
    loaded = runner.load(samples)
    answered = runner.infer(samples, workspace / "micro.npy", 0, len(golden.outputs)) if loaded.ok else loaded
    proof: dict[str, Any] = {"kind": runner.kind, "runtime": TARGET.runtime, "status": answered.status}
    if not answered.ok:
        return proof | {"reason": answered.reason, "remedy": answered.remedy}
    answers = np.load(workspace / "micro.npy", allow_pickle=False)
    proof |= {
        "version": loaded.data["runtime_version"],
        **_agreement(np.abs(answers - golden.outputs)),
        "arena": loaded.data.get("arena"),
        "reference": loaded.data["reference"],
    }
    if wrong := _wrong(written, {operator.name for operator in operators}, answers, golden, vectors):
        proof |= {"status": "failed", "reason": wrong, "remedy": NOT_AS_IT_IS}
    return proof


def prove_image(
    folder: Path,
    vectors: Mapping[str, Any],
    *,
    artifact: Artifact,
    golden: room.Golden,
    cortex_m: CortexM,
    workspace: Path,
    tell: Callable[[int, int], None],
) -> dict[str, Any]:
    """Return what an image of the code in `folder` answers, as ``micro.cortex_m`` of bundle.json has it.

    The image is built with the user's TFLM tree, and run on an emulated board. `tell` hears of how many files are
    compiled.
    """
    written = room.micro_code(folder)
    image = artifact.contract is not None and artifact.contract.kind == "image"
    fed = np.asarray(golden.samples) if image else room.stored_inputs(artifact, golden)[0]
    samples = np.ascontiguousarray(fed.reshape(len(golden.outputs), -1)).view(np.uint8)
    program = Program(folder / "micro", written.run, written.value, written.count)
    answered = cortex_m.answers(program, samples, workspace, seconds=SECONDS, tell=tell)
    proof: dict[str, Any] = {
        "kind": "emulated", "chip": cortex_m.name, "board": cortex_m.board, "kernels": cortex_m.kernels,
        "compiler": cortex_m.compiler, "emulator": cortex_m.emulator,
    }  # fmt: skip
    if isinstance(answered, Outcome):
        return proof | {"status": answered.status, "reason": answered.reason, "remedy": answered.remedy}
    if answered.values.shape != golden.outputs.shape:
        reason = f"it gives {answered.values.shape[1]} values a sample, and the golden answers have other ones"
        return proof | {"status": "failed", "reason": reason, "remedy": NOT_AS_IT_IS}
    proof |= {
        "status": "ok",
        **_agreement(np.abs(answered.values - golden.outputs)),
        "arena_bytes": answered.arena_bytes,
        "code_bytes": answered.code_bytes,
        "data_bytes": answered.data_bytes,
    }
    if wrong := _differing(answered.values, golden, vectors):
        proof |= {"status": "failed", "reason": wrong, "remedy": NOT_AS_IT_IS}
    return proof


def _agreement(differences: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {
        "samples": len(differences),
        "identical": int((differences == 0).all(axis=1).sum()),
        "largest": float(differences.max(initial=0.0)),
    }


def _wrong(
    written: room.MicroCode,
    operators: set[str],
    answers: np.ndarray[Any, Any],
    golden: room.Golden,
    vectors: Mapping[str, Any],
) -> str:
    """Return what is wrong with the code or its answers; empty where nothing is."""
    needed = {resolver_method(name) for name in operators}
    if needed != set(written.registered) or len(written.registered) != written.room:
        return (
            f"the resolver registers {', '.join(written.registered) or 'nothing'}, with room for {written.room}, and "
            f"the array needs {', '.join(sorted(needed - {''}))}"
        )
    return _differing(answers, golden, vectors)


def _differing(answers: np.ndarray[Any, Any], golden: room.Golden, vectors: Mapping[str, Any]) -> str:
    wrong = room.closeness.wrong(golden.outputs, answers, vectors["decision"], vectors["tolerance"])
    return f"its answers differ from the golden ones: {wrong[-1]}" if wrong else ""
