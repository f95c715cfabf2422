"""LiteRT copies of backbones, kept between runs: the same backbone need not be converted and checked again.

Only copies that gave what Keras gave are kept. A copy is known by what the backbone is known by (`backbones.identity`),
the packages that made it and how; its content is checked against its hash when it is taken.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ..core.codec import sha256_of
from ..core.store import package_versions
from .hub.handles import cache_folder

FORMAT = 1  # of how copies are made; a new one forgets the old
LIMIT = 1 << 30  # bytes of all copies: beyond that, those that were not used for longest go
PACKAGES = ("tensorflow", "tf-keras", "ai-edge-litert", "tensorflow-hub")


def copy_path(identity: Any, pooling: str) -> Path:
    """Return where the copy of a backbone lies, if there is one; the file's content hash is part of its name."""
    key = sha256_of([FORMAT, identity, pooling, package_versions(PACKAGES)])[:32]
    return cache_folder() / "backbones" / key


def take(path: Path) -> bytes | None:
    """Return the copy at `path`; None where there is none, or one that is damaged."""
    try:
        for file in path.glob("*.tflite"):
            content = file.read_bytes()
            if hashlib.sha256(content).hexdigest() == file.stem:
                file.touch()  # it was used
                return content
            file.unlink()
    except OSError:
        pass
    return None


def put(path: Path, content: bytes) -> None:
    """Keep a copy. A disk that refuses costs the next run its time, and nothing else."""
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
