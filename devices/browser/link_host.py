"""Holds the page that a link has opened, until it is stopped; other processes of this user use the page through it.

It serves the page to one browser (`page_host.PageHost`), and on loopback, behind a secret, what `link.LinkDevice` asks.
Where that is stands in a file that only the user can read.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from ...core.children import TooLongError
from ...core.errors import InputError
from ...core.sanitize import shorten
from ...core.target import Target
from ..remote.replies import ReplyError
from . import packages as browser_packages
from .page_host import GoneError, HostTalk, PageHost
from .page_replies import read_about
from .page_runtimes import missing_page_runtime

_GRACE = 20.0  # seconds of a network that is away
_STEP = 0.2
_MOST_SECONDS = 86400.0
MOST_FILE = 1 << 31


def links_folder() -> Path:
    """Return the folder of the files that say where links are held."""
    return browser_packages.browser_cache() / "links"


def hold(
    name: str, bind: str, tell: Callable[[str, str], None], stop: threading.Event, *, grace: float = _GRACE
) -> None:
    """Serve a page on an address until `stop` is set; ``tell(kind, text)`` says what happens.

    Kinds: ``link`` (the text is a link that has not been used), ``here`` (the page's browser), ``gone`` (why).
    `grace` is for how many seconds a page may be silent.
    Raises InputError for an address that is not this machine's, without packages, and for a name that is held already.
    """
    check_address(bind)
    if missing := missing_page_runtime(name, Target(name, "litert-js")):
        raise InputError(*missing)
    folder = links_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = folder / f"{name}.json"
    if (other := read_place(place)) is not None:
        raise InputError(f"{name} is linked already, by process {other['pid']}", "end that one, or give another --name")
    host = PageHost(name, browser_packages.served_files(), bind=bind, grace=grace)
    control = _Control(host)
    try:
        _write_place(place, {"port": control.server_address[1], "secret": control.secret, "pid": os.getpid()})
        _watch(host, tell, stop)
    finally:
        with suppress(OSError):
            place.unlink()
        control.shutdown()
        control.server_close()
        host.close()


def _watch(host: PageHost, tell: Callable[[str, str], None], stop: threading.Event) -> None:
    while not stop.is_set():
        tell("link", host.link())
        while not host.claimed.is_set():
            if stop.wait(_STEP):
                return
        try:
            tell("here", read_about(host.about).agent)
        except ReplyError as error:
            host.leave(str(error))
        while not (reason := host.gone):
            if stop.wait(_STEP):
                return
        tell("gone", reason)


def _write_place(path: Path, place: dict[str, Any]) -> None:
    """Write where a link is held, for this user alone."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        json.dump(place, stream)
    part.replace(path)


def _own_addresses() -> list[str]:
    """Return this machine's IPv4 addresses."""
    return sorted(
        {one.address for found in psutil.net_if_addrs().values() for one in found if one.family.name == "AF_INET"}
    )


def check_address(bind: str) -> None:
    """Raise InputError unless an address is one of this machine's own, so that the link says where the page is."""
    if bind not in (own := _own_addresses()):
        raise InputError(f"{shorten(bind)} is no IPv4 address of this machine", f"--bind takes one of {', '.join(own)}")


def read_place(path: Path) -> dict[str, Any] | None:
    """Return where a link is held: ``port``, ``secret``, ``pid``; None where the process is gone, or there is none."""
    try:
        place = json.loads(path.read_text("utf-8"))
        alive = psutil.pid_exists(int(place["pid"])) and 0 < int(place["port"]) < 65536
        return {"port": int(place["port"]), "secret": str(place["secret"]), "pid": int(place["pid"])} if alive else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


class _Control(ThreadingHTTPServer):
    """What other processes of this user ask of a page."""

    daemon_threads = True

    def __init__(self, host: PageHost) -> None:
        self.host = host
        self.secret = secrets.token_urlsafe(32)
        self.lock = threading.Lock()
        self.owner = (0, "")  # the process that uses the page, and its token
        self.talks: dict[int, HostTalk] = {}
        self._number = 0
        super().__init__(("127.0.0.1", 0), _ControlHandler)
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: who asks may be ended at any time."""

    def begin(self, owner: str, pid: int) -> int | None:
        """Start a worker for a process; return its number, or None while another process has some."""
        with self.lock:
            if self.owner[1] != owner and self.talks:
                if psutil.pid_exists(self.owner[0]):
                    return None
                for talk in self.talks.values():  # of a process that was killed
                    talk.close()
                self.talks.clear()
            self.owner = (pid, owner)
            self._number += 1
            self.talks[self._number] = self.host.talk()
            return self._number

    def end(self, number: int) -> None:
        """End a worker."""
        with self.lock:
            talk = self.talks.pop(number, None)
        if talk is not None:
            talk.close()


class _ControlHandler(BaseHTTPRequestHandler):
    server: _Control
    protocol_version = "HTTP/1.1"
    timeout = 60.0

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Do what is asked: ``about``, ``begin``, ``put/N``, ``ask/N/SECONDS``, ``end/N``; N is a worker's number."""
        given = self.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self.server.secret}".encode()):
            return self._send(403)
        body = self.rfile.read(min(int(self.headers.get("Content-Length", "0")), MOST_FILE))
        verb, *parts = self.path.strip("/").split("/")
        if verb == "about":
            host = self.server.host
            about = host.about.decode("utf-8", "replace") if host.claimed.is_set() and not host.gone else ""
            here = host.peer in _own_addresses()
            return self._send(200, json.dumps({"about": about, "here": here}).encode())
        if verb == "begin":
            asked = json.loads(body)
            number = self.server.begin(str(asked["owner"]), int(asked["pid"]))
            return self._send(409) if number is None else self._send(200, json.dumps(number).encode())
        number = int(parts[0])
        if verb == "end":
            self.server.end(number)
            return self._send(204)
        talk = self.server.talks.get(number)
        if talk is None:
            return self._send(410, b"another edgeproof has taken the page")
        if verb == "put":
            return self._send(200, json.dumps(talk.put(body)).encode())
        try:
            return self._send(200, talk.ask(json.loads(body), min(float(parts[1]), _MOST_SECONDS)))
        except GoneError as error:
            return self._send(410, str(error).encode())
        except subprocess.TimeoutExpired:
            return self._send(504)
        except TooLongError:
            return self._send(413)

    def _send(self, status: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
