"""All files of one model: by the tool that does best, trained further, searched, adapted to an old runtime."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.artifact import Artifact
from ..core.dataset import PreparedData
from ..core.errors import EdgeproofError
from ..core.events import Listener
from ..core.model import Model
from ..core.recipe import Recipe
from ..core.store import Store
from ..core.target import Target
from ..core.variant import CONVERTER, Variant
from ..quantize.calibration import Calibration
from .making import blank, calibrate, make_file, makers, tune
from .tensorflow_process import TensorFlowProcess


class Workshop:
    """Makes the files of one model in a run. Files are found in the store, or made there."""

    def __init__(
        self,
        model: Model,
        data: PreparedData,
        recipe: Recipe,
        *,
        runtime: Target | None,
        store: Store,
        tf: TensorFlowProcess,
        listener: Listener,
    ) -> None:
        self.model = model
        self.data = data
        self.recipe = recipe
        self.runtime = runtime
        self.store = store
        self.tf = tf
        self.listener = listener
        self._tuned: dict[str, Model | EdgeproofError] = {}

    def make_all(self) -> Iterator[Artifact]:
        """Make every variant that the recipe asks for, and those that its runtime needs instead of some of them."""
        waiting = [Variant.parse(text) for text in self.recipe.export.variants]
        done = 0
        while done < len(waiting):
            artifact = self.make(waiting[done])
            done += 1
            self.listener.progress(f"export {self.model.name}", done, len(waiting), str(artifact.variant))
            if artifact.status != "ok":
                self.listener.note("warning", f"{artifact.id}: {artifact.reason}", remedy=artifact.remedy)
            yield artifact

    def make(self, variant: Variant) -> Artifact:
        """Make one variant; what cannot be made is a row that says why."""
        source: Model | EdgeproofError = self.model
        if variant.scheme.training:
            source = self._trained_further(variant.scheme.training)
        if isinstance(source, EdgeproofError):
            return blank(self.model, variant).failed("failed", source.message, source.remedy)
        calibration = self._calibration() if variant.scheme.calibrated else None
        options = self.recipe.export
        made = [
            make_file(source, variant, options, calibration, maker=maker, store=self.store, tf=self.tf)
            for maker in makers(variant, options)
        ]
        return made[0]

    def float_file(self) -> Artifact:
        """Make the float32 TFLite file, which trials and diagnoses compare with."""
        variant = Variant("tflite", "float32")
        return make_file(self.model, variant, self.recipe.export, None, maker=CONVERTER, store=self.store, tf=self.tf)

    def _calibration(self) -> Calibration | None:
        if self.model.input.dtype == "string":
            return None
        samples = self.recipe.export.calibration.samples
        return calibrate(self.data, samples, self.recipe.seed, self.store, self.model.tokenizer)

    def _trained_further(self, kind: str) -> Model | EdgeproofError:
        """Return the model after quantization-aware training or the like; an error that every file of it then has."""
        if kind not in self._tuned:
            try:
                self._tuned[kind] = tune(
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
                self._tuned[kind] = error
        return self._tuned[kind]
