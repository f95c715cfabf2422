"""The listener of a workflow: the given one, progress bars in a notebook, or none."""

from __future__ import annotations

import sys

from ..core.progress import Listener, Silent


def listener_of(progress: Listener | None) -> Listener:
    """Return `progress`, or the default: bars in a notebook, else silence."""
    if progress is not None:
        return progress
    if _in_notebook():
        from ..report.progress_bars import ProgressBars

        return ProgressBars()
    return Silent()


def _in_notebook() -> bool:
    """Whether this is a notebook, by its IPython shell. IPython is checked only if it is imported already."""
    if "IPython" not in sys.modules:
        return False
    from rich.console import Console

    return Console().is_jupyter
