"""Serves the page in which a browser runs models, and talks with it.

The page is served over plain HTTP on one address, behind a random token. The first page that claims the token gets a
secret as a cookie; any other is refused. It asks for requests (a long poll), and posts an answer to each. A browser may
be hostile: only named files are served, lengths are limited, and no text of it becomes a path.
"""

from __future__ import annotations

import hmac
import itertools
import json
import queue
import secrets
import select
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from ...core.children import TooLongError
from ...core.codec import sha256_file

PAGE = Path(__file__).with_name("page")
_TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8", ".wasm": "application/wasm",
}  # fmt: skip
# WebAssembly is compiled; nothing is loaded from anywhere else. Workers of runtimes are of this origin, or blobs of it.
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; connect-src 'self'; "
    "style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
MOST_BYTES = 1 << 26  # of a reply
_MOST_CLAIM = 1 << 16
_POLL_SECONDS = 15.0
_STEP = 0.1
_CHUNK = 1 << 20


class GoneError(Exception):
    """There is no page any more: the reason."""


class BusyError(Exception):
    """Somebody else uses the page."""


class Talk(Protocol):
    """One worker of a page. What it is told is a request of `page/worker.js`."""

    def ask(self, request: Mapping[str, Any], seconds: float) -> bytes:
        """Return the answer to a request.

        Raises GoneError, subprocess.TimeoutExpired, and TooLongError when the answer is too long.
        """
        ...

    def put(self, content: bytes | Path) -> tuple[str, int]:
        """Have the page able to fetch some bytes. Return (name, bytes)."""
        ...

    def memory(self) -> int | None:
        """Return the peak memory of the worker's process in bytes; None where it is not known."""
        ...

    def close(self) -> None:
        """End the worker."""
        ...


@dataclass
class _Waiting:
    worker: int
    answers: queue.Queue[bytes | Exception] = field(default_factory=lambda: queue.Queue(1))


class PageHost:
    """A server for one page. `grace`: seconds without a poll after which the page counts as gone."""

    def __init__(self, name: str, files: Mapping[str, Path], *, bind: str = "127.0.0.1", grace: float = 5.0) -> None:
        self.name, self.grace = name, grace
        self.about: bytes = b""
        self.claimed = threading.Event()
        self._files = {**{path.name: path for path in PAGE.iterdir() if path.suffix in _TYPES}, **files}
        self._put: dict[str, tuple[bytes | Path, int]] = {}  # and how many workers need it
        self.peer = ""
        self._requests: queue.Queue[dict[str, Any]] = queue.Queue()
        self._waiting: dict[int, _Waiting] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._tokens: dict[str, str] = {}  # the secret of the page that claimed each; empty: nobody has
        self._polls, self._last_poll = 0, time.monotonic()
        self._gone = ""
        self.pages = 0  # that have claimed a link: each has workers of its own
        self._closing = False
        self._server = _Server((bind, 0), self)
        self.address = f"{bind}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(_STEP,), daemon=True).start()

    def link(self) -> str:
        """Return a new link, and take back an earlier one that nobody has claimed."""
        with self._lock:
            self._tokens = {token: secret for token, secret in self._tokens.items() if secret}
            token = secrets.token_urlsafe(32)
            self._tokens[token] = ""
            return f"http://{self.address}/{token}/"

    def secret_of(self, token: str) -> str | None:
        """Return the secret that belongs to a token, compared in constant time; None for an unknown token."""
        with self._lock:
            found = [
                secret for known, secret in self._tokens.items() if hmac.compare_digest(known.encode(), token.encode())
            ]
        return found[0] if found else None

    def claim(self, token: str, secret: str, about: bytes, peer: str) -> str | None:
        """Let a page at an address have a token; return its secret, or None where another page has it."""
        with self._lock:
            own = self.secret_of(token)
            if own is None or (own and not hmac.compare_digest(own.encode(), secret.encode())):
                return None
            if not own and self.claimed.is_set():
                return None  # of two links, the other one has been opened
            own = own or secrets.token_urlsafe(32)
            self._end("the page was loaded again")
            self._tokens = {token: own}
            self.about, self.peer, self._gone = about, peer, ""
            self._last_poll = time.monotonic()
            self._requests = queue.Queue()
            self.pages += 1
            self.claimed.set()
            return own

    def leave(self, reason: str = "the page was closed") -> None:
        """Note that the page is gone. Its secret stays good: it may come back."""
        with self._lock:
            self._gone = reason
            self.claimed.clear()
            self._end(reason)

    def _end(self, reason: str) -> None:
        for waiting in self._waiting.values():
            with suppress(queue.Full):
                waiting.answers.put_nowait(GoneError(reason))
        self._waiting.clear()

    @property
    def gone(self) -> str:
        """Why there is no page any more; empty where there is one, or none has come yet."""
        with self._lock:
            if self.claimed.is_set() and not self._polls and time.monotonic() - self._last_poll > self.grace:
                self.leave("the page does not answer any more: it was closed, or the device sleeps or has no network")
            return self._gone

    def talk(self, memory: Callable[[], int | None] = lambda: None) -> HostTalk:
        """Return a new worker of the page. It is started by its first request."""
        return HostTalk(self, next(self._numbers), memory)

    def put(self, content: bytes | Path) -> tuple[str, int]:
        """Have the page able to fetch a file or some bytes, by SHA-256."""
        import hashlib

        name = sha256_file(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
        with self._lock:
            self._put[name] = (content, self._put.get(name, (b"", 0))[1] + 1)
        return name, content.stat().st_size if isinstance(content, Path) else len(content)

    def drop(self, name: str) -> None:
        """Forget what was put, unless another worker needs it."""
        with self._lock:
            content, count = self._put.pop(name, (b"", 0))
            if count > 1:
                self._put[name] = (content, count - 1)

    def served(self, path: str) -> bytes | Path | None:
        """Return what is served under a path; None for anything that is not named."""
        with self._lock:
            if path.startswith("file/"):
                return self._put.get(path.removeprefix("file/"), (None, 0))[0]
            return self._files.get(path or "index.html")

    def ask(self, worker: int, request: Mapping[str, Any], seconds: float, alive: Callable[[], str]) -> bytes:
        """Return the page's answer to a request; `alive` gives the reason as soon as the browser has ended."""
        with self._lock:
            number = next(self._numbers)
            waiting = self._waiting[number] = _Waiting(worker)
            requests = self._requests
        try:
            until = time.monotonic() + seconds
            requests.put({**request, "id": number, "worker": worker})
            while True:
                left = until - time.monotonic()
                try:
                    answer = waiting.answers.get(timeout=max(0.0, min(left, _STEP)))
                except queue.Empty:
                    if (reason := alive() or self.gone) or not self.claimed.is_set():
                        raise GoneError(reason or "there is no page") from None
                    if left <= 0:
                        raise subprocess.TimeoutExpired(["page"], seconds) from None
                    continue
                if isinstance(answer, Exception):
                    raise answer
                return answer
        finally:
            with self._lock:
                self._waiting.pop(number, None)

    def tell(self, worker: int, request: Mapping[str, Any]) -> None:
        """Send a request that has no answer."""
        with self._lock:
            self._requests.put({**request, "id": 0, "worker": worker})

    def poll(self, connected: Callable[[], bool]) -> list[dict[str, Any]]:
        """Wait for requests, for some seconds or until the page has hung up."""
        with self._lock:
            self._polls += 1
            requests = self._requests
        try:
            until = time.monotonic() + _POLL_SECONDS
            while time.monotonic() < until and connected() and not self._closing:
                with suppress(queue.Empty):
                    taken = [requests.get(timeout=_STEP)]
                    with suppress(queue.Empty):
                        while True:
                            taken.append(requests.get_nowait())
                    return taken
            return []
        finally:
            with self._lock:
                self._polls -= 1
                self._last_poll = time.monotonic()

    def answered(self, number: int, answer: bytes | Exception) -> None:
        """Hand an answer to who waits for it; others are dropped."""
        with self._lock:
            waiting = self._waiting.pop(number, None)
        if waiting is not None:
            with suppress(queue.Full):
                waiting.answers.put_nowait(answer)

    def close(self) -> None:
        """Stop serving."""
        self._closing = True
        self.leave("the connection was closed")
        self._server.shutdown()
        self._server.server_close()


class HostTalk:
    """A worker of a page that this process serves. See `Talk`."""

    def __init__(self, host: PageHost, worker: int, memory: Callable[[], int | None]) -> None:
        self._host, self._worker, self.memory, self._page = host, worker, memory, host.pages
        self._names: list[str] = []
        self.alive: Callable[[], str] = str

    def ask(self, request: Mapping[str, Any], seconds: float) -> bytes:
        """Return the answer to a request."""
        if self._page != self._host.pages:
            raise GoneError("the page was loaded again")
        return self._host.ask(self._worker, request, seconds, self.alive)

    def put(self, content: bytes | Path) -> tuple[str, int]:
        """Have the page able to fetch some bytes, until the worker ends."""
        name, size = self._host.put(content)
        self._names.append(name)
        return name, size

    def close(self) -> None:
        """End the worker, and forget what was put for it."""
        self._host.tell(self._worker, {"do": "end"})
        for name in self._names:
            self._host.drop(name)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], host: PageHost) -> None:
        self.host = host
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser may hang up at any time."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection. Whatever is not expected is refused in few words."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 60.0
    server_version, sys_version = "edgeproof", ""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Serve a file of the page, of a runtime, or one that was put."""
        token, path = self._parts()
        host = self.server.host
        secret = host.secret_of(token) if token else None
        public = path in ("", "page.js", "style.css")  # without them a second page could not be told that it is one
        if secret is None or not (public or self._has(secret)):
            return self._send(403, b"this link is not valid (any more): ask for a new one\n")
        content = host.served(path)
        if content is None:
            return self._send(404)
        kind = _TYPES.get(Path(path or "index.html").suffix, "application/octet-stream")
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        keep = path.startswith(("runtime/", "file/"))
        self._head(200, kind, size, cache="private, max-age=86400, immutable" if keep else "no-store")
        if isinstance(content, bytes):
            self.wfile.write(content)
            return None
        with content.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                self.wfile.write(chunk)
        return None

    def do_POST(self) -> None:
        """Take a claim, a poll, an answer or a farewell of the page."""
        token, path = self._parts()
        host = self.server.host
        secret = host.secret_of(token) if token else None
        if secret is None or self.headers.get("Origin", f"http://{host.address}") != f"http://{host.address}":
            return self._send(403)
        if path == "claim":
            body = self._body(_MOST_CLAIM)
            own = host.claim(token, self._cookie(), body, self.client_address[0]) if body else None
            if own is None:
                return self._send(409)
            cookie = f"edgeproof={own}; Path=/{token}/; HttpOnly; SameSite=Strict; Max-Age=86400"
            return self._send(200, json.dumps({"name": host.name}).encode(), cookie=cookie)
        if not self._has(secret):
            return self._send(403)
        if path == "poll":
            self._body(0)
            if not host.claimed.is_set():
                return self._send(403)  # it was away for too long: loaded again, it claims its link again
            return self._send(200, json.dumps(host.poll(self._connected)).encode())
        if path == "bye":
            self._body(_MOST_CLAIM)
            host.leave()
            return self._send(204)
        number = path.removeprefix("reply/")
        if path.startswith("reply/") and number.isascii() and number.isdigit() and len(number) < 16:
            body = self._body(MOST_BYTES)
            if body is None:
                host.answered(int(number), TooLongError())
                return self._send(413)
            host.answered(int(number), body)
            return self._send(204)
        return self._send(404)

    def _parts(self) -> tuple[str, str]:
        """Return (token, path below it), or two empty texts for a request to another host."""
        if self.headers.get("Host", "") != self.server.host.address:  # a name that leads here, by DNS rebinding
            return "", ""
        token, slash, path = self.path.removeprefix("/").partition("?")[0].partition("/")
        return (token, path) if slash and token.isascii() else ("", "")

    def _cookie(self) -> str:
        pairs = (pair.strip().partition("=") for pair in self.headers.get("Cookie", "").split(";"))
        return next((value for name, _, value in pairs if name == "edgeproof" and value.isascii()), "")

    def _has(self, secret: str) -> bool:
        return bool(secret) and hmac.compare_digest(secret.encode(), self._cookie().encode())

    def _body(self, most: int) -> bytes | None:
        """Return the body; None where it is longer than `most`, or does not say how long it is."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or len(length) > 15 or int(length) > most:
            self.close_connection = True
            return None
        body = self.rfile.read(int(length))
        return body if len(body) == int(length) else None

    def _connected(self) -> bool:
        try:
            if not select.select([self.connection], [], [], 0)[0]:
                return True
            return bool(self.connection.recv(1, _PEEK))
        except (OSError, ValueError):
            return False

    def _head(self, status: int, kind: str, size: int, *, cache: str = "no-store", cookie: str = "") -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Cache-Control": cache}.items():
            self.send_header(name, value)
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def _send(self, status: int, content: bytes = b"", *, cookie: str = "") -> None:
        if status >= 400:
            self.close_connection = True  # what was sent may not have been read
        kind = "application/json" if content[:1] in (b"{", b"[") else "text/plain; charset=utf-8"
        self._head(status, kind, len(content), cookie=cookie)
        if status != 204:
            self.wfile.write(content)


_PEEK = 2  # socket.MSG_PEEK
