"""How many names of classes an output can have, from the shapes of a model's outputs."""

from __future__ import annotations

from collections.abc import Sequence

from .classification import answers_fit

CORNERS = 4  # numbers of a box
LABELS_OF = (
    "give one label per class or value; two for one sigmoid or logit, also of each pixel; for a detector those of its "
    "boxes; or choose another output with --output"
)


def labels_fit(shape: Sequence[int], shapes: Sequence[Sequence[int]], labels: int, *, whole: bool = False) -> bool:
    """Return whether an output of this `shape` can have so many labels, among the `shapes` of all outputs.

    Shapes are (1, …), with the batch. The last side is the classes', of a vector or of a map's pixels: one for each, or
    one for two classes. A map of `whole` numbers has any. Of a detector that gives boxes beside their scores the shapes
    do not tell the classes; a head of one output has them beside the four numbers of a box and its score, or as one of
    six numbers.
    """
    if len(shape) >= 2 and answers_fit(shape[-1], labels):
        return True
    if len(shapes) > 1:
        return any(len(one) == 3 and CORNERS in one[1:] for one in shapes)
    heads = {labels + CORNERS, labels + CORNERS + 1, CORNERS + 2}
    return len(shape) == 3 and (whole or not heads.isdisjoint(shape[1:]))
