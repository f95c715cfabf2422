"""The pipeline: recipe → data → models → artifacts → measurements → verdict. The only module that knows all stages.

Each step looks into the store first: a killed run continues, and a changed recipe redoes only what the change affects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..core.artifact import Artifact
from ..core.dataset import PreparedData
from ..core.environment import now, usable_cores
from ..core.errors import EdgeproofError
from ..core.measurement import Measurement
from ..core.model import Model, load_model
from ..core.recipe import ModelSpec, Recipe
from ..core.recipe_budget import Budget
from ..core.results import Results
from ..core.run_log import RunLog
from ..core.store import Store, copy_out
from ..core.target import Target, base_target, parse_runtime, with_cpu
from ..devices import OpenDevices, locate
from ..evaluate import select
from ..evaluate.bursts import Ratios
from ..evaluate.certainty import asked_by
from ..evaluate.consistency import inconsistent_rows
from ..evaluate.device_differences import device_differences
from ..evaluate.examples import with_samples
from ..evaluate.fleet import fleet
from ..evaluate.measure import measure
from ..evaluate.model_comparison import compare_models
from ..evaluate.models import of_float_file, score_of
from ..evaluate.scores import keep as keep_scores
from ..evaluate.timing import follow_base
from ..export import reference as float_artifact
from ..export import save as save_artifact
from ..tasks.loss import allowed_drop, loss_of
from ..train import backbones
from ..train.callbacks import identity as callback_identity
from .build import ModelBuild
from .diagnose import diagnose_artifact
from .evaluate import devices_of
from .judged_data import float_references
from .plan import VALIDATION, run_steps, share_of_samples
from .profile import profiles
from .quantization_cost import pooled
from .recipe_kind import kind_of_recipe
from .runtime_fallbacks import cost, incompatibility
from .steps import put, to_json_model
from .tensorflow_process import TensorFlowProcess
from .training_data import prepared_for_training

TRAINERS = ("tensorflow", "tf-keras", "ai-edge-litert")  # in addition to those of a backbone's source
REFERENCE_TARGET = Target("local", "tensorflow")
# Which samples are answered correctly, by artifact and target.
_Right = Mapping[tuple[str, str], NDArray[np.bool_]]


@dataclass(frozen=True)
class _Trained:
    """A model trained with the first seed, the models of the further `seeds`, and their data."""

    model: Model
    others: tuple[Model, ...]
    seeds: tuple[int, ...]
    data: PreparedData


class Pipeline:
    """One run of one recipe into one folder. `listener` also measures the duration of tasks."""

    def __init__(
        self, recipe: Recipe, out: Path, listener: RunLog, store: Store, tf: TensorFlowProcess, devices: OpenDevices
    ) -> None:
        self.recipe = recipe
        self.out = out
        self.listener = listener
        self.store = store
        self.tf = tf
        self.devices = devices
        self.cores = usable_cores()
        self.kind = kind_of_recipe(recipe)
        self.runtime = parse_runtime(recipe.runtime) if recipe.runtime else None
        self.targets = _targets(recipe)
        self.builds: dict[str, ModelBuild] = {}
        self.failures: list[str] = []
        environments = devices_of(self.devices, self.targets, listener)
        self.places = self.devices.places(self.targets)
        self.results = Results(
            run={
                "name": recipe.name,
                "started": now(),
                "finished": None,
                "recipe_sha256": recipe.sha256,
                "edgeproof_version": __version__,
            },
            environment=next(iter(environments.values())),
            environments=environments,
        )

    def run(self, fingerprint: dict[str, Any]) -> None:
        """Run all stages. Failures are in `failures` and in the results' rows; the rest is done all the same."""
        self.listener.plan(run_steps(self.recipe, self.targets, self.places))
        models = [trained for spec in self.recipe.model if (trained := self._model(spec, fingerprint))]
        artifacts = {trained.model.name: self._artifacts(trained.model, trained.data) for trained in models}
        # Nothing may run during a latency measurement, and the measured files need the memory.
        self.tf.stop()
        correct: dict[str, dict[int, NDArray[np.bool_]]] = {}
        # Models on the same arrays are measured together: their cells take turns, so that latencies compare.
        for sha256 in dict.fromkeys(trained.data.sha256 for trained in models):
            group = [trained for trained in models if trained.data.sha256 == sha256]
            correct |= self._measure(group, [a for trained in group for a in artifacts[trained.model.name]])
        self.results.sort([str(target) for target in self.targets])
        self.listener.begin("diagnose")
        self._diagnose(models)
        self.listener.begin("report")
        # Before the verdict, which depends on which model is more accurate.
        ratios = Ratios(self.out)
        self.results.comparisons = compare_models(self.results, correct, budget=self._budget, ratios=ratios)
        self.results.budget, self.results.recommendation = select.verdict(
            self.results, self._budget, self.recipe.runtime, ratios
        )
        runtime = self.recipe.runtime
        self.results.fleet = fleet(self.results, self._budget, runtime=runtime, folder=self.out, ratios=ratios)
        self.results.run |= {"finished": now(), "seconds": {k: round(v, 1) for k, v in self.listener.seconds.items()}}

    @property
    def _budget(self) -> Budget | None:
        """The recipe's budget, if it has one."""
        return self.recipe.budget if "budget" in self.recipe.model_fields_set else None

    def save(self) -> None:
        """Write results.json and results.csv in their present state."""
        self.results.save(self.out)

    def _data(self, spec: ModelSpec, fingerprint: dict[str, Any]) -> PreparedData:
        self.listener.begin("data", spec.name)
        data = prepared_for_training(
            self.recipe, spec, self.kind, fingerprint, store=self.store, listener=self.listener, tf=self.tf,
            helpers=self.devices.cluster,
        )  # fmt: skip
        if not self.results.data:  # the first model's; the others' splits are the same
            for step in ("accuracy", VALIDATION):
                self.listener.scale(step, share_of_samples(data.counts.get("test", 0)))
        self.results.data = {"source": data.source, "counts": data.counts, "sha256": data.sha256, "report": data.report}
        return data

    def _model(self, spec: ModelSpec, fingerprint: dict[str, Any]) -> _Trained | None:
        """Prepare the data and train one model with every seed; None on failure (the reason is in `failures`)."""
        seeds = self.recipe.train.seeds or (self.recipe.seed,)
        data = None
        try:
            data = self._data(spec, fingerprint)
            self.listener.begin("train", spec.name)
            with self._shared_features(spec, data, len(seeds)) as shared:
                entries = {seed: self._fit(spec, data, seed, shared) for seed in seeds}
            entry = entries[seeds[0]]
            model = load_model(entry)
            copy_out(entry, self.out / "models" / spec.name, root=self.out, mark="model.json")
        except EdgeproofError as error:
            # Unusable data affect all models; what one model refuses affects that model.
            if len(self.recipe.model) == 1 or (error.exit_code == 2 and data is None):
                raise
            self.failures.append(f"{spec.name}: {error.message}")
            self.listener.note("error", f"{spec.name}: {error}")
            self.results.models.append(
                {"name": spec.name, "backbone": spec.backbone, "labels": [], "input": {}, "train_seconds": None,
                 "accuracy": None, "samples": 0, "status": "failed", "reason": error.message, "remedy": error.remedy}
            )  # fmt: skip
            self.save()
            return None
        self.results.add_model(model)
        self.save()
        others = tuple(replace(load_model(entries[seed]), name=f"{spec.name}.seed{seed}") for seed in seeds[1:])
        return _Trained(model, others, seeds, data)

    def _fit(self, spec: ModelSpec, data: PreparedData, seed: int, shared: Path | None) -> Path:
        """Train one model with one seed, or take it from the store; return its folder there."""
        train = to_json_model(self.recipe.train.model_copy(update={"seeds": ()}))
        identity = backbones.identity(spec, folder=self.recipe.folder, kind=self.kind)
        recipe_part = {"spec": to_json_model(spec), "train": train, "seed": seed, "backbone": identity}
        recipe_part["callbacks"] = callback_identity(self.recipe.train, self.recipe.folder)
        decides = {**recipe_part, "data": data.sha256, "labels": data.labels, **data.column_facts}
        key = self.store.key("model", decides, TRAINERS + backbones.packages(spec, self.kind))
        if self.store.get(key, shipped=True) is None:
            with self.store.write(key) as workspace:
                self.tf.call(
                    "fit",
                    spec=to_json_model(spec),
                    train=train,
                    seed=seed,
                    data=str(data.folder),
                    folder=str(self.recipe.folder),
                    workspace=str(workspace),
                    shared=str(shared) if shared else None,
                    cluster=self.devices.cluster.location if self.devices.cluster else "",
                )
        return self.store.root / key

    @contextmanager
    def _shared_features(self, spec: ModelSpec, data: PreparedData, seeds: int) -> Iterator[Path | None]:
        """Yield a temporary folder for what trainings with several seeds share."""
        if seeds == 1:
            yield None
            return
        identity = backbones.identity(spec, folder=self.recipe.folder, kind=self.kind)
        decides = {"backbone": identity, "data": data.sha256}
        key = self.store.key("features", decides, TRAINERS + backbones.packages(spec, self.kind))
        yield self.store.partial(key)
        self.store.discard(key)

    def _artifacts(self, model: Model, data: PreparedData) -> list[Artifact]:
        """Make every variant of a model. The first artifact is the float reference itself."""
        self.listener.begin("export", model.name)
        build = self.builds[model.name] = ModelBuild(
            model,
            data,
            self.recipe,
            targets=self.targets,
            runtime=self.runtime,
            store=self.store,
            tf=self.tf,
            listener=self.listener,
        )
        artifacts = [float_artifact(model)]
        artifacts += [put(artifact, model, self.out / "artifacts") for artifact in build.make_all()]
        for artifact in artifacts:
            self._record(artifact)
        return artifacts

    def _record(self, artifact: Artifact) -> None:
        """Put an artifact into the results, its path relative to the run's folder."""
        if artifact.path is not None and artifact.format == "savedmodel":
            artifact = replace(artifact, path=Path("models") / artifact.model / artifact.path.name)
        elif artifact.path is not None:
            artifact = replace(artifact, path=Path("artifacts") / artifact.path.name)
        if artifact.tokenizer is not None:
            artifact = replace(artifact, tokenizer=Path("artifacts") / artifact.tokenizer.name)
        self.results.add_artifact(artifact)
        self.save()

    def _measure(
        self, models: Sequence[_Trained], artifacts: Sequence[Artifact]
    ) -> dict[str, dict[int, NDArray[np.bool_]]]:
        """Measure the files of models on the same data; return for each model and seed which samples are correct.

        These are the float reference's answers. Models of further seeds run in TensorFlow, and are not timed.
        """
        self.listener.begin("measure")
        data, evaluate = models[0].data, self.recipe.evaluate
        pairs = [(artifact, target) for artifact in artifacts for target in self.targets]
        repeated = [float_artifact(other) for trained in models for other in trained.others]
        pairs += [(artifact, REFERENCE_TARGET) for artifact in repeated]
        untimed = {artifact.id for artifact in repeated}
        rows: dict[str, Measurement] = {}

        def keep(row: Measurement) -> None:
            if row.artifact in untimed:
                rows[row.artifact] = row
            else:
                if row.target == str(REFERENCE_TARGET):
                    rows[row.artifact] = row
                self.results.add_measurement(row)
                self.save()

        # Where no target runs TensorFlow, files are compared with the float32 .tflite.
        references = float_references(artifacts, [str(target) for target in self.targets])
        references |= {artifact.model: artifact.id for artifact in repeated}
        runners = [self.devices.open_runner(a, t, timeout_seconds=evaluate.timeout_seconds) for a, t in pairs]
        answers = measure(
            runners,
            data,
            references=references,
            settings=evaluate,
            seed=self.recipe.seed,
            cores=self.cores,
            answerers=self.devices.answerers,
            store=self.store,
            raw_folder=self.out / "raw",
            listener=self.listener,
            on_row=keep,
            untimed=untimed,
            asks=asked_by(self.results, self._budget),
            on_bench=self.results.add_bench,
            on_sustained=self.results.sustained.append,
            places=self.places,
            interrupt=self.devices.interrupt,
        )
        self.results.sort([str(target) for target in self.targets])
        for row in keep_scores(self.results.measurements, answers, data=data.sha256, folder=self.out / "raw"):
            self.results.add_measurement(row)
        for failed in inconsistent_rows(self.results.measurements, artifacts, answers, references=references):
            self.results.add_measurement(failed)
        for again in pooled(
            self.results.measurements, runners, answers, data, references=references, settings=evaluate,
            seed=self.recipe.seed, cores=self.cores, store=self.store, listener=self.listener, places=self.places,
            interrupt=self.devices.interrupt,
        ):  # fmt: skip
            self.results.add_measurement(again)
        self.results.device_differences += device_differences(self.results.rows_of(artifacts), answers, data.classes)
        float_of = {a.id: references[a.model] for a in artifacts if a.model in references}
        for shown in with_samples(self.results.rows_of(artifacts), data, self.out, answers, float_of):
            self.results.add_measurement(shown)
        for follows in follow_base(self.results.measurements):
            self.results.add_measurement(follows)
        if evaluate.profile:
            profiles(
                self.results.rows_of(artifacts), runners, data.inputs("test"),
                samples=f"the test split of {data.source}", threads=evaluate.latency.options[0][0],
                store=self.store, out=self.out, listener=self.listener, on_row=self.results.add_measurement,
            )  # fmt: skip
        for refused in [m for m in self.results.measurements if m.status == "unsupported"]:
            self._name_incompatibility(refused, artifacts)
        right = {cell: answer.scores for cell, answer in answers.items() if answer.scores is not None}
        for artifact in artifacts:
            self._judge(artifact, right)
        made_of = {cell: answer.parts for cell, answer in answers.items() if answer.parts is not None}
        return self._correct(models, made_of, rows)

    def _correct(
        self, models: Sequence[_Trained], right: _Right, rows: Mapping[str, Measurement]
    ) -> dict[str, dict[int, NDArray[np.bool_]]]:
        """Return for each model and seed what its float reference gets right, of `right` (by artifact and target; of
        another metric what it is made of); record the repeats, with the references' `rows` by artifact."""
        correct: dict[str, dict[int, NDArray[np.bool_]]] = {}
        for trained in models:
            repeats = []
            for seed, model in zip(trained.seeds, (trained.model, *trained.others), strict=True):
                reference = float_artifact(model).id
                scores = right.get((reference, str(REFERENCE_TARGET)))
                if scores is None and not trained.others:
                    scores = of_float_file(right, model.name)
                if scores is not None:
                    correct.setdefault(trained.model.name, {})[seed] = scores
                row = rows.get(reference)
                repeats.append(
                    {
                        "seed": seed,
                        "accuracy": row.accuracy if row else None,
                        "accuracy_low": row.accuracy_low if row else None,
                        "accuracy_high": row.accuracy_high if row else None,
                        "samples": row.samples if row else 0,
                        "train_seconds": model.train_seconds,
                        **score_of(row),
                    }
                )
            if len(repeats) > 1:
                self.results.set_repeats(trained.model.name, repeats)
        return correct

    def _name_incompatibility(self, row: Measurement, artifacts: Sequence[Artifact]) -> None:
        """Write the operator that prevents a file from loading on the recipe's runtime, and the alternatives."""
        artifact = next((a for a in artifacts if a.id == row.artifact), None)
        if artifact is None or self.runtime is None or row.runtime != self.runtime.runtime:
            return
        if problem := incompatibility(artifact, self.runtime):
            self.results.add_measurement(replace(row, reason=problem[0], remedy=problem[1]))

    def _judge(self, artifact: Artifact, right: _Right) -> None:
        """Write where an artifact loads, and the cost of a fallback, into its row and sidecar.

        An artifact that loads nowhere is not ``ok``.
        """
        rows = [m for m in self.results.measurements if m.artifact == artifact.id]
        readers = [m for m in rows if Target.parse(base_target(m.target)).reads(artifact.format)]
        loads: dict[str, str] = {m.target: m.status for m in readers}
        judged = replace(artifact, loads=loads)
        if artifact.status == "ok" and readers and all(m.status != "ok" for m in readers):
            why = "; ".join(f"{m.target}: {m.reason}" for m in readers)
            judged = replace(
                judged, status="unsupported", reason=f"no runtime runs it: {why}", remedy=readers[0].remedy
            )
        build = self.builds[artifact.model]
        if self.runtime and (plain := build.instead.get(artifact.id)):
            judged = replace(judged, workaround=cost(self.results, plain, judged, self.runtime, right))
        if artifact.format != "savedmodel":
            save_artifact(judged, self.out / "artifacts")
        self._record(judged)

    def _diagnose(self, models: Sequence[_Trained]) -> None:
        """Diagnose the quantized files that the recipe selects."""
        if self.recipe.evaluate.diagnose == "none":
            return
        data = {trained.model.name: trained.data for trained in models}
        todo = [artifact for artifact in self.results.artifacts if self._is_to_be_explained(artifact)]
        for count, artifact in enumerate(todo):
            self.listener.progress("diagnose", count, len(todo), artifact.id)
            reference = self.builds[artifact.model].float_file()
            if reference.path is None or artifact.path is None:
                continue
            try:
                row = diagnose_artifact(
                    replace(artifact, path=self.out / artifact.path, tokenizer=self._tokenizer(artifact)),
                    reference.path,
                    data[artifact.model],
                    seed=self.recipe.seed,
                    store=self.store,
                    out=self.out,
                    listener=self.listener,
                )
            except EdgeproofError as error:
                self.listener.note("warning", f"{artifact.id}: no diagnosis: {error.message}", remedy=error.remedy)
                continue
            self.results.diagnoses.append(row)
            self.save()
        if todo:
            self.listener.progress("diagnose", len(todo), len(todo))

    def _is_to_be_explained(self, artifact: Artifact) -> bool:
        """Whether a file is quantized, ran, and may have lost more than the budget allows (or all are selected)."""
        rows = [m for m in self.results.measurements if m.artifact == artifact.id and m.status == "ok"]
        if artifact.format != "tflite" or artifact.variant.scheme.weights == "float32" or not rows:
            return False
        return self.recipe.evaluate.diagnose == "all" or any(_may_lose_more(m, self.recipe.budget) for m in rows)

    def _tokenizer(self, artifact: Artifact) -> Path | None:
        return self.out / artifact.tokenizer if artifact.tokenizer else None


def _may_lose_more(row: Measurement, budget: Budget) -> bool:
    """Whether a cell loses, or may lose, more accuracy than the budget allows; without classes by agreement.

    If the estimate is within the budget and the samples are too few, only a loss beyond chance counts.
    """
    lost, allowed = loss_of(row), allowed_drop(row, budget)
    if (loss := lost.drop) is None:
        return lost.most is not None and lost.most > allowed
    if loss.drop > allowed:
        return True
    by_interval = budget.drop_by == "interval" and loss.high is not None and loss.low is not None
    return by_interval and (loss.low or 0.0) > 0 and (loss.high or 0.0) > allowed


def _targets(recipe: Recipe) -> list[Target]:
    """Return the recipe's targets, and that of its runtime unless the installed version is the named one."""
    targets = list(recipe.evaluate.targets)
    if recipe.runtime:
        runtime = parse_runtime(recipe.runtime)
        installed = locate(runtime)
        here = Target(runtime.device, runtime.runtime) if installed and installed.folder is None else runtime
        targets.append(str(here))
    return [Target.parse(text) for text in with_cpu(targets)]
