"""How much a packed file may hold: one rule for zip archives, HDF5 files and gzip.

Trained weights hardly compress, and pictures little. What is packed a hundred times smaller than it is, is a bomb.
"""

from __future__ import annotations

RATIO = 100
FREE = 64 << 20  # below this the ratio says nothing


def most_unpacked(size: int) -> int:
    """Return how many bytes a file of `size` bytes may unpack to."""
    return FREE + RATIO * size
