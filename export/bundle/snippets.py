"""Source code for apps, filled with the file's shapes, types, scales and labels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...core.artifact import Artifact, TensorSpec
from ...core.boxes import BoxReading
from ...core.model import InputContract
from ...core.picture_size import COLOURS
from ...core.sanitize import slug
from .escape import Escaped, environment, number
from .micro import Micro, c_array
from .reading import Reading

# More string constants do not fit into one method of the JVM (64 KiB of byte code), and they would not be read.
MAX_INLINE_LABELS = 2000

_CPP = {"float32": "float", "int8": "std::int8_t", "uint8": "std::uint8_t", "int32": "std::int32_t"}
_WIDTH = {"float32": 4, "int8": 1, "uint8": 1, "int32": 4}
_LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}


@dataclass(frozen=True)
class _Tensor:
    """A tensor for the templates: expressions of `value` (real) and, for outputs, of index `i`."""

    spec: TensorSpec
    name: str
    role: str = ""
    count: int = field(init=False)
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", math.prod(self.spec.shape))
        object.__setattr__(self, "bytes", self.count * _WIDTH[self.spec.dtype])

    @property
    def scale(self) -> float:
        return self.spec.scale or 1.0

    @property
    def zero_point(self) -> int:
        return self.spec.zero_point or 0

    @property
    def cpp_type(self) -> Escaped:
        return Escaped(_CPP[self.spec.dtype])

    @property
    def put_kotlin(self) -> Escaped:
        """The statement that puts `value` into the input's buffer. Math.rint rounds half to even, as we do."""
        if self.spec.dtype == "float32":
            return Escaped(f"{self.name}.putFloat(value)")
        if self.spec.dtype == "int32":
            return Escaped(f"{self.name}.putInt(value{'' if self.role in ('ids', 'lengths') else '.toInt()'})")
        low, high = _LIMITS[self.spec.dtype]
        stored = f"(Math.rint((value / {number(self.scale)}).toDouble()).toInt() + {_signed(self.zero_point)})"
        return Escaped(f"{self.name}.put({stored}.coerceIn({low}, {high}).toByte())")

    @property
    def store_cpp(self) -> Escaped:
        """The expression of the stored value for `value`. std::nearbyint rounds half to even, as we do."""
        if self.spec.dtype not in _LIMITS:
            return Escaped("value" if self.spec.dtype == "float32" else f"static_cast<{self.cpp_type}>(value)")
        low, high = _LIMITS[self.spec.dtype]
        stored = f"std::nearbyint(value / {number(self.scale)}) + {number(self.zero_point)}"
        return Escaped(f"static_cast<{self.cpp_type}>(Clamp({stored}, {number(low)}, {number(high)}))")

    @property
    def get_kotlin(self) -> Escaped:
        if self.spec.dtype == "float32":
            return Escaped("output.getFloat()")
        if self.spec.dtype == "int32":
            return Escaped("output.getInt().toFloat()")
        byte = "output.get().toInt()" + (" and 0xff" if self.spec.dtype == "uint8" else "")
        return Escaped(f"({_kotlin_group(byte)} - {_signed(self.zero_point)}) * {number(self.scale)}")

    @property
    def load_cpp(self) -> Escaped:
        if self.spec.dtype not in _LIMITS:
            return Escaped("static_cast<float>(output[i])")
        return Escaped(f"(output[i] - {_signed(self.zero_point)}) * {number(self.scale)}")


def _signed(value: int) -> str:
    return f"({value})" if value < 0 else str(value)


def _kotlin_group(expression: str) -> str:
    return f"({expression})" if " " in expression else expression


def can_be_written(artifact: Artifact) -> bool:
    """Whether Kotlin and C++ code can be written for a file: fixed shapes, and types that both languages have."""
    tensors = (*artifact.inputs, *artifact.outputs)
    return (
        artifact.format == "tflite"
        and bool(artifact.inputs and artifact.outputs)
        and all(t.dtype in _CPP and all(side > 0 for side in t.shape) for t in tensors)
    )


def render_apps(
    artifact: Artifact, roles: Sequence[str], answer: int, gives: str, reading: Reading, noun: str
) -> dict[str, str]:
    """Return the app's code by file name; `can_be_written` must hold. Raises InputError for bad scales.

    `gives` is what the judged output is (`reading.answer_kind`), `reading` what is decided by it, `noun` what the class
    is called (`Task.noun`).
    """
    context = _context(artifact, roles, answer, gives, reading) | {"noun": Escaped(noun)}
    templates = environment()
    return {
        f"android/{noun}.kt": templates.get_template("app.kt.j2").render(context),
        f"cpp/{noun.lower()}.cc": templates.get_template("app.cc.j2").render(context),
    }


def render_micro(
    artifact: Artifact,
    roles: Sequence[str],
    answer: int,
    gives: str,
    reading: Reading,
    noun: str,
    micro: Micro,
    tflite: bytes,
) -> dict[str, str]:
    """Return a microcontroller's code by file name, with the model's bytes in it."""
    kind = _kind(artifact)
    context = _context(artifact, roles, answer, gives, reading) | {
        "micro": micro,
        "methods": [Escaped(method) for method in micro.methods],
        # A custom operator's name comes from the file: it must not end the comment that it is printed in.
        "missing": [Escaped(re.sub(r"\W", "_", name, flags=re.ASCII)[:80]) for name in micro.missing],
        "micro_sample": Escaped("std::uint8_t" if kind == "image" else "std::int8_t"),
        "micro_name": Escaped("pixels" if kind == "image" else "values"),
        "array": Escaped("\n".join(c_array(tflite))),
        "array_bytes": len(tflite),
    }
    templates = environment()
    names = {
        "model_data.h": "model_data.h",
        "model_data.cc": "model_data.cc",
        f"{noun.lower()}_micro.cc": "app_micro.cc",
    }
    return {
        f"micro/{name}": templates.get_template(f"{template}.j2").render(context) for name, template in names.items()
    }


def _meaning(artifact: Artifact, answer: int, gives: str, reading: Reading) -> str:
    """Return in words what the judged output gives."""
    shape = artifact.outputs[answer].shape
    sides = " x ".join(str(side) for side in shape[1:])
    words = {
        "scores": "Scores by class",
        "tags": f"A value for each tag, yes from {_least(reading)} on",
        "value": "The value that the model gives",
        "picture": f"A picture of {sides} (height, width, channels), row by row",
    }
    if reading.is_map:
        size = f"{shape[1]} x {shape[2]} pixels, row by row"
        words["picture"] = {
            "pixels": f"{reading.classes} values by class for each of {size}",
            "yes": f"A value for each of {size}, the second class from {_least(reading)} on, else the first",
            "numbers": f"The number of the class of each of {size}",
        }[reading.kind]
    elif reading.kind == "yes" and gives == "value":
        words["value"] = {
            1: f"One value for one tag, yes from {_least(reading)} on",
            2: f"One value for two classes: the second class from {_least(reading)} on, else the first",
        }[reading.classes]
    if artifact.boxes is not None:
        words["boxes"] = _boxes(artifact, artifact.boxes)
    meaning = words.get(gives, f"The {math.prod(shape)} values that the model gives")
    several = len(artifact.outputs)
    return meaning + (f"; output {answer} of the file's {several}" if several > 1 else "")


def _least(reading: Reading) -> str:
    """Return in words from which value on it is a yes."""
    return "one half" if reading.threshold else "0 (a logit)"


def _boxes(artifact: Artifact, reading: BoxReading) -> str:
    """Return in words what a detector's outputs give. Their names are the file's, and stay out of a comment."""
    names = [one.name for one in artifact.outputs]
    held = ", ".join(
        f"output {names.index(name)} {role}" for role, name in zip(reading.roles, reading.outputs, strict=True)
    )
    return f"The values of one of a detector's outputs ({held}; a box is {reading.order}): read the others like it"


def _kind(artifact: Artifact) -> str:
    return artifact.contract.kind if artifact.contract else "tensor"


def _by_channel(contract: InputContract) -> dict[str, Any] | None:
    """Return what code needs where channels are treated apart: each one's place in a pixel, step and low.

    None where all are treated alike, in the order of the pixel.
    """
    numbers, channels, planar = contract.by_channel, contract.channels, contract.layout == "NCHW"
    if numbers is None and contract.colour != "BGR" and not planar:
        return None
    steps, lows = numbers or ((contract.scale[0],) * channels, (contract.scale[1],) * channels)
    order = [2, 1, 0] if contract.colour == "BGR" else list(range(channels))
    return {
        "planar": planar,
        "order": Escaped(", ".join(map(str, order))),
        "shifts": Escaped(", ".join(str((16, 8, 0, 24)[place]) for place in order)),
        "steps": Escaped(", ".join(map(number, steps))),
        "lows": Escaped(", ".join(map(number, lows))),
    }


def _context(artifact: Artifact, roles: Sequence[str], answer: int, gives: str, reading: Reading) -> dict[str, Any]:
    contract, kind = artifact.contract, _kind(artifact)
    if kind == "text" and not {*roles} <= {"ids", "lengths"}:
        kind = "tensor"  # ids of several tokenizers: each input is given as it is
    inputs = [
        _Tensor(spec, f"input{index}", role)
        for index, (spec, role) in enumerate(zip(artifact.inputs, roles, strict=True))
    ]
    context: dict[str, Any] = {
        "title": Escaped(f"{slug(artifact.id)}, {artifact.format}:{artifact.scheme}. Made by edgeproof bundle."),
        "kind": kind,
        "inputs": inputs,
        "output": _Tensor(artifact.outputs[answer], "output"),
        "answer": answer,
        "scores": gives == "scores",
        "call": Escaped("classify" if gives == "scores" else "answer"),
        "counted": Escaped("kScores" if gives == "scores" else "kValues"),
        "given": Escaped(_meaning(artifact, answer, gives, reading)),
        "decides": reading.kind,
        "threshold": reading.threshold,
        "tags": reading.kind == "yes" and not reading.is_map and (gives == "tags" or reading.classes == 1),
        "is_map": reading.is_map,
        "classes": reading.classes,
        "map_width": artifact.outputs[answer].shape[2] if reading.is_map else 0,
        "labels": artifact.labels,
        "inline_labels": 0 < len(artifact.labels) <= MAX_INLINE_LABELS,
        "clamps": kind != "text" and any(tensor.spec.dtype in _LIMITS for tensor in inputs),
    }
    if kind == "image" and contract is not None:
        context |= {
            "width": contract.width,
            "height": contract.height,
            "channels": contract.channels,
            "colour": Escaped(COLOURS[contract.channels]),
            "step": contract.scale[0],
            "low": contract.low,
            "several": _by_channel(contract),
        }
    if kind == "text" and contract is not None:
        context["ids_length"] = contract.shape[-1]
    return context
