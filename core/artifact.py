"""An artifact: one exported file and the content of its sidecar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

from .bounds import LATER, Count, Finite, Seconds, Shape
from .boxes import BoxReading
from .model import InputContract
from .remedies import Origin
from .sanitize import checked_name, slug
from .variant import SCHEMES, SUFFIX, X86_SUMS, Variant

Status = Literal["ok", "unsupported", "failed", "crashed", "timeout", "skipped"]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output. If quantized, it has `scale` and `zero_point`: value = scale × (stored - zero_point)."""

    name: str
    shape: Shape
    dtype: str
    scale: Finite | None = None
    zero_point: int | None = None


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Output = TypeVar("Output", bound=_Named)


@dataclass(frozen=True)
class Operator:
    """An operator of the file, the version that the file requires, and how often it occurs in the graph.

    `min_runtime` is the oldest TensorFlow Lite with this version, e.g. ``2.17.0``; empty if unknown. `custom` operators
    are in no version of TensorFlow Lite: they must be added when the runtime is built.
    """

    name: str
    version: Count
    count: Count
    min_runtime: str = ""
    custom: bool = False


@dataclass(frozen=True)
class Artifact:
    """One exported file, or the reason why there is none."""

    id: str
    """Names its row and its files: ``MODEL--FORMAT-SCHEME``."""
    model: str
    """The model's name."""
    format: str
    """``savedmodel``, ``tflite`` or ``onnx``."""
    scheme: str
    """How numbers are stored, e.g. ``int8``."""
    path: Path | None
    """The file, or None if there is none. In results.json it is relative to the run's folder."""
    status: Status = "ok"
    """If not ``ok``, there is no usable file."""
    reason: str = ""
    """Why there is no usable file."""
    remedy: str = ""
    """What to do about it."""
    sha256: str = ""
    """Hash of the file's bytes."""
    bytes: Count = 0
    """Size of the file."""
    inputs: tuple[TensorSpec, ...] = ()
    """The file's inputs, in its order."""
    outputs: tuple[TensorSpec, ...] = ()
    """The file's outputs, in its order."""
    labels: tuple[str, ...] = ()
    """The classes, in the order of the output; empty if unknown."""
    contract: InputContract | None = None
    """The meaning of the input, and how samples are converted to it."""
    ops: tuple[Operator, ...] = ()
    """The operators, with their versions."""
    min_runtime: str = ""
    """The oldest runtime that has all of the operators, e.g. ``tflite 2.17.0``; empty if unknown."""
    parent_sha256: str = ""
    """The `sha256` of the model that the file was made from."""
    seconds: Seconds = 0.0
    """The time it took to make the file."""
    made_by: str = ""
    """The tool that made it."""
    calibration: dict[str, Any] = field(default_factory=dict)
    """The samples that set the ranges, and the method.

    ``float_agreement`` compares the file's answers with the float model's on some of the samples: ``samples``,
    ``error`` as a share of the answers' spread (of a detector the share of boxes that differ), ``agreement`` of top
    classes, and a ``warning`` if the difference is large. ``methods`` holds the same figures for every method that was
    tried.
    """
    loads: dict[str, str] = field(default_factory=dict)
    """Whether the file loads: a status by target."""
    answer: str = ""
    """The output that is evaluated; empty: the first."""
    boxes: BoxReading | None = None
    """Of a detector: how its outputs are read as boxes. Several of them may be judged."""
    tokenizer: Path | None = None
    """For a file that takes token ids: the tokenizer's folder, in the sidecar relative to the file."""
    tokenizer_sha256: str = ""
    """Hash of the tokenizer's files."""
    compressed_bytes: Count = 0
    """Size of the file after compression (deflate), as in an app store's download."""
    training: dict[str, Any] = field(default_factory=dict)
    """The model's `tuning`, if it was trained further."""
    alternatives: tuple[dict[str, Any], ...] = ()
    """The files of the same scheme that other tools made and that measured worse.

    Each has ``made_by``, ``bytes``, ``agreement``, ``latency_ms``, ``status`` and ``why``.
    """
    trade: tuple[dict[str, Any], ...] = ()
    """The steps of a searched scheme, the first with no layer in higher precision.

    Each has ``kept`` (layers), ``keep``, ``bytes``, ``drop``, ``drop_low``, ``drop_high``, ``samples``, ``samples_of``
    (the splits, in words), ``latency_ms`` (as in results.json) and ``chosen``.
    """
    delegates: tuple[dict[str, Any], ...] = ()
    """Operators that delegates refuse: ``delegate``, ``takes``, ``total``, ``refuses`` (``op``, ``count``, ``why``)."""
    workaround: dict[str, Any] = field(default_factory=dict)
    """The change made for an old runtime, and its cost compared with the unchanged file."""
    storage: dict[str, Any] = field(default_factory=dict)
    """For a quantized file: how its weights are stored, and which operators compute in float (`tflite.storage`)."""
    origin: Origin = ""
    """The model's origin (``trained``, ``external`` or ``tflite``), for remedies."""
    chosen_on: Count = 0
    """Number of validation samples, in the order of trials, that the choice of this file was based on."""
    task: Annotated[str, LATER] = ""
    """The task other than classification that the model was trained for here; empty: classification, or not known."""
    signed_sums: Annotated[bool, LATER] = False
    """Of an .onnx file of another make: it sums products of 8-bit integers with signed weights (`variant.X86_SUMS`)."""

    def __post_init__(self) -> None:
        """Raise InputError unless `id`, which names files, is a plain file name."""
        checked_name(self.id, "the artifact's id")

    @property
    def variant(self) -> Variant:
        """Format and scheme."""
        return Variant(self.format, self.scheme)

    @property
    def caution(self) -> str:
        """What an app has to do for the file to answer as it was measured; empty: nothing."""
        if not self.made_by:  # of another make: its operators and weights say it
            return X86_SUMS if self.signed_sums else ""
        scheme = SCHEMES.get(self.format, {}).get(self.scheme)  # None for a scheme of another version of Edgeproof
        return scheme.caution if scheme else ""

    def failed(self, status: Status, reason: str, remedy: str = "") -> Artifact:
        """Return this artifact as a row without a usable file, with the reason."""
        return replace(self, path=None, status=status, reason=reason, remedy=remedy)


def judged_output(outputs: Sequence[Output], answer: str) -> Output | None:
    """Return the one of several outputs that is evaluated: that of the name `answer`, else the first; None of none."""
    return next((one for one in outputs if one.name == answer), outputs[0] if outputs else None)


def artifact_id(model: str, variant: Variant) -> str:
    """Return ``MODEL--FORMAT-SCHEME``, safe as a file name."""
    return f"{slug(model)}--{variant.format}-{variant.scheme_name}"


def file_name(model: str, variant: Variant) -> str:
    """Return the name of the artifact's file."""
    return artifact_id(model, variant) + SUFFIX[variant.format]
