"""The limit on how large a compressed file may unpack: one rule for zip archives, HDF5 files and gzip.

Trained weights hardly compress, and images little. A compression ratio above 100 indicates a decompression bomb.
"""

from __future__ import annotations

RATIO = 100
FREE = 64 << 20  # bytes that are allowed at any ratio


def max_unpacked_size(size: int) -> int:
    """Return the number of bytes to which a file of `size` bytes may unpack."""
    return FREE + RATIO * size
