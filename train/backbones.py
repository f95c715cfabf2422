"""Which backbones there are, and whether the one a recipe names can be built here: told early, without TensorFlow."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any

from ..core.codec import sha256_file
from ..core.dataset import Kind
from ..core.errors import InputError
from ..core.inputs import check_plain
from ..core.recipe import ModelSpec
from ..core.sanitize import shorten
from ..frameworks import hdf5
from ..frameworks.tensorflow import check_installed
from .families import did_you_mean, family_of
from .hub.fetch import already_here, check_handle, identify
from .hub.module import check_hub_installed, check_module
from .packaged import PACKAGES, weights_file

SCHEMES = ("keras:", "hub:", "package:", "file:", "scratch:")
SIGNATURES = {".h5": b"\x89HDF\r\n\x1a\n", ".keras": b"PK\x03\x04"}
PACKAGED_MINIMUM = 32  # MobileNetV2 and EfficientNet-Lite0 halve their input five times
HUB_PACKAGE = "efficientnet_lite0"  # the package: that is a Hub SavedModel

# What of a [[model]] means something, beside the keys that every model has.
_EVERY = frozenset({"name", "backbone", "image_size", "resize"})
_HUB = frozenset(
    {"sha256", "tags", "signature", "output", "arguments", "value_range", "preprocessing", "trainable", "head", "trust"}
)
_PACKAGED = frozenset({"trainable", "head", "output"})  # of the package that is a Hub module
OUTPUTS = ("", "feature_vector", "classification")  # of which Hub has one module each
_INSTEAD = {
    "trainable": "remove trainable; train.fine_tune.layers says how many of its layers learn",
    "head": "remove head: this backbone always gets a new one",
}


def parse(backbone: str) -> tuple[str, str]:
    """Split ``scheme:name``. Raises InputError, with a hint, for a scheme or a name that nobody knows."""
    scheme, colon, name = backbone.partition(":")
    shown = repr(shorten(backbone))
    if not colon:
        raise InputError(f"backbone {shown} names no scheme", f"write keras:NAME, e.g. keras:{name or scheme}")
    if scheme == "keras":
        family_of(name)
    elif scheme == "package":
        if name not in PACKAGES:
            raise InputError(f"no package carries weights called {name!r}", did_you_mean(name, tuple(PACKAGES)))
    elif f"{scheme}:" not in SCHEMES:
        hint = f"for a model of TensorFlow Hub write hub:{shorten(backbone)}" if name.startswith("//") else ""
        raise InputError(f"backbone {shown} has an unknown scheme", hint or did_you_mean(f"{scheme}:", SCHEMES))
    return scheme, name


def check_backbone(spec: ModelSpec, *, folder: Path, kind: Kind = "image") -> None:
    """Raise InputError when the backbone of `spec` cannot be built for data of `kind`. `folder` is where relative
    paths are meant from.

    Checked are the scheme and name, keys that mean nothing here, the width `alpha`, the image size, the weights or
    the SavedModel (a file must be there and be what its name says, with the hash that the recipe pins; a package
    must be installed and carry the file we verified) and the extras. Whether something can be fetched shows only
    when training starts. Imports no framework.
    """
    if kind == "text":
        from .text.backbones import check_text_backbone

        check_text_backbone(spec, folder)
        return
    scheme, name = parse(spec.backbone)
    where = f"model {spec.name!r}"
    if scheme == "file":
        from .external.backbone import check_file_backbone

        check_file_backbone(spec, folder)
        return
    if scheme == "scratch":
        raise InputError(f"{where}: {spec.backbone} is for texts, but the data are images", "choose keras: or hub:")
    if scheme == "hub":
        check_keys(spec, _EVERY | _HUB)
        check_hub_installed()
        _check_hub(spec, name, folder, where)
        return
    if scheme == "package":
        if spec.alpha not in (None, 1.0):
            raise InputError(f"{where}: {spec.backbone} has width 1.0 only, not alpha = {spec.alpha}", "remove alpha")
        if spec.weights != "imagenet":
            raise InputError(
                f"{where}: {spec.backbone} brings its own weights, but weights = {shorten(spec.weights)!r}",
                "remove weights, or choose backbone = 'keras:MobileNetV2'",
            )
        check_keys(spec, _EVERY | {"alpha", "weights"} | (_PACKAGED if name == HUB_PACKAGE else set()))
        minimum = PACKAGED_MINIMUM
    else:
        check_keys(spec, _EVERY | {"alpha", "weights"})
        _check_alpha(spec, name, where)
        minimum = family_of(name).minimum
    if spec.image_size < minimum:
        raise InputError(
            f"{where}: image_size = {spec.image_size} is too small for {spec.backbone}, which needs {minimum} or more",
            f"set image_size = {minimum} or more, or choose another backbone",
        )
    if (path := weights_path(spec, folder)) is not None:
        _check_weights_file(path, where)
    check_installed()
    if scheme == "package":
        if name == HUB_PACKAGE and spec.output not in OUTPUTS:
            raise InputError(
                f"{where}: {spec.backbone} has no output {shorten(spec.output)!r}",
                f"choose one of {', '.join(OUTPUTS[1:])}; without output it is feature_vector",
            )
        _check_head(spec, where)
        weights_file(name)
        if name == HUB_PACKAGE:
            check_hub_installed()


def check_keys(spec: ModelSpec, meaningful: Set[str]) -> None:
    """Raise InputError when `spec` sets a key that is not among `meaningful` to anything but its default."""
    for key, about in ModelSpec.model_fields.items():
        if key not in meaningful and getattr(spec, key) != about.get_default(call_default_factory=True):
            raise InputError(
                f"model {spec.name!r}: {key} means nothing for {shorten(spec.backbone)}",
                _INSTEAD.get(key, f"remove {key}"),
            )


def _check_hub(spec: ModelSpec, handle: str, folder: Path, where: str) -> None:
    if spec.value_range is not None and spec.preprocessing:
        raise InputError(f"{where}: value_range and preprocessing say the same thing twice", "remove one of them")
    _check_head(spec, where)
    try:
        check_handle(handle, spec.sha256, folder)
    except InputError as error:
        raise InputError(f"{where}: {error.message}", error.remedy) from error
    if (local := already_here(handle, spec.sha256, folder)) is not None:
        check_module(spec, local)


def _check_head(spec: ModelSpec, where: str) -> None:
    if spec.head == "own" and spec.trainable:
        raise InputError(
            f"{where}: with head = 'own' nothing is trained, but trainable = true", "remove trainable, or head"
        )


def weights_path(spec: ModelSpec, folder: Path) -> Path | None:
    """Return the file of weights that `spec` names; None for ``imagenet`` and ``none``."""
    return None if spec.weights in ("imagenet", "none") else folder / Path(spec.weights).expanduser()


def identity(spec: ModelSpec, *, folder: Path, kind: Kind = "image") -> dict[str, Any]:
    """Return what of the backbone decides the result, for a cache key: its names, and the hash of its weights.

    Raises InputError when the weights cannot be read. ImageNet weights are known by name: Keras verifies them. What
    a URL names is known by the URL and the recipe's hash.
    """
    if kind == "text":
        from .text.backbones import text_identity

        return dict(text_identity(spec, folder))
    scheme, name = parse(spec.backbone)
    if scheme == "file":
        from .external.backbone import file_identity

        return dict(file_identity(spec, folder))
    if scheme == "hub":
        chosen = {key: getattr(spec, key) for key in sorted(_HUB - {"sha256"})}
        return {"backbone": spec.backbone, "image_size": spec.image_size, **chosen} | {
            "weights": identify(name, spec.sha256, folder)
        }
    weights: Any = spec.weights
    if scheme == "package":
        weights_file(name)
        weights = {"sha256": PACKAGES[name].sha256} | ({"output": spec.output} if spec.output else {})
    elif (path := weights_path(spec, folder)) is not None:
        _check_weights_file(path, f"model {spec.name!r}")
        weights = {"sha256": sha256_file(path)}
    return {"backbone": spec.backbone, "alpha": spec.alpha, "image_size": spec.image_size, "weights": weights}


def _check_alpha(spec: ModelSpec, name: str, where: str) -> None:
    alphas = family_of(name).alphas
    if spec.alpha is None:
        return
    if not alphas:
        raise InputError(
            f"{where}: {spec.backbone} comes in one width; alpha = {spec.alpha} means nothing", "remove alpha"
        )
    if spec.weights == "imagenet" and spec.alpha not in alphas:
        raise InputError(
            f"{where}: there are no ImageNet weights for {spec.backbone} with alpha = {spec.alpha}",
            f"choose alpha from {', '.join(map(str, alphas))}, or weights = 'none'",
        )


def _check_weights_file(path: Path, where: str) -> None:
    """Refuse, before anything is built, what cannot be a file of Keras weights."""
    choices = "weights may be 'imagenet', 'none', or the path of a .h5, .weights.h5 or .keras file"
    if path.suffix not in SIGNATURES:
        raise InputError(f"{where}: weights = {shorten(path.name)!r} is no kind of weights we know", choices)
    check_plain(path)
    if not path.is_file():
        raise InputError(f"{where}: the weights file {path} does not exist", f"{choices}, relative to the recipe")
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except OSError as error:
        raise InputError(f"{where}: the weights file {path} cannot be read: {error.strerror}", choices) from error
    if not start.startswith(SIGNATURES[path.suffix]):
        raise InputError(f"{where}: {path} does not hold what its name says: it is not {path.suffix} inside", choices)
    from .external.containers import read_archive

    try:
        if path.suffix == ".keras":
            read_archive(path)
        else:
            hdf5.check(path)
    except InputError as error:
        raise InputError(f"{where}: {error.message}", error.remedy) from error
