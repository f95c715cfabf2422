"""The figures of the report: accuracy against latency, latencies with their intervals, training curves.

Each function returns a matplotlib Figure (no pyplot: no global state) in one of two sizes, for wide and for narrow
pages. All lengths are in page pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.formatting import ms
from ..core.sanitize import shorten
from ..evaluate.cells import Cell
from ..tasks import metric_of
from .label_placement import Box, place_labels
from .palette import PAGE, marker, scheme_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, ACCENT = (PAGE[name].placeholder for name in ("ink", "muted", "rule", "accent"))
# A file this far (in shares) below the best one is drawn at the foot of the plot, with its figure: one broken file
# must not press all the others into a line.
OFF_SCALE = 0.12
FRONT_STYLE = (0, (4, 3))


def scatter(
    shown: Sequence[Cell],
    everything: Sequence[Cell],
    ship: Cell | None,
    unbeaten: Collection[tuple[str, str]],
    mark: str,
    narrow: bool,
) -> Figure:
    """Draw accuracy against median latency for one model's cells, with both intervals.

    `everything` (cells of all models) sets the scales, so that models can be put side by side. `unbeaten` are the
    (artifact id, target) that no other beats in accuracy, latency and size: they have a thin ring. `mark` is said of
    the cell `ship`.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure(350 if narrow else 760, 360 if narrow else 400, (50, 12, 12, 46))
    points = [(c, *_position(c)) for c in shown]
    low, high = _accuracy_range(everything)
    axes.set_xscale("log")
    axes.set_xlim(*_latency_range(everything, 0.14 if narrow else 0.09))
    axes.set_ylim(low, high)
    _latency_axis(axes, narrow)
    ticks = MaxNLocator(nbins=6, steps=[1, 2, 5, 10])
    digits = 0 if all(abs(100 * t - round(100 * t)) < 1e-6 for t in ticks.tick_values(low, high)) else 1
    axes.yaxis.set_major_locator(ticks)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.{digits}f} %" if value < 1.0005 else "")
    axes.grid(axis="y", linewidth=1)
    front = _front(axes, shown, low)
    occupied = _reference_line(axes, shown, front, narrow)
    for cell, x, y in points:
        if y >= low:
            key = (cell.artifact.id, cell.measurement.target)
            _point(axes, cell, x, y, chosen=cell is ship, unbeaten=key in unbeaten)
        else:
            colour = scheme_colour(cell.artifact.scheme).placeholder
            axes.plot([x], [low], "v", color=colour, markersize=7, clip_on=False)
    texts = [_scatter_label(cell, y, low, mark if cell is ship else "") for cell, _, y in points]
    places = [(x, max(y, low)) for _, x, y in points]
    place_labels(axes, places, texts, [c is ship for c, _, _ in points], near=narrow, obstacles=occupied)
    return figure


def latencies(
    shown: Sequence[Cell],
    everything: Sequence[Cell],
    medians: Mapping[tuple[str, str], list[float]],
    ship: Cell | None,
    narrow: bool,
) -> Figure:
    """Draw each cell's median latency, its interval, its 95th percentile, and where known its processes' medians.

    `everything` sets the scale. `medians` maps (artifact id, target) to milliseconds.
    """
    rows = sorted(shown, key=lambda c: c.measurement.latency_ms.median if c.measurement.latency_ms else 0.0)
    step = 42 if narrow else 30
    names = [shorten(f"{c.variant}  ·  {_place(c)}", 48) for c in rows]
    left = max(206, round(6.3 * max(map(len, names), default=0)))
    figure, axes = new_figure(350 if narrow else 760, len(rows) * step + 60, (14 if narrow else left, 62, 10, 46))
    axes.set_xscale("log")
    axes.set_xlim(*_latency_range(everything, 0.03, tail=True))
    axes.set_ylim(len(rows) - (0.25 if narrow else 0.45), -0.62 if narrow else -0.5)
    _latency_axis(axes, narrow)
    axes.grid(axis="x", linewidth=1)
    axes.set_yticks([])
    for i, cell in enumerate(rows):
        latency = cell.measurement.latency_ms
        if latency is None:
            continue
        colour, y = scheme_colour(cell.artifact.scheme).placeholder, i + (0.22 if narrow else 0)
        weight = "bold" if cell is ship else "normal"
        axes.plot([latency.median, latency.p95], [y, y], color=colour, linewidth=1, alpha=0.55)
        axes.plot([latency.p95], [y], "|", color=colour, markersize=7, alpha=0.8)
        axes.plot([latency.low, latency.high], [y, y], color=colour, linewidth=5, alpha=0.45, solid_capstyle="butt")
        strip = medians.get((cell.artifact.id, cell.measurement.target), [])
        axes.plot(strip, [y + 0.3] * len(strip), "|", color=MUTED, markersize=4, markeredgewidth=1, alpha=0.9)
        axes.plot([latency.median], [y], marker(cell.measurement.runtime)[0], markersize=6.5, **_filling(cell, colour))
        axes.annotate(
            names[i], (0, y - 0.44 if narrow else y), xytext=(2 if narrow else 10 - left, 0), va="center",
            weight=weight, xycoords=("axes fraction", "data"), textcoords="offset pixels", fontsize=11,
        )  # fmt: skip
        axes.annotate(
            ms(latency.median), (1, y), xycoords=("axes fraction", "data"), xytext=(54, 0), textcoords="offset pixels",
            ha="right", va="center", fontsize=11, weight=weight,
        )  # fmt: skip
    return figure


def models(
    rows: Sequence[tuple[str, float, float, float, Sequence[float]]], narrow: bool, metric: str = "accuracy"
) -> Figure:
    """Draw the accuracy (or another `metric` that is a share) of each model, a row (name, mean, low, high, each
    seed's): interval, mean, strokes for seeds.

    The first seed's stroke is the exported model's, and longer.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    step = 56 if narrow else 36
    figure, axes = new_figure(350 if narrow else 760, len(rows) * step + 62, (14 if narrow else 206, 62, 12, 46))
    low = min(min(row[2], *row[4]) for row in rows)
    high = max(max(row[3], *row[4]) for row in rows)
    pad = max(0.002, 0.05 * (high - low))
    axes.set_xlim(max(-0.01, low - pad), min(1.01, high + pad))
    axes.set_ylim(len(rows) - (0.2 if narrow else 0.45), -0.62 if narrow else -0.5)
    ticks = MaxNLocator(nbins=4 if narrow else 7, steps=[1, 2, 5, 10])
    digits = 0 if all(abs(100 * t - round(100 * t)) < 1e-6 for t in ticks.tick_values(*axes.get_xlim())) else 1
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.{digits}f} %"))
    axes.tick_params(length=0, labelsize=10.5, pad=6)
    axes.set_xlabel(f"{metric} of the float model on the test split", fontsize=10.5, labelpad=6)
    axes.grid(axis="x", linewidth=1)
    axes.set_yticks([])
    for i, (name, mean, below, above, seeds) in enumerate(rows):
        y = i + (0.2 if narrow else 0)
        axes.plot([below, above], [y, y], color=ACCENT, linewidth=5, alpha=0.3, solid_capstyle="butt")
        for number_, share in enumerate(seeds if len(seeds) > 1 else ()):
            axes.plot([share], [y + 0.24], "|", color=ACCENT if number_ == 0 else MUTED,
                      markersize=11 if number_ == 0 else 7, markeredgewidth=1.6 if number_ == 0 else 1.2)  # fmt: skip
        axes.plot([mean], [y], "o", color=ACCENT, markersize=8)
        axes.annotate(
            shorten(name, 30), (0, y - 0.42 if narrow else y), xytext=(2 if narrow else -196, 0), va="center",
            xycoords=("axes fraction", "data"), textcoords="offset pixels", fontsize=11,
        )  # fmt: skip
        axes.annotate(
            f"{100 * mean:.1f} %", (1, y), xycoords=("axes fraction", "data"), xytext=(54, 0),
            textcoords="offset pixels", ha="right", va="center", fontsize=11,
        )  # fmt: skip
    return figure


def _place(cell: Cell) -> str:
    """Return where a cell ran as short as is unambiguous: on this machine, the runtime alone."""
    return cell.measurement.target.removeprefix("local/")


def training(history: Sequence[Mapping[str, Any]], narrow: bool) -> Figure:
    """Draw accuracy and loss per epoch, on training and validation data; a line where the next phase begins."""
    from matplotlib.ticker import MaxNLocator

    panels = [key for key in ("accuracy", "loss") if any(isinstance(row.get(key), int | float) for row in history)]
    wide = 350 if narrow else 760
    figure, first = new_figure(wide, 190 * len(panels) if narrow else 210, (46, 12, 24, 40))
    first.remove()
    for i, key in enumerate(panels):
        shape = (len(panels), 1, i + 1) if narrow else (1, max(2, len(panels)), i + 1)
        axes = figure.add_subplot(*shape)
        axes.set_title(key, loc="left", fontsize=11, color=MUTED)
        epochs = list(range(1, len(history) + 1))
        for name, label, colour in ((key, "training", MUTED), (f"val_{key}", "validation", ACCENT)):
            curve = [
                (e, float(row[name])) for e, row in zip(epochs, history, strict=True)
                if isinstance(row.get(name), int | float)
            ]  # fmt: skip
            if curve:
                axes.plot(*zip(*curve, strict=True), color=colour, linewidth=1.8, marker="o", markersize=3)
                # The two often end close together: the higher one is named above its end, the lower one below.
                _name_the_end(axes, curve, label, colour, above=_ends_higher(history, key, name))
        for e in epochs[1:]:
            if history[e - 1].get("phase") != history[e - 2].get("phase"):
                axes.axvline(e - 0.5, color=MUTED, linewidth=1, linestyle=FRONT_STYLE)
        axes.set_xlim(0.7, len(history) + 0.3)
        axes.margins(y=0.22)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", linewidth=1)
        axes.tick_params(length=0, labelsize=10.5)
        axes.set_xlabel("epoch", fontsize=10.5)
        if key == "accuracy":
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    height = figure.get_figheight() * 72
    figure.subplots_adjust(left=46 / wide, right=1 - 12 / wide, top=1 - 24 / height, bottom=40 / height,
                           wspace=0.16, hspace=0.55)  # fmt: skip
    return figure


def new_figure(width: float, height: float, margins: tuple[float, float, float, float]) -> tuple[Figure, Axes]:
    """Return a figure of `width` × `height` with one pair of axes inside `margins` (left, right, top, bottom)."""
    from matplotlib.figure import Figure

    left, right, top, bottom = margins
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    )
    return figure, axes


def _position(cell: Cell) -> tuple[float, float]:
    """Return (median latency, accuracy or agreement) of a cell that has both."""
    m = cell.measurement
    if m.latency_ms is None or not cell.quality.is_share:
        raise ValueError(f"{cell.artifact.id} on {m.target} lacks accuracy or latency")
    return m.latency_ms.median, cell.quality.value


def _accuracy_range(everything: Sequence[Cell]) -> tuple[float, float]:
    """Return the limits of the accuracy axis: all but what lies off the scale, with its intervals."""
    best = max(_position(c)[1] for c in everything)
    inside = [c.quality for c in everything if _position(c)[1] >= best - OFF_SCALE]
    low = min(figure.low if figure.low is not None else figure.value for figure in inside)
    high = max(figure.high if figure.high is not None else figure.value for figure in inside)
    pad = max(0.003, 0.06 * (high - low))
    return max(-0.02, low - pad), min(1.02, high + pad)


def _latency_range(shown: Sequence[Cell], pad: float, tail: bool = False) -> tuple[float, float]:
    """Return the limits of a logarithmic latency axis, `pad` (share of its length) wider than what it shows."""
    latencies_shown = [c.measurement.latency_ms for c in shown if c.measurement.latency_ms]
    low = min(v.low for v in latencies_shown)
    high = max(max(v.high, v.p95) if tail else v.high for v in latencies_shown)
    spread = max(high / low, 1.3) ** pad
    return low / spread, high * spread


def _latency_axis(axes: Axes, narrow: bool) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    low, high = axes.get_xlim()
    crowded = high / low > (400 if narrow else 5000)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if crowded else (1.0, 2.0, 5.0)))
    if high / low < 4:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.tick_params(length=0, labelsize=10.5, pad=6)
    axes.set_xlabel("median latency, ms (logarithmic)", fontsize=10.5, labelpad=6)


def _reference_line(axes: Axes, shown: Sequence[Cell], front: Sequence[tuple[float, float]], narrow: bool) -> list[Box]:
    """Draw the float model's accuracy as a line, which the files are compared with; return the position of its name."""
    float_model = next((c for c in shown if c.artifact.format == "savedmodel"), None)
    if float_model is None or (metric := metric_of(float_model.measurement)) is None:
        return []
    axes.axhline(metric.value, color=MUTED, linewidth=1)
    # A point's sign under the name is worse than the front's end, a line.
    weighed = [*map(_position, shown), *map(_position, shown), *front[-1:]]
    points = [(float(x), float(y)) for x, y in axes.transData.transform(weighed)]
    line, frame = float(axes.transData.transform((1.0, metric.value))[1]), axes.bbox
    name = "float model" if narrow else f"{metric.name} of the float model"
    width = 6.0 * len(name)
    # At the end, above or below, where it is farthest from points; the front's end at the right edge is one.
    boxes: dict[tuple[str, str], Box] = {
        (side, base): (x, line + dy, x + width, line + dy + 16)
        for base, dy in (("bottom", 2), ("top", -18))
        for side, x in (("right", frame.x1 - width), ("left", frame.x0))
    }
    side, base = min(boxes, key=lambda place: sum(_is_near(point, boxes[place]) for point in points))
    axes.annotate(
        name, (0 if side == "left" else 1, metric.value), xycoords=("axes fraction", "data"),
        xytext=(2 if side == "left" else -2, 4 if base == "bottom" else -4), textcoords="offset pixels", ha=side,
        va=base, fontsize=10, color=MUTED,
    )  # fmt: skip
    return [boxes[side, base]]


def _is_near(point: tuple[float, float], box: Box) -> bool:
    """Whether a point's sign, its ring included, reaches into a box (pixels)."""
    x, y = point
    return box[0] - 10 < x < box[2] + 10 and box[1] - 10 < y < box[3] + 10


def _front(axes: Axes, shown: Sequence[Cell], low: float) -> list[tuple[float, float]]:
    """Draw the model's Pareto front: for each latency the best accuracy that a file reaches within it. Return it."""
    best, steps = -1.0, []
    for x, y in sorted((_position(c) for c in shown if not c.is_reference), key=lambda p: (p[0], -p[1])):
        if y > best and y >= low:
            steps.append((x, y))
            best = y
    if not steps:
        return []
    front = [*steps, (axes.get_xlim()[1], best)]
    axes.step(*zip(*front, strict=True), where="post", color=MUTED, linewidth=1.2, linestyle=FRONT_STYLE)
    return front


def _filling(cell: Cell, colour: str) -> dict[str, Any]:
    """Return a marker's colours: filled when measured, hollow when emulated or estimated."""
    filled = cell.measurement.kind == "measured"
    return {"color": colour, "markerfacecolor": colour if filled else PAGE["paper"].placeholder, "markeredgewidth": 1.5}


def _point(axes: Axes, cell: Cell, x: float, y: float, chosen: bool, unbeaten: bool) -> None:
    m, quality = cell.measurement, cell.quality
    colour = MUTED if cell.is_reference else scheme_colour(cell.artifact.scheme).placeholder
    if m.latency_ms:
        axes.plot([m.latency_ms.low, m.latency_ms.high], [y, y], color=colour, linewidth=1.4, alpha=0.55)
    if quality.low is not None and quality.high is not None:
        axes.plot([x, x], [quality.low, quality.high], color=colour, linewidth=1.4, alpha=0.4)
    if chosen:
        axes.plot([x], [y], "o", markersize=17, markerfacecolor="none", color=ACCENT, markeredgewidth=1.8)
    elif unbeaten:
        axes.plot([x], [y], "o", markersize=14, markerfacecolor="none", color=INK, markeredgewidth=1)
    size = 6.5 if marker(m.runtime)[0] == "D" else 8
    axes.plot([x], [y], marker(m.runtime)[0], markersize=size, **_filling(cell, colour))


def _scatter_label(cell: Cell, y: float, low: float, mark: str) -> str:
    name = "TensorFlow" if cell.is_reference else shorten(cell.artifact.scheme, 20)
    if y < low:
        return f"{name} {100 * y:.1f} %"
    return f"{name}, {mark}" if mark else name


def _ends_higher(history: Sequence[Mapping[str, Any]], key: str, name: str) -> bool:
    last, other = history[-1].get(name), history[-1].get(f"val_{key}" if name == key else key)
    return not isinstance(last, int | float) or not isinstance(other, int | float) or last >= other


def _name_the_end(axes: Axes, line: Sequence[tuple[float, float]], label: str, colour: str, above: bool) -> None:
    axes.annotate(
        label, line[-1], xytext=(4, 7 if above else -7), textcoords="offset pixels", ha="right",
        va="bottom" if above else "top", fontsize=10.5, color=colour,
    )  # fmt: skip
