"""Opens models and artifacts by path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..core.artifact import Artifact, judged_output
from ..core.codec import check, sha256_file
from ..core.errors import InputError
from ..core.inputs import read_input
from ..core.model import InputContract, Model, check_model, load_model
from ..core.picture_size import LAYOUTS, PICTURE, is_picture, sides_of, size_of
from ..core.progress import Listener, Silent
from ..core.recipe_data import Data
from ..core.sanitize import slug
from ..export import Contents, inspect
from ..export import load as load_artifact
from ..export import reference as float_artifact
from ..export import sidecar as sidecar_path
from ..frameworks.security import check_security
from ..tflite.embedded_labels import embedded_labels
from ..train.external import Input, model_inputs, model_outputs
from ..train.text.tokenizer_recovery import STRING_PART
from .input_spec import InputSpec
from .samples import Samples, holds_values

FORMATS = {".tflite": "tflite", ".onnx": "onnx"}


def _folder(path: Path) -> Path:
    """Return the folder of a model, given one of its parts."""
    return path.parent if path.name in ("saved_model", "text_model") else path


def is_ours(path: Path) -> bool:
    """Return whether a path is a model that edgeproof made, or a run that holds some."""
    here = _folder(path)
    return (here / "model.json").is_file() or any(here.glob("models/*/model.json"))


def open_model(path: Path) -> Model:
    """Return the model in a folder: a run's ``models/NAME``, or a run that has just one. Raises InputError."""
    if not path.exists():
        raise InputError(f"{path} does not exist", "give a run's models/NAME folder")
    here = _folder(path)
    if (here / "model.json").exists():
        return load_model(here)
    inside = sorted(p.parent for p in here.glob("models/*/model.json"))
    if len(inside) == 1:
        return load_model(inside[0])
    if inside:
        raise InputError(f"{path} holds {len(inside)} models", f"name one: {', '.join(map(str, inside))}")
    raise InputError(
        f"{path} holds no model that edgeproof made (no model.json)",
        "give a run's models/NAME folder; `edgeproof export` freezes an external model into OUT/model first",
    )


def open_artifact(path: Path, listener: Listener | None = None) -> Artifact:
    """Return the artifact of a file: its sidecar if it matches, else the file's own contents. Raises InputError.

    A folder is a model, whose SavedModel is the float reference. `listener` gets a warning for a sidecar of another
    file.
    """
    if path.is_dir():
        model = open_model(path)
        check_model(model.saved_model.parent)
        if model.tokenizer is not None:
            _check_operators(model.tokenizer.folder, path)
        return float_artifact(model)
    contents = inspect(path)
    sha256 = sha256_file(path)
    sidecar = sidecar_path(path)
    if sidecar.exists():
        artifact = replace(load_artifact(sidecar), path=path, boxes=None)  # found out again from the file's outputs
        if artifact.sha256 == sha256:
            if artifact.tokenizer is not None:
                _check_operators(artifact.tokenizer, path)
            return artifact
        (listener or Silent()).note(
            "warning",
            f"{sidecar.name} does not match this {path.name} (another sha256), so it is ignored: labels, input "
            "contract and model are not known. Copy a file together with its .json",
        )
    if open_ones := {spec.name: spec.shape for spec in contents.inputs if -1 in spec.shape[1:]}:
        shapes = ", ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in open_ones.items())
        if path.suffix == ".tflite":
            raise InputError(
                f"{path} leaves shapes open, and runs with none of them as it is: {shapes}",
                f"fix them: `edgeproof export {path} --to tflite:float32` with --size N (of pictures) or "
                "--shape NAME=1,…",
            )
    described = Artifact(
        id=slug(path.stem),
        model=slug(path.stem),
        format=FORMATS[path.suffix],
        scheme=_scheme(contents, FORMATS[path.suffix]),
        path=path,
        sha256=sha256,
        bytes=path.stat().st_size,
        inputs=contents.inputs,
        outputs=contents.outputs,
        ops=contents.ops,
        min_runtime=contents.min_runtime,
        delegates=contents.delegates,
        signed_sums=contents.signed_sums,
    )
    check(replace(described, path=None), str(path))
    return replace(described, labels=embedded_labels(path, contents.metadata.get("labels") or (), answers(described)))


def _check_operators(tokenizer: Path, path: Path) -> None:
    """Raise InputError when the tokenizer of `path` has operators of its own that may do more than compute."""
    if (operators := tokenizer / STRING_PART).is_dir():
        check_security(operators, trust=False, where=f"the tokenizer of {path.name}")


def input_spec_of(artifact: Artifact, resize: str | None) -> InputSpec:
    """Return the input spec of an artifact; `resize` overrides its contract. Raises InputError if unsupported."""
    contract = artifact.contract
    if contract is not None and contract.kind != "image":
        inputs = (
            model_inputs(open_model(artifact.path))
            if artifact.format == "savedmodel" and artifact.path
            else [
                # A quantized file is fed real values; the runner quantizes them.
                Input(t.name, t.shape, "float32" if t.scale else t.dtype)
                for t in artifact.inputs
            ]
        )
        return InputSpec.of(contract, sorted(inputs, key=lambda one: one.name))
    shape = contract.shape if contract else artifact.inputs[0].shape if artifact.inputs else ()
    if len(artifact.inputs) > 1 or not is_picture(shape, layouts=LAYOUTS):
        inputs_shown = ", ".join(f"{t.name} {t.shape}" for t in artifact.inputs) or "nothing known"
        raise InputError(
            f"{artifact.path}: expected {PICTURE}, found {inputs_shown}",
            f"a file without a sidecar must take one picture, {' or '.join(LAYOUTS)}; others need their .json beside "
            "them",
        )
    return InputSpec("image", size_of(*sides_of(shape)), resize or (contract.resize if contract else "stretch"))


def as_arrays(artifact: Artifact, source: Data | Samples) -> Artifact:
    """Return a file without a sidecar that takes no picture as one that takes arrays, where `source` holds some."""
    first = artifact.inputs[0] if artifact.inputs else None
    if first is None or artifact.contract is not None or artifact.format == "savedmodel":
        return artifact
    alone = len(artifact.inputs) == 1 and is_picture(first.shape, layouts=LAYOUTS)
    scheme = source.source.partition(":")[0] if isinstance(source, Data) else ""
    held = holds_values(source) or scheme in ("csv", "wav") or (isinstance(source, Samples) and not source.texts)
    if alone or not held or any(one.dtype == "string" for one in artifact.inputs):
        return artifact
    dtype = "float32" if first.scale else first.dtype
    return replace(artifact, contract=InputContract(first.name, tuple(first.shape), dtype, kind="tensor"))


def answers(artifact: Artifact) -> int | None:
    """Return the number of values in an artifact's judged output; None if unknown."""
    shape = answer_shape(artifact)
    return shape[-1] if shape else None


def answer_shape(artifact: Artifact) -> tuple[int, ...]:
    """Return the shape of an artifact's judged output, with the batch; empty if unknown."""
    outputs = artifact.outputs
    if artifact.format == "savedmodel" and artifact.path is not None:
        outputs = model_outputs(open_model(artifact.path))
    judged = judged_output(outputs, artifact.answer)
    return tuple(judged.shape) if judged else ()


def _scheme(contents: Contents, format_: str) -> str:
    """Guess the scheme of a file without a sidecar, from the dtypes of its inputs, outputs and quantized tensors.

    An ONNX file may take integers and compute in float.
    """
    edge = contents.inputs[0].dtype if contents.inputs else "float32"
    if edge in ("int8", "uint8") and format_ == "tflite":
        return f"int8-{edge}io"
    used = {op.name for op in contents.ops}
    flowing = {one.dtype for one in contents.quantized if not one.constant}
    weights = {one.dtype for one in contents.quantized if one.constant}
    if "int16" in flowing:
        return "int16x8"
    if flowing or "QuantizeLinear" in used:
        return "int8"
    if "int4" in weights:
        return "int4"
    return "dynamic" if weights or "DynamicQuantizeLinear" in used else "float32"


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a file of class names, one per line. The line number is the class, so names may repeat.

    Raises InputError when there are none, or a line among them is empty.
    """
    try:
        lines = read_input(path).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", "give a UTF-8 text file, one class a line") from error
    labels = [line.strip() for line in lines]
    while labels and not labels[-1]:
        labels.pop()
    if not labels:
        raise InputError(f"{path} holds no class names", "give a UTF-8 text file, one class a line")
    if "" in labels:
        raise InputError(
            f"{path}: line {labels.index('') + 1} is empty, but each line is a class", "write a name there"
        )
    return tuple(labels)


def read_range(text: str) -> tuple[float, float]:
    """Read ``LO,HI``. Raises InputError for anything else."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--value-range {text!r} is not two numbers", "e.g. --value-range 0,1") from error
    return low, high


def read_numbers(option: str, text: str | None) -> tuple[float, ...]:
    """Read ``A,B,C``. Raises InputError for what are no numbers."""
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise InputError(f"{option} {text!r} is not numbers", f"e.g. {option} 0.485,0.456,0.406") from error


def read_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Read ``NAME=1,64,3`` or, for a single input, ``1,64,3``. Raises InputError for anything else."""
    shapes = {}
    for text in texts:
        name, _, sides = text.rpartition("=")
        try:
            shapes[name] = tuple(int(side) for side in sides.split(","))
        except ValueError as error:
            raise InputError(f"--shape {text!r} is not a shape", "e.g. --shape 1,128 or --shape ids=1,128") from error
    return shapes
