"""Quantizes a supplied float ``.tflite`` with ai-edge-quantizer, without its model and without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.artifact import Artifact, artifact_id, file_name
from ..core.codec import sha256_file, to_json
from ..core.errors import EdgeproofError, InputError
from ..core.maker import MAKERS, QUANTIZER
from ..core.model import InputContract, TokenizerRecord, plain_name
from ..core.picture_size import COLOURS, LAYOUTS, PICTURE, is_picture, sides_of
from ..core.progress import Listener
from ..core.recipe import Export
from ..core.recipe_data import Data
from ..core.sanitize import shorten, slug
from ..core.store import Store, copy_out, lock, open_store
from ..core.variant import Variant
from ..export import POSSIBLE, check_float, chosen_shapes, copy_tokenizer, tokenizer_folder
from ..export import load as load_artifact
from ..export import save as save_artifact
from ..export import sidecar as sidecar_path
from ..quantize.calibration import Calibration
from ..tasks.label_count import LABELS_OF, labels_fit
from ..tflite.objects import WRITER
from ..tflite.writer import REVISION
from ..train.external import ImportOptions, Input
from .input_spec import InputSpec
from .model_files import open_artifact
from .prepare_data import prepared
from .quantize_worker import run_job
from .samples import Samples
from .steps import calibrate, warn
from .tensorflow_process import CrashError

SEED = 1
FLOAT32 = Variant("tflite", "float32")
_TOOL = MAKERS[QUANTIZER]


def export_tflite(
    path: Path,
    variants: Sequence[Variant],
    options: Export,
    source: Data | Samples | None,
    out: Path,
    listener: Listener,
    stated: ImportOptions,
) -> list[Artifact]:
    """Make each variant of the float file at `path` in `out`, and copy the file itself there as ``float32``.

    Its sidecar, if any, is used; labels, value range and output that the user has `stated` override it. Open shapes are
    fixed, also in the ``float32`` copy: the batch at 1, the others as stated. Raises InputError before anything is made
    when the file cannot be quantized, a shape stays open, or calibration data are missing.
    """
    _check_variants(variants)
    store = open_store(out, listener)
    supplied, path = path, _fixed(path, stated, store, options.timeout_seconds, listener)
    base = _float_file(path, stated)
    calibrated = [str(variant) for variant in variants if variant.scheme.calibrated]
    if calibrated and source is None:
        raise InputError(
            f"{', '.join(calibrated)} must be calibrated",
            "add --calibrate SOURCE, with samples like those of the training, e.g. folder:images or npy:samples.npy",
        )
    needed = [*([] if FLOAT32 in variants else [FLOAT32]), *variants]
    with lock(out):
        listener.note("info", f"{base.model}: {_described(base)}")
        drawn = _calibration(base, source, options, store, listener) if calibrated and source else None
        artifacts = []
        listener.begin("export", base.model)
        listener.progress("export", 0, len(needed))
        for count, variant in enumerate(needed, 1):
            calibration = drawn if variant.scheme.calibrated else None
            file = _quantized(path, base, variant, options, calibration, store)
            warn(file, listener)
            artifacts.append(_put(file, base, supplied, out))
            listener.progress("export", count, len(needed), str(variant))
    return artifacts if FLOAT32 in variants else artifacts[1:]


def _check_variants(variants: Sequence[Variant]) -> None:
    possible = [str(FLOAT32), *POSSIBLE]
    if wrong := [str(variant) for variant in variants if str(variant) not in possible]:
        raise InputError(
            f"{', '.join(wrong)} cannot be made from a .tflite: that needs the SavedModel or Keras file it came from",
            f"possible from a .tflite are {', '.join(possible)}",
        )
    modules = (*WRITER.packages, *(_TOOL.modules if set(variants) != {FLOAT32} else ()))
    remedy = f"pip install {_TOOL.distributions[0]} (or 'edgeproof[{_TOOL.extra.name}]')"
    _TOOL.extra.require("quantizing a .tflite needs", *modules, remedy=remedy)


def _fixed(
    path: Path,
    stated: ImportOptions,
    store: Store,
    timeout: float,
    listener: Listener,
) -> Path:
    """Return the file itself if its shapes are fixed, else a copy with fixed shapes in the store."""
    content = path.read_bytes()
    try:
        input_shapes = chosen_shapes(content, stated.size, stated.shapes)
    except EdgeproofError as error:
        raise InputError(f"{path}: {error.message}", error.remedy) from error
    except Exception as error:  # an untrusted file may make its reader fail in any way
        raise InputError(f"{path} is damaged: {type(error).__name__}: {error}", "make or copy it again") from error
    if not input_shapes:
        return path
    spec = {"file": sha256_file(path), "shapes": input_shapes, "writer": REVISION}
    key = store.key("fixed-shapes", spec, tuple(WRITER.packages.values()))
    if store.get(key, shipped=True) is None:
        target = store.partial(key).resolve() / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        lists = {name: list(shape) for name, shape in input_shapes.items()}
        job = {"source": str(path.resolve()), "shapes": lists, "fixed": str(target)}
        try:
            run_job(job, log=store.root / "quantizer.log", timeout=timeout)
        except CrashError as error:
            raise InputError(f"{path}: {error.message}", "give the shapes that it was trained with") from error
        store.finish(key)
    shapes_words = ", ".join(f"{name} {shape}" for name, shape in input_shapes.items())
    listener.note("info", f"{path.name} leaves shapes open; its files take {shapes_words}")
    return store.root / key / path.name


def _float_file(path: Path, stated: ImportOptions) -> Artifact:
    """Return the artifact of a float file. Raises InputError when it is not one, or does not fit the options."""
    artifact = open_artifact(path)
    remedy = "give the float32 file that it was made from"
    if (
        artifact.scheme != "float32" and artifact.made_by
    ):  # without a sidecar it is a guess, and the file itself says more
        raise InputError(f"{path} is {artifact.variant}, not a float file", remedy)
    try:
        check_float(path.read_bytes())
    except EdgeproofError as error:
        raise InputError(f"{path} cannot be quantized: {error.message}", error.remedy or remedy) from error
    except Exception as error:  # a file from outside may break its reader in any way
        raise InputError(f"{path} is damaged: {type(error).__name__}: {error}", "make or copy it again") from error
    named = [plain_name(tensor.name) for tensor in artifact.outputs]
    answer = stated.output or artifact.answer or next(iter(named), "")
    if answer not in (*named, *(tensor.name for tensor in artifact.outputs)):
        raise InputError(f"{path} has no output {shorten(answer)!r}", f"it has: {', '.join(named)}")
    judged = next(t for t, name in zip(artifact.outputs, named, strict=True) if answer in (name, t.name))
    labels, shapes, whole = stated.labels, [tensor.shape for tensor in artifact.outputs], judged.dtype.startswith("int")
    if labels and not labels_fit(judged.shape, shapes, len(labels), whole=whole):
        raise InputError(
            f"{len(labels)} labels were given, but the output {answer!r} has the shape {judged.shape}", LABELS_OF
        )
    return replace(
        artifact,
        model=artifact.model if artifact.contract else slug(path.stem).replace("--", "-"),
        labels=labels or artifact.labels,
        contract=stated.channels.of(_contract(path, artifact, stated.value_range)),
        answer=answer,
        parent_sha256=artifact.parent_sha256 or sha256_file(path),
    )


def _contract(path: Path, artifact: Artifact, value_range: tuple[float, float] | None) -> InputContract:
    """Return the input contract: images if their value range is known, else arrays as they are."""
    if artifact.contract is not None and value_range is None:
        return artifact.contract
    if not artifact.inputs:
        raise InputError(f"{path} has no inputs", "give a file of a model")
    first = artifact.inputs[0]
    name = plain_name(first.name)
    shape = first.shape
    picture = len(artifact.inputs) == 1 and is_picture(shape, layouts=LAYOUTS)
    if value_range is None:
        return InputContract(name, shape, first.dtype, 0.0, 0.0, "", "", kind="tensor")
    if not picture:
        inputs = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in artifact.inputs)
        raise InputError(
            f"a value range is for {PICTURE}, but {path} takes {inputs}",
            "leave --value-range out: its input is fed as it is",
        )
    low, high = value_range
    if not low < high:
        raise InputError(f"the value range {low:g},{high:g} is empty", "e.g. --value-range 0,1")
    return InputContract(name, shape, first.dtype, low, high, COLOURS[sides_of(shape)[2]])


def _described(base: Artifact) -> str:
    contract = base.contract
    if contract is None:
        return "no facts about its inputs"
    values = f", values {contract.low:g} to {contract.high:g}" if contract.kind == "image" else ""
    gives = f"{len(base.labels)} classes" if base.labels else "classes not known"
    return f"takes {contract.kind} {contract.name} {contract.shape} {contract.dtype}{values}; {gives}"


def _calibration(
    base: Artifact, source: Data | Samples, options: Export, store: Store, listener: Listener
) -> Calibration:
    if base.contract is None:
        raise InputError(f"{base.model}: its pixel range is not known", "say it with --value-range")
    names = (plain_name(tensor.name) for tensor in base.inputs)
    inputs = sorted(
        (Input(name, tensor.shape, tensor.dtype) for name, tensor in zip(names, base.inputs, strict=True)),
        key=lambda one: one.name,
    )
    data = prepared(
        source, InputSpec.of(base.contract, inputs),
        seed=SEED, folder=Path(), store=store, listener=listener, use="train",
    )  # fmt: skip
    tokenizer = None
    if base.tokenizer is not None:
        tokenizer = TokenizerRecord(base.tokenizer, "", base.contract.shape[1], base.tokenizer_sha256)
    return calibrate(data, options.calibration.samples, SEED, store, tokenizer)


def _quantized(
    path: Path, base: Artifact, variant: Variant, options: Export, calibration: Calibration | None, store: Store
) -> Artifact:
    """Make one file in another process, or take it from the store; a failure is a row with its reason."""
    blank = Artifact(
        id=artifact_id(base.model, variant),
        model=base.model,
        format=variant.format,
        scheme=variant.scheme_name,
        path=None,
        labels=base.labels,
        contract=base.contract,
        parent_sha256=base.parent_sha256,
        origin="tflite",
        answer=base.answer,
        tokenizer_sha256=base.tokenizer_sha256,
        training=base.training,
        made_by=base.made_by,
        task=base.task,
    )
    record = {**to_json(calibration), "images": None} if calibration else None
    spec: dict[str, Any] = {"file": base.sha256, "artifact": to_json(blank), "calibration": record, "writer": REVISION}
    key = store.key("quantized", spec, (*_TOOL.distributions, *WRITER.packages.values()))
    if store.get(key, shipped=True) is None:
        job = {
            "source": str(path.resolve()),
            "artifact": to_json(blank),
            "folder": str(store.partial(key).resolve()),
            "calibration": str(calibration.images.resolve()) if calibration else None,
            "record": record,
        }
        try:
            run_job(job, log=store.root / "quantizer.log", timeout=options.timeout_seconds)
        except CrashError as error:
            return blank.failed(error.status, error.message, error.remedy)
        store.finish(key)
    return load_artifact(sidecar_path(store.root / key / file_name(base.model, variant)))


def _put(artifact: Artifact, base: Artifact, path: Path, out: Path) -> Artifact:
    """Put a file, its sidecar and its tokenizer into `out`; the supplied file itself is not changed."""
    destination = out / file_name(artifact.model, artifact.variant)
    if destination.exists() and destination.samefile(path):
        return open_artifact(path)
    if artifact.path is not None:
        copy_out(artifact.path, destination, root=out)
        artifact = replace(artifact, path=destination)
    if base.tokenizer is not None:
        tokenizer = tokenizer_folder(base.model, out)
        copy_tokenizer(base.tokenizer, tokenizer, root=out)
        artifact = replace(artifact, tokenizer=tokenizer)
    return save_artifact(artifact, out)
