"""The kind ``ethos-u``: what Arm's compiler Vela says of a file on an Ethos-U NPU. All of it is estimated.

Vela compiles a file for the NPU: operators that it does not take stay as they are, for the CPU beside it. It runs
nothing, so there are no answers, and its figures are those of its model of the NPU and of the memories.
"""

from __future__ import annotations

import csv
import math
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from ..core import children
from ..core.artifact import Artifact
from ..core.codec import sha256_file
from ..core.device import THIS_MACHINE, Check, Located
from ..core.device_tables import DeviceTable, EthosTable
from ..core.environment import cpu_name
from ..core.measurement import Kind
from ..core.remedies import Remedy
from ..core.runner import Outcome, Server
from ..core.runtime import RUNTIMES
from ..core.sanitize import shorten
from ..core.target import Target
from ..tflite.graph import Node, read_graph
from .runtimes import installed_version

RUNTIME = "vela"
_NPU = "ethos-u"  # the custom operator that stands for what the NPU runs
_NO_ANSWERS = ("Vela estimates, and runs nothing", "run the file on local/litert or local/tflite-micro for its answers")
_INT8 = Remedy(("tflite:int8", "tflite:int16x8"))


@dataclass(frozen=True)
class VelaRunner:
    """One artifact on an NPU that Vela compiles for. See `core.runner.Runner`."""

    artifact: Artifact
    target: Target
    timeout_seconds: float
    device: Ethos

    @property
    def kind(self) -> Kind:
        """Vela's figures are those of a model of the NPU."""
        return "estimated"

    @property
    def answers(self) -> Literal[False]:
        """Nothing is run."""
        return False

    @property
    def timed(self) -> Literal[False]:
        """Nothing is run."""
        return False

    def free_bytes(self) -> int:
        """Return this machine's available memory."""
        return int(psutil.virtual_memory().available)

    def rest(self) -> None:
        """Do not wait."""

    def identity(self) -> dict[str, Any]:
        """What an estimate depends on, beside the artifact."""
        return {
            "target": str(self.target),
            "runtime_version": installed_version(RUNTIME),
            "cpu": self.device.cpu,
            **self.device.settings(),
        }

    def load(self, inputs: Path) -> Outcome:
        """Compile the file.

        Data: ``finite``; ``placement``, as `core.measurement.Placement` has it, of the file's own operators; and
        ``npu``, as `core.measurement.NpuEstimate` has it.
        """
        if not self.target.reads(self.artifact.format):
            reason = f"Vela does not read {self.artifact.format} files"
            return Outcome("unsupported", reason, "export the model to tflite:int8")
        if missing := self.device.missing_runtime(self.target):
            return Outcome("unsupported", *missing)
        if self.artifact.path is None:
            return Outcome("skipped", f"there is no file: {self.artifact.reason}", self.artifact.remedy)
        with tempfile.TemporaryDirectory(prefix="edgeproof-vela-") as folder:
            workspace = Path(folder)
            source = workspace / "model.tflite"
            shutil.copyfile(self.artifact.path, source)
            command = [sys.executable, "-I", "-m", "ethosu.vela", str(source), "--output-dir", str(workspace)]
            try:
                ending = children.run([*command, *self.device.options()], timeout=self.timeout_seconds)
            except subprocess.TimeoutExpired:
                return Outcome(
                    "timeout", f"Vela did not end within {self.timeout_seconds:g} s", "raise evaluate.timeout_seconds"
                )
            if ending.status:
                return self._refused(ending)
            return self._estimated(source, workspace)

    def _refused(self, ending: children.Ending) -> Outcome:
        status: Literal["crashed", "unsupported"] = "crashed" if ending.status < 0 else "unsupported"
        remedy = "check the file with edgeproof inspect, and the device's system_config, memory_mode and config"
        return Outcome(status, f"Vela {ending.how}{ending.error_suffix}", ending.remedy(remedy))

    def _estimated(self, source: Path, workspace: Path) -> Outcome:
        """Return the outcome of a file that Vela has compiled into `workspace`."""
        before = read_graph(source).nodes
        after = read_graph(workspace / "model_vela.tflite").nodes
        kept = Counter(node.op for node in after if node.op != _NPU)
        parts = len(after) - kept.total()
        if not parts:
            reason = f"not for this NPU: {self.device.title} takes none of the file's {len(before)} operators"
            return Outcome("unsupported", f"{reason} ({_types(before)})", _INT8.words(self.artifact.origin))
        (summary,) = workspace.glob("model_summary_*.csv")
        with summary.open(encoding="utf-8", newline="") as stream:
            row = list(csv.DictReader(stream))[-1]
        placement = {
            "delegated": max(len(before) - kept.total(), 0),
            "operators": max(len(before), kept.total()),
            "partitions": parts,
            "kept": dict(kept),
            "adapter": self.device.title,
            "software": False,
        }
        return Outcome("ok", data={"finite": True, "placement": placement, "npu": _estimate(row)})

    def infer(self, inputs: Path, outputs: Path, start: int, stop: int) -> Outcome:
        """Refuse: see `answers`."""
        return Outcome("unsupported", *_NO_ANSWERS)

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> Server | Outcome:
        """Refuse: see `answers`."""
        return Outcome("unsupported", *_NO_ANSWERS)

    def profile(self, inputs: Path, *, runs: int, threads: int = 1) -> Outcome:
        """Refuse: see `answers`."""
        return Outcome("unsupported", *_NO_ANSWERS)


def _types(nodes: tuple[Node, ...]) -> str:
    """Return the types of a graph's activations in words."""
    names = sorted({tensor.dtype for node in nodes for tensor in node.outputs})
    return f"its values are {shorten(' and '.join(names), 80)}"


def _estimate(row: dict[str, str]) -> dict[str, Any]:
    """Return Vela's summary as `core.measurement.NpuEstimate` has it: times there are seconds, memories KiB."""

    def memory(*names: str) -> int:
        return math.ceil(sum(float(row[f"{name}_memory_used"]) for name in names) * 1024)

    return {
        "cycles": int(float(row["cycles_total"])),
        "milliseconds": float(row["inference_time"]) * 1000,
        "clock_mhz": float(row["core_clock"]) / 1e6,
        "sram_bytes": memory("sram"),
        "dram_bytes": memory("dram"),
        "flash_bytes": memory("on_chip_flash", "off_chip_flash"),
        "macs": int(float(row["nn_macs"])),
        "accelerator": row["accelerator_configuration"],
        "system_config": row["system_config"],
        "memory_mode": row["memory_mode"],
    }


class Ethos:
    """An Ethos-U in one configuration: see `core.device.Device`."""

    def __init__(self, name: str, table: EthosTable) -> None:
        self.name, self._table = name, table
        self._config = Path(table.config).expanduser() if table.config else None

    @property
    def title(self) -> str:
        """The NPU's name and the number of its multiply-accumulate units: ``Ethos-U55-128``."""
        return self._table.accelerator.replace("ethos-u", "Ethos-U")

    @property
    def cpu(self) -> str:
        """What stands in the place of a processor."""
        return f"Arm {self.title}, by Vela"

    def settings(self) -> dict[str, Any]:
        """Return the configuration; of a file its hash."""
        config = sha256_file(self._config) if self._config is not None and self._config.is_file() else ""
        return self._table.model_dump(exclude={"kind"}) | {"config": config}

    def options(self) -> list[str]:
        """Return Vela's options for the configuration."""
        options = ["--accelerator-config", self._table.accelerator]
        for option, value in (
            ("--system-config", self._table.system_config),
            ("--memory-mode", self._table.memory_mode),
            ("--config", str(self._config.resolve()) if self._config is not None else ""),
        ):
            options += [option, value] if value else []
        return options

    @property
    def place(self) -> str:
        """Its work is done here."""
        return THIS_MACHINE

    def open_runner(self, artifact: Artifact, target: Target, *, timeout_seconds: float) -> VelaRunner:
        """Return the runner for an artifact."""
        return VelaRunner(artifact, target, timeout_seconds, self)

    def runtimes(self) -> dict[str, str]:
        """Return Vela's version."""
        return {RUNTIME: installed_version(RUNTIME)}

    def other_versions(self) -> list[Located]:
        """Return none."""
        return []

    def locate(self, target: Target) -> Located | None:
        """Return Vela, if it is installed in the version that a target names."""
        return Located(RUNTIME, installed_version(RUNTIME)) if self.missing_runtime(target) is None else None

    def missing_runtime(self, target: Target) -> tuple[str, str] | None:
        """Return why a target cannot be estimated."""
        if target.runtime != RUNTIME:
            return f"{self.name} runs no {target.runtime}: Vela estimates it", f"write {self.name}/{RUNTIME}"
        version = installed_version(RUNTIME)
        if not version:
            return RUNTIMES[RUNTIME].not_installed()
        if target.version and target.version != version:
            return (
                f"vela {target.version} is not on this machine (this environment has {version})",
                f"run edgeproof in an environment with ethos-u-vela=={target.version}",
            )
        if self._config is not None and not self._config.is_file():
            words = shorten(str(self._config), 200)
            return f"there is no configuration {words}", f"name a vela.ini: [device.{self.name}] config = …"
        return None

    def environment(self) -> dict[str, Any]:
        """Return the NPU and its compiler."""
        return {
            "cpu": self.cpu,
            "architecture": self._table.accelerator,
            "cores": 1,
            "memory_bytes": 0,
            "os": f"none: estimated on {cpu_name()}",
            "python": sys.version.split()[0],
            "packages": {RUNTIMES[RUNTIME].distribution: version} if (version := installed_version(RUNTIME)) else {},
        }

    def checks(self, *, fix: bool = False) -> list[Check]:
        """Check that Vela is there. Nothing is fixed: what is missing is installed by the command that it names."""
        target = Target(self.name, RUNTIME)
        if missing := self.missing_runtime(target):
            return [Check(str(target), "missing", *missing)]
        return [Check(str(target), "ok", f"{installed_version(RUNTIME)}, for {self.title}: estimates")]

    def clean(self) -> str:
        """Return that there is nothing to remove."""
        return "nothing was put there: files are compiled here, and not kept"

    def close(self) -> None:
        """Do nothing: there is no connection."""


def open_device(name: str, table: DeviceTable) -> Ethos:
    """Return an NPU in a configuration. Nothing is started."""
    assert isinstance(table, EthosTable)  # noqa: S101 (by its kind)
    return Ethos(name, table)
