"""Training checkpoints: one ``.npz`` with JSON values and groups of arrays, written atomically."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import explain_disk_errors
from ..core.files import move

Arrays = list[NDArray[Any]]
_FACTS = "state"


def save_checkpoint(path: Path, facts: Mapping[str, Any], arrays: Mapping[str, Sequence[NDArray[Any]]]) -> None:
    """Write `facts` (JSON values) and groups of arrays in their order. Raises StageError when the disk refuses."""
    named = {f"{group}/{place:05d}": array for group, members in arrays.items() for place, array in enumerate(members)}
    temporary = path.with_name(f".{path.name}.new")
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            np.savez(stream, **{_FACTS: np.frombuffer(json.dumps(dict(facts)).encode(), np.uint8)}, **named)
        move(temporary, path, root=path.parent)


def load_checkpoint(path: Path, groups: Iterable[str]) -> tuple[dict[str, Any], dict[str, Arrays]] | None:
    """Read what `save_checkpoint` wrote; None when the file is missing or incomplete.

    The result has every name of `groups`; a group that was not written is an empty list.
    """
    arrays: dict[str, Arrays] = {group: [] for group in groups}
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            facts: dict[str, Any] = dict(json.loads(file[_FACTS].tobytes()))
            for name in sorted(set(file.files) - {_FACTS}):
                arrays.setdefault(name.split("/")[0], []).append(file[name])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
    return facts, arrays
