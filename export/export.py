"""Frozen model + variant → artifact. A variant that cannot be made is an artifact too: its status says why."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.artifact import Artifact, artifact_id, file_name
from ..core.codec import from_json, read_json, sha256_file, to_json, write_json
from ..core.environment import release_memory, usable_cores
from ..core.errors import InputError, StageError, explain_disk_errors
from ..core.files import below
from ..core.maker import CONVERTER, MAKERS, ORT_QUANTIZER, QUANTIZER, TF2ONNX, makers_of
from ..core.model import InputContract, Model
from ..core.recipe import Export
from ..core.remedies import origin_of
from ..core.sanitize import checked_name
from ..core.store import package_versions
from ..core.variant import Scheme, Variant
from ..tasks import trained_task
from ..tflite.objects import WRITER, read
from ..tflite.storage import storage
from ..tflite.writer import conform
from . import first_run, onnx, onnx_schemes, quantizer, tflite
from .inspect import inspect
from .quantizer import Judged
from .reasons import explain
from .samples import Feeds, Samples, feeds
from .tokenizer import tokenizer_folder

_TENSORFLOW = MAKERS[CONVERTER].distributions  # froze what all of our files are made from


def packages_of(format_: str) -> tuple[str, ...]:
    """Return what the work on files of a format depends on beside its inputs; part of its key in the store."""
    makers = (package for maker in makers_of(format_) for package in maker.distributions)
    return (*_TENSORFLOW, *makers, *(WRITER.packages.values() if format_ == "tflite" else ()))


def export(
    model: Model,
    variant: Variant,
    *,
    options: Export,
    folder: Path,
    calibration: Path | None = None,
    calibration_record: dict[str, Any] | None = None,
    maker: str = "",
) -> Artifact:
    """Make one file in `folder`, with its sidecar beside it, and return the artifact.

    `maker` is one of the scheme's makers (default: the first). `calibration` is a ``.npy`` of samples, which calibrated
    schemes need: (N, height, width, 3) uint8 images, the model's own tensors (N, …), or a structured array with a field
    for each input (for token ids: ``ids``, ``lens``). For a model after further training, `model.tuning` goes into the
    artifact, which belongs to the float model. The file of a model with a tokenizer needs the folder that
    `place_tokenizer` makes. A model that takes strings has no file: status ``unsupported``. An error of a tool, or a
    file that fails its first run (`first_run`), becomes the status ``failed`` with a reason. Raises StageError for disk
    errors alone, and InputError for a maker or samples that do not fit the variant.
    """
    started = time.perf_counter()
    maker = maker or variant.scheme.makers[0]
    if maker not in variant.scheme.makers:
        raise InputError(f"{maker} does not make {variant}", f"its makers: {', '.join(variant.scheme.makers)}")
    artifact = described(model, variant, maker, folder)
    if variant.format == "onnx" and (state := model.provenance.get("state")):
        reason = f"the model keeps a state from one call to the next, in {', '.join(state[:6])}: ONNX has none"
        remedy = (
            "use tflite:float32, which keeps it; or build the model with its state as an input and an output "
            "(initial_state=…, return_state=True), and save it again"
        )
        return save(artifact.failed("unsupported", reason, remedy), folder)
    if model.input.dtype == "string":
        reason = "the model takes strings: it could not be cut at its token ids, and only TensorFlow can run it"
        remedy = "serve its SavedModel with TensorFlow, or " + (
            "choose a backbone that takes token ids (scratch:average-embedding, package:use_multilingual_v3)"
            if origin_of(model) == "trained"
            else "save it again without its text layers, so that it takes their output as its input, and export that"
        )
        return save(artifact.failed("unsupported", reason, remedy), folder)
    if variant.scheme.training not in ("", model.tuning.get("kind")):
        reason = f"this model went through {model.tuning.get('kind') or 'no further training'}"
        return save(
            artifact.failed("failed", reason, f"{variant} is made from one that was {variant.scheme.training}"), folder
        )
    samples = _samples(variant, calibration, in_parts=bool(model.tuning.get("head_only")))
    try:
        content, calibrated = _make(model, variant, options, samples, maker)
        deflated = _deflating(content)
        release_memory()
        first_run.check(content, variant, model)
    except Exception as error:  # a converter may raise anything; none of it stops the other variants
        return save(artifact.failed("failed", *explain(error, artifact.origin)), folder)
    finally:
        release_memory()
    record = _calibration_record(samples, calibration_record, calibrated)
    return finished(artifact, content, folder, record, started, deflated)


def described(model: Model, variant: Variant, maker: str, folder: Path) -> Artifact:
    """Return the artifact of a file of `model` as it is known before `maker` makes it in `folder`."""
    return Artifact(
        id=artifact_id(model.name, variant),
        model=model.name,
        format=variant.format,
        scheme=variant.scheme_name,
        path=folder / file_name(model.name, variant),
        labels=model.labels,
        contract=model.input,
        parent_sha256=model.tuning.get("of", model.sha256),
        made_by=_made_by(maker, from_ours=True),
        origin=origin_of(model),
        answer=model.answer,
        tokenizer=tokenizer_folder(model.name, folder) if model.tokenizer else None,
        tokenizer_sha256=model.tokenizer.sha256 if model.tokenizer else "",
        training=model.tuning,
        task=model.task,
    )


def export_file(
    source: Path,
    artifact: Artifact,
    *,
    folder: Path,
    calibration: Path | None = None,
    calibration_record: dict[str, Any] | None = None,
) -> Artifact:
    """Make `artifact` from the float ``.tflite`` at `source`, without TensorFlow, in `folder`; return it.

    `artifact` holds what is known before: id, model, scheme, labels, contract, answer, the source's sha256 as parent.
    ``float32`` is the file itself, or what `writer.conform` makes of it. Otherwise see `export`.
    """
    started = time.perf_counter()
    variant = artifact.variant
    samples = _samples(variant, calibration)
    artifact = replace(artifact, path=folder / file_name(artifact.model, variant))
    calibrated: dict[str, Any] = {}
    try:
        content = source.read_bytes()
        if variant.scheme_name == "float32":
            quantizer.check_float(content)
            content = conform(content)
        else:
            if QUANTIZER not in variant.scheme.makers:
                possible = ", ".join(quantizer.POSSIBLE)
                raise InputError(f"{variant} cannot be made from a .tflite", f"possible: {possible}")
            artifact = replace(artifact, made_by=_made_by(QUANTIZER, from_ours=False))
            feed, judged = (
                _feeds(artifact.contract, samples),
                Judged(artifact.answer, trained_task(artifact.labels, artifact.task)),
            )
            quantized, calibrated = quantizer.quantize(content, variant.scheme, feed, judged)
            contract = artifact.contract
            low, high = (contract.low, contract.high) if contract is not None else (0.0, 0.0)
            first_run.check_supplied(quantized, variant, content, low, high)
            content = quantized
    except Exception as error:
        return save(artifact.failed("failed", *explain(error, artifact.origin)), folder)
    return finished(artifact, content, folder, _calibration_record(samples, calibration_record, calibrated), started)


def _make(
    model: Model, variant: Variant, options: Export, samples: Samples | None, maker: str
) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of a file and the record of its calibration. Raises whatever the tools raise."""
    if variant.scheme.searched:
        raise StageError(
            f"{variant} is searched step by step on the model's data", "put it into a recipe, and run that"
        )
    return CALLS[maker](model, variant.scheme, options, samples)


def _by_converter(
    model: Model, scheme: Scheme, options: Export, samples: Samples | None
) -> tuple[bytes, dict[str, Any]]:
    return tflite.convert(model, scheme, options, samples)


def _by_quantizer(model: Model, scheme: Scheme, _: Export, samples: Samples | None) -> tuple[bytes, dict[str, Any]]:
    source = tflite.float_file(model.saved_model, model.sha256)
    return quantizer.quantize(
        source, scheme, _feeds(model.input, samples), Judged(model.answer, trained_task(model.labels, model.task))
    )


def _by_onnx(model: Model, scheme: Scheme, options: Export, samples: Samples | None) -> tuple[bytes, dict[str, Any]]:
    judged = Judged(model.answer, trained_task(model.labels, model.task))
    return onnx_schemes.convert(onnx.convert(model, options), scheme, _feeds(model.input, samples), judged)


# What calls each maker: a model, a scheme, the options and the samples → the file's bytes, the calibration's record.
CALLS: dict[str, Callable[[Model, Scheme, Export, Samples | None], tuple[bytes, dict[str, Any]]]] = {
    CONVERTER: _by_converter,
    QUANTIZER: _by_quantizer,
    TF2ONNX: _by_onnx,
    ORT_QUANTIZER: _by_onnx,
}


def _samples(variant: Variant, calibration: Path | None, *, in_parts: bool = False) -> Samples | None:
    """Return the samples that a variant needs; `in_parts`: the model was trained for quantization in parts only."""
    if calibration is None:
        if variant.scheme.calibrated:
            raise InputError(f"{variant} needs calibration samples", "draw them from the training data (--calibrate)")
        return None
    if not variant.scheme.calibrated and not (in_parts and variant.scheme.training == "qat"):
        return None
    samples: Samples = np.load(calibration, mmap_mode="r", allow_pickle=False)
    return samples


def _feeds(contract: InputContract | None, samples: Samples | None) -> Feeds | None:
    return None if contract is None or samples is None else feeds(contract, samples)


def _calibration_record(
    samples: Samples | None, record: dict[str, Any] | None, calibrated: dict[str, Any]
) -> dict[str, Any]:
    """Return `record` with the number and size of the samples, and `calibrated`, the tool's own record."""
    if samples is None:
        return {}
    fields = samples.dtype.names
    shape = {name: list(samples.dtype[name].shape) for name in fields} if fields else list(samples.shape[1:])
    return {**(record or {}), "samples": len(samples), "shape": shape, "bytes": samples.nbytes, **calibrated}


def _other_methods(made_by: str, content: bytes, record: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the calibration methods that measured worse as rows of `Artifact.alternatives`."""
    best = record.get("float_agreement", {})
    where = {"target": "calibration samples", "samples": best.get("samples", 0), "latency_ms": None}
    rows = []
    for trial in record.get("methods", ()):
        if trial["method"] == record["method"]:
            continue
        error = trial.get("error")
        why = f"{trial.get('reason')}" if error is None else (
            f"relative error against the float model {error:.3g}; with the chosen ranges "
            f"({record['method']}) {best['error']:.3g}"
        )  # fmt: skip
        facts = {"made_by": f"{made_by}; ranges: {trial['method']}", "bytes": trial.get("bytes", 0), "why": why}
        state = {"status": "failed" if error is None else "ok", "agreement": trial.get("agreement")}
        chosen = {"bytes": len(content), **where, "agreement": best.get("agreement")}
        rows.append({**facts, **where, **state, "chosen": chosen})
    return tuple(rows)


def finished(
    artifact: Artifact,
    content: bytes,
    folder: Path,
    record: dict[str, Any],
    started: float,
    deflated: Future[int] | None = None,
) -> Artifact:
    """Write a file and its sidecar, and return the artifact with what is read from the file.

    `deflated` is what `_deflating` returned, if that was begun before.
    """
    deflated = deflated or _deflating(content)
    path = folder / file_name(artifact.model, artifact.variant)
    with explain_disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    contents = inspect(path)
    quantized = artifact.format == "tflite" and artifact.variant.scheme.weights not in ("float32", "float16")
    return save(
        replace(
            artifact,
            path=path,
            sha256=sha256_file(path),
            bytes=len(content),
            compressed_bytes=deflated.result(),
            inputs=contents.inputs,
            outputs=contents.outputs,
            ops=contents.ops,
            min_runtime=contents.min_runtime,
            delegates=contents.delegates,
            seconds=time.perf_counter() - started,
            calibration=record,
            alternatives=_other_methods(artifact.made_by, content, record),
            storage=storage(read(content)) if quantized else _beyond_float16(content, artifact.variant),
        ),
        folder,
    )


def _beyond_float16(content: bytes, variant: Variant) -> dict[str, Any]:
    """Return the weights that a float16 ONNX file keeps in float32 as out of range: name → largest value."""
    beyond = onnx_schemes.beyond_half(content) if str(variant) == "onnx:float16" else {}
    return {"beyond_float16": beyond} if beyond else {}


def reference(model: Model) -> Artifact:
    """Return the float reference that every other artifact of `model` is compared with, as an artifact.

    It is the frozen SavedModel itself; for a text model the one that takes text, with the original tokenizer.
    """
    variant = Variant("savedmodel", "float32")
    path = model.text_model or model.saved_model
    return Artifact(
        id=artifact_id(model.name, variant),
        model=model.name,
        format=variant.format,
        scheme=variant.scheme_name,
        path=path,
        sha256=model.sha256,
        bytes=sum(part.stat().st_size for part in path.rglob("*") if part.is_file()),
        labels=model.labels,
        contract=InputContract("text", (1,), "string", kind="text") if model.text_model else model.input,
        parent_sha256=model.sha256,
        made_by=_made_by(CONVERTER, from_ours=True),
        answer=model.answer,
        # It is not fed token ids, but it uses the same vocabulary: another vocabulary is another reference.
        tokenizer_sha256=model.tokenizer.sha256 if model.tokenizer else "",
        task=model.task,
    )


def sidecar(path: Path) -> Path:
    """Return the path of the sidecar of an artifact's file."""
    return path.with_name(path.name + ".json") if path.suffix not in (".tflite", ".onnx") else path.with_suffix(".json")


def save(artifact: Artifact, folder: Path) -> Artifact:
    """Write the sidecar of an artifact whose file is (or would have been) in `folder`; return the artifact.

    The sidecar names the file and the tokenizer's folder relative to itself.
    """
    name = file_name(artifact.model, artifact.variant)
    relative = {
        "path": name if artifact.path else None,
        "tokenizer": artifact.tokenizer.name if artifact.tokenizer else None,
    }
    write_json(sidecar(folder / name), to_json(artifact) | relative)
    return artifact


def load(path: Path) -> Artifact:
    """Read an artifact by its sidecar. Raises InputError when the sidecar is missing or does not fit.

    The file and the tokenizer must stand beside it, whatever an untrusted sidecar says.
    """
    artifact = from_json(Artifact, read_json(path), str(path))
    checked_name(artifact.model, f"{path}: model")  # a run's folder of that name is looked for
    return replace(
        artifact,
        path=_beside(path, artifact.path, "path"),
        tokenizer=_beside(path, artifact.tokenizer, "tokenizer"),
    )


def _beside(path: Path, named: Path | None, field: str) -> Path | None:
    """Return the path of what a sidecar names in `field`. Raises InputError for anything but a plain name."""
    if named is None:
        return None
    return below(path.parent, path.parent / checked_name(str(named), f"{path}: {field}"), follow=field == "tokenizer")


def _deflating(content: bytes) -> Future[int]:
    """Compute, beside other work, the size of a file as an app store ships it: deflated as in ZIP (.apk, .ipa).

    It is compressed at the highest level, in blocks of 8 MiB on all cores. A block is 250 times deflate's window, so
    the sum is that of the undivided file within 0.1 %.
    """
    block = 8 << 20
    blocks = [content[start : start + block] for start in range(0, len(content), block)]

    def compress() -> int:
        with ThreadPoolExecutor(usable_cores()) as pool:
            return sum(pool.map(lambda part: len(zlib.compress(part, 9)), blocks))

    waiting = ThreadPoolExecutor(1)
    size = waiting.submit(compress)
    waiting.shutdown(wait=False)  # the thread ends with its work
    return size


def _made_by(maker: str, *, from_ours: bool) -> str:
    """Return the tools with their versions; of a supplied file it is not known what made that."""
    before = [*_TENSORFLOW, *(name for one in MAKERS[maker].line for name in one.distributions)] if from_ours else []
    names = dict.fromkeys((*before, *MAKERS[maker].distributions))
    return ", ".join(f"{name} {version}" for name, version in package_versions(list(names)).items())
