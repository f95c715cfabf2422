"""What ``edgeproof export`` does: variants of one model, calibrated with a data source of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.artifact import Artifact
from ..core.dataset import load_prepared
from ..core.errors import InputError
from ..core.machine import usable_cores
from ..core.model import Model
from ..core.recipe import Data, Export
from ..core.store import Store, lock
from ..core.variant import Variant
from ..quantize.calibration import Calibration
from ..train import data as train_data
from .console import ConsoleListener
from .pipeline import calibrate, make_variant
from .preflight import check_makers
from .tensorflow_process import TensorFlowProcess

SEED = 1


def export_model(
    model: Model, variants: Sequence[Variant], options: Export, calibrate: str, out: Path, listener: ConsoleListener
) -> list[Artifact]:
    """Make each variant in `out`. Raises InputError before anything is made when calibration data are missing."""
    problems = check_makers({variant.format for variant in variants})
    if problems:
        raise problems[0]
    calibrated = [str(variant) for variant in variants if variant.scheme.calibrated]
    if calibrated and not calibrate:
        raise InputError(
            f"{', '.join(calibrated)} must be calibrated",
            "add --calibrate SOURCE, with images like those of the training, e.g. --calibrate folder:images",
        )
    with lock(out):
        store = Store(out / ".store")
        with TensorFlowProcess(store.root / "tensorflow.log", listener) as tf:
            tf.start()
            calibration = _calibration(model, calibrate, options, store, listener) if calibrated else None
            made = []
            for count, variant in enumerate(variants, 1):
                drawn = calibration if variant.scheme.calibrated else None
                made.append(make_variant(model, variant, options, drawn, store=store, tf=tf, out=out))
                listener.progress("export", count, len(variants), str(variant))
    return made


def _calibration(model: Model, source: str, options: Export, store: Store, listener: ConsoleListener) -> Calibration:
    data = Data(source=source)
    size, resize = model.input.height, model.input.resize
    fingerprint = train_data.fingerprint(data, seed=SEED, folder=Path())
    key = store.key("data", {"source": fingerprint, "image_size": size, "resize": resize})
    if store.get(key) is None:
        with store.write(key) as workspace:
            train_data.prepare(
                data, seed=SEED, image_size=size, resize=resize, folder=Path(), workspace=workspace, listener=listener,
                workers=usable_cores(), use="train",
            )  # fmt: skip
    prepared = load_prepared(store.root / key)
    return calibrate(prepared, options.calibration.samples, SEED, store)
