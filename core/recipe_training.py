"""Tables of a recipe below [train]: augmentation, head, schedule of the learning rate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .recipe_table import Table


class Augment(Table):
    """Random changes to training images. All zero: none."""

    flip: bool = Field(False, description="left-right")
    rotate: float = Field(0.0, ge=0, le=0.5, description="by at most this share of a full turn")
    shift: float = Field(0.0, ge=0, le=0.5, description="by at most this share of a side")
    zoom: float = Field(0.0, ge=0, lt=1, description="by at most this share")
    brightness: float = Field(0.0, ge=0, le=1, description="at most this relative change")
    contrast: float = Field(0.0, ge=0, le=1, description="at most this relative change")
    views: int = Field(
        4, ge=1, le=64, description="versions of each image in phase one, whose features are computed once a version"
    )

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        return self.flip or any((self.rotate, self.shift, self.zoom, self.brightness, self.contrast))


class Head(Table):
    """What stands between backbone and answer."""

    hidden: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(
        (), max_length=8, description="units of dense layers before the last, e.g. `[1024]`"
    )
    activation: Literal["relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "swish", "tanh", "sigmoid", "linear"] = (
        Field("relu", description="of those layers")
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="after each of those layers")
    pooling: Literal["avg", "max"] = Field(
        "avg", description="how a backbone's map of activations becomes a vector; unused where a backbone gives vectors"
    )


class Schedule(Table):
    """How the learning rate changes while a phase runs. Keras' own schedules and callback do it."""

    kind: Literal["constant", "cosine", "exponential", "plateau"] = Field(
        "constant",
        description='`"constant"`; `"cosine"`: along a cosine over all epochs; `"exponential"`: by a factor an epoch; '
        '`"plateau"`: when the validation loss gets no better (Keras\' `ReduceLROnPlateau`)',
    )
    final: float = Field(0.0, ge=0, le=1, description='`"cosine"`: share of the rate that is left at the end')
    decay: float = Field(0.9, gt=0, le=1, description='`"exponential"`: factor an epoch')
    factor: float = Field(0.1, gt=0, lt=1, description='`"plateau"`: factor of each reduction')
    patience: int = Field(2, ge=1, description='`"plateau"`: epochs without a better loss before a reduction')
    minimum: float = Field(0.0, ge=0, description='`"plateau"`: the lowest rate')

    @model_validator(mode="after")
    def _keys_of_this_kind(self) -> Schedule:
        fields = type(self).model_fields
        for key, kind in SCHEDULE_KEYS.items():
            if kind != self.kind and getattr(self, key) != fields[key].default:
                raise ValueError(f"{key} says how kind = {kind!r} falls, but kind is {self.kind!r}")
        return self


SCHEDULE_KEYS = {
    "final": "cosine", "decay": "exponential", "factor": "plateau", "patience": "plateau", "minimum": "plateau",
}  # fmt: skip
