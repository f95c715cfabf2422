"""Phase one: features computed once, and a head trained on them as Keras would train it."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgeproof.core.errors import StageError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Train
from edgeproof.core.recipe_training import Schedule
from edgeproof.frameworks.tensorflow import fresh
from edgeproof.train import keras_fit
from edgeproof.train.answers import Answer
from edgeproof.train.compile import compile_model
from edgeproof.train.dropout import new_dropout
from edgeproof.train.head import Labelled, class_weights, evaluate, generators, head_phase, new_head, sample_weights
from edgeproof.train.joint import joint_model

from ..support.heads import head_run, random_samples


def test_one_tag_is_no_class_to_weigh():
    """Its labels are 0 and 1, and there is one weight."""
    tags = np.array([[0], [1], [1]], np.float32)
    assert sample_weights(tags, np.ones(1, np.float32)).tolist() == [1, 1, 1]
    assert sample_weights(tags, np.array([0.75, 1.5], np.float32)).tolist() == [0.75, 1.5, 1.5]


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


@pytest.mark.parametrize(
    "rate", [0.0001, 0.2, *(pytest.param(rate, marks=pytest.mark.thorough) for rate in (0.5, 0.99)), 0.999999]
)
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
    compile_model(joint, how, answer=Answer(4), learning_rate=0.01, epochs=1, steps=5)
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
