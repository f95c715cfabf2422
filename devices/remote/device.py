"""Devices at the other end of a connection: the agent runs there, one process for each verb, over `Link`.

The agent's source is sent with every job, so that it is always this installation's. Artifacts and samples are put there
once, by their SHA-256, and checked there; `clean` removes them. Every reply is checked (`replies.py`); no text from a
device becomes a path or a command.
"""

from __future__ import annotations

import json
import platform
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from ...core.artifact import Artifact
from ...core.children import Conversation, Ending, TooLongError
from ...core.codec import read_json, sha256_file, sha256_of, write_json
from ...core.device import THIS_MACHINE, Check, Located
from ...core.environment import boot_id
from ...core.errors import InputError, StageError
from ...core.quiet import working
from ...core.runner import Outcome
from ...core.runtime import RUNTIMES
from ...core.sanitize import shorten
from ...core.target import Target
from ..agent_program import program
from ..agent_runner import TOO_LONG, TOO_LONG_REMEDY
from ..runtimes import only_version
from .replies import About, ReplyError, read_reply
from .wheels import WANTED

# Seconds for a question that costs the device nothing; without any byte taken; and after a device was found away.
_QUESTION, _SILENCE, AWAY_SECONDS = 60.0, 30.0, 20.0
_MOST_BYTES = 1 << 28  # of a reply
_MOST_AT_ONCE, _BYTES_EACH = 4, 256 << 20
_CHUNK = 1 << 18
COOL_SECONDS, COOL_STEP, _COOL_DEGREES = 60.0, 2.0, 3.0


class Link(Protocol):
    """How a Python program is run on a device."""

    @property
    def place(self) -> str:
        """Where the device is, in words."""
        ...

    def command(self, size: int) -> list[str]:
        """Return the local command that runs there the Python program of the first `size` bytes of standard input.

        The program has ``sys.argv[1] == "-"``, and reads the rest of standard input.
        """
        ...

    def explain(self, ending: Ending) -> tuple[str, str] | None:
        """Return (reason, remedy) if the connection ended, or Python did not start; None if the program ended."""
        ...

    def close(self) -> None:
        """Give up the connection."""
        ...


@dataclass(frozen=True)
class Away:
    """A device that cannot be reached or has no Python: why, and what to do."""

    reason: str
    remedy: str


class RemoteDevice:
    """A device over a link. See `core.device.Device`."""

    def __init__(self, name: str, link: Link, *, shelf: str = "", known: Path | None = None) -> None:
        """`known` is the file that keeps what the device said last, for runs that find it away."""
        self.name, self.link, self._shelf, self._known = name, link, shelf, known
        self.owner = {"token": uuid.uuid4().hex, "host": socket.gethostname() or platform.node()}
        self._lock = threading.RLock()
        self._last: About | None = None
        self._cool: float | None = None
        self._about: About | Away | None = None
        self._asked_at = 0.0
        self._there: set[str] = set()
        self.slots = threading.BoundedSemaphore(1)  # processes there at once, where they are not timed
        self._digests: dict[tuple[str, int, int], str] = {}

    def about(self, *, again: bool = False) -> About | Away:
        """Return what the device says of itself; it is asked once, and again a while after it was found away."""
        with self._lock:
            away = isinstance(self._about, Away) and time.monotonic() - self._asked_at > AWAY_SECONDS
            if self._about is None or away or again:
                outcome = self.ask({"verb": "about", "modules": _modules()}, seconds=_QUESTION)
                self._asked_at = time.monotonic()
                self._there.clear()
                if not outcome.ok:
                    self._about = Away(outcome.reason, outcome.remedy)
                    self._last = self._last or self._recalled()
                else:
                    self._about = self._last = About.model_validate(outcome.data)
                    self._remember(outcome.data)
                    if self._cool is None:
                        self._cool = self._last.conditions.celsius
                    self.slots = threading.BoundedSemaphore(
                        max(1, min(_MOST_AT_ONCE, self._last.cores, self._last.available_bytes // _BYTES_EACH))
                    )
            return self._about

    def last_known(self) -> About | None:
        """Return what the device said last, if it ever said something: what stored figures depend on."""
        about = self.about()
        return about if isinstance(about, About) else self._last

    @property
    def place(self) -> str:
        """Another machine, unless its kernel is this one's, as on loopback or in a container of this machine."""
        about = self.last_known()
        boot = about.boot if about else ""
        return THIS_MACHINE if boot and boot == boot_id() else boot or self.name

    def start(self, job: Mapping[str, Any]) -> Conversation:
        """Start the agent on a job."""
        source = program()
        process = Conversation(self.link.command(len(source)), most_bytes=_MOST_BYTES)
        try:
            line = json.dumps({**job, "shelf": self._shelf, "owner": self.owner})
            process.send([source, line.encode(), b"\n"], silence=_SILENCE)
        except BaseException:
            process.close()
            raise
        return process

    def _remember(self, data: Mapping[str, Any]) -> None:
        with suppress(OSError):  # without it, a run that finds the device away cannot use what is stored
            if self._known is not None:
                self._known.parent.mkdir(parents=True, exist_ok=True)
                write_json(self._known, data, durable=False)

    def _recalled(self) -> About | None:
        """Return what the device said in an earlier run; None if there is nothing, or nothing whole."""
        with suppress(OSError, InputError, ValidationError):
            if self._known is not None:
                return About.model_validate(read_json(self._known))
        return None

    def exchange(self, job: Mapping[str, Any], *, seconds: float, payload: Iterable[bytes] = ()) -> bytes | Ending:
        """Do a job in a process of the agent; `payload` is what it reads after the job. Return its reply, or its end.

        Raises subprocess.TimeoutExpired, and TooLongError for a reply that is too long.
        """
        with self.start(job) as process:
            process.send(payload, silence=_SILENCE)
            answer = process.hear(seconds)
            return process.ending() if answer is None else answer

    def ask(self, job: Mapping[str, Any], *, seconds: float, payload: Iterable[bytes] = ()) -> Outcome:
        """Do a job that is not about an artifact. Returns checked data."""
        try:
            answer = self.exchange(job, seconds=seconds, payload=payload)
        except subprocess.TimeoutExpired:
            return Outcome("timeout", f"{self.link.place} did not answer within {seconds:g} s", SLOW)
        except TooLongError:
            return Outcome("failed", TOO_LONG, TOO_LONG_REMEDY)
        if isinstance(answer, Ending):
            reason = f"the process on {self.link.place} {answer.how}{answer.error_suffix}"
            return self.lost(answer) or Outcome("crashed", reason, "see what that device's log says")
        try:
            status, reason, data = read_reply(answer, dict(job))
        except ReplyError as error:
            return Outcome("failed", f"{self.link.place}: {error}", NOT_OURS)
        return Outcome("ok", data=data) if status == "ok" else Outcome(status, *self.explain(reason))

    def lost(self, ending: Ending) -> Outcome | None:
        """Return the outcome of a connection that ended; None where it was the process that ended."""
        explained = self.link.explain(ending)
        if explained is None:
            return None
        with self._lock:
            if isinstance(self._about, About):
                self._about = None  # it may be another device, or have forgotten what was put there
        return Outcome("crashed", *explained)

    def cool_down(self) -> None:
        """Wait until the device is nearly as cool as when it was first asked; for a minute at most."""
        until = time.monotonic() + COOL_SECONDS
        while time.monotonic() < until:
            celsius = self.celsius()
            if celsius is None or self._cool is None or celsius <= self._cool + _COOL_DEGREES:
                return
            time.sleep(COOL_STEP)

    def celsius(self) -> float | None:
        """Return the temperature that the device has now, if it says one."""
        if self._cool is None:
            return None
        outcome = self.ask({"verb": "state"}, seconds=_QUESTION)
        return outcome.data["conditions"].get("celsius") if outcome.ok else None

    def forget_files(self) -> None:
        """Ask again which files are there: somebody has removed some."""
        with self._lock:
            self._there.clear()

    def explain(self, reason: str) -> tuple[str, str]:
        """Return (reason, remedy) for what went wrong on the device itself; no remedy where it is not known."""
        words = shorten(reason, 300)
        if reason.startswith("Busy: "):
            host = shorten(reason.removeprefix("Busy: "), 60)
            return f"the machine {host} is timing files on {self.link.place}", "run this again when it has ended"
        if "Errno 28" in reason or "Errno 122" in reason:
            return f"{self.link.place} is full", f"free some space there, or edgeproof devices clean {self.name}"
        if "Errno 30" in reason or "Errno 13" in reason:
            return (
                f"{self.link.place} cannot write its folder: {words}",
                f"name a folder that can be written: [device.{self.name}] folder = …",
            )
        if "No module named 'numpy'" in reason:
            return f"{self.link.place} has no numpy", self.fix_remedy
        return words, ""

    @property
    def fix_remedy(self) -> str:
        """The command that installs what is missing."""
        return f"edgeproof doctor {self.name} --fix"

    def stage(self, job: dict[str, Any]) -> dict[str, Any] | Outcome:
        """Return a job with the names that its files have on the device; they are put there unless they are there."""
        with self._lock:
            files: dict[str, Path] = {}

            def named(path: Path) -> str:
                name = f"{self.digest(path)}{path.suffix if path.suffix in _SUFFIXES else ''}"
                files[name] = path
                return name

            artifact = Path(job["artifact"])
            trees: dict[str, dict[str, str]] = {}

            def tree(folder: Path) -> str:
                paths = {
                    path.relative_to(folder).as_posix(): named(path)
                    for path in sorted(folder.rglob("*"))
                    if path.is_file() and "__pycache__" not in path.parts
                }
                name = sha256_of(paths)
                trees[name] = paths
                return name

            staged = dict(job, inputs=named(Path(job["inputs"])))
            staged["artifact"] = tree(artifact) if artifact.is_dir() else named(artifact)
            if "tokenizer" in job["feed"]:
                fed = {"tokenizer": tree(Path(job["feed"]["tokenizer"])), "code": named(Path(job["feed"]["code"]))}
                staged["feed"] = {**job["feed"], **fed}
            failure = self.put(files)
            for name, paths in () if failure else trees.items():
                if name not in self._there:
                    outcome = self.ask({"verb": "tree", "name": name, "paths": paths}, seconds=_QUESTION)
                    failure = failure or (None if outcome.ok else outcome)
                    self._there.add(name)
            if failure:
                self._there.clear()
            return failure or staged

    def digest(self, path: Path) -> str:
        """Return the SHA-256 of a file; one that has not changed is read once."""
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        if key not in self._digests:
            with working():
                self._digests[key] = sha256_file(path)
        return self._digests[key]

    def put(self, files: Mapping[str, Path]) -> Outcome | None:
        """Put files there under their names, unless they are there; return what failed, or None."""
        missing = {name: path for name, path in files.items() if name not in self._there}
        if not missing:
            return None
        asked = self.ask({"verb": "have", "names": list(missing)}, seconds=10 * _QUESTION)
        if not asked.ok:
            return asked
        self._there |= missing.keys() & set(asked.data["there"])
        for name, path in missing.items():
            if name in self._there:
                continue
            job = {"verb": "put", "name": name, "bytes": path.stat().st_size}
            outcome = self.ask(job, seconds=_QUESTION, payload=_chunks(path))
            if not outcome.ok:
                return outcome
            self._there.add(name)
        return None

    def runtimes(self) -> dict[str, str]:
        """Return the version of each runtime there."""
        about = self.about()
        packages = about.packages if isinstance(about, About) else {}
        versions = {name: packages.get(row.distribution, "") for name, row in RUNTIMES.items() if row.in_python}
        # Packages that replace each other have one module: only a record says which of them is there.
        return {name: "" if RUNTIMES[name].apart and text == "unknown" else text for name, text in versions.items()}

    def other_versions(self) -> list[Located]:
        """Return none: a device has one version of a runtime."""
        return []

    def locate(self, target: Target) -> Located | None:
        """Return a target's runtime if it is there."""
        return only_version(target, self.runtimes())

    def missing_runtime(self, target: Target) -> tuple[str, str] | None:
        """Return why a target cannot be run there."""
        about = self.about()
        if isinstance(about, Away):
            return about.reason, about.remedy
        if elsewhere := target.engine.only_at_home(self.link.place):
            return elsewhere
        if self.locate(target) is None:
            version = self.runtimes().get(target.runtime, "")
            named = f"{target.runtime} {target.version}".strip()
            has = f" (it has {shorten(version)})" if version else ""
            by_hand = f"install {target.engine.distribution} there, in the environment that `python` names"
            remedy = self.fix_remedy if target.runtime in WANTED and not version else by_hand
            return f"{named} is not installed on {self.link.place}{has}", remedy
        if target.engine.needs and target.engine.needs not in about.hardware:
            return (
                f"{self.link.place} has no driver for {target.engine.title}",
                "install it there (docs/accelerators.md)",
            )
        if "numpy" not in about.packages:
            return f"{self.link.place} has no numpy", self.fix_remedy
        return None

    def environment(self) -> dict[str, Any]:
        """Return what the device says of itself."""
        about = self.about()
        if isinstance(about, Away):
            return {"unreachable": about.reason, "remedy": about.remedy, "packages": {}}
        names = ("cpu", "model", "architecture", "cores", "memory_bytes", "os", "python", "libc", "governor", "max_mhz",
                 "battery_percent")  # fmt: skip
        facts = {name: value for name in names if (value := getattr(about, name)) not in ("", None, 0.0)}
        if about.conditions.celsius is not None:
            facts["celsius"] = about.conditions.celsius
        versions = {RUNTIMES[name].distribution: version for name, version in self.runtimes().items() if version}
        return {**facts, "packages": {**versions, "numpy": about.packages.get("numpy", "")}}

    def clean(self) -> str:
        """Remove the files that were put there. Raises StageError when the device cannot be reached."""
        with self._lock:
            self._there.clear()
            outcome = self.ask({"verb": "clean"}, seconds=10 * _QUESTION)
        if not outcome.ok:
            raise StageError(f"{self.name}: {outcome.reason}", outcome.remedy)
        return f"removed {outcome.data['files']} files, {outcome.data['bytes'] / 2**20:.1f} MiB"

    def close(self) -> None:
        """Close the link."""
        self.link.close()

    def checks(self, *, fix: bool = False) -> list[Check]:
        """Check the connection, Python, the folder, the clock, and each runtime."""
        from .checks import checks

        return checks(self, fix=fix)

    def open_runner(self, artifact: Artifact, target: Target, *, timeout_seconds: float) -> Any:
        """Return the runner for an artifact on a target of this device."""
        from .runner import RemoteRunner

        return RemoteRunner(artifact, target, timeout_seconds, device=self)


# Suffixes that runtimes, and Python, know files by.
_SUFFIXES = (".tflite", ".onnx", ".npy", ".jsonl", ".py")
SLOW = "check the connection, and that nothing else keeps the device busy; then run this again"
NOT_OURS = "see what the device prints when a command is run there: its shell must print nothing of its own"


def _modules() -> dict[str, str]:
    return {"numpy": "numpy", **{row.distribution: row.module for row in RUNTIMES.values() if row.in_python}}


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while True:
            with working():  # not while the chunk is taken: the connection may be slow
                chunk = stream.read(_CHUNK)
            if not chunk:
                return
            yield chunk
