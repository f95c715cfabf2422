"""A few samples for one file: the user's, those of the file's run or evaluation, or made-up ones."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.artifact import Artifact
from ..core.codec import read_json
from ..core.dataset import PreparedData, read_texts, write_texts
from ..core.errors import InputError
from ..core.model import sample_shape
from ..core.picture_size import sides
from ..core.progress import Listener
from ..core.recipe_data import Data
from ..core.store import Store
from ..tasks.class_mapping import class_numbers
from .input_spec import InputSpec
from .model_files import input_spec_of
from .prepare_data import prepared
from .run_folder import Evaluation, SourceRun
from .samples import Samples

SEED = 1


@dataclass(frozen=True)
class ChosenSamples:
    """Chosen samples: the file that a runner reads, their values, and their source in words.

    `random`: they are made up, and mean nothing.
    """

    path: Path
    values: NDArray[Any] | tuple[str, ...] | tuple[NDArray[Any], ...]
    truths: tuple[int | None, ...]
    source: str
    random: bool = False


def choose_samples(
    artifact: Artifact,
    source: Data | Samples | None,
    count: int,
    workspace: Path,
    listener: Listener,
    *,
    origin: SourceRun | None,
    evaluation: Evaluation | None = None,
    beside: Path,
    purpose: str,
) -> ChosenSamples:
    """Return `count` samples for a file: those of `source`, of its run or evaluation, else made-up ones.

    Raises InputError when no sample can be made up. `purpose` is what they are for, in messages.
    """
    kind = artifact.contract.kind if artifact.contract else "tensor"
    if source is not None:
        spec = input_spec_of(artifact, None) if artifact.contract else _plain(artifact)
        data = prepared(
            source,
            spec,
            seed=SEED,
            folder=Path(),
            store=Store(workspace / "store", listener),
            listener=listener,
            use="test",
            beside=beside,
        )
        return _drawn(artifact, data, count, workspace, f"the test samples of {source.source}")
    if origin is not None:
        try:
            return _drawn(artifact, origin.data(), count, workspace, f"the test split of {origin.recipe.data.source}")
        except InputError as error:
            listener.note("warning", f"{error.message}; {purpose} are made of other samples")
    elif evaluation is not None:
        try:
            return _drawn(artifact, evaluation.data(), count, workspace, f"the samples of {evaluation.source}")
        except InputError as error:
            listener.note("warning", f"{error.message}; {purpose} are made of other samples")
    if kind == "text":
        return _golden_texts(artifact, count, workspace, purpose)
    return _random(artifact, count, workspace)


def _plain(artifact: Artifact) -> InputSpec:
    """Return the input spec of a file without a contract: arrays of its own shapes."""
    from ..train.external import Input

    inputs = [Input(t.name, t.shape, "float32" if t.scale else t.dtype) for t in artifact.inputs]
    return InputSpec("tensor", inputs=tuple(sorted(inputs, key=lambda one: one.name)))


def _drawn(artifact: Artifact, data: PreparedData, count: int, workspace: Path, source: str) -> ChosenSamples:
    """Draw samples of a test split; their classes are known if the data's classes are the file's."""
    total = data.counts.get("test", 0)
    if not total:
        raise InputError(f"{source} are none", "name other samples with --data SOURCE")
    rows = np.sort(np.random.default_rng(SEED).permutation(total)[:count])
    numbers: list[int] = []
    truths: tuple[int | None, ...] = (None,) * len(rows)
    with suppress(InputError):  # the samples serve without their classes too
        known = data.classes and artifact.labels
        numbers = class_numbers(data.labels, artifact.labels, artifact.id) if known else []
    if numbers:
        truths = tuple(numbers[int(i)] for i in np.load(data.targets("test"), allow_pickle=False)[rows])
    if data.kind == "text":
        texts = read_texts(data.inputs("test"))
        return _of_texts([texts[row] for row in rows], truths, workspace, source)
    return _of_arrays(
        artifact, np.load(data.inputs("test"), mmap_mode="r", allow_pickle=False)[rows], truths, workspace, source
    )


def _golden_texts(artifact: Artifact, count: int, workspace: Path, purpose: str) -> ChosenSamples:
    if artifact.tokenizer is None or not (artifact.tokenizer / "golden.json").is_file():
        raise InputError(f"{artifact.id}: there are no texts to make {purpose} of", "give some with --data SOURCE")
    vectors = read_json(artifact.tokenizer / "golden.json").get("vectors", [])
    texts = [str(vector["text"]) for vector in vectors][:count]
    return _of_texts(texts, (None,) * len(texts), workspace, "the texts of its tokenizer's golden vectors")


def _random(artifact: Artifact, count: int, workspace: Path) -> ChosenSamples:
    """Return random inputs: pixels, else standard normal values, or 0 and 1 for integers."""
    random = np.random.default_rng(SEED)
    contract, where = artifact.contract, f"random inputs (seed {SEED}), which mean nothing"
    truths: tuple[int | None, ...] = (None,) * count
    if contract is not None and contract.kind == "image":
        values: NDArray[Any] = random.integers(0, 256, (count, *sides(contract.size)), dtype=np.uint8)
        return replace(_of_arrays(artifact, values, truths, workspace, where), random=True)
    fields = []
    for tensor in artifact.inputs:
        if any(side < 1 for side in tensor.shape[1:]):  # an open batch is 1
            raise InputError(
                f"{artifact.id}: input {tensor.name} has the shape {tensor.shape}: no sample can be made up for it",
                "give samples with --data npy:FILE",
            )
        integers = np.dtype(tensor.dtype).kind in "iub" and not tensor.scale
        shape = (count, *sample_shape(tensor.shape))
        drawn = random.integers(0, 2, shape) if integers else random.standard_normal(shape)
        fields.append((tensor.name, np.dtype("float32" if tensor.scale else tensor.dtype), drawn))
    if len(fields) == 1:
        values = fields[0][2].astype(fields[0][1])
    else:
        values = np.zeros(count, [(name, dtype, drawn.shape[1:]) for name, dtype, drawn in fields])
        for name, _, drawn in fields:
            values[name] = drawn
    return replace(_of_arrays(artifact, values, truths, workspace, where), random=True)


def _of_texts(texts: Sequence[str], truths: tuple[int | None, ...], workspace: Path, source: str) -> ChosenSamples:
    path = workspace / "samples.jsonl"
    write_texts(texts, path)
    return ChosenSamples(path, tuple(texts), truths, source)


def _of_arrays(
    artifact: Artifact, values: NDArray[Any], truths: tuple[int | None, ...], workspace: Path, source: str
) -> ChosenSamples:
    path = workspace / "samples.npy"
    np.save(path, values)
    if artifact.contract is not None and artifact.contract.kind == "image":
        return ChosenSamples(path, values, truths, source)
    if values.dtype.names:
        return ChosenSamples(path, tuple(values[tensor.name] for tensor in artifact.inputs), truths, source)
    return ChosenSamples(path, (values,), truths, source)
