"""Reads ``devices.toml``: the user's devices, in the folder of the user's settings and beside a recipe.

A device beside the recipe replaces the user's one of the same name; one in the recipe itself replaces both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from .device_tables import BUILT_IN, Devices, DeviceTable, DeviceTables, check_names
from .documents import MAX_TOML_BYTES, parse_toml, read_text
from .errors import InputError
from .recipe_table import Table
from .target import Target

FILE = "devices.toml"


class WithDevices(Table):
    """A table in which devices are declared."""

    device: DeviceTables = Field(
        {},
        description="devices by name, one table `[device.NAME]` each, that targets name as `NAME/RUNTIME`; those of a "
        "`devices.toml` are added where a target names them. `edgeproof docs devices` lists their keys",
    )

    @model_validator(mode="before")
    @classmethod
    def _add_declared_devices(cls, values: Any) -> Any:
        return _with_devices(values) if isinstance(values, dict) else values

    @field_validator("device")
    @classmethod
    def _check_names(cls, device: dict[str, DeviceTable]) -> dict[str, DeviceTable]:
        check_names(device)
        return device

    @property
    def devices(self) -> Devices:
        """The devices that targets may name."""
        return Devices(self.device)


class DevicesFile(WithDevices):
    """The content of a ``devices.toml``."""


def user_file() -> Path:
    """Return where the user's own devices are declared, whether or not that file is there."""
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "edgeproof" / FILE


def load_devices(folder: Path = Path()) -> Devices:
    """Return the devices that the user and ``devices.toml`` in `folder` declare. Raises InputError."""
    declared: dict[str, DeviceTable] = {}
    for path in (user_file(), folder / FILE):
        declared |= _read(path)
    return Devices(declared)


def check_targets(targets: Sequence[str], devices: Devices, folder: Path) -> None:
    """Raise ValueError unless each target is of one of `devices`; the message lists those declared in files, too."""
    for text in targets:
        if Target.parse(text).device not in devices:
            try:
                Devices({**load_devices(folder).declared, **devices.declared}).parse(text)
            except InputError as error:
                raise ValueError(f"evaluate.targets: {error.message}. {error.remedy}") from None


def _with_devices(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's tables with the devices that its targets name and only a ``devices.toml`` declares.

    So the resolved recipe says all that a run depends on, and no more. Files are read only when there is such a name.
    """
    own = recipe.get("device", {})
    if not isinstance(own, Mapping):
        return dict(recipe)
    names = {text.partition("/")[0] for text in _targets(recipe)}
    missing = sorted(names - own.keys() - BUILT_IN.keys())
    if not missing:
        return dict(recipe)
    folder = recipe.get("folder", Path())
    found = load_devices(folder if isinstance(folder, Path) else Path()).declared
    return {**recipe, "device": {**own, **{name: found[name] for name in missing if name in found}}}


def _targets(recipe: Mapping[str, Any]) -> list[str]:
    """Return the targets of [evaluate], given as a table or as its class; nothing where they are no list of texts."""
    evaluate = recipe.get("evaluate", {})
    targets = evaluate.get("targets", ()) if isinstance(evaluate, Mapping) else getattr(evaluate, "targets", ())
    return [text for text in targets if isinstance(text, str)] if isinstance(targets, list | tuple) else []


def _read(path: Path) -> dict[str, DeviceTable]:
    try:
        text = read_text(path, MAX_TOML_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "make it a file, or remove it") from error
    try:
        return DevicesFile.model_validate(parse_toml(text, str(path))).device
    except ValidationError as error:
        from .recipe_file import described

        raise InputError(f"{path}: {described(error, DevicesFile)}", "`edgeproof docs devices` explains it") from error
