"""The figures of a history: one line for each file over the runs, with its intervals, for each target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .palette import PAGE, scheme_colour
from .plots import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From this ratio of the largest to the smallest value on, an axis is logarithmic.
LOGARITHMIC = 8.0
# Pixels from one name to the next.
LINE_HEIGHT = 13.0
# So many runs have their numbers below the axis; of more, some have.
NUMBERED = 12


@dataclass(frozen=True)
class Value:
    """A figure of one run: its number from 0, the value with the ends of its interval (or None), how it was taken."""

    run: int
    value: float
    low: float | None
    high: float | None
    measured: bool


@dataclass(frozen=True)
class Line:
    """The figures of one file: its name, its scheme (which gives the colour), and its values by run."""

    name: str
    scheme: str
    values: Sequence[Value]


def lines(shown: Sequence[Line], runs: int, unit: str, narrow: bool) -> Figure:
    """Draw each line over `runs`; a gap where a run has no figure. `unit` is ``%`` (of shares), ``ms`` or ``MiB``.

    Points that are emulated or estimated are hollow. Values must be above 0, but for shares.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

    figure, axes = new_figure(350 if narrow else 760, 300, (56, 78 if narrow else 150, 14, 44))
    axes.set_xlim(-0.35, max(runs - 1, 0) + 0.35)
    _scale(axes, shown, unit)
    for line in shown:
        colour = scheme_colour(line.scheme).placeholder
        for piece in _pieces(line.values):
            axes.plot([v.run for v in piece], [v.value for v in piece], color=colour, linewidth=1.6)
        for v in line.values:
            if v.low is not None and v.high is not None:
                axes.plot([v.run, v.run], [v.low, v.high], color=colour, linewidth=4, alpha=0.3, solid_capstyle="butt")
            face = colour if v.measured else PAGE["paper"].placeholder
            axes.plot([v.run], [v.value], "o", color=colour, markersize=5.5, markerfacecolor=face, markeredgewidth=1.5)
    _name_ends(axes, shown, runs)
    axes.grid(axis="y", linewidth=1)
    axes.tick_params(length=0, labelsize=10.5, pad=6)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5 if narrow else NUMBERED, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: str(round(x) + 1) if 0 <= round(x) < runs else ""))
    axes.set_xlabel("run", fontsize=10.5, labelpad=6)
    if unit == "%":
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.4g} %"))
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.3g} {unit}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
    return figure


def _scale(axes: Axes, shown: Sequence[Line], unit: str) -> None:
    """Set the range of the values, logarithmic where they differ much."""
    from matplotlib.ticker import LogLocator

    ends = [end for line in shown for v in line.values for end in (v.low, v.value, v.high) if end is not None]
    low, high = min(ends), max(ends)
    if unit != "%" and low > 0 and high / low > LOGARITHMIC:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 400 else (1.0,)))
        axes.set_ylim(low / 1.15, high * 1.15)
        return
    pad = max(0.08 * (high - low), 0.004 if unit == "%" else 0.03 * high, 1e-9)
    axes.set_ylim(max(low - pad, -0.02 if unit == "%" else 0.0), min(high + pad, 1.02) if unit == "%" else high + pad)


def _name_ends(axes: Axes, shown: Sequence[Line], runs: int) -> None:
    """Write each line's name to the right of the axes, at the height of its last value or as near as there is room."""
    heights = {line.name: float(axes.transData.transform((0, line.values[-1].value))[1]) for line in shown}
    free = float("-inf")
    for line in sorted(shown, key=lambda line: heights[line.name]):
        free = max(heights[line.name], free + LINE_HEIGHT)
        axes.annotate(
            line.name, (runs - 1 + 0.35, line.values[-1].value), xytext=(8, free - heights[line.name]),
            textcoords="offset pixels", va="center", fontsize=10.5, color=scheme_colour(line.scheme).placeholder,
            annotation_clip=False,
        )  # fmt: skip


def _pieces(values: Sequence[Value]) -> list[list[Value]]:
    """Return the values in pieces of runs that follow each other."""
    pieces: list[list[Value]] = []
    for value in values:
        if pieces and pieces[-1][-1].run == value.run - 1:
            pieces[-1].append(value)
        else:
            pieces.append([value])
    return pieces
