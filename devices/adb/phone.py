"""An Android device: what its shell says of it and of its state, and the agent where it has Python."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...core.artifact import Artifact
from ...core.codec import read_json, write_json
from ...core.device import THIS_MACHINE, Check
from ...core.device_tables import AdbTable
from ...core.environment import boot_id
from ...core.errors import InputError, StageError
from ...core.runner import Outcome, Runner, Server
from ...core.runtime import RUNTIMES
from ...core.sanitize import shorten
from ...core.target import Target
from ..remote.device import AWAY_SECONDS, Away, Link, RemoteDevice
from ..remote.replies import About, Count, Number, Text
from ..remote.runner import RemoteRunner
from . import state as android_state
from .client import Adb, Missing
from .files import AdbFiles, Claim
from .tool import Tool, find_tool

_PROPERTIES = (
    "ro.product.manufacturer", "ro.product.model", "ro.soc.manufacturer", "ro.soc.model", "ro.board.platform",
    "ro.hardware", "ro.build.version.release", "ro.build.version.sdk", "ro.build.id", "ro.product.cpu.abilist",
    "ro.product.cpu.abi", "ro.serialno",
)  # fmt: skip
_CPU = "/sys/devices/system/cpu/cpu"
# Prints what `Phone` reads. The folder itself is made when something is put there.
_SCRIPT = (
    f'echo @@props; for p in {" ".join(_PROPERTIES)}; do echo "$p=$(getprop $p)"; done; '
    "echo @@kernel; uname -r; echo @@boot; cat /proc/sys/kernel/random/boot_id 2>/dev/null; "
    "echo @@machine; uname -m; echo @@cores; nproc; "
    "echo @@memory; grep -E '^Mem(Total|Available):' /proc/meminfo; "
    f"echo @@governor; cat {_CPU}0/cpufreq/scaling_governor 2>/dev/null; "
    f"echo @@speeds; for c in {_CPU}[0-9]*; do s=$(cat $c/cpu_capacity 2>/dev/null) || "
    f's=$(cat $c/cpufreq/cpuinfo_max_freq 2>/dev/null); echo "${{c#{_CPU}}} $s"; done; '
    f"echo @@clocks; cat {_CPU}[0-9]*/cpufreq/cpuinfo_max_freq 2>/dev/null; "
    'echo @@folder; d=FOLDER; while [ ! -d "$d" ]; do d=${d%/*}; [ -n "$d" ] || d=/; done; '
    '[ -w "$d" ] && echo writable; df -k "$d" 2>/dev/null | tail -n 1; '
    "echo @@clock; date +%s; echo @@tools; for t in sha256sum taskset; do command -v $t; done; true"
)
_DISK, _LOW_BATTERY, _CLOCK = 200 << 20, 20.0, 86400.0


class Phone(BaseModel):
    """What a device's shell says of it. All of it comes from there, within bounds."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    model: Text
    cpu: Text
    abis: list[Text] = Field(max_length=20)
    android: Text
    build: Text = ""
    kernel: Text = ""
    boot: Text = ""
    serial: Text = ""
    architecture: Text
    cores: int = Field(ge=1, le=4096)
    memory_bytes: Count
    available_bytes: Count
    governor: Text = ""
    max_mhz: Number = 0.0
    speeds: dict[int, Number] = Field({}, max_length=4096)
    writable: bool
    free_bytes: Count
    clock: Number
    tools: list[Text] = Field(max_length=20)

    @property
    def system(self) -> str:
        """The system in words."""
        build = f", {self.build}" if self.build else ""
        return f"Android {self.android}{build}; Linux {self.kernel}"


def read_phone(text: str) -> Phone:
    """Return what `_SCRIPT` printed. Raises ValidationError for what cannot be."""
    parts = android_state.parts_of(text)
    properties = dict(line.strip().split("=", 1) for line in parts.get("props", "").splitlines() if "=" in line)

    def first(part: str) -> str:
        return parts.get(part, "").strip().partition("\n")[0]

    def named(*names: str) -> str:
        return next((value for name in names if (value := properties.get(name, ""))), "")

    kilobytes = dict(re.findall(r"^(Mem\w+):\s+(\d{1,12}) kB", parts.get("memory", ""), re.M))
    space = re.findall(r"\s(\d{1,15})\s+(\d{1,15})\s+(\d{1,15})\s+\d{1,3}%", parts.get("folder", ""))
    clocks = [int(clock) for clock in re.findall(r"^\d{1,9}$", parts.get("clocks", ""), re.M)]
    speeds = re.findall(r"^(\d{1,4}) (\d{1,9})$", parts.get("speeds", ""), re.M)
    sdk = properties.get("ro.build.version.sdk", "")
    maker, model = properties.get("ro.product.manufacturer", ""), properties.get("ro.product.model", "")
    chip = " ".join(filter(None, (properties.get("ro.soc.manufacturer"), properties.get("ro.soc.model"))))
    return Phone(
        model=model if model.lower().startswith(maker.lower()) else f"{maker} {model}",
        cpu=chip or named("ro.board.platform", "ro.hardware") or "unknown",
        abis=[abi for abi in named("ro.product.cpu.abilist", "ro.product.cpu.abi").split(",") if abi],
        android=f"{properties.get('ro.build.version.release', '?')}{f' (API {sdk})' if sdk else ''}",
        build=properties.get("ro.build.id", ""),
        kernel=first("kernel"),
        boot=first("boot"),
        serial=properties.get("ro.serialno", ""),
        architecture=first("machine") or "unknown",
        cores=int(first("cores")) if re.fullmatch(r"\d{1,4}", first("cores")) else 1,
        memory_bytes=int(kilobytes.get("MemTotal", 0)) * 1024,
        available_bytes=int(kilobytes.get("MemAvailable", 0)) * 1024,
        governor=first("governor"),
        max_mhz=max(clocks, default=0) / 1000,
        speeds={int(core): float(speed) for core, speed in speeds},
        writable=bool(re.search(r"^writable$", parts.get("folder", ""), re.M)),
        free_bytes=int(space[-1][2]) * 1024 if space else 0,
        clock=float(first("clock")) if re.fullmatch(r"\d{1,12}", first("clock")) else 0.0,
        tools=[tool.rpartition("/")[2] for tool in parts.get("tools", "").split()],
    )  # fmt: skip


class AdbPhone(RemoteDevice):
    """An Android device. See `core.device.Device`."""

    def __init__(self, name: str, table: AdbTable, adb: Adb, link: Link, *, known: Path | None = None) -> None:
        super().__init__(name, link, shelf="" if table.run_as else table.folder, known=known)
        self.table, self.adb = table, adb
        self.files = AdbFiles(adb, table.folder, self.owner["token"])
        self._claim: Claim | None = None
        self._phone: Phone | Missing | None = None
        self._phone_asked = 0.0
        self._last_phone: Phone | None = None
        self._phone_known = known.with_suffix(".phone.json") if known is not None else None

    def phone(self, *, again: bool = False) -> Phone | Missing:
        """Return what the device's shell says; it is asked once, and again a while after it was found away."""
        with self._lock:
            away = isinstance(self._phone, Missing) and time.monotonic() - self._phone_asked > AWAY_SECONDS
            if self._phone is None or away or again:
                self._phone = self._ask_phone()
                self._phone_asked = time.monotonic()
                if isinstance(self._phone, Phone):
                    self._last_phone = self._phone
                    self._cool = self._cool if self._cool is not None else self.state().get("celsius")
                    with suppress(OSError):
                        if self._phone_known is not None:
                            self._phone_known.parent.mkdir(parents=True, exist_ok=True)
                            write_json(self._phone_known, self._phone.model_dump(mode="json"), durable=False)
            return self._phone

    def _ask_phone(self) -> Phone | Missing:
        outcome = self.adb.ask(_SCRIPT.replace("FOLDER", self.table.folder))
        if not outcome.ok:
            return Missing(outcome.reason, outcome.remedy)
        try:
            return read_phone(outcome.data["output"].decode("utf-8", "replace"))
        except ValidationError:
            return Missing(f"{self.adb.place} does not say what it is", "see what prints: adb shell getprop")

    def last_phone(self) -> Phone | None:
        """Return what the device's shell said last, if it ever said something."""
        with self._lock:
            phone = self.phone()
            if isinstance(phone, Phone) or self._last_phone:
                return phone if isinstance(phone, Phone) else self._last_phone
            with suppress(OSError, InputError, ValidationError):
                if self._phone_known is not None:
                    self._last_phone = Phone.model_validate(read_json(self._phone_known))
            return self._last_phone

    @property
    def place(self) -> str:
        """The device itself, by whatever names it is declared."""
        phone = self.last_phone()
        if phone is not None and phone.boot and phone.boot == boot_id():
            return THIS_MACHINE
        return f"adb:{(phone.serial if phone else '') or self.table.serial or self.name}"

    def state(self) -> dict[str, Any]:
        """Return the state of battery, heat and screen (`android_state.state_of`); empty if it cannot be reached."""
        outcome = self.adb.ask(android_state.SCRIPT)
        return android_state.state_of(outcome.data["output"].decode("utf-8", "replace")) if outcome.ok else {}

    def celsius(self) -> float | None:
        """Return the temperature of the hottest part that counts."""
        celsius: float | None = self.state().get("celsius")
        return celsius

    def about(self, *, again: bool = False) -> About | Away:
        """Return what the Python there says of the device; its shell is asked first."""
        with self._lock:
            phone = self.phone(again=again)
            if isinstance(phone, Phone):
                return super().about(again=again)
            self._last = self._last or self._recalled()
            return Away(phone.reason, phone.remedy)

    def lost(self, ending: Any) -> Outcome | None:
        """Return the outcome of a connection that ended."""
        outcome = super().lost(ending)
        if outcome is not None:
            self.forget_phone()
        return outcome

    def forget_phone(self) -> None:
        """Ask again what the device is: the connection to it ended."""
        with self._lock:
            if isinstance(self._phone, Phone):
                self._phone = None
            self._there.clear()
            self.files.forget()

    def claim(self, user: object) -> Claim:
        """Return the claim of this machine on the device for a user, who closes it."""
        with self._lock:
            if self._claim is None or not self._claim.use(user):
                self._claim = Claim(self.adb, self.table.folder, **self.owner)
                self._claim.use(user)
            return self._claim

    @property
    def unreachable(self) -> bool:
        """Whether it was found away."""
        return isinstance(self.phone(), Missing)

    @property
    def tool(self) -> Tool:
        """The benchmark_model for this device."""
        phone = self.last_phone()
        return find_tool(self.table.benchmark_model, phone.abis if phone else [], self.name)

    def cores(self, threads: int) -> list[int]:
        """Return the cores on which so many threads run: the fastest, of these the last ones; empty if unknown."""
        phone = self.last_phone()
        if phone is None or "taskset" not in phone.tools:
            return []
        return sorted(sorted(phone.speeds, key=lambda core: (-phone.speeds[core], -core))[:threads])

    @property
    def fix_remedy(self) -> str:
        """What to do about a runtime or a package that is missing there. It is not installed from here."""
        return f"install it in the Python of {self.adb.place} that `python` and `run_as` name"

    def missing_runtime(self, target: Target) -> tuple[str, str] | None:
        """Return why a target cannot be run there."""
        phone = self.phone()
        if isinstance(phone, Missing):
            return phone.reason, phone.remedy
        if not target.engine.program:
            return super().missing_runtime(target)
        tool = self.tool
        if tool.path is None:
            return tool.reason, tool.remedy
        if target.version:
            return (
                f"benchmark_model {target.version} is not known: it tells no version",
                f"write {self.name}/{target.runtime}",
            )
        return None

    def runtimes(self) -> dict[str, str]:
        """Return the version of each runtime there; of benchmark_model the first digits of its SHA-256."""
        programs = dict.fromkeys((name for name, row in RUNTIMES.items() if row.program), self.tool.version)
        named = self.table.python or self.table.run_as
        return {**super().runtimes(), **programs} if named or isinstance(self.about(), About) else programs

    def environment(self) -> dict[str, Any]:
        """Return what the device says of itself, and its state."""
        phone = self.phone()
        if isinstance(phone, Missing):
            return {"unreachable": phone.reason, "remedy": phone.remedy, "packages": {}}
        state = self.state()
        names = (
            "battery_percent",
            "battery_celsius",
            "charging",
            "thermal_status",
            "screen",
            "battery_saver",
            "celsius",
        )
        python, version = super().environment(), self.tool.version
        tool = {"benchmark_model": f"SHA-256 {version}…"} if version else {}
        return {
            "cpu": phone.cpu,
            "model": phone.model,
            "architecture": f"{phone.architecture} ({', '.join(phone.abis)})",
            "cores": phone.cores,
            "memory_bytes": phone.memory_bytes,
            "os": phone.system,
            "python": python.get("python", ""),
            **({"governor": phone.governor, "max_mhz": phone.max_mhz} if phone.governor else {}),
            **{name: state[name] for name in names if name in state},
            "packages": {**{name: version for name, version in python["packages"].items() if version}, **tool},
        }

    def checks(self, *, fix: bool = False) -> list[Check]:
        """Check adb, the connection, the folder, the state, and each runtime. There is nothing to fix from here."""
        from .checks import checks

        return checks(self)

    def clean(self) -> str:
        """Remove what was put there. Raises StageError when the device cannot be reached."""
        outcome = self.files.clean()
        if not outcome.ok:
            raise StageError(f"{self.name}: {outcome.reason}", outcome.remedy)
        self.forget_files()
        words = f"removed {outcome.data['files']} files, {outcome.data['bytes'] / 2**20:.1f} MiB"
        # Files for an app's Python lie in the app's own folder.
        return f"{words}; of the app: {super().clean()}" if self.table.run_as else words

    def open_runner(self, artifact: Artifact, target: Target, *, timeout_seconds: float) -> Runner:
        """Return the runner for an artifact on a target of this device."""
        if target.engine.program:
            from .benchmark_runner import BenchmarkRunner

            return BenchmarkRunner(artifact, target, timeout_seconds, device=self)
        return PhoneRunner(artifact, target, timeout_seconds, device=self)


@dataclass(frozen=True, kw_only=True)
class PhoneRunner(RemoteRunner):
    """One artifact on one runtime of the Python of an Android device."""

    device: AdbPhone

    def identity(self) -> dict[str, Any]:
        """What a figure taken there depends on, beside the artifact."""
        phone = self.device.last_phone()
        named = {"cpu": phone.cpu, "model": phone.model, "os": phone.system} if phone else {}
        return {**super().identity(), **named}

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> Server | Outcome:
        """Start a process that runs bursts on request; the state that it tells has the phone's too."""
        user = object()
        claim = self.device.claim(user)
        server = super().serve(inputs, threads=threads, batch=batch)
        if isinstance(server, Outcome):
            claim.close(user)
            return server
        return _StatefulServer(server, self.device, claim, user)


class _StatefulServer:
    """A server whose conditions have what only the phone's shell may ask: battery, heat and screen.

    The device is claimed as it is for `benchmark_model`: Python's own lock may lie in an app's folder.
    """

    def __init__(self, server: Server, phone: AdbPhone, claim: Claim, user: object) -> None:
        self._server, self._phone, self._claim, self._user = server, phone, claim, user

    def ready(self) -> Outcome:
        held = self._claim.held()
        return self._server.ready() if held.ok else held

    def ask(self, request: dict[str, Any], *, seconds: float | None = None) -> Outcome:
        outcome = self._server.ask(request, seconds=seconds)
        if not outcome.ok or request["do"] != "state":
            return outcome
        # An app's Python sees little of the clocks and the heat; its counters are those of the same process throughout.
        seen = {name: value for name, value in self._phone.state().items() if name not in ("at", "load")}
        return Outcome("ok", data={**outcome.data, "conditions": {**outcome.data["conditions"], **seen}})

    def close(self) -> None:
        self._server.close()
        self._claim.close(self._user)


def machine_checks(phone: Phone, state: dict[str, Any], table: AdbTable, name: str) -> list[Check]:
    """Return the checks of the device itself."""
    facts = (phone.model, phone.cpu, ", ".join(phone.abis), f"{phone.cores} cores", phone.system)
    checks = [Check("device", "ok", "; ".join(filter(None, facts)))]
    folder = f"{table.folder}, {phone.free_bytes / 2**20:,.0f} MiB free"
    if not phone.writable:
        remedy = f"name a folder that can be written: [device.{name}] folder = …"
        checks.append(Check("folder", "missing", f"{table.folder} cannot be written", remedy))
    elif phone.free_bytes < _DISK:
        remedy = f"free some space there, or: edgeproof devices clean {name}"
        checks.append(Check("folder", "note", folder, remedy))
    else:
        checks.append(Check("folder", "ok", folder))
    off = phone.clock - time.time()
    if abs(off) > _CLOCK:
        words = f"it is {abs(off) / 86400:,.0f} days {'ahead' if off > 0 else 'behind'}"
        checks.append(Check("clock", "note", words, "figures here have this machine's time"))
    if "battery_percent" in state:
        charging = ", charging" if state.get("charging") else ""
        heat = f", {state['battery_celsius']:.0f} °C" if "battery_celsius" in state else ""
        low = state["battery_percent"] < _LOW_BATTERY
        checks.append(
            Check("battery", "note" if low else "ok", f"{state['battery_percent']:.0f} %{charging}{heat}",
                  "charge it: phones are slower when the battery is low" if low else "")
        )  # fmt: skip
    if state.get("battery_saver"):
        checks.append(Check("battery saver", "note", "it is on", "switch it off: it lowers the clocks"))
    if "thermal_status" in state:
        status = int(state["thermal_status"])
        words = f"{android_state.THERMAL[status]} ({status})"
        checks.append(Check("thermal status", "note" if status else "ok", words, "let it cool down" if status else ""))
    if "screen" in state:
        checks.append(Check("screen", "ok", str(state["screen"])))
    return [Check(one.what, one.state, shorten(one.found, 400), one.remedy) for one in checks]
