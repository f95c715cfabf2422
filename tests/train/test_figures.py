"""The task's metric while a model is trained: as evaluation computes it, and in the line of progress."""

from __future__ import annotations

import numpy as np
import pytest

from edgeproof.train.answers import Answer
from edgeproof.train.figures import described

from ..support.metrics import average_precision, mean_iou


@pytest.mark.slow
def test_the_metrics_of_tags_and_maps_are_those_of_the_tasks() -> None:
    draw = np.random.default_rng(3)
    right = (draw.random((300, 4)) < [0.5, 0.1, 0.3, 0]).astype(np.float32)
    scores = 1 / (1 + np.exp(-(6 * right + 4 * draw.normal(size=right.shape) - 2)))
    (metric,) = Answer(4, "sigmoid", tags=True).own_metrics()
    for at in range(0, 300, 64):
        metric.update_state(right[at : at + 64], scores[at : at + 64].astype(np.float32))
    expected = np.mean([average_precision(scores[:, tag], right[:, tag].astype(int)) for tag in range(3)])
    assert metric.name == "mAP" and float(metric.result()) == pytest.approx(expected, abs=2e-3)

    maps = draw.integers(0, 3, (5, 8, 8))
    maps[0, :2] = 255
    given = draw.random((5, 8, 8, 4)).astype(np.float32)
    for answer, targets, values, answers in (
        (Answer(4, maps=True), np.where(maps == 255, 0, maps), given, given.argmax(axis=-1)),
        (Answer(1, "sigmoid", maps=True), (maps == 1)[..., None], given[..., :1], (given[..., 0] > 0.5).astype(int)),
    ):
        (metric,) = answer.own_metrics()
        metric.update_state(targets, values, (maps != 255).astype(np.float32))
        judged = np.where(maps == 255, 255, targets.reshape(maps.shape))
        assert float(metric.result()) == pytest.approx(np.mean(list(mean_iou(answers, judged, 255).values())))
    assert not Answer(3).own_metrics() and not Answer(2, "linear", mean=(0.0,) * 2, deviation=(1.0,) * 2).own_metrics()


def test_a_line_of_progress_tells_the_metric_of_the_task() -> None:
    row = {"loss": 0.5, "accuracy": 0.75, "val_accuracy": 0.5}
    assert described(row) == "val accuracy 0.500"
    assert described({**row, "mAP": 0.9, "val_mAP": 0.8}) == "val mAP 0.800"
    assert described({**row, "mean_iou": 0.25, "val_mean_iou": 0.125}) == "val mean IoU 0.125"
    assert described({"mae": 12.345678, "val_mae": 23.456789}) == "val MAE 23.46"
    assert described({"loss": 1.0, "mAP": 0.25, "accuracy": 0.5}) == "mAP 0.250" and described({"loss": 1.0}) == ""
