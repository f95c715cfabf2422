"""Rows of TensorFlow Hub: modules built by the tests' builders in publishers' formats, and heads trained on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproof.core.dataset import SPLITS, PreparedData, save_prepared, write_texts
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import FineTune, ModelSpec, Train
from edgeproof.frameworks.tensorflow import fresh

from .rows import RowSpec
from .sizes import TEST

if TYPE_CHECKING:
    from .sources import Source

TEXTS = {"train": 60, "validation": 20, "test": TEST}
TOKENS = 16
# A module of 8 features needs more steps than one of 1,000 until its answers differ between samples.
HEAD = Train(epochs=40, batch_size=8, learning_rate=0.1, dropout=0.0, patience=0)


def image(row: RowSpec, folder: Path) -> Source:
    """Build an image module and train a head on it, or use its own head."""
    from . import sources

    data = sources.pictures(row.size, folder / "data")
    if row.id.startswith("package:"):
        return sources.trained(ModelSpec(name="model", backbone=row.id, image_size=row.size), data, folder)
    module = folder / "module"
    if not module.exists():
        _module(module, **row.options["build"])
    keys = {"name": "model", "backbone": f"hub:{module}", "image_size": row.size, **row.options["spec"]}
    spec = ModelSpec.model_validate(keys)
    if spec.head == "own":
        from tests.train.test_hub_images import CLASSES

        data = _first_classes(data, CLASSES, folder / "fewer")
    fine_tune = FineTune(epochs=2, learning_rate=1e-3)  # with trainable = true: of the whole module
    return sources.trained(spec, data, folder, HEAD.model_copy(update={"fine_tune": fine_tune}))


def _module(folder: Path, *, tf1: bool = False, rescaling: bool = False, **options: Any) -> None:
    from tests.train.test_hub_images import tf1_module, tf2_module

    if rescaling:
        _, keras = fresh(7)
        layers = keras.layers
        picture = keras.Input((None, None, 3))
        x = layers.Conv2D(8, 3, strides=2, activation="relu")(layers.Rescaling(1 / 127.5, -1.0)(picture))
        keras.Model(picture, layers.GlobalAveragePooling2D()(layers.Conv2D(12, 3, activation="swish")(x))).save(folder)
    elif tf1:
        tf1_module(folder, **options)
    else:
        tf2_module(folder, **options)


def _first_classes(data: PreparedData, classes: int, folder: Path) -> PreparedData:
    """Return the samples of the first `classes` labels."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split in SPLITS:
        labels = np.load(data.targets(split))
        selected = labels < classes
        np.save(folder / f"{split}.npy", data.rows(split)[selected])
        np.save(folder / f"{split}-labels.npy", labels[selected])
        counts[split] = int(selected.sum())
    fewer = replace(data, folder=folder, labels=data.labels[:classes], counts=counts, sha256=f"{data.sha256[:60]}-few")
    save_prepared(fewer, folder)
    return fewer


def text(row: RowSpec, folder: Path) -> Source:
    """Build a text encoder, with its preprocessor if it needs one, and train a head on it."""
    from edgeproof.train.text.fit import fit_text

    from . import sources

    data = _sentences(folder / "data")
    keys: dict[str, Any] = {"backbone": row.options["build"]}
    if ":" not in keys["backbone"]:
        keys = _encoder(keys["backbone"], folder)
    spec = ModelSpec.model_validate({"name": "model", "max_tokens": TOKENS, **keys})
    how = Train(epochs=2, batch_size=8, learning_rate=1e-2)
    model = fit_text(
        spec, how, seed=sources.SEED, data=data, folder=folder, workspace=folder / "trained", listener=Silent()
    )
    return sources.Source(model, data.inputs("test"), None, data=data)


def _encoder(builder: str, folder: Path) -> dict[str, Any]:
    from tests.support import text_models

    if builder == "bert":
        if not (folder / "preprocessor").exists():
            text_models.bert_encoder(folder / "encoder", layers=2)
            text_models.bert_preprocessor(folder / "preprocessor", default_length=TOKENS)
        return {"backbone": "hub:encoder", "preprocessor": "hub:preprocessor"}
    if not (folder / "encoder").exists():
        words = [*text_models.SPORT, *text_models.MONEY, *text_models.FILLER]
        getattr(text_models, builder)(folder / "encoder", words)
    return {"backbone": "hub:encoder"}


def _sentences(folder: Path) -> PreparedData:
    from tests.support.text_models import sentences

    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate(TEXTS.items()):
        texts, labels = sentences(count, seed)
        write_texts(texts, folder / f"{split}.jsonl")
        np.save(folder / f"{split}-labels.npy", labels)
    data = PreparedData(folder, "made up", ("sport", "money"), 0, 0, "", dict(TEXTS), "d" * 64, {}, "text")
    save_prepared(data, folder)
    return data
