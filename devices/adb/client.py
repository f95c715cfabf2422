"""Android's ``adb``: where it is, how it is asked, and what its messages mean.

The user's own program and its server do all the talking to devices. As the program does, it honours the variables
ADB_SERVER_SOCKET and ANDROID_ADB_SERVER_PORT.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from ...core import children
from ...core.children import Conversation, Ending, TooLongError
from ...core.device_tables import AdbTable
from ...core.runner import Outcome
from ...core.sanitize import shorten
from ..agent_runner import TOO_LONG, TOO_LONG_REMEDY

# Seconds for a question; and for a device at an address to be connected.
QUESTION, _CONNECT = 60.0, 15.0
_MOST_BYTES = 1 << 20  # of the reply to a question
# The exit status of `adb shell` when the connection ends. Version 29.0.6, which Debian 12 has, ends with 0, as after a
# script that has ended well: so the good end of a script has a status of its own.
_CUT = (255, 0)
_DONE = 64
_INSTALL = (
    "install Android's platform-tools (Debian: sudo apt install adb; without root: pip install adbutils), or "
    "name the program: adb = … in devices.toml"
)
_CHECK = "check the cable, and that `adb devices` lists it as `device`; then run this again: it goes on where it was"
# What adb says: pattern → (reason, remedy).
_MESSAGES: tuple[tuple[str, str, str], ...] = (
    (
        r"device unauthorized|device still authorizing",
        "{place} does not let this computer in",
        "unlock it and accept the question about USB debugging; if none comes: revoke the authorizations in its "
        "developer options, and connect it again",
    ),
    (
        r"device offline|device still connecting",
        "{place} is offline: it is connected and does not answer",
        "connect it again, or: adb reconnect",
    ),
    (
        r"more than one device|more than one emulator",
        "several devices are connected: {devices}",
        'name one in devices.toml: serial = "…"',
    ),
    (
        r"insufficient permissions|no permissions|missing udev rules",
        "this user may not open {place}",
        "allow it (Debian: sudo apt install android-sdk-platform-tools-common; group plugdev), and connect it again",
    ),
    (
        r"no devices/emulators found|no devices found",
        "no Android device is connected",
        "switch on USB debugging in its developer options and connect it by cable; `adb devices` must list it",
    ),
    (
        r"device '[^']*' not found|device not found|no such device|failed to connect to",
        "{place} is not connected",
        _CHECK,
    ),
    (
        r"cannot connect to daemon|failed to start daemon|daemon (?:still )?not running|didn't ACK|"
        r"could not (?:read|install) \S*socket|failed to check server version",
        "adb's server cannot be reached: {words}",
        "adb kill-server, then adb devices; see that ANDROID_ADB_SERVER_PORT and ADB_SERVER_SOCKET name the one in use",
    ),
    (r"protocol fault|error: closed|connection reset|device went away", "the connection to {place} ended", _CHECK),
)
_FULL = ("{place} is full", "free some space there, or: edgeproof devices clean {name}")
_NOT_WRITABLE = ("{place} cannot write its folder: {words}", "name a folder that can be written: folder = …")


@dataclass(frozen=True)
class Missing:
    """What prevents all use of a device: why, and what to do."""

    reason: str
    remedy: str


def find_adb(named: str = "") -> str | None:
    """Return the path of ``adb``: the named one, or that of PATH, the Android SDK or the package adbutils."""
    if named:
        return shutil.which(str(Path(named).expanduser()))
    if found := shutil.which("adb"):
        return found
    folders = [os.environ.get("ANDROID_HOME", ""), os.environ.get("ANDROID_SDK_ROOT", ""), "~/Android/Sdk"]
    folders += ["~/Library/Android/sdk"] if sys.platform == "darwin" else []
    for folder in filter(None, folders):
        if found := shutil.which("adb", path=str(Path(folder).expanduser() / "platform-tools")):
            return found
    spec = find_spec("adbutils")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return next((found for place in places if (found := shutil.which("adb", path=f"{place}/binaries"))), None)


class Adb:
    """One Android device, by ``adb``."""

    def __init__(self, name: str, table: AdbTable) -> None:
        self.name, self._table = name, table
        self.place = shorten(table.serial) or "the phone"
        self.program = find_adb(table.adb)
        self._connected = threading.Event()

    def command(self, *arguments: str) -> list[str]:
        """Return the command of adb that does something with this device. One at an address is connected first."""
        if self.program and re.search(r":\d+$", self._table.serial) and not self._connected.is_set():
            self._connected.set()
            self._connect(self.program)
        serial = ["-s", self._table.serial] if self._table.serial else []
        return [self.program or "adb", *serial, *arguments]

    def _connect(self, program: str) -> None:
        """Connect a device at an address. One whose connection ended stays listed as offline until it is removed."""
        serial = self._table.serial
        with suppress(subprocess.TimeoutExpired):
            children.run([program, "connect", serial], timeout=_CONNECT)
            state = children.run([program, "-s", serial, "get-state"], timeout=_CONNECT)
            if b"offline" in state.output or "offline" in state.errors:
                children.run([program, "disconnect", serial], timeout=_CONNECT)
                children.run([program, "connect", serial], timeout=_CONNECT)

    def shell(self, script: str) -> list[str]:
        """Return the command that runs a script of the device's shell. Its streams and its status come through."""
        return self.command("shell", "-T", script)

    def ask(
        self, script: str, *, silence: float = QUESTION, most_bytes: int = _MOST_BYTES, input: bytes = b""
    ) -> Outcome:
        """Run a script there; data: ``output``, its bytes. What the connection did to it has a reason and a remedy."""
        marked = self.shell(f"({script}); s=$?; [ $s = 0 ] && exit {_DONE}; exit $s")
        return self.run(marked, silence=silence, most_bytes=most_bytes, input=input, done=_DONE)

    def run(
        self,
        command: list[str],
        *,
        silence: float,
        most_bytes: int = _MOST_BYTES,
        input: bytes = b"",
        done: int = 0,
    ) -> Outcome:
        """Run a command of adb to its end. `done` is its exit status if all is well."""
        if self.program is None:
            return Outcome("skipped", "there is no adb here", _INSTALL)
        with Conversation(command, most_bytes=most_bytes) as process:
            try:
                process.send([input], silence=silence)
                output = process.hear_all(silence)
            except subprocess.TimeoutExpired:
                return Outcome(
                    "timeout",
                    f"{self.place} did not answer within {silence:g} s",
                    "check the connection; run this again",
                )
            except TooLongError:
                return Outcome("failed", TOO_LONG, TOO_LONG_REMEDY)
            ending = process.ending()
        if ending.status == done:
            return Outcome("ok", data={"output": output})
        if not ending.errors:  # version 29.0.6 says on standard output why a push failed
            ending = replace(ending, errors=output.decode("utf-8", "replace"))
        lost = self.explain(ending)
        reason, remedy = lost or self.on_device(ending.errors) or ("", "")
        return Outcome(
            "crashed",
            reason or f"a command on {self.place} {ending.how}{ending.error_suffix}",
            remedy or "see what that device's log says: adb logcat",
            {"status": ending.status, "errors": ending.errors, "lost": lost is not None},
        )

    def explain(self, ending: Ending) -> tuple[str, str] | None:
        """Return (reason, remedy) if the connection ended or was none; None if the program there ended."""
        if self.program is None:
            return "there is no adb here", _INSTALL
        said = [line for line in ending.errors.splitlines() if re.match(r"(adb: |error: |\* |- waiting)", line)]
        words = "\n".join(said)
        for pattern, reason, remedy in _MESSAGES:
            if re.search(pattern, words):
                self._connected.clear()
                facts = {"place": self.place, "words": shorten(said[-1], 200), "name": self.name}
                return reason.format(**facts, devices=self._listed() if "{devices}" in reason else ""), remedy
        if ending.status in _CUT:
            self._connected.clear()
            return f"the connection to {self.place} ended", _CHECK
        return None

    def on_device(self, errors: str) -> tuple[str, str] | None:
        """Return (reason, remedy) for what the device's own programs say about its storage."""
        facts = {"place": self.place, "name": self.name, "words": shorten(errors.strip().split("\n")[-1], 200)}
        if re.search(r"No space left on device|Disk quota exceeded|ENOSPC", errors):
            return _FULL[0].format(**facts), _FULL[1].format(**facts)
        if re.search(r"Read-only file system|Permission denied", errors):
            return _NOT_WRITABLE[0].format(**facts), _NOT_WRITABLE[1]
        return None

    def version(self) -> str:
        """Return the program's version, or an empty text."""
        with suppress(subprocess.TimeoutExpired, OSError):
            if self.program:
                output = children.run([self.program, "version"], timeout=QUESTION).output.decode("utf-8", "replace")
                found = re.search(r"^Version (\S+)", output, re.M)
                return shorten(found[1] if found else output.split("\n")[0], 60)
        return ""

    def _listed(self) -> str:
        """Return the serials of the connected devices, in words."""
        with suppress(subprocess.TimeoutExpired, OSError):
            lines = children.run([self.program or "adb", "devices"], timeout=QUESTION).output.decode("utf-8", "replace")
            return ", ".join(shorten(line.split("\t")[0], 60) for line in lines.splitlines()[1:] if "\t" in line)
        return ""
