"""Starts the process of Keras 3, and turns its outcome into results or messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...core import children
from ...core.errors import InputError, NotInstalledError, StageError, explain_disk_errors
from ...core.store import package_versions
from .keras_model import ADVICE

REMEDY = "pip install 'keras>=3.3'"
MODULE = f"{__package__}.keras3_process"
SECONDS = 900


class KerasError(Exception):
    """Keras 3 could not open the file; the message is its own."""


def check_keras3() -> None:
    """Raise InputError when Keras 3 is missing. Does not import it."""
    version = package_versions(["keras"]).get("keras", "") if find_spec("keras") else ""
    if not version.startswith("3."):
        present = f"keras {version} is" if version else "it is not"
        raise NotInstalledError(f"the file was made with Keras 3, and {present} installed here", REMEDY)


def run(job: dict[str, Any], config: Any, folder: Path, *, trust: bool) -> dict[str, Any]:
    """Do a job of `keras3_process` in `folder`, which must be empty; return its result.

    Without `trust` the process is an isolated Python: it imports no code from the current folder or PYTHONPATH.
    Raises KerasError for Keras's own errors, InputError and StageError as reported by the process, StageError when it
    crashed or did not end.
    """
    check_keras3()
    with explain_disk_errors(folder):
        (folder / "home").mkdir(parents=True)  # an empty configuration: no other backend, no other image format
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        job = {**job, "folder": str(folder.resolve()), "config": str(folder.resolve() / "config.json"), "trust": trust}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, *([] if trust else ["-I"]), "-m", MODULE, str(folder.resolve() / "job.json")]
        env = {
            **os.environ,
            "TF_USE_LEGACY_KERAS": "0",
            "KERAS_BACKEND": "tensorflow",
            "KERAS_HOME": str(folder.resolve() / "home"),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        try:
            ending = children.run(command, timeout=SECONDS, log=folder / "log.txt", env=env)
        except subprocess.TimeoutExpired:
            raise StageError(f"Keras 3 did not open the file within {SECONDS} s", ADVICE) from None
    return _result(folder, ending)


def _result(folder: Path, ending: children.Ending) -> dict[str, Any]:
    path = folder / "result.json"
    if ending.status or not path.is_file():
        why = f"the process that opened the file with Keras 3 ended ({ending.cause}){ending.error_suffix}"
        raise StageError(why, ending.remedy(ADVICE))
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "error" not in result:
        return result
    if not result["error"]:
        raise KerasError(result["message"])
    kind = InputError if result["error"] == "InputError" else StageError
    raise kind(result["message"], result["remedy"])
