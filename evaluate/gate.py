"""Loading is not working: a file that answers on one runtime otherwise than on the others is no file to ship there.

An old runtime may load a file whose operators it computes wrongly; only its answers tell. But runtimes differ rightly
too: the kernels of int8 round differently, and on a model that is unsure of its samples this moves many top classes,
towards the float model's as often as away from them. What goes wrong moves them away.

So each target's answers are held against one yardstick, the float model's top classes (the labels, where it was not
run), and its share of agreement against that of the best of the artifact's other targets, sample by sample. A target is
broken when it loses more than `TOLERANCE` of all samples beyond chance: when the lower end of the paired interval of
the loss (`statistics.paired_drop`, at `CONFIDENCE`) lies above it. That is about what is lost between two runtimes: a
file that answers badly everywhere is a bad file, which the budget tells, not a runtime's failure.

Measured for scale: eight int8 files in LiteRT 2.3 and tflite-runtime 2.14 differed by 0.3 to 4.3 points of agreement
with the float model, with nothing wrong; a dense layer with a scale for each channel, which tflite-runtime 2.14
computes with the first scale alone, fell from 0.94 to 0.00.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.artifact import Artifact
from ..core.measurement import Measurement
from .statistics import paired_drop
from .units import percent, percent_range, points

TOLERANCE = 0.10
CONFIDENCE = 0.999

Classes = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Broken:
    """A target on which a file loads and answers wrongly.

    `share` of its answers agree with the yardstick; on `best_target` it is `best`. `low` and `high` bound the loss.
    """

    target: str
    share: float
    best_target: str
    best: float
    low: float
    high: float


def broken_targets(tops: Mapping[str, Classes], yardstick: Classes) -> list[Broken]:
    """Return on which targets one artifact answers wrongly. The rule is in this module's docstring.

    `tops` are its top classes (samples,) by target, `yardstick` the right ones (samples,): the float model's, or the
    labels. With a single target there is nothing to compare, and none is broken. Raises ValueError when the lengths
    differ.
    """
    agrees = {target: np.asarray(top) == np.asarray(yardstick) for target, top in tops.items() if len(yardstick)}
    found = []
    for target, mine in agrees.items():
        others = {name: right for name, right in agrees.items() if name != target}
        if not others:
            continue
        best = max(others, key=lambda name: float(others[name].mean()))
        loss, low, high = paired_drop(others[best], mine, CONFIDENCE)
        if loss > TOLERANCE and low > TOLERANCE:
            found.append(Broken(target, float(mine.mean()), best, float(others[best].mean()), low, high))
    return found


def gate(
    rows: Sequence[Measurement],
    artifacts: Sequence[Artifact],
    answers: Mapping[tuple[str, str], Classes],
    *,
    references: Mapping[str, str],
    labels: Classes | None = None,
) -> list[Measurement]:
    """Return the rows that are ``ok`` and must not be, replaced by ``failed`` ones with the reason in figures.

    `answers` are top classes by (artifact id, target), as `measure.measure` returns them, and `references` the float
    reference's id by model, as it takes them; `labels` (samples,) stand in for a reference that did not run. Figures
    stay in the rows: they are what the reason speaks of. Files whose answers are single values have no top class and
    are not judged.
    """
    model_of = {artifact.id: artifact.model for artifact in artifacts if artifact.format != "savedmodel"}
    alive = {(row.artifact, row.target): row for row in rows if row.status == "ok"}
    failed = []
    for artifact, model in model_of.items():
        tops = {target: top for (name, target), top in answers.items() if (name, target) in alive and name == artifact}
        reference = next((top for (name, _), top in answers.items() if name == references.get(model)), None)
        yardstick = labels if reference is None else reference
        if yardstick is None:
            continue
        words = "the labels" if reference is None else "the float model"
        failed += [_failed(alive[artifact, one.target], one, words) for one in broken_targets(tops, yardstick)]
    return failed


def _failed(row: Measurement, broken: Broken, yardstick: str) -> Measurement:
    interval = percent_range(broken.low, broken.high)
    return replace(
        row,
        status="failed",
        reason=f"it loads and answers wrongly: it agrees with {yardstick} on {percent(broken.share)} of the samples, "
        f"where on {broken.best_target} it agrees on {percent(broken.best)} (it loses "
        f"{points(broken.best - broken.share)}, {100 * CONFIDENCE:g} % interval {interval})",
        remedy="do not ship this pair: use another scheme for this runtime, or a newer runtime",
    )
