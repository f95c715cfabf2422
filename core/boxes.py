"""How the outputs of a detector are read as boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from .bounds import Shape
from .errors import InputError

Layout = Literal["outputs", "rows", "yolov8", "yolov5"]
Corners = Literal["yxyx", "xyxy", "cxcywh"]
Units = Literal["", "pixels", "shares"]
Role = Literal["boxes", "scores", "classes", "count", "scores or classes", "rows", "head"]

# Of one picture; a head of YOLO has 2 million.
_MOST_VALUES = 1 << 26
_ORDERS = {"yxyx": "[ymin, xmin, ymax, xmax]", "xyxy": "[x1, y1, x2, y2]", "cxcywh": "[centre x, y, width, height]"}


@dataclass(frozen=True)
class BoxReading:
    """Which outputs of a detector are judged, in the order of `outputs`, and what they hold."""

    layout: Layout
    """``outputs``: boxes, scores and classes apart; ``rows``: one row a box; ``yolov8``, ``yolov5``: a head."""
    corners: Corners
    """The order of a box's four numbers; ``cxcywh``: its centre, width and height."""
    units: Units
    """Pixels of the input, or shares of it from 0 to 1; empty: the values tell."""
    outputs: tuple[str, ...]
    """The outputs' names."""
    roles: tuple[Role, ...]
    """What each of them is."""
    shapes: tuple[Shape, ...]
    """The shape of each for one picture; a size that the file leaves open is the most that is read."""
    height: Annotated[int, Field(ge=1, lt=2**31)]
    """The input's height."""
    width: Annotated[int, Field(ge=1, lt=2**31)]
    """The input's width."""

    def __post_init__(self) -> None:
        """Raise InputError for no output, for lists of different lengths, and for more values than any file has."""
        if not len(self.outputs) == len(self.roles) == len(self.shapes) > 0 or not 0 < sum(self.values) <= _MOST_VALUES:
            raise InputError("the outputs of a detector are not described as boxes", "make the description again")

    @property
    def values(self) -> tuple[int, ...]:
        """How many values of each output are read for one picture."""
        counts = []
        for shape in self.shapes:
            count = 1
            for side in shape:
                count *= side
            counts.append(count)
        return tuple(counts)

    @property
    def is_certain(self) -> bool:
        """Whether outputs are boxes even where nobody says so: boxes, scores and classes, each by its name."""
        return self.layout == "outputs" and "scores or classes" not in self.roles

    @property
    def order(self) -> str:
        """The order of a box's numbers, in words."""
        return _ORDERS[self.corners]

    @property
    def words(self) -> str:
        """What is read, and how, in words."""
        parts = " and ".join(f"{role} from {name}" for role, name in zip(self.roles, self.outputs, strict=True))
        decoded = "" if self.layout in ("outputs", "rows") else f", decoded as {self.layout} with our own suppression"
        units = f" in {self.units}" if self.units else ""
        return f"{parts}; a box is {self.order}{units}{decoded}"
