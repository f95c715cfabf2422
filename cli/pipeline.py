"""The pipeline: recipe → data → models → artifacts → measurements → report. The only place that knows all the stages.

Each step asks the store first. What is there is not made again, so a run that was killed goes on, and a changed
recipe redoes what the change concerns and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import __version__, export, quantize
from ..core.artifact import Artifact, artifact_id, file_name
from ..core.codec import sha256_of, to_json, write_atomic
from ..core.dataset import PreparedData, load_prepared
from ..core.errors import EdgeproofError
from ..core.machine import environment, now, usable_cores
from ..core.measurement import Measurement
from ..core.model import Model, load_model
from ..core.recipe import Export, ModelSpec, Recipe
from ..core.results import Results, load_results
from ..core.store import Store, lock, place
from ..core.target import Target
from ..core.variant import Variant
from ..devices import open_runner
from ..evaluate import report, select
from ..evaluate.measure import measure
from ..quantize.calibration import Calibration
from ..train import data as train_data
from ..train.backbones import identity as backbone_identity
from .console import ConsoleListener
from .preflight import preflight
from .tensorflow_process import CrashError, TensorFlowProcess

TRAINERS = ("tensorflow", "tf-keras", "ai-edge-litert")


@dataclass(frozen=True)
class Finished:
    """What a run came to. `failures` are the models that could not be made, with why."""

    results: Results
    report: Path
    failures: tuple[str, ...]
    budget_met: bool


class Pipeline:
    """One run of one recipe into one folder."""

    def __init__(
        self, recipe: Recipe, out: Path, listener: ConsoleListener, store: Store, tf: TensorFlowProcess
    ) -> None:
        self.recipe = recipe
        self.out = out
        self.listener = listener
        self.store = store
        self.tf = tf
        self.cores = usable_cores()
        self.failures: list[str] = []
        self.results = Results(
            run={
                "name": recipe.name,
                "started": now(),
                "finished": None,
                "recipe_sha256": recipe.sha256,
                "edgeproof_version": __version__,
            },
            environment=environment(),
        )

    def run(self, fingerprint: dict[str, Any]) -> None:
        """Do everything. What fails is in `failures` and in the results' rows; the rest is done all the same."""
        models = [made for spec in self.recipe.model if (made := self._model(spec, fingerprint))]
        artifacts = [artifact for model, data in models for artifact in self._artifacts(model, data)]
        # Nothing may run beside a latency measurement, and memory is better used by what is measured.
        self.tf.stop()
        for model, data in models:
            self._measure([a for a in artifacts if a.model == model.name], data)
        self.results.sort(self.recipe.evaluate.targets)
        self.results.budget, self.results.recommendation = select.verdict(self.results, self.recipe.budget)
        self.results.run |= {"finished": now(), "seconds": {k: round(v, 1) for k, v in self.listener.seconds.items()}}

    def save(self) -> None:
        """Write results.json and results.csv as they stand."""
        self.results.save(self.out)

    def _data(self, spec: ModelSpec, fingerprint: dict[str, Any]) -> PreparedData:
        table = to_json_model(self.recipe.data)
        key = self.store.key(
            "data", {"source": fingerprint, "data": table, "image_size": spec.image_size, "resize": spec.resize}
        )
        if self.store.get(key) is None:
            with self.store.write(key) as workspace:
                if self.recipe.data.source.startswith(("keras:", "tfds:")):  # these read with TensorFlow
                    self.tf.call(
                        "prepare",
                        data=table,
                        seed=self.recipe.seed,
                        image_size=spec.image_size,
                        resize=spec.resize,
                        folder=str(self.recipe.folder),
                        workspace=str(workspace),
                        workers=self.cores,
                    )
                else:
                    train_data.prepare(
                        self.recipe.data,
                        seed=self.recipe.seed,
                        image_size=spec.image_size,
                        resize=spec.resize,
                        folder=self.recipe.folder,
                        workspace=workspace,
                        listener=self.listener,
                        workers=self.cores,
                    )
        data = load_prepared(self.store.root / key)
        self.results.data = {"source": data.source, "counts": data.counts, "sha256": data.sha256, "report": data.report}
        return data

    def _model(self, spec: ModelSpec, fingerprint: dict[str, Any]) -> tuple[Model, PreparedData] | None:
        """Prepare the data and train one model; None when that fails (the reason is in `failures`)."""
        train = to_json_model(self.recipe.train)
        identity = backbone_identity(spec, folder=self.recipe.folder)
        recipe_part = {"spec": to_json_model(spec), "train": train, "seed": self.recipe.seed, "backbone": identity}
        try:
            data = self._data(spec, fingerprint)
            key = self.store.key("model", {**recipe_part, "data": data.sha256, "labels": data.labels}, TRAINERS)
            if self.store.get(key) is None:
                with self.store.write(key) as workspace:
                    self.tf.call(
                        "fit",
                        spec=to_json_model(spec),
                        train=train,
                        seed=self.recipe.seed,
                        data=str(data.folder),
                        folder=str(self.recipe.folder),
                        workspace=str(workspace),
                    )
            entry = self.store.root / key
            model = load_model(entry)
            place(entry, self.out / "models" / spec.name)
        except EdgeproofError as error:
            if len(self.recipe.model) == 1 or error.exit_code == 2:
                raise
            self.failures.append(f"{spec.name}: {error.message}")
            self.listener.note("error", f"{spec.name}: {error}")
            self.results.models.append(
                {"name": spec.name, "backbone": spec.backbone, "labels": [], "input": {}, "train_seconds": None,
                 "accuracy": None, "samples": 0, "status": "failed", "reason": error.message}
            )  # fmt: skip
            self.save()
            return None
        self.results.add_model(model)
        self.save()
        return model, data

    def _artifacts(self, model: Model, data: PreparedData) -> list[Artifact]:
        """Make every variant of a model. The first artifact is the float reference itself."""
        variants = [Variant.parse(text) for text in self.recipe.export.variants]
        made = [export.reference(model)]
        for count, variant in enumerate(variants, 1):
            samples = self.recipe.export.calibration.samples
            calibration = calibrate(data, samples, self.recipe.seed, self.store) if variant.scheme.calibrated else None
            artifact = make_variant(
                model,
                variant,
                self.recipe.export,
                calibration,
                store=self.store,
                tf=self.tf,
                out=self.out / "artifacts",
            )
            made.append(artifact)
            self.listener.progress(f"export {model.name}", count, len(variants), str(variant))
            if artifact.status != "ok":
                self.listener.note("warning", f"{artifact.id}: {artifact.reason}", remedy=artifact.remedy)
        for artifact in made:
            self._keep(artifact)
        return made

    def _keep(self, artifact: Artifact) -> None:
        """Put an artifact into the results, its path relative to the run's folder."""
        if artifact.path is not None and artifact.format == "savedmodel":
            artifact = replace(artifact, path=Path("models") / artifact.model / "saved_model")
        elif artifact.path is not None:
            artifact = replace(artifact, path=Path("artifacts") / artifact.path.name)
        self.results.add_artifact(artifact)
        self.save()

    def _measure(self, artifacts: Sequence[Artifact], data: PreparedData) -> None:
        targets = [Target.parse(text) for text in self.recipe.evaluate.targets]
        timeout = self.recipe.evaluate.timeout_seconds
        measure(
            [open_runner(artifact, target, timeout_seconds=timeout) for artifact in artifacts for target in targets],
            data,
            references={a.model: a.id for a in artifacts if a.format == "savedmodel"},
            settings=self.recipe.evaluate,
            seed=self.recipe.seed,
            cores=self.cores,
            store=self.store,
            raw_folder=self.out / "raw",
            listener=self.listener,
            on_row=self._row,
        )
        for artifact in artifacts:
            self._judge_loading(artifact)

    def _row(self, row: Measurement) -> None:
        self.results.add_measurement(row)
        self.save()

    def _judge_loading(self, artifact: Artifact) -> None:
        """Write where an artifact loads into its row and sidecar; one that loads nowhere is not ``ok``."""
        rows = [m for m in self.results.measurements if m.artifact == artifact.id]
        readers = [m for m in rows if Target.parse(m.target).reads(artifact.format)]
        loads: dict[str, str] = {m.target: m.status for m in readers}
        judged = replace(artifact, loads=loads)
        if artifact.status == "ok" and readers and all(m.status != "ok" for m in readers):
            why = "; ".join(f"{m.target}: {m.reason}" for m in readers)
            judged = replace(
                judged, status="unsupported", reason=f"no runtime runs it: {why}", remedy=readers[0].remedy
            )
        if artifact.format != "savedmodel":
            export.save(judged, self.out / "artifacts")
        self._keep(judged)


def calibrate(data: PreparedData, samples: int, seed: int, store: Store) -> Calibration:
    """Draw the calibration samples of a prepared data set, or take them from the store."""
    key = store.key("calibration", {"data": data.sha256, "samples": samples, "seed": seed})
    if store.get(key) is None:
        with store.write(key) as folder:
            quantize.draw(data, samples, seed, folder)
    return quantize.load(store.root / key)


def make_variant(
    model: Model,
    variant: Variant,
    options: Export,
    calibration: Calibration | None,
    *,
    store: Store,
    tf: TensorFlowProcess,
    out: Path,
) -> Artifact:
    """Make one file, or take it from the store, and put it with its sidecar into `out`; a failure is a row."""
    record = {**to_json(calibration), "images": None} if calibration else None
    spec = {
        "model": model.sha256,
        "name": model.name,
        "variant": str(variant),
        "labels": model.labels,
        "calibration": calibration.sha256 if calibration else None,
        "dense_per_channel": options.dense_per_channel if variant.scheme_name == "dynamic" else None,
        "opset": options.onnx_opset if variant.format == "onnx" else None,
    }
    key = store.key("artifact", spec, export.PACKAGES[variant.format])
    name = file_name(model.name, variant)
    if store.get(key) is None:
        folder = store.partial(key)
        try:
            tf.call(
                "export",
                timeout=options.timeout_seconds,
                model=str(model.saved_model.parent),
                variant=str(variant),
                options=to_json_model(options),
                workspace=str(folder),
                calibration=str(calibration.images) if calibration else None,
                calibration_record=record,
            )
        except CrashError as error:
            # May pass (memory, time): a row for now, and tried again by the next run.
            blank = Artifact(
                artifact_id(model.name, variant), model.name, variant.format, variant.scheme_name, None,
                labels=model.labels, contract=model.input, parent_sha256=model.sha256,
            )  # fmt: skip
            return export.save(blank.failed(error.status, error.message, error.remedy), out)
        store.finish(key)
    entry = store.root / key
    for file in (entry / name, export.sidecar(entry / name)):
        if file.exists():
            place(file, out / file.name)
    return export.load(export.sidecar(out / name))


def to_json_model(table: Any) -> dict[str, Any]:
    """Return a recipe's table as JSON, for keys and for the other process."""
    return dict(table.model_dump(mode="json"))


def run(recipe: Recipe, out: Path, listener: ConsoleListener) -> Finished:
    """Run a recipe into `out`. Raises InputError (nothing was started) or StageError (what is done is kept)."""
    fingerprint = preflight(recipe, out)
    with lock(out):
        inputs = _inputs(recipe, fingerprint)
        if done := _unchanged(out, inputs):
            return done
        write_atomic(out / "recipe.toml", recipe.to_toml())
        store = Store(out / ".store")
        with TensorFlowProcess(store.root / "tensorflow.log", listener) as tf:
            if not any((store.root / "model").glob("*")):
                tf.start()  # it imports TensorFlow while the data is being prepared
            pipeline = Pipeline(recipe, out, listener, store, tf)
            pipeline.results.run["inputs_sha256"] = inputs
            try:
                pipeline.run(fingerprint)
            except BaseException:
                with suppress(EdgeproofError):  # the disk may be the reason
                    pipeline.save()
                raise
        pipeline.save()
        path = report.write(pipeline.results, out)
    met = bool(pipeline.results.budget.get("met", True))
    return Finished(pipeline.results, path, tuple(pipeline.failures), met)


def _inputs(recipe: Recipe, fingerprint: dict[str, Any]) -> str:
    """Hash all that a run depends on: recipe, data, weights, packages, machine."""
    backbones = [backbone_identity(spec, folder=recipe.folder) for spec in recipe.model]
    return sha256_of([recipe.sha256, fingerprint, backbones, environment(), __version__])


def _unchanged(out: Path, inputs: str) -> Finished | None:
    """Return the finished run in `out` if nothing that it depends on has changed since, and all its files are there."""
    path = out / "report.html"
    if not (path.exists() and (out / "results.json").exists()):
        return None
    try:
        results = load_results(out)
    except EdgeproofError:
        return None
    passing = {"crashed", "timeout", "skipped"}
    statuses = [a.status for a in results.artifacts] + [m.status for m in results.measurements]
    complete = (
        results.run.get("finished")
        and results.run.get("inputs_sha256") == inputs
        and all(model.get("status", "ok") == "ok" for model in results.models)
        and passing.isdisjoint(statuses)
        and all((out / a.path).exists() for a in results.artifacts if a.path)
    )
    return Finished(results, path, (), bool(results.budget.get("met", True))) if complete else None
