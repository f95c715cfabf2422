"""Devices by name: those that are always there, and those that a recipe or a ``devices.toml`` declares.

A kind of device is a row of `DEVICE_KINDS`: the keys of its table, and the module of `devices/` that opens it. A device
that needs no keys has a row of `BUILT_IN`; any other is declared::

    [device.pi]
    kind = "ssh"
    host = "pi.local"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from .errors import InputError
from .recipe_table import Table
from .sanitize import shorten
from .target import Target


class DeviceTable(Table):
    """What is declared of a device. Each kind adds its keys."""

    kind: str = Field(description="the kind of device")


class LocalTable(DeviceTable):
    """This machine, under the name that its figures are to have."""

    kind: Literal["local"] = Field("local", description="this machine")


class EmulatedTable(DeviceTable):
    """An ARM machine under qemu-user."""

    kind: Literal["emulated"] = Field("emulated", description="an ARM machine under qemu-user")
    architecture: Literal["arm64", "armv7"] = Field("arm64", description="the processor")
    mirror: str = Field(
        "",
        pattern=r"^(https?://[A-Za-z0-9._:/~-]{1,200})?$",
        description="the address of a Debian archive, from which the machine is made; not set: that of this system",
    )


# What stands in a command for a shell, between double quotes.
_PLACE = r"(~/|/)[A-Za-z0-9._/-]{1,200}"


class SshTable(DeviceTable):
    """A machine that the system's ``ssh`` reaches."""

    kind: Literal["ssh"] = Field("ssh", description="a machine that `ssh` reaches")
    host: str = Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._:%-]{0,252}$",
        description="its name or address, or a `Host` of your ssh configuration, which counts for all else",
    )
    user: str = Field("", pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]{0,63})?$", description="the user there")
    port: int | None = Field(None, ge=1, le=65535, description="not set: as ssh is configured")
    python: str = Field(
        "",
        pattern=f"^({_PLACE}|python3(\\.[0-9]{{1,2}})?|)$",
        description="the Python there, 3.7 or newer, e.g. `~/env/bin/python`; not set: the environment that "
        "`edgeproof doctor NAME --fix` makes, else `python3`",
    )
    folder: str = Field(
        "", pattern=f"^({_PLACE}|)$", description="where files are put there; not set: `edgeproof` in the user's cache"
    )
    config: str = Field("", description="an ssh configuration file in place of yours")


class AdbTable(DeviceTable):
    """An Android device that ``adb`` reaches."""

    kind: Literal["adb"] = Field("adb", description="an Android device that `adb` reaches")
    serial: str = Field(
        "",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._:-]{0,127})?$",
        description="which device, as `adb devices` lists it, or an address with its port; not set: the only one",
    )
    adb: str = Field(
        "", description="the program `adb`; not set: that of PATH, of ANDROID_HOME, or of the package adbutils"
    )
    folder: str = Field(
        "/data/local/tmp/edgeproof", pattern=r"^/[A-Za-z0-9._/-]{1,200}$", description="where files are put there"
    )
    python: str = Field(
        "",
        pattern=f"^({_PLACE}|python3(\\.[0-9]{{1,2}})?|)$",
        description="the Python there, 3.7 or newer; not set: `python3`, or Termux's with `run_as`",
    )
    benchmark_model: str = Field(
        "",
        description="TensorFlow Lite's `benchmark_model` for the device, or a folder with one for several processors",
    )
    xnnpack: bool = Field(
        True, description="whether `benchmark-model` uses XNNPACK; if not, TensorFlow Lite's own kernels"
    )
    run_as: str = Field(
        "",
        pattern=r"^([A-Za-z][A-Za-z0-9_]{0,50}(\.[A-Za-z][A-Za-z0-9_]{0,50}){1,8})?$",
        description="the app in whose place Python runs (`run-as`), e.g. `com.termux`; it must be a debuggable build",
    )


class WorkerTable(DeviceTable):
    """A device at a worker of a Dask cluster."""

    kind: Literal["worker"] = Field("worker", description="a device at a worker of the cluster that `--cluster` names")


class EthosTable(DeviceTable):
    """An Arm Ethos-U NPU, by its compiler."""

    kind: Literal["ethos-u"] = Field("ethos-u", description="an Arm Ethos-U NPU, estimated by Vela")
    accelerator: Literal[
        "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512",
        "ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048",
    ] = Field("ethos-u55-128", description="the NPU, and its multiply-accumulates a cycle")  # fmt: skip
    system_config: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_]{1,80})?$",
        description="clock and memories, a `System_Config` of `config`; not set: Vela's default for the NPU",
    )
    memory_mode: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_]{1,80})?$",
        description="where weights and values lie, a `Memory_Mode` of `config`; not set: Vela's default for the NPU",
    )
    config: str = Field("", description="your chip's `vela.ini`; not set: the one that Vela has")


class BrowserTable(DeviceTable):
    """A browser on this machine, without a window."""

    kind: Literal["browser"] = Field("browser", description="Chromium or Chrome on this machine, without a window")
    program: str = Field("", description="its program; not set: the first of Chromium, Chrome and Edge that is found")


class LinkTable(DeviceTable):
    """The page that a phone's browser has opened."""

    kind: Literal["link"] = Field("link", description="the page that the link of `edgeproof devices link` has opened")


@dataclass(frozen=True)
class DeviceKind:
    """A kind of device: the module of `devices/` that has its `open_device(name, table)`, and the keys of its table.

    `runtimes` are those that its targets usually name; empty: the default ones.
    """

    module: str
    table: type[DeviceTable]
    runtimes: tuple[str, ...] = ()


DEVICE_KINDS: dict[str, DeviceKind] = {
    "local": DeviceKind("local", LocalTable),
    "ssh": DeviceKind("remote.ssh", SshTable),
    "emulated": DeviceKind("emulated.device", EmulatedTable),
    "adb": DeviceKind(
        "adb.device", AdbTable, ("benchmark-model", "benchmark-model-gpu", "benchmark-model-nnapi", "litert")
    ),
    "ethos-u": DeviceKind("ethos", EthosTable, ("vela",)),
    "worker": DeviceKind("cluster.device", WorkerTable),
    "browser": DeviceKind("browser.device", BrowserTable),
    "link": DeviceKind("browser.link", LinkTable),
}
# The devices that nobody needs to declare.
BUILT_IN: dict[str, DeviceTable] = {
    "local": LocalTable(),
    "emulated:arm64": EmulatedTable(architecture="arm64"),
    "emulated:armv7": EmulatedTable(architecture="armv7"),
    "ethos-u55": EthosTable(accelerator="ethos-u55-128"),
    "ethos-u65": EthosTable(accelerator="ethos-u65-256"),
    "ethos-u85": EthosTable(accelerator="ethos-u85-256"),
    "browser": BrowserTable(),
    "link": LinkTable(),
}

_EXAMPLE = '[device.pi] with kind = "ssh" and host = "pi.local"'


def _of_its_kind(value: Any) -> Any:
    """Return a device's table as the class of its kind. Raises ValueError, and ValidationError for its keys."""
    if isinstance(value, DeviceTable):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("a table is expected")
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in DEVICE_KINDS:
        found = "it has no kind" if kind is None else f"unknown kind {shorten(str(kind))!r}"
        raise ValueError(f"{found}; {_hint(str(kind), list(DEVICE_KINDS))}")
    table = DEVICE_KINDS[kind].table
    if unknown := sorted(str(key) for key in value.keys() - table.model_fields.keys()):
        raise ValueError(f"unknown key {shorten(unknown[0])!r}; {_hint(unknown[0], list(table.model_fields))}")
    return table.model_validate(value)


def _hint(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


DeviceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")]
DeclaredTable = Annotated[SerializeAsAny[DeviceTable], BeforeValidator(_of_its_kind)]
DeviceTables = dict[DeviceName, DeclaredTable]


@dataclass(frozen=True)
class Devices:
    """The devices that targets may name: `BUILT_IN` and the declared ones. Iterating gives their names."""

    declared: Mapping[str, DeviceTable] = field(default_factory=dict)

    def __iter__(self) -> Iterator[str]:
        yield from BUILT_IN
        yield from self.declared

    def __contains__(self, name: object) -> bool:
        return name in BUILT_IN or name in self.declared

    def __getitem__(self, name: str) -> DeviceTable:
        """Return a device's table. Raises InputError for a device that is not declared."""
        if name not in self:
            close = get_close_matches(name, list(self), n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise InputError(
                f"unknown device {shorten(name)!r}",
                f"{hint}Known devices: {', '.join(self)}; another one is declared in the recipe or in devices.toml: "
                f"{_EXAMPLE}; a target is written device/runtime, e.g. local/litert",
            )
        return BUILT_IN[name] if name in BUILT_IN else self.declared[name]

    def check(self, target: Target) -> Target:
        """Return a target. Raises InputError if its device is not declared."""
        try:
            self[target.device]
        except InputError as error:
            raise InputError(f"target {str(target)!r}: {error.message}", error.remedy) from None
        return target

    def parse(self, text: str) -> Target:
        """Read a target of one of these devices. Raises InputError."""
        return self.check(Target.parse(text))


def check_names(tables: Mapping[str, DeviceTable]) -> None:
    """Raise ValueError if a declared device has the name of one that is always there."""
    if taken := sorted(tables.keys() & BUILT_IN.keys()):
        raise ValueError(f"device.{taken[0]}: the device {taken[0]!r} is always there: choose another name")
