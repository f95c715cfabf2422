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
from ...tasks import Task
from ...tasks.classification import Classification, top_class
from ...tasks.detection import Detection
from ...tasks.multilabel import Multilabel
from ...tasks.regression import Regression
from ...tasks.segmentation import Segmentation
from ...tasks.tensor import Tensor


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


def tolerance(artifact: Artifact) -> tuple[float, float]:
    """Return the allowed difference from the golden outputs on a correct runtime: median and maximum."""
    return artifact.variant.scheme.arithmetic.between_runtimes


def answer_kind(artifact: Artifact, answer: int, outputs: NDArray[np.float32], task: Task | None = None) -> str:
    """Return what the file gives: ``scores``, ``tags``, one ``value``, a ``picture``, ``values``, or ``boxes``.

    Of a detector the judged output is that of the scores. Where the `task` is not known, scores of classes are
    recognized by labels, or as a distribution: values that add up to one. With labels, values within 0 to 1 that are no
    distribution are tags.
    """
    if artifact.boxes is not None:
        return "boxes"
    shape = artifact.outputs[answer].shape
    count = outputs.shape[-1] if outputs.ndim > 1 else 1
    if count == 1:
        return "value"
    if len(shape) >= 4:  # the last two sides but the channels are a plane
        return "picture"
    shares = len(outputs) > 0 and bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1.0, atol=0.05))
    if len(shape) <= 2 and len(artifact.labels) == count:
        if isinstance(task, Regression):
            return "values"
        within = len(outputs) > 0 and outputs.min() >= 0 and outputs.max() <= 1
        sigmoids = within and (isinstance(task, Multilabel) or (task is None and count > 2 and not shares))
        return "tags" if sigmoids else "scores"
    return "scores" if len(shape) <= 2 and shares else "values"


def noun_of(artifact: Artifact, answer: int, gives: str, task: Task | None) -> str:
    """Return what a class of app code is called: by the `task`, if it is known, else by what the file `gives`."""
    if task is not None:
        return task.noun
    labels, channels = len(artifact.labels), (*artifact.outputs[answer].shape, 1)[-2]
    found = {"scores": Classification.noun, "tags": Multilabel.noun, "boxes": Detection.noun}
    if labels == 2:
        found["value"] = Classification.noun
    if 1 < labels == channels:
        found["picture"] = Segmentation.noun
    return found.get(gives, Tensor.noun)


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


def write_golden(artifact: Artifact, golden: Golden, folder: Path) -> dict[str, Any]:
    """Write ``golden.npz`` and ``golden.json`` into `folder`; return the contents of the latter.

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
    reach = max(1.0, float(np.abs(golden.outputs).max(initial=0.0)))
    median, most = (share * reach for share in tolerance(artifact))
    return {
        "schema": 1,
        "count": len(golden.outputs),
        "source": golden.source,
        "random": golden.random,
        "seed": golden.seed,
        "made_by": {"runtime": golden.runtime, "version": golden.version, "kernels": golden.kernels},
        "tolerance": {"median": median, "most": most},
        "texts": list(golden.samples) if kind == "text" else [],
        "truths": list(golden.truths),
        "top": [int(top_class(row)) for row in golden.outputs],
    }
