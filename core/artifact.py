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
    """One exported file. `status` other than ``ok`` means there is no usable file, and `reason` says why.

    `answer` names the output that is judged (empty: the first). A file that takes token ids has a `tokenizer`: the
    folder that makes them, in the sidecar relative to the file.

    `compressed_bytes` is what the file takes in a store's download (deflate). `training` is the model's `tuning` where
    it went through further training. `alternatives` are the files that other makers made of the same scheme and that
    measured worse: {``made_by``, ``bytes``, ``agreement``, ``latency_ms``, ``status``, ``why``}. `trade` are the steps
    of a searched scheme, the first with nothing kept: {``kept`` (layers), ``keep``, ``bytes``, ``drop``, ``drop_low``,
    ``drop_high``, ``samples``, ``samples_of`` (of which splits, in words), ``latency_ms`` (as results.json has it),
    ``chosen``}. `delegates` say what accelerators would not take: {``delegate``, ``takes``, ``total``, ``refuses``
    [{``op``, ``count``, ``why``}]}. `workaround` says what was changed for which runtime, and its price against the
    plain file. `storage` counts, for a quantized file, what its weights are stored in and what computes in float
    (`export.storage`). `calibration` says which samples set the ranges and by which method; ``float_agreement`` how far
    the answers are from the float model's on some of them (``samples``, ``error`` as a part of the answers' spread,
    ``agreement`` of top classes, and a ``warning`` where that is far), ``methods`` the same of every method that was
    tried. `origin` says what the model is, for remedies. `chosen_on` is how many validation samples, in the order of
    trials, were looked at before this file was taken and not another one.
    """

    id: str
    model: str
    format: str
    scheme: str
    path: Path | None
    status: Status = "ok"
    reason: str = ""
    remedy: str = ""
    sha256: str = ""
    bytes: Count = 0
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    labels: tuple[str, ...] = ()
    contract: InputContract | None = None
    ops: tuple[Operator, ...] = ()
    min_runtime: str = ""
    parent_sha256: str = ""
    seconds: Seconds = 0.0
    made_by: str = ""
    calibration: dict[str, Any] = field(default_factory=dict)
    loads: dict[str, str] = field(default_factory=dict)
    answer: str = ""
    tokenizer: Path | None = None
    tokenizer_sha256: str = ""
    compressed_bytes: Count = 0
    training: dict[str, Any] = field(default_factory=dict)
    alternatives: tuple[dict[str, Any], ...] = ()
    trade: tuple[dict[str, Any], ...] = ()
    delegates: tuple[dict[str, Any], ...] = ()
    workaround: dict[str, Any] = field(default_factory=dict)
    storage: dict[str, Any] = field(default_factory=dict)
    origin: Origin = ""
    chosen_on: Count = 0

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
