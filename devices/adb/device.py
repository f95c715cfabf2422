"""The kind ``adb``: an Android device. What has Python runs the agent there, as over ssh.

Android's shell user may not enter an app's files. Python of an app such as Termux is therefore started by ``run-as``,
which takes a debuggable build of it; where there is none, Termux's own ssh server is reached by the kind ``ssh``.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from ...core.children import Ending
from ...core.codec import sha256_of
from ...core.device_tables import AdbTable, DeviceTable
from ...core.sanitize import slug
from .client import Adb
from .phone import AdbPhone

_NO_PYTHON = (
    "there is no {python} on {place}",
    "name one that adb's shell may run, python = …, or an app that has one, run_as = …, in devices.toml",
)
_WRONG_PROGRAM = ("{place} cannot run {python}: {words}", "name a Python for that device's own processor: python = …")
_OLD_PYTHON = ("the Python on {place} is too old: {words}", "install Python 3.7 or newer there, or name it: python = …")
_NO_RUN_AS = (
    "{place} does not run programs as {app}: {words}",
    "install a debuggable build of it (Termux: the one of its GitHub releases), or run sshd in it: "
    'docs/devices.md, `kind = "adb"`',
)


class AdbLink:
    """Runs Python programs on an Android device. See `remote.device.Link`."""

    def __init__(self, table: AdbTable, adb: Adb) -> None:
        self._table, self._adb = table, adb
        self.place = adb.place

    @property
    def python(self) -> str:
        """The Python that is started."""
        if self._table.python:
            return self._table.python
        return f"/data/data/{self._table.run_as}/files/usr/bin/python" if self._table.run_as else "python3"

    def command(self, size: int) -> list[str]:
        """Return the adb command that runs a program of `size` bytes there."""
        # -E: no PYTHON* variables; the current folder, which -c puts first, is taken out of the path.
        program = f"import sys;sys.path.pop(0);exec(sys.stdin.buffer.read({size}))"
        python = f'"$HOME/{self.python[2:]}"' if self.python.startswith("~/") else self.python
        script = f'exec {python} -E -c "{program}" -'
        if app := self._table.run_as:
            # run-as keeps the shell's variables; the app's programs need their own.
            own = {"HOME": "home", "PREFIX": "usr", "TMPDIR": "usr/tmp", "PATH": "usr/bin:$PATH"}
            exports = " ".join(f"{name}=/data/data/{app}/files/{value}" for name, value in own.items())
            script = f"export {exports}; {script}"
            script = f"exec run-as {app} sh -c {shlex.quote(script)}"
        return self._adb.shell(script)

    def explain(self, ending: Ending) -> tuple[str, str] | None:
        """Return why the connection, or the start of Python, failed."""
        if found := self._adb.explain(ending):
            return found
        words = ending.last_error_line
        facts = {"place": self.place, "words": words, "python": self.python, "app": self._table.run_as}

        def said(pair: tuple[str, str]) -> tuple[str, str]:
            return pair[0].format(**facts), pair[1]

        if re.search(r"run-as: |not debuggable|unknown package", ending.errors):
            return said(_NO_RUN_AS)
        if ending.status == 127 or (ending.status == 126 and re.search(r"not found|No such file", words)):
            return said(_NO_PYTHON)
        if ending.status == 126:
            return said(_WRONG_PROGRAM)
        if ending.status == 1 and ("SyntaxError" in ending.errors or "has no attribute 'buffer'" in ending.errors):
            return said(_OLD_PYTHON)
        return None

    def close(self) -> None:
        """Do nothing: each command is a connection of its own, and adb's server is the user's."""


def open_device(name: str, table: DeviceTable) -> AdbPhone:
    """Return an Android device. Nothing is started."""
    assert isinstance(table, AdbTable)  # noqa: S101 (by its kind)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    facts = sha256_of(table.model_dump(mode="json"))[:12]
    known = cache / "edgeproof" / "devices" / f"{slug(name)}-{facts}.json"
    adb = Adb(name, table)
    return AdbPhone(name, table, adb, AdbLink(table, adb), known=known)
