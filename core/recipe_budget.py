"""A recipe's budget: the limits that a file must keep to be recommended."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from .recipe_table import Table, checked
from .target import Target, parse_runtime


class Budget(Table):
    """The limits that a file must keep to be recommended. Unset limits are not enforced, except `max_accuracy_drop`."""

    max_accuracy_drop: float = Field(
        0.01, ge=0, le=1, description="against the float model on the same samples; 0.01 is one point"
    )
    drop_by: Literal["interval", "estimate"] = Field(
        "interval",
        description='`"interval"`: the whole 95 % interval of the paired difference must be inside; `"estimate"`: the '
        "estimate",
    )
    max_class_recall_drop: float | None = Field(
        None,
        ge=0,
        le=1,
        description="of every class against the float model; 0.05 is five points. By `drop_by`: the whole interval of "
        "each class must be inside, or the estimates",
    )
    min_accuracy: float | None = Field(None, ge=0, le=1, description="share of correct answers")
    max_latency_ms: float | None = Field(None, gt=0, description="95th percentile")
    max_bytes: int | None = Field(None, gt=0, description="size of the file on the device")
    max_memory_bytes: int | None = Field(None, gt=0, description="peak of the process")
    runtime: str = Field(
        "", description='the file must run there, e.g. `"tflite-runtime==2.14"`; not set: the recipe\'s `runtime`'
    )
    target: str = Field(
        "",
        description='only files on that target count, e.g. `"local/litert"`: one of `evaluate.targets`; not set: any',
    )

    @field_validator("target")
    @classmethod
    def _check_target(cls, target: str) -> str:
        return checked((target,), Target.parse, "target")[0] if target else ""

    @field_validator("runtime")
    @classmethod
    def _check_runtime(cls, runtime: str) -> str:
        return checked((runtime,), parse_runtime, "runtime")[0] if runtime else ""
