"""Makes Keras objects for ``compile`` from ``[train]``: optimizer, learning rate, loss and metrics."""

from __future__ import annotations

from typing import Any

from ..core.recipe import MOMENTUM, Train
from ..frameworks.tensorflow import load
from .answers import Answer

OPTIMIZERS = {
    "adam": "Adam",
    "adamw": "AdamW",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "nadam": "Nadam",
    "adamax": "Adamax",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "lion": "Lion",
}


def compile_model(
    model: Any,
    spec: Train,
    *,
    answer: Answer,
    learning_rate: float,
    epochs: int,
    steps: int,
    at_once: int = 1,
    mixed: bool = False,
    weighted: bool = False,
) -> Any:
    """Compile `model` (inputs → answers (n, units)) for the targets of `answer` and return it.

    The schedule spans `epochs` of `steps` each. Keras runs `at_once` steps in one call of TensorFlow. Optimizer and
    metrics get their variables here, so that Keras traces a step once and not twice. `mixed` scales the loss, which
    float16 gradients need. `weighted`: metrics count the weights of samples, too.
    """
    _, keras = load()
    optimizer = make_optimizer(spec, learning_rate, epochs=epochs, steps=steps)
    if mixed:
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer,
        answer.loss(spec.label_smoothing),
        **{
            "weighted_metrics" if weighted else "metrics": [
                *(answer.metric(name) for name in spec.metrics),
                *answer.own_metrics(),
            ]
        },
        steps_per_execution=at_once,
    )
    return model


def make_optimizer(spec: Train, learning_rate: float, *, epochs: int, steps: int) -> Any:
    """Return the optimizer, with Keras' defaults for options that the recipe does not set."""
    _, keras = load()
    settings: dict[str, Any] = {"learning_rate": _rate(spec, learning_rate, epochs, steps)}
    if spec.weight_decay is not None:
        settings["weight_decay"] = spec.weight_decay
    if spec.optimizer in MOMENTUM:
        settings["momentum"] = spec.momentum
    return getattr(keras.optimizers, OPTIMIZERS[spec.optimizer])(**settings)


def _rate(spec: Train, start: float, epochs: int, steps: int) -> Any:
    _, keras = load()
    schedule = spec.schedule
    if schedule.kind == "cosine":
        return keras.optimizers.schedules.CosineDecay(start, epochs * steps, alpha=schedule.final)
    if schedule.kind == "exponential":
        return keras.optimizers.schedules.ExponentialDecay(start, steps, schedule.decay)
    return start


def make_loss(smoothing: float, classes: int) -> Any:
    """Return cross-entropy of labels (n,) and probabilities (n, classes); Keras smooths one-hot labels only."""
    tf, keras = load()
    if not smoothing:
        return keras.losses.SparseCategoricalCrossentropy()

    def smoothed(labels: Any, probabilities: Any) -> Any:
        one_hot = tf.one_hot(tf.cast(tf.reshape(labels, [-1]), tf.int32), classes)
        return keras.losses.categorical_crossentropy(one_hot, probabilities, label_smoothing=smoothing)

    return smoothed


def make_metric(name: str, classes: int) -> Any:
    """Return a Keras metric of labels (n,) and probabilities (n, classes).

    ``top_k_accuracy``: the label is among the k likeliest; ``precision`` and ``recall``: of probabilities above one
    half, over all classes; ``f1``: the mean over classes; ``auc``: each class against the rest, averaged.
    """
    _, keras = load()
    metrics = keras.metrics
    if name == "accuracy":
        return metrics.SparseCategoricalAccuracy(name=name)
    if name.startswith("top_"):
        return metrics.SparseTopKCategoricalAccuracy(k=min(int(name.split("_")[1]), classes), name=name)
    if name == "precision":
        return _one_hot(metrics.Precision, classes)(name=name)
    if name == "recall":
        return _one_hot(metrics.Recall, classes)(name=name)
    if name == "f1":
        metric = _one_hot(metrics.F1Score, classes)(average="macro", name=name)
        metric.build((None, classes), (None, classes))
        return metric
    return _one_hot(metrics.AUC, classes)(multi_label=True, num_labels=classes, name=name)


def _one_hot(kind: Any, classes: int) -> Any:
    """Turn a metric of one-hot labels into one of labels (n,)."""
    tf, _ = load()

    class OneHot(kind):
        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            one_hot = tf.one_hot(tf.cast(tf.reshape(y_true, [-1]), tf.int32), classes)
            return super().update_state(one_hot, y_pred, sample_weight=sample_weight)

    return OneHot
