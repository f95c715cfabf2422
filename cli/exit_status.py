"""The exit status of commands that judge: one rule for ``run`` and ``evaluate``, one for the limits of ``compare``."""

from __future__ import annotations

from ..core.results import Results

OK, BUDGET, FAILED = 0, 1, 3


def exit_status(results: Results, *, strict: bool = False, failures: int = 0) -> int:
    """Return 3 if models failed or nothing was measured, 1 if the budget is not met, else 0.

    With `strict` a budget that is not shown to be met counts as not met. Without a budget nothing is enforced.
    """
    if failures or nothing_proved(results):
        return FAILED
    verdict = results.budget.get("verdict") or ("met" if results.budget.get("met", True) else "not met")
    return BUDGET if verdict == "not met" or (strict and verdict == "not shown") else OK


def gate_status(verdict: str, *, strict: bool = False) -> int:
    """Return 1 if a gate's verdict is ``not met`` (with `strict` also ``not shown``), else 0."""
    return BUDGET if verdict == "not met" or (strict and verdict == "not shown") else OK


def nothing_proved(results: Results) -> bool:
    """Whether no requested file ran anywhere.

    The float model is only the reference: if files were requested, its own rows do not count.
    """
    exported = {a.id for a in results.artifacts if a.format != "savedmodel"}
    requested = exported or {a.id for a in results.artifacts}
    return not any(m.status == "ok" and m.artifact in requested for m in results.measurements)
