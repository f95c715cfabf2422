"""Bundles of the tiny run, and a folder like a device's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeproof.export.bundle import Bundle

from ..conftest import TinyRun
from ..support.bundles import bundle_of

SITE = Path(np.__file__).parent.parent


@pytest.fixture(scope="session")
def float_bundle(tiny: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tiny.artifact("tflite:float32").path
    assert path is not None
    return bundle_of(path, tmp_path_factory.mktemp("float"))


@pytest.fixture(scope="session")
def micro_bundle(tiny: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tiny.artifact("tflite:int8-int8io").path
    assert path is not None
    return bundle_of(path, tmp_path_factory.mktemp("micro"))


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where only numpy and the runtimes can be imported from: no Pillow, no edgeproof."""
    folder = tmp_path_factory.mktemp("bare")
    for name in ("numpy", "numpy.libs", "ai_edge_litert", "tflite_runtime", "onnxruntime"):
        for part in (*SITE.glob(name), *SITE.glob(f"{name}-*.dist-info")):  # the latter tells the version
            (folder / part.name).symlink_to(part)
    return folder
