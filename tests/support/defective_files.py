"""What `defective_models` makes, for the tests: a data set, model folders, files that are wrong in one way each."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file
from edgeproof.core.dataset import PreparedData
from edgeproof.core.model import InputContract
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data
from edgeproof.core.store import Store
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.prepare_data import prepared

SOURCE = Data(source="builtin:fashion-mnist-mini", validation=0.25, limit_train=3000, limit_test=1000)
SIZE = 32


@dataclass(frozen=True)
class Defective:
    """Where all of it is."""

    folder: Path
    data: PreparedData

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.tflite"

    def artifact(self, name: str, scheme: str = "int8") -> Artifact:
        path = self.file(name)
        contract = InputContract("image", (1, SIZE, SIZE, 3))
        return Artifact(name, name, "tflite", scheme, path, sha256=sha256_file(path), contract=contract)


def make(folder: Path, *names: str) -> Defective:
    """Prepare the data and make the named files."""
    data = prepared(
        SOURCE,
        InputSpec("image", SIZE, "stretch"),
        seed=1,
        folder=Path(),
        store=Store(folder / "store"),
        listener=Silent(),
    )
    script = Path(__file__).with_name("defective_models.py")
    done = subprocess.run(
        [sys.executable, str(script), str(data.folder), str(folder), *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Defective(folder, data)
