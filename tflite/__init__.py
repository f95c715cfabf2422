"""Will it load there? Operators by version and runtime, metadata, and what accelerators would not take.

Facts as tables with their sources: `versions` (asked of real runtimes), `delegates` (from the makers' lists).
"""

from __future__ import annotations

from .loading import Misfit, Need, misfits, needs_of
from .runtime_versions import has, newest_version, oldest, tflite_of

__all__ = ["Misfit", "Need", "has", "misfits", "needs_of", "newest_version", "oldest", "tflite_of"]
