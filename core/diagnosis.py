"""A diagnosis: how a quantized file differs from its float model, tensor by tensor, and the probable causes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from .bounds import Count, Shape, Share

Cause = Literal[
    "outlier-channel", "saturation", "calibration", "preprocessing", "sensitive-layer", "unused-range", "weights", ""
]


@dataclass(frozen=True)
class TensorError:
    """The error of one quantized tensor relative to the float model's, over all samples of the diagnosis.

    `kind` is ``activation`` (an operator's output), ``weight`` or ``input``. `operator` computes the tensor (or uses
    it, for weights); `position` is its place in the graph, -1 for an input stored as integers. `snr_db` is the power of
    the float values over that of the difference, in decibels. `own_snr_db` is the same for the operator's own error:
    both operators read the quantized file's values. `answer_snr_db` is the SNR of the model's answer with this own
    error alone, everything else exact; `share` is the tensor's error share: its part of the sum of these errors over
    all tensors, by which they are ranked.
    `cosine` is the cosine of the angle between both tensors. `saturated` is the share of float values outside of the
    representable range, `range_use` the share of that range that the float values span. `channel` is the worst channel,
    `channel_ratio` the largest channel's range over the median channel's. `cause` and `why` are the probable cause and
    its figures. A figure that does not apply is None.
    """

    name: str
    kind: Literal["activation", "weight", "input"]
    operator: str
    position: Annotated[int, Field(ge=-1, lt=2**53)]
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
class Finding:
    """A probable cause of the file's loss: an explanation, a remedy, and the tensors that show it."""

    cause: Cause
    why: str
    remedy: str
    tensors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """The diagnosis of one quantized file.

    `tensors` are ranked by error share, the largest first. `suspicions` are the ranked findings; without any, the file
    is as accurate as its scheme allows. `samples` (from `source`) were run through both files; `agreement` is the share
    of them with the same top class. `engine` names the runtime and its kernels.
    """

    artifact: str
    """The file's id."""
    sha256: str
    """Of the file."""
    reference: str
    """The float file that it was compared with."""
    source: str
    samples: Count
    agreement: Share | None
    tensors: tuple[TensorError, ...]
    suspicions: tuple[Finding, ...]
    engine: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    """How it was compared: operators and tensors that were matched, the answer, the seed."""
