"""First run of every file before its status is ok: on synthetic samples, in its own runtime, against its SavedModel.

A converter may silently write a file that its runtime refuses, or that gives another shape or NaN. One or two samples
show that in seconds. Accuracy of quantized files is not judged here: calibration samples and the test split show it.
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
from ..core.sanitize import shorten
from ..core.variant import Scheme, Variant
from ..frameworks.as_written import as_written
from ..frameworks.freeze import signature_of
from .in_process import ENGINES, Answers, Described, litert, litert_inputs


@dataclass(frozen=True)
class _Answered:
    """A sample and the SavedModel's outputs for it."""

    sample: Answers
    answers: Answers


def check(content: bytes, variant: Variant, model: Model) -> None:
    """Run the file `content` of `model` in its runtime. Raises CannotMakeError when it is not usable.

    That is: it does not load or run, lacks an output, gives another shape, gives NaN or infinity where the SavedModel
    does not, or, in float32 and float16, other numbers.
    """
    if ENGINES[variant.format][0].installed:
        _judge(content, variant, answered(model.saved_model, model.sha256, model.input.low, model.input.high))


def check_supplied(content: bytes, variant: Variant, source: bytes, low: float, high: float) -> None:
    """Compare a file with the float ``.tflite`` `source` that it was made from; raise CannotMakeError as `check` does.

    Nothing is checked where LiteRT cannot run `source` itself, because of a custom operator.
    """
    if not ENGINES["tflite"][0].installed:
        return
    try:
        reference = litert(source, usable_cores())
        judged = tuple(_Answered(sample, reference(sample)) for sample in _drawn(litert_inputs(source), low, high))
    except Exception:  # a runtime may refuse a file with anything
        return
    _judge(content, variant, judged)


def _judge(content: bytes, variant: Variant, judged: Sequence[_Answered]) -> None:
    scheme, (runtime, opened) = variant.scheme, ENGINES[variant.format]
    limit = scheme.arithmetic.from_float
    judged = judged if limit else judged[:1]
    try:
        run = opened(content, usable_cores())
        answered = [run(one.sample) for one in judged]
    except Exception as error:  # a runtime may refuse a file with anything
        raise CannotMakeError(
            f"the file was made, but {runtime.title} cannot run it: {shorten(str(error), 300)}", _other(variant)
        ) from error
    errors: dict[str, list[float]] = {}
    for one, answers in zip(judged, answered, strict=True):
        for output, reference in one.answers.items():
            if output not in answers:
                raise CannotMakeError(f"the file was made, but has no output {output!r}", _other(variant))
            _compare(output, reference, answers[output], scheme, variant)
            if limit and reference.dtype.kind == "f" and np.isfinite(reference).all():
                errors.setdefault(output, []).append(_distance(reference, answers[output]))
    for output, distances in errors.items():
        if limit and min(distances) > limit:
            raise CannotMakeError(
                f"the file was made, but its outputs differ from the model's: {output!r} is {min(distances):.0%} away "
                "from the float model's on the same samples",
                _other(variant),
            )


def _compare(output: str, reference: NDArray[Any], values: NDArray[Any], scheme: Scheme, variant: Variant) -> None:
    if values.shape != reference.shape:
        raise CannotMakeError(
            f"the file was made, and gives {output!r} as {list(values.shape)} where the model gives "
            f"{list(reference.shape)}",
            _other(variant),
        )
    if reference.dtype.kind == "f" and np.isfinite(reference).all() and not np.isfinite(values).all():
        half = scheme.weights == "float16"
        raise CannotMakeError(
            f"the file was made, but returns NaN or infinity in {output!r} where the model does not"
            + (": some weights or activations exceed 65,504, the largest float16 number" if half else ""),
            Remedy((f"{variant.format}:float32", f"{variant.format}:dynamic")) if half else _other(variant),
        )


def _distance(reference: NDArray[Any], values: NDArray[Any]) -> float:
    size = float(np.linalg.norm(reference.astype(np.float64)))
    return float(np.linalg.norm(reference.astype(np.float64) - values)) / max(size, 1e-6)


def _other(variant: Variant) -> Remedy:
    other = "tflite" if variant.format == "onnx" else "onnx"
    here = () if variant.scheme_name == "float32" else (f"{variant.format}:float32",)
    return Remedy((*here, f"{other}:float32"), also=("report it with the model: this is a defect of the conversion",))


@lru_cache(maxsize=2)
def answered(saved_model: Path, sha256: str, low: float, high: float) -> tuple[_Answered, ...]:
    """Return two samples with the outputs of the SavedModel, whose hash is `sha256`; all its files share them.

    Floats are drawn from [`low`, `high`], the pixel range.
    """
    import tensorflow as tf

    del sha256  # part of the key: a folder's content may change
    with as_written(tf):
        return tuple(_answers(tf, signature_of(saved_model), low, high))


def _answers(tf: Any, signature: Any, low: float, high: float) -> Iterator[_Answered]:
    takes = {
        name: (tuple(side or 1 for side in spec.shape), np.dtype(spec.dtype.as_numpy_dtype))
        for name, spec in signature.structured_input_signature[1].items()
    }
    for sample in _drawn(takes, low, high):
        answers = signature(**{name: tf.constant(value) for name, value in sample.items()})
        yield _Answered(sample, {name: tensor.numpy() for name, tensor in answers.items()})


def _drawn(takes: Described, low: float, high: float) -> Iterator[Answers]:
    """Yield two samples: floats from [`low`, `high`], or around 0 without a range; integers are 1, which is an id in
    every vocabulary and a valid length."""
    low, high = (low, high) if low < high else (-1.0, 1.0)
    for seed in range(2):
        random = np.random.default_rng(seed)
        yield {
            name: (random.uniform(low, high, shape) if dtype.kind == "f" else np.ones(shape)).astype(dtype)
            for name, (shape, dtype) in takes.items()
        }
