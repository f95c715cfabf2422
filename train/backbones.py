"""The table of backbone sources, for images and for texts, and how a recipe selects one.

A new source is a class with `source.BackboneSource`'s methods, and a row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.dataset import Kind
from ..core.errors import InputError
from ..core.recipe import ModelSpec
from ..core.sanitize import shorten
from .families import did_you_mean

if TYPE_CHECKING:
    from .network import Base
    from .source import BackboneSource, ImageRequest, ImageSource
    from .text.base import TextBase, TextRequest

# Sources by scheme, as module and class: each is imported when a recipe names it.
IMAGES = {
    "keras": (".applications", "Applications"),
    "hub": (".hub.image", "HubModules"),
    "package": (".package_source", "Packages"),
    "file": (".external.backbone", "Files"),
}
TEXTS = {
    "hub": (".text.hubs", "HubEncoders"),
    "package": (".text.package_source", "TextPackages"),
    "scratch": (".text.average", "AverageEmbedding"),
}
# Networks for arrays and tables of numbers: they tell such data from others.
SENSOR_NETWORKS = ("scratch:dense", "scratch:conv1d")
NUMBERS = {"scratch": (".sensor.networks", "SensorNetworks")}
# Finished modules of waveforms, which are arrays of numbers too.
SOUNDS = {"hub": (".sound.hub_modules", "HubSounds"), "file": (".sound.files", "FileSounds")}


@cache
def _loaded(module: str, name: str) -> Any:
    return getattr(import_module(module, __package__), name)()


def check_backbone(spec: ModelSpec, *, folder: Path, kind: Kind = "image") -> None:
    """Raise InputError when the backbone of `spec` cannot be built for data of `kind`, according to its source.

    Relative paths start at `folder`. Imports no framework.
    """
    _source(spec, kind).check(spec, folder)


def identity(spec: ModelSpec, *, folder: Path, kind: Kind = "image") -> dict[str, Any]:
    """Return the properties of the backbone that decide the result, for a cache key: its names and its weights' hash.

    A URL is identified by itself and the recipe's hash. Raises InputError when the weights cannot be read.
    """
    return _source(spec, kind).identity(spec, folder)


def packages(spec: ModelSpec, kind: Kind = "image") -> tuple[str, ...]:
    """Return the distributions whose versions affect `spec`, in addition to those that all training needs."""
    return _source(spec, kind).packages


def image_source(spec: ModelSpec) -> ImageSource:
    """Return the source of an image backbone. Raises InputError, with a hint, for an unknown one."""
    wrong = f"{shorten(spec.backbone)} is for texts, but the data are images"
    source: ImageSource = _loaded(*IMAGES[_scheme(spec, IMAGES, TEXTS, wrong, "choose keras: or hub:")])
    return source


def text_source(spec: ModelSpec) -> BackboneSource[TextRequest, TextBase]:
    """Return the source of a text backbone. Raises InputError, with a hint, for an unknown one."""
    wrong = f"{shorten(spec.backbone)} takes no texts, but the data are texts"
    instead = "choose scratch:average-embedding, package:NAME or hub:HANDLE"
    source: BackboneSource[TextRequest, TextBase] = _loaded(*TEXTS[_scheme(spec, TEXTS, IMAGES, wrong, instead)])
    return source


def number_source(spec: ModelSpec) -> BackboneSource[Any, Any]:
    """Return the source of a network for arrays of numbers. Raises InputError, with a hint, for an unknown one."""
    wrong = f"{shorten(spec.backbone)} takes no numbers, but the data are waveforms, or arrays or a table of numbers"
    instead = f"choose {' or '.join(SENSOR_NETWORKS)}, for waveforms also hub:HANDLE or file:PATH"
    sources = {**NUMBERS, **SOUNDS}
    source: BackboneSource[Any, Any] = _loaded(*sources[_scheme(spec, sources, {**IMAGES, **TEXTS}, wrong, instead)])
    return source


def build_base(spec: ModelSpec, request: ImageRequest) -> Base:
    """Build the image backbone of `spec` with its weights, at its image size."""
    return image_source(spec).build(spec, request)


def _source(spec: ModelSpec, kind: Kind) -> BackboneSource[Any, Any]:
    if kind == "tensor":
        return number_source(spec)
    if spec.backbone in SENSOR_NETWORKS:
        raise InputError(
            f"model {spec.name!r}: {spec.backbone} takes numbers, and the data are {kind}s",
            "give arrays or a table of numbers: npz:FILE, npy:X.npy,Y.npy, or csv:FILE or parquet:FILE with a target",
        )
    return text_source(spec) if kind == "text" else image_source(spec)


def _scheme(
    spec: ModelSpec, sources: Mapping[str, object], others: Mapping[str, object], wrong: str, instead: str
) -> str:
    """Return the scheme of a backbone, one of `sources`; for one of `others` the error is `wrong` with `instead`."""
    scheme, colon, name = spec.backbone.partition(":")
    shown = repr(shorten(spec.backbone))
    if not colon:
        raise InputError(f"backbone {shown} names no scheme", f"write keras:NAME, e.g. keras:{name or scheme}")
    if scheme in sources:
        return scheme
    if scheme in others:
        raise InputError(f"model {spec.name!r}: {wrong}", instead)
    hint = f"for a model of TensorFlow Hub write hub:{shorten(spec.backbone)}" if name.startswith("//") else ""
    schemes = tuple(f"{one}:" for one in sources)
    raise InputError(f"backbone {shown} has an unknown scheme", hint or did_you_mean(f"{scheme}:", schemes))
