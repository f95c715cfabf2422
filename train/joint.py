"""A Keras model that trains backbone and head together: phase two of images and texts, and models from scratch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..frameworks.tensorflow import load


def joint_model(
    embed: Callable[[Any, bool], Any],
    head: Any,
    learned: Sequence[Any],
    *,
    beside: Sequence[Any] = (),
    losses: Callable[[], Sequence[Any]] = tuple,
) -> Any:
    """Return a Keras model of `head` (features → probabilities) on ``embed(inputs, training)``, for ``fit``.

    Training moves the head and the backbone's variables `learned`; `beside` change without a gradient (the running
    statistics of batch norms). `losses` are regularization terms: they are minimised, but are not part of the reported
    loss, so that losses before and after can be compared.
    """
    tf, keras = load()
    moved = [*learned, *head.trainable_variables]

    class Joint(keras.Model):  # type: ignore[name-defined]
        def call(self, inputs: Any, training: bool = False) -> Any:
            return head(embed(inputs, bool(training)), training=training)

        @property
        def trainable_weights(self) -> list[Any]:
            return moved

        @property
        def non_trainable_weights(self) -> list[Any]:
            return list(beside)

        @property
        def weights(self) -> list[Any]:
            return [*moved, *beside]

        def train_step(self, data: Any) -> dict[str, Any]:
            inputs, labels, weights = data
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(moved)
                answers = self(inputs, training=True)
                loss = self.compute_loss(inputs, labels, answers, weights)
                goal = loss + tf.add_n([tf.cast(one, tf.float32) for one in losses()] or [0.0])
            self.optimizer.minimize(goal, moved, tape=tape)
            metrics: dict[str, Any] = self.compute_metrics(inputs, labels, answers, weights)
            return metrics

    return Joint(name="joint")
