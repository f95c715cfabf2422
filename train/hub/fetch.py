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
import http.client
import os
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ...core.codec import read_json, sha256_file, write_json
from ...core.errors import InputError, StageError, explain_disk_errors
from ...core.files import discard, open_log
from ...core.inputs import check_folder, check_plain
from ...core.progress import Listener
from ...core.sanitize import shorten
from ...core.store import Store
from .archive import GZIP, unpack

COMPRESSED = ("tf-hub-format", "compressed")
ARCHIVES = (".tar.gz", ".tgz")
GRAPH = "saved_model.pb"
TIMEOUT_SECONDS = 30  # without a byte
ATTEMPTS = 3
DOWNLOAD_BYTES = 8 << 30
# A server may send a byte now and then for ever: so many seconds for its answer, and then so many bytes a second.
PATIENCE_SECONDS = 120.0
SLOWEST_BYTES = 4096
TOTAL_SECONDS = 12 * 3600.0
BLOCK = 1 << 20
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

    `sha256` is the recipe's pin, or empty; for what is local it is compared here already. `folder` is where
    relative paths are meant from. Whether a URL can be fetched shows only in `resolve`.
    """
    if not handle.strip():
        raise InputError("hub: names no model", CHOICES)
    if "://" in handle:
        _check_url(handle, sha256)
        return
    path = _local(handle, folder)
    shown = repr(shorten(handle, 120))
    check_plain(path)
    if not path.exists():
        raise InputError(f"the Hub model {shown} does not exist: there is neither a file nor a folder {path}", CHOICES)
    if path.is_dir():
        check_saved_model(path)
    elif not path.name.lower().endswith(ARCHIVES):
        raise InputError(f"the Hub model {shown} is neither a folder nor a .tar.gz", CHOICES)
    elif not _starts_with_gzip(path):
        raise InputError(f"{path} does not hold what its name says: it is not gzip inside", CHOICES)
    if sha256:
        _check_pin(shown, sha256, sha256_file(path))


def check_saved_model(path: Path) -> None:
    """Raise InputError unless the folder `path` holds a SavedModel, and nothing but files and folders."""
    check_folder(path)
    if (path / GRAPH).is_file():
        return
    if (path / "saved_model.pbtxt").is_file():
        raise InputError(f"{path} is a SavedModel in text form, which is not read here", f"save it as {GRAPH}")
    check_no_checkpoint(path)
    below = sorted(found.parent.name for found in path.glob(f"*/{GRAPH}"))
    hint = f"did you mean its folder {below[0]!r}?" if below else f"a SavedModel's folder holds {GRAPH} and variables/"
    raise InputError(f"{path} is not a SavedModel: it has no {GRAPH}", hint)


def check_no_checkpoint(path: Path) -> None:
    """Raise InputError when `path` is a TensorFlow checkpoint, which is no model: its folder, one of its files, or the
    name that they begin with, as ``save_weights`` was given it."""
    if path.name == "variables" and (path.parent / GRAPH).is_file():
        raise InputError(f"{path} is a part of a SavedModel", f"give the whole folder, {path.parent}")
    if path.is_dir():
        found = (path / "checkpoint").is_file() or any(_has_data(index) for index in path.glob("*.index"))
    elif path.suffix == ".index" or ".data-" in path.name:
        found = path.is_file()
    else:
        found = not path.exists() and _has_data(path.with_name(f"{path.name}.index"))
    if found:
        raise InputError(
            f"{path} is a TensorFlow checkpoint: it holds weights without the model that they belong to",
            "build the model in Python, load them (model.load_weights), save it whole (model.save('model.keras'), or "
            "model.export as a SavedModel), and give that",
        )


def _has_data(index: Path) -> bool:
    """Whether ``NAME.index`` has ``NAME.data-00000-of-0000N`` beside it."""
    start = f"{index.name.removesuffix('.index')}.data-"
    return index.is_file() and any(other.name.startswith(start) for other in index.parent.iterdir())


def identify(handle: str, sha256: str, folder: Path) -> dict[str, Any]:
    """Return what decides which model a handle stands for, for a cache key: the same before and after a download.

    Local models are known by their content; a URL by itself (Hub's versions never change) and its pin.
    """
    if "://" in handle:
        return {"handle": handle, "sha256": sha256}
    path = _local(handle, folder)
    if not path.exists():
        raise InputError(f"the Hub model {shorten(handle, 120)!r} does not exist: {path}", CHOICES)
    return {"sha256": sha256_file(path)}


def already_here(handle: str, sha256: str, folder: Path, listener: Listener | None = None) -> Path | None:
    """Return the SavedModel folder of a handle if no work is needed for it: a folder, or unpacked in the cache.

    What is damaged in the cache is removed from it, and not returned; `listener` hears of it.
    """
    if "://" not in handle:
        path = _local(handle, folder)
        return path if path.is_dir() else _cached(sha256_file(path), listener)
    known = sha256 or _remembered(handle)
    return _cached(known, listener) if known else None


def cache_folder() -> Path:
    """Return where downloads are kept."""
    if ours := os.environ.get("EDGEPROOF_CACHE"):
        return Path(ours).expanduser() / "hub"
    if theirs := os.environ.get("TFHUB_CACHE_DIR"):
        return Path(theirs).expanduser() / "edgeproof"
    return Path.home() / ".cache" / "edgeproof" / "hub"


def resolve(handle: str, *, sha256: str, folder: Path, listener: Listener) -> Path:
    """Return the local SavedModel folder that `handle` stands for, fetched and unpacked if need be.

    `sha256` pins the archive's bytes (for a folder: `core.codec.sha256_file` of it); empty takes what comes.
    Raises InputError for a bad handle, a hash that differs (nothing is unpacked then) or a hostile archive,
    StageError when the network or the disk refuses.
    """
    check_handle(handle, sha256, folder)
    if "://" not in handle:
        path = _local(handle, folder)
        if path.is_dir():
            return path
        found = sha256_file(path)
        with locked(found):
            return _cached(found, listener) or _keep(path, found)
    with locked(handle, listener):
        if cached := already_here(handle, sha256, folder, listener):
            return cached
        part = cache_folder() / f".{_key(handle)}.part"
        try:
            with explain_disk():
                part.parent.mkdir(parents=True, exist_ok=True)
                _download(handle, part, listener)
            found = sha256_file(part)
            if sha256:
                _check_pin(repr(shorten(handle, 160)), sha256, found)
            if not _starts_with_gzip(part):
                raise StageError(f"{shorten(handle, 160)} answered with something that is no .tar.gz", offline(handle))
            with locked(found):
                kept = _cached(found, listener) or _keep(part, found)
        finally:
            discard(part, root=part.parent)
        with explain_disk():
            write_json(_note(handle), {"handle": handle, "sha256": found})
        if not sha256:
            listener.note("info", f"{handle} is now in the cache; pin it with sha256 = {found!r}", sha256=found)
        return kept


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
        raise InputError(f"the Hub handle {shown} is not encrypted, so what arrives could be anything",
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


def _check_pin(shown: str, expected: str, found: str) -> None:
    if found != expected:
        raise InputError(
            f"the Hub model {shown} is another one than the recipe pins: its sha256 is {found}, "
            f"the recipe says {expected}",
            "if the change is meant, write the new sha256 into the recipe; if not, do not use what arrived",
        )


def _local(handle: str, folder: Path) -> Path:
    return folder / Path(handle).expanduser()


def _starts_with_gzip(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(GZIP)) == GZIP
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _note(handle: str) -> Path:
    """The file that remembers which archive a URL gave."""
    return cache_folder() / "handles" / f"{_key(handle)}.json"


def _remembered(handle: str) -> str:
    found = read_json(_note(handle)).get("sha256") if _note(handle).is_file() else ""
    return found if isinstance(found, str) and re.fullmatch("[0-9a-f]{64}", found) else ""


def cache(listener: Listener | None = None) -> Store:
    """Return the cache as a store: what is finished appears there whole, and is checked when it is taken."""
    return Store(cache_folder(), listener)


def _cached(sha256: str, listener: Listener | None) -> Path | None:
    """Return the SavedModel that the archive of this hash unpacked to, if it is in the cache and undamaged."""
    with explain_disk():
        entry = cache(listener).get(f"models/{sha256}", old=True)
    return _root(entry) if entry is not None else None


def _keep(archive: Path, sha256: str) -> Path:
    """Unpack an archive into the cache, all or nothing, and return its SavedModel's folder."""
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
    """Let one process at a time through for `name`; a process that dies lets go."""
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
    """Explain the disk's refusals with the remedy that helps here: another cache folder."""
    try:
        with explain_disk_errors(cache_folder()):
            yield
    except StageError as error:
        if isinstance(error.__cause__, OSError) and error.message.startswith(("the disk", "no permission")):
            raise StageError(
                error.message, "free some space, or let EDGEPROOF_CACHE name a folder with room that you may write to"
            ) from error
        raise


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http(s) only, and never from https back to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in ("http", "https") or (before, after) == ("https", "http"):
            raise urllib.error.URLError(f"the server redirects to an address that is not followed: {shorten(newurl)!r}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(handle: str, part: Path, listener: Listener) -> None:
    """Fetch the archive of `handle` into `part`, going on where a broken connection left it. Raises StageError."""
    opener = urllib.request.build_opener(
        _Redirects(), urllib.request.HTTPSHandler(context=ssl.create_default_context())
    )
    discard(part, root=part.parent)
    tag, reason = "", ""
    for _ in range(ATTEMPTS):
        try:
            tag = _attempt(opener, handle, part, tag, listener)
        except urllib.error.HTTPError as error:
            reason = f"the server answered {error.code} {shorten(str(error.reason), 80)}"
            if error.code < 500 and error.code != 429:
                break
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None and _is_disk(error):
                raise
            reason = shorten(str(getattr(error, "reason", "")) or str(error) or type(error).__name__, 200)
        else:
            if not tag:
                return
            reason = "the connection broke before all of it had arrived"
    raise StageError(f"{shorten(handle, 160)} could not be fetched: {reason}", offline(handle))


def _is_disk(error: OSError) -> bool:
    return error.filename is not None or error.errno in (28, 122)  # ENOSPC, EDQUOT


def _attempt(opener: Any, handle: str, part: Path, tag: str, listener: Listener) -> str:
    """Fetch what `part` still lacks. Return "" when all of it is there, else the entity tag to go on with."""
    have = part.stat().st_size if tag not in ("", "*") else 0
    request = urllib.request.Request(compressed_url(handle), headers={"User-Agent": "edgeproof"})  # noqa: S310 checked
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag)
    name = f"download {shorten(handle.rstrip('/').split('://')[-1], 60)}"
    started = time.monotonic()
    with _answer(opener, request) as response:
        have = have if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdecimal() else 0
        if total > DOWNLOAD_BYTES:
            raise StageError(f"{handle} has {total:,} bytes, more than the {DOWNLOAD_BYTES:,} that are fetched here",
                             "download it yourself and give the folder")  # fmt: skip
        tag, arrived = response.headers.get("ETag") or "*", 0
        with part.open("ab" if have else "wb") as stream:
            while block := _read(response):
                stream.write(block)
                have += len(block)
                if have > (total or DOWNLOAD_BYTES):
                    raise StageError(f"{handle} sends more bytes than it promised", offline(handle))
                listener.progress(name, have, total or have)
                arrived += len(block)
                if time.monotonic() - started > min(PATIENCE_SECONDS + arrived / SLOWEST_BYTES, TOTAL_SECONDS):
                    raise StageError(f"{handle} arrives too slowly: {arrived:,} bytes in "
                                     f"{time.monotonic() - started:.0f} s", offline(handle))  # fmt: skip
    return "" if not total or have == total else str(tag)


def _answer(opener: Any, request: urllib.request.Request) -> Any:
    """Return the server's answer, its headers read. Raises as the opener does, and TimeoutError."""
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(opener.open(request, timeout=TIMEOUT_SECONDS))
        except Exception as error:  # for whoever waits
            answers.append(error)

    asking = threading.Thread(target=ask, daemon=True)  # each byte of a header renews the time-out of a socket
    asking.start()
    asking.join(PATIENCE_SECONDS)
    if not answers:
        raise TimeoutError(f"the server did not answer within {PATIENCE_SECONDS:g} s")
    if isinstance(answers[0], Exception):
        raise answers[0]
    return answers[0]


def _read(response: Any) -> bytes:
    """Read what has arrived; a connection that breaks ends the stream, which its length then shows."""
    try:
        return bytes(response.read1(BLOCK))
    except http.client.IncompleteRead as error:
        return error.partial
