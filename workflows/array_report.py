"""The data check of arrays that a recipe trains on: what is left of each class, and what to warn of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import SPLITS
from ..core.errors import InputError
from ..data.array_splits import ArraySplits
from ..data.listing import quoted


def report_of(
    samples: str,
    splits: ArraySplits,
    counts: Mapping[str, int],
    labels: Sequence[str],
    classes: NDArray[np.int64] | None,
    *,
    mixed: int = 0,
    columns: Sequence[str] = (),
    rate: int = 0,
) -> dict[str, Any]:
    """Return the data check in the form that the reports show.

    `samples` says what one is; `classes` has the class of each; `mixed` windows have rows of different targets;
    `columns` are the features of a table, `rate` is that of waveforms in Hz.
    """
    warnings = []
    if mixed:
        warnings.append(
            {"what": f"{mixed} windows have rows of different targets: each has its last row's",
             "remedy": "use shorter windows, or a group for each stretch of one target"}
        )  # fmt: skip
    if splits.copies:
        warnings.append(
            {"what": f"{splits.copies} samples are exact copies of samples in another split and are left out: the "
             "copy in test stays, else the one in validation",
             "remedy": "look for rows that were written twice"}
        )  # fmt: skip
    report: dict[str, Any] = {
        "kept": dict(counts),
        "splits": dict(zip(SPLITS, splits.origins, strict=True)),
        "warnings": warnings,
        "sample": samples,
    }
    if rate:
        report["sample_rate"] = rate
    if splits.shared:
        report["windows_left_out"] = f"{splits.shared} share rows with a window of another split"
    if columns:
        report["features"] = list(columns)
    if classes is not None:
        report["classes"] = {
            label: {split: int((classes[splits.indices(code)] == number).sum()) for code, split in enumerate(SPLITS)}
            for number, label in enumerate(labels)
        }
    return report


def check_splits(report: Mapping[str, Any], counts: Mapping[str, int], source: str) -> None:
    """Raise InputError where training or test has no sample, or none of a class."""
    for split in ("train", "test"):
        lost = [label for label, held in report.get("classes", {}).items() if not held[split]]
        if lost or not counts[split]:
            words = f" of {quoted(lost)}" if lost and counts[split] else ""
            raise InputError(
                f"{source}: no sample is left for {split}{words}",
                "give more samples of each class" + ", in several groups" * ("groups" in report["splits"]["test"]),
            )
