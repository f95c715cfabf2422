"""The listener of a workflow: the given one, progress bars in a notebook, or none."""

from __future__ import annotations

import sys

from ..core.errors import InputError
from ..core.progress import Listener, Silent

_METHODS = [name for name in vars(Silent) if not name.startswith("_")]


def listener_of(progress: Listener | None) -> Listener:
    """Return `progress`, or the default: bars in a notebook, else silence."""
    if progress is not None:
        if isinstance(progress, type) or not all(callable(getattr(progress, name, None)) for name in _METHODS):
            raise InputError(
                f"progress is the {'class' if isinstance(progress, type) else 'object'} {progress!r:.80}, no listener",
                "give an object of a class that is derived from edgeproof.Silent, or edgeproof.ProgressBars()",
            )
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
