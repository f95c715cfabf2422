"""Golden vectors: inputs and the file's outputs for them, to check the file on another machine."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import tokenizer
from ...core.artifact import Artifact, TensorSpec
from ...core.errors import InputError
from ...core.model import plain_name
from ...core.pixels import as_input, pixel_feed
from .closeness import decided
from .reading import Reading


@dataclass(frozen=True)
class Golden:
    """N samples and the file's outputs for them, (N, values) float32, real values of the judged output.

    `samples` are images (N, height, width, channels) uint8, texts, or the real values of each input (N, …) in the
    file's order. `truths` are indices into the labels, or None. `source` describes the origin of the samples;
    `random`: they are not real data. `runtime`, `version` and `kernels` are those that computed the outputs.
    """

    samples: NDArray[Any] | tuple[str, ...] | tuple[NDArray[Any], ...]
    outputs: NDArray[np.float32]
    truths: tuple[int | None, ...]
    source: str
    random: bool
    runtime: str
    version: str
    kernels: str
    seed: int


def roles(artifact: Artifact) -> tuple[str, ...]:
    """Return the role of each of the file's inputs: ``pixels``, ``ids``, ``lengths`` or ``values``.

    Raises InputError when the file's inputs are not those of its contract.
    """
    contract = artifact.contract
    if contract is None or contract.kind == "tensor":
        return ("values",) * len(artifact.inputs)
    if contract.kind == "image":
        if len(artifact.inputs) == 1:
            return ("pixels",)
    elif contract.dtype != "string":
        by_name = {contract.name: "ids"} | ({contract.lengths: "lengths"} if contract.lengths else {})
        by_name |= {name: name for name in _further(artifact)}
        input_roles = tuple(by_name.get(plain_name(t.name), "") for t in artifact.inputs)
        if sorted(input_roles) == sorted(by_name.values()):
            return input_roles
    names = ", ".join(tensor.name for tensor in artifact.inputs)
    raise InputError(
        f"{artifact.id}: the file's inputs ({names}) are not those of its contract", "export the file again"
    )


def _further(artifact: Artifact) -> list[str]:
    """Return the names of the file's inputs beside the first tokenizer's ids and their number."""
    if artifact.tokenizer is None:
        return []
    try:
        settings = tokenizer.read_settings(artifact.tokenizer)
    except ValueError as error:
        raise InputError(str(error), "put back the folder MODEL.tokenizer/ as export wrote it") from error
    if settings["kind"] == "tensorflow":
        raise InputError(
            f"{artifact.id}: its token ids are made by the model's own operators, in TensorFlow: a bundle for apps "
            "would have no tokenizer",
            f"compute the ids in the app; {artifact.tokenizer / 'golden.json'} lists the expected ones",
        )
    return [str(name) for further in settings.get("more", []) for name in further.get("names", [])]


def stored_inputs(artifact: Artifact, golden: Golden) -> tuple[NDArray[Any], ...]:
    """Return the file's inputs for all samples: an array (N, *shape) for each input, quantized as it stores them."""
    values: dict[str, NDArray[Any]] = {}
    contract = artifact.contract
    if contract is not None and contract.kind == "text":
        if artifact.tokenizer is None:
            raise InputError(f"{artifact.id} takes token ids, and no tokenizer is known for it")
        opened = tokenizer.open_tokenizer(artifact.tokenizer)
        fed = [opened.feed(str(text)) for text in golden.samples]
        for role, name in zip(("ids", "lengths"), opened.names, strict=False):
            values[role] = np.array([row[name] for row in fed], "int32")
        for name in _further(artifact):
            values[name] = np.array([row[name] for row in fed], "int32")
    elif contract is not None and contract.kind == "image":
        values["pixels"] = as_input(pixel_feed(contract), np.asarray(golden.samples))[:, None]
    else:
        pairs = zip(map(np.asarray, golden.samples), artifact.inputs, strict=True)
        # An input without a batch dimension (a waveform, a single number) is fed its sample as it is.
        return tuple(quantized(part if part.ndim > len(t.shape) else part[:, None], t) for part, t in pairs)
    return tuple(quantized(values[role], tensor) for role, tensor in zip(roles(artifact), artifact.inputs, strict=True))


def quantized(values: NDArray[Any], tensor: TensorSpec) -> NDArray[Any]:
    """Return real values as a tensor stores them (value = scale × (stored - zero_point)), rounded half to even."""
    dtype = np.dtype(tensor.dtype)
    if dtype.kind not in "iu" or not tensor.scale:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    stored = np.round(values.astype("float32") / np.float32(tensor.scale)) + (tensor.zero_point or 0)
    return np.clip(stored, limits.min, limits.max).astype(dtype)


def write_golden(
    artifact: Artifact, golden: Golden, folder: Path, reading: Reading, tolerance: dict[str, Any]
) -> dict[str, Any]:
    """Write ``golden.npz`` into `folder`; return the contents of ``golden.json``.

    The first holds ``input_0`` … in the file's order as it stores them (N, *shape), ``outputs`` (N, values) float32,
    and for images ``samples`` (N, height, width, channels) uint8. Equal vectors give equal bytes.
    """
    arrays: dict[str, NDArray[Any]] = {
        f"input_{index}": array for index, array in enumerate(stored_inputs(artifact, golden))
    }
    arrays["outputs"] = golden.outputs
    kind = artifact.contract.kind if artifact.contract else "tensor"
    if kind == "image":
        arrays["samples"] = np.asarray(golden.samples)
    with zipfile.ZipFile(folder / "golden.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, np.ascontiguousarray(array))
            # A fixed date: ZipInfo's own is 1980.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), stream.getvalue(), zipfile.ZIP_DEFLATED)
    return {
        "schema": 2,  # 1: `tolerance` was in the answer's unit
        "count": len(golden.outputs),
        "source": golden.source,
        "random": golden.random,
        "seed": golden.seed,
        "made_by": {"runtime": golden.runtime, "version": golden.version, "kernels": golden.kernels},
        "tolerance": tolerance,
        "decision": reading.to_json(),
        "texts": list(golden.samples) if kind == "text" else [],
        "truths": list(golden.truths),
        "top": _top(golden.outputs, reading),
    }


def _top(outputs: NDArray[np.float32], reading: Reading) -> list[Any]:
    """Return what each answer says: the class, the numbers of the tags, or a map's pixels by class; else nothing."""
    if not reading.kind or not len(outputs):
        return []
    given = decided(outputs, reading.to_json())[0]
    if reading.kind == "top" or given.shape[1] == 1:
        return [int(one) for one in given[:, 0]]
    if reading.kind == "yes" and not reading.is_map:
        return [np.flatnonzero(row).tolist() for row in given]
    return [np.bincount(np.maximum(row, 0), minlength=reading.classes).tolist() for row in given]
