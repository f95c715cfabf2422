"""The interface of backbone sources: ``keras:``, ``hub:``, ``package:``, ``file:`` and ``scratch:``.

`backbones` has the table of sources; a source imports neither the table nor the others.
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
    """A source of the backbones of one scheme. `folder` is where relative paths of a recipe start."""

    @property
    def packages(self) -> tuple[str, ...]:
        """The distributions whose versions affect the result, in addition to those that all training needs."""
        ...

    def check(self, spec: ModelSpec, folder: Path) -> None:
        """Raise InputError when the backbone cannot be built here: early, and without importing a framework.

        Whether something can be fetched shows only when it is built.
        """
        ...

    def identity(self, spec: ModelSpec, folder: Path) -> dict[str, Any]:
        """Return the backbone's properties that decide the result, for a cache key. Raises InputError as `check`."""
        ...

    def build(self, spec: ModelSpec, request: RequestT_contra) -> BuiltT_co:
        """Build the backbone with its weights. Raises InputError for one that cannot be used, StageError when
        something cannot be fetched or opened."""
        ...


@dataclass(frozen=True)
class ImageRequest:
    """What an image backbone is built for.

    `mixed` computes in float16 (for GPUs), if the source supports it (`ImageSource.mixes`). `samples` (N, size, size,
    3) uint8 are real images, on which the outputs of external models are examined; `classes` is the data's number of
    classes.
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
    """Return the part of a backbone behind its scheme."""
    return spec.backbone.partition(":")[2]


def check_keys(spec: ModelSpec, meaningful: Set[str]) -> None:
    """Raise InputError when `spec` sets a key outside `meaningful` to another value than its default."""
    for key, about in ModelSpec.model_fields.items():
        if key not in meaningful and getattr(spec, key) != about.get_default(call_default_factory=True):
            raise InputError(
                f"model {spec.name!r}: {key} has no effect for {shorten(spec.backbone)}",
                _INSTEAD.get(key, f"remove {key}"),
            )


def check_size(spec: ModelSpec, minimum: int) -> None:
    """Raise InputError when images are smaller than the backbone's minimum."""
    if spec.image_size < minimum:
        raise InputError(
            f"model {spec.name!r}: image_size = {spec.image_size} is too small for {spec.backbone}, which needs "
            f"{minimum} or more",
            f"set image_size = {minimum} or more, or choose another backbone",
        )


def check_head(spec: ModelSpec) -> None:
    """Raise InputError when a model keeps its own head but is set to be fine-tuned."""
    if spec.head == "own" and spec.trainable:
        raise InputError(
            f"model {spec.name!r}: with head = 'own' nothing is trained, but trainable = true",
            "remove trainable, or head",
        )


def check_pixels(spec: ModelSpec) -> None:
    """Raise InputError when the recipe sets the range of the pixels in two ways."""
    if spec.value_range is not None and spec.preprocessing:
        raise InputError(f"model {spec.name!r}: value_range and preprocessing exclude each other", "remove one of them")
