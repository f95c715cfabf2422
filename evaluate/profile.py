"""Profiles: the time of each operator of a file on a target, what it costs by its shapes, and why.

A profile is measured apart from latency, in a process of its own, since a profiled run is slower. Its figures are
shares of one run; which of two files is faster is said by the latencies alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.codec import to_json, write_json
from ..core.explorer import node_data
from ..core.profile import KindTime, OperatorTime, Profile, ProfileSummary
from ..core.runner import Outcome, Runner
from ..core.sanitize import slug
from ..tflite import costs
from ..tflite.graph import Node, read_graph
from ..tflite.xnnpack import align
from .onnx_costs import macs as onnx_macs
from .profile_findings import findings

VERSION = 1
RUNS = 50
FOLDER = "profile"
_NAME_LIMIT = 200
# Up to (per cent of the time) → colour.
_THRESHOLDS = ((1.0, "#f7f7f7"), (3.0, "#fee8c8"), (10.0, "#fdbb84"), (30.0, "#fc8d59"), (100.0, "#d73027"))


def profile(runner: Runner, inputs: Path, *, samples: str, runs: int = RUNS, threads: int = 1) -> Profile | Outcome:
    """Return the profile of a file on a target, or the outcome that says why there is none.

    `inputs` are samples as the runner takes them, `samples` says in words what they are.
    """
    outcome = runner.profile(inputs, runs=runs, threads=threads)
    if not outcome.ok:
        return outcome
    data = outcome.data
    nodes = _nodes(runner)
    rows = _rows(data["operators"], nodes)
    run_ms = float(np.median(data["runs_ms"]))
    timed = {row.node for row in rows if row.node is not None}
    return Profile(
        artifact=runner.artifact.id,
        target=str(runner.target),
        runtime_version=str(data.get("runtime_version", "")),
        kind=runner.kind,
        kernels=str(data.get("kernels", "")),
        engine=str(data["engine"]),
        runs=len(data["runs_ms"]),
        threads=threads,
        samples=samples,
        run_ms=run_ms,
        operators_ms=sum(row.ms for row in rows),
        operators=tuple(rows),
        kinds=tuple(kinds(rows)),
        findings=findings(rows, nodes, run_ms),
        without_time=len(nodes) - len(timed) if timed else 0,
        fingerprint=runner.identity(),
    )


def kinds(rows: Sequence[OperatorTime]) -> list[KindTime]:
    """Return the operators of one kind and kernel together, most time first."""
    groups: dict[tuple[str, str], list[OperatorTime]] = {}
    for row in rows:
        groups.setdefault((row.op, row.kernel), []).append(row)
    together = [
        KindTime(
            op,
            kernel,
            len(group),
            sum(row.ms for row in group),
            min(1.0, sum(row.share for row in group)),
            _sum([row.macs for row in group]),
            _sum([row.bytes for row in group]),
        )
        for (op, kernel), group in groups.items()
    ]
    return sorted(together, key=lambda kind: -kind.ms)


def save(found: Profile, out: Path) -> ProfileSummary:
    """Write a profile and its node data for Model Explorer into ``out/profile/``; return what results.json has."""
    name = f"{slug(found.artifact)}--on--{slug(found.target.replace('/', '-'))}"
    path, explorer = out / FOLDER / f"{name}.json", out / FOLDER / f"{name}.model-explorer.json"
    write_json(path, to_json(found))
    values = {row.name: round(100 * row.share, 3) for row in found.operators if row.node is not None and row.name}
    if values:
        write_json(explorer, node_data(f"time on {found.target} (%)", values, _THRESHOLDS))
    return found.summary(
        path.relative_to(out).as_posix(), explorer.relative_to(out).as_posix() if values else ""
    )  # fmt: skip


def _nodes(runner: Runner) -> list[Node]:
    """Return the operators of a ``.tflite``'s main graph; those of its other graphs, which it calls, come after it."""
    if runner.artifact.format != "tflite" or runner.artifact.path is None:
        return []
    return list(read_graph(runner.artifact.path).nodes)


def _rows(executed: Sequence[Mapping[str, Any]], nodes: Sequence[Node]) -> list[OperatorTime]:
    """Return a row for each executed operator, with what the graph says of it."""
    names = [(str(one["op"]), one["node"]) for one in executed]
    of_xnnpack = any(one["kernel"] in ("xnnpack", "builtin") for one in executed)
    places = align(names, [node.op for node in nodes]) if nodes and of_xnnpack else [None] * len(executed)
    rows: list[OperatorTime] = []
    for position, (one, place) in enumerate(zip(executed, places, strict=True)):
        node = nodes[place] if place is not None and place < len(nodes) else None
        mean, low, high = _middle(np.asarray(one["us"], float) / 1000)
        row = OperatorTime(
            position, str(one["op"]), str(one["op"]), str(one["kernel"]), str(one["name"])[:_NAME_LIMIT],
            place if node else None, mean, low, high, 0.0,
        )  # fmt: skip
        if node is not None:
            tensor = node.outputs[0].name if node.outputs else ""
            row = replace(row, op=node.op, name=tensor, macs=costs.macs(node), bytes=costs.size(node))
        elif shapes := one["shapes"]:
            row = replace(row, macs=onnx_macs(row.op, shapes["inputs"], shapes["outputs"]), bytes=shapes["bytes"])
        rows.append(row)
    whole = sum(row.ms for row in rows)
    return [replace(row, share=min(1.0, row.ms / whole) if whole else 0.0) for row in rows]


def _middle(times: NDArray[np.float64]) -> tuple[float, float | None, float | None]:
    """Return the mean without the lowest and the highest tenth of the times, and their quartiles.

    A single time has none: it is a mean already, or of one run.

    Clocks of some profilers count whole microseconds: a median would round what takes less than ten of them.
    """
    low, high = (float(value) for value in np.percentile(times, (25, 75))) if len(times) > 1 else (None, None)
    tenth = -(-len(times) // 10) if len(times) > 2 else 0
    middle = np.sort(times)[tenth : len(times) - tenth]
    return float(middle.mean()), low, high


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
