"""How far answers are from golden ones, and whether they are right. A copy of this file is in every bundle.

Needs Python 3.7 and numpy alone. Limits are the `tolerance` of golden.json: they are parts of what the golden answers
differ by among themselves (`spread`), so that neither an answer's unit nor an offset makes them loose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # numpy.typing is younger than what devices may have
    from numpy.typing import NDArray


def spread_of(golden: NDArray[Any], columns: int) -> NDArray[np.float64]:
    """Return how far samples (N, values) differ in each of so many columns (columns,).

    It is the standard deviation over the samples, of a value at its place in the answer; of one sample that over
    the answer's values, and of one value its size.
    """
    values = golden.astype(np.float64).reshape(len(golden), -1, columns)
    if len(values) > 1:
        away = values - values.mean(axis=0)
    else:
        away = values - (values.mean(axis=1, keepdims=True) if values.shape[1] > 1 else 0.0)
    spread: NDArray[np.float64] = np.sqrt((away**2).mean(axis=(0, 1)))
    return spread


def distances(golden: NDArray[Any], answers: NDArray[Any], tolerance: dict[str, Any]) -> NDArray[np.float64]:
    """Return each sample's distance from its golden answer (N,), in parts of the golden answers' spread.

    It is the root of the mean square over the values, of what a difference is more than `slack`, which rounding alone
    may make of it.
    """
    slack, spread = (np.array(tolerance[key], np.float64) for key in ("slack", "spread"))
    away = np.abs(answers.astype(np.float64) - golden).reshape(len(golden), -1, len(spread))
    beyond = np.maximum(away - slack, 0.0) / np.maximum(np.maximum(spread, slack), 1e-30)
    found: NDArray[np.float64] = np.sqrt((beyond**2).mean(axis=(1, 2)))
    return found


def decided(answers: NDArray[Any], decision: dict[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what answers (N, values) decide (N, decisions), and by how much more than the alternative.

    `decision` has a `kind`: ``top``, the number of the highest value; ``pixels``, the same of every pixel's `classes`
    values; ``yes``, whether each value reaches `threshold`; or ``numbers``, the values themselves.
    """
    values = answers.astype(np.float64)
    if decision["kind"] == "yes":
        return (values >= decision["threshold"]).astype(np.int64), np.abs(values - decision["threshold"])
    if decision["kind"] == "numbers":
        return np.round(values).astype(np.int64), np.full(values.shape, np.inf)
    by_class = values.reshape(len(values), -1, decision["classes"])
    ordered = np.sort(by_class, axis=-1)
    return by_class.argmax(axis=-1), ordered[..., -1] - ordered[..., -2]


def flipped(
    golden: NDArray[Any], answers: NDArray[Any], decision: dict[str, Any], tolerance: dict[str, Any]
) -> tuple[int, int, int]:
    """Return how many decisions are others than the golden ones, how many of these are no near ties, and of how many.

    A near tie is decided by less than `near`.
    """
    expected, margins = decided(golden, decision)
    other = decided(answers, decision)[0] != expected
    return int(other.sum()), int((other & (margins > tolerance["near"])).sum()), expected.size


def wrong(
    golden: NDArray[Any], answers: NDArray[Any], decision: dict[str, Any], tolerance: dict[str, Any]
) -> list[str]:
    """Return what is wrong with finite answers (N, values), a line each; nothing where they are the golden ones."""
    if not len(golden):
        return []
    away = distances(golden, answers, tolerance)
    lines = [
        f"sample {index}: the answer differs by {one:.3g} of the spread of the golden ones"
        for index, one in enumerate(away)
        if one > tolerance["most"]
    ]
    for value, limit, words in (
        (float(np.median(away)), tolerance["median"], "in the median"),
        (float(np.sqrt((away**2).mean())), tolerance["all"], "over all samples (root mean square)"),
    ):
        if value > limit:
            lines.append(f"the answers differ {words} by {value:.3g} of their spread, and {limit:.3g} is tolerated")
    if decision["kind"]:
        _, clear, count = flipped(golden, answers, decision, tolerance)
        if clear > np.ceil(tolerance["flips"] * count):
            lines.append(f"{clear} of {count} decisions are others, and no near ties")
    return lines
