"""Downloads an archive over http(s): bounded in bytes and time, going on where a broken connection left it."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ...core.errors import StageError
from ...core.files import discard
from ...core.progress import Listener
from ...core.sanitize import shorten
from .handles import compressed_url, offline

TIMEOUT_SECONDS = 30  # without a byte


ATTEMPTS = 3


DOWNLOAD_BYTES = 8 << 30


# A server may send a byte now and then for ever: so many seconds for its answer, and then so many bytes a second.
PATIENCE_SECONDS = 120.0


SLOWEST_BYTES = 4096


TOTAL_SECONDS = 12 * 3600.0


BLOCK = 1 << 20


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http(s) only, and never from https back to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in ("http", "https") or (before, after) == ("https", "http"):
            raise urllib.error.URLError(f"the server redirects to an address that is not followed: {shorten(newurl)!r}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(handle: str, part: Path, listener: Listener) -> None:
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
            reason = "the connection broke before the download was complete"
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
            raise StageError(f"{handle} has {total:,} bytes, more than the limit of {DOWNLOAD_BYTES:,}",
                             "download it yourself and give the folder")  # fmt: skip
        tag, arrived = response.headers.get("ETag") or "*", 0
        with part.open("ab" if have else "wb") as stream:
            while block := _read(response):
                stream.write(block)
                have += len(block)
                if have > (total or DOWNLOAD_BYTES):
                    raise StageError(f"{handle} sends more bytes than announced", offline(handle))
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
