"""Drawings of quantization: the signal-to-noise ratio along the graph, and what each step of a search costs and buys.

As in `plots`, each function returns a matplotlib Figure, for wide or for narrow pages, in page pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core.formatting import number, size
from .label_placement import place_labels
from .palette import PAGE, scheme_colour
from .plots import ACCENT, FRONT_STYLE, INK, MUTED, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .sections.diagnosis import SnrPoint
    from .sections.provenance import Step

WORST = scheme_colour("int8").placeholder
# Beyond these, in decibels, a tensor is drawn at the edge: at 60 dB the error is a thousandth, and below -10 dB the
# difference is more than three times the signal.
FLOOR, CEILING = -10.0, 60.0


def snr(shown: Sequence[SnrPoint], narrow: bool) -> Figure:
    """Draw each activation's signal-to-noise ratio from input to output, and what each operator adds alone.

    The line is the ratio at that point of the graph; a bar hangs from the top down to the ratio that the operator has
    when its inputs are the file's own: a long bar is a layer that does harm itself. The worst ones are marked with
    their rank and named.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure(350 if narrow else 760, 300 if narrow else 340, (50, 14, 14, 42))
    values = [_clip(v) for p in shown for v in (p.snr, p.own) if v is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    pad = max(2.0, 0.08 * (high - low))
    top = min(CEILING, high) + pad
    axes.set_ylim(max(FLOOR, low) - pad, top)
    axes.set_xlim(-0.8, max(len(shown) - 0.2, 1))
    for point in shown:
        if point.own is not None and point.own < CEILING:
            colour = WORST if point.rank else MUTED
            axes.bar(point.position, _clip(point.own) - top, bottom=top, width=0.62, color=colour,
                     alpha=0.75 if point.rank else 0.32, linewidth=0)  # fmt: skip
    line = [(p.position, _clip(p.snr)) for p in shown if p.snr is not None]
    if line:
        axes.plot(*zip(*line, strict=True), color=INK, linewidth=1.7)
    marked = sorted((p for p in shown if p.rank), key=lambda p: p.rank)
    places = [(float(p.position), _clip(p.snr if p.snr is not None else p.own or 0.0)) for p in marked]
    for x, y in places:
        axes.plot([x], [y], "o", color=WORST, markersize=8, markeredgecolor=PAGE["paper"].placeholder)
    texts = [f"{p.rank}" if narrow else f"{p.rank} {p.label}" for p in marked]
    place_labels(axes, places, texts, [p.rank == 1 for p in marked], near=narrow)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} dB".replace("-", "−"))
    axes.grid(axis="y", linewidth=1)
    axes.set_axisbelow(True)
    axes.set_xticks([0, max(len(shown) - 1, 1)], ["input", "output"])
    axes.tick_params(length=0, labelsize=10.5, pad=6)
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.set_xlabel("signal-to-noise ratio against float, along the graph", fontsize=10.5, labelpad=2)
    return figure


def trade(steps: Sequence[Step], allowed: float | None, narrow: bool) -> Figure:
    """Draw the drop of accuracy with its interval against latency and against size, a point for each step.

    Less drop is up. The chosen step has a ring; `allowed` (a share) is the budget's limit, a dashed line.
    """
    panels = [
        (title, values, intervals)
        for title, values, intervals in (
            ("median latency, ms", [s.latency for s in steps], [(s.latency_low, s.latency_high) for s in steps]),
            ("size, MiB", [s.bytes / 2**20 or None for s in steps], [(None, None)] * len(steps)),
        )
        if any(v is not None for v in values)
    ]
    wide, high = 350 if narrow else 760, 250
    figure, first = new_figure(wide, max(1, len(panels)) * high if narrow else 300, (56, 14, 16, 46))
    first.remove()
    for i, (title, values, intervals) in enumerate(panels):
        axes = figure.add_subplot(*((len(panels), 1, i + 1) if narrow else (1, len(panels), i + 1)))
        _panel(axes, steps, values, intervals, allowed, narrow)
        axes.set_xlabel(title, fontsize=10.5, labelpad=6)
    height = figure.get_figheight() * 72
    figure.subplots_adjust(left=56 / wide, right=1 - 14 / wide, top=1 - 16 / height, bottom=46 / height,
                           wspace=0.2, hspace=0.34)  # fmt: skip
    return figure


def _panel(
    axes: Axes,
    steps: Sequence[Step],
    values: Sequence[float | None],
    intervals: Sequence[tuple[float | None, float | None]],
    allowed: float | None,
    narrow: bool,
) -> None:
    from matplotlib.ticker import MaxNLocator

    points = [
        (step, x, 100 * step.drop, span)
        for step, x, span in zip(steps, values, intervals, strict=True)
        if x is not None and step.drop is not None
    ]
    axes.plot([x for _, x, _, _ in points], [y for _, _, y, _ in points], color=MUTED, linewidth=1.2, zorder=1)
    for step, x, y, (low, high) in points:
        colour = ACCENT if step.chosen else scheme_colour("int8").placeholder
        if step.drop_low is not None and step.drop_high is not None:
            axes.plot([x, x], [100 * step.drop_low, 100 * step.drop_high], color=colour, linewidth=1.4, alpha=0.45)
        if low is not None and high is not None:
            axes.plot([low, high], [y, y], color=colour, linewidth=1.4, alpha=0.45)
        if step.chosen:
            axes.plot([x], [y], "o", markersize=17, markerfacecolor="none", color=ACCENT, markeredgewidth=1.8)
        axes.plot([x], [y], "o", color=colour, markersize=7.5)
    axes.margins(x=0.16, y=0.1)
    if allowed is not None:
        axes.axhline(100 * allowed, color=MUTED, linewidth=1.1, linestyle=FRONT_STYLE)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4 if narrow else 5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
    axes.grid(axis="y", linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=10.5, pad=6)
    if axes.get_subplotspec() is None or axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        axes.set_ylabel("drop, points", fontsize=10.5, color=MUTED)
    texts = [f"{step.count} kept, chosen" if step.chosen else f"{step.count} kept" for step, *_ in points]
    if points:
        place_labels(axes, [(x, y) for _, x, y, _ in points], texts, [s.chosen for s, *_ in points], near=narrow)


def spoken_snr(shown: Sequence[SnrPoint]) -> str:
    """Return the drawing's figures in words."""
    line = [p for p in shown if p.snr is not None]
    ends = f"from {line[0].snr:.0f} dB to {line[-1].snr:.0f} dB" if line else "not known"
    worst = "; ".join(f"{p.rank} {p.label}" for p in sorted(shown, key=lambda p: p.rank) if p.rank)
    return f"Signal-to-noise ratio of {len(line)} tensors along the graph, {ends}" + (f"; worst: {worst}" * bool(worst))


def spoken_trade(steps: Sequence[Step]) -> str:
    """Return the drawing's figures in words."""
    sentences = [
        f"{s.count} layers kept: drop {100 * s.drop:.2f} points"
        + (f", {number(s.latency)} ms" if s.latency else "")
        + (f", {size(s.bytes)}" if s.bytes else "")
        + (", chosen" if s.chosen else "")
        for s in steps
        if s.drop is not None
    ]
    return f"Drop of each step: {'; '.join(sentences)}"


def _clip(value: float) -> float:
    return min(CEILING, max(FLOOR, value))
