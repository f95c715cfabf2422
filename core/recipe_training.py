"""Tables of a recipe below [train]: augmentation, head, schedule of the learning rate."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from .recipe_table import Table


class Augment(Table):
    """Random changes to training images. None if all are zero."""

    flip: bool = Field(False, description="left-right")
    rotate: float = Field(0.0, ge=0, le=0.5, description="maximum, as a share of a full turn")
    shift: float = Field(0.0, ge=0, le=0.5, description="maximum, as a share of a side")
    zoom: float = Field(0.0, ge=0, lt=1, description="maximum, as a share")
    brightness: float = Field(0.0, ge=0, le=1, description="maximum relative change")
    contrast: float = Field(0.0, ge=0, le=1, description="maximum relative change")
    views: int = Field(
        4,
        ge=1,
        le=64,
        description="augmented versions of each image in phase one; each has its features computed once",
    )

    @property
    def active(self) -> bool:
        """Whether any change is enabled."""
        return self.flip or any((self.rotate, self.shift, self.zoom, self.brightness, self.contrast))


class Head(Table):
    """The layers between the backbone and the output."""

    hidden: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(
        (), max_length=8, description="units of dense layers before the last, e.g. `[1024]`"
    )
    activation: Literal["relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "swish", "tanh", "sigmoid", "linear"] = (
        Field("relu", description="of those layers")
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="after each of those layers")
    pooling: Literal["avg", "max"] = Field(
        "avg", description="pooling of a backbone's feature map to a vector; unused if a backbone's output is a vector"
    )
    output: Literal["", "softmax", "sigmoid"] = Field(
        "",
        description='the last layer: `"softmax"`, or of two classes `"sigmoid"`, one value: that of the second class; '
        "not set: softmax over classes, a sigmoid for each tag",
    )

    @model_serializer(mode="wrap")
    def _without_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A key that came later is left out where it is not set, so that the hashes of older recipes stay."""
        return {key: value for key, value in dump(self).items() if value or key != "output"}


class Schedule(Table):
    """How the learning rate changes during a phase, by Keras' own schedules and callback."""

    kind: Literal["constant", "cosine", "exponential", "plateau"] = Field(
        "constant",
        description='`"constant"`; `"cosine"`: along a cosine over all epochs; `"exponential"`: by a factor per epoch; '
        '`"plateau"`: when the validation loss does not improve (Keras\' `ReduceLROnPlateau`)',
    )
    final: float = Field(0.0, ge=0, le=1, description='`"cosine"`: share of the rate that is left at the end')
    decay: float = Field(0.9, gt=0, le=1, description='`"exponential"`: factor per epoch')
    factor: float = Field(0.1, gt=0, lt=1, description='`"plateau"`: factor of each reduction')
    patience: int = Field(2, ge=1, description='`"plateau"`: epochs without an improvement before a reduction')
    minimum: float = Field(0.0, ge=0, description='`"plateau"`: the lowest rate')

    @model_validator(mode="after")
    def _keys_of_this_kind(self) -> Schedule:
        fields = type(self).model_fields
        for key, kind in SCHEDULE_KEYS.items():
            if kind != self.kind and getattr(self, key) != fields[key].default:
                raise ValueError(f"{key} belongs to kind = {kind!r}, but kind is {self.kind!r}")
        return self


SCHEDULE_KEYS = {
    "final": "cosine", "decay": "exponential", "factor": "plateau", "patience": "plateau", "minimum": "plateau",
}  # fmt: skip
