"""The workspace folder of one training, on images or texts: resumed after a kill, cleaned up at the end.

``scratch/`` holds unfinished work, with a note of the training it belongs to. Finished results are beside it under
their own names, and appear there atomically.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.codec import read_json, sha256_of, write_json
from ..core.dataset import PreparedData
from ..core.errors import InputError, explain_disk_errors
from ..core.files import discard, move
from ..core.model import Model, load_model, save_model
from ..core.progress import Listener
from ..core.recipe import ModelSpec, Train
from ..core.store import package_versions
from ..tasks.classification import Classification
from ..tasks.regression import Regression
from . import callbacks
from .head import class_weights
from .keras_fit import Logs, Phase, State, run

SCRATCH = "scratch"  # features and checkpoints; removed at the end
NOTE = "work.json"  # identifies the training that a folder belongs to
TENSORBOARD = "tensorboard"
CSV = "training-{}.csv"  # by phase


@dataclass
class Work:
    """The state of one training, shared by its steps.

    `folder` is the recipe's folder, `workspace` the training's, `shared` stores features for other seeds. `packages`
    are those whose versions affect the result. `seconds` has the duration of each step.
    """

    spec: ModelSpec
    train: Train
    seed: int
    data: PreparedData
    folder: Path
    workspace: Path
    listener: Listener
    packages: Sequence[str]
    shared: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def scratch(self) -> Path:
        """The folder of unfinished work."""
        return self.workspace / SCRATCH

    def open(self, identity: Any) -> Model | None:
        """Prepare the workspace for this training on the backbone of that identity; return the model if it is finished.

        Unfinished work of other trainings is removed. Raises InputError for data without two classes or without
        training samples, and StageError when the disk refuses.
        """
        self._check_classes()
        ours = {"model": self.spec.model_dump(), "train": self.train.model_dump(), "seed": self.seed,
                "data": self.data.sha256, "code": callbacks.identity(self.train, self.folder)}  # fmt: skip
        key = {"key": sha256_of([ours, self.data.labels, identity, package_versions(self.packages)])}
        with explain_disk_errors(self.workspace):
            if (self.workspace / "model.json").is_file() and (self.workspace / NOTE).is_file():
                if read_json(self.workspace / NOTE) == key:
                    self._tidy()
                    return load_model(self.workspace)
                (self.workspace / "model.json").unlink()
            note = self.scratch / NOTE
            if not note.is_file() or read_json(note) != key:
                for name in (SCRATCH, TENSORBOARD):
                    discard(self.workspace / name, root=self.workspace)
                for path in self.workspace.glob(CSV.format("*")):
                    path.unlink()
                write_json(note, key)
            else:
                self.listener.note("info", "resuming interrupted training")
        return None

    def _check_classes(self) -> None:
        if self.data.task == Classification.name and len(self.data.labels) < 2:
            what = f"a classifier needs at least two classes: the data have {len(self.data.labels)}"
            raise InputError(what, "give data with two or more")
        if not self.data.counts.get("train"):
            raise InputError(f"the data have no training {self.data.kind}s", "check the data's source and its splits")

    def tell_float32(self, what: str) -> None:
        """Say what of the recipe has no effect on a training of `what`, which takes float32 alone."""
        if self.train.mixed_precision:
            self.listener.note("info", f"mixed precision is for images: {what} in float32")
        self.tell_unvalidated()

    def tell_unvalidated(self) -> None:
        """Say what is not done without a validation split."""
        if not self.data.counts.get("validation"):
            self.listener.note(
                "warning", "there is no validation split: no early stopping, and the last weights are kept"
            )

    def timed(self, step: str, work: Callable[[], Any]) -> Any:
        """Report the step, run `work`, and record its duration."""
        self.listener.note("step", step)
        start = time.monotonic()
        result = work()
        self.seconds[step] = round(time.monotonic() - start, 3)
        return result

    def labels(self, split: str) -> NDArray[Any]:
        """A split's labels (n,) int64; empty if there is no such file."""
        path = self.data.targets(split)
        return np.load(path) if path.is_file() else np.zeros(0, np.int64)

    def weights(self) -> NDArray[Any]:
        """The weight of each class (classes,) float32, as the recipe sets it."""
        return class_weights(self.labels("train"), len(self.data.labels), self.train.class_weights)

    def run(self, phase: Phase, start: State, checkpoint: str) -> State:
        """Run a phase of training (`keras_fit.run`) with its checkpoint in the scratch folder."""
        train = self.train
        return run(
            phase,
            patience=train.patience,
            schedule=train.schedule,
            start=start,
            checkpoint=self.scratch / checkpoint,
            logs=Logs(
                self.workspace / TENSORBOARD / f"phase-{phase.number}" if train.tensorboard else None,
                self.workspace / CSV.format(phase.number) if train.csv_log else None,
            ),
            own=lambda: callbacks.make(train, self.folder),
            listener=self.listener,
        )

    def place(self, name: str, target: str = "") -> Path:
        """Move the finished folder `name` out of the scratch folder, replacing what is there; return its path."""
        final = self.workspace / (target or name)
        with explain_disk_errors(final):
            move(self.scratch / name, final, root=self.workspace)
        return final

    def finish(
        self, state: State, history: list[dict[str, float]], identity: Any, facts: dict[str, Any], **parts: Any
    ) -> Model:
        """Write the finished model's record, clean up, and return the model.

        `state` is the last phase's; its best weights are the model's. `parts` are the fields of `Model` that depend on
        the kind of data, `facts` further entries of its provenance.
        """
        validated = self.data.counts.get("validation", 0)
        metrics = {"val_samples": float(validated), "epochs": float(len(history))}
        if validated:
            figure = "val_mae" if self.data.task == Regression.name else "val_accuracy"
            metrics |= {"val_loss": state.best, figure: state.best_accuracy}
        model = Model(
            name=self.spec.name,
            backbone=self.spec.backbone,
            labels=self.data.labels,
            train_seconds=round(time.monotonic() - self.started, 3),
            metrics=metrics,
            history=history,
            provenance={
                "seed": self.seed,
                "backbone": identity,
                "data": {"source": self.data.source, "sha256": self.data.sha256, "counts": self.data.counts},
                "model": self.spec.model_dump(mode="json"),
                "train": self.train.model_dump(mode="json"),
                "packages": package_versions(self.packages),
                "seconds": self.seconds,
                **({} if self.data.task == Classification.name else {"task": self.data.task}),
                **facts,
            },
            **parts,
        )
        with explain_disk_errors(self.workspace):
            save_model(model, self.workspace)
            self._tidy()
        return model

    def _tidy(self) -> None:
        """Remove what only an unfinished training needs; record the identity of the finished one."""
        note = self.scratch / NOTE
        if note.is_file():
            move(note, self.workspace / NOTE, root=self.workspace)
        discard(self.scratch, root=self.workspace)
