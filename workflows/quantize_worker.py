"""The process that runs a supplied ``.tflite`` to fix its shapes or to quantize it. Reads one job as JSON.

It is a separate process because the file is untrusted and the tool runs it to calibrate. TensorFlow is not imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..core import children
from ..core.errors import explain_disk_errors
from .tensorflow_process import CrashError


def run_job(job: dict[str, Any], *, log: Path, timeout: float) -> None:
    """Do a job in a fresh process: ``source``, ``artifact``, ``folder``, ``calibration``, ``record``.

    Or ``source``, ``shapes`` and ``fixed``, the path of its copy with these shapes. Its output goes to `log`. Raises
    CrashError when it crashes or takes longer than `timeout` seconds.
    """
    command = [sys.executable, "-m", "edgeproof.workflows.quantize_worker"]
    with explain_disk_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
        try:
            ending = children.run(command, timeout=timeout, input=json.dumps(job).encode(), log=log, env=env)
        except subprocess.TimeoutExpired as error:
            remedy = "raise its timeout_seconds, or calibrate with fewer --samples"
            raise CrashError(f"quantizing did not end within {timeout:g} s", remedy, "timeout") from error
    if ending.status:
        why = f"the quantizing process ended ({ending.cause}){ending.error_suffix}"
        raise CrashError(why, ending.remedy(f"{log} has what it printed"), "crashed")


def main() -> None:
    """Do the job on standard input."""
    from ..core.artifact import Artifact
    from ..core.codec import from_json
    from ..core.errors import InputError
    from ..export import export_file, fix_shapes

    job = json.loads(sys.stdin.buffer.read())
    if "shapes" in job:
        shapes = {name: tuple(shape) for name, shape in job["shapes"].items()}
        try:
            fixed = fix_shapes(Path(job["source"]).read_bytes(), shapes)
        except InputError as error:
            sys.exit(f"{error.message}")
        Path(job["fixed"]).write_bytes(fixed)
        return
    artifact = from_json(Artifact, job["artifact"], "the job's artifact")
    export_file(
        Path(job["source"]),
        artifact,
        folder=Path(job["folder"]),
        calibration=Path(job["calibration"]) if job["calibration"] else None,
        calibration_record=job["record"],
    )


if __name__ == "__main__":
    main()
