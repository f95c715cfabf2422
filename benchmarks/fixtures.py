"""Inputs of several benchmarks, made from the repository alone: images, a Keras classifier, and its files.

Each is made at its first use and is stored in the benchmarks' temporary folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .sides import ROOT, Job, Scale, run_side, serve

SOURCE = "builtin:fashion-mnist-mini"
# ImageNet's statistics of RGB 0–1, as torchvision's weights expect them.
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
HEAD_IMAGES, HEAD_EPOCHS = 1000, 10


@dataclass(frozen=True)
class Fixtures:
    """Paths of the inputs: `data` is prepared data, `classifier` a trained ``.keras`` file, `calibration` a ``.npy``.

    `model` is the frozen model's folder, `sidecars` those of its files; both exist after a call of `artifacts`.
    """

    data: Path
    classifier: Path
    calibration: Path
    model: Path

    @property
    def sidecars(self) -> list[Path]:
        """The sidecars of the artifacts."""
        return sorted((self.model / "artifacts").glob("*.json"))

    def files_for(self, runtime: str) -> dict[str, str]:
        """Return the files of the format that `runtime` reads, by artifact id."""
        suffix = {"onnxruntime": ".onnx", "tensorflow": ""}.get(runtime, ".tflite")
        if not suffix:
            from edgeproof.core.model import load_model
            from edgeproof.export import reference

            saved_model = reference(load_model(self.model))
            return {saved_model.id: str(saved_model.path)}
        return {path.stem: str(path) for path in sorted((self.model / "artifacts").glob(f"*{suffix}"))}


def prepared(scale: Scale, folder: Path) -> Path:
    """Return the folder of the prepared images, made if it does not exist."""
    from edgeproof.core.environment import usable_cores
    from edgeproof.core.progress import Silent
    from edgeproof.core.recipe_data import Data
    from edgeproof.data import prepare

    data = folder / "data"
    if not (data / "data.json").exists():
        prepare(
            Data(source=SOURCE, limit_train=scale.train_images, limit_test=scale.test_images),
            seed=1,
            image_size=scale.image_size,
            resize="stretch",
            folder=ROOT,
            workspace=data,
            listener=Silent(),
            workers=usable_cores(),
        )
    return data


def classifier(scale: Scale, folder: Path) -> Fixtures:
    """Return the fixtures, with the classifier and the calibration samples."""
    from edgeproof.core.dataset import load_prepared
    from edgeproof.quantize import draw

    data, mine = prepared(scale, folder), folder / "fixtures"
    paths = Fixtures(data, mine / "classifier.keras", mine / "calibration.npy", mine / "model")
    if not paths.classifier.exists():
        mine.mkdir()
        draw(load_prepared(data), scale.calibration, 1, mine)
        run_side("fixtures", "classifier", {**_job(paths), "tiny": scale.quick}, mine)
    return paths


def artifacts(scale: Scale, folder: Path) -> Fixtures:
    """Return the fixtures, with the frozen model and its files too."""
    paths = classifier(scale, folder)
    if not paths.model.exists():
        variants = [f"tflite:{scheme}" for scheme in scale.schemes]
        if "local/onnxruntime" in scale.targets:
            variants.append("onnx:float32")
        run_side("fixtures", "artifacts", {**_job(paths), "variants": variants}, folder / "fixtures")
    return paths


def freeze_classifier(keras_model: Any, folder: Path) -> Any:
    """Freeze a Keras classifier to ``folder/saved_model`` and return it as a Model, which export reads."""
    from edgeproof.core.model import InputContract, Model
    from edgeproof.frameworks.freeze import freeze, graph_sha256

    _, height, width, channels = keras_model.input_shape
    labels = tuple(str(number) for number in range(keras_model.output_shape[-1]))
    contract = InputContract("image", (1, height, width, channels))
    saved = freeze(keras_model, labels, contract, folder / "saved_model")
    return Model(
        name="classifier",
        backbone="file",
        saved_model=saved,
        sha256=graph_sha256(saved, labels),
        labels=labels,
        input=contract,
        train_seconds=0.0,
    )


def _job(paths: Fixtures) -> Job:
    return {
        "data": str(paths.data),
        "classifier": str(paths.classifier),
        "calibration": str(paths.calibration),
        "model": str(paths.model),
    }


def _tiny_backbone(size: int) -> Any:
    """Return two convolutions: enough to test a benchmark, and converted in a second."""
    import tf_keras as keras

    image = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    return keras.Model(image, keras.layers.Conv2D(16, 3, strides=2, activation="relu")(x), name="backbone")


def _make_classifier(job: Job) -> Job:
    """Train the head of `head_training`'s hand-written model on the features of some images, and save the model."""
    from edgeproof.core.dataset import load_prepared
    from edgeproof.frameworks.tensorflow import fresh
    from edgeproof.train.packaged import mobilenet_v2

    from .head_training import build_by_hand

    _, keras = fresh(1)
    data = load_prepared(Path(job["data"]))
    images, labels = data.rows("train")[:HEAD_IMAGES], np.load(data.targets("train"))[:HEAD_IMAGES]
    size = images.shape[1]
    model = build_by_hand(_tiny_backbone(size) if job["tiny"] else mobilenet_v2(size), MEAN, DEVIATION, 10, 0.2)
    features = keras.Model(model.input, model.layers[-3].output).predict(images, verbose=0)
    head = keras.Sequential([keras.Input(features.shape[1:]), keras.layers.Dense(10, activation="softmax")])
    head.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    head.fit(features, labels, epochs=HEAD_EPOCHS, verbose=0)
    model.layers[-1].set_weights(head.get_weights())
    model.save(job["classifier"])
    return {}


def _make_artifacts(job: Job) -> Job:
    from edgeproof.core.model import save_model
    from edgeproof.core.recipe import Export
    from edgeproof.core.variant import Variant
    from edgeproof.export import export
    from edgeproof.frameworks.tensorflow import load

    _, keras = load()
    folder = Path(job["model"])
    (folder / "artifacts").mkdir(parents=True)
    model = freeze_classifier(keras.models.load_model(job["classifier"]), folder)
    save_model(model, folder)
    for text in job["variants"]:
        artifact = export(
            model,
            Variant.parse(text),
            options=Export(),
            folder=folder / "artifacts",
            calibration=Path(job["calibration"]),
        )
        if artifact.status != "ok":
            raise RuntimeError(f"{artifact.id}: {artifact.reason}")
    return {}


if __name__ == "__main__":
    serve({"classifier": _make_classifier, "artifacts": _make_artifacts})
