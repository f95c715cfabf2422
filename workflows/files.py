"""The files that an export made, by variant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.artifact import Artifact
from ..core.frames import data_frame, html_table

_COLUMNS = ("variant", "status", "bytes", "path", "min_runtime", "made_by", "reason", "remedy")


class Files(Mapping[str, Artifact]):
    """Artifacts by variant, such as ``files["tflite:int8"]``. Shows itself as a table in a notebook.

    A file that could not be made is included, with a status, a reason and a remedy. `folder` holds the files. `model`
    is the folder of the float model that they were made from; None if that is a ``.tflite``.
    """

    def __init__(self, artifacts: Sequence[Artifact], folder: Path, model: Path | None) -> None:
        self._artifacts = {str(artifact.variant): artifact for artifact in artifacts}
        self.folder = folder
        self.model = model

    def __getitem__(self, variant: str) -> Artifact:
        return self._artifacts[str(variant)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._artifacts)

    def __len__(self) -> int:
        return len(self._artifacts)

    def __repr__(self) -> str:
        return f"Files({', '.join(f'{variant}: {artifact.status}' for variant, artifact in self.items())})"

    @property
    def all_ok(self) -> bool:
        """Whether every file was made."""
        return all(artifact.status == "ok" for artifact in self.values())

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with a row for each file. Raises InputError where pandas is not installed."""
        return data_frame(_COLUMNS, self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "variant": variant, "status": a.status, "bytes": a.bytes if a.path else None,
                "path": str(a.path) if a.path else None, "min_runtime": a.min_runtime, "made_by": a.made_by,
                "reason": a.reason, "remedy": a.remedy,
            }
            for variant, a in self.items()
        ]  # fmt: skip

    def _repr_html_(self) -> str:
        return html_table(_COLUMNS, ([row[name] for name in _COLUMNS] for row in self._rows()))
