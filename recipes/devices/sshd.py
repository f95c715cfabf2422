"""A board for recipes/devices.toml: a real sshd on this machine, as the user who runs this, on loopback.

    python recipes/devices/sshd.py edgeproof run recipes/devices.toml

starts it, runs the command, and stops it; without a command it runs until Ctrl-C. Keys, and what the recipe names (an
ssh configuration, and a `python` that is this one), are made in ~/.cache/edgeproof/board and nowhere else.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

FOLDER = Path.home() / ".cache" / "edgeproof" / "board"
SYSTEM = "/usr/sbin:/usr/local/sbin:/sbin"  # not every user's PATH has them
PROGRAMS = ("sshd", "ssh", "ssh-keygen")
SECONDS = 20.0
_ENDS = (signal.SIGINT, signal.SIGTERM)


def program(name: str) -> str | None:
    """Return where a program is."""
    return shutil.which(name) or shutil.which(name, path=SYSTEM)


def start(folder: Path = FOLDER) -> subprocess.Popen[bytes] | None:
    """Start sshd and write the configuration to reach it; None, with the reason on stderr, if it cannot be started."""
    if missing := [name for name in PROGRAMS if program(name) is None]:
        sys.stderr.write(f"no board: {', '.join(missing)} not found (Debian: openssh-server, openssh-client)\n")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for key in (folder / "host_key", folder / "key"):
        if not key.exists():
            command = [str(program("ssh-keygen")), "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    if os.getuid() == 0:  # sshd asks for it, of root alone
        with suppress(OSError):
            Path("/run/sshd").mkdir(exist_ok=True)
    (folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "python").chmod(0o755)
    (folder / "sshd_config").write_text(
        f'Port {port}\nListenAddress 127.0.0.1\nHostKey "{folder}/host_key"\nPidFile none\n'
        f'AuthorizedKeysFile "{folder}/key.pub"\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n'
        "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nMaxSessions 20\n"
    )
    host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (folder / "config").write_text(
        f'Host board\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n  IdentityFile "{folder}/key"\n'
        f'  IdentitiesOnly yes\n  UserKnownHostsFile "{folder}/known_hosts"\n  GlobalKnownHostsFile none\n'
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(program("sshd")), "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and server.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return server
        time.sleep(0.05)
    stop(server)
    sys.stderr.write(f"no board: sshd does not start: {(folder / 'log').read_text()[-500:].strip()}\n")
    return None


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop sshd."""
    with suppress(ProcessLookupError):
        server.terminate()
    server.wait()


def main(command: Sequence[str]) -> int:
    """Run a command with the board beside it, and without it where it cannot be started; return its exit status."""
    server = start()
    try:
        if command:
            return _run(command)
        if server is not None:
            sys.stdout.write(f"the board is there: ssh -F {FOLDER}/config board; Ctrl-C ends it\n")
            sys.stdout.flush()
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
            signal.sigwait(_ENDS)
        return 0 if server is not None else 1
    finally:
        if server is not None:
            stop(server)


def _run(command: Sequence[str]) -> int:
    """Run a command to its end. Ctrl-C reaches it by the terminal, and a signal to end is passed on."""
    with subprocess.Popen(command) as process:
        before = {end: signal.getsignal(end) for end in _ENDS}
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            return process.wait()
        finally:
            for end, handler in before.items():
                signal.signal(end, handler)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
