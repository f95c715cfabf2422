"""Freezes an external model, unchanged, into the one SavedModel that export reads.

Unknown properties are not guessed. The range of an image's pixels comes from the user, from the preprocessing layers at
the start of a Keras model, or from a uint8 input. Without any of these, the input is a ``tensor``, which is fed
unchanged. Logits stay logits.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...core.codec import sha256_of, to_json
from ...core.errors import InputError, StageError, explain_disk_errors
from ...core.files import discard, move, remove
from ...core.model import InputContract, Model, save_model
from ...core.picture_size import COLOURS, PICTURE, is_picture
from ...core.progress import Listener
from ...core.sanitize import shorten
from ...core.store import package_versions
from ...frameworks.as_written import as_written
from ...frameworks.constants import random_operators
from ...frameworks.freeze_function import answers, difference, save, trace
from ...frameworks.tensorflow import check_installed, fresh, load
from ...tasks.label_count import LABELS_OF, labels_fit
from ..hub.fetch import resolve
from ..text.user_model import CutModel, cut_user_model
from . import keras3
from .custom import check_modules, check_objects, identify_objects
from .identify import ModelFile, content_sha256, identify
from .load import Source, describe_inputs, open_source
from .options import ImportOptions
from .pixel_range import pixel_range
from .tensors import describe

PACKAGES = ("edgeproof", "tensorflow", "tf-keras", "keras", "tensorflow-text")
SCRATCH = "scratch"
DEFAULTS = ImportOptions()


@dataclass(frozen=True)
class _Judged:
    """The input contract and the source of its range."""

    contract: InputContract
    range_from: str


def import_key(path: Path, options: ImportOptions = DEFAULTS) -> dict[str, Any]:
    """Return the values that decide the result of `import_model`, for a cache key.

    Checks the file first, without TensorFlow, so it also serves as the check before anything is started. Raises
    InputError as `identify`, and for contradictory options.
    """
    check_installed()
    check_objects(options.custom_objects)
    file = identify(path, trust=options.trusted)
    if file.keras == 3:
        keras3.check_keras3()
    value_range = options.value_range
    if value_range is not None and not value_range[0] < value_range[1]:
        raise InputError(f"the value range {value_range[0]:g},{value_range[1]:g} is empty", "e.g. --value-range 0,1")
    return {
        "sha256": content_sha256(file.path),
        **to_json(options),
        "trust": options.trusted,
        "modules": check_modules(file.path, file.config, trust=options.trusted),
        "custom_objects": identify_objects(options.custom_objects),
    }


def import_model(
    path: Path, options: ImportOptions = DEFAULTS, *, name: str, workspace: Path, listener: Listener
) -> Model:
    """Freeze the model at `path` (SavedModel folder or ``.tar.gz``, Keras 2 or 3 archive or HDF5 file) and return it.

    `workspace` then holds ``saved_model/`` and ``model.json``. The batch is fixed to 1. Outputs that are not evaluated
    stay in the file.

    The contract is ``image`` for one input of pictures (NHWC) of a known range, ``text`` for one string, ``tensor``
    for all else. With several inputs it describes the first; ``provenance["inputs"]`` has all. `Model.sha256` covers
    the file and these options. The frozen model is compared with the original on random inputs.

    Raises InputError when the file is none of these, contains code, or an option is missing or wrong; StageError when
    it cannot be opened or saved, or the frozen model's outputs differ.
    """
    start = time.monotonic()
    key = import_key(path, options)
    labels, value_range = options.labels, options.value_range
    file = _unpacked(identify(path, trust=options.trusted), options.trusted, listener)
    for sentence in file.code:
        listener.note("warning", f"{path.name} is trusted: {sentence}")
    for module in options.custom_objects:
        listener.note("warning", f"{module} is imported and its code runs, as --custom-objects asks")
    fresh(0)
    known_range = value_range or (pixel_range(file.config) if file.keras else None)
    scratch = workspace / SCRATCH
    with explain_disk_errors(workspace):
        discard(scratch, root=workspace)
        scratch.mkdir(parents=True)
    try:
        listener.progress("import", 0, 3, f"opening the {file.title}")
        with as_written(load()[0]):  # the original's outputs are the reference
            source = _one_text(open_source(file, options, known_range, scratch, listener))
        judged = _judge(source, file, value_range, known_range)
        judged = replace(judged, contract=options.channels.of(judged.contract))
        answer, count = _answer(source, options.output, listener)
        given = source.expected[0]
        shapes, whole = [given[one].shape for one in source.plain.outputs], given[answer].dtype.kind in "iu"
        if labels and not labels_fit(given[answer].shape, shapes, len(labels), whole=whole):
            raise InputError(
                f"{len(labels)} labels were given, but the output {answer!r} has the shape "
                f"{describe(given[answer].shape)}",
                LABELS_OF,
            )
        listener.progress("import", 1, 3, "freezing")
        saved = scratch / "saved_model"
        how = save(source.plain, saved)
        if how.state:
            listener.note(
                "warning",
                f"the model keeps a state from one call to the next, in {', '.join(how.state[:6])}: TFLite files keep "
                "it too, ONNX files cannot; in evaluations every sample starts from the saved state",
            )
        listener.progress("import", 2, 3, "comparing with the original")
        worst = _verify(source, saved, how.tolerance)
        cut = _cut_at_ids(source, judged, saved, labels, answer, count, scratch / "cut", listener)
        parts = {"saved_model": saved}
        if cut is not None:
            parts = {
                "text_model": saved,
                "saved_model": scratch / "cut" / "saved_model",
                "tokenizer": cut.tokenizer.folder,
            }
        for part in ("saved_model", "text_model", "tokenizer"):
            with explain_disk_errors(workspace / part):
                remove(workspace / part, root=workspace)
                if part in parts:
                    move(parts[part], workspace / part, root=workspace)
        model = Model(
            name=name,
            backbone=f"file:{path.name}",
            saved_model=workspace / "saved_model",
            sha256=sha256_of(["imported", key]),
            labels=labels,
            input=cut.contract if cut is not None else judged.contract,
            train_seconds=0.0,
            answer=answer,
            text_model=workspace / "text_model" if cut is not None else None,
            tokenizer=replace(cut.tokenizer, folder=workspace / "tokenizer") if cut is not None else None,
            provenance=_provenance(source, file, key, judged)
            | {
                "constant": how.constant,
                "state": list(how.state),
                "freeze_difference": worst,
                "seconds": round(time.monotonic() - start, 3),
                **(cut.facts if cut is not None else {}),
            },
        )
        save_model(model, workspace)
        listener.progress("import", 3, 3, model.name)
    finally:
        discard(scratch, root=workspace)
    return model


def _cut_at_ids(
    source: Source,
    judged: _Judged,
    saved: Path,
    labels: tuple[str, ...],
    answer: str,
    classes: int,
    folder: Path,
    listener: Listener,
) -> CutModel | None:
    """Cut a model of one string where its strings end; None for other models, and (with a note) if it cannot be cut.

    `saved` is the frozen model.
    """
    if judged.contract.dtype != "string":
        return None
    if not classes or len(source.plain.outputs) != 1:
        why: CutModel | str = "it does not return one vector of numbers per text"
    else:
        function = source.plain.function
        owner = source.plain.owner
        why = cut_user_model(lambda text: function(text)[0], owner, saved, labels, answer, folder, listener)
    if isinstance(why, CutModel):
        maker = (
            "its own operators, in TensorFlow" if why.tokenizer.kind == "tensorflow" else "the folder MODEL.tokenizer"
        )
        listener.note("info", f"the files take up to {why.tokenizer.length} token ids, which {maker} makes of a text")
        return why
    listener.note("warning", f"the model cannot be cut at its token ids: {why}")
    return None


def _provenance(source: Source, file: ModelFile, key: dict[str, Any], judged: _Judged) -> dict[str, Any]:
    return {
        "source": {
            "name": file.path.name,
            "sha256": key["sha256"],
            "format": file.title,
            "opened_by": source.opened_by,
            "signature": source.signature,
            "trusted": key["trust"],
            "code": list(file.code),
        },
        "inputs": [
            {"name": safe, "original": tensor.name, "shape": list(shape), "dtype": dtype}
            for (safe, shape, dtype), tensor in zip(source.plain.inputs, source.inputs, strict=True)
        ],
        "outputs": [
            {"name": safe, "original": original, "shape": list(value.shape), "dtype": str(value.dtype)}
            for safe, original in zip(source.plain.outputs, source.outputs, strict=True)
            for value in (source.expected[0][safe],)
        ],
        "range_from": judged.range_from,
        "packages": package_versions(PACKAGES),
    }


def _unpacked(file: ModelFile, trust: bool, listener: Listener) -> ModelFile:
    """Unpack an archive of a SavedModel and identify its content."""
    if file.format != "archive":
        return file
    folder = resolve(str(file.path.absolute()), sha256="", folder=Path(), listener=listener)
    return identify(folder, trust=trust)


def _one_text(source: Source) -> Source:
    """Return a text model with an input of (1,) strings, as all text models here have. Others are unchanged."""
    inputs = source.plain.inputs
    if len(inputs) != 1 or inputs[0][2] != "string":
        return source
    name, shape, dtype = inputs[0]
    if math.prod(shape) != 1:
        raise InputError(f"the model takes {describe(shape)} texts at once", "only one text at a time is supported")
    tf, _ = load()
    function, flat = source.plain.function, ((name, (1,), dtype),)
    plain = replace(
        source.plain, function=trace(lambda values: function(tf.reshape(values[0], shape)), flat), inputs=flat
    )
    return replace(source, plain=plain, examples=[[example[0].reshape(1)] for example in source.examples])


def _judge(
    source: Source, file: ModelFile, value_range: tuple[float, float] | None, known_range: tuple[float, float] | None
) -> _Judged:
    """Return the input contract."""
    name, shape, dtype = source.plain.inputs[0]
    only = len(source.plain.inputs) == 1
    if only and dtype == "string":
        return _Judged(InputContract(name, shape, "string", 0, 0, "", "", kind="text"), "")
    picture = only and is_picture(shape) and dtype in ("float32", "uint8")
    if value_range is not None and not picture:
        raise InputError(
            f"a value range is for {PICTURE}, but the model takes {describe_inputs(source.inputs)}",
            "leave --value-range out: its input is fed as it is",
        )
    if dtype == "uint8" and value_range not in (None, (0.0, 255.0)):
        raise InputError("the model takes whole numbers of 0–255 (uint8)", "leave --value-range out")
    # Other shapes may as well be spectrograms: they are pictures where the user says so.
    usual = picture and shape[1] == shape[2] and shape[3] == 3
    if picture and (value_range is not None or (usual and (known_range is not None or dtype == "uint8"))):
        low, high = known_range if known_range is not None and dtype != "uint8" else (0.0, 255.0)
        origin = (
            "the user" if value_range else "uint8" if dtype == "uint8" else f"the preprocessing in {file.path.name}"
        )
        return _Judged(InputContract(name, shape, dtype, low, high, COLOURS[shape[3]]), origin)
    return _Judged(InputContract(name, shape, dtype, 0.0, 0.0, "", "", kind="tensor"), "")


def _answer(source: Source, output: str, listener: Listener) -> tuple[str, int]:
    """Return the name of the evaluated output and its number of classes (0: it is no vector)."""
    names = dict(zip(source.outputs, source.plain.outputs, strict=True))
    if output:
        if output not in names and output not in names.values():
            raise InputError(f"the model has no output {shorten(output)!r}", f"it has: {', '.join(names)}")
        chosen = names.get(output, output)
    else:
        vectors = [safe for safe in names.values() if _classes(source, safe) > 1]
        chosen = vectors[0] if vectors else source.plain.outputs[0]
        if len(names) > 1:
            message = f"the model has {len(names)} outputs; {chosen!r} is evaluated (choose another with --output)"
            listener.note("info", message, outputs=list(names))
    return chosen, _classes(source, chosen)


def _classes(source: Source, output: str) -> int:
    value = source.expected[0][output]
    return int(value.shape[1]) if value.ndim == 2 and value.shape[0] == 1 and value.dtype.kind == "f" else 0


def _verify(source: Source, saved: Path, tolerance: float) -> float:
    """Compare the saved model with the original. Raises StageError when they differ; returns the tolerance."""
    names = [name for name, _, _ in source.plain.inputs]
    try:
        frozen = answers(saved, names, source.examples)
    except Exception as error:  # a graph may raise any exception
        raise StageError(
            f"the frozen model does not run: {shorten(str(error), 300)}",
            "save it again in its original environment, as a plain SavedModel with one signature",
        ) from error
    worst = max(difference(e, f) for e, f in zip(source.expected, frozen, strict=True))
    if not worst <= tolerance:
        drawn = random_operators(source.plain.function)
        raise StageError(
            f"the frozen model's answers differ from the original's by {worst:.2g} of the largest, expected at most "
            f"{tolerance:g}" + (f"; it draws random numbers when it runs ({', '.join(drawn[:4])})" if drawn else ""),
            "save it again without its random layers, or for inference (training=False)"
            if drawn
            else "this is a defect of the conversion; please report it with the model",
        )
    return worst
