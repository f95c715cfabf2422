"""Placement of direct labels without overlap: each point's name is put where it covers least.

Points that touch share one label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .palette import PAGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT = 11.0
# Mean advance of a sans-serif letter in ems, a little generous: the browser's own font draws the text.
LETTER = 0.58
POINT = 6.0
# Where a label may stand, best first: (sideways, up) in pixels from the point, and which end of the text that is.
PLACES: tuple[Place, ...] = tuple(
    (dx * far, dy * far, anchor)
    for far in (1.0, 2.0, 3.0)
    for dx, dy, anchor in (
        (10, 0, "left"), (-10, 0, "right"), (0, 15, "center"), (0, -15, "center"),
        (8, 12, "left"), (8, -12, "left"), (-8, 12, "right"), (-8, -12, "right"),
    )
)  # fmt: skip
# So many of them are close by.
NEAR = 8
# Above this cost (overlap counts tenfold, by its area in square pixels) a label would hide more than it shows: it is
# left out, and the legend's shape and colour say what the point is.
CROWDED = 400.0
# Points closer than this, in pixels each way, look like one.
TOUCHING = 11.0
Box = tuple[float, float, float, float]
Place = tuple[float, float, str]


@dataclass(frozen=True)
class _Group:
    """Points that touch, and what is written beside them: where it ends to the left and right, how high it is."""

    text: str
    bold: bool
    left: float
    right: float
    y: float

    def at(self, anchor: str) -> float:
        """Return from where a label with this end is placed: its point nearest to it, or the middle."""
        return {"left": self.right, "right": self.left, "center": (self.left + self.right) / 2}[anchor]


def place_labels(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    bold: Sequence[bool],
    *,
    near: bool,
    obstacles: Sequence[Box] = (),
) -> None:
    """Write `texts` beside `points` (data coordinates) where they overlap points and each other least.

    A text without a free place is left out, unless it is `bold`. With `near` that happens sooner, because no text
    then stands so far from its point that it needs a line to it. No text covers the `obstacles` (boxes in pixels of
    the figure).
    """
    around = PLACES[:NEAR] if near else PLACES
    places = [(float(x), float(y)) for x, y in axes.transData.transform(points)]
    frame = axes.bbox
    full: list[Box] = [(x - POINT, y - POINT, x + POINT, y + POINT) for x, y in places]
    full += obstacles
    for group in sorted(_groups(places, texts, bold, 2 if near else 3), key=lambda g: (not g.bold, g.left, g.y)):
        width = len(group.text) * FONT * LETTER * (1.08 if group.bold else 1.0)
        reach = 1.4 if group.bold else 1.0  # a bold label's point has a ring around it

        def cost(place: Place, group: _Group = group, width: float = width, reach: float = reach) -> float:
            box = _box(group.at(place[2]) + reach * place[0], group.y + reach * place[1], width, place[2])
            outside = max(0.0, frame.x0 - box[0]) + max(0.0, box[2] - frame.x1 - 8)
            outside += max(0.0, frame.y0 - box[1]) + max(0.0, box[3] - frame.y1)
            distance = abs(place[0]) + abs(place[1])
            return float(sum(_overlap(box, other) for other in full) * 10 + outside * 100 + distance)

        best = min(around, key=cost)
        if cost(best) > CROWDED and not group.bold:
            continue
        dx, dy, anchor = reach * best[0], reach * best[1], best[2]
        x = group.at(anchor)
        full.append(_box(x + dx, group.y + dy, width, anchor))
        far = abs(dx) + abs(dy) > 28
        column, row = axes.transData.inverted().transform((x, group.y))
        axes.annotate(
            group.text, (float(column), float(row)), xytext=(dx, dy), textcoords="offset pixels",
            ha=anchor, va="center_baseline", fontsize=FONT, weight="bold" if group.bold else "normal",
            arrowprops={"arrowstyle": "-", "color": PAGE["muted"].placeholder, "linewidth": 0.7} if far else None,
        )  # fmt: skip


def _groups(
    places: Sequence[tuple[float, float]], texts: Sequence[str], bold: Sequence[bool], most: int
) -> list[_Group]:
    """Return the points (pixels) as groups of those that touch; a bold one stands alone. `most` names are written."""
    groups: list[list[int]] = []
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        near = [] if bold[i] else [g for g in groups if not bold[g[0]] and any(_touch(places[i], places[k]) for k in g)]
        groups = [g for g in groups if g not in near] + [[k for g in near for k in g] + [i]]
    merged = []
    for group in groups:
        names = list(dict.fromkeys(texts[i] for i in group))
        further = f" +{len(names) - most}" if len(names) > most else ""
        xs, ys = zip(*(places[i] for i in group), strict=True)
        merged.append(_Group(", ".join(names[:most]) + further, bold[group[0]], min(xs), max(xs), sum(ys) / len(ys)))
    return merged


def _touch(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return abs(a[0] - b[0]) < TOUCHING and abs(a[1] - b[1]) < TOUCHING


def _box(x: float, y: float, width: float, anchor: str) -> Box:
    left = {"left": x, "right": x - width, "center": x - width / 2}[anchor]
    return left, y - 0.55 * FONT, left + width, y + 0.65 * FONT


def _overlap(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
