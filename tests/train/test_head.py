"""Phase one: features computed once, and a head trained on them as Keras would train it."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeproof.core.errors import InputError, StageError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import ModelSpec, Train
from edgeproof.core.recipe_training import Augment, Schedule
from edgeproof.frameworks.tensorflow import fresh
from edgeproof.train import feature_file, features, keras_fit
from edgeproof.train.augment import Augmenter, apply
from edgeproof.train.backbones import build_base
from edgeproof.train.callbacks import check_callbacks, identity, make
from edgeproof.train.compile import compile_model
from edgeproof.train.dropout import new_dropout
from edgeproof.train.head import Labelled, class_weights, evaluate, gather, generators, head_phase, new_head
from edgeproof.train.joint import joint_model
from edgeproof.train.network import Base
from edgeproof.train.source import ImageRequest

ALL = Augment(flip=True, rotate=0.2, shift=0.2, zoom=0.3, brightness=0.3, contrast=0.3)


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, level, message, **facts):
        self.notes.append((level, message))


def random_samples(count=300, width=20, classes=4):
    rng = np.random.default_rng(count)
    rows = rng.normal(size=(count, width)).astype(np.float32)
    return rows, (rows @ rng.normal(size=(width, classes))).argmax(axis=1)


def head_run(tmp_path, train, *, views=None, rows=None, labels=None, patience=0, seed=5, name="head.npz", **more):
    samples = random_samples()
    rows, labels = (samples[0] if rows is None else rows), (samples[1] if labels is None else labels)
    fresh(1)
    head = new_head(rows.shape[1], 4, train, seed)
    data = Labelled(views or [rows[:250]], labels[:250])
    weights = class_weights(data.labels, 4, train.class_weights)
    phase = head_phase(head, data, Labelled([rows[250:]], labels[250:]), train, weights, seed)
    state = keras_fit.run(
        phase,
        patience=patience,
        schedule=train.schedule,
        start=keras_fit.State(),
        checkpoint=tmp_path / name,
        listener=Silent(),
        **more,
    )
    return head, state


@pytest.mark.parametrize("balanced", [False, True])
def test_an_epoch_is_what_keras_fit_does(tmp_path, balanced):
    """The same start, order, batches (the last one smaller), optimizer and class weights: the same weights after."""
    _, keras = fresh(1)
    rows, labels = random_samples()
    train = Train(epochs=1, batch_size=64, dropout=0, learning_rate=0.01, class_weights=balanced)
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(4, activation="softmax")])
    model.set_weights(new_head(20, 4, train, 5).get_weights())
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    order = np.random.default_rng((5, 12, 1)).permutation(250)
    weights = dict(enumerate(class_weights(labels[:250], 4, balanced).tolist()))
    history = model.fit(
        rows[order], labels[order], batch_size=64, shuffle=False, verbose=0, class_weight=weights,
        validation_data=(rows[250:], labels[250:]),
    ).history  # fmt: skip
    head, state = head_run(tmp_path, train)
    for ours, theirs in zip(head.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    row = state.history[0]
    assert row["val_loss"] == pytest.approx(history["val_loss"][0], abs=1e-4)
    assert row["accuracy"] == pytest.approx(history["accuracy"][0], abs=1e-6)


def test_the_head_is_the_layers_that_the_recipe_names():
    fresh(1)
    train = Train(dropout=0.1, head={"hidden": [16, 8], "activation": "tanh", "dropout": 0.3})
    head = new_head(20, 4, train, 5)
    kinds = [(type(layer).__name__, layer.name) for layer in head.layers[1:]]
    assert kinds == [
        ("Dropout", "dropout"), ("Dense", "hidden_1"), ("Dropout", "hidden_1_dropout"),
        ("Dense", "hidden_2"), ("Dropout", "hidden_2_dropout"), ("Dense", "probabilities"),
    ]  # fmt: skip
    rows, _ = random_samples()
    (k1, b1, k2, b2, k3, b3) = head.get_weights()
    logits = np.tanh(np.tanh(rows @ k1 + b1) @ k2 + b2) @ k3 + b3
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(head(rows, training=False), expected, atol=1e-5)
    assert all(np.abs(kernel).max() <= np.sqrt(6 / sum(kernel.shape)) for kernel in (k1, k2, k3)), "Glorot uniform"


@pytest.mark.parametrize("rate", [0.0001, 0.2, 0.5, 0.99, 0.999999])
def test_dropout_drops_its_rate_and_keeps_the_expected_value(rate):
    tf, _ = fresh(2)
    layer = new_dropout(rate, "dropout")
    ones = tf.ones((301, 999))  # no multiple of eight: the last random number is used in part
    assert np.array_equal(layer(ones), ones)  # while it infers
    calls = [np.asarray(layer(ones, training=True)) for _ in range(200)]
    shares = np.array([(call == 0).mean() for call in calls])
    for call, share in zip(calls[:20], shares, strict=False):
        assert set(np.unique(call)) <= {0, np.float32(call.max())}
        # Each call takes the multiple of 1/128 below the rate, or the one above.
        levels = [np.floor(rate * 128) / 128, min(np.floor(rate * 128) + 1, 127) / 128]
        level = min(levels, key=lambda level: abs(level - share))
        spread = (level * (1 - level) / call.size) ** 0.5
        assert abs(share - level) <= 5 * spread
        if level < 0.9:
            assert call.mean() == pytest.approx(1, abs=5 * spread / (1 - level) + 1e-6)
    assert abs(shares.mean() - min(rate, 127 / 128)) < 5 / 128 / 2 / len(calls) ** 0.5 + 1e-4, "on average"
    dropped = calls[0]
    rate = float(shares[0])
    # Neither rows nor columns are dropped together, and the next call draws other values.
    zeros = (dropped == 0) - (dropped == 0).mean()
    for shift, axis in ((1, 1), (2, 1), (4, 1), (1, 0)):
        assert abs((zeros * np.roll(zeros, shift, axis)).mean()) < 5 * (rate * (1 - rate)) / dropped.size**0.5 + 1e-6
    if 0.01 < rate < 0.99:
        assert not np.array_equal(layer(ones, training=True), dropped)
    (generator,) = generators(SimpleNamespace(layers=[layer]))
    generator.reset_from_seed(7)
    again = np.asarray(layer(ones, training=True))
    generator.reset_from_seed(7)
    assert np.array_equal(layer(ones, training=True), again)


def test_the_head_learns_and_stops_and_keeps_the_best(tmp_path):
    train = Train(epochs=60, batch_size=16, learning_rate=0.3, dropout=0.1)
    head, state = head_run(tmp_path, train, patience=3)
    losses = [row["val_loss"] for row in state.history]
    assert state.best == min(losses)
    assert len(losses) == losses.index(min(losses)) + 1 + 3 < 60
    rows, labels = random_samples()
    kernel, bias = head.get_weights()
    loss, right = evaluate(rows[250:] @ kernel + bias, labels[250:]) / 50
    assert loss == pytest.approx(state.best, abs=1e-5)
    assert right == pytest.approx(state.best_accuracy) and right > 0.8


def test_without_patience_all_epochs_run_and_the_best_weights_come_back(tmp_path):
    head, state = head_run(tmp_path, Train(epochs=8, batch_size=16, learning_rate=0.3))
    assert state.epoch == 8 > state.best_epoch
    rows, labels = random_samples()
    kernel, bias = head.get_weights()
    assert evaluate(rows[250:] @ kernel + bias, labels[250:])[0] / 50 == pytest.approx(state.best, abs=1e-5)


EVERYTHING = Train(
    epochs=6, batch_size=32, learning_rate=0.05, optimizer="sgd", momentum=0.9, dropout=0.2, weight_decay=0.01,
    head={"hidden": [12], "dropout": 0.3}, schedule={"kind": "plateau", "patience": 1, "factor": 0.5},
)  # fmt: skip


@pytest.mark.parametrize(
    "how",
    [
        Train(epochs=6, batch_size=32),
        EVERYTHING,
        EVERYTHING.model_copy(update={"optimizer": "adamw", "schedule": Schedule(kind="cosine")}),
    ],
)
def test_going_on_from_a_checkpoint_ends_where_an_uninterrupted_run_ends(tmp_path, how):
    """Dropout, optimizer, learning rate and what EarlyStopping and ReduceLROnPlateau remember go on as they were."""
    uninterrupted, state = head_run(tmp_path, how, name="whole.npz", patience=4)

    class Killed(Silent):
        def progress(self, task, done, total, note=""):
            if done == 3:
                raise KeyboardInterrupt

    rows, labels = random_samples()
    fresh(1)
    head = new_head(20, 4, how, 5)
    weights = np.ones(4, np.float32)
    phase = head_phase(
        head, Labelled([rows[:250]], labels[:250]), Labelled([rows[250:]], labels[250:]), how, weights, 5
    )
    with pytest.raises(KeyboardInterrupt):
        keras_fit.run(
            phase, patience=4, schedule=how.schedule, start=keras_fit.State(), checkpoint=tmp_path / "part.npz",
            listener=Killed(),
        )  # fmt: skip
    again, resumed = head_run(tmp_path, how, name="part.npz", patience=4)
    assert resumed == state
    for value, expected in zip(again.get_weights(), uninterrupted.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)
    done, same = head_run(tmp_path, how, name="part.npz", patience=4)
    assert same == state and np.array_equal(done.get_weights()[0], uninterrupted.get_weights()[0])


def test_a_damaged_checkpoint_counts_as_none(tmp_path):
    head_run(tmp_path, Train(epochs=1))
    path = tmp_path / "head.npz"
    assert keras_fit.load_state(path) is not None
    path.write_bytes(path.read_bytes()[:-100])
    assert keras_fit.load_state(path) is None
    assert keras_fit.load_state(tmp_path / "absent.npz") is None


def test_a_loss_that_is_not_a_number_stops_with_a_remedy(tmp_path):
    rows, labels = random_samples()
    rows = rows.copy()
    rows[7] = np.nan
    with pytest.raises(StageError, match="not a number") as caught:
        head_run(tmp_path, Train(epochs=3), rows=rows, labels=labels)
    assert "learning rate" in caught.value.remedy


def test_the_learning_rate_falls_as_the_schedule_says(tmp_path):
    """Plain SGD on one step an epoch: what the weights move by is the rate times a gradient that can be computed."""
    rows, labels = random_samples()
    one_hot = np.eye(4)[labels[:250]]
    for schedule, rates in {
        "constant": [0.1, 0.1, 0.1, 0.1],
        "cosine": [0.1 * (1 + np.cos(np.pi * step / 4)) / 2 for step in range(4)],
        "exponential": [0.1 * 0.5**step for step in range(4)],
    }.items():
        extra = {"decay": 0.5} if schedule == "exponential" else {}
        how = Train(epochs=4, batch_size=250, learning_rate=0.1, dropout=0, optimizer="sgd",
                    schedule={"kind": schedule, **extra})  # fmt: skip
        kernel, bias = new_head(20, 4, how, 5).get_weights()
        for rate in rates:
            logits = rows[:250] @ kernel + bias
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            error = (shares / shares.sum(axis=1, keepdims=True) - one_hot) / 250
            kernel, bias = kernel - rate * rows[:250].T @ error, bias - rate * error.sum(axis=0)
        head, state = head_run(tmp_path, how, name=f"{schedule}.npz")
        assert state.best_epoch == 4, "each step is better, so the last weights are the best"
        np.testing.assert_allclose(head.get_weights()[0], kernel, atol=1e-5)


def test_on_a_plateau_the_rate_is_multiplied(tmp_path):
    how = Train(epochs=5, batch_size=250, learning_rate=50.0, optimizer="sgd", dropout=0,
                schedule={"kind": "plateau", "patience": 1, "factor": 0.1, "minimum": 1.0})  # fmt: skip
    labels = random_samples()[1]
    labels[250:] = (labels[250:] + 1) % 4  # what is learnt is wrong there: validation gets worse
    _, state = head_run(tmp_path, how, labels=labels)
    rates = [row["lr"] for row in state.history]
    losses = [row["val_loss"] for row in state.history]
    expected, best = [50.0], np.inf
    for loss in losses[:-1]:
        expected.append(max(1.0, expected[-1] * 0.1) if loss >= best - 1e-4 else expected[-1])
        best = min(best, loss)
    assert rates == pytest.approx(expected) and min(rates) == 1.0


def test_smoothed_labels_and_metrics_are_what_they_are_by_definition(tmp_path):
    rows, labels = random_samples()
    how = Train(epochs=1, batch_size=64, label_smoothing=0.2, metrics=["top_3_accuracy", "precision", "recall", "f1",
                                                                        "auc"])  # fmt: skip
    head, state = head_run(tmp_path, how)
    shares, y, row = np.asarray(head(rows[250:], training=False)), labels[250:], state.history[0]
    targets = 0.8 * np.eye(4)[y] + 0.2 / 4
    assert row["val_loss"] == pytest.approx(-(targets * np.log(shares)).sum(axis=1).mean(), abs=1e-4)
    assert row["val_accuracy"] == pytest.approx((shares.argmax(axis=1) == y).mean())
    among = [label in order[-3:] for label, order in zip(y, shares.argsort(axis=1), strict=True)]
    assert row["val_top_3_accuracy"] == pytest.approx(np.mean(among))
    predicted, true = shares > 0.5, np.eye(4, dtype=bool)[y]
    assert row["val_precision"] == pytest.approx((predicted & true).sum() / predicted.sum(), abs=1e-5)
    assert row["val_recall"] == pytest.approx((predicted & true).sum() / len(y), abs=1e-5)
    top = np.eye(4, dtype=bool)[shares.argmax(axis=1)]
    f1 = 2 * (top & true).sum(axis=0) / (top.sum(axis=0) + true.sum(axis=0))
    assert row["val_f1"] == pytest.approx(f1.mean(), abs=1e-5)
    above = [(shares[true[:, c], c][:, None] > shares[~true[:, c], c][None]).mean() for c in range(4)]
    assert row["val_auc"] == pytest.approx(np.mean(above), abs=0.02), "Keras' AUC has 200 thresholds"


def test_backbone_and_head_together_learn_as_one_keras_model_would():
    """A dense layer for a backbone: the same start, order, weights of samples and penalty give the same weights."""
    tf, keras = fresh(1)
    rows, labels = random_samples()
    how = Train(epochs=1, batch_size=50, learning_rate=0.01, dropout=0, label_smoothing=0.0)
    weights = np.array([1.0, 2.0, 0.5, 1.5], np.float32)
    start = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32) / 4
    kernel, mean = tf.Variable(start), tf.Variable(0.0)

    def embed(inputs, training):
        if training:
            mean.assign(tf.reduce_mean(inputs))
        return tf.nn.relu(tf.matmul(inputs, kernel))

    head = new_head(6, 4, how, 5)
    dense = keras.layers.Dense(6, "relu", use_bias=False, kernel_regularizer=keras.regularizers.L2(0.01))
    last = keras.layers.Dense(4, "softmax")
    plain = keras.Sequential([keras.Input((20,)), dense, last])
    plain.set_weights([start, *head.get_weights()])
    joint = joint_model(embed, head, [kernel], beside=[mean], losses=lambda: [0.01 * tf.reduce_sum(kernel**2)])
    compile_model(joint, how, classes=4, learning_rate=0.01, epochs=1, steps=5)
    plain.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    fitting = {"batch_size": 50, "shuffle": False, "verbose": 0, "sample_weight": weights[labels[:250]]}
    history = joint.fit(rows[:250], labels[:250], **fitting).history
    expected = plain.fit(rows[:250], labels[:250], **fitting).history
    for ours, theirs in zip([kernel.numpy(), *head.get_weights()], plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert history["accuracy"] == pytest.approx(expected["accuracy"])
    assert 0.05 < expected["loss"][0] - history["loss"][0] < 1, "the penalty is not part of the loss that is told"
    assert mean.numpy() == pytest.approx(rows[200:250].mean(), abs=1e-5)
    assert [v.shape for v in joint.get_weights()] == [(20, 6), (6, 4), (4,), ()]


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
