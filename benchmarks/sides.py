"""Runs the two sides of a benchmark alternately, each in a new process, and returns their answers as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

Job = dict[str, Any]


class BenchmarkError(Exception):
    """A side failed, or a document has no place for the table; the message is for the user."""


@dataclass(frozen=True)
class Scale:
    """The amount of work of a benchmark. `quick` runs only test the benchmark; their figures mean nothing."""

    quick: bool
    image_size: int
    train_images: int | None
    test_images: int | None
    epochs: int
    schemes: tuple[str, ...]
    calibration: int
    compared: int
    targets: tuple[str, ...]
    long_repeats: int
    short_repeats: int


SCHEMES = ("float32", "float16", "dynamic", "int8", "int16x8")
FULL = Scale(
    quick=False,
    image_size=96,
    train_images=None,
    test_images=None,
    epochs=10,
    schemes=SCHEMES,
    calibration=200,
    compared=100,
    targets=("local/tensorflow", "local/litert", "local/tflite-runtime", "local/onnxruntime"),
    long_repeats=1,
    short_repeats=5,
)
QUICK = Scale(
    quick=True,
    image_size=32,
    train_images=80,
    test_images=40,
    epochs=2,
    schemes=("float32", "int8"),
    calibration=10,
    compared=10,
    targets=("local/litert", "local/tflite-runtime"),
    long_repeats=1,
    short_repeats=1,
)


@dataclass(frozen=True)
class Row:
    """A row of the table. Times are wall-clock seconds, one per repetition; `by_hand` may be empty.

    `claim` is the project's claim, `met` whether this run meets it (None: not judged), `checked` the result of other
    checks in the same run.
    """

    what: str
    by_hand: tuple[float, ...]
    edgeproof: tuple[float, ...]
    claim: str
    met: bool | None
    checked: str = ""


def run_python(arguments: list[str], log: Path) -> float:
    """Run this Python with `arguments` in a new process; return its wall-clock seconds.

    Its output goes to `log`. Raises BenchmarkError with the end of the output if it fails.
    """
    return run_command([sys.executable, *arguments], log)


def run_command(command: list[str], log: Path, accepted: tuple[int, ...] = (0,)) -> float:
    """Run a command in the repository's root; return its wall-clock seconds. Otherwise as `run_python`."""
    with log.open("ab") as stream:
        began = time.perf_counter()
        process = subprocess.run(
            command,
            cwd=ROOT,
            env={
                **os.environ,
                **ENVIRONMENT,
                "TMPDIR": str(log.parent),
            },  # temporary files are removed with this folder
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            check=False,
        )
        seconds = time.perf_counter() - began
    if process.returncode not in accepted:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-15:])
        raise BenchmarkError(f"{' '.join(command[1:4])} … ended with exit status {process.returncode}:\n{tail}")
    return seconds


def run_side(module: str, side: str, job: Job, folder: Path) -> Job:
    """Run `job` as `side` of benchmark `module` in a new process; return its answer, with ``wall`` in seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    question, answer = folder / f"{side}.job.json", folder / f"{side}.answer.json"
    answer.unlink(missing_ok=True)
    question.write_text(json.dumps({**job, "answer": str(answer)}), encoding="utf-8")
    wall = run_python(["-m", f"benchmarks.{module}", side, str(question)], folder / f"{side}.log")
    return {**json.loads(answer.read_text(encoding="utf-8")), "wall": wall}


def serve(sides: Mapping[str, Callable[[Job], Job]]) -> None:
    """The counterpart of `run_side` in the new process: run the side that ``benchmarks.MODULE SIDE JOB`` names."""
    side, question = sys.argv[1:]
    job = json.loads(Path(question).read_text(encoding="utf-8"))
    answer = sides[side](job)
    Path(job["answer"]).write_text(json.dumps(answer), encoding="utf-8")


def in_turns(
    repeats: int, by_hand: Callable[[int], Job], edgeproof: Callable[[int], Job]
) -> tuple[list[Job], list[Job]]:
    """Call both sides `repeats` times, alternately; the first side changes, so that neither has the warmer machine."""
    answers: dict[int, tuple[list[Job], Callable[[int], Job]]] = {0: ([], by_hand), 1: ([], edgeproof)}
    for number in range(repeats):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            results, call = answers[side]
            results.append(call(number))
    return answers[0][0], answers[1][0]


def seconds(answers: list[Job], key: str = "seconds") -> tuple[float, ...]:
    """Return one figure of each repetition."""
    return tuple(float(answer[key]) for answer in answers)
