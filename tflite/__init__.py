"""The ``.tflite`` format: reading, changing and writing files, and what runtimes and accelerators support of them.

- `graph` reads a file of any origin lazily, within limits (`schema`); `objects` reads it to be changed; `writer` is the
  only place that writes one, and `converter` runs TensorFlow's converter with it.
- `metadata`, `metadata_writer`, `metadata_append`: TFLite Metadata, by `metadata_schema`.
- `loading` decides whether a runtime loads a file, from facts with their sources: `operator_versions`,
  `runtime_versions` (measured on real runtimes), `kernels`; `delegates`: what accelerators do not support (from their
  makers' lists).
"""

from __future__ import annotations

from .loading import Incompatibility, Need, incompatibilities, needs_of
from .runtime_versions import has, newest_version, oldest, tflite_of

__all__ = ["Incompatibility", "Need", "has", "incompatibilities", "needs_of", "newest_version", "oldest", "tflite_of"]
