"""What a Hub handle is, checked before anything is fetched; and what to do without a network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ...core.codec import sha256_file
from ...core.errors import InputError
from ...core.inputs import check_folder, check_plain
from ...core.sanitize import shorten
from .archive import GZIP

COMPRESSED = ("tf-hub-format", "compressed")


ARCHIVES = (".tar.gz", ".tgz")


GRAPH = "saved_model.pb"


_LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


_OTHER_FRAMEWORKS = ("tflite", "tfjs", "pytorch", "jax", "keras", "flax", "coral", "onnx", "transformers")


CHOICES = (
    "a Hub handle is https://tfhub.dev/PUBLISHER/MODEL/VERSION, "
    "https://www.kaggle.com/models/OWNER/MODEL/TensorFlow2/VARIATION/VERSION, "
    "a SavedModel folder or a .tar.gz of one, relative to the recipe"
)


def check_recipe_handle(handle: str, sha256: str, folder: Path, where: str) -> None:
    """Check a handle as `check_handle`; errors begin with `where` in the recipe it stands."""
    try:
        check_handle(handle, sha256, folder)
    except InputError as error:
        raise InputError(f"{where}: {error.message}", error.remedy) from error


def check_handle(handle: str, sha256: str, folder: Path) -> None:
    """Raise InputError when `handle` cannot be a model: early, without a network and without TensorFlow.

    `sha256` is the recipe's pin, or empty; a local model is compared with it here. Relative paths start at `folder`.
    Whether a URL can be fetched shows only in `resolve`.
    """
    if not handle.strip():
        raise InputError("hub: names no model", CHOICES)
    if "://" in handle:
        _check_url(handle, sha256)
        return
    path = local_path(handle, folder)
    shown = repr(shorten(handle, 120))
    check_plain(path)
    if not path.exists():
        raise InputError(f"the Hub model {shown} does not exist: there is neither a file nor a folder {path}", CHOICES)
    if path.is_dir():
        check_saved_model(path)
    elif not path.name.lower().endswith(ARCHIVES):
        raise InputError(f"the Hub model {shown} is neither a folder nor a .tar.gz", CHOICES)
    elif not starts_with_gzip(path):
        raise InputError(f"{path} does not match its name: it is not gzip inside", CHOICES)
    if sha256:
        check_pin(shown, sha256, sha256_file(path))


def check_saved_model(path: Path) -> None:
    """Raise InputError unless the folder `path` holds a SavedModel, and nothing but files and folders."""
    check_folder(path)
    if (path / GRAPH).is_file():
        return
    if (path / "saved_model.pbtxt").is_file():
        raise InputError(f"{path} is a SavedModel in text form, which is not read here", f"save it as {GRAPH}")
    check_no_checkpoint(path)
    below = sorted(graph_file.parent.name for graph_file in path.glob(f"*/{GRAPH}"))
    hint = f"did you mean its folder {below[0]!r}?" if below else f"a SavedModel's folder holds {GRAPH} and variables/"
    raise InputError(f"{path} is not a SavedModel: it has no {GRAPH}", hint)


def check_no_checkpoint(path: Path) -> None:
    """Raise InputError when `path` is a TensorFlow checkpoint, which is no model: its folder, one of its files, or the
    name that they begin with, as ``save_weights`` was given it."""
    if path.name == "variables" and (path.parent / GRAPH).is_file():
        raise InputError(f"{path} is a part of a SavedModel", f"give the whole folder, {path.parent}")
    if path.is_dir():
        is_checkpoint = (path / "checkpoint").is_file() or any(_has_data(index) for index in path.glob("*.index"))
    elif path.suffix == ".index" or ".data-" in path.name:
        is_checkpoint = path.is_file()
    else:
        is_checkpoint = not path.exists() and _has_data(path.with_name(f"{path.name}.index"))
    if is_checkpoint:
        raise InputError(
            f"{path} is a TensorFlow checkpoint: it holds weights without the model that they belong to",
            "build the model in Python, load them (model.load_weights), save it whole (model.save('model.keras'), or "
            "model.export as a SavedModel), and give that",
        )


def _has_data(index: Path) -> bool:
    """Whether ``NAME.index`` has ``NAME.data-00000-of-0000N`` beside it."""
    start = f"{index.name.removesuffix('.index')}.data-"
    return index.is_file() and any(other.name.startswith(start) for other in index.parent.iterdir())


def cache_folder() -> Path:
    """Return the folder that caches downloads."""
    if ours := os.environ.get("EDGEPROOF_CACHE"):
        return Path(ours).expanduser() / "hub"
    if theirs := os.environ.get("TFHUB_CACHE_DIR"):
        return Path(theirs).expanduser() / "edgeproof"
    return Path.home() / ".cache" / "edgeproof" / "hub"


def offline(handle: str) -> str:
    """Return the ways to a model that need no network from here."""
    return (
        f"check the handle and the network. Without one: download {compressed_url(handle)} elsewhere and give "
        f"backbone = 'hub:PATH' of the .tar.gz or of the unpacked folder; or copy {cache_folder()} from a machine "
        "that has the model; or choose a package: backbone"
    )


def compressed_url(handle: str) -> str:
    """Return the URL that gives the model as a ``.tar.gz``; a URL that names such a file already is left as it is."""
    parts = urlsplit(handle)
    if parts.path.endswith(ARCHIVES):
        return handle
    return urlunsplit(parts._replace(query=urlencode([*parse_qsl(parts.query), COMPRESSED]), fragment=""))


def _check_url(handle: str, sha256: str) -> None:
    shown = repr(shorten(handle, 160))
    try:
        url = urlsplit(handle)
        host, _ = url.hostname or "", url.port
    except ValueError as error:
        raise InputError(f"the Hub handle {shown} is not a URL: {error}", CHOICES) from error
    if url.scheme not in ("https", "http"):
        raise InputError(
            f"the Hub handle {shown} is of kind {url.scheme}:, which is not fetched here",
            f"download it and give the folder; {CHOICES}",
        )
    if not host or url.username or re.search(r"[\s\x00-\x1f]", handle):
        raise InputError(f"the Hub handle {shown} is not a plain URL of a model", CHOICES)
    if url.scheme == "http" and host not in _LOCAL_HOSTS and not sha256:
        raise InputError(f"the Hub handle {shown} is not encrypted, so its contents cannot be trusted",
                         "write https://, or pin the archive with sha256 = '…'")  # fmt: skip
    parts = [part for part in url.path.split("/") if part]
    if host in ("kaggle.com", "www.kaggle.com"):
        _check_kaggle(shown, parts)
    if host in ("tfhub.dev", "www.tfhub.dev") and len(parts) < 2:
        raise InputError(f"the Hub handle {shown} names no model", CHOICES)


def _check_kaggle(shown: str, parts: list[str]) -> None:
    parts = [part for part in parts if part not in ("frameworks", "variations", "versions")]  # the older, longer form
    if parts[:1] != ["models"] or len(parts) < 5:
        raise InputError(
            f"the Hub handle {shown} does not name one model file: owner, model, framework and variation are needed",
            CHOICES,
        )
    if parts[3].lower().replace("-", "") in _OTHER_FRAMEWORKS:
        raise InputError(f"the Hub handle {shown} is a model for {shorten(parts[3])}, not a SavedModel",
                         "choose the variation under TensorFlow2 or TensorFlow1")  # fmt: skip


def check_pin(shown: str, expected: str, actual: str) -> None:
    """Raise InputError unless the sha256 of what `shown` names is the one that the recipe pins."""
    if actual != expected:
        raise InputError(
            f"the Hub model {shown} is not the one that the recipe pins: its sha256 is {actual}, "
            f"the recipe says {expected}",
            "if the change is intended, write the new sha256 into the recipe; if not, do not use the download",
        )


def local_path(handle: str, folder: Path) -> Path:
    """Return the path of a handle that is no URL; relative ones are meant from `folder`."""
    return folder / Path(handle).expanduser()


def starts_with_gzip(path: Path) -> bool:
    """Whether a file begins as gzip does."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(GZIP)) == GZIP
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
