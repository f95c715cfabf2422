"""What a command that proves files exits with: one rule for ``run`` and ``evaluate``."""

from __future__ import annotations

from ..core.results import Results

OK, BUDGET, FAILED = 0, 1, 3


def exit_status(results: Results, *, strict: bool = False, failures: int = 0) -> int:
    """Return 3 where models failed or nothing was proved, 1 where the budget is not met, else 0.

    With `strict` a budget that is not shown to be met counts as not met. Without a budget nothing is asked.
    """
    if failures or nothing_proved(results):
        return FAILED
    verdict = results.budget.get("verdict") or ("met" if results.budget.get("met", True) else "not met")
    return BUDGET if verdict == "not met" or (strict and verdict == "not shown") else OK


def nothing_proved(results: Results) -> bool:
    """Whether no file that was asked for ran anywhere.

    The float model itself is what files are compared with: where files were asked for, its own rows prove nothing.
    """
    exported = {a.id for a in results.artifacts if a.format != "savedmodel"}
    asked = exported or {a.id for a in results.artifacts}
    return not any(m.status == "ok" and m.artifact in asked for m in results.measurements)
