"""A measurement: the figures of one artifact on one target, with their intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from . import bounds
from .artifact import Status
from .bounds import Amount, Count, Finite, Milliseconds, Share
from .class_figures import ClassFigures
from .profile import ProfileSummary

Kind = Literal["measured", "emulated", "estimated"]
RatioVerdict = Literal["faster", "slower", "not distinguishable"]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference of `batch` samples, which is 1 unless a recipe asks for more.

    `median` is the median of the processes' medians; `low` and `high` bound the true median of process medians
    with probability `confidence` (order statistics, no assumption about the distribution). The percentiles are
    over all runs of all processes. For files that take token ids, all of these include tokenization; `tokenize` and
    `infer` are the medians of the two parts. `invoke` is the median of the runtime's work alone and `transfer` that of
    copying the tensors in and out, where a runtime tells them apart. `throughput` is in samples per second. `steady`:
    the warm-up of every process ended because runs no longer got faster; `warmup_runs` is the median of its length.
    """

    median: bounds.Latency
    low: bounds.Latency
    high: bounds.Latency
    confidence: Share
    p90: bounds.Latency
    p95: bounds.Latency
    p99: bounds.Latency
    processes: Count
    runs: Count
    threads: Count
    tokenize: Milliseconds | None = None
    infer: Milliseconds | None = None
    invoke: Milliseconds | None = None
    transfer: Milliseconds | None = None
    batch: Count = 1
    throughput: Finite | None = None
    warmup_runs: Count | None = None
    steady: bool | None = None


@dataclass(frozen=True)
class LatencyRatio:
    """A latency as a ratio of another cell's, the `anchor` (``ARTIFACT@TARGET``), from bursts of the same rounds.

    The interval covers the true ratio with probability `confidence`, however often the data were looked at before the
    measurement stopped. `verdict` says on which side of 1 it lies.
    """

    anchor: str
    ratio: Finite
    low: Finite
    high: Finite
    confidence: Share
    verdict: RatioVerdict


@dataclass(frozen=True)
class Placement:
    """What an accelerator ran: `delegated` of the `operators` that the runtime executes, in `partitions` parts.

    `kept` counts the operators that stayed on the CPU, by name; ``OTHERS`` are those of which the runtime says no more.
    `partitions` is None where the runtime does not say it. `adapter` is the accelerator's name, and `software` whether
    a processor emulates it.
    """

    delegated: Count
    operators: Count
    partitions: Count | None = None
    kept: dict[str, Count] = field(default_factory=dict)
    adapter: str = ""
    software: bool = False

    @property
    def whole(self) -> bool:
        """Whether all operators ran on the accelerator."""
        return self.delegated == self.operators


@dataclass(frozen=True)
class Arena:
    """The memory that a file takes in a microcontroller's interpreter, in bytes: all of its arena.

    `activations` is the part that each run writes anew, `persistent` what the interpreter keeps. `bits` is the width of
    a pointer where it was found: on a chip of 32 bits the second part is smaller.
    """

    bytes: Count
    activations: Count
    persistent: Count
    bits: Count = 64


@dataclass(frozen=True)
class NpuEstimate:
    """What an NPU's compiler estimates of one inference, of the operators on the NPU alone.

    `cycles` at `clock_mhz` are the `milliseconds`. The bytes are those that the file takes of each memory.
    """

    cycles: Count
    milliseconds: Milliseconds
    clock_mhz: Finite
    sram_bytes: Count
    dram_bytes: Count
    flash_bytes: Count
    macs: Count
    accelerator: str
    system_config: str
    memory_mode: str


@dataclass(frozen=True)
class ReferenceMatch:
    """How many of `samples` answers are, bit for bit, those of another runtime's reference kernels.

    `by` is that runtime with its version; `difference` the largest difference of any value.
    """

    by: str
    samples: Count
    identical: Count
    difference: Finite


@dataclass(frozen=True)
class PooledDrop:
    """What a file loses of the metric, over all samples that no choice was based on, with the paired 95 % interval.

    In the metric's unit, of a share in shares; above 0 the file is worse than its float model. `splits` is the number
    of samples by split: ``{"test": 121, "validation": 92}``.
    """

    drop: Amount
    low: Amount | None
    high: Amount | None
    samples: Count
    splits: dict[str, Count] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """A sample of the test split that a file answers badly: what is right and what is answered, in words.

    The scores, from 0 to 1, say how well the file and its float model answer it. `picture` is a drawing of it, relative
    to the run's folder: the sample where it is a picture, then what is right, the float model's and the file's answer,
    as far as these can be drawn. `text` is the beginning of a text.
    """

    sample: Count
    """Position in the test split."""
    score: Share
    right: str
    answer: str
    reference: str = ""
    """What the float model answers; empty where there is none."""
    reference_score: Share | None = None
    picture: str = ""
    text: str = ""


@dataclass(frozen=True)
class Measurement:
    """One cell of the table artifact × target. A failure is a cell too, with `status`, `reason` and `remedy`."""

    artifact: str
    """The artifact's id."""
    target: str
    """Device and runtime, e.g. ``local/litert``."""
    device: str
    """The device's name."""
    runtime: str
    """The runtime's name."""
    runtime_version: str = ""
    """The runtime's version."""
    kind: Kind = "measured"
    """``measured``, ``emulated`` or ``estimated``."""
    status: Status = "ok"
    """If not ``ok``, it was not measured."""
    reason: str = ""
    """Why it was not measured."""
    remedy: str = ""
    """What to do about it."""
    accuracy: Share | None = None
    """The task's `metric`, where that is a share; of a classifier the share of `samples` with a correct answer."""
    accuracy_low: Share | None = None
    """Lower end of its 95 % interval: of a share of samples Wilson's, of other metrics by bootstrap over samples."""
    accuracy_high: Share | None = None
    """Upper end of its 95 % interval."""
    samples: Count = 0
    """Number of samples of the test split that it answered."""
    agreement: Share | None = None
    """Share of answers that equal the float model's."""
    agreement_by: str = ""
    """What `agreement` counts (`tasks.agreement`): whole samples by their top class, or elements of the answers."""
    relative_error: Finite | None = None
    """Instead of `agreement` if answers are numbers: root mean square of the difference, divided by the spread of the
    float model's answers."""
    difference: Finite | None = None
    """Largest absolute difference of any value from the float model's."""
    drop: Amount | None = None
    """What it loses of the metric against its float model, on the same samples: of accuracy the float model's less this
    one. In the metric's unit; above 0 it is worse."""
    drop_low: Amount | None = None
    """Lower end of the drop's paired 95 % interval."""
    drop_high: Amount | None = None
    """Upper end of the drop's paired 95 % interval."""
    pooled_drop: PooledDrop | None = None
    """The drop over more samples, if a run has samples that no choice was based on."""
    by_class: ClassFigures | None = None
    """Recall and precision of each class, what is mistaken for what, how sure the answers are."""
    placement: Placement | None = None
    """What ran on the accelerator, and what on the CPU; None for a runtime of the CPU."""
    npu: NpuEstimate | None = None
    """What the NPU's compiler estimates."""
    arena: Arena | None = None
    """The memory that it takes in a microcontroller's interpreter."""
    reference: ReferenceMatch | None = None
    """How its answers compare with reference kernels, for a runtime whose kernels must equal them."""
    latency_ms: Latency | None = None
    """Latency of one inference, at batch 1 unless the row's target says otherwise."""
    profile: ProfileSummary | None = None
    """Where the time of a run goes, if the recipe asks for it."""
    latency_ratio: LatencyRatio | None = None
    """Latency as a ratio of that of the run's anchor, from bursts of the same rounds."""
    load_ms: Milliseconds | None = None
    """Time to load the file in a fresh process."""
    first_ms: Milliseconds | None = None
    """Time of the first inference of a process."""
    peak_memory_bytes: Count | None = None
    """Peak memory of the process."""
    file_memory_bytes: Count | None = None
    """Peak memory above that of the imported runtime: what the file itself takes."""
    raw: str = ""
    """The file with all single latencies, relative to the run's folder."""
    scores: str = ""
    """The file with the score of each sample, relative to the run's folder; empty where right answers are not known."""
    metric: str = ""
    """What `accuracy` is (`tasks.Task.metric`): ``accuracy``, ``mAP``, ``mean IoU``; or what `score` is: ``MAE``. Empty
    where there is none."""
    score: Amount | None = None
    """The task's metric where that is no share, in its unit: MAE in the targets' own."""
    score_low: Amount | None = None
    """Lower end of its 95 % interval, by bootstrap over samples."""
    score_high: Amount | None = None
    """Upper end of its 95 % interval."""
    metrics: dict[str, Finite] = field(default_factory=dict)
    """The task's further figures by name, such as ``pixel accuracy`` and ``IoU road``."""
    examples: tuple[Example, ...] = ()
    """Of tasks other than classification the samples whose score falls most against the float model; of the float model
    and of files without one those of the lowest scores."""
    measured_at: str = ""
    """Time of the measurement in UTC (ISO 8601)."""
    fingerprint: dict[str, Any] = field(default_factory=dict)
    """Machine and software: latencies are comparable only if they are the same."""

    @property
    def judged_drop(self) -> PooledDrop | None:
        """The drop that a budget is compared with: the pooled one if there is one, since it has more samples."""
        if self.pooled_drop is not None or self.drop is None:
            return self.pooled_drop
        return PooledDrop(self.drop, self.drop_low, self.drop_high, self.samples)
