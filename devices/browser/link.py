"""The kind ``link``: the page that a phone's browser has opened, which `edgeproof devices link` holds."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...core.children import TooLongError
from ...core.codec import write_json
from ...core.device import THIS_MACHINE, Check
from ...core.device_tables import DeviceTable, LinkTable
from ...core.runner import Outcome
from ...core.sanitize import shorten
from ...core.target import Target
from ..remote.replies import ReplyError
from .link_host import MOST_FILE, links_folder, read_place
from .page_host import MOST_BYTES, BusyError, GoneError
from .page_replies import AboutPage, read_about
from .page_runtimes import PageOwner, missing_page_runtime, package_checks, page_packages

_QUESTION = 20.0
_AGAIN = 2.0  # seconds for which an answer about the page counts
# Of a phone's memory, what its browser may give a page; where it says nothing, that of a small phone.
_SHARE, _MEMORY = 4, 1 << 30


class LinkTalk:
    """A worker of a page that another process holds. See `page_host.Talk`."""

    def __init__(self, device: LinkDevice, number: int) -> None:
        self._device, self._number = device, number

    def ask(self, request: Mapping[str, Any], seconds: float) -> bytes:
        """Return the answer to a request."""
        status, content = self._device.post(f"ask/{self._number}/{seconds:.3f}", json.dumps(request).encode(), seconds)
        if status == 504:
            raise subprocess.TimeoutExpired(["page"], seconds)
        if status == 413:
            raise TooLongError
        if status != 200:
            raise GoneError(shorten(content.decode("utf-8", "replace"), 300) or f"the link answers {status}")
        return content

    def put(self, content: bytes | Path) -> tuple[str, int]:
        """Have the page able to fetch some bytes."""
        body = content.read_bytes() if isinstance(content, Path) else content
        if len(body) > MOST_FILE:
            raise GoneError("the file is too large for a page")
        status, answer = self._device.post(f"put/{self._number}", body, _QUESTION)
        if status != 200:
            raise GoneError(shorten(answer.decode("utf-8", "replace"), 300) or f"the link answers {status}")
        name, size = json.loads(answer)
        return str(name), int(size)

    def memory(self) -> int | None:
        """Return None: a page is not told its process's memory."""
        return None

    def close(self) -> None:
        """End the worker."""
        with suppress(GoneError, subprocess.TimeoutExpired):
            self._device.post(f"end/{self._number}", b"", _QUESTION)


class LinkDevice(PageOwner):
    """A linked page: see `core.device.Device`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._owner = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._asked = 0.0
        self._about: AboutPage | None = None
        self._here = False

    @property
    def back(self) -> str:
        """What to do when the page is gone."""
        return f"open the link that `{self._command}` shows now, and run this again: what was measured stays"

    @property
    def _command(self) -> str:
        return "edgeproof devices link" if self.name == "link" else f"edgeproof devices link --name {self.name}"

    @property
    def place(self) -> str:
        """Another machine, unless its page came from this one."""
        self.about()
        return THIS_MACHINE if self._here else self.name

    def post(self, path: str, body: bytes, seconds: float) -> tuple[int, bytes]:
        """Ask the process that holds the link; return its status and answer. Raises GoneError where there is none."""
        place = read_place(links_folder() / f"{self.name}.json")
        if place is None:
            raise GoneError(f"nothing is linked as {self.name}")
        connection = http.client.HTTPConnection("127.0.0.1", place["port"], timeout=seconds + _QUESTION)
        try:
            connection.request("POST", f"/{path}", body, {"Authorization": f"Bearer {place['secret']}"})
            answer = connection.getresponse()
            content = answer.read(MOST_BYTES + 1)
            return answer.status, content
        except TimeoutError:
            raise subprocess.TimeoutExpired(["link"], seconds) from None
        except (OSError, http.client.HTTPException):
            raise GoneError(f"the process that held {self.name} has ended") from None
        finally:
            connection.close()

    def about(self) -> AboutPage | None:
        """Return what the page says of itself; None without a page."""
        with self._lock:
            if time.monotonic() - self._asked < _AGAIN:
                return self._about
            self._about, self._asked = None, time.monotonic()
            with suppress(GoneError, ReplyError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
                told = json.loads(self.post("about", b"", _QUESTION)[1])
                if told["about"]:
                    self._about, self._here = read_about(told["about"].encode()), told["here"] is True
                    with suppress(OSError):
                        write_json(self._known, json.loads(told["about"]), durable=False)
            return self._about

    @property
    def _known(self) -> Path:
        return links_folder() / f"{self.name}.last.json"

    def _last(self) -> AboutPage | None:
        """Return what the page said last: stored figures are of it, while it is away."""
        about = self.about()
        if about is None:
            with suppress(OSError, ReplyError):
                about = read_about(self._known.read_bytes())
        return about

    def talk(self, target: Target, seconds: float) -> LinkTalk:
        """Return a new worker of the page."""
        status, content = self.post(
            "begin", json.dumps({"owner": self._owner, "pid": os.getpid()}).encode(), min(seconds, _QUESTION)
        )
        if status == 409:
            raise BusyError(f"another edgeproof is using the page of {self.name}")
        if status != 200:
            raise GoneError(f"the link answers {status}")
        return LinkTalk(self, int(json.loads(content)))

    def page_identity(self) -> dict[str, Any]:
        """Return the device and its browser, of the page that was there last."""
        about = self._last()
        if about is None:
            return {"cpu": "", "cores": 0, "browser": ""}
        return {"cpu": about.model or about.platform, "cores": about.cores, "browser": about.agent,
                "isolated": about.isolated}  # fmt: skip

    def conditions(self) -> dict[str, Any]:
        """Return nothing: a page is told of no load."""
        return {}

    def free_bytes(self) -> int:
        """Return the memory that workers can take, as far as the page says it."""
        about = self._last()
        return int(about.memory_gb * 2**30) // _SHARE if about is not None and about.memory_gb else _MEMORY

    def away(self, target: Target) -> Outcome | None:
        """Return why a target cannot be run now; with a page, a rerun goes on."""
        missing = self.missing_runtime(target)
        if missing is None:
            return None
        return Outcome("skipped" if self.about() is None else "unsupported", *missing)

    def missing_runtime(self, target: Target) -> tuple[str, str] | None:
        """Return why a target cannot be run, and what to do."""
        if missing := missing_page_runtime(self.name, target):
            return missing
        about = self.about()
        if about is None:
            return f"no page is open for {self.name}", f"{self._command}, and open its link in the phone's browser"
        if target.engine.device == "webgpu" and about.adapter is None:
            why = "finds no GPU" if about.secure else "has no WebGPU: browsers allow it on https and on loopback alone"
            return f"the page {why}", f"write {self.name}/litert-js"
        return None

    def environment(self) -> dict[str, Any]:
        """Return what the page says of its device."""
        about = self.about()
        if about is None:
            reason, remedy = self.missing_runtime(Target(self.name, "litert-js")) or ("", "")
            return {"unreachable": reason, "remedy": remedy, "packages": {}}
        facts: dict[str, Any] = {
            "cpu": about.model or about.platform or "unknown",
            "architecture": "unknown",
            "cores": about.cores,
            "memory_bytes": int((about.memory_gb or 0) * 2**30),
            "os": about.platform or "unknown",
            "python": sys.version.split()[0],
            "browser": about.agent,
            "isolated": about.isolated,
            "packages": page_packages(),
        }
        return facts if about.battery is None else {**facts, "battery_percent": about.battery.percent}

    def checks(self, *, fix: bool = False) -> list[Check]:
        """Check the packages and the page."""
        checks = package_checks(self.name, fix=fix)
        about = self.about()
        if about is None:
            missing = self.missing_runtime(Target(self.name, "litert-js"))
            return [check for check in checks if check.state != "ok"] or [
                Check("page", "missing", *(missing or ("", "")))
            ]
        checks.append(Check("page", "ok", f"{about.agent}; {about.cores} cores"))
        if not about.isolated:
            remedy = "for more, put the phone on USB: adb reverse, and open the link on 127.0.0.1"
            checks.append(Check("threads", "note", "one: the page is not isolated (plain http)", remedy))
        if about.battery is not None:
            checks.append(Check("battery", "ok", f"{about.battery.percent:.0f} %"))
        return checks

    def clean(self) -> str:
        """Forget the page that was there last."""
        with suppress(OSError):
            self._known.unlink()
        return "nothing is kept there: a page's files go with it"

    def close(self) -> None:
        """Do nothing: the page stays for the next command."""


def open_device(name: str, table: DeviceTable) -> LinkDevice:
    """Return a linked page. Nothing is started."""
    assert isinstance(table, LinkTable)  # noqa: S101 (by its kind)
    return LinkDevice(name)
