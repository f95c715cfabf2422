"""Where one file answers differently on two devices in the same runtime, sample by sample.

Kernels for another architecture may round differently. Equal answers prove that a figure of one holds on the other;
where they differ, it is said on how many samples, by how much, and on which of them another class comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.measurement import Measurement
from ..tasks.classification import by_class, top_class
from .measure import Answered

LISTED = 50


def device_differences(
    rows: Sequence[Measurement], answered: Mapping[tuple[str, str], Answered], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a row for each file in one runtime on a further device, against its first device.

    `answered` is what `measure.measure` returns. With `labels`, which only classifiers have here
    (`PreparedData.classes`), the largest value of an answer is its class; of two labels one value says it. Rows hold
    ``artifact``, ``runtime``, ``target``, ``against``, ``samples``, ``identical`` (samples whose answers are bit for
    bit the same), ``largest`` (the largest difference of a value), ``classes_changed``, and ``listed``: at most
    `LISTED` samples, those first whose class changes, then by their difference.
    """
    answers = {cell: one.answers for cell, one in answered.items() if one.answers is not None}
    first: dict[tuple[str, str], Measurement] = {}
    found = []
    for row in rows:
        if row.status != "ok" or (row.artifact, row.target) not in answers:
            continue
        base = first.setdefault((row.artifact, row.runtime), row)
        if base.device == row.device:
            continue
        ours, theirs = (np.load(answers[m.artifact, m.target], mmap_mode="r", allow_pickle=False) for m in (row, base))
        if ours.shape == theirs.shape:
            found.append({"artifact": row.artifact, "runtime": row.runtime, "target": row.target,
                          "against": base.target, **_difference(ours, theirs, len(labels))})  # fmt: skip
    return found


def _difference(ours: Any, theirs: Any, classes: int) -> dict[str, Any]:
    largest = np.array([np.abs(a - b).max(initial=0.0) for a, b in zip(ours, theirs, strict=True)], np.float64)
    scores = [by_class(np.asarray(answers), classes) for answers in (ours, theirs)]
    tops = [top_class(one) for one in scores] if classes and scores[0].shape[1] > 1 else None
    changed = tops[0] != tops[1] if tops else np.zeros(len(largest), bool)
    order = sorted(np.flatnonzero(largest), key=lambda i: (not changed[i], -largest[i], i))
    return {
        "samples": len(largest),
        "identical": int((largest == 0).sum()),
        "largest": float(largest.max(initial=0.0)),
        "classes_changed": int(changed.sum()) if tops else None,
        "listed": [
            {
                "sample": int(i),
                "difference": float(largest[i]),
                "class": int(tops[0][i]) if tops else None,
                "class_against": int(tops[1][i]) if tops else None,
            }
            for i in order[:LISTED]
        ],
    }
