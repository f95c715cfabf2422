"""A real sshd, started as the user who runs the tests, on loopback; and a folder that stands for a device's home."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from edgeproof.core.device_tables import Devices, SshTable

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
MISSING = "sshd and ssh are not installed (Debian: openssh-server, openssh-client)"


@dataclass
class SshServer:
    """A running sshd. `home` is the folder of the device's files, `config` the client's configuration."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        return self.folder / "shelf"

    @property
    def config(self) -> Path:
        return self.folder / "client" / "config"

    def table(self, **changes: object) -> SshTable:
        """The table that declares it; Python is the one of the tests."""
        facts = {"host": "board", "config": str(self.config), "python": sys.executable, "folder": str(self.home)}
        return SshTable.model_validate({**facts, **changes})

    def devices(self, **changes: object) -> Devices:
        return Devices({"board": self.table(**changes)})

    def sessions(self) -> list[psutil.Process]:
        """The server's processes of connections, and what they started."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def cut(self) -> None:
        """Pull the cable: end all connections and what runs over them."""
        for process in self.sessions():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Stop the server and what runs over its connections for a while: nothing is closed, and nothing comes."""
        processes = [psutil.Process(self.process.pid), *self.sessions()]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def stop(self) -> None:
        self.cut()
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def ssh_server(folder: Path, *options: str, forced: str = "") -> Iterator[SshServer]:
    """Start sshd with its own keys; skip the test where there is none. `forced` replaces each command."""
    if SSHD is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip(MISSING)
    client = folder / "client"
    client.mkdir(parents=True, mode=0o700)
    for key in (folder / "host_key", client / "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    lines = [
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder}/host_key", f"PidFile {folder}/pid",
        f"AuthorizedKeysFile {client}/key.pub", "StrictModes no", "UsePAM no", "PasswordAuthentication no",
        "KbdInteractiveAuthentication no", "PermitRootLogin yes", "MaxSessions 10", *options,
        *([f"ForceCommand {forced}"] if forced else []),
    ]  # fmt: skip
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    host_key = (folder / "host_key.pub").read_text().split()[:2]
    (client / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(host_key)}\n")
    (client / "config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n  IdentityFile {client}/key\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {client}/known_hosts\n  GlobalKnownHostsFile none\n"
    )
    log = (folder / "sshd.log").open("wb")
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log)
    server = SshServer(folder, port, process)
    try:
        _wait(server)
        yield server
    finally:
        server.stop()
        log.close()


def _wait(server: SshServer) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=1):
            return
        if server.process.poll() is not None:
            break
        time.sleep(0.02)
    pytest.skip(f"sshd does not start here: {(server.folder / 'sshd.log').read_text()[-300:]}")
