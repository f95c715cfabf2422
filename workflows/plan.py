"""The steps of a command and their usual duration in seconds: the starting values of the estimate of the rest.

The figures are for two cores and a small network. The duration of latency measurements follows from the recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..core.device import THIS_MACHINE
from ..core.progress import Step
from ..core.recipe import Evaluate, Recipe
from ..core.target import Target
from ..core.variant import Variant
from ..evaluate.queues import on_device

DATA, BUILD, EPOCH, FINE_TUNED_EPOCH = 3.0, 15.0, 0.3, 20.0
CONVERT, CALIBRATED, TRAINED, SEARCHED, TENSORFLOW = 2.0, 6.0, 60.0, 120.0, 6.0
LOAD, ACCURACY, PROCESS, DIAGNOSIS, PROFILE = 0.5, 6.0, 0.8, 8.0, 1.5
VALIDATION = "accuracy on validation"
# Number of samples that the usual times of accuracies are for; with few samples, process starts take the time.
SAMPLES, LEAST = 2000, 0.1


def run_steps(recipe: Recipe, targets: Sequence[Target], places: Mapping[str, str] | None = None) -> Iterator[Step]:
    """Yield the steps of a run, in their order; `places` as for `measuring`."""
    variants = [Variant.parse(text) for text in recipe.export.variants]
    seeds = max(1, len(recipe.train.seeds))
    for number, spec in enumerate(recipe.model):
        yield Step("data", DATA if number == 0 else 0.1, spec.name)
        epochs = EPOCH * recipe.train.epochs
        if recipe.train.fine_tune.layers:
            epochs += FINE_TUNED_EPOCH * recipe.train.fine_tune.epochs
        yield Step("train", BUILD + seeds * epochs, spec.name)
    for spec in recipe.model:
        yield Step("export", sum(map(_seconds_to_make, variants)), spec.name)
    formats = ["savedmodel", *(variant.format for variant in variants)] * len(recipe.model)
    yield from measuring(formats, targets, recipe.evaluate, places)
    pooled = [v.format for v in variants if len(v.scheme.makers) == 1 and not v.scheme.training] * len(recipe.model)
    yield Step(VALIDATION, 0.5 * ACCURACY * sum(target.reads(f) for f in pooled for target in targets))
    quantized = [v for v in variants if v.format == "tflite" and v.scheme.weights != "float32"]
    if recipe.evaluate.diagnose != "none":
        share = 1.0 if recipe.evaluate.diagnose == "all" else 0.5
        yield Step("diagnose", share * DIAGNOSIS * len(quantized) * len(recipe.model))
    yield Step("report", 2.0)


def share_of_samples(count: int) -> float:
    """Return the factor on the usual times of accuracies for `count` samples."""
    return max(LEAST, count / SAMPLES)


def export_steps(variants: Sequence[Variant], model: str, *, imports_model: bool) -> Iterator[Step]:
    """Yield the steps of ``edgeproof export``."""
    yield Step("model", TENSORFLOW + (BUILD if imports_model else 0.0), model)
    yield Step("export", sum(map(_seconds_to_make, variants)), model)


def measuring(
    formats: Sequence[str], targets: Sequence[Target], settings: Evaluate, places: Mapping[str, str] | None = None
) -> Iterator[Step]:
    """Yield the steps in which files of these formats are measured on the targets that read them.

    `places` has the machine of each device (`core.device.Device.place`): machines are measured at the same time.
    """
    machines: dict[str, list[Target]] = {}
    for target in targets:
        machines.setdefault((places or {}).get(target.device, THIS_MACHINE), []).append(target)
    latency = settings.latency
    once = PROCESS + latency.warmup_seconds + latency.run_seconds
    for place, here in machines.items():
        device = "" if place == THIS_MACHINE else here[0].device
        queue = place if len(machines) > 1 else ""
        cells = sum(target.reads(format_) for format_ in formats for target in here)
        yield Step(on_device("load", device), LOAD * cells, queue=queue)
        yield Step(on_device("accuracy", device), ACCURACY * cells, queue=queue)
        seconds = latency.processes * once * cells
        yield Step(on_device("latency", device), seconds, fixed=True, queue=queue)
        if latency.sustained_minutes:
            seconds = 60 * latency.sustained_minutes * len({target.device for target in here})
            yield Step(on_device("sustained", device), seconds, fixed=True, queue=queue)
    cells = sum(target.reads(format_) for format_ in formats for target in targets)
    if settings.profile:
        yield Step("profile", PROFILE * cells)


def _seconds_to_make(variant: Variant) -> float:
    scheme = variant.scheme
    if scheme.searched:
        return SEARCHED
    return TRAINED if scheme.training else CALIBRATED if scheme.calibrated else CONVERT
