"""Activation ranges by calibration: each sample's extremes of each tensor, and methods that derive a range from them.

No method is the best for all models. A moving average cuts the tails. That spends 8 bits on the usual values of
images, whose samples have thousands of values each. It ruins a model whose samples have a few values each, because
there a sample's extreme is not the tensor's. So all extremes are stored, and `quantizer` tries the methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .samples import Feeds

MIN_MAX = "min-max"
PERCENTILE = "percentiles of each sample's minimum and maximum (2 and 98)"
MOVING_AVERAGE = "moving average of each sample's minimum and maximum (0.95)"

_Side = NDArray[np.float64]
# Tensor name → lowest and highest value in each sample.
Extremes = dict[str, tuple[_Side, _Side]]


def _moving_average(values: _Side) -> float:
    average = float(values[0])
    for value in values[1:]:
        average = 0.95 * average + 0.05 * float(value)
    return average


# How a tensor's (lowest, highest) value follows from those of all samples, in the order in which equals are preferred.
METHODS: dict[str, Callable[[_Side, _Side], tuple[float, float]]] = {
    MIN_MAX: lambda lows, highs: (float(lows.min()), float(highs.max())),
    PERCENTILE: lambda lows, highs: (float(np.percentile(lows, 2)), float(np.percentile(highs, 98))),
    MOVING_AVERAGE: lambda lows, highs: (_moving_average(lows), _moving_average(highs)),
}


def extremes(source: bytes, samples: Feeds) -> Extremes:
    """Run the float file `source`, which has a signature, on all `samples`, and return its tensors' extremes.

    The runtime's profiler records them: ten times as fast as reading every tensor back.
    """
    from ai_edge_quantizer import calibrator

    mode = calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED
    recorder = calibrator.Calibrator(source, 1, mode, qsv_update_func=_append)
    key = next(iter(recorder.get_signature_list()))
    recorder.calibrate({key: list(samples())}, None)
    return {name: (values["min"], values["max"]) for name, values in recorder.get_model_qsvs().items()}


def ranges(reached: Extremes, method: str, chosen: Sequence[int] | None = None) -> dict[str, Any]:
    """Return each tensor's range by `method`, in ai-edge-quantizer's form; from `chosen` samples alone, if given."""
    index = slice(None) if chosen is None else list(chosen)
    by_tensor = {}
    for name, (lows, highs) in reached.items():
        low, high = METHODS[method](np.asarray(lows, float)[index], np.asarray(highs, float)[index])
        by_tensor[name] = {"min": np.array([low], np.float32), "max": np.array([high], np.float32)}
    return by_tensor


def _append(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Join two samples' statistics by keeping both; a hook of the tool."""
    return {side: np.concatenate([before[side], now[side]]) for side in ("min", "max")}
