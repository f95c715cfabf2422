"""The kind ``browser``: Chromium on this machine, without a window. Each worker has a browser process of its own.

The browser's profile is a folder that is removed with it, and it may reach no address but our page's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from weakref import WeakSet

import psutil

from ...core import children
from ...core.device import THIS_MACHINE, Check
from ...core.device_tables import BrowserTable, DeviceTable
from ...core.environment import environment
from ...core.files import folder_for_sockets
from ...core.runner import Outcome
from ...core.sanitize import shorten
from ...core.target import Target
from ..remote.replies import ReplyError
from . import packages as browser_packages
from .page_host import GoneError, HostTalk, PageHost
from .page_replies import AboutPage, read_about
from .page_runtimes import PageOwner, missing_page_runtime, package_checks, page_packages

_PROGRAMS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)  # fmt: skip
_START_SECONDS, _END_SECONDS = 60.0, 5.0
# Seconds for which a busy machine may leave a page without a turn. That a browser has ended is seen at once.
_GRACE = 30.0
_PROFILE = "edgeproof-browser-"
_OPTIONS = (
    "--headless=new", "--no-first-run", "--no-default-browser-check", "--disable-extensions", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-breakpad",
    "--disable-crash-reporter", "--disable-dev-shm-usage", "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows", "--metrics-recording-only",
    "--no-proxy-server", "--password-store=basic", "--use-mock-keychain", "--mute-audio",
)  # fmt: skip
# WebGPU on Linux is behind switches; where there is no GPU, the browser may emulate one.
_WEBGPU = ("--enable-unsafe-webgpu", "--enable-features=Vulkan,WebGPU")
# Ends with the thread that started it, as `agent.machine.die_with_parent`; the browser's own processes end with it.
_TIED = (
    "import ctypes, os, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, 9)\n"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def is_root() -> bool:
    """Return whether this is root, for whom the browser's sandbox does not start."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


class Browser:
    """A running browser with one page open. A folder holds its profile."""

    def __init__(self, program: str, url: str, options: tuple[str, ...] = ()) -> None:
        place = folder_for_sockets()
        self._folder = tempfile.TemporaryDirectory(
            prefix=f"{_PROFILE}{os.getpid()}-", dir=place, ignore_cleanup_errors=True
        )
        self._errors: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        # Nothing but our page can be reached.
        only = f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {urlsplit(url).hostname}"
        sandbox = ("--no-sandbox",) if is_root() else ()
        command = [sys.executable, "-I", "-c", _TIED, program, *_OPTIONS, only, *sandbox, *options]
        command += [f"--user-data-dir={self._folder.name}", url]
        self.process = children.start(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            cwd=self._folder.name,
            env={**os.environ, "TMPDIR": place},
        )
        self._closing = threading.Lock()

    def ended(self) -> str:
        """Return how the browser ended; empty while it runs."""
        status = self.process.poll()
        if status is None:
            return ""
        if self._errors.closed:
            return "the browser was ended"
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 4000))
        ending = children.Ending(status, b"", self._errors.read().decode("utf-8", "replace"))
        return f"the browser {ending.how}{ending.error_suffix}"

    def peak_memory(self) -> int | None:
        """Return the peak resident memory of the process that runs the page; None where the system does not say."""
        peaks = []
        with suppress(psutil.Error, OSError, ValueError):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.Error, OSError, ValueError, StopIteration):
                    if "--type=renderer" in process.cmdline():
                        lines = Path(f"/proc/{process.pid}/status").read_text("utf-8", "replace").splitlines()
                        peaks.append(int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024)
        return max(peaks, default=None)

    def close(self) -> None:
        """End the browser with all of its processes, and remove its profile."""
        with self._closing:
            family = []
            with suppress(psutil.Error):
                own = psutil.Process(self.process.pid)
                family = own.children(recursive=True)
            if self.process.poll() is None:
                children.kill_group(self.process)
            for member in family:
                with suppress(psutil.Error):
                    member.kill()
            self.process.wait()
            until = time.monotonic() + _END_SECONDS
            while any(map(_runs, family)) and time.monotonic() < until:
                time.sleep(0.01)
            self._errors.close()
            _remove_socket(Path(self._folder.name))
            self._folder.cleanup()


def _remove_socket(profile: Path) -> None:
    """Remove what a killed browser leaves beside its profile: a folder with the socket that the profile links to."""
    with suppress(OSError):
        socket = (profile / "SingletonSocket").readlink()
        for name in ("SingletonSocket", "SingletonCookie"):
            socket.with_name(name).unlink(missing_ok=True)
        socket.parent.rmdir()


def _runs(process: psutil.Process) -> bool:
    """Return whether a process runs; one that nobody has asked for its status yet does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


class BrowserTalk(HostTalk):
    """A worker in a browser of its own."""

    def __init__(self, host: PageHost, browser: Browser) -> None:
        super().__init__(host, 1, browser.peak_memory)
        self._page = 1
        self._browser, self._closed = browser, False
        self.alive = browser.ended

    def close(self) -> None:
        """End the browser and its page's server."""
        if not self._closed:
            self._closed = True
            self._browser.close()
            self._host.close()


class BrowserDevice(PageOwner):
    """Chromium on this machine: see `core.device.Device`."""

    back = "this pair takes the browser down, or somebody ended it; run this again"

    def __init__(self, name: str, table: BrowserTable) -> None:
        self.name, self._named = name, table.program
        self._about: AboutPage | None = None
        self._talks: WeakSet[BrowserTalk] = WeakSet()
        self._lock = threading.Lock()

    @property
    def place(self) -> str:
        """Its work is done here."""
        return THIS_MACHINE

    @property
    def program(self) -> str:
        """The browser's program; empty where there is none."""
        for name in [self._named] if self._named else _PROGRAMS:
            if found := shutil.which(str(Path(name).expanduser())):
                return found
        return ""

    def start(self, target: Target | None, seconds: float) -> BrowserTalk:
        """Start a browser with our page. Raises GoneError, and subprocess.TimeoutExpired."""
        until = time.monotonic() + min(seconds, _START_SECONDS)
        host = PageHost(self.name, browser_packages.served_files(), grace=_GRACE)
        try:
            webgpu = target is None or target.engine.device == "webgpu"
            browser = Browser(self.program, host.link(), _WEBGPU if webgpu else ())
        except BaseException:
            host.close()
            raise
        talk = BrowserTalk(host, browser)
        with self._lock:
            self._talks.add(talk)
        try:
            while not host.claimed.wait(0.05):
                if reason := browser.ended():
                    raise GoneError(f"{reason}{_SANDBOX if 'sandbox' in reason else ''}")
                if time.monotonic() > until:
                    raise subprocess.TimeoutExpired(["browser"], seconds)
            about = read_about(host.about)
            with self._lock:
                if self._about is None or about.adapter is not None:
                    self._about = about
        except BaseException:
            talk.close()
            raise
        return talk

    def talk(self, target: Target, seconds: float) -> BrowserTalk:
        """Return a worker in a browser of its own."""
        return self.start(target, seconds)

    def about(self) -> AboutPage | None:
        """Return what a page said of this browser; one with a GPU counts more."""
        with self._lock:
            return self._about

    def page_identity(self) -> dict[str, Any]:
        """Return the browser and this machine."""
        facts = environment()
        return {"cpu": facts["cpu"], "cores": facts["cores"], "browser": version_of(self.program)}

    def conditions(self) -> dict[str, Any]:
        """Return this machine's load and, on Linux, what its processes took and the host stole (as the agent does)."""
        facts = {"at": time.monotonic(), "load": os.getloadavg()[0]}
        times = psutil.cpu_times()
        if not hasattr(times, "steal"):
            return facts
        busy = times.user + times.nice + times.system + times.irq + times.softirq
        return {**facts, "busy_s": busy, "steal_s": times.steal}

    def free_bytes(self) -> int:
        """Return this machine's available memory."""
        return int(psutil.virtual_memory().available)

    def away(self, target: Target) -> Outcome | None:
        """Return why a target cannot be run."""
        missing = self.missing_runtime(target)
        return Outcome("unsupported", *missing) if missing else None

    def missing_runtime(self, target: Target) -> tuple[str, str] | None:
        """Return why a target cannot be run, and what to do."""
        if not self.program:
            named = f" {shorten(self._named, 100)}" if self._named else ""
            return f"there is no browser{named}", f"install Chromium or Chrome, or name it: {_declared(self.name)}"
        return missing_page_runtime(self.name, target)

    def environment(self) -> dict[str, Any]:
        """Return this machine, the browser, and its packages."""
        return {**environment(), "browser": version_of(self.program), "packages": page_packages()}

    def checks(self, *, fix: bool = False) -> list[Check]:
        """Check the browser, the packages, and what a page finds; with `fix` the packages are installed first."""
        checks = []
        if not self.program:
            checks.append(
                Check("browser", "missing", *(self.missing_runtime(Target(self.name, "litert-js")) or ("", "")))
            )
        else:
            checks.append(Check("browser", "ok", f"{version_of(self.program)} ({self.program})"))
            if is_root():
                checks.append(
                    Check("sandbox", "note", "the browser runs without it, since this is root", _SANDBOX_REMEDY)
                )
        checks += package_checks(self.name, fix=fix)
        if self.program and any(self.runtimes().values()):
            checks += self._page_checks()
        return checks

    def _page_checks(self) -> list[Check]:
        """Start the browser once, and see what its page finds."""
        try:
            self.start(None, _START_SECONDS).close()
        except (GoneError, ReplyError, subprocess.TimeoutExpired) as error:
            late = isinstance(error, subprocess.TimeoutExpired)
            words = f"it shows no page within {_START_SECONDS:g} s" if late else str(error)
            return [Check("page", "missing", shorten(words, 300), f"start it by hand: {self.program} --headless=new")]
        about = self.about()
        if about is None:
            return []
        threads = "isolated: as many threads as asked for" if about.isolated else "not isolated: one thread"
        checks = [Check("page", "ok" if about.isolated else "note", threads)]
        target = str(Target(self.name, "litert-js-webgpu"))
        if about.adapter is None:
            return [*checks, Check(target, "note", "the browser finds no GPU", "run it on a device with a GPU")]
        emulated = " (a processor emulates it)" if about.adapter.software else ""
        return [*checks, Check("WebGPU", "ok", f"{about.adapter.name or 'there'}{emulated}")]

    def clean(self) -> str:
        """Remove the profiles that a killed process has left."""
        removed = 0
        for folder in Path(folder_for_sockets()).glob(f"{_PROFILE}[0-9]*-*"):
            owner = folder.name.removeprefix(_PROFILE).split("-")[0]
            own = not folder.is_symlink() and folder.stat().st_uid == os.getuid()
            if own and owner.isdigit() and not psutil.pid_exists(int(owner)):
                _remove_socket(folder)
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return f"removed {removed} profiles" if removed else "nothing is there: a browser's profile is removed with it"

    def close(self) -> None:
        """End all browsers."""
        with self._lock:
            talks = list(self._talks)
        for talk in talks:
            talk.close()


_SANDBOX = ": this system does not let the browser have its sandbox"
_SANDBOX_REMEDY = "run edgeproof as an ordinary user"


def _declared(name: str) -> str:
    return (
        '[device.NAME] kind = "browser" program = "PATH"' if name == "browser" else f'[device.{name}] program = "PATH"'
    )


@lru_cache(maxsize=8)
def version_of(program: str) -> str:
    """Return what a browser says of its version; empty without a browser."""
    if not program:
        return ""
    try:
        ending = children.run([program, "--version"], timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return shorten(ending.output.decode("utf-8", "replace").strip().split("\n")[0], 80)


def open_device(name: str, table: DeviceTable) -> BrowserDevice:
    """Return a browser of this machine. Nothing is started."""
    assert isinstance(table, BrowserTable)  # noqa: S101 (by its kind)
    return BrowserDevice(name, table)
