"""The kinds of devices that the contract suite runs against, each on this machine and with nothing pretended."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from edgeproof.core.device_tables import BrowserTable, Devices, LinkTable, WorkerTable
from edgeproof.core.errors import StageError
from edgeproof.devices.agent_program import AGENT
from edgeproof.devices.browser import packages as browser_packages
from edgeproof.devices.browser.device import Browser, BrowserDevice
from edgeproof.devices.browser.link_host import hold, links_folder
from edgeproof.devices.emulated import userland
from edgeproof.devices.emulated.userland import Userland

from .adb_device import adb_device
from .clusters import dask_cluster
from .ssh_server import ssh_server


@dataclass(frozen=True)
class Subject:
    """A device under test: its name, the devices that declare it, and how it disappears in the middle."""

    name: str
    declared: Devices
    disappear: Callable[[], None]
    kind: str = "measured"
    runtime: str = "litert"
    cluster: str = ""
    profiles: bool = True
    back: threading.Event | None = None  # set when it is there again, where that takes more than a new process


def end_children() -> None:
    """End the processes that this one started for models."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended, or is a zombie
            if any(part == str(AGENT) for part in process.cmdline()):
                process.kill()


@contextmanager
def local(folder: Path) -> Iterator[Subject]:
    """This machine."""
    yield Subject("local", Devices(), end_children)


@contextmanager
def ssh(folder: Path) -> Iterator[Subject]:
    """This machine, over a real sshd on loopback."""
    with ssh_server(folder) as server:
        yield Subject("board", server.devices(), server.cut)


@contextmanager
def adb(folder: Path) -> Iterator[Subject]:
    """This machine, by the real adb and a device on loopback that is no phone."""
    with adb_device(folder / "device") as device:
        yield Subject("phone", device.devices(), device.cut)


@contextmanager
def worker(folder: Path) -> Iterator[Subject]:
    """This machine as a device of a worker of a Dask cluster, whose own ``devices.toml`` declares it."""
    settings = folder / "settings" / "edgeproof"
    settings.mkdir(parents=True)
    (settings / "devices.toml").write_text('[device.bench]\nkind = "local"\n')
    with dask_cluster(folder) as running:
        numbers = itertools.count()

        def start() -> None:
            running.start_worker(
                f"lab{next(numbers)}", "--resources", "bench=1", env={"XDG_CONFIG_HOME": str(settings.parent)}
            )

        def disappear() -> None:
            running.kill(next(reversed(running.workers)))
            start()

        start()
        yield Subject("bench", Devices({"bench": WorkerTable()}), disappear, cluster=running.address)


@contextmanager
def benchmark_model(folder: Path) -> Iterator[Subject]:
    """As `adb`, and a stand-in for TensorFlow Lite's tool, which runs files in LiteRT and prints as the tool does."""
    with adb_device(folder / "device") as device:
        declared = device.devices(benchmark_model=device.tool(), python="python3.99")
        yield Subject("phone", declared, device.cut, runtime="benchmark-model")


def made_userland(architecture: str) -> Userland:
    """Return a userland that has been made, or skip the test."""
    ready = userland.load(architecture)
    if ready is None:
        pytest.skip(f"there is no ARM userland: edgeproof doctor emulated:{architecture} --fix makes it")
    return ready


@contextmanager
def emulated(folder: Path) -> Iterator[Subject]:
    """ARM kernels under qemu-user."""
    made_userland("arm64")
    yield Subject("emulated:arm64", Devices(), end_children, "emulated")


@contextmanager
def microcontroller(folder: Path) -> Iterator[Subject]:
    """The interpreter for microcontrollers."""
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed here")
    yield Subject("local", Devices(), end_children, "emulated", "tflite-micro")


@contextmanager
def estimator(folder: Path) -> Iterator[Subject]:
    """An NPU's compiler."""
    pytest.importorskip("ethosu.vela", reason="ethos-u-vela is not installed here")
    yield Subject("ethos-u55", Devices(), end_children, "estimated", "vela")


def browser_program() -> str:
    """Return a browser's program, with the packages that its pages load, or skip the test."""
    program = BrowserDevice("browser", BrowserTable()).program
    if not program:
        pytest.skip("there is no Chromium or Chrome")
    for runtime in browser_packages.VERSIONS:
        try:
            browser_packages.install(runtime)
        except StageError as error:
            pytest.skip(f"edgeproof doctor browser --fix: {error.message}")
    return program


def end_browsers() -> None:
    """End the browsers that this process started."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any("edgeproof-browser-" in part for part in process.cmdline()):
                process.kill()


@contextmanager
def browser(folder: Path) -> Iterator[Subject]:
    """Chromium on this machine, without a window."""
    browser_program()
    yield Subject("browser", Devices(), end_browsers, runtime="litert-js", profiles=False)


_NUMBERS = itertools.count()


class LinkedBrowser:
    """A link that is held, and a browser of this machine that opens each new one: it stands for a phone."""

    def __init__(self, bind: str = "127.0.0.1") -> None:
        self.program, self.bind = browser_program(), bind
        # Other tests may hold links at the same time.
        self.name = f"phone-{os.getpid()}-{next(_NUMBERS)}"
        self.devices = Devices({self.name: LinkTable()})
        self.stop, self.here = threading.Event(), threading.Event()
        self.links: list[str] = []
        self.browsers: list[Browser] = []

    def __enter__(self) -> LinkedBrowser:
        self.holder = threading.Thread(
            target=hold, args=(self.name, self.bind, self._tell, self.stop), kwargs={"grace": 5.0}
        )
        self.holder.start()
        if not self.here.wait(60):
            self.__exit__()
            raise AssertionError("the page has not come")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.holder.join()
        for browser in self.browsers:
            browser.close()
        (links_folder() / f"{self.name}.last.json").unlink(missing_ok=True)

    def _tell(self, kind: str, text: str) -> None:
        if kind == "link":
            self.links.append(text)
            self.browsers.append(Browser(self.program, text))
        elif kind == "here":
            self.here.set()

    def close_page(self) -> None:
        """Close the page at once, as a phone's user does."""
        self.here.clear()
        self.browsers[-1].close()


@contextmanager
def link(folder: Path) -> Iterator[Subject]:
    """The page of a link."""
    with LinkedBrowser() as phone:
        yield Subject(phone.name, phone.devices, phone.close_page, runtime="litert-js", profiles=False, back=phone.here)


KINDS = {
    "local": local, "ssh": ssh, "adb": adb, "benchmark_model": benchmark_model, "emulated": emulated,
    "tflite-micro": microcontroller, "ethos-u": estimator, "worker": worker,
    "browser": browser, "link": link,
}  # fmt: skip
