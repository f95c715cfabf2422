"""The figure of an epoch that people follow: the metric of the task, as evaluation has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..frameworks.tensorflow import load

# The key of a history's row, its name, and how it is written. The first that a row has is shown.
SHOWN = (("mAP", "mAP", ".3f"), ("mean_iou", "mean IoU", ".3f"), ("mae", "MAE", ".4g"), ("accuracy", "accuracy", ".3f"))
_LOGITS = 16.0
_THRESHOLDS = 1000


def described(row: Mapping[str, float]) -> str:
    """Return the task's metric in a row of the history, in words: of validation, without that of training."""
    for prefix, word in (("val_", "val "), ("", "")):
        for key, name, form in SHOWN:
            if prefix + key in row:
                return f"{word}{name} {row[prefix + key]:{form}}"
    return ""


def mean_average_precision(tags: int) -> Any:
    """Return a Keras metric ``mAP`` of targets and sigmoids (n, tags): the mean of the tags that occur, else 0.

    It is the definition of `tasks.average_precision`, with scores that differ by less than 0.03 in their logits as
    equal, so that its state does not grow with the samples.
    """
    tf, keras = load()

    class MeanAveragePrecision(keras.metrics.AUC):  # type: ignore[name-defined]
        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            # Thresholds are evenly spaced, and sigmoids lie close to 0 and 1.
            shares = tf.clip_by_value(tf.cast(y_pred, tf.float32), 1e-7, 1 - 1e-7)
            logits = tf.math.log(shares) - tf.math.log1p(-shares)
            return super().update_state(y_true, (logits / _LOGITS + 1) / 2, sample_weight)

        def result(self) -> Any:
            right, wrong = self.true_positives, self.false_positives  # (thresholds, tags), of ascending thresholds
            occur = right[0] + self.false_negatives[0]
            recall = tf.math.divide_no_nan(right, occur)
            gained = recall - tf.concat([recall[1:], tf.zeros_like(recall[:1])], axis=0)
            each = tf.reduce_sum(gained * tf.math.divide_no_nan(right, right + wrong), axis=0)
            known = tf.cast(occur > 0, tf.float32)
            return tf.math.divide_no_nan(tf.reduce_sum(each * known), tf.reduce_sum(known))

    return MeanAveragePrecision(num_thresholds=_THRESHOLDS, multi_label=True, num_labels=tags, name="mAP")


def mean_iou(classes: int) -> Any:
    """Return a Keras metric ``mean_iou`` of maps (n, h, w) and softmax (n, h, w, classes), or of one sigmoid's maps
    (n, h, w, 1) where there is 1: the mean of the classes that occur."""
    _, keras = load()
    if classes == 1:
        return keras.metrics.BinaryIoU(target_class_ids=(0, 1), threshold=0.5, name="mean_iou")
    return keras.metrics.MeanIoU(classes, sparse_y_pred=False, name="mean_iou")
