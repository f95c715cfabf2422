"""Identifies an external file or folder, and whether it may be opened, before any framework is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...core.codec import sha256_file
from ...core.errors import InputError
from ...core.inputs import check_plain, open_input
from ...core.sanitize import shorten
from ...frameworks.security import check_security
from ..hub.handles import ARCHIVES, GRAPH, check_handle, check_no_checkpoint, check_saved_model
from .code import defined_elsewhere, find_code, hub_handles, uncompiled
from .containers import read_archive, read_hdf5
from .custom import DEFINE, check_modules

CHOICES = "expected a SavedModel folder (or a .tar.gz of one), a .keras file, or a Keras .h5 or .hdf5 file"
TRUSTING = (
    "if you trust where it comes from, add --trust (in a recipe: trust = true). Better: save the model again without "
    "it, or as a SavedModel (model.export), which carries no Python"
)
_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"

_OTHERS = {
    ".tflite": "is a finished TFLite file: `edgeproof evaluate`, `inspect` and (a float one) `export` take it as it is",
    ".onnx": "is a finished ONNX file: `edgeproof evaluate` and `edgeproof inspect` take it as it is",
    ".pb": "is a graph without its folder: give the SavedModel's folder (a frozen TensorFlow 1 graph is none)",
    ".pbtxt": "is a graph in text form: save it as a SavedModel",
    ".json": "is a description without weights",
    ".npz": "holds arrays, not a model",
    ".npy": "holds an array, not a model",
    **dict.fromkeys(
        (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".ckpt", ".bin"),
        "is not a Keras model: files of its kind are pickles, which run code when they are opened, and are never read",
    ),
    ".safetensors": "holds weights without a model",
}


@dataclass(frozen=True)
class ModelFile:
    """The result of `identify`: the file or folder, and how it is opened.

    `keras` is the major version of Keras that wrote it, 0 for a SavedModel; `version` is that version as the file says
    it. `config` is the Keras configuration, uncompiled; `rewritten` says that the file's own compiles a model inside
    the model, so that the file must not be opened with it. `code` lists its code (empty unless it was trusted),
    `modules` the handles of the Hub modules that its layers load.
    """

    path: Path
    format: Literal["saved-model", "archive", "keras-archive", "keras-hdf5"]
    keras: Literal[0, 2, 3] = 0
    version: str = ""
    config: Any = None
    rewritten: bool = False
    code: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The kind of model, in words."""
        kind = {"keras-archive": "archive", "keras-hdf5": "HDF5 file"}.get(self.format)
        return f"Keras {self.version} {kind}" if kind else "SavedModel"


def identify(path: Path, *, trust: bool) -> ModelFile:
    """Identify `path` by its content, not its name, and refuse code unless `trust`.

    Raises InputError for a file that is not a model, is damaged or hostile, or contains code: Lambda layers, classes
    that are not Keras's own, operators that run Python or access files. Reads the complete structure of a Keras file;
    imports no framework and runs nothing.
    """
    if path.name == GRAPH and path.is_file():
        path = path.parent
    check_plain(path)
    check_no_checkpoint(path)
    if not path.exists():
        raise InputError(f"{path} does not exist", CHOICES)
    if path.is_dir():
        check_saved_model(path)
        check_security(path, trust=trust, where=path.name)
        return ModelFile(path, "saved-model")
    if path.name.lower().endswith(ARCHIVES):
        check_handle(str(path.absolute()), "", Path())
        return ModelFile(path, "archive")
    start = _start(path)
    if start.startswith(_HDF5):
        config, version = read_hdf5(path)
        version = version or "2"  # the file is older than the attribute
        kind: Literal["keras-archive", "keras-hdf5"] = "keras-hdf5"
    elif start.startswith(_ZIP) and path.suffix.lower() not in _OTHERS:
        config, metadata = read_archive(path)
        version, kind = str(metadata.get("keras_version") or ""), "keras-archive"
    else:
        what = _OTHERS.get(path.suffix.lower(), "is not a known kind of model")
        raise InputError(f"{path} {what}", CHOICES)
    own, config = config, uncompiled(config)
    rewritten = isinstance(own, dict) and config != {key: own[key] for key in own if key != "compile_config"}
    code = find_code(config)
    if code and not trust:
        more = f" (and {len(code) - 3} more)" if len(code) > 3 else ""
        raise InputError(f"{path} is refused: {'; '.join(code[:3])}{more}", _remedy(config))
    check_modules(path, config, trust=trust)
    return ModelFile(
        path, kind, _major(path, version, config), version, config, rewritten, tuple(code), tuple(hub_handles(config))
    )


def _remedy(config: Any) -> str:
    """Return the remedy for a file with code: missing definitions must be supplied."""
    if not defined_elsewhere(config):
        return TRUSTING
    return f"{DEFINE}. Better: save the model again as a SavedModel (model.export), which carries no Python"


def content_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file, or of a folder's files."""
    return sha256_file(path)


def _start(path: Path) -> bytes:
    try:
        with open_input(path) as stream:
            return stream.read(8)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", CHOICES) from error


def _major(path: Path, version: str, config: Any) -> Literal[2, 3]:
    """Return 2 or 3. TensorFlow's own Keras had TensorFlow's version numbers (2.x) until Keras 3."""
    if match := re.match(r"(\d+)\.", version + "."):
        major = int(match[1])
        if major in (1, 2):
            return 2
        if major == 3:
            return 3
        raise InputError(f"{path} was made with Keras {shorten(version)}, which is newer than this program",
                         "save it as a SavedModel (model.export) and give that")  # fmt: skip
    return 2 if "tf_keras" in str(config)[:200] else 3
