"""Evaluates a network as a file: converts it with the TFLite converter, and runs it in LiteRT in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import children
from ...core.errors import StageError, explain_disk_errors
from ...core.model import SIGNATURE, InputContract
from ...core.sanitize import shorten
from ...frameworks.tensorflow import load
from ...tflite.converter import convert as run_converter
from ...tflite.converter import saved_model_converter

TIMEOUT = 900.0  # seconds


class CrashError(Exception):
    """The file could not be run; the message says why."""


@dataclass(frozen=True)
class Answers:
    """The answers `values` (N, classes) float32 of a file, and the names of its operators that compute in float."""

    values: NDArray[Any]
    float_operators: tuple[str, ...]


def convert(saved_model: Path, *, quantized: bool, samples: Callable[[], Iterator[Any]] | None = None) -> bytes:
    """Return the ``.tflite`` file of a frozen SavedModel.

    If `quantized`, the file is in integers: by the fake quantization of its graph or, with `samples` (dictionaries of
    inputs by name), by calibration. Raises whatever the converter raises.
    """
    tf, _ = load()
    converter = saved_model_converter(saved_model, SIGNATURE)
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if samples is not None:
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return run_converter(converter)


def model_values(stored: NDArray[Any], contract: InputContract) -> NDArray[Any]:
    """Return stored samples in the model's value range, float32."""
    scale, offset = contract.scale
    return np.asarray(stored, np.float32) * np.float32(scale) + np.float32(offset)


def run(content: bytes, stored: NDArray[Any], contract: InputContract, folder: Path) -> Answers:
    """Run a file on stored samples (N, …). Raises CrashError if its process fails."""
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file, source, target = (folder / name for name in ("eval.tflite", "eval.npy", "answers.npy"))
        file.write_bytes(content)
        np.save(source, stored)
        target.unlink(missing_ok=True)
    scale, offset = contract.scale
    command = [sys.executable, str(Path(__file__).with_name("tflite_worker.py")), str(file), str(source), str(target)]
    try:
        ending = children.run([*command, repr(scale), repr(offset)], timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise CrashError(f"it did not end within {TIMEOUT:g} seconds") from error
    if ending.status or not target.is_file():
        raise CrashError(ending.cause if ending.status < 0 else ending.last_error_line or "no message")
    values = np.load(target, allow_pickle=False)
    for path in (file, source, target):
        path.unlink(missing_ok=True)
    return Answers(values, tuple(json.loads(ending.output)))


def float_answers(saved_model: Path, stored: NDArray[Any], contract: InputContract, folder: Path) -> NDArray[Any]:
    """Return the frozen float model's answers to stored samples, (N, classes) float32. Raises StageError."""
    try:
        return run(convert(saved_model, quantized=False), stored, contract, folder).values
    except Exception as error:  # the converter may raise anything
        raise StageError(
            f"the float model cannot be run as a TFLite file: {shorten(str(error), 200)}",
            "export it as tflite:float32 to see why; only a model that converts can be trained further",
        ) from error
