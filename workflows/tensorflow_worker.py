"""The process that holds TensorFlow: reads jobs as JSON lines, does them one after another, answers in JSON lines.

It is a separate process because TensorFlow takes seconds to import (once, while the data are being prepared), because
its converter can crash a process, and because two runtimes in one process disturb each other.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from ..core.codec import from_json
from ..core.errors import EdgeproofError
from ..core.progress import Silent


class _Answers(Silent):
    """Writes answers to the original standard output; TensorFlow's output goes to the log."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
        self._lock = threading.Lock()
        os.dup2(2, 1)

    def send(self, event: str, **facts: Any) -> None:
        with self._lock:
            self._stream.write(json.dumps({"event": event, **facts}, default=str) + "\n")
            self._stream.flush()

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        self.send("progress", task=task, done=done, total=total, note=note)

    def note(self, level: str, message: str, **facts: Any) -> None:
        self.send("note", level=level, message=message, facts=facts)


def _prepare(job: dict[str, Any], answers: _Answers) -> None:
    from ..core.recipe_data import Data
    from ..data import prepare

    prepare(
        Data.model_validate(job["data"]),
        seed=job["seed"],
        image_size=job["image_size"],
        resize=job["resize"],
        folder=Path(job["folder"]),
        workspace=Path(job["workspace"]),
        listener=answers,
        workers=job["workers"],
        use=job["use"],
    )


def _fit(job: dict[str, Any], answers: _Answers) -> None:
    from ..core.dataset import load_prepared
    from ..core.recipe import ModelSpec, Train

    data = load_prepared(Path(job["data"]))
    spec, train = ModelSpec.model_validate(job["spec"]), Train.model_validate(job["train"])
    options: dict[str, Any] = {
        "seed": job["seed"], "data": data, "folder": Path(job["folder"]), "workspace": Path(job["workspace"]),
        "listener": answers, "shared": Path(job["shared"]) if job["shared"] else None,
    }  # fmt: skip
    if data.kind == "text":
        from ..train.text.fit import fit_text

        fit_text(spec, train, **options)
        return
    if data.kind == "tensor":
        from ..train.backbones import SENSOR_NETWORKS

        if spec.backbone in SENSOR_NETWORKS:
            from ..train.sensor.fit import fit_numbers

            fit_numbers(spec, train, **options)
        else:
            from ..train.sound.fit import fit_sounds

            fit_sounds(spec, train, **options)
        return
    if data.task == "segmentation":
        from ..train.segment.fit import fit_maps

        fit_maps(spec, train, **options)
        return
    from ..devices.cluster.connection import helpers_of
    from ..train.fit import fit

    with helpers_of(job["cluster"], answers) as helpers:
        fit(spec, train, **options, helpers=helpers)


def _export(job: dict[str, Any], _answers: _Answers) -> None:
    from ..core.model import load_model
    from ..core.recipe import Export
    from ..core.variant import Variant
    from ..export import export

    export(
        load_model(Path(job["model"])),
        Variant.parse(job["variant"]),
        options=Export.model_validate(job["options"]),
        folder=Path(job["workspace"]),
        calibration=Path(job["calibration"]) if job["calibration"] else None,
        calibration_record=job["calibration_record"],
        maker=job["maker"],
    )


def _mixed(job: dict[str, Any], _answers: _Answers) -> None:
    from ..core.model import load_model
    from ..export.mixed import export_mixed

    export_mixed(
        load_model(Path(job["model"])),
        job["kept"],
        keep=job["keep"],
        maker=job["maker"],
        folder=Path(job["workspace"]),
        calibration=Path(job["calibration"]),
        calibration_record=job["calibration_record"],
    )


def _train_further(job: dict[str, Any], answers: _Answers) -> None:
    from ..core.dataset import load_prepared
    from ..core.model import load_model
    from ..core.recipe_quantize import Quantize
    from ..quantize.aware_training import train_further

    train_further(
        load_model(Path(job["model"])),
        job["kind"],
        Quantize.model_validate(job["settings"]),
        data=load_prepared(Path(job["data"])),
        calibration=Path(job["calibration"]) if job["calibration"] else None,
        seed=job["seed"],
        workspace=Path(job["workspace"]),
        listener=answers,
    )


def _import_model(job: dict[str, Any], answers: _Answers) -> None:
    from ..train.external import ImportOptions, import_model

    options = from_json(ImportOptions, job["options"])
    import_model(Path(job["path"]), options, name=job["name"], workspace=Path(job["workspace"]), listener=answers)


JOBS = {
    "import": _import_model,
    "prepare": _prepare,
    "fit": _fit,
    "train_further": _train_further,
    "export": _export,
    "mixed": _mixed,
}


def _end_with_parent(parent: int) -> None:
    """Exit when the parent process is gone: a killed run must not keep writing into its store."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    """Serve jobs until standard input ends."""
    answers = _Answers()
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    from ..frameworks import tensorflow

    tensorflow.load()  # while the caller still prepares the first job
    # Its modules stay: the searches for garbage that each conversion starts need not go through them. And tracing makes
    # so many objects that searching after every 700 takes a twentieth of its time.
    gc.freeze()
    gc.set_threshold(20_000)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            JOBS[job["job"]](job, answers)
            answers.send("done")
        except EdgeproofError as error:
            answers.send("error", kind=type(error).__name__, message=error.message, remedy=error.remedy)
        except MemoryError:
            answers.send(
                "error", kind="StageError", message=f"{job['job']}: out of memory", remedy="use a smaller batch"
            )
        except Exception as error:  # the caller shows one line and logs the rest
            answers.send(
                "error", kind="", message=f"{type(error).__name__}: {error}"[:2000], trace=traceback.format_exc()
            )


if __name__ == "__main__":
    main()
