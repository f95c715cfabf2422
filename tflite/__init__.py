"""The ``.tflite`` format: reading, changing and writing files, and what runtimes and accelerators take of them.

- `graph` reads a file of any origin lazily, within limits (`schema`); `objects` reads it to be changed; `writer` is the
  only place that writes one, and `converter` runs TensorFlow's converter with it.
- `metadata`, `metadata_writer`, `metadata_append`: TFLite Metadata, by `metadata_schema`.
- `loading` says whether a runtime loads a file, by facts with their sources: `operator_versions`, `runtime_versions`
  (asked of real runtimes), `kernels`; `delegates` what accelerators would not take (from their makers' lists).
"""

from __future__ import annotations

from .loading import Misfit, Need, misfits, needs_of
from .runtime_versions import has, newest_version, oldest, tflite_of

__all__ = ["Misfit", "Need", "has", "misfits", "needs_of", "newest_version", "oldest", "tflite_of"]
