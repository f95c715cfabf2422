"""What a source of backbones is, the same for ``keras:``, ``hub:``, ``package:``, ``file:`` and ``scratch:``.

`backbones` has the table of sources; a source knows neither the table nor the others.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.progress import Listener, Silent
from ..core.recipe import ModelSpec
from ..core.sanitize import shorten
from .network import Base

_INSTEAD = {
    "trainable": "remove trainable; train.fine_tune.layers says how many of its layers learn",
    "head": "remove head: this backbone always gets a new one",
}
RequestT_contra = TypeVar("RequestT_contra", contravariant=True)
BuiltT_co = TypeVar("BuiltT_co", covariant=True)


class BackboneSource(Protocol[RequestT_contra, BuiltT_co]):
    """Where backbones of one scheme are from. `folder` is where relative paths of a recipe are meant from."""

    @property
    def packages(self) -> tuple[str, ...]:
        """The distributions whose versions decide the result, beside those that all training needs."""
        ...

    def check(self, spec: ModelSpec, folder: Path) -> None:
        """Raise InputError when the backbone cannot be built here: early, and without importing a framework.

        Whether something can be fetched shows only when it is built.
        """
        ...

    def identity(self, spec: ModelSpec, folder: Path) -> dict[str, Any]:
        """Return what of the backbone decides the result, for a cache key. Raises InputError as `check` does."""
        ...

    def build(self, spec: ModelSpec, request: RequestT_contra) -> BuiltT_co:
        """Build the backbone with its weights. Raises InputError for one that cannot be used, StageError when
        something cannot be fetched or opened."""
        ...


@dataclass(frozen=True)
class ImageRequest:
    """What an image backbone is built for.

    `mixed` computes in float16 (for GPUs), where the source can (`ImageSource.mixes`). `samples` (N, size, size, 3)
    uint8 are real images, on which it is found out what somebody else's model gives; `classes` is how many the data
    have.
    """

    folder: Path
    mixed: bool = False
    classes: int | None = None
    samples: NDArray[Any] | None = None
    listener: Listener = field(default_factory=Silent)


class ImageSource(BackboneSource[ImageRequest, Base], Protocol):
    """A source of backbones for images."""

    def mixes(self, spec: ModelSpec) -> bool:
        """Whether the backbone is built here of Keras layers, so that their precision can be chosen."""
        ...


def name_of(spec: ModelSpec) -> str:
    """Return what stands behind the scheme of a backbone."""
    return spec.backbone.partition(":")[2]


def check_keys(spec: ModelSpec, meaningful: Set[str]) -> None:
    """Raise InputError when `spec` sets a key that is not among `meaningful` to anything but its default."""
    for key, about in ModelSpec.model_fields.items():
        if key not in meaningful and getattr(spec, key) != about.get_default(call_default_factory=True):
            raise InputError(
                f"model {spec.name!r}: {key} means nothing for {shorten(spec.backbone)}",
                _INSTEAD.get(key, f"remove {key}"),
            )


def check_size(spec: ModelSpec, minimum: int) -> None:
    """Raise InputError when the pictures are smaller than the backbone can take."""
    if spec.image_size < minimum:
        raise InputError(
            f"model {spec.name!r}: image_size = {spec.image_size} is too small for {spec.backbone}, which needs "
            f"{minimum} or more",
            f"set image_size = {minimum} or more, or choose another backbone",
        )


def check_head(spec: ModelSpec) -> None:
    """Raise InputError when a model keeps its own head, and yet is to be fine-tuned."""
    if spec.head == "own" and spec.trainable:
        raise InputError(
            f"model {spec.name!r}: with head = 'own' nothing is trained, but trainable = true",
            "remove trainable, or head",
        )


def check_pixels(spec: ModelSpec) -> None:
    """Raise InputError when the recipe says the values of the pixels in two ways."""
    if spec.value_range is not None and spec.preprocessing:
        raise InputError(
            f"model {spec.name!r}: value_range and preprocessing say the same thing twice", "remove one of them"
        )
