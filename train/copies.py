"""Cache of LiteRT copies of backbones: the same backbone need not be converted and checked again.

Only copies whose outputs equal Keras's are stored. The key of a copy is the backbone's identity (`backbones.identity`),
the versions of the packages that converted it, and the settings; its content is checked against its hash when read.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ..core.codec import sha256_of
from ..core.store import package_versions
from .hub.handles import cache_folder

FORMAT = 1  # of the conversion; a new version invalidates old copies
LIMIT = 1 << 30  # bytes of all copies: beyond that, the least recently used are removed
PACKAGES = ("tensorflow", "tf-keras", "ai-edge-litert", "tensorflow-hub")


def copy_path(identity: Any, pooling: str) -> Path:
    """Return the path of a backbone's copy, which may not exist; the file's content hash is part of its name."""
    key = sha256_of([FORMAT, identity, pooling, package_versions(PACKAGES)])[:32]
    return cache_folder() / "backbones" / key


def take(path: Path) -> bytes | None:
    """Return the content of the copy at `path`; None if it is missing or damaged."""
    try:
        for file in path.glob("*.tflite"):
            content = file.read_bytes()
            if hashlib.sha256(content).hexdigest() == file.stem:
                file.touch()  # marks it as recently used
                return content
            file.unlink()
    except OSError:
        pass
    return None


def put(path: Path, content: bytes) -> None:
    """Store a copy. Errors of the disk are ignored: the next run then converts again."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        final = path / f"{hashlib.sha256(content).hexdigest()}.tflite"
        part = final.with_suffix(f".{os.getpid()}")
        part.write_bytes(content)
        part.replace(final)
        _make_room(path.parent)
    except OSError:
        pass


def _make_room(folder: Path) -> None:
    files = sorted(folder.glob("*/*.tflite"), key=lambda file: file.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > LIMIT and file != files[0]:
            file.unlink(missing_ok=True)
