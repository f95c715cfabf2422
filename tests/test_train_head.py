"""Phase one: features computed once, and a head trained on them as Keras would train it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeproof.core.errors import StageError
from edgeproof.core.events import Silent
from edgeproof.core.recipe import Augment, ModelSpec, Train
from edgeproof.train import epochs, feature_file, features
from edgeproof.train.augment import Augmenter, apply
from edgeproof.train.frameworks import fresh
from edgeproof.train.head import Labelled, class_weights, evaluate, gather, head_phase, new_head
from edgeproof.train.network import Base, build_base

ALL = Augment(flip=True, rotate=0.2, shift=0.2, zoom=0.3, brightness=0.3, contrast=0.3)


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, level, message, **facts):
        self.notes.append((level, message))


def made_up(count=300, width=20, classes=4):
    rng = np.random.default_rng(count)
    rows = rng.normal(size=(count, width)).astype(np.float32)
    return rows, (rows @ rng.normal(size=(width, classes))).argmax(axis=1)


def head_run(tmp_path, train, *, views=None, rows=None, labels=None, patience=0, seed=5, name="head.npz"):
    made = made_up()
    rows, labels = (made[0] if rows is None else rows), (made[1] if labels is None else labels)
    head = new_head(rows.shape[1], 4, seed)
    data = Labelled(views or [rows[:250]], labels[:250])
    weights = class_weights(data.labels, 4, train.class_weights)
    phase = head_phase(head, data, Labelled([rows[250:]], labels[250:]), train, weights, seed)
    state = epochs.run(
        phase,
        epochs=train.epochs,
        patience=patience,
        start=epochs.State(),
        checkpoint=tmp_path / name,
        logs=None,
        listener=Silent(),
    )
    return head, state


@pytest.mark.parametrize("balanced", [False, True])
def test_an_epoch_is_what_keras_fit_does(tmp_path, balanced):
    """The same start, order, batches (the last one smaller), optimizer and class weights: the same weights after."""
    _, keras = fresh(1)
    rows, labels = made_up()
    train = Train(epochs=1, batch_size=64, dropout=0, learning_rate=0.01, class_weights=balanced)
    start = new_head(20, 4, 5)
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(4, activation="softmax")])
    model.set_weights([start.kernel.numpy(), start.bias.numpy()])
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    order = np.random.default_rng((5, 12, 1)).permutation(250)
    weights = dict(enumerate(class_weights(labels[:250], 4, balanced).tolist()))
    found = model.fit(
        rows[order], labels[order], batch_size=64, shuffle=False, verbose=0, class_weight=weights,
        validation_data=(rows[250:], labels[250:]),
    ).history  # fmt: skip
    head, state = head_run(tmp_path, train)
    np.testing.assert_allclose(head.kernel.numpy(), model.get_weights()[0], atol=1e-5)
    np.testing.assert_allclose(head.bias.numpy(), model.get_weights()[1], atol=1e-5)
    row = state.history[0]
    assert row["val_loss"] == pytest.approx(found["val_loss"][0], abs=1e-4)
    assert row["accuracy"] == pytest.approx(found["accuracy"][0], abs=1e-6)


def test_the_head_learns_and_stops_and_keeps_the_best(tmp_path):
    train = Train(epochs=60, batch_size=16, learning_rate=0.3, dropout=0.1)
    head, state = head_run(tmp_path, train, patience=3)
    losses = [row["val_loss"] for row in state.history]
    assert state.best == min(losses)
    assert len(losses) == losses.index(min(losses)) + 1 + 3 < 60
    rows, labels = made_up()
    loss, right = evaluate(rows[250:] @ head.kernel.numpy() + head.bias.numpy(), labels[250:]) / 50
    assert loss == pytest.approx(state.best)
    assert right == state.best_accuracy > 0.8


def test_going_on_from_a_checkpoint_ends_where_an_uninterrupted_run_ends(tmp_path):
    whole, state = head_run(tmp_path, Train(epochs=6, batch_size=32), name="whole.npz")
    head_run(tmp_path, Train(epochs=2, batch_size=32), name="part.npz")
    again, resumed = head_run(tmp_path, Train(epochs=6, batch_size=32), name="part.npz")
    assert resumed == state
    np.testing.assert_array_equal(again.kernel.numpy(), whole.kernel.numpy())


def test_a_damaged_checkpoint_counts_as_none(tmp_path):
    head_run(tmp_path, Train(epochs=1))
    path = tmp_path / "head.npz"
    assert epochs.load_checkpoint(path) is not None
    path.write_bytes(path.read_bytes()[:-100])
    assert epochs.load_checkpoint(path) is None
    assert epochs.load_checkpoint(tmp_path / "absent.npz") is None


def test_a_loss_that_is_not_a_number_stops_with_a_remedy(tmp_path):
    rows, labels = made_up()
    rows = rows.copy()
    rows[7] = np.nan
    with pytest.raises(StageError, match="not a number") as caught:
        head_run(tmp_path, Train(epochs=3), rows=rows, labels=labels)
    assert "learning rate" in caught.value.remedy


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
    found = changed(Augment(flip=True), IMAGES)
    same = np.isclose(found, IMAGES, atol=1e-2).all(axis=(1, 2, 3))
    mirrored = np.isclose(found, IMAGES[:, :, ::-1], atol=1e-2).all(axis=(1, 2, 3))
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
    whole = changed(ALL, IMAGES, seed=(seed,))
    part = changed(ALL, IMAGES, np.array(index), seed=(seed,))
    np.testing.assert_allclose(part, whole[index], atol=1e-3)
    assert whole.min() >= 0 and whole.max() <= 255 and whole.shape == IMAGES.shape
    assert not np.allclose(whole, changed(ALL, IMAGES, seed=(seed + 1,)), atol=1)


# --- features -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_base():
    fresh(2)
    spec = ModelSpec(name="m", backbone="package:mobilenet_v2", image_size=32)
    return build_base(spec, folder=Path())


SAMPLES = np.random.default_rng(1).integers(0, 256, (21, 32, 32, 3)).astype(np.uint8)


@pytest.mark.slow
def test_litert_gives_kerass_features(small_base):
    found = features.extractor(small_base, SAMPLES[:4], Silent())
    assert found.engine == "litert" and found.features == 1280
    expected = features.keras_extractor(small_base).compute(SAMPLES)
    np.testing.assert_allclose(found.compute(SAMPLES), expected, atol=1e-4 * expected.max())
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
    monkeypatch.setattr(features, "litert_extractor", lambda base: wrong)
    listener = Notes()
    assert features.extractor(small_base, SAMPLES[:2], listener).engine == "keras"
    assert "differ" in listener.notes[0][1]


def sums(images):
    """Two features that are easy to foresee: an image's mean and its first value."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    return np.stack([flat.mean(axis=1), flat[:, 0]], axis=1)


@settings(max_examples=30, deadline=None)
@given(kept=st.integers(0, 400), block=st.integers(1, 30))
def test_features_go_on_where_a_kill_left_them(tmp_path_factory, kept, block):
    path = tmp_path_factory.mktemp("features") / "f.npy"
    computed, told = [], []

    def count(images):
        computed.append(len(images))
        return sums(images)

    extract = features.Extractor("test", 2, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_file, "BLOCK", block)
        whole = np.array(features.compute(extract, SAMPLES, path, augmenter=None, progress=lambda n: None))
        np.testing.assert_array_equal(whole, sums(SAMPLES))
        content = path.read_bytes()
        path.write_bytes(content[:kept])  # a kill may leave any part of the file
        computed.clear()
        again = features.compute(extract, SAMPLES, path, augmenter=None, progress=told.append)
    np.testing.assert_array_equal(again, whole)
    assert path.read_bytes() == content
    rows = max(0, min(kept, len(content)) - (len(content) - 21 * 8)) // 8
    whole_blocks = rows if rows == 21 else rows - rows % block
    assert sum(computed) == 21 - whole_blocks and sum(told) == 21


def test_augmented_features_are_of_the_changed_images(tmp_path):
    extract = features.Extractor("test", 2, sums)
    augmenter = Augmenter(ALL, count=21, height=32, width=32, seed=(1, 2))
    found = features.compute(extract, SAMPLES, tmp_path / "f.npy", augmenter=augmenter, progress=lambda n: None)
    np.testing.assert_allclose(found, sums(changed(ALL, SAMPLES)), atol=1e-2)
