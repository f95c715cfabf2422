"""What devices at the other end of a connection are asked to run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file

from ..support.bundle_models import mean_colour_model


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "test.npy"
    np.save(path, np.zeros((4, 8, 8, 3), np.float32))
    return path


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("files") / "m.tflite"
    path.write_bytes(mean_colour_model())
    return Artifact("m", "m", "tflite", "float32", path, sha256=sha256_file(path))
