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

from ..core.statistics import CONFIDENCE

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
    return _percentiles(drawn(metric, parts), CONFIDENCE)


def mean_of_known(values: Floats, axis: int) -> Floats:
    """Return the mean of what is not NaN along an axis; NaN where nothing is."""
    known = np.isfinite(values)
    total, count = np.where(known, values, 0.0).sum(axis=axis), known.sum(axis=axis)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def drawn(metric: Metric, parts: NDArray[Any]) -> Floats:
    """Return the metric in each draw (draws,); of as many samples the draws are the same."""
    return np.concatenate([metric(parts, weights) for weights in _draws(len(parts))])


def drawn_drops(metric: Metric, reference: NDArray[Any], parts: NDArray[Any]) -> Floats:
    """Return the reference's metric less this one's in each draw (draws,); none of fewer samples than `FEWEST`.

    Raises ValueError for other samples.
    """
    if len(reference) != len(parts):
        raise ValueError(f"{len(reference)} and {len(parts)} samples: the drop is of the same ones")
    if len(parts) < FEWEST:
        return np.zeros(0)
    return np.concatenate([metric(reference, weights) - metric(parts, weights) for weights in _draws(len(parts))])


def drop_interval(drops: Floats, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of `drawn_drops`; NaN where there are none.

    Its ends are draws: of a confidence beyond that of 1,000 draws they are the outermost ones.
    """
    return _percentiles(drops, confidence)


def sign_p(drops: Floats) -> float:
    """Return the two-sided p of no difference: how seldom `drawn_drops` fall on the rarer side of 0.

    One draw more is counted there, so that it is never 0 (Davison and Hinkley 1997, section 4.2).
    """
    drops = drops[np.isfinite(drops)]
    rarer = min(int((drops <= 0).sum()), int((drops >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(drops) + 1))


def _percentiles(values: Floats, confidence: float) -> tuple[float, float]:
    # Draws that lack what the metric needs, such as any sample of a tag, have none.
    values = values[np.isfinite(values)]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail]) if len(values) else (float("nan"), float("nan"))
    return float(low), float(high)


def _draws(samples: int) -> Iterator[Floats]:
    random, step = np.random.default_rng(_SEED), max(1, _CHUNK // max(1, samples))
    for start in range(0, DRAWS, step):
        count = min(step, DRAWS - start)
        yield random.multinomial(samples, np.full(samples, 1 / samples), size=count).astype(np.float64)
