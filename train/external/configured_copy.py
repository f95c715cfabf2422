"""Copies of Keras files with another configuration; weights and everything else stay as they are."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any


def write_archive(path: Path, target: Path, config: Any) -> None:
    """Copy a ``.keras`` archive with `config` in place of its configuration."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for entry in source.infolist():
            if entry.filename == "config.json":
                copy.writestr("config.json", json.dumps(config))
                continue
            with source.open(entry) as old, copy.open(entry.filename, "w", force_zip64=True) as new:
                shutil.copyfileobj(old, new)


def write_hdf5(path: Path, target: Path, config: Any) -> None:
    """Copy a Keras ``.h5`` file with `config` in place of its configuration."""
    import h5py

    shutil.copyfile(path, target)
    with h5py.File(target, "r+") as file:
        del file.attrs["model_config"]
        file.attrs["model_config"] = json.dumps(config).encode()
