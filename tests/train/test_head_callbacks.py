"""Callbacks of a head's training, augmentation, and where its features come from."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeproof.core.errors import InputError, StageError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import ModelSpec, Train
from edgeproof.core.recipe_training import Augment
from edgeproof.frameworks.tensorflow import fresh
from edgeproof.train import feature_file, features, keras_fit
from edgeproof.train.augment import Augmenter, apply
from edgeproof.train.backbones import build_base
from edgeproof.train.callbacks import check_callbacks, identity, make
from edgeproof.train.head import class_weights, gather
from edgeproof.train.network import Base
from edgeproof.train.source import ImageRequest

from ..support.heads import ALL, Notes, head_run, random_samples

# --- callbacks --------------------------------------------------------------------------------------------------------

OWN = """
import tf_keras

class Halves(tf_keras.callbacks.Callback):
    steps = 0
    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
    def on_epoch_end(self, epoch, logs=None):
        logs["steps"] = self.steps
        self.model.optimizer.learning_rate.assign(self.model.optimizer.learning_rate / 2)

def several():
    return [Halves(), tf_keras.callbacks.TerminateOnNaN()]

def wrong():
    return "no callback"

def failing():
    raise RuntimeError("of mine")


def needing():
    import no_such_module_anywhere


ready = tf_keras.callbacks.Callback()


def stopping():
    return tf_keras.callbacks.EarlyStopping("accuracy", patience=2, mode="max", restore_best_weights=True)


class Raises(tf_keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise RuntimeError("while it\\ntrained")


class Leaves(tf_keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise SystemExit(0)
"""


def test_a_callback_of_the_users_own_runs_and_its_code_is_part_of_what_is_made(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    for name in ("Halves", "several"):
        how = Train(epochs=3, batch_size=64, learning_rate=0.08, callbacks=[f"own.py:{name}"])
        check_callbacks(how, tmp_path)
        _, state = head_run(tmp_path, how, name=f"{name}.npz", own=lambda how=how: make(how, tmp_path))
        assert [row["steps"] for row in state.history] == [4, 8, 12]
    head_run(tmp_path, how.model_copy(update={"epochs": 2}), name="part.npz", own=lambda: make(how, tmp_path))
    _, resumed = head_run(tmp_path, how, name="part.npz", own=lambda: make(how, tmp_path))
    assert resumed == state, "what a callback remembers and the rate that it set survive"
    before = identity(how, tmp_path)
    (tmp_path / "own.py").write_text(OWN + "# changed")
    assert identity(how, tmp_path) != before


@pytest.mark.parametrize(
    ("callback", "kind", "message"),
    [
        ("absent.py:make", InputError, "does not exist"),
        ("no_such_module_anywhere:make", InputError, "finds no module"),
        ("own.py:absent", InputError, "has no 'absent'"),
        ("own.py:wrong", InputError, "not a callback of Keras 2"),
        ("own.py:failing", StageError, "RuntimeError: of mine"),
        ("own.py:needing", StageError, "No module named 'no_such_module_anywhere'"),
        ("own.py:ready", InputError, "cannot be called"),
        ("torn.py:make", InputError, "is not Python"),
    ],
)
def test_callbacks_that_are_none_are_told_with_a_remedy(tmp_path, callback, kind, message):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "torn.py").write_text("def make(:")
    how = Train(callbacks=[callback])
    with pytest.raises(kind, match=message) as caught:
        check_callbacks(how, tmp_path)
        make(how, tmp_path)
    assert caught.value.remedy


@pytest.mark.parametrize(("name", "what"), [("Raises", "on_epoch_end: RuntimeError: while it trained"),
                                            ("Leaves", "on_train_batch_end: SystemExit")])  # fmt: skip
def test_what_a_callback_raises_is_told_as_the_callbacks(tmp_path, name, what):
    (tmp_path / "own.py").write_text(OWN)
    how = Train(epochs=1, callbacks=[f"own.py:{name}"])
    with pytest.raises(StageError, match=rf"own\.py:{name} failed in {what}") as caught:
        head_run(tmp_path, how, own=lambda: make(how, tmp_path))
    assert "own.py, line" in caught.value.message and "fix the callback" in caught.value.remedy


@pytest.mark.parametrize("validated", [True, False])
def test_an_early_stopping_of_the_users_own_watches_what_it_says_also_after_a_kill(tmp_path, validated):
    (tmp_path / "own.py").write_text(OWN)
    rows, labels = random_samples(400 if validated else 250)
    how = Train(epochs=6, batch_size=64, learning_rate=0.5, callbacks=["own.py:stopping"])
    more = {"rows": rows, "labels": labels, "own": lambda: make(how, tmp_path)}
    uninterrupted, state = head_run(tmp_path, how, name="whole.npz", **more)
    assert state.epoch > 2, "accuracy rises for longer than its patience"
    for epochs in (2, 4):
        head_run(tmp_path, how.model_copy(update={"epochs": epochs}), name="part.npz", **more)
    again, resumed = head_run(tmp_path, how, name="part.npz", **more)
    assert resumed.history == state.history and resumed.stopped == state.stopped
    finished, _ = head_run(tmp_path, how, name="part.npz", **more)
    for one in (again, finished):
        weights = zip(uninterrupted.get_weights(), one.get_weights(), strict=True)
        assert all(np.array_equal(a, b) for a, b in weights)


def test_the_csv_log_has_one_row_an_epoch_also_after_a_kill(tmp_path):
    log = keras_fit.Logs(csv=tmp_path / "log.csv")
    head_run(tmp_path, Train(epochs=2), name="part.npz", logs=log)
    log.csv.write_text(log.csv.read_text() + "2,0,0,0,0\n")  # logged, and killed before it was saved
    _, state = head_run(tmp_path, Train(epochs=4), name="part.npz", logs=log)
    with log.csv.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    assert [float(row["val_loss"]) for row in rows] == pytest.approx([row["val_loss"] for row in state.history])


def test_each_image_goes_through_all_its_views():
    count, views = 10, 3
    seen = np.zeros((count, views), int)
    tagged = [np.stack([np.arange(count), np.full(count, v)], axis=1).astype(np.float32) for v in range(views)]
    first = np.random.default_rng((5, 11)).integers(views, size=count)
    for number in range(1, views + 1):
        got = gather(tagged, (first + number - 1) % views, np.arange(count))
        np.testing.assert_array_equal(got[:, 0], np.arange(count))
        seen[np.arange(count), got[:, 1].astype(int)] += 1
    assert (seen == 1).all()


@given(data=st.data())
def test_gather_is_fancy_indexing(data):
    views = data.draw(hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 3)),
                                 elements=st.floats(-9, 9, width=16)))  # fmt: skip
    count = data.draw(st.integers(0, 12))
    view = np.array(data.draw(st.lists(st.integers(0, len(views) - 1), min_size=count, max_size=count)), int)
    index = np.array(data.draw(st.lists(st.integers(0, views.shape[1] - 1), min_size=count, max_size=count)), int)
    np.testing.assert_array_equal(gather(list(views), view, index), views[view, index])


@given(hnp.arrays(np.int64, st.integers(1, 50), elements=st.integers(0, 4)))
def test_balanced_classes_weigh_the_same(labels):
    weights = class_weights(labels, 6, balanced=True)
    counts = np.bincount(labels, minlength=6)
    np.testing.assert_allclose((weights * counts)[counts > 0], len(labels) / 6, rtol=1e-5)
    assert (weights[counts == 0] == 0).all()


# --- augmentation ---------------------------------------------------------------------------------------------------


def changed(augment, images, index=None, seed=(1, 2)):
    index = np.arange(len(images)) if index is None else index
    augmenter = Augmenter(augment, count=len(images), height=images.shape[1], width=images.shape[2], seed=seed)
    c = augmenter.changes(index)
    return apply(images[index], c.transforms, c.gain, c.contrast).numpy()


IMAGES = np.random.default_rng(0).integers(0, 256, (20, 12, 16, 3)).astype(np.uint8)


def test_no_augmentation_changes_nothing():
    np.testing.assert_allclose(changed(Augment(), IMAGES), IMAGES, atol=1e-3)


def test_a_flip_mirrors_some_and_leaves_the_others():
    flipped = changed(Augment(flip=True), IMAGES)
    same = np.isclose(flipped, IMAGES, atol=1e-2).all(axis=(1, 2, 3))
    mirrored = np.isclose(flipped, IMAGES[:, :, ::-1], atol=1e-2).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all() and same.any() and mirrored.any()


def test_a_shift_moves_right_by_that_share():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[0, :, 3] = 255
    augmenter = Augmenter(Augment(shift=0.5), count=1, height=8, width=8, seed=(1,))
    moved = augmenter.changes(np.array([0])).transforms[0]
    assert moved[[0, 1, 3, 4]].tolist() == [1, 0, 0, 1] and np.abs(moved[[2, 5]]).max() <= 4


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), index=st.lists(st.integers(0, 19), min_size=1, max_size=8))
def test_what_happens_to_an_image_depends_on_seed_and_image_alone(seed, index):
    all_images = changed(ALL, IMAGES, seed=(seed,))
    part = changed(ALL, IMAGES, np.array(index), seed=(seed,))
    np.testing.assert_allclose(part, all_images[index], atol=1e-3)
    assert all_images.min() >= 0 and all_images.max() <= 255 and all_images.shape == IMAGES.shape
    assert not np.allclose(all_images, changed(ALL, IMAGES, seed=(seed + 1,)), atol=1)


# --- features -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_base():
    fresh(2)
    spec = ModelSpec(name="m", backbone="package:mobilenet_v2", image_size=32)
    return build_base(spec, ImageRequest(Path()))


SAMPLES = np.random.default_rng(1).integers(0, 256, (21, 32, 32, 3)).astype(np.uint8)


@pytest.mark.slow
def test_litert_gives_kerass_features(small_base):
    extractor = features.extractor(small_base, SAMPLES[:4], Silent())
    assert extractor.engine == "litert" and extractor.features == 1280
    expected = features.keras_extractor(small_base).compute(SAMPLES)
    np.testing.assert_allclose(extractor.compute(SAMPLES), expected, atol=1e-4 * expected.max())
    np.testing.assert_allclose(expected, small_base.model(SAMPLES.astype(np.float32), training=False), atol=1e-4)


def test_a_base_that_litert_cannot_run_is_left_to_keras():
    tf, keras = fresh(2)
    image = keras.Input((32, 32, 3), name="image")
    spectrum = tf.abs(tf.signal.fft2d(tf.cast(image, tf.complex64)))
    base = Base(keras.Model(image, keras.layers.GlobalAveragePooling2D()(spectrum)), (), "inside")
    listener = Notes()
    assert features.extractor(base, SAMPLES[:2], listener).engine == "keras"
    assert listener.notes[0][0] == "warning" and "could not be converted" in listener.notes[0][1]


def test_a_copy_that_differs_is_not_believed(small_base, monkeypatch):
    wrong = features.Extractor("litert", 1280, lambda images: np.ones((len(images), 1280), np.float32))
    monkeypatch.setattr(features, "litert_extractor", lambda content: wrong)
    listener = Notes()
    assert features.extractor(small_base, SAMPLES[:2], listener).engine == "keras"
    assert "differ" in listener.notes[0][1]


def sums(images):
    """Two features that are easy to foresee: an image's mean and its first value."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    return np.stack([flat.mean(axis=1), flat[:, 0]], axis=1)


@settings(max_examples=30, deadline=None)
@given(stored=st.integers(0, 400), block=st.integers(1, 30))
def test_features_go_on_where_a_kill_left_them(tmp_path_factory, stored, block):
    path = tmp_path_factory.mktemp("features") / "f.npy"
    computed, reported = [], []

    def count(images):
        computed.append(len(images))
        return sums(images)

    extract = features.Extractor("test", 2, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_file, "BLOCK", block)
        complete = np.array(features.compute(extract, SAMPLES, path, augmenter=None, progress=lambda n: None))
        np.testing.assert_array_equal(complete, sums(SAMPLES))
        content = path.read_bytes()
        path.write_bytes(content[:stored])  # a kill may leave any part of the file
        computed.clear()
        again = features.compute(extract, SAMPLES, path, augmenter=None, progress=reported.append)
    np.testing.assert_array_equal(again, complete)
    assert path.read_bytes() == content
    rows = max(0, min(stored, len(content)) - (len(content) - 21 * 8)) // 8
    whole_blocks = rows if rows == 21 else rows - rows % block
    assert sum(computed) == 21 - whole_blocks and sum(reported) == 21


def test_augmented_features_are_of_the_changed_images(tmp_path):
    extract = features.Extractor("test", 2, sums)
    augmenter = Augmenter(ALL, count=21, height=32, width=32, seed=(1, 2))
    computed = features.compute(extract, SAMPLES, tmp_path / "f.npy", augmenter=augmenter, progress=lambda n: None)
    np.testing.assert_allclose(computed, sums(changed(ALL, SAMPLES)), atol=1e-2)
