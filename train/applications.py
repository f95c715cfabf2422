"""``keras:NAME``: the models of tf.keras.applications, with ImageNet weights, weights from a file, or random ones."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..core.codec import sha256_file
from ..core.errors import InputError, StageError
from ..core.inputs import check_plain
from ..core.recipe import ModelSpec
from ..core.sanitize import shorten
from ..frameworks import hdf5
from ..frameworks.tensorflow import check_installed, load
from .external.containers import read_archive
from .families import family_of
from .network import Base, assemble, precision
from .source import ImageRequest, check_keys, check_size, name_of

DOWNLOAD_SECONDS = 30
SIGNATURES = {".h5": b"\x89HDF\r\n\x1a\n", ".keras": b"PK\x03\x04"}
_KEYS = frozenset({"name", "backbone", "image_size", "resize", "alpha", "weights"})


class Applications:
    """A source of backbones: see `source.ImageSource`."""

    packages = ()

    def check(self, spec: ModelSpec, folder: Path) -> None:
        """Check the name, the width `alpha`, the image size, and that a weights file has the format of its suffix."""
        family = family_of(name_of(spec))
        check_keys(spec, _KEYS)
        _check_alpha(spec, family.alphas)
        check_size(spec, family.minimum)
        if (path := weights_path(spec, folder)) is not None:
            _check_weights_file(path, f"model {spec.name!r}")
        check_installed()

    def identity(self, spec: ModelSpec, folder: Path) -> dict[str, Any]:
        """ImageNet weights are identified by their name, since Keras verifies them."""
        family_of(name_of(spec))
        weights: Any = spec.weights
        if (path := weights_path(spec, folder)) is not None:
            _check_weights_file(path, f"model {spec.name!r}")
            weights = {"sha256": sha256_file(path)}
        return {"backbone": spec.backbone, "alpha": spec.alpha, "image_size": spec.image_size, "weights": weights}

    def mixes(self, spec: ModelSpec) -> bool:
        """True: all are built of Keras layers."""
        return True

    def build(self, spec: ModelSpec, request: ImageRequest) -> Base:
        """Build it as a flat model, between its family's preprocessing and a pooling layer."""
        name = name_of(spec)
        with precision(mixed=request.mixed):
            return assemble(_application(spec, name, request.folder), family_of(name).preprocessing, spec.image_size)


def weights_path(spec: ModelSpec, folder: Path) -> Path | None:
    """Return the file of weights that `spec` names; None for ``imagenet`` and ``none``."""
    return None if spec.weights in ("imagenet", "none") else folder / Path(spec.weights).expanduser()


def _check_alpha(spec: ModelSpec, alphas: tuple[float, ...]) -> None:
    where = f"model {spec.name!r}"
    if spec.alpha is None:
        return
    if not alphas:
        raise InputError(f"{where}: {spec.backbone} has one width; alpha = {spec.alpha} has no effect", "remove alpha")
    if spec.weights == "imagenet" and spec.alpha not in alphas:
        raise InputError(
            f"{where}: there are no ImageNet weights for {spec.backbone} with alpha = {spec.alpha}",
            f"choose alpha from {', '.join(map(str, alphas))}, or weights = 'none'",
        )


def _check_weights_file(path: Path, where: str) -> None:
    """Raise InputError, before anything is built, for a file that cannot hold Keras weights."""
    choices = "weights may be 'imagenet', 'none', or the path of a .h5, .weights.h5 or .keras file"
    if path.suffix not in SIGNATURES:
        raise InputError(f"{where}: weights = {shorten(path.name)!r} is not a known kind of weights file", choices)
    check_plain(path)
    if not path.is_file():
        raise InputError(f"{where}: the weights file {path} does not exist", f"{choices}, relative to the recipe")
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except OSError as error:
        raise InputError(f"{where}: the weights file {path} cannot be read: {error.strerror}", choices) from error
    if not start.startswith(SIGNATURES[path.suffix]):
        raise InputError(f"{where}: {path} does not match its name: it is not {path.suffix} inside", choices)
    try:
        if path.suffix == ".keras":
            read_archive(path)
        else:
            hdf5.check(path)
    except InputError as error:
        raise InputError(f"{where}: {error.message}", error.remedy) from error


def _application(spec: ModelSpec, name: str, folder: Path) -> Any:
    _, keras = load()
    build = getattr(keras.applications, name)
    arguments: dict[str, Any] = {"include_top": False, "input_shape": (spec.image_size, spec.image_size, 3)}
    if spec.alpha is not None:
        arguments["alpha"] = spec.alpha
    if spec.weights == "imagenet":
        with _explain_download(spec):
            return build(weights="imagenet", **arguments)
    backbone = build(weights=None, **arguments)
    if (path := weights_path(spec, folder)) is not None:
        _load_file(backbone, path)
    return backbone


@contextmanager
def _explain_download(spec: ModelSpec) -> Iterator[None]:
    """Turn a download that fails or never ends into an error whose remedies need no network."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    try:
        yield
    except Exception as error:  # keras.utils.get_file raises a bare Exception
        if "URL fetch failure" not in str(error) and not isinstance(error, OSError):
            raise
        raise StageError(
            f"model {spec.name!r}: the ImageNet weights of {spec.backbone} could not be fetched: "
            f"{shorten(str(error), 300)}",
            "without a network choose one of: backbone = 'package:mobilenet_v2' (weights that an installed package "
            "carries); weights = 'FILE' (a .h5 or .keras file of this backbone); weights = 'none' (a random start); "
            "or copy the file that Keras asked for into ~/.keras/models",
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _load_file(backbone: Any, path: Path) -> None:
    """Load a weights file completely, or raise.

    A file of exactly this backbone is loaded as it is. A legacy HDF5 file with more layers, such as the classification
    layer, is loaded by layer names if it has every layer of the backbone.
    """
    try:
        backbone.load_weights(str(path))
        return
    except Exception as error:  # Keras, h5py and zipfile each raise their own kinds
        reason: Exception = error
    try:
        if path.suffix == ".h5":
            _load_by_name(backbone, path)
            return
    except Exception as error:
        reason = error
    raise InputError(
        f"the weights in {path} do not fit {backbone.name}: {shorten(str(reason), 300)}",
        "check that the file was saved from this backbone with the same alpha; weights = 'none' starts at random",
    ) from reason


def _load_by_name(backbone: Any, path: Path) -> None:
    import h5py

    with h5py.File(path, "r") as file:
        group = file.get("model_weights", file)
        for layer in backbone.layers:
            if not layer.weights:
                continue
            if layer.name not in group:
                raise ValueError(f"there is no layer {layer.name!r} in the file")
            stored = group[layer.name]
            layer.set_weights([np.asarray(stored[name]) for name in stored.attrs["weight_names"]])
