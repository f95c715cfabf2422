"""The source of a row: a frozen model, samples to compare on and samples to calibrate with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof import quantize
from edgeproof.core.dataset import PreparedData, load_prepared, write_texts
from edgeproof.core.errors import StageError
from edgeproof.core.model import Model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import FineTune, ModelSpec, Train
from edgeproof.core.recipe_data import Data
from edgeproof.frameworks.tensorflow import fresh
from edgeproof.train.external.samples import Input, model_inputs
from edgeproof.train.fit import fit
from edgeproof.train.network import AFFINE

from ..fixtures import SOURCE
from ..sides import ROOT
from ..statistics_from_data import calibrate_random_weights
from . import hub_sources, user_files
from .rows import RowSpec
from .sizes import CALIBRATION, STATISTICS, TEST, TRAIN, VALIDATION

SEED = 1
HEAD = Train(epochs=1, batch_size=8, learning_rate=1e-3, dropout=0.0)
# A barely trained head and small steps: phase two is then an improvement, and its weights are the result.
FINE_TUNED = HEAD.model_copy(
    update={"learning_rate": 1e-6, "fine_tune": FineTune(layers=4, epochs=1, learning_rate=3e-6)}
)


@dataclass(frozen=True)
class Source:
    """A row's frozen `model`, the samples `inputs` that files are compared on, and the `calibration` samples (None for
    integers and strings).

    A trained row has `data`, and may have `fine_tune`, which also trains the top layers and returns that model.
    `supplied` is the float ``.tflite`` that the row's files are made from, if they are not made from `model`.
    """

    model: Model
    inputs: Path
    calibration: Path | None
    data: PreparedData | None = None
    fine_tune: Callable[[], Model] | None = None
    supplied: Path | None = None


def open_source(row: RowSpec, folder: Path) -> Source:
    """Train or import the model of `row` in `folder`. Finished steps in that folder are reused."""
    if row.kind == "keras":
        return _application(row, folder)
    if row.kind == "image":
        return hub_sources.image(row, folder)
    if row.kind == "text":
        return hub_sources.text(row, folder)
    return _file(row, folder)


def pictures(size: int, folder: Path) -> PreparedData:
    """Return a few built-in pictures for each split, prepared at a size by the product's own stage."""
    from edgeproof.data import prepare

    if (folder / "data.json").is_file():
        return load_prepared(folder)
    limit = Data(source=SOURCE, limit_train=TRAIN + VALIDATION, limit_test=TEST, validation=VALIDATION / TRAIN)
    return prepare(
        limit, seed=SEED, image_size=size, resize="stretch", folder=ROOT, workspace=folder, listener=Silent(), workers=1
    )


def calibration(data: PreparedData, folder: Path, tokenizer: Path | None = None) -> Path:
    """Draw calibration samples in the way of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    return quantize.draw(data, CALIBRATION, SEED, folder, tokenizer).images


def trained(
    spec: ModelSpec, data: PreparedData, folder: Path, head: Train = HEAD, fine_tuned: Train | None = None
) -> Source:
    """Train `spec` on pictures with the settings `head`; `fine_tuned` are the settings of the source's `fine_tune`."""

    def train(how: Train, workspace: str) -> Model:
        return fit(
            spec, how, seed=SEED, data=data, folder=folder, workspace=folder / workspace, listener=Silent(),
            shared=folder / "features",
        )  # fmt: skip

    return Source(
        train(head, "trained"),
        data.inputs("test"),
        calibration(data, folder / "calibration"),
        data=data,
        fine_tune=None if fine_tuned is None else lambda: train(fine_tuned, "fine-tuned"),
    )


def _application(row: RowSpec, folder: Path) -> Source:
    data = pictures(row.size, folder / "data")
    name = row.id.partition(":")[2]
    weights = folder / "weights.h5"
    if not weights.is_file():
        random_weights(name, row.size, data.rows("train")[:STATISTICS], weights)
    spec = ModelSpec(name="model", backbone=row.id, weights=str(weights), image_size=row.size)
    return trained(spec, data, folder, fine_tuned=FINE_TUNED)


def random_weights(name: str, size: int, images: NDArray[Any], path: Path) -> None:
    """Write random weights of a model of tf.keras.applications with the statistics of a trained model
    (`statistics_from_data`).
    """
    from edgeproof.train.families import family_of

    _, keras = fresh(SEED)
    network = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(size, size, 3))
    pixels = images.astype(np.float32)
    mode = family_of(name).preprocessing
    if mode != "inside":
        matrix, bias = AFFINE[mode]
        pixels = (pixels @ matrix + bias).astype(np.float32)
    calibrate_random_weights(network, pixels)
    if not np.isfinite(np.asarray(network(pixels[:1], training=False))).all():
        raise StageError(f"{name} with random weights gives values that are not finite")
    network.save_weights(str(path))


def _file(row: RowSpec, folder: Path) -> Source:
    """Build a user's file and import it in the way of `edgeproof export`."""
    from edgeproof.train.external import ImportOptions, import_model

    asked, options = row.options, dict(row.options["samples"])
    path = user_files.build(str(asked["build"]), str(asked["keras"]), folder / "theirs", str(asked["suffix"]))
    supplied = path if path.suffix == ".tflite" else None
    path = path.with_suffix(".keras") if supplied else path
    stated = ImportOptions(**options.pop("asked", {}))
    model = import_model(path, stated, name="model", workspace=folder / "imported", listener=Silent())
    if options.get("texts"):
        inputs = folder / "texts.jsonl"
        write_texts(["a good film", "bad film", "Good, good!", "film", "nothing of that"], inputs)
        return Source(model, inputs, None)
    files = [folder / name for name in ("samples.npy", "calibration.npy")]
    for seed, (file, count) in enumerate(zip(files, (TEST, CALIBRATION), strict=True)):
        np.save(file, samples(model_inputs(model), count, seed, **options))
    return Source(model, files[0], files[1], supplied=supplied)


def samples(
    inputs: Sequence[Input], count: int, seed: int, low: float | None = None, high: float | None = None
) -> NDArray[Any]:
    """Return random samples (count, …) for a model's inputs; for several inputs a structured array.

    Floats are normal, or uniform between `low` and `high`; integers are below `high`.
    """
    random = np.random.default_rng(seed)

    def draw(one: Input) -> NDArray[Any]:
        shape = (count, *one.sample)
        if not np.issubdtype(np.dtype(one.dtype), np.floating):
            return random.integers(0, int(high or 2), shape).astype(one.dtype)
        if high is None:
            return random.normal(size=shape).astype(one.dtype)
        return random.uniform(low or 0.0, high, shape).astype(one.dtype)

    arrays = {one.name: draw(one) for one in inputs}
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    fields = np.zeros(count, [(one.name, one.dtype, one.sample) for one in inputs])
    for name, values in arrays.items():
        fields[name] = values
    return fields
