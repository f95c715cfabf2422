"""The 95 % interval of a metric that is no mean over samples, such as mean IoU: bootstrap over samples.

Samples are drawn with replacement, as often as there are; the interval is that of the metric's percentiles (Efron 1979,
https://doi.org/10.1214/aos/1176344552). Of two files the same samples are drawn, so that the interval of the drop is
paired. A draw is how often each sample was taken: a metric is computed from these weights, all draws at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
# Draws of fewer samples are too much alike to say what others would give: there is no interval.
FEWEST = 10
_SEED = 1
_CHUNK = 1 << 22  # weights that are held at once

Floats = NDArray[np.float64]
# From `parts` (samples, …), what each sample adds to the metric, and weights (draws, samples): the metric (draws,).
Metric = Callable[[NDArray[Any], Floats], Floats]


def value(metric: Metric, parts: NDArray[Any]) -> float:
    """Return the metric over all samples. Raises ValueError for no sample."""
    if not len(parts):
        raise ValueError("no sample")
    return float(metric(parts, np.ones((1, len(parts))))[0])


def interval(metric: Metric, parts: NDArray[Any]) -> tuple[float, float]:
    """Return the 95 % interval of the metric; NaN of fewer samples than `FEWEST`."""
    if len(parts) < FEWEST:
        return float("nan"), float("nan")
    return _percentiles(np.concatenate([metric(parts, weights) for weights in _draws(len(parts))]))


def drop_interval(metric: Metric, reference: NDArray[Any], parts: NDArray[Any]) -> tuple[float, float]:
    """Return the 95 % interval of the reference's metric less this one's; NaN of fewer samples than `FEWEST`.

    Raises ValueError for other samples.
    """
    if len(reference) != len(parts):
        raise ValueError(f"{len(reference)} and {len(parts)} samples: the drop is of the same ones")
    if len(parts) < FEWEST:
        return float("nan"), float("nan")
    drops = [metric(reference, weights) - metric(parts, weights) for weights in _draws(len(parts))]
    return _percentiles(np.concatenate(drops))


def sign_p(metric: Metric, reference: NDArray[Any], parts: NDArray[Any]) -> float:
    """Return the two-sided p of no difference: how seldom draws of the same samples fall on the rarer side of 0.

    One draw more is counted there, so that it is never 0 (Davison and Hinkley 1997, section 4.2).
    """
    drops = np.concatenate([metric(reference, weights) - metric(parts, weights) for weights in _draws(len(parts))])
    drops = drops[np.isfinite(drops)]
    rarer = min(int((drops <= 0).sum()), int((drops >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(drops) + 1))


def _percentiles(values: Floats) -> tuple[float, float]:
    # Draws that lack what the metric needs, such as any sample of a tag, have none.
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (float("nan"), float("nan"))
    return float(low), float(high)


def _draws(samples: int) -> Iterator[Floats]:
    random, step = np.random.default_rng(_SEED), max(1, _CHUNK // max(1, samples))
    for start in range(0, DRAWS, step):
        count = min(step, DRAWS - start)
        yield random.multinomial(samples, np.full(samples, 1 / samples), size=count).astype(np.float64)
