"""Heads trained on random features."""

import numpy as np

from edgeproof.core.progress import Silent
from edgeproof.core.recipe_training import Augment
from edgeproof.frameworks.tensorflow import fresh
from edgeproof.train import keras_fit
from edgeproof.train.head import Labelled, class_weights, head_phase, new_head

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
