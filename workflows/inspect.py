"""``inspect``: a file's contents, without running it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.codec import sha256_file, to_json
from ..core.errors import explain_os_errors
from ..export import inspect as read_contents
from ..export.inspect import Contents
from .arguments import FileLike, file_path


@dataclass(frozen=True)
class Inspection:
    """A file, its size and hash, and the `contents` that were read from it."""

    file: Path
    bytes: int
    sha256: str
    contents: Contents

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as one flat document, for JSON."""
        return {"file": str(self.file), "bytes": self.bytes, "sha256": self.sha256, **to_json(self.contents)}


@explain_os_errors
def inspect(file: FileLike) -> Inspection:
    """Read a file's inputs, outputs, quantization, operators and metadata. No runtime is needed.

    Args:
        file: a ``.tflite`` or ``.onnx`` file, or its artifact.

    Returns:
        Its size in bytes, its sha256, and `contents`: tensors with shapes, dtypes and quantization parameters,
        operators with the oldest runtime that has each, and what accelerators would not take (estimated).

    Raises:
        InputError: the file is not there, is of neither format, or is damaged.
    """
    path = file_path(file)
    contents = read_contents(path)
    return Inspection(path, path.stat().st_size, sha256_file(path), contents)
