"""Where a file answers differently on two devices in the same runtime, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.sanitize import shorten
from ..content import NAME_LIMIT, Content
from ..section import Section


def difference_rows(content: Content) -> list[dict[str, Any]]:
    """Return a row in words for each file in one runtime on a further device."""
    kinds = {(c.artifact.id, c.measurement.target): c.measurement.kind for c in content.cells}
    names = {artifact.id: artifact for artifact in content.results.artifacts}
    rows = []
    for one in content.results.device_differences:
        artifact = names.get(str(one["artifact"]))
        samples, identical = int(one["samples"]), int(one["identical"])
        changed = one["classes_changed"]
        rows.append(
            {
                "name": content.name(artifact) if artifact else shorten(str(one["artifact"]), NAME_LIMIT),
                "target": shorten(str(one["target"]), NAME_LIMIT),
                "against": shorten(str(one["against"]), NAME_LIMIT),
                "kind": kinds.get((str(one["artifact"]), str(one["target"])), ""),
                "identical": f"{identical:,} of {samples:,}",
                "largest": "0" if identical == samples else f"{one['largest']:.2g}",
                "changed": "–" if changed is None else f"{changed:,}",
                "listed": [_sample(sample, artifact) for sample in one["listed"]],
                "more": samples - identical - len(one["listed"]),
            }
        )
    return rows


def _sample(sample: Mapping[str, Any], artifact: Any) -> dict[str, str]:
    labels = artifact.labels if artifact else ()

    def label(number: int | None) -> str:
        if number is None:
            return "–"
        return shorten(labels[number], NAME_LIMIT) if number < len(labels) else str(number)

    own, other = label(sample["class"]), label(sample["class_against"])
    return {
        "number": f"{sample['sample']:,}",
        "difference": f"{sample['difference']:.2g}",
        "classes": f"{own}, not {other}" if own != other else own,
    }


def _build(content: Content) -> dict[str, Any] | None:
    rows = difference_rows(content)
    return {"differences": rows, "same": all(not row["listed"] for row in rows)} if rows else None


SECTION = Section("device-differences", "Devices compared", _build, "device_differences.html.j2")
