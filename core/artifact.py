"""An artifact: one exported file and what its sidecar says of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from .bounds import Count, Finite, Seconds, Shape
from .model import InputContract
from .remedies import Origin
from .sanitize import checked_name, slug
from .variant import SUFFIX, Variant

Status = Literal["ok", "unsupported", "failed", "crashed", "timeout", "skipped"]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output. `scale` and `zero_point` (value = scale × (stored - zero_point)) where it is quantized."""

    name: str
    shape: Shape
    dtype: str
    scale: Finite | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Operator:
    """An operator of the file, the version that the file asks for, and how often it stands in the graph.

    `min_runtime` is the oldest TensorFlow Lite that has this version, e.g. ``2.17.0``; empty where it is not known.
    `custom` operators are in no version of TensorFlow Lite: who builds the runtime adds them.
    """

    name: str
    version: Count
    count: Count
    min_runtime: str = ""
    custom: bool = False


@dataclass(frozen=True)
class Artifact:
    """One exported file, or why there is none."""

    id: str
    """Names its row and its files: ``MODEL--FORMAT-SCHEME``."""
    model: str
    """The model's name."""
    format: str
    """``savedmodel``, ``tflite`` or ``onnx``."""
    scheme: str
    """How numbers are stored, e.g. ``int8``."""
    path: Path | None
    """The file; None where there is none. In results.json it is relative to the run's folder."""
    status: Status = "ok"
    """Other than ``ok``: there is no usable file."""
    reason: str = ""
    """Why there is no usable file."""
    remedy: str = ""
    """What to do about it."""
    sha256: str = ""
    """Of the file's bytes."""
    bytes: Count = 0
    """Size of the file."""
    inputs: tuple[TensorSpec, ...] = ()
    """The file's inputs, in its order."""
    outputs: tuple[TensorSpec, ...] = ()
    """The file's outputs, in its order."""
    labels: tuple[str, ...] = ()
    """The classes, in the order of the output; empty where they are not known."""
    contract: InputContract | None = None
    """What the input means, and how samples become it."""
    ops: tuple[Operator, ...] = ()
    """The operators, with their versions."""
    min_runtime: str = ""
    """The oldest runtime that has all of the operators, e.g. ``tflite 2.17.0``; empty where it is not known."""
    parent_sha256: str = ""
    """The `sha256` of the model that the file was made from."""
    seconds: Seconds = 0.0
    """What making it took."""
    made_by: str = ""
    """The tool that made it."""
    calibration: dict[str, Any] = field(default_factory=dict)
    """Which samples set the ranges, and by which method.

    ``float_agreement`` says how far the answers are from the float model's on some of them: ``samples``, ``error`` as a
    part of the answers' spread, ``agreement`` of top classes, and a ``warning`` where that is far. ``methods`` has the
    same of every method that was tried.
    """
    loads: dict[str, str] = field(default_factory=dict)
    """Whether it loads: a status by target."""
    answer: str = ""
    """The output that is judged; empty: the first."""
    tokenizer: Path | None = None
    """Of a file that takes token ids: the folder that makes them, in the sidecar relative to the file."""
    tokenizer_sha256: str = ""
    """Of the tokenizer's files."""
    compressed_bytes: Count = 0
    """What the file takes in a store's download (deflate)."""
    training: dict[str, Any] = field(default_factory=dict)
    """The model's `tuning`, where it went through further training."""
    alternatives: tuple[dict[str, Any], ...] = ()
    """The files that other tools made of the same scheme and that measured worse.

    Each has ``made_by``, ``bytes``, ``agreement``, ``latency_ms``, ``status`` and ``why``.
    """
    trade: tuple[dict[str, Any], ...] = ()
    """The steps of a searched scheme, the first with nothing kept.

    Each has ``kept`` (layers), ``keep``, ``bytes``, ``drop``, ``drop_low``, ``drop_high``, ``samples``, ``samples_of``
    (of which splits, in words), ``latency_ms`` (as results.json has it) and ``chosen``.
    """
    delegates: tuple[dict[str, Any], ...] = ()
    """What accelerators refuse: ``delegate``, ``takes``, ``total``, ``refuses`` (``op``, ``count``, ``why``)."""
    workaround: dict[str, Any] = field(default_factory=dict)
    """What was changed for which runtime, and its cost against the plain file."""
    storage: dict[str, Any] = field(default_factory=dict)
    """Of a quantized file: what its weights are stored in, and what computes in float (`export.storage`)."""
    origin: Origin = ""
    """What the model is (``trained``, ``external`` or ``tflite``), for remedies."""
    chosen_on: Count = 0
    """How many validation samples, in the order of trials, were looked at before it was taken and not another file."""

    def __post_init__(self) -> None:
        """Raise InputError unless `id`, by which files are called, is a plain name."""
        checked_name(self.id, "the artifact's id")

    @property
    def variant(self) -> Variant:
        """Format and scheme."""
        return Variant(self.format, self.scheme)

    def failed(self, status: Status, reason: str, remedy: str = "") -> Artifact:
        """Return this artifact as a row that says why there is no usable file."""
        return replace(self, path=None, status=status, reason=reason, remedy=remedy)


def artifact_id(model: str, variant: Variant) -> str:
    """Return ``MODEL--FORMAT-SCHEME``, safe as a file name."""
    return f"{slug(model)}--{variant.format}-{variant.scheme_name}"


def file_name(model: str, variant: Variant) -> str:
    """Return the name of the artifact's file."""
    return artifact_id(model, variant) + SUFFIX[variant.format]
