"""A device for the real ``adb``: a server on loopback that speaks the protocol of Android's adbd.

It is no phone and says so wherever it is asked what it is. Its shell runs commands of this machine in a folder of its
own, with a few programs that a phone has (`getprop`, `dumpsys`). The protocol is described in adb's sources
(``protocol.txt``, ``shell_protocol.h``, ``SYNC.TXT``).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core.device_tables import AdbTable, Devices
from edgeproof.devices.adb.client import find_adb

MODEL = "edgeproof test device, not a phone"
MISSING = "adb is not installed (pip install adbutils has it)"
_VERSION, _MOST = 0x01000001, 1 << 18
# Packets of the shell protocol.
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)


def _message(command: bytes, first: int, second: int, data: bytes = b"") -> bytes:
    number = int.from_bytes(command, "little")
    return struct.pack("<6I", number, first, second, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF) + data


@dataclass
class _Stream:
    """A stream of a connection: what comes for it, and whether the other side is ready for more."""

    inbox: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    ready: asyncio.Event = field(default_factory=asyncio.Event)


class _Connection:
    def __init__(self, device: AdbDevice, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._device, self._reader, self._writer = device, reader, writer
        self._streams: dict[int, _Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._processes: list[asyncio.subprocess.Process] = []
        self._device.processes = [one for one in device.processes if one.returncode is None]

    async def serve(self) -> None:
        try:
            while True:
                command, first, second, length, _, _ = struct.unpack("<6I", await self._reader.readexactly(24))
                data = await self._reader.readexactly(length)
                await self._handle(command.to_bytes(4, "little"), first, second, data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.end()

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self._writer.close()

    async def _handle(self, command: bytes, first: int, second: int, data: bytes) -> None:
        if command == b"CNXN":
            if self._device.unauthorized:
                await self._send(b"AUTH", 1, 0, os.urandom(20))
            else:
                banner = f"device::ro.product.name=none;ro.product.model={MODEL};ro.product.device=none;"
                await self._send(b"CNXN", _VERSION, _MOST, f"{banner}features=shell_v2,cmd".encode())
        elif command == b"AUTH" and self._device.unauthorized:
            if first == 2:
                await self._send(b"AUTH", 1, 0, os.urandom(20))
        elif command == b"OPEN":
            own = len(self._streams) + 1
            self._streams[own] = stream = _Stream()
            stream.ready.set()
            task = asyncio.create_task(self._open(data.rstrip(b"\0").decode(), own, first, stream))
            self._tasks.add(task)
        elif command == b"WRTE" and (stream_ := self._streams.get(second)) is not None:
            stream_.inbox.put_nowait(data)
            await self._send(b"OKAY", second, first)
        elif command == b"OKAY" and second in self._streams:
            self._streams[second].ready.set()
        elif command == b"CLSE" and second in self._streams:
            self._streams[second].inbox.put_nowait(None)
            self._streams[second].ready.set()

    async def _send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        self._writer.write(_message(command, first, second, data))
        await self._writer.drain()

    async def _open(self, service: str, own: int, theirs: int, stream: _Stream) -> None:
        async def write(data: bytes) -> None:
            for start in range(0, len(data), _MOST):
                await stream.ready.wait()
                stream.ready.clear()
                await self._send(b"WRTE", own, theirs, data[start : start + _MOST])

        kind, _, argument = service.partition(":")
        with suppress(ConnectionError):
            if kind.startswith("shell,v2") or kind == "sync":
                await self._send(b"OKAY", own, theirs)
                if kind == "sync":
                    await _Sync(self._device, stream, write).serve()
                else:
                    await self._shell(argument, stream, write)
                await stream.ready.wait()
            await self._send(b"CLSE", 0 if kind == "refused" else own, theirs)

    async def _shell(self, command: str, stream: _Stream, write: Any) -> None:
        process = await asyncio.create_subprocess_exec(
            self._device.shell, "-c", command, cwd=self._device.folder, env=self._device.environment(),
            start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._processes.append(process)
        self._device.processes.append(process)
        lock = asyncio.Lock()

        async def pump(reader: asyncio.StreamReader, kind: int) -> None:
            while part := await reader.read(_MOST // 2):
                async with lock:
                    await write(struct.pack("<BI", kind, len(part)) + part)

        async def feed() -> None:
            buffer = b""
            while (data := await stream.inbox.get()) is not None:
                buffer += data
                while len(buffer) >= 5 and len(buffer) >= 5 + (length := struct.unpack("<I", buffer[1:5])[0]):
                    kind, content, buffer = buffer[0], buffer[5 : 5 + length], buffer[5 + length :]
                    with suppress(ConnectionError, RuntimeError):
                        if kind == _STDIN:
                            process.stdin.write(content)
                            await process.stdin.drain()
                        elif kind == _CLOSE_STDIN:
                            process.stdin.close()
            # The other side has gone: so does what it started.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        assert process.stdin and process.stdout and process.stderr
        feeding = asyncio.create_task(feed())
        self._tasks.add(feeding)
        await asyncio.gather(pump(process.stdout, _STDOUT), pump(process.stderr, _STDERR))
        status = await process.wait()
        feeding.cancel()
        await write(struct.pack("<BIB", _EXIT, 1, status if status >= 0 else 128 - status))


class _Sync:
    """The file service: what ``adb push`` and ``adb pull`` need of it."""

    def __init__(self, device: AdbDevice, stream: _Stream, write: Any) -> None:
        self._device, self._stream, self._write = device, stream, write
        self._buffer = b""

    async def _read(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = await self._stream.inbox.get()
            if data is None:
                raise ConnectionResetError
            self._buffer += data
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    async def serve(self) -> None:
        while True:
            request, length = struct.unpack("<4sI", await self._read(8))
            if request == b"QUIT":
                return
            argument = (await self._read(length)).decode()
            if request == b"STAT":
                with suppress(OSError):
                    found = os.lstat(argument)
                    await self._write(struct.pack("<4s3I", b"STAT", found.st_mode, found.st_size, int(found.st_mtime)))
                    continue
                await self._write(struct.pack("<4s3I", b"STAT", 0, 0, 0))
            elif request == b"SEND":
                await self._receive(*argument.rsplit(",", 1))
            else:
                await self._fail(f"{request.decode()} is not served")

    async def _receive(self, path: str, mode: str) -> None:
        content = b""
        while True:
            part, length = struct.unpack("<4sI", await self._read(8))
            if part == b"DONE":
                break
            content += await self._read(length)
        try:
            if self._device.full:
                raise OSError(28, os.strerror(28))
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(int(mode) & 0o777)
        except OSError as error:
            await self._fail(f"couldn't create file: {error.strerror}")
        else:
            await self._write(struct.pack("<4sI", b"OKAY", 0))

    async def _fail(self, reason: str) -> None:
        await self._write(struct.pack("<4sI", b"FAIL", len(reason)) + reason.encode())


class AdbDevice:
    """A device on loopback, in a thread of its own. `folder` stands for its storage, `bin` has its programs."""

    def __init__(self, folder: Path, server_port: int) -> None:
        self.folder, self.bin, self.server_port = folder, folder / "bin", server_port
        self.unauthorized = self.full = False
        self.shell = "/bin/sh"
        self.variables: dict[str, str] = {}
        self.port = 0
        self.processes: list[asyncio.subprocess.Process] = []
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = _Connection(self, reader, writer)
            self._connections.add(connection)
            await connection.serve()
            self._connections.discard(connection)

        async def listen() -> asyncio.Server:
            return await asyncio.start_server(accept, "127.0.0.1", 0)

        self._server = self._loop.run_until_complete(listen())
        self.port = self._server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def home(self) -> Path:
        """The folder of its files."""
        return self.folder / "files"

    def environment(self) -> dict[str, str]:
        path = f"{self.bin}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        return {"PATH": path, "HOME": str(self.folder), "LANG": "C.UTF-8", **self.variables}

    def program(self, name: str, text: str) -> Path:
        """Put a program on its path."""
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def table(self, **changes: object) -> AdbTable:
        facts = {"serial": self.serial, "folder": str(self.home), "python": sys.executable, "adb": find_adb() or ""}
        return AdbTable.model_validate({**facts, **changes})

    def tool(self) -> str:
        """Return the path of a stand-in for benchmark_model, on this machine."""
        path = self.folder / "benchmark_model"
        if not path.exists():
            source = Path(__file__).with_name("benchmark_stand_in.py").read_text()
            path.write_text(f"#!{sys.executable}\n{source}")
            path.chmod(0o755)
        return str(path)

    def devices(self, **changes: object) -> Devices:
        return Devices({"phone": self.table(**changes)})

    def cut(self) -> None:
        """Pull the cable: end all connections and what runs over them."""

        async def end() -> None:
            for connection in list(self._connections):
                connection.end()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)

    def stop(self) -> None:
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._server.close)
        self.cut()

        async def finish() -> None:
            for task in (others := asyncio.all_tasks() - {asyncio.current_task()}):
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for process in self.processes:
                await process.wait()

        asyncio.run_coroutine_threadsafe(finish(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


GETPROP = f"""#!/bin/sh
case $1 in
  ro.product.manufacturer) echo edgeproof ;;
  ro.product.model) echo '{MODEL}' ;;
  ro.build.version.release) echo 14 ;;
  ro.build.version.sdk) echo 34 ;;
  ro.build.id) echo none ;;
  ro.hardware) echo 'this machine' ;;
  ro.product.cpu.abilist) echo 'x86_64,x86' ;;
esac
"""
DUMPSYS = """#!/bin/sh
case $1 in
  battery) cat "$HOME/battery" ;;
  thermalservice) cat "$HOME/thermal" ;;
  power) cat "$HOME/power" ;;
esac
"""
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  status: 2
  present: true
  level: 84
  scale: 100
  temperature: 326
"""
THERMAL = """IsStatusOverride: false
Thermal Status: 0
HAL Ready: true
Current temperatures from HAL:
	Temperature{mValue=31.5, mType=0, mName=CPU, mStatus=0}
"""
POWER = """  mWakefulness=Awake
Display Power: state=ON
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def adb_device(folder: Path) -> Iterator[AdbDevice]:
    """Start a device, and an adb server of the tests' own; skip the test where there is no adb."""
    program = find_adb()
    if program is None:
        pytest.skip(MISSING)
    for name in ("bin", "home"):
        (folder / name).mkdir(parents=True)
    port = free_port()
    home = str(folder / "home")
    # It looks for no device of its own accord: neither on USB nor in the network, nor emulators.
    quiet = {"ADB_MDNS": "0", "ADB_USB": "0", "ADB_EMU": "0"}
    own = {"ANDROID_ADB_SERVER_PORT": str(port), "HOME": home, "ANDROID_USER_HOME": home, "TMPDIR": home, **quiet}
    kept = {name: os.environ.get(name) for name in ("ANDROID_ADB_SERVER_PORT", "ADB_SERVER_SOCKET")}
    os.environ.pop("ADB_SERVER_SOCKET", None)
    os.environ["ANDROID_ADB_SERVER_PORT"] = str(port)
    device = AdbDevice(folder, port)
    device.program("getprop", GETPROP)
    device.program("dumpsys", DUMPSYS)
    device.program("settings", "#!/bin/sh\necho 0\n")
    for name, text in (("battery", BATTERY), ("thermal", THERMAL), ("power", POWER)):
        (folder / name).write_text(text)
    log = (folder / "adb.log").open("wb")
    server = subprocess.Popen([program, "nodaemon", "server"], env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        _wait(port, server)
        yield device
    finally:
        server.kill()
        server.wait()
        log.close()
        device.stop()
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(500):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if server.poll() is not None:
            break
        time.sleep(0.02)
    pytest.skip("adb's server does not start here")
