"""The kind ``ssh``: a machine that the system's ``ssh`` reaches, over one shared connection.

The user's configuration counts (names, keys, jump hosts). Nothing is asked on the way: where ssh would ask for a
password or whether a key is right, the device is away, and the reason says what to do.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from ...core.children import Ending
from ...core.codec import sha256_of
from ...core.device_tables import DeviceTable, SshTable
from ...core.files import folder_for_sockets
from ...core.sanitize import shorten, slug
from .device import RemoteDevice

CONNECT_SECONDS = 10
# A connection on which nothing comes back for so long has ended: seconds, times.
_ALIVE = (5, 3)
# How long the shared connection stays if this process is killed.
_PERSIST = 120
_CLOSED = "the connection to {place} ended"
_CHECK = "check that the device is on and in the network (`ssh {host}`), and run this again: it goes on where it was"

# What ssh and the other side's shell say: pattern → (reason, remedy).
_MESSAGES: tuple[tuple[str, str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "{place} has another host key than the known one: it was installed anew, or another machine answers",
        "if it was installed anew: ssh-keygen -R {host}, then `ssh {host}` once to accept the new key",
    ),
    (
        r"Host key verification failed|No \S+ host key is known",
        "the host key of {place} is not known",
        "`ssh {host}` once, compare the key and accept it",
    ),
    (
        r"Permission denied \(([^)]*)\)",
        "{place} does not let you in without a password ({0})",
        "ssh-copy-id {host} puts your key there; ssh-add unlocks a key that has a passphrase",
    ),
    (
        r"Could not resolve hostname ([^\s:]+)",
        "the host {0} is not known in this network",
        "check `host` in devices.toml; an address works where a name does not",
    ),
    (
        r"Bad configuration option|Can't open user config file|[Bb]ad configuration options|Unsupported option",
        "ssh does not take its configuration: {words}",
        "correct that file",
    ),
    (r"Connection refused", "{place} refuses connections", "start the ssh server there: sudo systemctl start ssh"),
    (
        r"Connection timed out|Operation timed out|No route to host|Network is unreachable|Host is down",
        "{place} does not answer",
        _CHECK,
    ),
    (
        r"(?:Timeout, server|Connection (?:closed|reset)|Broken pipe|client_loop|Connection to \S+ closed|"
        r"kex_exchange_identification|Session open refused|read_passphrase|mux_client|Control socket|"
        r"Shared connection)",
        _CLOSED,
        _CHECK,
    ),
)
_NO_PYTHON = (
    "there is no {python} on {place}",
    "install Python 3.7 or newer there (Debian: sudo apt install python3), or name it: python = … in devices.toml",
)
_WRONG_PROGRAM = (
    "{place} cannot run {python}: {words}",
    "install a Python for the machine's own architecture there, or name it: python = … in devices.toml",
)
_OLD_PYTHON = ("the Python on {place} is too old: {words}", "install Python 3.7 or newer there, or name it: python = …")


class SshLink:
    """Runs programs on a machine over ssh. See `device.Link`."""

    def __init__(self, table: SshTable) -> None:
        self._table = table
        self.place = shorten(table.host)
        self._executable = shutil.which("ssh")

    @cached_property
    def _folder(self) -> Path:
        """The folder of the shared connection's socket. Sockets have short paths."""
        return Path(tempfile.mkdtemp(prefix="edgeproof-ssh-", dir=folder_for_sockets()))

    def command(self, size: int) -> list[str]:
        """Return the ssh command that runs a program of `size` bytes there."""
        folder, python = (_in_shell(text) for text in (self._table.folder, self._table.python))
        chosen = f"p={python}" if python else f'p={folder or _CACHE}/venv/bin/python; [ -x "$p" ] || p=python3'
        # -E: no PYTHON* variables; the current folder, which -c puts first, is taken out of the path.
        program = f"import sys;sys.path.pop(0);exec(sys.stdin.buffer.read({size}))"
        script = f'{chosen}; exec "$p" -E -c "{program}" -'
        return [*self._ssh(), "--", self._table.host, f"exec sh -c {shlex.quote(script)}"]

    def _ssh(self) -> list[str]:
        table = self._table
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": CONNECT_SECONDS,
            "ControlMaster": "auto",
            "ControlPath": f'"{self._folder}/c"',
            "ControlPersist": _PERSIST,
            "ServerAliveInterval": _ALIVE[0],
            "ServerAliveCountMax": _ALIVE[1],
            "LogLevel": "INFO",
        }
        command = [self._executable or "ssh", "-T"]
        command += [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        command += ["-F", str(Path(table.config).expanduser())] if table.config else []
        command += ["-l", table.user] if table.user else []
        return command + (["-p", str(table.port)] if table.port else [])

    def explain(self, ending: Ending) -> tuple[str, str] | None:
        """Return why the connection, or the start of Python, failed."""
        words = ending.last_error_line

        def said(reason: str, remedy: str, *groups: str) -> tuple[str, str]:
            facts = {
                "place": self.place, "host": self._table.host, "words": words,
                "python": self._table.python or "python3",
            }  # fmt: skip
            return reason.format(*groups, **facts), remedy.format(*groups, **facts)

        if ending.status == 127 or (ending.status == 126 and re.search(r"not found|No such file", words)):
            return said(*_NO_PYTHON)
        if ending.status == 126:
            return said(*_WRONG_PROGRAM)
        if ending.status == 1 and ("SyntaxError" in ending.errors or "has no attribute 'buffer'" in ending.errors):
            return said(*_OLD_PYTHON)
        if ending.status != 255:
            return None
        for pattern, reason, remedy in _MESSAGES:
            if match := re.search(pattern, ending.errors):
                return said(reason, remedy, *(shorten(group or "", 80) for group in match.groups()))
        # ssh ends in this way, and in silence, with its connection and where a signal ended the program there.
        return None if self._control("check") else said(_CLOSED, _CHECK)

    def _control(self, what: str) -> bool:
        """Ask the shared connection for something (``check``, ``exit``); return whether there is one."""
        if not (self._folder / "c").exists():
            return False
        with suppress(subprocess.TimeoutExpired, OSError):
            command = [*self._ssh(), "-O", what, "--", self._table.host]
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=CONNECT_SECONDS, check=False
            )
            return done.returncode == 0
        return False

    def close(self) -> None:
        """End the shared connection."""
        if "_folder" in vars(self):
            self._control("exit")
            shutil.rmtree(self._folder, ignore_errors=True)
            del self._folder


_CACHE = '"${XDG_CACHE_HOME:-$HOME/.cache}/edgeproof"'


def _in_shell(place: str) -> str:
    """Return a path as a word of the shell there; the table allows only plain characters in it."""
    return f'"$HOME/{place[2:]}"' if place.startswith("~/") else place


def open_device(name: str, table: DeviceTable) -> RemoteDevice:
    """Return a machine that ssh reaches. Nothing is started."""
    assert isinstance(table, SshTable)  # noqa: S101 (by its kind)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    facts = sha256_of(table.model_dump(mode="json"))[:12]
    known = cache / "edgeproof" / "devices" / f"{slug(name)}-{facts}.json"
    return RemoteDevice(name, SshLink(table), shelf=table.folder, known=known)
