"""Which text backbones there are, and whether the one a recipe names can be built here: told without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.extras import EXTRAS
from ...core.recipe import ModelSpec, Train
from ...core.sanitize import shorten
from ...frameworks.saved_model import read
from ...frameworks.security import vet
from ..backbones import check_keys
from ..families import did_you_mean
from ..hub.fetch import already_here, check_handle, identify
from ..hub.module import check_hub_installed
from . import multilingual

SCHEMES = ("hub:", "package:", "scratch:")
KNOWN = {"package": (multilingual.NAME,), "scratch": ("average-embedding",)}
SIGNATURE_V2 = "serving_default"
_EVERY = frozenset({"name", "backbone", "max_tokens"})
_MEANINGFUL = {
    "hub": _EVERY | {"sha256", "tags", "signature", "output", "arguments", "preprocessor", "trainable", "trust"},
    "package": _EVERY | {"trainable"},
    "scratch": _EVERY | {"tokenizer", "vocabulary", "embedding"},
}


def parse(backbone: str) -> tuple[str, str]:
    """Split ``scheme:name``. Raises InputError, with a hint, for what cannot read texts."""
    scheme, colon, name = backbone.partition(":")
    shown = repr(shorten(backbone))
    everything = tuple(f"{kind}:{known}" for kind, names in KNOWN.items() for known in names)
    if scheme in ("keras", "file") and colon:
        raise InputError(
            f"backbone {shown} takes no texts, but the data are texts",
            f"choose one of: {', '.join(everything)}, hub:HANDLE",
        )
    if not colon or f"{scheme}:" not in SCHEMES:
        raise InputError(f"backbone {shown} has an unknown scheme", did_you_mean(f"{scheme}:", SCHEMES))
    if scheme in KNOWN and name not in KNOWN[scheme]:
        raise InputError(f"there is no text backbone {shown}", did_you_mean(backbone, everything))
    return scheme, name


def handle_of(preprocessor: str) -> str:
    """Return the Hub handle that the key `preprocessor` names, with or without ``hub:`` before it."""
    return preprocessor.removeprefix("hub:")


def check_text_backbone(spec: ModelSpec, folder: Path) -> None:
    """Raise InputError when the text backbone of `spec` cannot be built. `folder`: where relative paths are meant from.

    Checked are the scheme and name, keys that mean nothing for it, the extra ``text``, packages (installed, and the
    very files we verified: 33 MB are read) and Hub handles: what is here already must be a SavedModel that only
    computes, with the signature that is asked for. Whether something can be fetched shows only when training starts.
    Imports no framework.
    """
    scheme, name = parse(spec.backbone)
    where = f"model {spec.name!r}"
    if scheme == "scratch" and spec.trainable:
        raise InputError(f"{where}: {spec.backbone} always learns as a whole", "remove trainable")
    check_keys(spec, _MEANINGFUL[scheme])
    check_text_installed()
    if scheme == "package":
        for file in multilingual.SHA256:
            multilingual.package_file(file)
    if scheme != "hub":
        return
    _check_handle(name, spec.sha256, folder, where)
    if (local := already_here(name, spec.sha256, folder)) is not None:
        check_encoder(spec, local)
    if spec.preprocessor:
        handle, where = handle_of(spec.preprocessor), f"{where}: preprocessor"
        _check_handle(handle, "", folder, where)
        if (local := already_here(handle, "", folder)) is not None:
            vet(local, trust=spec.trust, where=where)


def check_encoder(spec: ModelSpec, path: Path) -> str:
    """Check, without TensorFlow, the encoder's SavedModel at `path`; return its signature to use, or nothing.

    Nothing means that the model itself is called, or (in the TF1 Hub format) its default. Raises InputError when the
    graph does more than computing, lacks the signature, or cannot be fine-tuned but `trainable` asks for that.
    """
    where = f"model {spec.name!r}"
    vet(path, trust=spec.trust, where=where)
    saved = read(path, spec.tags)
    signature = spec.signature
    if not signature and not saved.callable and not saved.hub_v1:
        signature = SIGNATURE_V2
    if signature and signature not in saved.signatures:
        raise InputError(
            f"{where}: the SavedModel {path} has no signature {shorten(signature)!r}",
            f"set signature to one of: {', '.join(map(repr, sorted(saved.signatures)))}"
            if saved.signatures
            else "give a SavedModel that can be called, or one with a signature",
        )
    if spec.trainable and (signature or saved.hub_v1 or "trainable_variables" not in saved.main.children):
        what = f"signature {signature!r} cannot" if signature else "the SavedModel brings no variables that can"
        what = "a model in the TF1 Hub format cannot" if saved.hub_v1 else what
        raise InputError(f"{where}: {what} be fine-tuned", "set trainable = false")
    return signature


def check_text_training(train: Train) -> None:
    """Raise InputError for keys of the table ``train`` that mean nothing when the data are texts."""
    if train.augment.active:
        raise InputError("train.augment changes images; the data are texts", "remove the table train.augment")
    if train.head.pooling != "avg":
        raise InputError(
            "train.head.pooling makes vectors of maps of a picture; text encoders give vectors", "remove pooling"
        )
    if train.fine_tune.layers:
        raise InputError(
            "train.fine_tune.layers counts layers of an image backbone; the data are texts",
            "set trainable = true at the model instead: a text encoder is fine-tuned as a whole, with the epochs and "
            "learning_rate of train.fine_tune",
        )


def check_text_installed() -> None:
    """Raise InputError if the extra ``text`` is missing. Looks packages up; imports none."""
    EXTRAS["text"].require("training on texts needs")
    check_hub_installed()


def text_identity(spec: ModelSpec, folder: Path) -> dict[str, Any]:
    """Return what of the text backbone decides the result, for a cache key. Raises InputError as the checks do."""
    scheme, name = parse(spec.backbone)
    known = {key: getattr(spec, key) for key in sorted(_MEANINGFUL[scheme] - {"name", "sha256", "preprocessor"})}
    if scheme == "package":
        for file in multilingual.SHA256:
            multilingual.package_file(file)
        known |= {"weights": multilingual.SHA256, "format": multilingual.FORMAT}
    if scheme == "hub":
        known["encoder"] = identify(name, spec.sha256, folder)
        if spec.preprocessor:
            known["preprocessor"] = identify(handle_of(spec.preprocessor), "", folder)
    return known


def _check_handle(handle: str, sha256: str, folder: Path, where: str) -> None:
    try:
        check_handle(handle, sha256, folder)
    except InputError as error:
        raise InputError(f"{where}: {error.message}", error.remedy) from error
