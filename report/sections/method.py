"""How the figures were measured: the methods in words, the machine, its packages and the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...core.codec import read_json
from ...core.errors import InputError
from ...core.formatting import size
from ...core.measurement import Latency, Measurement
from ...core.runtime import RUNTIMES
from ...core.sanitize import shorten
from ...evaluate.cells import raw_path
from ..bench_words import bench_sentences
from ..content import Content
from ..section import Section
from .model_comparison import is_comparison


def method(content: Content) -> dict[str, str]:
    """Return the facts that the section on how things were measured names; empty where they are not known."""
    plan = _plan(content)
    measured = [c.measurement for c in content.cells if c.measurement.status == "ok"]
    timed = [m.latency_ms for m in measured if m.latency_ms]
    warmup, run = plan.get("warmup_seconds"), plan.get("run_seconds")
    return {
        "samples": _span((m.samples for m in measured if m.samples), "test sample"),
        "processes": _span((t.processes for t in timed), "fresh process", "fresh processes"),
        "threads": _span((t.threads for t in timed), "thread"),
        "warmup": f"{warmup:g} s" if isinstance(warmup, int | float) else "",
        "run": f"{run:g} s" if isinstance(run, int | float) else "",
        "steady": _steadiness(timed),
        "in_threes": ", ".join(dict.fromkeys(shorten(m.target, 80) for m in measured if m.latency_ms and _is_tool(m))),
    }


def _is_tool(measurement: Measurement) -> bool:
    """Return whether a program ran the file that warms up, runs three times and ends."""
    return measurement.runtime in RUNTIMES and RUNTIMES[measurement.runtime].program


def _steadiness(timed: Sequence[Latency]) -> str:
    """Return how long warm-ups were, and how many cells never became steady; nothing where it is not known."""
    runs = _span((t.warmup_runs for t in timed if t.warmup_runs is not None), "run")
    unsteady = sum(t.steady is False for t in timed)
    if not runs:
        return ""
    return runs + (
        f"; {unsteady} of {len(timed)} cells still got faster after that" if unsteady else "; all steady then"
    )


def _span(values: Iterable[int], one: str, many: str = "") -> str:
    """Return ``6 processes`` or ``3 to 6 processes``; nothing for no values."""
    distinct = sorted(set(values))
    if not distinct:
        return ""
    numbers = " to ".join(f"{v:,}" for v in dict.fromkeys((distinct[0], distinct[-1])))
    return f"{numbers} {one if distinct[-1] == 1 else many or one + 's'}"


def _plan(content: Content) -> Mapping[str, Any]:
    """Return the timing plan that the first raw file records, if there is one."""
    for cell in content.timed():
        path = raw_path(cell.measurement, content.folder)
        if path is None:
            continue
        try:
            plan = read_json(path).get("plan")
        except (InputError, AttributeError):
            continue
        if isinstance(plan, dict):
            return plan
    return {}


def environment(content: Content) -> list[tuple[str, str]]:
    """Return the machine and its packages in words; where there are several devices, each of them."""
    environments = content.results.environments
    if len(environments) < 2:
        return _environment(content.results.environment)
    return [
        (f"{shorten(name)}: {title}", value)
        for name, environment in environments.items()
        for title, value in _environment(environment)
    ]


def _environment(env: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {
        "cpu": "Processor",
        "architecture": "Architecture",
        "cores": "Cores",
        "os": "System",
        "python": "Python",
        "model": "Model",
        "governor": "Governor of the clock",
        "unreachable": "Not reached",
    }
    rows = [(title, shorten(str(env[key]), 160)) for key, title in names.items() if env.get(key) is not None]
    if isinstance(env.get("celsius"), int | float):
        rows.append(("Temperature before", f"{env['celsius']:.0f} °C"))
    rows += _state_of_a_phone(env)
    if isinstance(env.get("memory_bytes"), int):
        rows.insert(3, ("Memory", size(env["memory_bytes"])))
    packages = env.get("packages")
    if isinstance(packages, Mapping):
        rows += [(shorten(str(name)), shorten(str(version))) for name, version in packages.items()]
    return rows


def _state_of_a_phone(env: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return battery, heat and screen of a device that tells them."""
    rows = []
    if isinstance(env.get("battery_percent"), int | float):
        celsius = env.get("battery_celsius")
        parts = [f"{env['battery_percent']:.0f} %", "charging" if env.get("charging") else ""]
        parts += [f"{celsius:.0f} °C" if isinstance(celsius, int | float) else ""]
        parts += ["battery saver on" if env.get("battery_saver") else ""]
        rows.append(("Battery", ", ".join(filter(None, parts))))
    if isinstance(env.get("thermal_status"), int):
        rows.append(("Thermal status", f"{env['thermal_status']} of 6"))
    if isinstance(env.get("screen"), str):
        rows.append(("Screen", shorten(env["screen"], 20)))
    return rows


def run_facts(content: Content) -> list[tuple[str, str]]:
    """Return when and by what the run was made, and how the outputs of detectors were read."""
    run = content.results.run
    names = {
        "started": "Started",
        "finished": "Finished",
        "edgeproof_version": "Edgeproof",
        "recipe_sha256": "Recipe's SHA-256",
    }
    readings = dict.fromkeys(artifact.boxes.words for artifact in content.results.artifacts if artifact.boxes)
    boxes = [("Boxes", shorten(words, 300)) for words in readings]
    return [(title, shorten(str(run[key]), 80)) for key, title in names.items() if run.get(key)] + boxes


def _build(content: Content) -> dict[str, Any]:
    return {
        "method": method(content),
        "is_comparison": is_comparison(content),
        "anchor": ", ".join(dict.fromkeys(shorten(str(row["anchor"]), 120) for row in content.results.bench)),
        "bench": bench_sentences(content.results),
        "environment": environment(content),
        "run_facts": run_facts(content),
    }


SECTION = Section("method", "Method", _build, "method.html.j2")
