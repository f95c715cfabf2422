"""What ``edgeproof export`` does: variants of a model, ours or somebody else's, calibrated with the user's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.artifact import Artifact
from ..core.errors import InputError
from ..core.model import Model, load_model
from ..core.names import slug
from ..core.recipe import Data, Export
from ..core.store import Store, lock, place
from ..core.variant import Variant
from ..quantize.calibration import Calibration
from ..train import foreign
from .console import ConsoleListener
from .files import is_ours, open_model
from .making import calibrate as calibrate_samples
from .making import make_variant
from .preflight import check_makers
from .preparing import Wanted, prepared
from .tensorflow_process import TensorFlowProcess

SEED = 1


@dataclass(frozen=True)
class Choices:
    """What a user may have to say about a model that somebody else made; see `train.foreign.adopt`."""

    trust: bool = False
    output: str = ""
    signature: str = ""
    labels: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None
    size: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def export_model(
    path: Path,
    choices: Choices,
    variants: Sequence[Variant],
    options: Export,
    source: Data | None,
    out: Path,
    listener: ConsoleListener,
) -> list[Artifact]:
    """Make each variant of the model at `path` in `out`; somebody else's is frozen into ``out/model`` first.

    Raises InputError before anything is made when the file is refused or calibration data are missing.
    """
    problems = check_makers(variants)
    if problems:
        raise problems[0]
    ours = is_ours(path)
    if ours and choices != Choices():
        raise InputError(
            f"{path} was made by edgeproof, which knows its classes, range and outputs",
            "leave --trust, --labels, --output, --signature, --value-range, --size and --shape out",
        )
    key = None if ours else foreign.adoption_key(path, **asdict(choices))
    calibrated = [str(variant) for variant in variants if variant.scheme.calibrated]
    if calibrated and source is None:
        raise InputError(
            f"{', '.join(calibrated)} must be calibrated",
            "add --calibrate SOURCE, with samples like those of the training, e.g. folder:images or csv:texts.csv",
        )
    with lock(out):
        store = Store(out / ".store")
        with TensorFlowProcess(store.root / "tensorflow.log", listener) as tf:
            tf.start()
            model = _adopted(path, choices, key, store, tf, out) if key else open_model(path)
            listener.note("info", f"{model.name}: {_described(model)}")
            calibration = _calibration(model, source, options, store, listener) if calibrated and source else None
            made = []
            listener.progress("export", 0, len(variants))
            for count, variant in enumerate(variants, 1):
                drawn = calibration if variant.scheme.calibrated else None
                made.append(make_variant(model, variant, options, drawn, store=store, tf=tf, out=out))
                listener.progress("export", count, len(variants), str(variant))
    return made


def _adopted(
    path: Path, choices: Choices, key: dict[str, Any], store: Store, tf: TensorFlowProcess, out: Path
) -> Model:
    """Freeze somebody else's model, or take it from the store, and put it into ``out/model``."""
    name = slug(path.name.split(".")[0] or "model").replace("--", "-")
    entry = store.key("adopted", {**key, "name": name}, foreign.PACKAGES)
    if store.get(entry) is None:
        with store.write(entry) as workspace:
            tf.call("adopt", path=str(path.resolve()), name=name, workspace=str(workspace), choices=asdict(choices))
    place(store.root / entry, out / "model")
    return load_model(out / "model")


def _described(model: Model) -> str:
    takes, gives = model.input, f"{len(model.labels)} classes" if model.labels else "classes not known"
    values = f", values {takes.low:g} to {takes.high:g}" if takes.kind == "image" else ""
    shape = " × ".join(str(side) for side in takes.shape)
    return f"takes {takes.kind} {takes.name} ({shape}) {takes.dtype}{values}; judged by {model.answer}; {gives}"


def _calibration(model: Model, source: Data, options: Export, store: Store, listener: ConsoleListener) -> Calibration:
    if model.input.dtype == "string":
        raise InputError(
            f"{model.name} takes strings, which no TFLite or ONNX file could",
            "export no calibrated variants of it",
        )
    data = prepared(
        source, Wanted.by(model.input, foreign.model_inputs(model)),
        seed=SEED, folder=Path(), store=store, listener=listener, use="train",
    )  # fmt: skip
    return calibrate_samples(data, options.calibration.samples, SEED, store, model.tokenizer)
