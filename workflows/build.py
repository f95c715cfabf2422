"""Builds all files of one model: with the best tool, after further training, by search, or for an old runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..core.artifact import Artifact, artifact_id
from ..core.dataset import PreparedData
from ..core.errors import EdgeproofError
from ..core.maker import CONVERTER
from ..core.model import Model
from ..core.progress import Listener
from ..core.recipe import Recipe
from ..core.store import Store
from ..core.target import TRIAL_TARGET, Target
from ..core.variant import Variant
from ..quantize.calibration import Calibration
from ..quantize.distribution_check import check_distribution
from .made_ahead import MadeAhead
from .mixed_precision import search_mixed
from .runtime_fallbacks import fallback_variants
from .steps import blank, calibrate, make_file, makers, train_further, warn
from .tensorflow_process import TensorFlowProcess
from .tool_selection import select_tool


class ModelBuild:
    """Makes the files of one model in a run, or takes them from the store."""

    def __init__(
        self,
        model: Model,
        data: PreparedData,
        recipe: Recipe,
        *,
        targets: Sequence[Target],
        runtime: Target | None,
        store: Store,
        tf: TensorFlowProcess,
        listener: Listener,
    ) -> None:
        self.model = model
        self.data = data
        self.recipe = recipe
        self.targets = targets
        self.runtime = runtime
        self.store = store
        self.tf = tf
        self.listener = listener
        # Fallback → the plain file that does not load on the recipe's runtime.
        self.instead: dict[str, Artifact] = {}
        self._ahead = MadeAhead()
        self._further_models: dict[str, Model | EdgeproofError] = {}
        self._distribution: dict[str, Any] | None = None

    def make_all(self) -> list[Artifact]:
        """Make every variant of the recipe, and the fallbacks that its runtime needs."""
        waiting = [Variant.parse(text) for text in self.recipe.export.variants]
        made: list[Artifact] = []
        with self._ahead:
            for variant in waiting:
                self._announce(variant)
            while len(made) < len(waiting):
                artifact = self.make(waiting[len(made)])
                made.append(artifact)
                self.listener.progress(f"export {self.model.name}", len(made), len(waiting), str(artifact.variant))
                if artifact.status != "ok":
                    self.listener.note("warning", f"{artifact.id}: {artifact.reason}", remedy=artifact.remedy)
                for variant in fallback_variants(artifact, self.runtime) if self.runtime else ():
                    self.instead.setdefault(artifact_id(self.model.name, variant), artifact)
                    if variant not in waiting:
                        waiting.append(variant)
        return made

    def _announce(self, variant: Variant) -> None:
        """Have a variant's files made ahead, unless they follow from others or from further training."""
        if variant.scheme.searched or variant.scheme.training:
            return
        calibration = self._calibration() if variant.scheme.calibrated else None
        for maker in makers(variant, self.recipe.export):
            self._ahead.announce(variant, maker, partial(self._file, self.model, variant, calibration, maker))

    def _file(self, source: Model, variant: Variant, calibration: Calibration | None, maker: str) -> Artifact:
        return make_file(source, variant, self.recipe.export, calibration, maker=maker, store=self.store, tf=self.tf)

    def make(self, variant: Variant) -> Artifact:
        """Make one variant; a failure is a row with its reason."""
        artifact = self._best(variant)
        warn(artifact, self.listener)
        if not artifact.calibration:
            return artifact
        return replace(artifact, calibration={**artifact.calibration, **self._check_distribution()})

    def _best(self, variant: Variant) -> Artifact:
        if variant.scheme.searched and self.model.input.dtype != "string":
            return self._searched(variant)
        source: Model | EdgeproofError = self.model
        if variant.scheme.training:
            source = self._trained_further(variant.scheme.training)
        if isinstance(source, EdgeproofError):
            return blank(self.model, variant).failed("failed", source.message, source.remedy)
        # A model that was trained for quantization in parts is calibrated for the rest.
        drawn = variant.scheme.calibrated or variant.scheme.training == "qat"
        calibration = self._calibration() if drawn else None
        options = self.recipe.export
        candidates = [
            self._ahead.take(variant, maker) or self._file(source, variant, calibration, maker)
            for maker in makers(variant, options)
        ]
        if variant.scheme.training:  # every epoch was judged on the validation split
            judged_on = self.data.counts.get("validation", 0)
            candidates = [replace(candidate, chosen_on=judged_on) for candidate in candidates]
        if len(candidates) == 1:
            return candidates[0]
        return select_tool(
            candidates,
            self.float_file(),
            self.data,
            targets=self.targets,
            evaluate=self.recipe.evaluate,
            samples=options.trial_samples,
            seed=self.recipe.seed,
            store=self.store,
            listener=self.listener,
            alone=self.tf.idle,
        )

    def float_file(self) -> Artifact:
        """Make the float32 TFLite file, which trials and diagnoses compare with."""
        variant = Variant("tflite", "float32")
        return self._ahead.take(variant, CONVERTER) or self._file(self.model, variant, None, CONVERTER)

    def _searched(self, variant: Variant) -> Artifact:
        """Search for the file with the fewest layers outside int8 whose accuracy drop is within the budget."""
        recipe, calibration = self.recipe, self._calibration()
        if calibration is None:
            raise ValueError(f"{variant} needs calibration samples")
        return search_mixed(
            self.model,
            self.make(Variant("tflite", "int8")),
            self.float_file(),
            self.data,
            calibration,
            recipe.quantize.mixed,
            recipe.budget,
            options=recipe.export,
            evaluate=recipe.evaluate,
            target=TRIAL_TARGET,
            makers=makers(variant, recipe.export),
            seed=recipe.seed,
            store=self.store,
            tf=self.tf,
            listener=self.listener,
        )

    def _check_distribution(self) -> dict[str, Any]:
        """Compare the calibration samples with the test samples, warn once if they differ; return the record."""
        if self._distribution is None:
            self._distribution = {}
            if calibration := self._calibration():
                tokenizer = self.model.tokenizer.folder if self.model.tokenizer else None
                record = check_distribution(calibration, self.data, tokenizer=tokenizer, seed=self.recipe.seed)
                if not record["alike"]:
                    record["warning"] = f"the calibration samples differ from the test samples: {record['why']}"
                    self.listener.note("warning", f"{self.model.name}: {record['warning']}")
                self._distribution = {"resemblance": record}
        return self._distribution

    def _calibration(self) -> Calibration | None:
        if self.model.input.dtype == "string":
            return None
        samples = self.recipe.export.calibration.samples
        return calibrate(self.data, samples, self.recipe.seed, self.store, self.model.tokenizer)

    def _trained_further(self, kind: str) -> Model | EdgeproofError:
        """Return the model after further training (``qat`` and others), or the error for all files that need it."""
        if kind not in self._further_models:
            try:
                self._further_models[kind] = train_further(
                    self.model,
                    kind,
                    self.recipe.quantize,
                    data=self.data,
                    calibration=self._calibration(),
                    seed=self.recipe.seed,
                    store=self.store,
                    tf=self.tf,
                )
            except EdgeproofError as error:
                self._further_models[kind] = error
        return self._further_models[kind]
