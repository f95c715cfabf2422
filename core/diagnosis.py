"""A diagnosis: where a quantized file departs from its float model, tensor by tensor, and the suspected causes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .bounds import Count, Shape, Share

Cause = Literal[
    "outlier-channel", "saturation", "calibration", "preprocessing", "sensitive-layer", "unused-range", "weights", ""
]


@dataclass(frozen=True)
class TensorError:
    """How far one quantized tensor is from the float model's, over all samples of the diagnosis.

    `kind` is ``activation`` (what the operator gives), ``weight`` or ``input``. `operator` is what makes (or uses, for
    weights) the tensor, and `position` its place in the graph. `snr_db` is the power of the float values over that of
    the difference, in decibels; `own_snr_db` the same for what this operator adds, when its inputs are the file's own.
    `answer_snr_db` is what that addition alone does to the model's answer, were all the rest exact, and `share` its
    part of all such damage: the order of guilt.
    `cosine` is the cosine of the angle between both. `saturated` is the share of float values outside of what the
    scale can hold, `range_use` the share of the representable range that the float values span. `channel` is the
    worst channel and `channel_ratio` the largest channel's range over the median channel's. `cause` and `why` are
    the suspicion and the figures that it rests on. A figure that does not apply is None.
    """

    name: str
    kind: Literal["activation", "weight", "input"]
    operator: str
    position: Count
    shape: Shape
    dtype: str
    snr_db: float | None = None
    own_snr_db: float | None = None
    answer_snr_db: float | None = None
    share: float | None = None
    cosine: float | None = None
    saturated: float | None = None
    range_use: float | None = None
    float_low: float | None = None
    float_high: float | None = None
    low: float | None = None
    high: float | None = None
    channel: int | None = None
    channel_ratio: float | None = None
    cause: Cause = ""
    why: str = ""


@dataclass(frozen=True)
class Suspicion:
    """A suspected cause of the whole file's loss: in words, with what to do, and the tensors it rests on."""

    cause: Cause
    why: str
    remedy: str
    tensors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about one quantized file.

    `tensors` are ranked, the one suspected most first. `suspicions` are ranked too; none means that the file is as
    near its float model as its scheme can be. `samples` (from `source`) went through both; `agreement` is the share
    of them on which the top class is the same. `engine` says which kernels ran it.
    """

    artifact: str
    sha256: str
    reference: str
    source: str
    samples: Count
    agreement: Share | None
    tensors: tuple[TensorError, ...]
    suspicions: tuple[Suspicion, ...]
    engine: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
