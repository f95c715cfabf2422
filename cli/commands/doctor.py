"""``edgeproof doctor``: checks this environment and says how to fix it."""

from __future__ import annotations

import click


@click.command(short_help="Check this environment and say how to fix it.")
@click.argument("device", required=False, default="")
@click.option("--fix", is_flag=True, help="Do what can be done about what DEVICE lacks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(device: str, fix: bool, as_json: bool) -> int:
    """Check Python, packages, runtimes, weights and disk, or a DEVICE of devices.toml.

    Exit status 1 when something is missing for the main job.
    """
    from ...core.environment import environment
    from ...workflows.doctor import doctor
    from ..output import show_json
    from ..terminal import echo

    checks = doctor(device, fix=fix)
    if as_json:
        facts = {} if device else {"environment": environment()}
        show_json({**facts, "checks": [check.__dict__ for check in checks]})
    else:
        for check in checks:
            mark = {"ok": "✓", "missing": "✗", "note": "·"}[check.state]
            echo(f"{mark} {check.what}: {check.found}" + (f"\n    → {check.remedy}" if check.remedy else ""))
    return 1 if any(check.state == "missing" for check in checks) else 0
