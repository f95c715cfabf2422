"""Cross-runtime consistency: fail a target whose predictions diverge from those of the file's other targets.

An old runtime may load a file whose operators it computes wrongly; only the answers show that. Some divergence is
normal: int8 kernels round differently, and on a model that is unsure of its samples this changes many top classes,
towards the float model's as often as away from them. A wrong kernel changes them away from the float model's.

Each target's answers are compared with one reference: the float model's answers (the labels, where it was not run),
by what `tasks.agreement` counts: top classes, elements, or the relative error of numbers. A target's agreement is
compared with that of the file's best other target, sample by sample. The target is inconsistent when it loses more
than `TOLERANCE` beyond chance: when the lower end of the paired interval of the loss (`statistics.paired_loss`, at
`CONFIDENCE`) is above it. This is about the loss between two runtimes. A file that answers badly everywhere is a bad
file: the budget rejects it, and no runtime is at fault.

Measured for scale: eight int8 files in LiteRT 2.3 and tflite-runtime 2.14 differed by 0.3 to 4.3 points of agreement
with the float model, with nothing wrong. A dense layer with one scale per channel, which tflite-runtime 2.14 computes
with the first scale alone, fell from 0.94 to 0.00.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core.artifact import Artifact
from ..core.formatting import percent, percent_range, points
from ..core.measurement import Measurement
from ..core.statistics import paired_loss
from ..tasks.agreement import Scores, shares_of
from .measure import Answered

TOLERANCE = 0.10
CONFIDENCE = 0.999


@dataclass(frozen=True)
class Inconsistency:
    """A target on which a file loads and answers wrongly.

    `share` of its answers agree with the reference; on `best_target` it is `best`. `low` and `high` bound the loss.
    """

    target: str
    share: float
    best_target: str
    best: float
    low: float
    high: float


def inconsistent_targets(agrees: Mapping[str, Scores]) -> list[Inconsistency]:
    """Return the targets on which one artifact answers inconsistently. The rule is in this module's docstring.

    `agrees` says by target how far each sample's answer is the right one (samples,), from 0 to 1. With a single target
    there is nothing to compare, and none is inconsistent. Raises ValueError when the lengths differ.
    """
    agrees = {target: np.asarray(scores, np.float64) for target, scores in agrees.items() if len(scores)}
    inconsistent = []
    for target, mine in agrees.items():
        others = {name: right for name, right in agrees.items() if name != target}
        if not others:
            continue
        best = max(others, key=lambda name: float(others[name].mean()))
        loss, low, high = paired_loss(others[best], mine, CONFIDENCE)
        if loss > TOLERANCE and low > TOLERANCE:
            inconsistent.append(Inconsistency(target, float(mine.mean()), best, float(others[best].mean()), low, high))
    return inconsistent


def inconsistent_rows(
    rows: Sequence[Measurement],
    artifacts: Sequence[Artifact],
    answers: Mapping[tuple[str, str], Answered],
    *,
    references: Mapping[str, str],
) -> list[Measurement]:
    """Return the ``ok`` rows of inconsistent targets as ``failed`` ones, with the reason in figures.

    `answers` are by (artifact id, target), as `measure.measure` returns them, and `references` the float reference's id
    by model, as it takes them; a reference that did not run is replaced by the labels (each answer's
    scores). The rows keep their figures: the reason names them.
    """
    model_of = {artifact.id: artifact.model for artifact in artifacts}
    alive = {(row.artifact, row.target): row for row in rows if row.status == "ok"}
    failed = []
    ran = {name for name, _ in answers}
    for artifact, model in model_of.items():
        mine = {
            target: answer for (name, target), answer in answers.items() if name == artifact and (name, target) in alive
        }
        if references.get(model) in ran:
            agrees = {target: a.likeness for target, a in mine.items() if a.likeness is not None}
            words = "the float model"
        else:
            agrees = {target: a.scores for target, a in mine.items() if a.scores is not None}
            words = "the labels"
        failed += [_failed(alive[artifact, one.target], one, words) for one in inconsistent_targets(agrees)]
    return failed


def _failed(row: Measurement, inconsistency: Inconsistency, reference: str) -> Measurement:
    interval = percent_range(inconsistency.low, inconsistency.high)
    return replace(
        row,
        status="failed",
        reason=f"it loads and answers wrongly: it agrees with {reference} on {percent(inconsistency.share)} of the "
        f"{shares_of(row.agreement_by)}, where on {inconsistency.best_target} it agrees on "
        f"{percent(inconsistency.best)} (it loses {points(inconsistency.best - inconsistency.share)}, "
        f"{100 * CONFIDENCE:g} % interval {interval})",
        remedy="do not ship this pair: use another scheme for this runtime, or a newer runtime",
    )
