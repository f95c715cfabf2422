"""Copies of backbones that are kept between runs, and the pass of images that runs beside Keras."""

import threading
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.progress import Silent
from edgeproof.core.recipe import ModelSpec, Train
from edgeproof.core.recipe_training import Augment
from edgeproof.frameworks.tensorflow import fresh
from edgeproof.train import copies, feature_pass, features
from edgeproof.train import fit as fitting
from edgeproof.train.backbones import identity
from edgeproof.train.feature_pass import FeaturePass
from edgeproof.train.network import pool_by_maximum
from edgeproof.train.source import ImageRequest

from ..support.aware_training_models import make_data, trained_backbone

IMAGES = {
    "train": np.random.default_rng(1).integers(0, 256, (50, 4, 4, 3)).astype(np.uint8),
    "validation": np.random.default_rng(2).integers(0, 256, (7, 4, 4, 3)).astype(np.uint8),
}


def means(images, factor=1.0):
    return np.asarray(images, np.float32).mean(axis=(1, 2)) * np.float32(factor)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_copy_is_found_by_what_the_backbone_is_and_only_whole(cache):
    place = copies.copy_path({"weights": "a"}, "avg")
    assert copies.take(place) is None
    copies.put(place, b"content")
    assert copies.take(place) == b"content"
    assert copies.take(copies.copy_path({"weights": "b"}, "avg")) is None
    assert copies.take(copies.copy_path({"weights": "a"}, "max")) is None
    (file,) = place.glob("*.tflite")
    file.write_bytes(b"conten")
    assert copies.take(place) is None and not file.exists(), "a damaged copy goes"


def test_copies_that_were_not_used_for_longest_go_first(cache, monkeypatch):
    monkeypatch.setattr(copies, "LIMIT", 25)
    places = [copies.copy_path({"weights": number}, "avg") for number in range(3)]
    for number, place in enumerate(places[:2]):
        copies.put(place, bytes([number]) * 10)
    import os

    for age, place in ((100, places[0]), (200, places[1])):
        (file,) = place.glob("*.tflite")
        os.utime(file, (1e9 - age, 1e9 - age))
    copies.take(places[1])  # used again
    copies.put(places[2], bytes([2]) * 10)
    assert [copies.take(place) is not None for place in places] == [False, True, True]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "file"))
    place = copies.copy_path({"weights": "a"}, "avg")
    copies.put(place, b"content")
    assert copies.take(place) is None


def computing(tmp_path, **more):
    given = {"scratch": tmp_path / "scratch", "shared": None, "augment": Augment(), "seed": 1, "listener": Silent()}
    return FeaturePass(IMAGES, **{**given, **more})


def test_the_pass_computes_every_image_and_leaves_it_to_other_seeds(tmp_path):
    shared = tmp_path / "shared"
    first = computing(tmp_path, shared=shared)
    assert first.left_by_another(3) is None
    first.start(features.Extractor("litert", 3, means))
    result = first.result()
    np.testing.assert_array_equal(result["train", 0], means(IMAGES["train"]))
    np.testing.assert_array_equal(result["validation", 0], means(IMAGES["validation"]))
    other = computing(tmp_path, shared=shared, seed=2)
    left = other.left_by_another(3)
    assert left is not None and other.engine == "litert"
    np.testing.assert_array_equal(left["train", 0], means(IMAGES["train"]))
    assert computing(tmp_path, shared=shared).left_by_another(4) is None, "of another width"


def test_what_was_computed_wrongly_is_computed_anew(tmp_path):
    """A copy that differs from Keras is noticed while it computes, or after."""
    release = threading.Event()

    def slow(images):
        release.wait(10)
        return means(images, factor=2.0)

    for begun in (slow, lambda images: means(images, factor=2.0)):
        wrong = computing(tmp_path)
        wrong.start(features.Extractor("litert", 3, begun))
        release.set()
        wrong.discard()
        wrong.start(features.Extractor("keras", 3, means))
        assert wrong.engine == "keras"
        np.testing.assert_array_equal(wrong.result()["train", 0], means(IMAGES["train"]))


def test_what_fails_in_the_pass_fails_the_training(tmp_path):
    def broken(images):
        raise MemoryError("no room")

    failing = computing(tmp_path)
    failing.start(features.Extractor("litert", 3, broken))
    with pytest.raises(MemoryError, match="no room"):
        failing.result()
    failing.stop()


@pytest.mark.slow
def test_a_kept_copy_is_taken_instead_of_a_new_one_and_gives_the_same_model(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_pass, "FEW_IMAGES", 0)
    (tmp_path / "data").mkdir()
    data = make_data(tmp_path / "data")
    path = trained_backbone(data, tmp_path / "small.keras")
    spec = ModelSpec(name="small", backbone=f"file:{path.name}", image_size=32, value_range=(0, 255))
    how = Train(epochs=2, head={"hidden": [8], "pooling": "max"})

    def train(name):
        return fitting.fit(spec, how, seed=3, data=data, folder=tmp_path, workspace=tmp_path / name, listener=Silent())

    first = train("first")
    (file,) = Path(cache).rglob("*.tflite")
    place = copies.copy_path(identity(spec, folder=tmp_path), "max")
    assert file.parent == place
    converted = []
    monkeypatch.setattr(features, "convert", converted.append)
    second = train("second")
    assert not converted and second.provenance["features_engine"] == "litert"
    assert second.sha256 == first.sha256 and second.history == first.history
    fresh(1)
    base = pool_by_maximum(fitting.build_base(spec, ImageRequest(tmp_path)))
    images = data.rows("train")[:][:8]
    maps = base.model.layers[-2].get_output_at(-1)
    import tf_keras

    activations = tf_keras.Model(base.model.input, maps)(images.astype(np.float32))
    expected = np.asarray(activations).max(axis=(1, 2))
    np.testing.assert_allclose(features.litert_extractor(file.read_bytes()).compute(images), expected, atol=1e-3)


def test_few_images_are_not_worth_a_copy(tmp_path):
    def few(train, validation, **augment):
        images = {
            "train": np.zeros((train, 1, 1, 3), np.uint8),
            "validation": np.zeros((validation, 1, 1, 3), np.uint8),
        }
        return feature_pass.FeaturePass(images, tmp_path, None, Augment(**augment), 1, Silent()).few

    assert few(200, 56) and not few(200, 57)
    assert not few(200, 20, flip=True, views=2)  # each view is a pass of its own
