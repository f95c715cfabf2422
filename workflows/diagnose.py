"""What ``edgeproof diagnose`` does, and a run with a file that lost accuracy: find the float file, compare the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.artifact import Artifact, file_name
from ..core.codec import from_json, read_json, sha256_file, to_json, write_json
from ..core.dataset import PreparedData
from ..core.diagnosis import Diagnosis
from ..core.errors import InputError
from ..core.progress import Listener
from ..core.recipe import Data
from ..core.store import Store, lock, open_store
from ..core.variant import CONVERTER, Variant
from ..quantize import diagnosis
from .model_files import open_artifact, wanted_by
from .prepare_data import prepared
from .run_folder import Origin, check_parts, origin_of
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


def diagnosed(
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
        "version": diagnosis.VERSION,
        "artifact": [artifact.id, artifact.sha256, artifact.scheme, artifact.answer],
        "contract": to_json(artifact.contract) if artifact.contract else None,
        "tokenizer": artifact.tokenizer_sha256,
        "reference": sha256_file(reference) if reference.is_file() else None,
        "data": [data.sha256, split, samples, seed],
    }
    key = store.key("diagnosis", spec, diagnosis.PACKAGES)
    if store.get(key) is None:
        with store.write(key) as workspace:
            found = diagnosis.diagnose(
                artifact, reference, data,
                samples=samples, workspace=workspace, listener=listener, split=split, seed=seed,
            )  # fmt: skip
            write_json(workspace / "diagnosis.json", to_json(found))
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

    The test split, because it is the loss there that is to be explained; nothing is chosen by it. `artifact` and
    `reference` (the float32 ``.tflite`` of its model) have absolute paths. Raises EdgeproofError when that fails.
    """
    found = diagnosed(artifact, reference, data, samples=samples, seed=seed, store=store, listener=listener)
    return write(found, out)


def write(found: Diagnosis, out: Path) -> dict[str, Any]:
    """Write a diagnosis and its columns for Model Explorer into ``out/diagnosis/``; return results.json's row."""
    folder = out / "diagnosis"
    path, explorer = folder / f"{found.artifact}.json", folder / f"{found.artifact}.model-explorer.json"
    write_json(path, to_json(found))
    write_json(explorer, diagnosis.node_data(found, "own_snr_db"))
    for figure in ("snr_db", "answer_snr_db"):
        name = f"{found.artifact}.model-explorer-{figure.removesuffix('_db')}.json"
        write_json(folder / name, diagnosis.node_data(found, figure))
    in_order = [to_json(tensor) for tensor in diagnosis.in_graph_order(found.tensors)]
    return {
        "artifact": found.artifact,
        "path": path.relative_to(out).as_posix(),
        "model_explorer": explorer.relative_to(out).as_posix(),
        "reference": found.reference,
        "source": found.source,
        "samples": found.samples,
        "agreement": found.agreement,
        "agreement_by": found.facts.get("agreement_by", ""),
        "answer_snr_db": found.facts.get("answer_snr_db"),
        "operators": found.facts.get("operators"),
        "unmatched": len(found.facts.get("unmatched", ())),
        "engine": found.engine,
        "suspicions": [to_json(suspicion) for suspicion in found.suspicions],
        "worst": [to_json(tensor) for tensor in found.tensors[:WORST]],
        "tensors": [{key: tensor[key] for key in _IN_ORDER} for tensor in in_order],
    }


def diagnose_file(
    path: Path,
    reference: Path | None,
    source: Data | None,
    samples: int,
    out: Path | None,
    listener: Listener,
) -> tuple[Diagnosis, Path]:
    """Diagnose one file on the command line; return the diagnosis and the folder it was written into.

    In a run's folder its float file and its samples are found; elsewhere `source` must be given, and `reference` where
    no float file stands beside. Raises InputError when something is missing.
    """
    artifact = with_value_range(open_artifact(path, listener), None, listener)
    if artifact.format != "tflite" or artifact.path is None:
        raise InputError(
            f"{path} is of the format {artifact.format}; only .tflite files are compared tensor by tensor",
            f"diagnose the tflite:{artifact.scheme} file of the same model: its layers lose the same way",
        )
    if reference is not None and not reference.is_file():
        raise InputError(f"{reference} does not exist", "give the float32 .tflite of the same model with --float")
    origin = origin_of(path, artifact.model)
    if source is None and origin is None:
        raise InputError(
            f"{path} does not lie in a run's folder (in artifacts/, beside recipe.toml and models/{artifact.model}/), "
            "so its samples are not known",
            "name samples like those of its training: --data SOURCE, e.g. folder:images or csv:texts.csv",
        )
    folder = home(path, out)
    with lock(folder):
        check_parts(folder)
        store = open_store(folder, listener)
        float_file = reference or beside(artifact) or _made(origin, store, listener)
        if float_file is None:
            raise InputError(
                f"the float32 file of {artifact.model} is not known",
                "give it with --float FILE: the float32 .tflite of the same model",
            )
        if source is not None:
            data = prepared(
                source, wanted_by(artifact, None), seed=SEED, folder=Path(), store=store, listener=listener, use="test"
            )
        elif origin is not None:
            data = origin.data()
        seed = origin.recipe.seed if origin else SEED
        found = diagnosed(artifact, float_file, data, samples=samples, seed=seed, store=store, listener=listener)
        write(found, folder)
    return found, folder


def home(path: Path, out: Path | None) -> Path:
    """Return the folder that a diagnosis goes to: `out`, else the run that the file lies in, else where it lies."""
    here = path.resolve().parent
    in_run = here.name == "artifacts" and (here.parent / "recipe.toml").is_file()
    return out or (here.parent if in_run else here)


def beside(artifact: Artifact) -> Path | None:
    """Return the float32 file that stands beside an artifact's file, if it is of the same model."""
    if artifact.path is None:
        return None
    path = artifact.path.with_name(file_name(artifact.model, FLOAT))
    if not path.is_file():
        return None
    other = open_artifact(path)
    return path if other.parent_sha256 == artifact.parent_sha256 else None


def _made(origin: Origin | None, store: Store, listener: Listener) -> Path | None:
    """Make the float32 file of a run's model, where the run did not."""
    if origin is None:
        return None
    with TensorFlowProcess(store.root / "tensorflow.log", listener) as tf:
        made = make_file(origin.model, FLOAT, origin.recipe.export, None, maker=CONVERTER, store=store, tf=tf)
    if made.path is None:
        raise InputError(f"the float32 file of {origin.model.name} cannot be made: {made.reason}", made.remedy)
    return made.path
