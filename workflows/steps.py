"""Build steps of one model: calibration samples, further training, one file by one tool; each cached in the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import quantize
from ..core.artifact import Artifact, artifact_id, file_name
from ..core.codec import to_json
from ..core.dataset import PreparedData
from ..core.maker import MAKERS
from ..core.model import Model, TokenizerRecord, load_model
from ..core.progress import Listener
from ..core.recipe import Export
from ..core.recipe_quantize import Quantize
from ..core.remedies import Remedy, origin_of
from ..core.store import Store, copy_out
from ..core.variant import Variant
from ..export import load as load_artifact
from ..export import packages_of, place_tokenizer
from ..export import save as save_artifact
from ..export import sidecar as sidecar_path
from ..quantize import aware_training
from ..quantize.calibration import Calibration
from ..tflite.writer import REVISION
from .tensorflow_process import CrashError, TensorFlowProcess

FAR_FROM_FLOAT = Remedy(
    ("tflite:int16x8", "tflite:dynamic", "tflite:qat-int8"),
    also=("find the layers that lose it with `edgeproof diagnose`, and calibrate with samples like the app's",),
)


def to_json_model(table: Any) -> dict[str, Any]:
    """Return a recipe's table as JSON, for keys and for the other process."""
    return dict(table.model_dump(mode="json"))


def calibrate(
    data: PreparedData, samples: int, seed: int, store: Store, tokenizer: TokenizerRecord | None
) -> Calibration:
    """Draw the calibration samples of a prepared data set, or take them from the store; texts become token ids."""
    spec = {"data": data.sha256, "samples": samples, "seed": seed, "tokenizer": tokenizer.sha256 if tokenizer else None}
    key = store.key("calibration", spec)
    if store.get(key) is None:
        with store.write(key) as folder:
            quantize.draw(data, samples, seed, folder, tokenizer.folder if tokenizer else None)
    return quantize.load(store.root / key)


def train_further(
    model: Model,
    kind: str,
    settings: Quantize,
    *,
    data: PreparedData,
    calibration: Calibration | None,
    seed: int,
    store: Store,
    tf: TensorFlowProcess,
) -> Model:
    """Train `model` further (``qat``, ``pruned``, ``clustered``), or take the result from the store.

    Raises EdgeproofError when it is impossible for this model.
    """
    spec = {
        "model": model.sha256,
        "name": model.name,
        "kind": kind,
        "settings": to_json_model(settings.of(kind)),
        "data": data.sha256,
        "calibration": calibration.sha256 if calibration else None,
        "seed": seed,
    }
    key = store.key("trained_further", spec, aware_training.PACKAGES)
    if store.get(key) is None:
        with store.write(key) as workspace:
            tf.call(
                "train_further",
                model=str(model.saved_model.parent),
                kind=kind,
                settings=to_json_model(settings),
                data=str(data.folder),
                calibration=str(calibration.images) if calibration else None,
                seed=seed,
                workspace=str(workspace),
            )
    return load_model(store.root / key)


def make_file(
    model: Model,
    variant: Variant,
    options: Export,
    calibration: Calibration | None,
    *,
    maker: str,
    store: Store,
    tf: TensorFlowProcess,
) -> Artifact:
    """Make one file with one tool, or take it from the store, where its path is. A failure is a row with its reason."""
    record = {**to_json(calibration), "images": None} if calibration else None
    spec = {
        "model": model.sha256,
        "name": model.name,
        "variant": str(variant),
        "maker": maker,
        "labels": model.labels,
        "input": to_json(model.input),
        "answer": model.answer,
        "tuning": model.tuning,
        "calibration": calibration.sha256 if calibration else None,
        "tokenizer": model.tokenizer.sha256 if model.tokenizer else None,
        "dense_per_channel": options.dense_per_channel if variant.scheme.arithmetic.kernels == "dynamic" else None,
        "opset": options.onnx_opset if variant.format == "onnx" else None,
        **({"writer": REVISION} if variant.format == "tflite" else {}),
    }
    key = store.key("artifact", spec, packages_of(variant.format))
    if store.get(key, shipped=True) is None:
        try:
            tf.call(
                "export",
                timeout=options.timeout_seconds,
                model=str(model.saved_model.parent),
                variant=str(variant),
                options=to_json_model(options),
                workspace=str(store.partial(key)),
                calibration=str(calibration.images) if calibration else None,
                calibration_record=record,
                maker=maker,
            )
        except CrashError as error:
            # Possibly transient (memory, time): a row for now; the next run tries again.
            return blank(model, variant).failed(error.status, error.message, error.remedy)
        store.finish(key)
    artifact = load_artifact(sidecar_path(store.root / key / file_name(model.name, variant)))
    return replace(artifact, tokenizer=model.tokenizer.folder if model.tokenizer else None, task=model.task)


def blank(model: Model, variant: Variant) -> Artifact:
    """Return the row of a file that does not exist."""
    return Artifact(
        artifact_id(model.name, variant), model.name, variant.format, variant.scheme_name, None,
        labels=model.labels, contract=model.input, parent_sha256=model.tuning.get("of", model.sha256),
        origin=origin_of(model), task=model.task,
    )  # fmt: skip


def put(artifact: Artifact, model: Model, out: Path) -> Artifact:
    """Put an artifact's file, its sidecar and its tokenizer into `out`; return the artifact there."""
    if artifact.path is not None:
        destination = out / file_name(artifact.model, artifact.variant)
        copy_out(artifact.path, destination, root=out)
        artifact = replace(artifact, path=destination)
    tokenizer = place_tokenizer(model, out) if model.tokenizer is not None else None
    return save_artifact(replace(artifact, tokenizer=tokenizer, task=model.task), out)


def warn(artifact: Artifact, listener: Listener) -> None:
    """Warn of a file whose outputs are far from the float model's on calibration samples."""
    if artifact.status == "ok" and (warning := artifact.calibration.get("float_agreement", {}).get("warning")):
        listener.note("warning", f"{artifact.id}: {warning}", remedy=FAR_FROM_FLOAT.words(artifact.origin))


def makers(variant: Variant, options: Export) -> tuple[str, ...]:
    """Return the tools for a variant: the chosen one, or all installed ones, to select the best."""
    able = variant.scheme.makers
    if options.maker in able:
        return (options.maker,)
    return tuple(maker for maker in able if MAKERS[maker].installed) or able
