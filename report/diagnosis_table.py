"""The diagnosis of a quantized file, on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core.diagnosis import Diagnosis
from ..quantize.diagnosis import short_name
from ..tasks.agreement import words

if TYPE_CHECKING:
    from rich.console import RenderableType

# Tensors that are shown; the JSON document has all.
SHOWN = 10


def diagnosis_summary(diagnosis: Diagnosis) -> Iterator[RenderableType]:
    """Yield the terminal's view of a diagnosis: what was compared, the findings, the worst tensors.

    Names from the file are plain text in it, never markup.
    """
    from rich.table import Table
    from rich.text import Text

    counted = words(str(diagnosis.facts.get("agreement_by", "")))
    agreement = "" if diagnosis.agreement is None else f"; the {counted} is the same on {diagnosis.agreement:.1%}"
    snr = diagnosis.facts.get("answer_snr_db")
    yield Text.assemble(
        (diagnosis.artifact, "bold"),
        f" against {diagnosis.reference} on {diagnosis.samples} samples of {diagnosis.source}{agreement}",
        "" if snr is None else f"; the answer keeps {snr:.1f} dB",
    )
    if missing := diagnosis.facts.get("unmatched"):
        names = ", ".join(f"{one['operator']} {short_name(one['name'])}" for one in missing[:3])
        yield Text(
            f"{len(missing)} of {diagnosis.facts.get('operators')} operators have no counterpart in the float file "
            f"and are not compared: {names}{', …' if len(missing) > 3 else ''}",
            style="yellow",
        )
    if not diagnosis.suspicions:
        yield Text("no findings: the file is as accurate as its scheme allows")
    for number, finding in enumerate(diagnosis.suspicions, 1):
        yield Text.assemble(f"{number}. ", (finding.cause, "bold"), f": {finding.why}")
        yield Text(f"   → {finding.remedy}")
    table = Table("tensor", "operator", "error share", "SNR dB", "own dB", "clipped", "range used", "widest channel")
    for column in table.columns[2:]:
        column.justify = "right"
    for tensor in diagnosis.tensors[:SHOWN]:
        table.add_row(
            Text(_shortened(short_name(tensor.name))),
            Text(f"{tensor.position} {tensor.operator}{', weights' if tensor.kind == 'weight' else ''}"),
            _share(tensor.share),
            _number(tensor.snr_db),
            _number(tensor.own_snr_db),
            _share(tensor.saturated),
            _share(tensor.range_use),
            "–" if tensor.channel_ratio is None else f"{tensor.channel_ratio:.1f}×",
        )
    yield table


def _shortened(name: str, limit: int = 28) -> str:
    return name if len(name) <= limit else "…" + name[1 - limit :]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
