"""How the outputs of a detector are read as boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from .bounds import Finite, Shape
from .errors import InputError

Layout = Literal["outputs", "rows", "yolov8", "yolov5", "yolox", "scored", "ssd", "detr", "rtdetr"]
Corners = Literal["yxyx", "xyxy", "cxcywh"]
Units = Literal["", "pixels", "shares"]
Role = Literal[
    "boxes", "scores", "classes", "count", "scores or classes", "rows", "head", "encodings", "logits",
    "scores by class", "scores by class behind a background",
]  # fmt: skip
Background = Literal["", "first", "last", "none"]
Scores = Literal["", "shares", "sigmoid", "softmax"]

# Of one picture; a head of YOLO has 2 million.
_MOST_VALUES = 1 << 26
MOST_ANCHORS = 1 << 20
_ORDERS = {"yxyx": "[ymin, xmin, ymax, xmax]", "xyxy": "[x1, y1, x2, y2]", "cxcywh": "[centre x, y, width, height]"}


@dataclass(frozen=True)
class AnchorDecoding:
    """How encodings relative to anchors become boxes (`tasks.anchors`)."""

    source: str
    """Where the anchors come from: a file's name, ``arrays in memory``, or the parameters that they are made with."""
    count: Annotated[int, Field(ge=1, le=MOST_ANCHORS)]
    """How many there are."""
    anchors: Annotated[str, Field(max_length=1 << 25)]
    """Their rows, packed: Base64 of zlib's stream of float32 (count, 4), little-endian: y and x of the centre, height,
    width."""
    scales: tuple[Finite, Finite, Finite, Finite] = (10.0, 10.0, 5.0, 5.0)
    """By what the encoded y, x, height and width were multiplied."""
    order: Literal["yxhw", "xywh"] = "yxhw"
    """The order of an encoding's first four values; what follows them, such as key points, is not read."""
    sizes: Literal["exp", "linear"] = "exp"
    """Whether height and width are encoded as logarithms, or as they are."""
    background: Background = ""
    """Which column of the scores is of no class; empty: what the number of classes tells."""
    scores: Scores = ""
    """What the scores are; empty: shares where all lie within 0 to 1, else logits of sigmoids."""
    iou: Annotated[float, Field(ge=0, le=1)] = 0.7
    """A box that overlaps a better one of its class by more is left out."""
    score: Annotated[float, Field(ge=0, le=1)] = 0.001
    """Boxes below this score are left out."""


@dataclass(frozen=True)
class BoxReading:
    """Which outputs of a detector are judged, in the order of `outputs`, and what they hold."""

    layout: Layout
    """``outputs``: boxes, scores and classes apart; ``rows``: one row a box; ``yolov8``, ``yolov5``, ``yolox``: a
    head; ``scored``: boxes with a score for each class; ``ssd``: encodings relative to anchors; ``detr``, ``rtdetr``: a
    box and logits for each query."""
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
    decoding: AnchorDecoding | None = None
    """Of ``ssd``: the anchors, and how boxes are decoded with them."""

    def __post_init__(self) -> None:
        """Raise InputError for no output, for lists of different lengths, and for more values than any file has."""
        if not len(self.outputs) == len(self.roles) == len(self.shapes) > 0 or not 0 < sum(self.values) <= _MOST_VALUES:
            raise InputError("the outputs of a detector are not described as boxes", "make the description again")
        if (self.layout == "ssd") != (self.decoding is not None):
            raise InputError("a detector's boxes have no anchors, or need none", "make the description again")

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
    def overlaps(self) -> bool:
        """Whether boxes overlap better ones of their class, which are left out when they are read."""
        return self.layout in ("yolov8", "yolov5", "yolox", "scored", "ssd")

    @property
    def judged(self) -> tuple[str, ...]:
        """The outputs whose values are compared with the float model's: boxes and scores, not classes and counts."""
        pairs = zip(self.roles, self.outputs, strict=True)
        return tuple(name for role, name in pairs if role not in ("classes", "count"))

    @property
    def order(self) -> str:
        """The order of a box's numbers, in words."""
        return _ORDERS[self.corners]

    @property
    def words(self) -> str:
        """What is read, and how, in words."""
        parts = " and ".join(f"{role} from {name}" for role, name in zip(self.roles, self.outputs, strict=True))
        decoded = "" if self.layout in ("outputs", "rows", "scored") else f", decoded as {self.layout}"
        if self.decoding is not None:
            column = {"none": "no column is", "first": "the first column is", "last": "the last column is"}
            decoded += f" with {self.decoding.count} anchors ({self.decoding.source}); "
            decoded += f"{column.get(self.decoding.background, 'the classes tell which column is')} the background"
        if self.overlaps:
            decoded += ", with our own suppression"
        units = f" in {self.units}" if self.units else ""
        return f"{parts}; a box is {self.order}{units}{decoded}"
