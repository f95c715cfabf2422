"""A finished module as a backbone of waveforms: which input and output it has, and its features.

A module takes (samples,) without a batch, as YAMNet does, or (batch, samples), or (batch, samples, 1). Of what it
returns one output is taken: a vector, or one for each frame, whose mean is the feature vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import EdgeproofError, InputError
from ...core.progress import Listener
from ...core.recipe import ModelSpec
from ...core.sanitize import shorten
from ...frameworks.tensorflow import load
from ..hub.module import DEFAULT_V1, check_output, outputs_of

UNSTEADY = 1e-4  # of the largest feature; parallel kernels differ in the last bits only
_VECTORS = (DEFAULT_V1, "embeddings", "embedding")
_FORMS = ("(samples,)", "(batch, samples)", "(batch, samples, 1)")

# What a module is called with, by the form of its input: tensors by name, or one.
Call = Callable[[Any], Any]


@dataclass(frozen=True)
class SoundRequest:
    """What a module is built for: waveforms (N, samples) float32 from −1 to 1 at `rate` Hz, on which it is tried.

    `folder` is the recipe's, where relative paths start.
    """

    folder: Path
    samples: NDArray[Any]
    rate: int
    listener: Listener


@dataclass(frozen=True)
class SoundBase:
    """A module without a head: `apply` maps a waveform (1, samples) float32 to its features (1, `features`) float32."""

    apply: Callable[[Any], Any]
    samples: int
    features: int
    facts: dict[str, Any] = field(default_factory=dict)


def base_of(spec: ModelSpec, call: Call, request: SoundRequest, *, singular: bool = False) -> SoundBase:
    """Return the module behind `call`, tried on real waveforms. `singular`: it takes a channel too.

    Raises InputError where it cannot be called with such waveforms, where its output is none of the above, and where it
    answers differently each time.
    """
    tf, _ = load()
    where, length = f"model {spec.name!r}", request.samples.shape[1]
    some = [tf.constant(one) for one in request.samples[:2]]
    form, result = _tried(call, some[0], where, length, request.rate, forms=_FORMS[2:] if singular else _FORMS[:2])
    name, others = _chosen(outputs_of(result), spec, where)
    batched = form != _FORMS[0]

    def answer(wave: Any) -> Any:
        output = outputs_of(call(_shaped(wave, form)))[name]
        return tf.cast(output[0] if batched else output, tf.float32)

    frames = _check_frames(np.asarray(answer(some[0])), name, where, length, request.rate)

    def apply(waves: Any) -> Any:
        found = answer(tf.reshape(waves, [length]))
        return tf.reduce_mean(tf.reshape(found, [-1, frames.shape[-1]]), axis=0, keepdims=True)

    _check_steady([np.asarray(apply(one)) for one in (some[-1], some[-1])], where)
    taken = f"the output {name!r} of {others + 1}" if others else "its output"
    over = f", the mean of {len(frames)} frames" if frames.ndim == 2 else ""
    request.listener.note(
        "info", f"{where}: it takes {form} at {request.rate:,} Hz; its features are {taken}: {frames.shape[-1]} "
        f"numbers{over}"
    )  # fmt: skip
    facts = {"taken": name if others else "", "form": form, "frames": len(frames) if frames.ndim == 2 else 1}
    return SoundBase(apply, length, int(frames.shape[-1]), {**facts, "sample_rate": request.rate})


def _shaped(wave: Any, form: str) -> Any:
    """Return a waveform (samples,) as a module of that form takes it."""
    if form == _FORMS[0]:
        return wave
    return wave[None] if form == _FORMS[1] else wave[None, :, None]


def _tried(
    call: Call, wave: Any, where: str, length: int, rate: int, *, forms: tuple[str, ...]
) -> tuple[str, Any]:  # fmt: skip
    """Return the form of the input with which the module can be called, and what it then returns."""
    reason = ""
    for form in forms:
        try:
            return form, call(_shaped(wave, form))
        except EdgeproofError:
            raise
        except Exception as error:  # TensorFlow may raise any exception
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = reason or shorten(lines[0] if lines else type(error).__name__, 300)
    raise InputError(
        f"{where}: the module cannot be called with a waveform of {length:,} samples ({length / rate:g} s at {rate:,} "
        f"Hz), as {' or '.join(forms)} float32: {reason}",
        "say what its own description does: data.sample_rate, data.window_seconds, and the model's signature and "
        "arguments",
    )


def _chosen(outputs: Mapping[str, Any], spec: ModelSpec, where: str) -> tuple[str, int]:
    """Return the name of the output that is taken, and the number of others."""
    name = spec.output or next((one for one in _VECTORS if one in outputs), "")
    if not name and _as_yamnet(outputs):
        name = "1"
    if name or len(outputs) != 1:
        check_output(name, list(outputs), where)
    return name or next(iter(outputs)), len(outputs) - 1


def _as_yamnet(outputs: Mapping[str, Any]) -> bool:
    """Whether a module returns scores (T, classes), embeddings (T, features) and a spectrogram of more frames, unnamed.

    That is what https://www.kaggle.com/models/google/yamnet says of YAMNet.
    """
    shapes = [tuple(one.shape) for one in outputs.values()]
    return list(outputs) == ["0", "1", "2"] and all(len(one) == 2 for one in shapes) and (
        shapes[0][0] == shapes[1][0] < shapes[2][0]
    )  # fmt: skip


def _check_frames(found: NDArray[Any], name: str, where: str, length: int, rate: int) -> NDArray[Any]:
    """Return one waveform's answer (features,) or (frames, features). Raises InputError for another."""
    if found.ndim == 2 and not len(found):
        raise InputError(
            f"{where}: the module gives no frame for {length:,} samples ({length / rate:g} s at {rate:,} Hz)",
            "give longer windows: data.window_seconds (YAMNet needs 0.975)",
        )
    if found.ndim not in (1, 2) or not found.size:
        raise InputError(
            f"{where}: the module's output {name!r} has the shape {found.shape} for one waveform; expected (features,) "
            "or (frames, features)",
            "choose another output with output = '…', or another module",
        )
    if not np.isfinite(found).all():
        raise InputError(
            f"{where}: the module's output {name!r} is not finite on a real waveform", "check data.sample_rate"
        )
    return found


def _check_steady(answers: list[NDArray[Any]], where: str) -> None:
    first, second = answers
    if not np.allclose(first, second, rtol=UNSTEADY, atol=UNSTEADY * float(np.abs(first).max(initial=0.0))):
        raise InputError(
            f"{where}: the module answers differently each time: it draws random numbers during inference",
            "save it again for inference (training=False), without augmentation layers",
        )
