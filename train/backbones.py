"""Which backbones there are, and whether the one a recipe names can be built here: told early, without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.codec import sha256_file
from ..core.errors import InputError
from ..core.names import shorten
from ..core.recipe import ModelSpec
from .families import did_you_mean, family_of
from .frameworks import check_installed
from .packaged import PACKAGES, weights_file

SCHEMES = ("keras:", "package:")
SIGNATURES = {".h5": b"\x89HDF\r\n\x1a\n", ".keras": b"PK\x03\x04"}
PACKAGED_MINIMUM = 32  # MobileNetV2 halves its input five times


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
    else:
        raise InputError(f"backbone {shown} has an unknown scheme", did_you_mean(f"{scheme}:", SCHEMES))
    return scheme, name


def check_backbone(spec: ModelSpec, *, folder: Path) -> None:
    """Raise InputError when the backbone of `spec` cannot be built. `folder` is where relative paths are meant from.

    Checked are the scheme and name, the width `alpha`, the image size, the weights (a file must be there and be
    HDF5 or a Keras archive; a package must be installed and carry the file we verified) and the extra ``train``.
    Whether ImageNet weights can be fetched shows only when training starts. Imports no framework; reads at most
    the packaged weights (14 MB).
    """
    scheme, name = parse(spec.backbone)
    where = f"model {spec.name!r}"
    if scheme == "package":
        minimum = PACKAGED_MINIMUM
        if spec.alpha not in (None, 1.0):
            raise InputError(f"{where}: {spec.backbone} has width 1.0 only, not alpha = {spec.alpha}", "remove alpha")
        if spec.weights != "imagenet":
            raise InputError(
                f"{where}: {spec.backbone} brings its own weights, but weights = {shorten(spec.weights)!r}",
                "remove weights, or choose backbone = 'keras:MobileNetV2'",
            )
    else:
        minimum = family_of(name).minimum
        _check_alpha(spec, name, where)
    if spec.image_size < minimum:
        raise InputError(
            f"{where}: image_size = {spec.image_size} is too small for {spec.backbone}, which needs {minimum} or more",
            f"set image_size = {minimum} or more, or choose another backbone",
        )
    if (path := weights_path(spec, folder)) is not None:
        _check_weights_file(path, where)
    check_installed()
    if scheme == "package":
        weights_file(name)


def weights_path(spec: ModelSpec, folder: Path) -> Path | None:
    """Return the file of weights that `spec` names; None for ``imagenet`` and ``none``."""
    return None if spec.weights in ("imagenet", "none") else folder / Path(spec.weights).expanduser()


def identity(spec: ModelSpec, *, folder: Path) -> dict[str, Any]:
    """Return what of the backbone decides the result, for a cache key: its names, and the hash of its weights.

    Raises InputError when the weights cannot be read. ImageNet weights are known by name: Keras verifies them.
    """
    scheme, name = parse(spec.backbone)
    weights: Any = spec.weights
    if scheme == "package":
        weights_file(name)
        weights = {"sha256": PACKAGES[name].sha256}
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
    if not path.is_file():
        raise InputError(f"{where}: the weights file {path} does not exist", f"{choices}, relative to the recipe")
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except OSError as error:
        raise InputError(f"{where}: the weights file {path} cannot be read: {error.strerror}", choices) from error
    if not start.startswith(SIGNATURES[path.suffix]):
        raise InputError(f"{where}: {path} does not hold what its name says: it is not {path.suffix} inside", choices)
