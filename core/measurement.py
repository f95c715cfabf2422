"""A measurement: what one artifact did on one target, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from . import bounds
from .artifact import Status
from .bounds import Count, Drop, Finite, Milliseconds, Share

Kind = Literal["measured", "emulated", "estimated"]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference at batch 1.

    `median` is the median of the processes' medians; `low` and `high` bound the true median of process medians
    with probability `confidence` (order statistics, no assumption about the distribution). The percentiles are
    over all runs of all processes. For files that take token ids all of this is the total from the text on;
    `tokenize` and `infer` are the medians of its two parts.
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


@dataclass(frozen=True)
class PooledDrop:
    """Float accuracy minus a file's, over all samples that chose neither, with the paired 95 % interval.

    `splits` says how many of the `samples` are of which split: ``{"test": 121, "validation": 92}``.
    """

    drop: Drop
    low: Drop | None
    high: Drop | None
    samples: Count
    splits: dict[str, Count] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """One cell of the table artifact × target. A failure is a cell too: `status`, `reason`, `remedy`.

    `accuracy` is the share of `samples` answered rightly, with its 95 % Wilson interval. `agreement` is the share of
    answers that are the float model's; `agreement_by` says what is counted (`tasks.agreement`): whole samples by their
    top class, or elements of the answers. Answers that are numbers have none, and `relative_error` instead: the root
    mean square of the difference over the spread of the float model's answers. `difference` is the largest absolute
    difference of any value. `drop` is float accuracy minus this accuracy on the same samples, with its paired 95 %
    interval; `pooled_drop` is the same over more samples, where a run has some that chose nothing. `raw` names the file
    with every single latency, relative to the run's folder.
    """

    artifact: str
    target: str
    device: str
    runtime: str
    runtime_version: str = ""
    kind: Kind = "measured"
    status: Status = "ok"
    reason: str = ""
    remedy: str = ""
    accuracy: Share | None = None
    accuracy_low: Share | None = None
    accuracy_high: Share | None = None
    samples: Count = 0
    agreement: Share | None = None
    agreement_by: str = ""
    relative_error: Finite | None = None
    difference: Finite | None = None
    drop: Drop | None = None
    drop_low: Drop | None = None
    drop_high: Drop | None = None
    pooled_drop: PooledDrop | None = None
    latency_ms: Latency | None = None
    load_ms: Milliseconds | None = None
    first_ms: Milliseconds | None = None
    peak_memory_bytes: Count | None = None
    raw: str = ""
    measured_at: str = ""
    fingerprint: dict[str, Any] = field(default_factory=dict)

    @property
    def judged_drop(self) -> PooledDrop | None:
        """The drop that a budget judges: the pooled one where there is one, since more samples show more."""
        if self.pooled_drop is not None or self.drop is None:
            return self.pooled_drop
        return PooledDrop(self.drop, self.drop_low, self.drop_high, self.samples)
