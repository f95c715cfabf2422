"""Opens files that `identify` accepted as plain functions: Keras 2 here, Keras 3 in its own process, SavedModels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import EdgeproofError, InputError, StageError, explain_disk_errors
from ...core.progress import Listener
from ...core.sanitize import shorten
from ...frameworks.constants import unchanged
from ...frameworks.freeze_function import Plain, trace
from ...frameworks.precision import in_float32, is_mixed
from ...frameworks.saved_model import read
from ...frameworks.tensorflow import load
from ...frameworks.tf1 import has_references, without_references
from . import keras3, keras3_process
from .configured_copy import write_archive, write_hdf5
from .custom import DEFINE, Definitions, fetch_modules
from .functions import choose, load_saved_model, parsed_examples
from .identify import ModelFile
from .keras_model import ADVICE, open_keras
from .options import ImportOptions
from .tensors import Tensor, answered_examples, describe, safe_names

EXAMPLES = keras3_process.EXAMPLES


@dataclass(frozen=True)
class Source:
    """An opened model: the file's description (`inputs`, `outputs`), a function, and its outputs on examples.

    `examples` are lists of arrays in the order of `inputs`; `expected` the original's outputs by safe name. `opened_by`
    names the library, `signature` what was called of a SavedModel.
    """

    plain: Plain
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    examples: list[list[NDArray[Any]]]
    expected: list[dict[str, NDArray[Any]]]
    opened_by: str
    signature: str = ""


def open_source(
    file: ModelFile, options: ImportOptions, value_range: tuple[float, float] | None, scratch: Path, listener: Listener
) -> Source:
    """Open the model with the library that wrote it, and if that fails with the other Keras.

    Raises InputError for what the user can fix with an option, StageError when nothing can open it.
    """
    if file.format == "saved-model":
        return _saved_model(file.path, options, value_range, scratch)
    tries = [_keras2, _keras3] if file.keras == 2 else [_keras3, _keras2]
    modules = fetch_modules(file.path, file.config, trust=options.trusted, listener=listener)
    definitions = Definitions(options.custom_objects, modules)
    reasons: list[str] = []
    first: Exception | None = None
    for number, attempt in enumerate(tries):
        try:
            source = attempt(file, options, value_range, scratch / str(number), definitions)
        except EdgeproofError as error:
            if number == 0:
                raise
            reasons.append(error.message)  # the second attempt is optional
        except Exception as error:  # Keras may raise any exception for an external file
            reasons.append(shorten(f"{type(error).__name__}: {error}", 300))
            first = first or error
        else:
            if number:
                listener.note(
                    "warning",
                    f"{file.path.name} says it is of Keras {file.version}, but only {source.opened_by} could open it",
                    said=reasons[0],
                )
            return source
    remedy = f"check that the file is complete; if it needs custom classes or functions, {DEFINE}; otherwise {ADVICE}"
    raise StageError(f"{file.path} could not be opened: {reasons[0]}", remedy) from first


def _keras2(
    file: ModelFile,
    options: ImportOptions,
    value_range: tuple[float, float] | None,
    scratch: Path,
    definitions: Definitions,
) -> Source:
    tf, keras = load()
    opened = open_keras(tf, keras, named(file, scratch), file.config, options.trusted, definitions)
    shapes = options.fix(opened.inputs)
    inputs = _fixed(opened.inputs, shapes)
    outputs = _safe_outputs(opened.outputs, inputs)
    plain = Plain(trace(lambda values: opened.call(tf, values), inputs), inputs, outputs, opened.model)
    with unchanged(plain.function):  # a graph, as in fit and predict
        examples, expected = answered_examples(
            lambda values: _by_name(outputs, plain.function(*map(tf.constant, values))),
            opened.inputs, shapes, value_range, EXAMPLES,
        )  # fmt: skip
    return Source(plain, opened.inputs, opened.outputs, examples, expected, f"tf_keras {keras.__version__}")


def _keras3(
    file: ModelFile,
    options: ImportOptions,
    value_range: tuple[float, float] | None,
    scratch: Path,
    definitions: Definitions,
) -> Source:
    job = {
        "task": "model",
        "path": str(named(file, scratch)),
        "size": options.size,
        "shapes": dict(options.shapes),
        "value_range": value_range,
        "custom_objects": list(definitions.objects),
    }
    result = keras3.run(job, file.config, scratch / "keras3", trust=options.trusted)
    folder = scratch / "keras3"
    described = tuple(keras3_process.tensor(one) for one in result["inputs"])
    shapes = options.fix(described)
    inputs = _fixed(described, shapes)
    outputs = _safe_outputs(result["outputs"], inputs)
    tf, _ = load()
    owner = tf.saved_model.load(str(folder / "saved_model"))
    signature = owner.signatures["serving_default"]

    def call(values: list[Any]) -> list[Any]:
        arguments = {name: value for (name, _, _), value in zip(inputs, values, strict=True)}
        answer = signature(**arguments)
        return [answer[name] for name in outputs]

    with np.load(folder / "answers.npz", allow_pickle=False) as stored:
        expected = [{name: stored[f"{number}/{name}"] for name in outputs} for number in range(EXAMPLES)]
        examples = [
            [
                stored[f"{number}/{place}"].astype(object if dtype == "string" else dtype)
                for place, (_, _, dtype) in enumerate(inputs)
            ]
            for number in range(EXAMPLES)
        ]
    plain = Plain(trace(call, inputs), inputs, outputs, owner)
    return Source(plain, described, tuple(result["outputs"]), examples, expected, f"keras {result['keras']}")


def named(file: ModelFile, scratch: Path) -> Path:
    """Return a path to the file with the suffix that Keras expects for its content.

    If it must not be opened as it is, that is a copy in `scratch`: of a mixed-precision model one that computes in
    float32, of a model with a compiled model inside one that is not compiled.
    """
    suffixes = (".keras",) if file.format == "keras-archive" else (".h5", ".hdf5")
    if file.rewritten or is_mixed(file.config):
        path = scratch / f"copy{suffixes[0]}"
        with explain_disk_errors(scratch):
            scratch.mkdir(parents=True, exist_ok=True)
            (write_archive if file.format == "keras-archive" else write_hdf5)(
                file.path, path, in_float32(file.config) if is_mixed(file.config) else file.config
            )
        return path.resolve()
    if file.path.suffix in suffixes:
        return file.path.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / f"model{suffixes[0]}"
    path.unlink(missing_ok=True)
    path.symlink_to(file.path.resolve())
    return path


def _saved_model(path: Path, options: ImportOptions, value_range: tuple[float, float] | None, scratch: Path) -> Source:
    tf, _ = load()
    graph = read(path, options.tags).main
    tags = sorted(graph.tags)
    owner = load_saved_model(path, tags)
    called = choose(tf, owner, path, options.signature)
    if why := parsed_examples(owner, called.name):
        raise InputError(f"{path}: {why[0]}", why[1])
    shapes = options.fix(called.inputs)
    fixed = _fixed(called.inputs, shapes)
    traced = called
    if called.name in graph.signatures and has_references(graph):
        constant = without_references(path, graph, scratch / "constant")
        owner = load_saved_model(constant, tags)
        traced = choose(tf, owner, constant, called.name)
    plain = Plain(trace(traced.call, fixed), fixed, _safe_outputs(called.outputs, fixed), owner)
    try:
        with unchanged(plain.function):
            examples, expected = answered_examples(
                lambda values: _by_name(plain.outputs, called.call([tf.constant(value) for value in values])),
                called.inputs, shapes, value_range, EXAMPLES,
            )  # fmt: skip
    except Exception as error:  # the graph may refuse its inputs with any exception
        inputs_text = ", ".join(f"{name} {describe(shape)}" for name, shape, _ in fixed)
        raise StageError(
            f"{path} cannot process its inputs ({inputs_text}) in its own process: {shorten(str(error), 300)}",
            "it may not accept random numbers; check --size and --shape against the model's description",
        ) from error
    return Source(plain, called.inputs, called.outputs, examples, expected, f"tensorflow {tf.__version__}", called.name)


def _by_name(names: Sequence[str], values: Sequence[Any]) -> dict[str, NDArray[Any]]:
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}


def _fixed(inputs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> tuple[tuple[str, tuple[int, ...], str], ...]:
    names = safe_names([tensor.name for tensor in inputs])
    return tuple((name, shape, tensor.dtype) for name, shape, tensor in zip(names, shapes, inputs, strict=True))


def _safe_outputs(outputs: Sequence[str], inputs: Sequence[tuple[str, tuple[int, ...], str]]) -> tuple[str, ...]:
    return tuple(safe_names(outputs, [name for name, _, _ in inputs]))


def describe_inputs(inputs: Sequence[Tensor]) -> str:
    """Return inputs as people write them."""
    return ", ".join(f"{tensor.name} {describe(tensor.shape)} {tensor.dtype}" for tensor in inputs)
