"""The files on all devices: a column a device, the worst device of each file, the fewest files that serve them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.artifact import Artifact
from ...core.formatting import ms, times
from ...core.sanitize import shorten
from ...evaluate.cells import Cell
from ...tasks import Quality
from ..content import NAME_LIMIT, REASON_LIMIT, Content
from ..section import Section

_WHY_LIMIT = 2000
_MARKS = {"met": "keeps the budget", "not shown": "not shown", "not met": "over budget"}
_STATUS = {"met": "ok", "not shown": "unsupported", "not met": "failed"}


@dataclass(frozen=True)
class DeviceCell:
    """A file on a device. `state`: ok, over, pick (in the smallest set), quiet (not read there), missing, or a status
    that is not ok."""

    state: str
    device: str
    runtime: str = ""
    accuracy: str = ""
    latency: str = ""
    kind: str = ""
    mark: str = ""
    note: str = ""


@dataclass(frozen=True)
class DeviceRow:
    """A file, its cell on each device, and where it is worst, in words.

    `where` is the name of the device where it answers worst, or why none is named.
    """

    artifact: Artifact
    name: str
    cells: tuple[DeviceCell, ...]
    accuracy: str
    latency: str
    where: str


@dataclass(frozen=True)
class SetFile:
    """A file of the smallest set, and the devices that it is for, in words."""

    name: str
    devices: tuple[str, ...]


@dataclass(frozen=True)
class FleetView:
    """What the section shows. `verdict` and `status` are empty without a budget."""

    devices: tuple[str, ...]
    rows: tuple[DeviceRow, ...]
    why: str
    verdict: str
    status: str
    files: tuple[SetFile, ...]
    without: tuple[tuple[str, str], ...]
    caption: str
    limited: bool


def fleet_view(content: Content) -> FleetView | None:
    """Return the section's contents; None unless files ran on several devices."""
    fleet = content.results.fleet
    if len(fleet.get("devices", [])) < 2:
        return None
    chosen: Mapping[str, Any] = fleet.get("smallest_set") or {}
    served = {(f["artifact"], d["target"]) for f in chosen.get("files", []) for d in f["devices"]}
    by_device = {(row["artifact"], row["device"]): row for row in fleet["cells"]}
    worst = {row["artifact"]: row for row in fleet.get("worst", [])}
    artifacts = {a.id: a for a in content.results.artifacts}
    # Where a device has several runtimes, its cells say which.
    several = {
        device for device in fleet["devices"] if len({r["target"] for r in fleet["cells"] if r["device"] == device}) > 1
    }
    rows = []
    for name in dict.fromkeys(row["artifact"] for row in fleet["cells"]):
        if (artifact := artifacts.get(name)) is None:
            continue
        cells = tuple(
            _cell(content, artifact, device, by_device.get((name, device)), served, device in several)
            for device in fleet["devices"]
        )
        of = worst.get(name, {})
        rows.append(
            DeviceRow(
                artifact,
                content.name(artifact),
                cells,
                _accuracy(of.get("accuracy"), content.metric),
                _latency(of.get("latency")),
                _where(of.get("accuracy")),
            )
        )
    verdict = str(chosen.get("verdict", ""))
    return FleetView(
        devices=tuple(shorten(device, NAME_LIMIT) for device in fleet["devices"]),
        rows=tuple(rows),
        why=shorten(str(chosen.get("why", "")), _WHY_LIMIT),
        verdict=shorten(verdict, NAME_LIMIT),
        status=_STATUS.get(verdict, ""),
        files=tuple(
            SetFile(
                content.name(artifacts[f["artifact"]]),
                tuple(shorten(d["target"], NAME_LIMIT) for d in f["devices"]),
            )
            for f in chosen.get("files", [])
            if f["artifact"] in artifacts
        ),
        without=tuple(
            (shorten(one["device"], NAME_LIMIT), shorten(one["why"], REASON_LIMIT))
            for part in ("missing", "not_shown", "left_out")
            for one in chosen.get(part, [])
        ),
        caption=_caption(content, rows),
        limited=any(row.latency != "–" for row in rows),
    )


def _cell(
    content: Content,
    artifact: Artifact,
    device: str,
    row: Mapping[str, Any] | None,
    served: set[tuple[str, str]],
    with_runtime: bool,
) -> DeviceCell:
    cell = content.by_key.get((artifact.id, row["target"])) if row else None
    if row is None or cell is None:
        reason = next((c.measurement.reason for c in content.cells if _is(c, artifact, device)), "not run there")
        return DeviceCell("quiet", device, note=shorten(reason, REASON_LIMIT))
    m = cell.measurement
    if m.status != "ok":
        return DeviceCell(m.status, device, note=shorten(m.reason, REASON_LIMIT))
    latency = ms(m.latency_ms.median) if m.latency_ms else ms(m.npu.milliseconds) if m.npu else ""
    in_set = (artifact.id, m.target) in served
    mark = "in the set" if in_set else _MARKS.get(row["verdict"], "")
    state = "pick" if in_set else "over" if row["verdict"] in ("not shown", "not met") else "ok"
    runtime = shorten(m.runtime, NAME_LIMIT) if with_runtime else ""
    accuracy = cell.quality.short if m.samples else "no answers"
    return DeviceCell(state, device, runtime, accuracy, latency or "no latency", m.kind, mark)


def _is(cell: Cell, artifact: Artifact, device: str) -> bool:
    return cell.artifact.id == artifact.id and cell.measurement.device == device


def _accuracy(worst: Mapping[str, Any] | None, metric: type[Quality]) -> str:
    """Return on which device a file answers worst, in words; `metric` is the run's, which other figures are shares."""
    if not worst:
        return "–"
    kind = metric if worst["figure"] == metric.name else Quality
    value, less = kind.words(worst["value"]), "less" if kind.better == "higher" else "more"
    if worst["verdict"] == "same":
        return f"{value} wherever it ran, sample by sample"
    if not worst["difference"]:
        return f"{value} wherever it ran"
    ours, best = shorten(worst["device"], NAME_LIMIT), shorten(worst["against"], NAME_LIMIT)
    if worst["low"] is None or worst["high"] is None:
        return f"not distinguishable: {value} on {ours}, {kind.words(worst['against_value'])} on {best}"
    interval = f"{100 * worst['confidence']:.3g} % interval {kind.signed_span(worst['low'], worst['high'])}"
    words = f"{kind.amount(worst['difference'])} {less} than on {best}, {interval}"
    return f"{ours}: {words}" if worst["verdict"] == "lower" else f"not distinguishable: {ours}, {words}"


def _where(worst: Mapping[str, Any] | None) -> str:
    """Return the name of the device where a file answers worst, if one is shown to be that."""
    if not worst or worst["verdict"] != "lower":
        return "–" if not worst else "the same" if worst["verdict"] == "same" else "not distinguishable"
    return shorten(worst["device"], NAME_LIMIT)


_WIDEST = 100.0


def _latency(worst: Mapping[str, Any] | None) -> str:
    """Return on which device a file misses the limit by the largest factor, in words."""
    if not worst:
        return "–"
    device = shorten(worst["device"], NAME_LIMIT)
    multiple = f"p95 {ms(worst['p95_ms'])}, {times(worst['times_limit'])} the limit"
    if worst["low"] is not None and worst["high"] is not None:
        wide = worst["high"] > _WIDEST * worst["times_limit"]  # the interval of two or three blocks has no bounds
        interval = "too few blocks for an interval" if wide else f"{times(worst['low'])} to {times(worst['high'])}"
        multiple += f" ({interval})"
    if worst["verdict"] == "within":
        return f"within the limit wherever it ran; most on {device}: {multiple}"
    also = ", ".join(shorten(name, NAME_LIMIT) for name in worst["also"])
    not_apart = f"; not distinguishable from {also}" if also else ""
    unclear = "" if worst["verdict"] == "above" else "not shown to be above or within: "
    return f"{unclear}{device}: {multiple}{not_apart}"


def _caption(content: Content, rows: Sequence[DeviceRow]) -> str:
    cells = [cell for row in rows for cell in row.cells]
    sentences = {
        f"Of each file the {content.quality_name} and the median latency on each device, on the runtime there that "
        "keeps the budget, of these the fastest.": True,
        f"{content.quality} is compared across devices; latency is not: each device's is compared with the limit "
        "alone.": True,
        "Emulated devices have no latency.": any(cell.kind == "emulated" for cell in cells),
        "Of an estimator's device nothing was run.": any(cell.kind == "estimated" for cell in cells),
        "Not shown: the samples are too few to tell, or there is no latency.": any(
            cell.mark == "not shown" for cell in cells
        ),
        "In the set: of the smallest set of files, the one for that device.": any(c.state == "pick" for c in cells),
        "A dash: the runtime there does not read files of that format.": any(c.state == "quiet" for c in cells),
    }
    return " ".join(sentence for sentence, is_there in sentences.items() if is_there)


def _build(content: Content) -> dict[str, Any] | None:
    view = fleet_view(content)
    return {"fleet": view} if view else None


SECTION = Section("fleet", "All devices", _build, "fleet.html.j2")
