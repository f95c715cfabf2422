"""Training of a head on a finished module of waveforms from end to end: features once, one phase, one frozen model.

The guarantees are those of training on images (`train.fit`): unfinished work is in the workspace and survives a kill;
random numbers follow from the seed and the epoch.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.codec import sha256_of
from ...core.dataset import PreparedData
from ...core.errors import InputError
from ...core.model import InputContract, Model
from ...core.progress import Listener
from ...core.recipe import ModelSpec, Train
from ...core.store import package_versions
from ...frameworks.tensorflow import fresh, load
from ..answers import answer_of
from ..backbones import number_source
from ..callbacks import check_callbacks
from ..feature_file import grow
from ..finish_arrays import finish_arrays, spread
from ..head import Labelled, compile_head, head_phase, new_head
from ..keras_fit import State
from ..sensor.settings import check_number_training
from ..workspace import Work
from .base import SoundBase, SoundRequest

PACKAGES = ("edgeproof", "tensorflow", "tf-keras", "numpy")
INPUT = "waveform"
NOT_KEPT = "modules of waveforms are kept frozen alone"


def fit_sounds(
    spec: ModelSpec,
    train: Train,
    *,
    seed: int,
    data: PreparedData,
    folder: Path,
    workspace: Path,
    listener: Listener,
    shared: Path | None = None,
) -> Model:
    """Train a head on the module of `spec` for the waveforms of `data` as `train` says and return the frozen model.

    `folder`, `workspace`, `shared` and the guarantees are as for `train.fit.fit`; the module itself stays as it is.
    Raises InputError when it does not take such waveforms or the settings do not fit the task, StageError when it
    cannot be fetched, training diverges or the disk is full. Starts TensorFlow.
    """
    source = number_source(spec)
    source.check(spec, folder)
    check_number_training(train)
    check_callbacks(train, folder)
    answer = answer_of(data, train)
    x = {split: np.asarray(data.rows(split)) for split in ("train", "validation")}
    rate = data.report.get("sample_rate")
    if x["train"].ndim != 2 or not rate:
        raise InputError(
            f"model {spec.name!r}: {spec.backbone} takes waveforms, and a sample is "
            f"{' × '.join(map(str, x['train'].shape[1:]))} numbers",
            "give recordings, wav:FOLDER; or say with data.sample_rate that the arrays are waveforms (N, samples)",
        )
    identity = source.identity(spec, folder)
    work = Work(spec, train, seed, data, folder, workspace, listener, PACKAGES + source.packages, shared)
    if (finished := work.open(identity)) is not None:
        return finished
    fresh(seed)
    work.tell_float32("the head is trained")
    request = SoundRequest(folder, spread(x["train"]), int(rate), listener)
    base: SoundBase = work.timed("build", lambda: source.build(spec, request))
    decides = [identity, data.sha256, package_versions(work.packages)]
    place = shared / sha256_of(decides)[:32] if shared else work.scratch
    features = work.timed("features", lambda: {split: _features(base, x[split], place / split, work) for split in x})
    labels = {split: answer.targets(work.labels(split)) for split in x}

    def learn() -> tuple[Any, State]:
        head = new_head(base.features, answer, train, seed)
        compile_head(head, train, labels["train"], validated=len(labels["validation"]) > 0, answer=answer)
        both = [Labelled([features[split]], labels[split]) for split in ("train", "validation")]
        phase = head_phase(head, both[0], both[1], train, work.weights(), seed)
        return head, work.run(phase, State(), "head.npz")

    head, state = work.timed("head", learn)
    contract = InputContract(INPUT, (1, base.samples), kind="tensor", colour="", resize="", high=0.0)

    facts = {
        "parameters": int(head.count_params()),
        "learned": "head",
        "module": base.facts,
        "not_kept": NOT_KEPT,
    }
    return finish_arrays(
        work, state, identity, head, lambda: _Complete(base, head, answer.units),
        answer=answer, contract=contract, samples=spread(x["train"]), facts=facts,
    )  # fmt: skip


@dataclass(frozen=True)
class _Complete:
    """A module with its head, as `freeze` and `verify` call a Keras model: waveforms (n, samples) → (n, units)."""

    base: SoundBase
    head: Any
    units: int

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return (None, self.base.samples)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        return (None, self.units)

    def __call__(self, waves: Any, training: bool = False) -> Any:
        tf, _ = load()
        rows = [self.head(self.base.apply(waves[at : at + 1]), training=False) for at in range(waves.shape[0])]
        return tf.concat(rows, axis=0)


def _features(base: SoundBase, x: NDArray[Any], path: Path, work: Work) -> NDArray[Any]:
    """Return the features (N, width) float32 of all waveforms, which are kept at `path`; a killed run continues."""
    tf, _ = load()
    infer = tf.function(base.apply, input_signature=[tf.TensorSpec([1, base.samples], tf.float32)], autograph=False)
    done = 0

    def compute(spans: Sequence[tuple[int, int]]) -> Generator[NDArray[Any], None, None]:
        for start, stop in spans:
            yield np.concatenate([infer(tf.constant(x[at : at + 1])).numpy() for at in range(start, stop)])

    def progress(count: int) -> None:
        nonlocal done
        done += count
        work.listener.progress(f"features of {path.name}", done, len(x))

    return grow(path.with_suffix(".npy"), len(x), base.features, compute, progress)
