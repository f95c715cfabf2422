"""Who hears how far the work is: the listener that was given, a bar in a notebook, and else nobody."""

from __future__ import annotations

import sys

from ..core.progress import Listener, Silent


def listener_of(progress: Listener | None) -> Listener:
    """Return `progress`, and where there is none what is usual here."""
    if progress is not None:
        return progress
    if _in_notebook():
        from ..report.progress_bars import ProgressBars

        return ProgressBars()
    return Silent()


def _in_notebook() -> bool:
    """Whether this is a notebook, which rich tells by its shell. IPython is asked only where it is imported already."""
    if "IPython" not in sys.modules:
        return False
    from rich.console import Console

    return Console().is_jupyter
