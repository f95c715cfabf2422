"""Targets: a device and the runtime on it, written ``local/litert``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from .errors import InputError
from .runtime import RUNTIMES, Runtime
from .sanitize import shorten

_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}")
# Which devices there are is known where they are declared: `device_tables.Devices.check`.
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,59}")
_FORM = "a target is written device/runtime, e.g. local/litert"


@dataclass(frozen=True, order=True)
class Target:
    """A device and a runtime, e.g. ``local/litert``, or one version of it: ``local/tflite-runtime==2.14``.

    Raises InputError for an unknown runtime, an invalid version, and what cannot be a device's name.
    """

    device: str
    """The device's name: ``local`` is this machine, others are declared (`device_tables.Devices`)."""
    runtime: str
    """The runtime's name, e.g. ``litert``."""
    version: str = ""
    """The required version; empty: the installed one."""

    def __post_init__(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise InputError(f"target {shorten(str(self))!r} names no device", _FORM)
        if self.runtime not in RUNTIMES:
            close = get_close_matches(self.runtime, list(RUNTIMES), n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise InputError(
                f"target {shorten(str(self))!r}: unknown runtime {shorten(self.runtime)!r}",
                f"{hint}Known runtimes: {', '.join(RUNTIMES)}; {_FORM}",
            )
        if self.version and not _VERSION.fullmatch(self.version):
            raise InputError(
                f"target {str(self)!r}: {self.version!r} is not a version", "write e.g. local/tflite-runtime==2.14"
            )

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``device/runtime`` or ``device/runtime==version``."""
        device, slash, rest = text.partition("/")
        if not slash:
            is_runtime = text.partition("==")[0] in RUNTIMES
            hint = f"did you mean {f'local/{text}'!r}? " if is_runtime else ""
            raise InputError(
                f"target {shorten(text)!r} names no {'device' if is_runtime else 'runtime'}", f"{hint}{_FORM}"
            )
        runtime, equals, version = rest.partition("==")
        if equals and not version:
            raise InputError(f"target {text!r} names no version", "write e.g. local/tflite-runtime==2.14")
        return cls(device, runtime, version)

    @property
    def engine(self) -> Runtime:
        """The runtime's row in `RUNTIMES`."""
        return RUNTIMES[self.runtime]

    def reads(self, format_: str) -> bool:
        """Return whether this runtime reads files of that format."""
        return format_ in self.engine.formats

    def __str__(self) -> str:
        return f"{self.device}/{self.runtime}" + (f"=={self.version}" if self.version else "")


# What follows in a row's target is another number of threads or another batch: ``local/litert:threads=2``.
OPTIONS = ":"


def base_target(text: str) -> str:
    """Return a row's target without its number of threads and its batch. A device's name may have a colon."""
    device, slash, rest = text.partition("/")
    return f"{device}{slash}{rest.partition(OPTIONS)[0]}"


TRIAL_TARGET = Target("local", "litert")  # where files are compared while one of them is chosen


def default_targets() -> tuple[str, ...]:
    """Return the targets of a run that names none, as text."""
    return tuple(f"local/{runtime.name}" for runtime in RUNTIMES.values() if runtime.default)


def with_cpu(targets: Sequence[str]) -> tuple[str, ...]:
    """Return targets, and before each accelerator its CPU's unless one of that runtime is there.

    The answers of an accelerator are compared with the CPU's.
    """
    parsed = [Target.parse(text) for text in targets]
    listed: list[str] = []
    for target in parsed:
        cpu = target.engine.cpu
        if cpu and not any((other.device, other.runtime) == (target.device, cpu) for other in parsed):
            listed.append(f"{target.device}/{cpu}")
        listed.append(str(target))
    return tuple(dict.fromkeys(listed))


def parse_runtime(text: str) -> Target:
    """Read ``runtime==version``, a recipe's `runtime`. Raises InputError."""
    if "/" in text or "==" not in text:
        raise InputError(f"runtime {text!r} is not written NAME==VERSION", "e.g. tflite-runtime==2.14")
    return Target.parse(f"local/{text}")


def same_version(required: str, version: str) -> bool:
    """Return whether `version` matches `required`: ``2.14`` matches 2.14.0 and 2.14.1, not 2.140."""
    return version == required or version.startswith(f"{required}.")
