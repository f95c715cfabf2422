"""Validates the parts of results.json that are plain dictionaries in memory.

Only the keys that the report, the comparison of runs and the bundle rely on are listed; other keys pass unchecked.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .bounds import Amount, Count, Drop, Finite, Milliseconds, Seconds, Shape, Share
from .codec import explain
from .errors import InputError

Ratio = Milliseconds  # a positive figure without a unit, of the same size


class _Row(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, protected_namespaces=())


class _Run(_Row):
    name: str | None = None


class _Data(_Row):
    source: str | None = None
    counts: dict[str, Count] = {}
    report: dict[str, Any] = {}
    sha256: str | None = None


class _Input(_Row):
    name: str | None = None
    kind: str | None = None
    dtype: str | None = None
    # Not strict: JSON has lists, not tuples. The items are checked in the same way.
    shape: Shape | None = Field(None, strict=False)
    low: Finite | None = None
    high: Finite | None = None


class _Repeat(_Row):
    seed: int | None = None
    accuracy: Share | None = None
    train_seconds: Seconds | None = None
    samples: Count | None = None


class _Model(_Row):
    name: str
    backbone: str | None = None
    status: str | None = None
    reason: str | None = None
    remedy: str | None = None
    labels: list[str] = []
    input: _Input | None = None
    train_seconds: Seconds | None = None
    accuracy: Share | None = None
    samples: Count | None = None
    metrics: dict[str, Any] = {}
    history: list[dict[str, Any]] | None = None
    provenance: dict[str, Any] = {}
    answer: str | None = None
    tokenizer: dict[str, Any] | None = None
    repeats: list[_Repeat] | None = None


class _Budget(_Row):
    asked: dict[str, str | bool | int | Finite | list[str]] = {}
    met: bool | None = None


class _Cell(_Row):
    artifact: str | None = None
    target: str | None = None
    why: str | None = None


class _Choice(_Cell):
    fits: list[_Cell] = []
    rejected: list[_Cell] = []
    beaten: list[_Cell] = []
    pareto: list[_Cell] = []


class _Recommendation(_Choice):
    targets: list[_Choice] = []


class _Difference(_Row):
    difference: Amount
    low: Amount
    high: Amount
    p: Share | None = None
    p_holm: Share | None = None


class _Seed(_Row):
    seed: int
    difference: Drop
    low: Drop
    high: Drop
    p: Share | None = None


class _Accuracies(_Row):
    mean: Amount
    low: Amount
    high: Amount
    spread: Share | None = None
    seeds: list[int]


class _Change(_Row):
    estimate: Ratio
    low: Ratio
    high: Ratio
    verdict: str


class _TargetPair(_Row):
    target: str
    file_a: str | None = None
    file_b: str | None = None
    latency_ratio: _Change | None
    size_ratio: Ratio | None


class _Pair(_Row):
    a: str
    b: str
    verdict: str
    sentence: str
    difference: _Difference | None = None
    first: _Difference | None = None
    accuracy_a: _Accuracies | None = None
    accuracy_b: _Accuracies | None = None
    samples: Count | None = None
    by_seed: list[_Seed] = []
    targets: list[_TargetPair] = []


class _Diagnosis(_Row):
    artifact: str
    path: str | None = None
    source: str | None = None
    samples: Count | None = None
    agreement: Share | None = None
    suspicions: list[dict[str, Any]] = []
    worst: list[dict[str, Any]] = []
    tensors: list[dict[str, Any]] = []


class _Ratio(_Row):
    anchor: str
    ratio: Ratio
    low: Finite
    high: Finite
    verdict: str


class _Bench(_Row):
    anchor: str
    copy_: _Ratio | None = Field(None, alias="copy")
    told_apart: Finite | None = None
    resolution: Share
    seconds: Seconds
    blocks: Count
    certain: bool
    disturbances: list[str] = []


class _DifferingSample(_Row):
    sample: Count
    difference: Finite
    class_: Count | None = Field(None, alias="class")
    class_against: Count | None = None


class _DeviceDifference(_Row):
    artifact: str
    runtime: str
    target: str
    against: str
    samples: Count
    identical: Count
    largest: Finite
    classes_changed: Count | None
    listed: list[_DifferingSample] = []


class _Minute(_Row):
    runs: Count
    median_ms: Finite
    p95_ms: Finite
    celsius: Finite | None = None
    mhz: Finite | None = None


class _Sustained(_Row):
    artifact: str
    target: str
    kind: str
    status: str
    reason: str = ""
    by_minute: list[_Minute] = []


class _FleetCell(_Row):
    artifact: str
    device: str
    target: str
    kind: str
    verdict: str


class _WorstAccuracy(_Row):
    figure: str
    device: str
    target: str
    value: Finite
    against: str
    against_target: str
    against_value: Finite
    difference: Finite
    low: Finite | None
    high: Finite | None
    confidence: Share
    verdict: str


class _WorstLatency(_Row):
    device: str
    target: str
    p95_ms: Finite
    limit_ms: Finite
    times_limit: Finite
    low: Finite | None
    high: Finite | None
    verdict: str
    also: list[str]


class _Worst(_Row):
    artifact: str
    accuracy: _WorstAccuracy | None
    latency: _WorstLatency | None


class _Served(_Row):
    device: str
    target: str
    verdict: str


class _SetFile(_Row):
    artifact: str
    devices: list[_Served]


class _WithoutFile(_Row):
    device: str
    why: str


class _SmallestSet(_Row):
    verdict: str
    why: str
    files: list[_SetFile]
    missing: list[_WithoutFile]
    not_shown: list[_WithoutFile]
    left_out: list[_WithoutFile]


class _Fleet(_Row):
    devices: list[str] = []
    cells: list[_FleetCell] = []
    worst: list[_Worst] = []
    smallest_set: _SmallestSet | None = None


class _Document(_Row):
    run: _Run
    environment: dict[str, Any]
    environments: dict[str, dict[str, Any]] = {}
    data: _Data = _Data()
    models: list[_Model]
    artifacts: list[dict[str, Any]]
    measurements: list[dict[str, Any]]
    budget: _Budget = _Budget()
    recommendation: _Recommendation = _Recommendation()
    comparisons: list[_Pair] = []
    diagnoses: list[_Diagnosis] = []
    bench: list[_Bench] = []
    device_differences: list[_DeviceDifference] = []
    sustained: list[_Sustained] = []
    fleet: _Fleet = _Fleet()


def check_document(document: dict[str, Any], where: str) -> None:
    """Raise InputError, naming `where` and the key, when a part of results.json is invalid."""
    try:
        _Document.model_validate(document)
    except ValidationError as error:
        raise InputError(
            f"{where} is not a valid results file: {explain(error)}",
            "run the recipe again, which writes it again; do not edit it",
        ) from error
