"""From a Hub handle to a local SavedModel folder: checked early, downloaded once, pinned by hash, unpacked safely.

A handle is a URL (tfhub.dev, which redirects to Kaggle Models, a Kaggle Models page, or any server that follows the
same protocol), a SavedModel's folder, or a ``.tar.gz`` of one. A URL is asked with ``?tf-hub-format=compressed`` and
answers, after redirects, with a ``.tar.gz`` (https://www.tensorflow.org/hub/hosting). tensorflow_hub's own resolver
is not used: it knows no hash, no size limit and no other error than its own.

The cache is ``$EDGEPROOF_CACHE/hub``, else ``$TFHUB_CACHE_DIR/edgeproof``, else ``~/.cache/edgeproof/hub``:
``models/SHA256`` holds what the archive of that hash unpacked to, ``handles/`` remembers which hash a URL had. An
entry appears by one rename; processes that want the same handle wait for each other.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...core.codec import read_json, sha256_file, write_json
from ...core.errors import InputError, StageError, explain_disk_errors
from ...core.files import discard, open_log
from ...core.progress import Listener
from ...core.sanitize import shorten
from ...core.store import Store
from .archive import unpack
from .download import download
from .handles import CHOICES, GRAPH, cache_folder, check_handle, check_pin, local_path, offline, starts_with_gzip


def identify(handle: str, sha256: str, folder: Path) -> dict[str, Any]:
    """Return the identity of a handle's model, for a cache key: the same before and after a download.

    Local models are identified by their content; a URL by itself (Hub's versions never change) and its pin.
    """
    if "://" in handle:
        return {"handle": handle, "sha256": sha256}
    path = local_path(handle, folder)
    if not path.exists():
        raise InputError(f"the Hub model {shorten(handle, 120)!r} does not exist: {path}", CHOICES)
    return {"sha256": sha256_file(path)}


def already_here(handle: str, sha256: str, folder: Path, listener: Listener | None = None) -> Path | None:
    """Return the SavedModel folder of a handle if it is local or unpacked in the cache; otherwise None.

    A damaged cache entry is removed and not returned; `listener` is notified.
    """
    if "://" not in handle:
        path = local_path(handle, folder)
        return path if path.is_dir() else _cached(sha256_file(path), listener)
    pin = sha256 or _remembered(handle)
    return _cached(pin, listener) if pin else None


def resolve(handle: str, *, sha256: str, folder: Path, listener: Listener) -> Path:
    """Return the local SavedModel folder that `handle` stands for, fetched and unpacked if need be.

    `sha256` pins the archive's bytes (for a folder: `core.codec.sha256_file` of it); empty takes what comes.
    Raises InputError for a bad handle, a hash that differs (nothing is unpacked then) or a hostile archive,
    StageError when the network or the disk refuses.
    """
    check_handle(handle, sha256, folder)
    if "://" not in handle:
        path = local_path(handle, folder)
        if path.is_dir():
            return path
        digest = sha256_file(path)
        with locked(digest):
            return _cached(digest, listener) or _keep(path, digest)
    with locked(handle, listener):
        if cached := already_here(handle, sha256, folder, listener):
            return cached
        part = cache_folder() / f".{_key(handle)}.part"
        try:
            with explain_disk():
                part.parent.mkdir(parents=True, exist_ok=True)
                download(handle, part, listener)
            digest = sha256_file(part)
            if sha256:
                check_pin(repr(shorten(handle, 160)), sha256, digest)
            if not starts_with_gzip(part):
                raise StageError(f"{shorten(handle, 160)} returned a file that is not a .tar.gz", offline(handle))
            with locked(digest):
                model_folder = _cached(digest, listener) or _keep(part, digest)
        finally:
            discard(part, root=part.parent)
        with explain_disk():
            write_json(_note(handle), {"handle": handle, "sha256": digest})
        if not sha256:
            listener.note("info", f"{handle} is now in the cache; pin it with sha256 = {digest!r}", sha256=digest)
        return model_folder


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _note(handle: str) -> Path:
    """The file that remembers which archive a URL gave."""
    return cache_folder() / "handles" / f"{_key(handle)}.json"


def _remembered(handle: str) -> str:
    digest = read_json(_note(handle)).get("sha256") if _note(handle).is_file() else ""
    return digest if isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) else ""


def cache(listener: Listener | None = None) -> Store:
    """Return the cache as a store: entries appear atomically, and are checked when they are read."""
    return Store(cache_folder(), listener)


def _cached(sha256: str, listener: Listener | None) -> Path | None:
    """Return the SavedModel that the archive of this hash unpacked to, if it is in the cache and undamaged."""
    with explain_disk():
        entry = cache(listener).get(f"models/{sha256}", old=True)
    return _root(entry) if entry is not None else None


def _keep(archive: Path, sha256: str) -> Path:
    """Unpack an archive into the cache atomically, and return its SavedModel's folder."""
    root = cache_folder()
    fresh = root / "models" / f".{sha256}.{os.getpid()}"
    discard(fresh, root=root)
    try:
        with explain_disk():
            unpack(archive, fresh)
        if _root(fresh) is None:
            raise InputError(f"{archive.name} holds no SavedModel: there is no {GRAPH} at its top", CHOICES)
        with explain_disk():
            entry = cache().keep(fresh, f"models/{sha256}")
    finally:
        discard(fresh, root=root)
    return _root(entry) or entry


def _root(folder: Path) -> Path | None:
    """Return the SavedModel's folder: `folder` itself, or below the one folder that everything was packed into."""
    for _ in range(3):
        if (folder / GRAPH).is_file():
            return folder
        inside = list(folder.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            return None
        folder = inside[0]
    return None


@contextmanager
def locked(name: str, listener: Listener | None = None) -> Iterator[None]:
    """Hold the lock `name`, one process at a time; a process that dies releases it."""
    import fcntl  # POSIX only, like the runs themselves

    with explain_disk():
        folder = cache_folder() / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        stream = open_log(folder / _key(name))
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if listener is not None:
                listener.note("info", f"another process is fetching {shorten(name, 120)}; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def explain_disk() -> Iterator[None]:
    """Explain errors of the disk with the remedy for the cache: another folder."""
    try:
        with explain_disk_errors(cache_folder()):
            yield
    except StageError as error:
        if isinstance(error.__cause__, OSError) and error.message.startswith(("the disk", "no permission")):
            raise StageError(
                error.message, "free some space, or set EDGEPROOF_CACHE to a writable folder on a disk with free space"
            ) from error
        raise
