"""The search for ``tflite:int8-mixed``: keep the worst layers out of int8, one group per step, until the drop is small.

The diagnosis of the plain int8 file ranks the groups. Each step's file is made by every suitable tool, and measured in
a trial on validation samples; the test split is not used. All steps' files are then timed together, so that the
trade-off shows the cost of each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core.artifact import Artifact, artifact_id
from ..core.codec import to_json
from ..core.dataset import PreparedData
from ..core.errors import EdgeproofError, StageError
from ..core.measurement import Measurement
from ..core.model import Model
from ..core.progress import Listener
from ..core.recipe import Evaluate, Export
from ..core.recipe_budget import Budget
from ..core.recipe_quantize import Mixed
from ..core.store import Store
from ..core.target import Target
from ..export import load, packages_of
from ..export.mixed import MAKERS, VARIANT
from ..quantize import diagnosis
from ..quantize.calibration import Calibration
from ..quantize.diagnosis import Group
from ..tasks import metric_of
from ..tasks.loss import allowed_drop
from ..tasks.quality import likeness_of
from ..tflite.writer import REVISION
from .candidate_trial import counted, trial, trial_data
from .diagnose import SAMPLES, compare_files
from .tensorflow_process import CrashError, TensorFlowProcess


@dataclass(frozen=True)
class Step:
    """A file of the search: the layers that it keeps, its row in the trial, and the other tool's file if it lost."""

    artifact: Artifact
    kept: tuple[str, ...]
    row: Measurement
    loser: dict[str, Any] | None = None


def search_mixed(
    model: Model,
    int8: Artifact,
    reference: Artifact,
    data: PreparedData,
    calibration: Calibration,
    settings: Mixed,
    budget: Budget,
    *,
    options: Export,
    evaluate: Evaluate,
    target: Target,
    makers: Sequence[str],
    seed: int,
    store: Store,
    tf: TensorFlowProcess,
    listener: Listener,
) -> Artifact:
    """Search, and return the chosen file as the model's ``tflite:int8-mixed``, with all steps in its `trade`.

    `int8` is the plain int8 file, step 0; `reference` the float32 ``.tflite`` that drops are measured against. The
    first step whose drop fits `budget` (by its interval or its estimate, as the budget says) is chosen; if none does,
    the first that is close to the best, and the trade says so. Trials run on `target`. Failures of tools and runtimes
    become a row with a status; they are not raised.
    """
    blank = replace(int8, id=artifact_id(model.name, VARIANT), scheme=VARIANT.scheme_name, alternatives=())
    if int8.path is None or reference.path is None:
        missing = int8 if int8.path is None else reference
        return blank.failed("failed", f"the search starts from {missing.variant}: {missing.reason}", missing.remedy)
    of = counted(data, options.trial_samples)
    search = _Search(
        model, reference, trial_data(data, options.trial_samples, seed, store), of, calibration, settings,
        evaluate=evaluate, target=target, makers=makers, seed=seed, store=store, tf=tf, listener=listener,
        timeout=options.timeout_seconds,
    )  # fmt: skip
    try:
        steps = search.run(int8, budget)
        latencies = search.timed(steps)
    except EdgeproofError as error:
        return blank.failed("failed", error.message, error.remedy)
    chosen, why = choose(steps, budget, of)
    trade = tuple(
        {
            "kept": list(step.kept),
            "keep": settings.keep,
            "made_by": step.artifact.made_by,
            "bytes": step.artifact.bytes,
            "drop": step.row.drop,
            "drop_low": step.row.drop_low,
            "drop_high": step.row.drop_high,
            "agreement": step.row.agreement,
            "samples": step.row.samples,
            "samples_of": of,
            "target": step.row.target,
            "latency_ms": latencies[number],
            "chosen": step is chosen,
            "why": why if step is chosen else "",
        }
        for number, step in enumerate(steps)
    )
    return replace(
        chosen.artifact,
        id=blank.id,
        scheme=blank.scheme,
        trade=trade,
        alternatives=(chosen.loser,) if chosen.loser else (),
        chosen_on=min(options.trial_samples, data.counts.get("validation", 0)),
    )


def choose(steps: Sequence[Step], budget: Budget, samples: str) -> tuple[Step, str]:
    """Return the chosen step, and why: the first that fits the budget, else the simplest of the best.

    `samples` describes the samples of the trial.
    """
    what = "the whole interval of its drop" if budget.drop_by == "interval" else "its drop"
    allowed, metric = allowed_drop(steps[0].row, budget), metric_of(steps[0].row)
    limit = f"{allowed:.2%}" if metric is None or metric.is_share else metric.amount(allowed)
    for number, step in enumerate(steps):
        if fits(step.row, budget):
            if number == 0:
                return step, f"plain int8 fits already ({what} is at most {limit}): nothing has to be kept"
            return step, f"the first step that fits: {what} is at most {limit}"
    ran = [step for step in steps if step.row.status == "ok" and likeness_of(step.row)]
    best = max(_likeness(step.row) for step in ran)
    # The one-standard-error rule (Breiman et al., Classification and Regression Trees, 1984): of all that can hardly be
    # told from the best, the simplest. By agreement, which a few hundred samples tell better than a difference of
    # accuracies.
    error = (best * (1 - best) / ran[0].row.samples) ** 0.5
    first = next(step for step in ran if _likeness(step.row) >= best - error)
    return first, (
        f"no step fits on {samples} ({what} must be at most {limit}); this is the first whose "
        f"answers agree with the float model's as well as any step's ({_likeness(first.row):.1%})"
    )


def _likeness(row: Measurement) -> float:
    """Return how like the float model's a step's answers are, from 0 to 1; 0 where they were not compared."""
    alike = likeness_of(row)
    return alike.share if alike else 0.0


def fits(row: Measurement, budget: Budget) -> bool:
    """Whether a trial's drop is inside the budget."""
    drop = row.drop_high if budget.drop_by == "interval" else row.drop
    return row.status == "ok" and drop is not None and drop <= allowed_drop(row, budget)


class _Search:
    def __init__(
        self,
        model: Model,
        reference: Artifact,
        samples: PreparedData,
        of: str,
        calibration: Calibration,
        settings: Mixed,
        *,
        evaluate: Evaluate,
        target: Target,
        makers: Sequence[str],
        seed: int,
        store: Store,
        tf: TensorFlowProcess,
        listener: Listener,
        timeout: float,
    ) -> None:
        self.model = model
        self.reference = replace(reference, id=f"{reference.id}.reference")
        self.samples = samples
        self.of = of
        self.calibration = calibration
        self.settings = settings
        self.evaluate = evaluate
        self.target = target
        self.makers = [maker for maker in makers if maker in MAKERS[settings.keep]] or list(MAKERS[settings.keep])
        self.seed = seed
        self.store = store
        self.tf = tf
        self.listener = listener
        self.timeout = timeout

    def run(self, int8: Artifact, budget: Budget) -> list[Step]:
        """Return the steps, the plain int8 file first. Raises EdgeproofError when that cannot even be measured."""
        first = replace(int8, id=f"{artifact_id(self.model.name, VARIANT)}.step0")
        row = self._measure([first])[first.id]
        if row.status != "ok" or row.drop is None:
            what = row.reason or "how well it answers cannot be measured: the data do not say what is right"
            raise StageError(f"the plain int8 file cannot be measured on {self.target}: {what}", row.remedy)
        steps = [Step(first, (), row)]
        self._tell(steps)
        if fits(row, budget):
            return steps
        kept_names: list[str] = []
        words: list[str] = []
        groups: list[Group] = []
        while len(steps) <= self.settings.max_steps:
            if not groups:  # without the worst layers, others stand out
                groups = self._groups(steps[-1].artifact, self.settings.max_steps + 1 - len(steps))
            if not groups:
                break
            group = groups.pop(0)
            kept_names += [name for name in group.tensors if name not in kept_names]
            words += [word for word in group.words if word not in words]
            step = self._step(len(steps), kept_names, tuple(words))
            if step is None:
                break
            steps.append(step)
            self._tell(steps)
            if fits(step.row, budget):
                break
        return steps

    def _groups(self, int8: Artifact, most: int) -> list[Group]:
        """Diagnose a step's file; return what to keep next, the worst first."""
        if int8.path is None or self.reference.path is None:
            return []
        diagnosis_of_step = compare_files(
            int8, self.reference.path, self.samples,
            samples=SAMPLES, seed=self.seed, store=self.store, listener=self.listener,
        )  # fmt: skip
        return diagnosis.ranked_groups(int8.path, self.reference.path, diagnosis_of_step, most)

    def _step(self, number: int, kept: Sequence[str], words: tuple[str, ...]) -> Step | None:
        """Make a step's file with each tool, and return the better one; None when no tool makes one that runs."""
        candidates = []
        for maker in self.makers:
            artifact = self._make(maker, kept)
            if artifact.status == "ok":
                candidates.append(replace(artifact, id=f"{artifact.id}.step{number}-{maker}"))
            else:
                self.listener.note("warning", f"int8-mixed, step {number}: {maker}: {artifact.reason}")
        if not candidates:
            return None
        rows = self._measure(candidates)
        ran = [(artifact, rows[artifact.id]) for artifact in candidates if rows[artifact.id].drop is not None]
        if not ran:
            return None
        # By agreement: on a few hundred samples the drops of two such files can hardly be distinguished.
        ran.sort(key=lambda pair: (-_likeness(pair[1]), pair[1].drop or 0.0, pair[1].difference or 0.0))
        (best, row), others = ran[0], ran[1:]
        loser = None
        if others:
            other, measured = others[0]
            loser = {
                "made_by": other.made_by, "bytes": other.bytes, "agreement": measured.agreement, "latency_ms": None,
                "status": measured.status, "drop": measured.drop,
                "why": f"agrees with the float model on {_likeness(measured):.1%} of {self.of}, the other on "
                f"{_likeness(row):.1%}",
            }  # fmt: skip
        return Step(best, words, row, loser)

    def _make(self, maker: str, kept: Sequence[str]) -> Artifact:
        """Make one file with one tool, or take it from the store; its path is in the store."""
        model, calibration = self.model, self.calibration
        spec = {
            "model": model.sha256,
            "name": model.name,
            "labels": model.labels,
            "input": to_json(model.input),
            "answer": model.answer,
            "tuning": model.tuning,
            "tokenizer": model.tokenizer.sha256 if model.tokenizer else None,
            "calibration": calibration.sha256,
            "keep": self.settings.keep,
            "kept": sorted(kept),
            "maker": maker,
            "writer": REVISION,
        }
        key = self.store.key("mixed", spec, packages_of("tflite"))
        if self.store.get(key, shipped=True) is None:
            try:
                self.tf.call(
                    "mixed",
                    timeout=self.timeout,
                    model=str(model.saved_model.parent),
                    kept=list(kept),
                    keep=self.settings.keep,
                    maker=maker,
                    workspace=str(self.store.partial(key)),
                    calibration=str(calibration.images),
                    calibration_record={**to_json(calibration), "images": None},
                )
            except CrashError as error:
                # Possibly transient (memory, time): the next run tries again.
                return Artifact(
                    artifact_id(model.name, VARIANT), model.name, "tflite", VARIANT.scheme_name, None,
                    status=error.status, reason=error.message, remedy=error.remedy,
                )  # fmt: skip
            self.store.finish(key)
        (path,) = (self.store.root / key).glob("*.json")
        artifact = load(path)
        return replace(artifact, tokenizer=model.tokenizer.folder if model.tokenizer else None)

    def _measure(self, candidates: Sequence[Artifact]) -> dict[str, Measurement]:
        """Measure the candidates on the trial samples; return rows by artifact id."""
        rows = self._trial(candidates, timed=False)
        return {artifact.id: rows[artifact.id, str(self.target)] for artifact in candidates}

    def timed(self, steps: Sequence[Step]) -> list[dict[str, Any] | None]:
        """Time all steps' files, taking turns, with nothing else running; latencies as results.json has them."""
        if not self.evaluate.latency.processes:
            return [None] * len(steps)
        with self.tf.idle():
            rows = self._trial([step.artifact for step in steps], timed=True)
        latencies = [rows[step.artifact.id, str(self.target)].latency_ms for step in steps]
        return [to_json(latency) if latency is not None else None for latency in latencies]

    def _trial(self, candidates: Sequence[Artifact], *, timed: bool) -> dict[tuple[str, str], Measurement]:
        return trial(
            candidates, self.reference, self.samples,
            targets=[self.target], evaluate=self.evaluate, seed=self.seed, store=self.store, listener=self.listener,
            timed=timed,
        )[0]  # fmt: skip

    def _tell(self, steps: Sequence[Step]) -> None:
        row = steps[-1].row
        note = f"{len(steps[-1].kept)} layers kept, drop {row.drop:.2%} ({row.drop_low:.2%} to {row.drop_high:.2%})"
        self.listener.progress(f"int8-mixed {self.model.name}", len(steps), self.settings.max_steps + 1, note)
