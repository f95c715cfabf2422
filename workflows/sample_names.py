"""The names that a file of arrays says for the numbers of its classes, tags or columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..core.errors import InputError
from ..core.sanitize import shorten
from ..tasks.detection import Detection
from ..tasks.multilabel import Multilabel
from ..tasks.regression import Regression
from ..tasks.segmentation import VOID, Segmentation
from .samples import Samples

_GIVE = "give a name for each number from 0: labels=[…]"


def with_names(samples: Samples, names: Sequence[str], source: str) -> Samples:
    """Return samples with the `names` of their classes, tags or columns.

    They are ignored where the targets have names of their own, and where the task has none. Raises InputError for fewer
    names than the targets have numbers, and for tags of another number.
    """
    targets, names = samples.targets, tuple(names)
    if samples.classes is not None:
        if samples.names:
            return samples
        _check_count(int(samples.classes.max()), names, source)
        return replace(samples, names=names, said=True)
    if targets is None:
        return samples
    if samples.task == Segmentation.name:
        known = targets[targets != VOID]
        _check_count(int(known.max()) if known.size else 0, names, source)
    elif samples.task == Detection.name:
        _check_count(int(targets[..., 4].max()) if targets.size else 0, names, source)
    elif samples.task in (Multilabel.name, Regression.name):
        columns = targets.shape[1] if targets.ndim == 2 else 1
        if samples.task == Regression.name:  # columns, which may have any names
            return replace(samples, names=names) if len(names) == columns else samples
        if len(names) != columns:
            raise InputError(f"{source}: labels names {len(names)} tags, and y has {columns}", "name each column of y")
    else:
        return samples
    return replace(samples, names=names, said=True)


def _check_count(most: int, names: Sequence[str], source: str) -> None:
    if most >= len(names):
        raise InputError(f"{shorten(source, 200)}: y has classes up to {most}, and labels names {len(names)}", _GIVE)
