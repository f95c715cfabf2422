"""The process that runs one row: ``python -m benchmarks.coverage.worker JOB``. Each result is written at once."""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof.core.artifact import Artifact
from edgeproof.core.errors import EdgeproofError, InputError
from edgeproof.core.model import Model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export
from edgeproof.core.recipe_data import Data
from edgeproof.core.recipe_quantize import Qat, Quantize
from edgeproof.core.target import Target
from edgeproof.core.variant import Variant

from .agreement import agreement
from .rows import FINE_TUNE, MODEL, OLD_RUNTIME, RowSpec, all_rows
from .sources import SEED, Source, open_source
from .state import Cell

RUNTIME = {"tflite": "litert", "onnx": "onnxruntime"}
OLD = Target("local", "tflite-runtime")
# Small steps: the row tests only that training works; random weights cannot be improved in two steps.
QAT = Quantize(qat=Qat(epochs=1, frozen_epochs=0, samples=16, batch_size=8, learning_rate=1e-6))
HEAD_WEIGHTS = 2  # kernel and bias
# Remedies for a file that does not agree with its model; they are tested on that model before they are reported.
UNLIKE = {
    "tflite:int8": "use tflite:int16x8, tflite:dynamic or tflite:float16",
    "tflite:int16x8": "use tflite:dynamic or tflite:float16",
    "tflite:dynamic": "use tflite:weight-int8 or tflite:float16",
    "tflite:qat-int8": "use tflite:int8, tflite:int16x8, tflite:dynamic or tflite:float16",
    "onnx:int8": "use onnx:dynamic or onnx:float16",
}
LEAST_SPREAD = 1e-4  # of answers over samples, relative to the largest: constant answers would prove nothing
_VARIANTS = re.compile(r"(?:tflite|onnx):[a-z0-9][a-z0-9-]*")


class Row:
    """The state of one row: its model, the float model's answers, and the exported files."""

    def __init__(
        self,
        row: RowSpec,
        folder: Path,
        avoid: Mapping[str, Sequence[str]] = MappingProxyType({}),
        report: Callable[..., None] = lambda **event: None,
    ) -> None:
        self.row = row
        self.folder = folder
        self.avoid = avoid  # by cell, the tools that crashed an earlier process
        self.report = report
        self.source: Source | None = None
        self.expected: NDArray[Any] = np.zeros((0, 0))
        self.files: dict[str, Artifact] = {}

    def make(self, cell: str) -> Cell:
        """Return the result of a cell. A failure of any kind is a result with its reason."""
        began = time.monotonic()
        try:
            result = self._make(cell)
        except EdgeproofError as error:
            status = "unsupported" if isinstance(error, InputError) else "failed"
            result = {"status": status, "reason": error.message, "remedy": error.remedy}
        except MemoryError:
            result = {
                "status": "crashed",
                "reason": "out of memory",
                "remedy": "run the row alone, with a larger --memory",
            }
        except Exception as error:  # no exception of a framework may end the row
            result = {"status": "failed", "reason": f"{type(error).__name__}: {str(error)[:500]}", "remedy": ""}
        if result["status"] != "ok" and cell not in (MODEL, FINE_TUNE, OLD_RUNTIME):
            result |= self._try_remedy(str(result.get("remedy", "")), cell)
        return {**result, "seconds": round(time.monotonic() - began, 1)}

    def _make(self, cell: str) -> Cell:
        if cell == MODEL:
            return self._model()
        if cell == FINE_TUNE:
            return self._fine_tune()
        if cell == OLD_RUNTIME:
            return self._old_runtime()
        return self._variant(Variant.parse(cell))

    def _model(self) -> Cell:
        self.source = open_source(self.row, self.folder)
        model = self.source.model
        self.expected = float_answers(model, self.source.inputs)
        spread = float((self.expected.max(axis=0) - self.expected.min(axis=0)).max())
        if not spread > LEAST_SPREAD * float(np.abs(self.expected).max()):
            return {"status": "failed", "reason": "the model gives the same answer to every sample", "remedy": ""}
        facts = {"parameters": model.provenance.get("parameters"), "engine": model.provenance.get("features_engine")}
        return {"status": "ok", **{key: value for key, value in facts.items() if value}}

    @property
    def opened(self) -> Source:
        """The row's source, after the cell ``model``."""
        if self.source is None:
            raise EdgeproofError("there is no model")
        return self.source

    def _variant(self, variant: Variant) -> Cell:
        """Export the file with each tool that supports it, until one file agrees with the float model."""
        model = self._trained_for(variant)
        failures: list[Cell] = []
        makers = variant.scheme.makers if self.opened.supplied is None else ("",)
        for maker in makers:
            if maker in self.avoid.get(str(variant), ()):
                failures.append({"status": "crashed", "reason": "took its process down", "remedy": ""})
                continue
            self.report(maker=maker)
            artifact = self._export(model, variant, maker)
            result = self._compare(artifact, Target("local", RUNTIME[variant.format]), self.expected)
            if result["status"] == "ok":
                self.files[str(variant)] = artifact
                return {**result, "maker": maker} | ({"head_only": True} if model.tuning.get("head_only") else {})
            failures.append(result)
        if len(failures) == 1:
            return failures[0]
        reasons = "; ".join(f"{m}: {f['reason']}" for m, f in zip(makers, failures, strict=True))
        remedy = next((failure["remedy"] for failure in failures if failure["remedy"]), "")
        return {**failures[0], "reason": reasons, "remedy": remedy}

    def _trained_for(self, variant: Variant) -> Model:
        if variant.scheme.training != "qat":
            return self.opened.model
        from edgeproof.quantize.aware_training.train import train_further

        if self.opened.data is None:
            raise EdgeproofError("there are no labelled samples to train on")
        return train_further(
            self.opened.model,
            "qat",
            QAT,
            data=self.opened.data,
            calibration=self.opened.calibration,
            seed=SEED,
            workspace=self.folder / "qat",
            listener=Silent(),
        )

    def _export(self, model: Model, variant: Variant, maker: str = "", folder_name: str = "files") -> Artifact:
        from edgeproof.export import export, place_tokenizer

        if self.opened.supplied is not None:
            return self._of_supplied(self.opened.supplied, variant)
        folder = self.folder / folder_name / (maker or "any")
        if model.tokenizer is not None:
            folder.mkdir(parents=True, exist_ok=True)
            place_tokenizer(model, folder)
        drawn = variant.scheme.calibrated or variant.scheme.training == "qat"
        return export(
            model,
            variant,
            options=Export(),
            folder=folder,
            calibration=self.opened.calibration if drawn else None,
            maker=maker,
        )

    def _of_supplied(self, path: Path, variant: Variant) -> Artifact:
        """Make a file from a float ``.tflite`` in the way of `edgeproof export`."""
        from edgeproof.core.run_log import RunLog
        from edgeproof.workflows.quantize_tflite import export_tflite

        source = Data(source=f"npy:{self.opened.calibration}")
        out = self.folder / "files" / "supplied"
        out.mkdir(parents=True, exist_ok=True)
        with RunLog(None) as listener:
            (artifact,) = export_tflite(path, [variant], Export(), source, out, listener)
        return artifact

    def _compare(self, artifact: Artifact, target: Target, expected: NDArray[Any]) -> Cell:
        """Run a file and compare its answers with the float model's."""
        from edgeproof.devices import open_runner

        if artifact.status != "ok":
            return {"status": artifact.status, "reason": artifact.reason, "remedy": artifact.remedy}
        outputs = self.folder / "outputs.npy"
        outputs.unlink(missing_ok=True)
        outcome = open_runner(artifact, target).infer(self.opened.inputs, outputs, 0, len(expected))
        if not outcome.ok:
            return {"status": outcome.status, "reason": f"{target.runtime}: {outcome.reason}", "remedy": outcome.remedy}
        agreed = agreement(expected, np.load(outputs))
        figures = {"agreement": agreed.to_json(), "bytes": artifact.bytes}
        if problem := agreed.problem(artifact.variant):
            remedy = UNLIKE.get(str(artifact.variant), "")
            return {"status": "differs", "reason": f"{target.runtime}: {problem}", "remedy": remedy, **figures}
        return {"status": "ok", **figures}

    def _fine_tune(self) -> Cell:
        """Train the top layers too: their weights must change, and the float file must agree with the new model."""
        if self.opened.fine_tune is None:
            raise InputError("this row is not trained")
        model = self.opened.fine_tune()
        changed = _changed(self.opened.model, model)
        if changed <= HEAD_WEIGHTS:
            return {"status": "failed", "reason": "fine-tuning changed no layer but the head", "remedy": ""}
        artifact = self._export(model, Variant.parse("tflite:float32"), folder_name="fine-tuned-files")
        expected = float_answers(model, self.opened.inputs)
        return {**self._compare(artifact, Target("local", "litert"), expected), "changed": changed}

    def _old_runtime(self) -> Cell:
        """Run every TFLite file on tflite-runtime; if one does not load there, run the product's fallback variants."""
        from edgeproof.workflows.runtime_fallbacks import fallback_variants

        works: list[str] = []
        instead: dict[str, str] = {}
        failures: list[Cell] = []
        for cell in self.row.cells:
            if not cell.startswith("tflite:"):
                continue
            if cell not in self.files and not Variant.parse(cell).scheme.training:
                self._variant(Variant.parse(cell))  # its result is of an earlier process, whose files are gone
            if cell not in self.files:  # its own cell has the reason
                continue
            result = self._compare(self.files[cell], OLD, self.expected)
            if result["status"] == "ok":
                works.append(cell)
                continue
            runtime = Target(OLD.device, OLD.runtime, _version_of(OLD))
            for variant in fallback_variants(self.files[cell], runtime):
                if self._compare(self._export(self.opened.model, variant), OLD, self.expected)["status"] == "ok":
                    instead[cell] = str(variant)
                    break
            else:
                failures.append({**result, "reason": f"{cell}: {result['reason']}"})
        facts = {"files": works, "instead": instead}
        if not failures:
            return {"status": "ok" if works else "failed", **facts}
        others = [text for text in _VARIANTS.findall(str(failures[0].get("remedy", ""))) if text in works]
        return {**failures[0], **facts, **({"remedy_works": others[0]} if others else {})}

    def _try_remedy(self, remedy: str, cell: str) -> Cell:
        """Export the files that a remedy names, until one agrees: a remedy must work for the row's model."""
        tried: dict[str, str] = {}
        original = self.source
        if original is not None and original.supplied is not None and "Keras file" in remedy:
            self.source = replace(original, supplied=None)
        for text in dict.fromkeys(_VARIANTS.findall(remedy)):
            try:
                result = self._variant(Variant.parse(text)) if text != cell else {"status": "the same"}
            except EdgeproofError as error:
                result = {"status": "failed", "reason": error.message}
            if result["status"] == "ok":
                self.source = original
                return {"remedy_works": text, **({"remedies_tried": tried} if tried else {})}
            tried[text] = str(result.get("reason", ""))
        self.source = original
        return {"remedies_tried": tried} if tried else {}


def _changed(before: Model, after: Model) -> int:
    """Return the number of weight arrays that differ between two models of one network."""
    folders = [model.network for model in (before, after)]
    if None in folders:
        raise EdgeproofError("the network was not kept beside the model")
    first, second = (np.load(folder / "weights.npz") for folder in folders if folder)
    return sum(not np.array_equal(first[name], second[name]) for name in first.files)


def _version_of(target: Target) -> str:
    from importlib.metadata import version

    return version(target.runtime)


def float_answers(model: Model, inputs: Path) -> NDArray[Any]:
    """Return the answers (samples, values) of the frozen float model; for texts, of the one that takes strings."""
    import tensorflow as tf

    from edgeproof.core.dataset import read_texts
    from edgeproof.export.samples import feeds
    from edgeproof.frameworks.freeze import serving

    path = model.text_model or model.saved_model
    signature = serving(path)
    samples: Iterator[dict[str, Any]]
    if inputs.suffix == ".jsonl":
        samples = ({"": np.array([text], object)} for text in read_texts(inputs))  # its only input may have any name
    else:
        samples = feeds(model.input, np.load(inputs))()
    rows = []
    for sample in samples:
        if model.provenance.get("state"):  # an answer must not depend on earlier samples
            signature = serving(path)
        tensors = {name: tf.constant(value) for name, value in sample.items()}
        answers = signature(*tensors.values()) if "" in tensors else signature(**tensors)
        rows.append(np.asarray(answers[model.answer]))
    return np.stack([row.astype(np.float64).reshape(-1) for row in rows])


def _event_writer(events: Path) -> Callable[..., None]:
    def report(**event: Any) -> None:
        with events.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(event) + "\n")

    return report


def main() -> None:
    """Run the job file of the command line."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    limit = int(job["gigabytes"] * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    spec = next(row for row in all_rows() if row.id == job["row"])
    report = _event_writer(Path(job["events"]))
    row = Row(spec, Path(job["folder"]), job["avoid"], report)
    # The model is always first, because all other cells need it.
    for cell in dict.fromkeys([MODEL, *job["cells"]]):
        report(begin=cell)
        result = row.make(cell)
        if cell in job["cells"] or result["status"] != "ok":
            report(cell=cell, result=result)
        if cell == MODEL and result["status"] != "ok":
            return


if __name__ == "__main__":
    main()
