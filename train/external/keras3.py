"""Starts the process that holds Keras 3, and turns what became of it into results or messages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...core.children import kill_group, limit_memory, out_of_memory
from ...core.errors import InputError, NotInstalledError, StageError, explain_disk_errors
from ...core.sanitize import shorten
from ...core.store import package_versions
from .keras_model import ADVICE

REMEDY = "pip install 'keras>=3.3'"
MODULE = f"{__package__}.keras3_process"
SECONDS = 900


class KerasError(Exception):
    """Keras 3 could not open the file; the text is its own."""


def check_keras3() -> None:
    """Raise InputError when Keras 3 is missing. Looks the package up; does not import it."""
    version = package_versions(["keras"]).get("keras", "") if find_spec("keras") else ""
    if not version.startswith("3."):
        found = f"keras {version} is" if version else "it is not"
        raise NotInstalledError(f"the file was made with Keras 3, and {found} installed here", REMEDY)


def run(job: dict[str, Any], config: Any, folder: Path, *, trust: bool) -> dict[str, Any]:
    """Do a job of `keras3_process` in `folder`, which must be empty; return its result.

    Without `trust` the process is an isolated Python: neither the current folder nor PYTHONPATH can bring it code.
    Raises KerasError for what Keras itself says, InputError and StageError as the process found, StageError when it
    crashed or did not end.
    """
    check_keras3()
    with explain_disk_errors(folder):
        (folder / "home").mkdir(parents=True)  # an empty configuration: no other backend, no other image format
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        job = {**job, "folder": str(folder.resolve()), "config": str(folder.resolve() / "config.json"), "trust": trust}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        log = folder / "log.txt"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, *([] if trust else ["-I"]), "-m", MODULE, str(folder.resolve() / "job.json")],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env={
                    **os.environ,
                    "TF_USE_LEGACY_KERAS": "0",
                    "KERAS_BACKEND": "tensorflow",
                    "KERAS_HOME": str(folder.resolve() / "home"),
                    "TF_CPP_MIN_LOG_LEVEL": "2",
                },
            )
            limit_memory(process)
            try:
                code = process.wait(SECONDS)
            except BaseException as error:
                kill_group(process)
                process.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                raise StageError(f"Keras 3 did not open the file within {SECONDS} s", ADVICE) from None
    return _result(folder, code)


def _result(folder: Path, code: int) -> dict[str, Any]:
    path = folder / "result.json"
    if code or not path.is_file():
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        said = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        told = f"; it said: {shorten(said[-1], 200)}" if said else ""
        remedy = "it was probably out of memory" if out_of_memory(code, "\n".join(said[-20:])) else ADVICE
        raise StageError(f"the process that opened the file with Keras 3 ended ({how}){told}", remedy)
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "error" not in result:
        return result
    if not result["error"]:
        raise KerasError(result["message"])
    kind = InputError if result["error"] == "InputError" else StageError
    raise kind(result["message"], result["remedy"])
