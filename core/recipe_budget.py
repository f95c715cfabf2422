"""A recipe's budget: the limits that a file must keep to be recommended."""

from __future__ import annotations

import re
from math import inf
from typing import Any, Literal, NamedTuple

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from .recipe_table import Table, checked
from .target import Target, parse_runtime

_REQUIRED = re.compile(r"(.*\S)\s*(<=|>=|≤|≥)\s*(-?[0-9]{1,12}(?:\.[0-9]{1,12})?(?:e-?[0-9]{1,2})?)\s*(%|dB)?")
_PERCENT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?%")


class Requirement(NamedTuple):
    """A limit of a figure, by its name; `most`: it may be `limit` at most, otherwise it is at least that."""

    name: str
    most: bool
    limit: float


class Budget(Table):
    """The limits that a file must keep to be recommended. Unset limits are not enforced, except `max_accuracy_drop`."""

    max_accuracy_drop: float = Field(
        0.01, ge=0, le=1, description="against the float model on the same samples; 0.01 is one point"
    )
    max_drop: float | str | None = Field(
        None,
        description="the same for any task, in the unit of its metric: `0.5` of MAE, `1` dB, `0.01` of mean IoU; or of "
        'the float model\'s metric, `"5 %"`. Not set: `max_accuracy_drop`, which of a metric that is no share counts '
        "as such a part: 0.01 is 1 % of the float model's MAE",
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
    min_accuracy: float | None = Field(
        None, ge=0, le=1, description="share of correct answers, or another metric that is a share, such as mean IoU"
    )
    require: tuple[str, ...] = Field(
        (),
        description='limits of figures, by their names in a report: `["MAE <= 0.5"]`, `["ROC AUC >= 0.85"]`, '
        '`["SNR >= 20 dB"]`, `["mean IoU >= 80 %"]`. Of the metric the 95 % interval must be inside (see `drop_by`), '
        "of a figure beside it the estimate",
    )
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

    @field_validator("max_drop", mode="before")
    @classmethod
    def _check_max_drop(cls, value: Any) -> Any:
        if isinstance(value, str) and not _PERCENT.fullmatch(value.strip()):
            raise ValueError(f'{value!r} is neither a number nor a part of the float model\'s metric such as "5 %"')
        if isinstance(value, float | int) and not 0 <= value < inf:
            raise ValueError(f"{value} is no loss that can be allowed: give 0 or more")
        return value.strip() if isinstance(value, str) else value

    @field_validator("require", mode="before")
    @classmethod
    def _check_require(cls, value: Any) -> Any:
        limits = [value] if isinstance(value, str) else value
        if isinstance(limits, list | tuple) and all(isinstance(limit, str) for limit in limits):
            for limit in limits:
                if not _REQUIRED.fullmatch(limit.strip()):
                    raise ValueError(
                        f'{limit!r} is no limit of a figure: write it as "MAE <= 0.5" or "ROC AUC >= 0.85"'
                    )
            return tuple(limit.strip() for limit in limits)
        return limits

    @model_serializer(mode="wrap")
    def _without_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A key that came later is left out where it is not set, so that the hashes of older recipes stay."""
        return {key: value for key, value in dump(self).items() if key != "require" or value}

    @model_validator(mode="after")
    def _check_one_drop(self) -> Budget:
        # A run's own recipe has every default in it.
        default = type(self).model_fields["max_accuracy_drop"].default
        if self.max_drop is not None and self.max_accuracy_drop != default:
            raise ValueError("max_drop and max_accuracy_drop limit the same: give one of them")
        return self

    @field_validator("target")
    @classmethod
    def _check_target(cls, target: str) -> str:
        return checked((target,), Target.parse, "target")[0] if target else ""

    @field_validator("runtime")
    @classmethod
    def _check_runtime(cls, runtime: str) -> str:
        return checked((runtime,), parse_runtime, "runtime")[0] if runtime else ""

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """The limits of `require`; of shares in per cent as shares."""
        found = (match for limit in self.require if (match := _REQUIRED.fullmatch(limit)))
        return tuple(
            Requirement(name, sign in ("<=", "≤"), float(value) / (100 if unit == "%" else 1))
            for name, sign, value, unit in (match.groups() for match in found)
        )

    @property
    def percentages(self) -> tuple[str, ...]:
        """The figures that `require` limits in per cent, which are shares."""
        found = (match for limit in self.require if (match := _REQUIRED.fullmatch(limit)))
        return tuple(match[1] for match in found if match[4] == "%")

    @property
    def says_enough(self) -> bool:
        """Whether a limit says what metric is enough, so that files that reach it need not answer better."""
        return self.min_accuracy is not None or bool(self.require)

    def allowed_drop(self, reference: float | None = None, *, is_share: bool = True) -> float:
        """Return how much of a metric may be lost, in its unit; infinity: there is no limit.

        `reference` is the float model's metric, None where it is not known: 1 is then taken, which no share exceeds.
        """
        size = 1.0 if reference is None else abs(reference)
        if isinstance(self.max_drop, str):
            return float(self.max_drop.rstrip(" %")) / 100 * size
        if self.max_drop is not None:
            return self.max_drop
        if self.max_accuracy_drop >= 1:
            return inf
        return self.max_accuracy_drop * (1 if is_share else size)
