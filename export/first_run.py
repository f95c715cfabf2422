"""Every file is run before it is ok: on samples made here, in its own runtime, beside the SavedModel it came from.

A converter may write without a word what its runtime refuses, or what answers with another shape or with NaN. One or
two samples show that in seconds. How far quantized answers are from the float model's is no matter of these samples:
calibration samples and the test split tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.environment import usable_cores
from ..core.model import Model
from ..core.remedies import CannotMakeError, Remedy
from ..core.runtime import RUNTIMES
from ..core.sanitize import shorten
from ..core.variant import Scheme, Variant
from ..frameworks.as_written import as_written
from .in_process import Answers, Described, litert, litert_inputs, onnxruntime

_RUNTIMES = {"tflite": RUNTIMES["litert"], "onnx": RUNTIMES["onnxruntime"]}  # what runs the files of a format


@dataclass(frozen=True)
class _Answered:
    """A sample, and what the SavedModel answers to it."""

    sample: Answers
    answers: Answers


def check(content: bytes, variant: Variant, model: Model) -> None:
    """Run the file `content` of `model` in its runtime. Raises CannotMakeError when it is not fit for use.

    That is: it does not load or run, lacks an output, answers with another shape, with NaN or infinity where the
    SavedModel does not, or in float32 and float16 with other numbers.
    """
    if _RUNTIMES[variant.format].installed:
        _judge(content, variant, answered(model.saved_model, model.sha256, model.input.low, model.input.high))


def check_supplied(content: bytes, variant: Variant, source: bytes, low: float, high: float) -> None:
    """Run a file that was made of the float ``.tflite`` `source` beside it, and raise CannotMakeError as `check` does.

    Where LiteRT cannot run `source` itself, for an operator of somebody's own, there is nothing to say.
    """
    if not _RUNTIMES["tflite"].installed:
        return
    try:
        reference = litert(source, usable_cores())
        judged = tuple(_Answered(sample, reference(sample)) for sample in _drawn(litert_inputs(source), low, high))
    except Exception:  # a runtime may refuse a file with anything
        return
    _judge(content, variant, judged)


def _judge(content: bytes, variant: Variant, judged: Sequence[_Answered]) -> None:
    scheme, name = variant.scheme, _RUNTIMES[variant.format].title
    limit = scheme.arithmetic.from_float
    judged = judged if limit else judged[:1]
    try:
        run = {"tflite": litert, "onnx": onnxruntime}[variant.format](content, usable_cores())
        found = [run(one.sample) for one in judged]
    except Exception as error:  # a runtime may refuse a file with anything
        raise CannotMakeError(
            f"the file was made, and {name} cannot run it: {shorten(str(error), 300)}", _other(variant)
        ) from error
    errors: dict[str, list[float]] = {}
    for one, answers in zip(judged, found, strict=True):
        for output, wanted in one.answers.items():
            if output not in answers:
                raise CannotMakeError(f"the file was made, and has no output {output!r}", _other(variant))
            _compare(output, wanted, answers[output], scheme, variant)
            if limit and wanted.dtype.kind == "f" and np.isfinite(wanted).all():
                errors.setdefault(output, []).append(_distance(wanted, answers[output]))
    for output, distances in errors.items():
        if limit and min(distances) > limit:
            raise CannotMakeError(
                f"the file was made, and its answers are not the model's: {output!r} is {min(distances):.0%} away from "
                "what the float model gives to the same samples",
                _other(variant),
            )


def _compare(output: str, wanted: NDArray[Any], found: NDArray[Any], scheme: Scheme, variant: Variant) -> None:
    if found.shape != wanted.shape:
        raise CannotMakeError(
            f"the file was made, and gives {output!r} as {list(found.shape)} where the model gives "
            f"{list(wanted.shape)}",
            _other(variant),
        )
    if wanted.dtype.kind == "f" and np.isfinite(wanted).all() and not np.isfinite(found).all():
        half = scheme.weights == "float16"
        raise CannotMakeError(
            f"the file was made, and answers with NaN or infinity in {output!r}, where the model does not"
            + (": some weights or activations are beyond 65,504, float16's largest number" if half else ""),
            Remedy((f"{variant.format}:float32", f"{variant.format}:dynamic")) if half else _other(variant),
        )


def _distance(wanted: NDArray[Any], found: NDArray[Any]) -> float:
    size = float(np.linalg.norm(wanted.astype(np.float64)))
    return float(np.linalg.norm(wanted.astype(np.float64) - found)) / max(size, 1e-6)


def _other(variant: Variant) -> Remedy:
    other = "tflite" if variant.format == "onnx" else "onnx"
    here = () if variant.scheme_name == "float32" else (f"{variant.format}:float32",)
    return Remedy((*here, f"{other}:float32"), also=("report it with the model: this is a defect of the conversion",))


@lru_cache(maxsize=2)
def answered(saved_model: Path, sha256: str, low: float, high: float) -> tuple[_Answered, ...]:
    """Return two samples for the SavedModel, whose hash is `sha256`, with its answers; all its files share them.

    Floats are drawn from [`low`, `high`], the range of pixels.
    """
    import tensorflow as tf

    del sha256  # part of the key: a folder's content may change
    with as_written(tf):
        return tuple(_answers(tf, tf.saved_model.load(str(saved_model)).signatures["serving_default"], low, high))


def _answers(tf: Any, signature: Any, low: float, high: float) -> Iterator[_Answered]:
    takes = {
        name: (tuple(side or 1 for side in spec.shape), np.dtype(spec.dtype.as_numpy_dtype))
        for name, spec in signature.structured_input_signature[1].items()
    }
    for sample in _drawn(takes, low, high):
        answers = signature(**{name: tf.constant(value) for name, value in sample.items()})
        yield _Answered(sample, {name: tensor.numpy() for name, tensor in answers.items()})


def _drawn(takes: Described, low: float, high: float) -> Iterator[Answers]:
    """Yield two samples: floats from [`low`, `high`], or around 0 where no range is known; whole numbers are 1, which
    every table of tokens has and which no length exceeds."""
    low, high = (low, high) if low < high else (-1.0, 1.0)
    for seed in range(2):
        random = np.random.default_rng(seed)
        yield {
            name: (random.uniform(low, high, shape) if dtype.kind == "f" else np.ones(shape)).astype(dtype)
            for name, (shape, dtype) in takes.items()
        }
