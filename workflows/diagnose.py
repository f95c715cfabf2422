"""``diagnose``, also for a run's file that lost accuracy: find the float file, compare the two."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..core.artifact import Artifact, file_name
from ..core.codec import from_json, read_json, sha256_file, to_json, write_json
from ..core.dataset import PreparedData
from ..core.diagnosis import Diagnosis
from ..core.errors import InputError, explain_os_errors
from ..core.maker import CONVERTER
from ..core.progress import Listener
from ..core.recipe_data import Data
from ..core.run_log import RunLog
from ..core.store import Store, lock, open_store
from ..core.variant import Variant
from ..quantize import diagnosis as tensors
from .anchors import Anchors, AnchorsLike, anchors_of
from .arguments import FileLike, at_least_one, file_path, path_of
from .detectors import as_detector, certain_readings, with_anchors, with_reading
from .listening import listener_of
from .model_files import input_spec_of, open_artifact
from .preflight import check_writable
from .prepare_data import prepared
from .run_folder import SourceRun, check_parts, source_run_of
from .samples import DataLike, Samples, data_source
from .steps import make_file
from .tensorflow_process import TensorFlowProcess
from .value_range import with_value_range

SEED = 1
SAMPLES = 64
FLOAT = Variant("tflite", "float32")
WORST = 12
_IN_ORDER = (
    "name", "operator", "position", "kind", "dtype", "snr_db", "own_snr_db", "answer_snr_db", "share", "cosine",
    "saturated", "range_use", "cause",
)  # fmt: skip


@explain_os_errors
def diagnose(
    file: FileLike,
    *,
    reference: FileLike | None = None,
    data: DataLike | None = None,
    samples: int = SAMPLES,
    out: str | os.PathLike[str] | None = None,
    boxes: str = "",
    anchors: AnchorsLike | None = None,
    progress: Listener | None = None,
) -> Diagnosis:
    """Compare every tensor of a quantized file with the float model's on the same samples, and find the causes.

    Args:
        file: a quantized ``.tflite``, or its artifact.
        reference: the float32 ``.tflite`` of the same model. Default: the one beside the file, or the run's.
        data: samples: a source such as ``folder:images``, a `Data`, or arrays in memory, ``(x,)`` with x of shape
            (samples, …) as the model takes them (pictures uint8, 0 to 255). Default: the run's test split.
        samples: how many of them are compared.
        out: the folder that ``diagnosis/`` is written into: the figures as JSON, and files for Model Explorer.
            Default: the run that the file lies in, or the folder that it lies in.
        boxes: how the outputs of a detector are read, as in `evaluate`: all of them are then compared. Default: what
            they tell.
        anchors: of encoded boxes, as in `evaluate`.
        progress: hears how far the work is. Default: nothing is shown, but for a bar in a notebook.

    Returns:
        The findings with their remedies (`suspicions`), and the `tensors`, worst first.

    Raises:
        InputError: the file is no ``.tflite``, or its float file or samples are not known.
        StageError: the two cannot be compared, or the disk refuses.
    """
    path = file_path(file)
    if not path.exists():
        raise InputError(f"{path} does not exist", "give a quantized .tflite file")
    float_file = file_path(reference, "the reference") if reference is not None else None
    source = data_source(data) if data is not None else None
    known = anchors_of(anchors)
    with_anchors(boxes, known)
    folder = home(path, path_of(out, "out") if out is not None else None)
    check_parts(folder)
    check_writable(folder / "diagnosis")
    with RunLog(folder / "diagnosis" / "log.jsonl", listener_of(progress)) as log:
        log.begin("diagnose", path.name)
        return diagnose_file(
            path, float_file, source, at_least_one(samples, "samples"), folder, log, boxes=boxes, anchors=known
        )


def compare_files(
    artifact: Artifact,
    reference: Path,
    data: PreparedData,
    *,
    samples: int,
    seed: int,
    store: Store,
    listener: Listener,
    split: str = "test",
) -> Diagnosis:
    """Compare a file with its float32 ``.tflite``, tensor by tensor, or take the result from the store.

    Raises EdgeproofError when the two cannot be compared.
    """
    spec = {
        "version": tensors.VERSION,
        "artifact": [artifact.id, artifact.sha256, artifact.scheme, artifact.answer],
        "contract": to_json(artifact.contract) if artifact.contract else None,
        "tokenizer": artifact.tokenizer_sha256,
        "reference": sha256_file(reference) if reference.is_file() else None,
        "data": [data.sha256, split, samples, seed],
    }
    if artifact.boxes is None:
        artifact = with_reading(artifact, certain_readings([artifact]))
    if artifact.boxes is not None:
        spec["boxes"] = to_json(artifact.boxes)
    key = store.key("diagnosis", spec, tensors.PACKAGES)
    if store.get(key) is None:
        with store.write(key) as workspace:
            diagnosis = tensors.diagnose(
                artifact, reference, data,
                samples=samples, workspace=workspace, listener=listener, split=split, seed=seed,
            )  # fmt: skip
            write_json(workspace / "diagnosis.json", to_json(diagnosis))
    path = store.root / key / "diagnosis.json"
    return from_json(Diagnosis, read_json(path), str(path))


def diagnose_artifact(
    artifact: Artifact,
    reference: Path,
    data: PreparedData,
    *,
    samples: int = SAMPLES,
    seed: int,
    store: Store,
    out: Path,
    listener: Listener,
) -> dict[str, Any]:
    """Diagnose a run's file on its test split, write the result into ``out/diagnosis/``, return results.json's row.

    It is the test split because the loss was measured there; nothing is chosen by it. `artifact` and `reference` (the
    float32 ``.tflite`` of its model) have absolute paths. Raises EdgeproofError on failure.
    """
    diagnosis = compare_files(artifact, reference, data, samples=samples, seed=seed, store=store, listener=listener)
    return write(diagnosis, out)


def write(diagnosis: Diagnosis, out: Path) -> dict[str, Any]:
    """Write a diagnosis and its columns for Model Explorer into ``out/diagnosis/``; return results.json's row."""
    folder = out / "diagnosis"
    path, explorer = folder / f"{diagnosis.artifact}.json", folder / f"{diagnosis.artifact}.model-explorer.json"
    write_json(path, to_json(diagnosis))
    write_json(explorer, tensors.node_data(diagnosis, "own_snr_db"))
    for figure in ("snr_db", "answer_snr_db"):
        name = f"{diagnosis.artifact}.model-explorer-{figure.removesuffix('_db')}.json"
        write_json(folder / name, tensors.node_data(diagnosis, figure))
    in_order = [to_json(tensor) for tensor in tensors.in_graph_order(diagnosis.tensors)]
    return {
        "artifact": diagnosis.artifact,
        "path": path.relative_to(out).as_posix(),
        "model_explorer": explorer.relative_to(out).as_posix(),
        "reference": diagnosis.reference,
        "source": diagnosis.source,
        "samples": diagnosis.samples,
        "agreement": diagnosis.agreement,
        "agreement_by": diagnosis.facts.get("agreement_by", ""),
        "answer_snr_db": diagnosis.facts.get("answer_snr_db"),
        "operators": diagnosis.facts.get("operators"),
        "unmatched": len(diagnosis.facts.get("unmatched", ())),
        "engine": diagnosis.engine,
        "suspicions": [to_json(finding) for finding in diagnosis.suspicions],
        "worst": [to_json(tensor) for tensor in diagnosis.tensors[:WORST]],
        "tensors": [{key: tensor[key] for key in _IN_ORDER} for tensor in in_order],
    }


def diagnose_file(
    path: Path,
    reference: Path | None,
    source: Data | Samples | None,
    samples: int,
    folder: Path,
    listener: Listener,
    *,
    boxes: str = "",
    anchors: Anchors | None = None,
) -> Diagnosis:
    """Diagnose one file, and write the diagnosis into `folder`.

    In a run's folder its float file and its samples are found; elsewhere `source` must be given, and `reference` where
    there is no float file next to it. Raises InputError when something is missing.
    """
    artifact = with_value_range(open_artifact(path, listener), None, listener)
    if artifact.format != "tflite" or artifact.path is None:
        raise InputError(
            f"{path} is of the format {artifact.format}; only .tflite files are compared tensor by tensor",
            f"diagnose the tflite:{artifact.scheme} file of the same model: its layers have the same errors",
        )
    artifact = as_detector(artifact, source, listener, boxes=boxes, anchors=anchors)
    if reference is not None and not reference.is_file():
        raise InputError(f"{reference} does not exist", "give the float32 .tflite of the same model with --float")
    origin = source_run_of(path, artifact.model)
    if source is None and origin is None:
        raise InputError(
            f"{path} does not lie in a run's folder (in artifacts/, beside recipe.toml and models/{artifact.model}/), "
            "so its samples are not known",
            "name samples like those of its training: --data SOURCE, e.g. folder:images or csv:texts.csv",
        )
    with lock(folder):
        check_parts(folder)
        store = open_store(folder, listener)
        float_file = reference or beside(artifact) or _make_float_file(origin, store, listener)
        if float_file is None:
            raise InputError(
                f"the float32 file of {artifact.model} is not known",
                "give it with --float FILE: the float32 .tflite of the same model",
            )
        if source is not None:
            data = prepared(
                source,
                input_spec_of(artifact, None),
                seed=SEED,
                folder=Path(),
                store=store,
                listener=listener,
                use="test",
            )
        elif origin is not None:
            data = origin.data()
        seed = origin.recipe.seed if origin else SEED
        diagnosis = compare_files(
            artifact, float_file, data, samples=samples, seed=seed, store=store, listener=listener
        )
        write(diagnosis, folder)
    return diagnosis


def home(path: Path, out: Path | None) -> Path:
    """Return the folder for a diagnosis: `out`, else the run that holds the file, else the file's folder."""
    here = path.resolve().parent
    in_run = here.name == "artifacts" and (here.parent / "recipe.toml").is_file()
    return out or (here.parent if in_run else here)


def beside(artifact: Artifact) -> Path | None:
    """Return the float32 file next to an artifact's file, if it is of the same model."""
    if artifact.path is None:
        return None
    path = artifact.path.with_name(file_name(artifact.model, FLOAT))
    if not path.is_file():
        return None
    other = open_artifact(path)
    return path if other.parent_sha256 == artifact.parent_sha256 else None


def _make_float_file(origin: SourceRun | None, store: Store, listener: Listener) -> Path | None:
    """Make the float32 file of a run's model if the run did not; None without a run."""
    if origin is None:
        return None
    with TensorFlowProcess(store.root / "tensorflow.log", listener) as tf:
        float_file = make_file(origin.model, FLOAT, origin.recipe.export, None, maker=CONVERTER, store=store, tf=tf)
    if float_file.path is None:
        raise InputError(
            f"the float32 file of {origin.model.name} cannot be made: {float_file.reason}", float_file.remedy
        )
    return float_file.path
