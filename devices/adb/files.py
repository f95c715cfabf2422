"""Files on an Android device: put there once by their SHA-256, checked, and removed again; and who times on it."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from ...core.children import Conversation, TooLongError
from ...core.quiet import pause
from ...core.runner import Outcome
from ...core.sanitize import shorten
from .client import QUESTION, Adb

_SUM = re.compile(r"^\\?([0-9a-f]{64}) [ *](\S+)$", re.M)
_SLOWEST = 200_000  # bytes a second
_HEX = "[0-9a-f]" * 64
_DAMAGED = ("a file was damaged on its way to {place}", "check the cable, and run this again")
# Held by a process there as long as its input is open: others see by it that the device is in use. One of the same run
# that is about to end is taken over.
_CLAIM = (
    "mkdir -p FOLDER && cd FOLDER || exit 90; : edgeproof-claim; "
    'busy() { p=$(cat claim/pid 2>/dev/null); [ -n "$p" ] && [ "$(cat claim/token)" != TOKEN ] '
    "&& grep -q edgeproof-claim /proc/$p/cmdline 2>/dev/null; }; "
    "if ! mkdir claim 2>/dev/null; then [ -s claim/pid ] || sleep 1; "
    "if busy; then echo busy; head -c 60 claim/host; echo; exit 0; fi; rm -rf claim; mkdir claim || exit 91; fi; "
    "echo 'HOST' >claim/host; echo TOKEN >claim/token; echo $$ >claim/pid; echo held; cat >/dev/null; "
    '[ "$(cat claim/pid)" != $$ ] || rm -rf claim'
)


class AdbFiles:
    """The files in one folder of a device. Its names are SHA-256s with a suffix; no name comes from the device."""

    def __init__(self, adb: Adb, folder: str, token: str) -> None:
        self._adb, self.folder, self._token = adb, folder, token
        self._there: set[str] = set()
        self._putting = threading.Lock()

    def forget(self) -> None:
        """Ask again what is there."""
        self._there.clear()

    def put(self, files: Mapping[str, Path]) -> Outcome | None:
        """Put files there under their names, unless they are there; return what failed, or None. For any thread."""
        with self._putting:  # runners of two targets need the same file at the same time
            return self._put(files)

    def _put(self, files: Mapping[str, Path]) -> Outcome | None:
        missing = [name for name in files if name not in self._there]
        if not missing:
            return None
        names = " ".join(missing)
        asked = self._adb.ask(
            f"mkdir -p {self.folder}/files && cd {self.folder}/files || exit 90; "
            f"for f in {names}; do [ ! -f $f ] || sha256sum $f; done",
            silence=10 * QUESTION,
        )
        if not asked.ok:
            return asked
        sums = {name: digest for digest, name in _SUM.findall(asked.data["output"].decode("utf-8", "replace"))}
        for name in missing:
            if sums.get(name) != name[:64] and (failure := self._push(name, files[name])):
                return failure
            self._there.add(name)
        return None

    def _push(self, name: str, path: Path) -> Outcome | None:
        place = f"{self.folder}/files/{name}"
        part = f"{place}.{self._token}.part"
        patience = QUESTION + path.stat().st_size / _SLOWEST
        pause()
        pushed = self._adb.run(self._adb.command("push", str(path.absolute()), part), silence=patience)
        if not pushed.ok:
            self._adb.ask(f"rm -f {part}")
            return pushed
        asked = self._adb.ask(f"chmod 755 {part} && sha256sum {part} && mv {part} {place}.checked", silence=patience)
        if not asked.ok:
            return asked
        sums = _SUM.findall(asked.data["output"].decode("utf-8", "replace"))
        if [digest for digest, _ in sums] != [name[:64]]:
            self._adb.ask(f"rm -f {place}.checked")
            return Outcome("failed", _DAMAGED[0].format(place=self._adb.place), _DAMAGED[1])
        moved = self._adb.ask(f"mv {place}.checked {place}")
        return None if moved.ok else moved

    def clean(self) -> Outcome:
        """Remove the files, and nothing that is not of this program. Data: ``files`` and ``bytes``."""
        asked = self._adb.ask(
            f"cd {self.folder} 2>/dev/null || exit 0; rm -rf work-*; "
            "p=$(cat claim/pid 2>/dev/null); grep -q edgeproof-claim /proc/$p/cmdline 2>/dev/null || rm -rf claim; "
            f"if cd files 2>/dev/null; then "
            f'for f in {_HEX}*; do [ -e "$f" ] || continue; '
            's=0; [ -d "$f" ] || s=$(wc -c <"$f"); rm -rf "$f" && echo "removed $s"; done; fi; '
            f"cd /; rmdir {self.folder}/files {self.folder} 2>/dev/null; true",
            silence=10 * QUESTION,
        )
        if not asked.ok:
            return asked
        self.forget()
        told = asked.data["output"].decode("utf-8", "replace")
        sizes = [int(size) for size in re.findall(r"^removed +(\d{1,15})$", told, re.M)]
        return Outcome("ok", data={"files": len(sizes), "bytes": sum(sizes)})


class Claim:
    """That this machine times files on a device: a process there that waits, until all users have closed it."""

    def __init__(self, adb: Adb, folder: str, host: str, token: str) -> None:
        self._adb, self._lock, self._closed = adb, threading.Lock(), False
        self._held: Outcome | None = None
        self._users: set[object] = set()
        named = re.sub(r"[^A-Za-z0-9._-]", "?", host)[:60]
        script = _CLAIM.replace("FOLDER", folder).replace("HOST", named).replace("TOKEN", token)
        self._process = Conversation(adb.shell(script), most_bytes=1 << 12) if adb.program else None

    def held(self) -> Outcome:
        """Wait until the device is this machine's; another outcome than ok says why it is not."""
        with self._lock:
            if self._held is None:
                self._held = self._wait()
            return self._held

    def _wait(self) -> Outcome:
        if self._process is None:
            return self._adb.ask("true")
        try:
            answer = self._process.hear(QUESTION)
            if answer == b"held":
                return Outcome("ok")
            host = self._process.hear(QUESTION) if answer == b"busy" else None
        except subprocess.TimeoutExpired:
            return Outcome("timeout", f"{self._adb.place} did not answer within {QUESTION:g} s", "run this again")
        except TooLongError:
            host = answer = b"?"
        if answer is not None:
            words = shorten((host or b"").decode("utf-8", "replace"), 60) or "another one"
            reason = f"the machine {words} is timing files on {self._adb.place}"
            return Outcome("skipped", reason, "run this again when it has ended")
        return self.lost()

    def lost(self) -> Outcome:
        """Return the outcome of the end of that process."""
        assert self._process is not None  # noqa: S101 (it was started)
        ending = self._process.ending()
        place = self._adb.place
        reason, remedy = (
            self._adb.explain(ending)
            or self._adb.on_device(ending.errors)
            or (f"the connection to {place} ended{ending.error_suffix}", "check the cable; run this again: it goes on")
        )
        return Outcome("crashed", reason, remedy)

    @property
    def ended(self) -> bool:
        """Whether the connection has ended in the meantime."""
        if self._process is None or self._held is None:
            return self._process is None
        try:
            return self._process.hear(0) is None
        except subprocess.TimeoutExpired:
            return False
        except TooLongError:
            return True

    def use(self, user: object) -> bool:
        """Note a user; return False if the claim is given up, refused or lost."""
        with self._lock:
            given_up = self._closed or (self._held is not None and (not self._held.ok or self.ended))
            if not given_up:
                self._users.add(user)
            return not given_up

    def close(self, user: object) -> None:
        """Leave the device to others, when the last user does. A user may do so twice."""
        with self._lock:
            last = self._users == {user}
            self._users.discard(user)
            if last and self._process is not None:
                self._closed = True
                self._process.close()
