"""Further training as a whole: from a float model and its data to a new model in a folder of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.codec import read_json, sha256_file, sha256_of, to_json, write_json
from ...core.dataset import PreparedData
from ...core.errors import InputError, StageError, explain_disk_errors
from ...core.files import discard, move
from ...core.maker import MAKERS, TFMOT
from ...core.model import Model, load_model, save_model
from ...core.progress import Listener
from ...core.recipe_quantize import Cluster, Prune, Qat, Quantize
from ...core.store import package_versions
from ...core.variant import TRAININGS
from ...frameworks.tensorflow import check_tfmot_installed, fresh, load
from .clustering import train_clustered
from .frozen_head import digest, freeze, signature_answers
from .head import train_head
from .hub_networks import UnavailableNetworkError
from .network_loading import open_network
from .pruning import train_pruned
from .qat import train_qat
from .tflite_eval import model_values
from .training import State
from .training_data import TrainingData, check_data, prepare_training_data

PACKAGES = ("edgeproof", "tensorflow", "tf-keras", *MAKERS[TFMOT].distributions, "ai-edge-litert", "numpy")
SCRATCH = "scratch"
NOTE = "work.json"
SAMPLES_COMPARED = 8  # samples on which a network is compared with the frozen model
TOLERANCE = 1e-4  # of a probability, between the network and the model frozen from it
ALTERNATIVE = "use tflite:int8, which is calibrated instead, or use package:mobilenet_v2 or a keras: backbone"


@dataclass(frozen=True)
class _Result:
    """The trained network: `function` is frozen, `weights` identify it, `facts` are written to the model's `tuning`."""

    function: Any
    weights: list[Any]
    state: State
    facts: dict[str, Any]


def train_further(
    model: Model,
    kind: str,
    settings: Quantize,
    *,
    data: PreparedData,
    calibration: Path | None,
    seed: int,
    workspace: Path,
    listener: Listener,
) -> Model:
    """Train `model` further and return the new model; `workspace` then has its ``saved_model/`` and ``model.json``.

    `kind` is ``qat``, ``pruned`` or ``clustered``; `settings` has its table. `calibration` is a ``.npy`` of stored
    samples that the ranges are calibrated with; without it, training samples are drawn. The same seed, data and
    versions on the same machine give the same result. An interrupted training with the same `workspace` resumes after
    the last complete epoch.

    The result has `model`'s name, labels and contract, and `Model.tuning`: ``kind``; ``of``, the float model's sha256;
    ``history``, rows by epoch, epoch 0 being the start; ``best_epoch``; ``layers``; ``head_only`` and ``why``: whether
    only the head was trained (the model is then exported with calibration), and why. The graph of a quantization-aware
    model has the fake quantization that the converter reads; the others are plain float models.

    Raises InputError if a package is missing or the data are not the model's, StageError if the model cannot be trained
    in this way, the float model does not run, training diverges or the disk is full. Starts TensorFlow.
    """
    if kind not in TRAININGS:
        raise InputError(f"unknown further training {kind!r}", f"known: {', '.join(TRAININGS)}")
    check_tfmot_installed()
    _check_kind(model, kind)
    check_data(model, data)
    table = settings.of(kind)
    key = {
        "key": sha256_of(
            [model.sha256, kind, table.model_dump(mode="json"), data.sha256,
             sha256_file(calibration) if calibration else "", seed, package_versions(PACKAGES)]
        )
    }  # fmt: skip
    if (finished := _open(workspace, key, listener)) is not None:
        return finished
    started = time.monotonic()
    fresh(seed)
    epochs = table.epochs + (table.frozen_epochs if isinstance(table, Qat) else 0)
    listener.progress(f"tune {kind}", 0, 3, "the float model answers")
    training_data = prepare_training_data(
        model, data, epochs=epochs, samples=table.samples, seed=seed, calibration=calibration,
        scratch=workspace / SCRATCH,
    )  # fmt: skip
    listener.progress(f"tune {kind}", 1, 3, "training")
    trained = _train(model, table, training_data, workspace / SCRATCH, listener)
    listener.progress(f"tune {kind}", 2, 3, "freezing")
    trained_model = _finish(model, kind, trained, training_data, workspace, started)
    with explain_disk_errors(workspace):
        write_json(workspace / NOTE, key)
        discard(workspace / SCRATCH, root=workspace)
    listener.progress(f"tune {kind}", 3, 3, model.name)
    return trained_model


def _check_kind(model: Model, kind: str) -> None:
    if model.tuning:
        raise InputError(
            f"model {model.name!r} was already trained further ({model.tuning.get('kind')})", "give the float model"
        )
    if model.input.kind == "text":
        raise StageError(
            f"{TRAININGS[kind].words} is for networks of convolutions and dense layers; model {model.name!r} takes "
            "texts, and nearly all of its weights are token embeddings: TFMOT cannot quantize these, and pruning or "
            "clustering them would merge words",
            "use tflite:dynamic or tflite:weight-int8, which make text models small with little or no loss",
        )


def _open(workspace: Path, key: dict[str, str], listener: Listener) -> Model | None:
    """Prepare the workspace; return the model if it is finished. Files of other settings are removed."""
    scratch = workspace / SCRATCH
    with explain_disk_errors(workspace):
        done = (workspace / "model.json").is_file() and (workspace / NOTE).is_file()
        if done and read_json(workspace / NOTE) == key:
            return load_model(workspace)
        (workspace / "model.json").unlink(missing_ok=True)
        note = scratch / NOTE
        if note.is_file() and read_json(note) == key:
            listener.note("info", "resuming an interrupted further training")
        else:
            discard(scratch, root=workspace)
            write_json(note, key)
    return None


def _train(
    model: Model, table: Qat | Prune | Cluster, training_data: TrainingData, scratch: Path, listener: Listener
) -> _Result:
    try:
        flat = open_network(model, model_values(training_data.train.stored[:SAMPLES_COMPARED], model.input))
        if isinstance(table, Qat):
            network, state, layers = train_qat(flat, model, table, training_data, scratch=scratch, listener=listener)
            facts: dict[str, Any] = {"layers": {"quantized": layers[0], "total": layers[1]}}
        elif isinstance(table, Prune):
            network, state, facts = train_pruned(flat, table, training_data, scratch=scratch, listener=listener)
        else:
            network, state, facts = train_clustered(flat, table, training_data, scratch=scratch, listener=listener)
    except UnavailableNetworkError as error:
        why = str(error)
        if not isinstance(table, Qat):
            raise StageError(f"model {model.name!r} cannot be pruned or clustered: {why}", ALTERNATIVE) from error
        listener.note("warning", f"model {model.name!r}: quantization-aware training of the head only: {why}")
        function, state, weights = train_head(model, table, training_data, scratch=scratch, listener=listener)
        return _Result(function, weights, state, {"head_only": True, "why": why, "layers": {"quantized": 1}})

    def answer(values: Any) -> Any:
        return network(values, training=False)

    return _Result(answer, network.get_weights(), state, {"head_only": False, "why": "", **facts})


def _finish(
    model: Model, kind: str, trained: _Result, training_data: TrainingData, workspace: Path, started: float
) -> Model:
    saved = freeze(trained.function, model, workspace / SCRATCH / "saved_model")
    samples = model_values(training_data.train.stored[:SAMPLES_COMPARED], model.input)
    tf, _ = load()
    function = tf.function(trained.function, autograph=False)
    expected = np.concatenate([function(tf.constant(one[None])).numpy() for one in samples])
    answers = signature_answers(saved, model.input.name, model.answer, samples)
    if kind != "qat" and not np.abs(expected - answers).max(initial=0.0) <= TOLERANCE:
        raise StageError("the frozen model does not agree with the network", "this is a defect; please report it")
    final = workspace / "saved_model"
    with explain_disk_errors(final):
        move(saved, final, root=workspace)
    state = trained.state
    tuning = {
        "kind": kind,
        "of": model.sha256,
        "history": state.history,
        "best_epoch": state.best_epoch,
        "samples": len(training_data.train.labels),
        "seconds": round(time.monotonic() - started, 1),
        **trained.facts,
    }
    sha256 = sha256_of([model.sha256, list(model.labels), to_json(model.input), kind, digest(trained.weights)])
    trained_model = replace(
        model, saved_model=final, sha256=sha256, network=None, text_model=None, tokenizer=None, tuning=tuning
    )
    save_model(trained_model, workspace)
    return load_model(workspace)  # as later stages load it
