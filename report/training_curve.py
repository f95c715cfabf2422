"""The training curve: accuracy and loss by epoch, as a drawing with its figures in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from markupsafe import Markup

from ..core.sanitize import shorten
from . import plots
from .reading import figure
from .svg import inline


def curve(history: Sequence[Mapping[str, Any]], name: str) -> Markup:
    """Return the training curve, or nothing where there is no history of at least two epochs."""
    history = [{key: value for key, value in row.items() if not isinstance(value, float) or figure(value) is not None}
               for row in history]  # fmt: skip
    if len(history) < 2 or not any(isinstance(row.get("loss"), int | float) for row in history):
        return Markup()
    last = ", ".join(f"{shorten(str(k))} {v:.3g}" for k, v in history[-1].items() if isinstance(v, float))
    what = "Accuracy and loss" if any("accuracy" in row for row in history) else "Loss"
    title = f"{what} over {len(history)} epochs; in the last one: {last}"
    return inline(partial(plots.training, history), name, title)
