"""The report on a piece of work."""

from typing import Any, Dict

from .errors import Busy, Unsupported


def guarded(work: Any) -> Dict[str, Any]:
    """Return the report on a piece of work. Failures of the file or the runtime are reported, not raised."""
    try:
        return {"status": "ok", "reason": "", "data": work()}
    except Unsupported as error:
        return {"status": "unsupported", "reason": str(error), "data": {}}
    except Busy as error:
        return {"status": "skipped", "reason": "Busy: {}".format(error), "data": {}}
    except Exception as error:  # a runtime may raise anything
        return {"status": "failed", "reason": "{}: {}".format(type(error).__name__, error), "data": {}}
