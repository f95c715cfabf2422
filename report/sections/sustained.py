"""What is left of a file's latency after minutes of work: the 95th percentile by minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ...core.formatting import ms, times
from ...core.sanitize import shorten
from ..content import NAME_LIMIT, Content
from ..palette import PAGE
from ..plots import new_figure
from ..section import Section
from ..svg import inline

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sustained_rows(content: Content) -> list[dict[str, Any]]:
    """Return a row in words for each sustained run, with the latencies of its minutes."""
    names = {artifact.id: content.name(artifact) for artifact in content.results.artifacts}
    rows = []
    for one in content.results.sustained:
        minutes = one["by_minute"]
        name = names.get(str(one["artifact"]), shorten(str(one["artifact"]), NAME_LIMIT))
        words = "it did not run a minute"
        if minutes:
            first, last = minutes[0], minutes[-1]
            words = f"p95 {ms(first['p95_ms'])} in the first minute, {ms(last['p95_ms'])} in the last of {len(minutes)}"
            if first["p95_ms"]:
                words += f" ({times(last['p95_ms'] / first['p95_ms'])})"
            heat = [minute["celsius"] for minute in minutes if minute.get("celsius") is not None]
            words += f"; up to {max(heat):.0f} °C" if heat else ""
        ended = "" if one["status"] == "ok" else f"{shorten(str(one['status']))}: {shorten(str(one['reason']), 300)}"
        rows.append(
            {
                "name": name,
                "target": shorten(str(one["target"]), NAME_LIMIT),
                "kind": shorten(str(one["kind"])),
                "words": words,
                "ended": ended,
                "minutes": minutes,
            }
        )
    return rows


def draw(minutes: Sequence[Mapping[str, Any]], narrow: bool) -> Figure:
    """Draw the median and the 95th percentile of each minute."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure(350 if narrow else 760, 220, (58, 12, 12, 46))
    places = list(range(1, len(minutes) + 1))
    accent, muted = PAGE["accent"].placeholder, PAGE["muted"].placeholder
    for key, label, colour in (("p95_ms", "p95", accent), ("median_ms", "median", muted)):
        values = [minute[key] for minute in minutes]
        axes.plot(places, values, color=colour, linewidth=1.8, marker="o", markersize=3.5)
        axes.annotate(label, (places[-1], values[-1]), xytext=(-2, 8), textcoords="offset pixels", ha="right",
                      fontsize=10.5, color=colour)  # fmt: skip
    axes.set_xlim(0.6, len(places) + 0.4)
    axes.set_ylim(0, 1.25 * max(minute["p95_ms"] for minute in minutes))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", linewidth=1)
    axes.tick_params(length=0, labelsize=10.5)
    axes.set_xlabel("minute", fontsize=10.5)
    axes.set_ylabel("ms", fontsize=10.5)
    return figure


def _build(content: Content) -> dict[str, Any] | None:
    rows = sustained_rows(content)
    if not rows:
        return None
    drawn = [
        (row, inline(partial(draw, row["minutes"]), f"sustained{i}", f"Latency by minute: {row['words']}"))
        if row["minutes"]
        else (row, "")
        for i, row in enumerate(rows)
    ]
    return {"sustained": drawn}


SECTION = Section("sustained", "Sustained load", _build, "sustained.html.j2")
