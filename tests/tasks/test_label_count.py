"""How many labels an output can have: of a vector, a map, one sigmoid, and a detector."""

from __future__ import annotations

import pytest

from edgeproof.tasks.label_count import labels_fit

SSD = [(1, 150, 4), (1, 150, 3)]
PROCESSED = [(1, 10, 4), (1, 10), (1, 10), (1,)]


@pytest.mark.parametrize(
    ("shape", "shapes", "labels", "whole", "fits"),
    [
        ((1, 10), [(1, 10)], 10, False, True),
        ((1, 10), [(1, 10)], 9, False, False),
        ((1, 1), [(1, 1)], 2, False, True),
        ((1, 1), [(1, 1)], 1, False, True),
        ((1, 1), [(1, 1)], 3, False, False),
        ((1, 36, 50, 3), [(1, 36, 50, 3), (1, 36, 50, 1)], 3, False, True),
        ((1, 36, 50, 3), [(1, 36, 50, 3), (1, 36, 50, 1)], 2, False, False),
        ((1, 36, 50, 1), [(1, 36, 50, 1)], 2, False, True),
        ((1, 36, 50), [(1, 36, 50)], 3, True, True),
        ((1, 36, 50), [(1, 36, 50)], 3, False, False),
        (SSD[0], SSD, 2, False, True),
        (PROCESSED[1], PROCESSED, 90, False, True),
        ((1, 84, 8400), [(1, 84, 8400)], 80, False, True),
        ((1, 84, 8400), [(1, 84, 8400)], 3, False, False),
        ((1, 25200, 85), [(1, 25200, 85)], 80, False, True),
        ((1, 300, 6), [(1, 300, 6)], 80, False, True),
        ((), [()], 2, False, False),
    ],
)
def test_labels_fit_the_shapes(
    shape: tuple[int, ...], shapes: list[tuple[int, ...]], labels: int, whole: bool, fits: bool
) -> None:
    assert labels_fit(shape, shapes, labels, whole=whole) is fits
