"""Models and artifacts named by a path on the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .. import export
from ..core.artifact import Artifact
from ..core.codec import sha256_file
from ..core.errors import InputError
from ..core.model import Model, load_model
from ..core.names import slug

FORMATS = {".tflite": "tflite", ".onnx": "onnx"}


def open_model(path: Path) -> Model:
    """Return the model in a folder: a run's ``models/NAME``, or a run that has just one. Raises InputError."""
    if not path.exists():
        raise InputError(f"{path} does not exist", "give a run's models/NAME folder")
    here = path.parent if path.name == "saved_model" else path
    if (here / "model.json").exists():
        return load_model(here)
    inside = sorted(p.parent for p in here.glob("models/*/model.json"))
    if len(inside) == 1:
        return load_model(inside[0])
    if inside:
        raise InputError(f"{path} holds {len(inside)} models", f"name one: {', '.join(map(str, inside))}")
    raise InputError(f"{path} holds no model that edgeproof made (no model.json)", "give a run's models/NAME folder")


def open_artifact(path: Path) -> Artifact:
    """Return what is known of a file: its sidecar where it fits, else what the file says. Raises InputError.

    A folder is taken as a model, whose SavedModel is the float reference.
    """
    if path.is_dir():
        return export.reference(open_model(path))
    contents = export.inspect(path)
    sha256 = sha256_file(path)
    sidecar = export.sidecar(path)
    if sidecar.exists():
        artifact = replace(export.load(sidecar), path=path)
        if artifact.sha256 == sha256:
            return artifact
    return Artifact(
        id=slug(path.stem),
        model=slug(path.stem),
        format=FORMATS[path.suffix],
        scheme=_scheme(contents),
        path=path,
        sha256=sha256,
        bytes=path.stat().st_size,
        inputs=contents.inputs,
        outputs=contents.outputs,
        ops=contents.ops,
        min_runtime=contents.min_runtime,
    )


def input_size(artifact: Artifact) -> tuple[int, int]:
    """Return (height, width) of the picture that an artifact takes. Raises InputError when it takes something else."""
    shape = artifact.contract.shape if artifact.contract else artifact.inputs[0].shape if artifact.inputs else ()
    if len(artifact.inputs) > 1 or len(shape) != 4 or shape[0] not in (1, -1) or shape[3] != 3 or min(shape[1:]) < 1:
        found = ", ".join(f"{t.name} {t.shape}" for t in artifact.inputs) or "nothing known"
        raise InputError(
            f"{artifact.path}: expected one input of shape (1, height, width, 3), found {found}",
            "evaluate takes files that classify one RGB picture, NHWC, values 0–255",
        )
    return shape[1], shape[2]


def _scheme(contents: export.Contents) -> str:
    """Guess the scheme of a file without a sidecar from the dtype at its edges; its inside is not judged."""
    edge = contents.inputs[0].dtype if contents.inputs else "float32"
    return {"int8": "int8-int8io", "uint8": "int8-uint8io"}.get(edge, "float32")
