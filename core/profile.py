"""A profile: where the time of a file on a target goes, operator by operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .artifact import Status
from .bounds import Count, Milliseconds, Share


@dataclass(frozen=True)
class OperatorTime:
    """One operator that the runtime executed, in the order of execution.

    `ms` is the mean over runs without the lowest and the highest tenth, so that a run which something else interrupted
    does not count; `low` and `high` are the quartiles, None where the runtime tells means only. `share` is of the
    sum of all operators.
    """

    position: Count
    """Its place in the order of execution."""
    op: str
    """What it is in the file's graph where that is known (``CONV_2D``), else as the runtime calls it."""
    runtime_op: str
    """What the runtime executed, e.g. ``Convolution (NHWC, QC8) IGEMM``."""
    kernel: str
    """Whose kernel it was: ``xnnpack``, ``builtin`` (the runtime's own), or ONNX Runtime's provider."""
    name: str
    """The tensor that it computes, or the runtime's name."""
    node: Count | None
    """Its position in the file's main graph, if known."""
    ms: Milliseconds
    low: Milliseconds | None
    high: Milliseconds | None
    share: Share
    macs: Count | None = None
    """Multiply-accumulates, computed from shapes; None where they are not known."""
    bytes: Count | None = None
    """Bytes of its inputs, weights and outputs."""


@dataclass(frozen=True)
class KindTime:
    """All operators of one kind and one kernel together; `macs` and `bytes` are None where one of them is not known."""

    op: str
    kernel: str
    count: Count
    ms: Milliseconds
    share: Share
    macs: Count | None = None
    bytes: Count | None = None


@dataclass(frozen=True)
class ProfileSummary:
    """A profile as results.json has it; the whole is in the file at `path`, relative to the run's folder."""

    engine: str = ""
    """What was profiled, in words."""
    runs: Count = 0
    threads: Count = 0
    run_ms: Milliseconds = 0.0
    """Median of whole profiled runs. They are slower than timed ones, and nothing is mixed with those."""
    operators_ms: Milliseconds = 0.0
    """Sum of the operators."""
    kinds: tuple[KindTime, ...] = ()
    """Most time first."""
    findings: tuple[str, ...] = ()
    """Why it takes this long, where the cause is known."""
    path: str = ""
    model_explorer: str = ""
    """What Model Explorer loads as node data; empty where the operators are not known in the file's graph."""
    status: Status = "ok"
    """If not ``ok``, there is no profile."""
    reason: str = ""
    """Why there is none."""
    remedy: str = ""
    """What to do about it."""


@dataclass(frozen=True)
class Profile:
    """Where the time of a file on a target goes."""

    artifact: str
    """The file's id."""
    target: str
    """Device and runtime."""
    runtime_version: str
    """The runtime's version."""
    kind: Literal["measured", "emulated", "estimated"]
    """``measured``, ``emulated`` or ``estimated``."""
    kernels: str
    """Which kernels the runtime says that it uses for the file."""
    engine: str
    """What was profiled, in words."""
    runs: Count
    """Profiled runs."""
    threads: Count
    """Threads of the runtime."""
    samples: str
    """What was fed, in words."""
    run_ms: Milliseconds
    """Median of whole profiled runs, which are slower than timed ones."""
    operators_ms: Milliseconds
    """Sum of the operators."""
    operators: tuple[OperatorTime, ...]
    """Every executed operator, in the order of execution."""
    kinds: tuple[KindTime, ...]
    """Operators of one kind and kernel together, most time first."""
    findings: tuple[str, ...] = ()
    """Why it takes this long, where the cause is known."""
    without_time: Count = 0
    """Operators of the file's graph that have no row: fused into others, or free."""
    fingerprint: dict[str, Any] = field(default_factory=dict)
    """Machine and software."""

    def summary(self, path: str = "", model_explorer: str = "") -> ProfileSummary:
        """Return what results.json has of it; the paths are of its files, relative to the run's folder."""
        return ProfileSummary(
            self.engine, self.runs, self.threads, self.run_ms, self.operators_ms, self.kinds, self.findings, path,
            model_explorer,
        )  # fmt: skip
