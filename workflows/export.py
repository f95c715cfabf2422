"""What ``edgeproof export`` does: variants of a model, ours or somebody else's, calibrated with the user's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.artifact import Artifact
from ..core.dataset import PreparedData
from ..core.errors import InputError
from ..core.model import Model, check_model, load_model
from ..core.progress import Listener
from ..core.recipe import Data, Evaluate, Export
from ..core.sanitize import slug
from ..core.store import Store, lock, open_store, place
from ..core.target import Target
from ..core.variant import CONVERTER, Variant
from ..devices import device
from ..quantize.calibration import Calibration
from ..train import external
from .model_files import is_ours, open_model
from .plan import export_steps
from .preflight import check_makers
from .prepare_data import Wanted, prepared
from .quantize_tflite import FLOAT32, export_tflite
from .steps import calibrate as calibrate_samples
from .steps import make_file, makers, put, warn
from .tensorflow_process import TensorFlowProcess
from .tool_selection import contest

SEED = 1


@dataclass(frozen=True)
class Choices:
    """What a user may have to say about a model that somebody else made; see `train.external.import_model`."""

    trust: bool = False
    output: str = ""
    tags: str = ""
    signature: str = ""
    labels: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None
    size: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    custom_objects: tuple[str, ...] = ()


def export_model(
    path: Path,
    choices: Choices,
    variants: Sequence[Variant],
    options: Export,
    source: Data | None,
    out: Path,
    listener: Listener,
) -> list[Artifact]:
    """Make each variant of the model at `path` in `out`; somebody else's is frozen into ``out/model`` first.

    Where two tools make a variant, `options.maker` says which; ``best`` tries both on the calibration source's samples,
    and is the first where there are none. A ``.tflite`` is quantized as it is (`brought`). Raises InputError before
    anything is made when the file is refused, calibration data are missing, or a variant takes a training.
    """
    if path.suffix == ".tflite" and path.is_file():
        return _export_brought(path, choices, variants, options, source, out, listener)
    if learnt := [str(v) for v in variants if v.scheme.training or v.scheme.searched]:
        raise InputError(
            f"{', '.join(learnt)}: is trained or searched with the model's own data",
            "put it among export.variants of the recipe, and run that",
        )
    problems = check_makers(variants)
    if problems:
        raise problems[0]
    ours = is_ours(path)
    if ours and choices != Choices():
        raise InputError(
            f"{path} was made by edgeproof, which knows its classes, range and outputs",
            "leave out all options on other people's models: --trust, --custom-objects, --labels, --output, --tags, "
            "--signature, --value-range, --size and --shape",
        )
    key = None if ours else external.adoption_key(path, **asdict(choices))
    calibrated = [str(variant) for variant in variants if variant.scheme.calibrated]
    if calibrated and source is None:
        raise InputError(
            f"{', '.join(calibrated)} must be calibrated",
            "add --calibrate SOURCE, with samples like those of the training, e.g. folder:images or csv:texts.csv",
        )
    with lock(out):
        store = open_store(out, listener)
        listener.plan(export_steps(variants, path.name, adopts=bool(key)))
        listener.begin("model", path.name)
        with TensorFlowProcess(store.root / "tensorflow.log", listener) as tf:
            tf.start()
            model = _adopted(path, choices, key, store, tf, out) if key else open_model(path)
            check_model(model.saved_model.parent)
            listener.note("info", f"{model.name}: {_described(model)}")
            data = _samples(model, source, store, listener) if source else None
            drawn = None
            if calibrated and data is not None:
                drawn = calibrate_samples(data, options.calibration.samples, SEED, store, model.tokenizer)
            made = []
            listener.begin("export", path.name)
            listener.progress("export", 0, len(variants))
            for count, variant in enumerate(variants, 1):
                best = _best(
                    model, variant, options, drawn if variant.scheme.calibrated else None, data, store, tf, listener
                )
                warn(best, listener)
                made.append(put(best, model, out))
                listener.progress("export", count, len(variants), str(variant))
    return made


def _best(
    model: Model,
    variant: Variant,
    options: Export,
    drawn: Calibration | None,
    data: PreparedData | None,
    store: Store,
    tf: TensorFlowProcess,
    listener: Listener,
) -> Artifact:
    """Make a file with each of its tools, and return the one that measures better on the samples that there are."""
    tools = makers(variant, options)
    if data is None:
        tools = tools[:1]

    def make(what: Variant, calibration: Calibration | None, maker: str) -> Artifact:
        return make_file(model, what, options, calibration, maker=maker, store=store, tf=tf)

    made = [make(variant, drawn, maker) for maker in tools]
    if len(made) == 1 or data is None:
        return made[0]
    return contest(
        made,
        make(FLOAT32, None, CONVERTER),
        data,
        targets=[Target("local", runtime) for runtime, version in device().runtimes().items() if version],
        evaluate=Evaluate(),
        samples=options.trial_samples,
        seed=SEED,
        store=store,
        listener=listener,
    )


def _export_brought(
    path: Path,
    choices: Choices,
    variants: Sequence[Variant],
    options: Export,
    source: Data | None,
    out: Path,
    listener: Listener,
) -> list[Artifact]:
    if choices.trust or choices.tags or choices.signature or choices.custom_objects:
        raise InputError(
            f"{path} is a .tflite: it has no code, and is not opened by tags or signatures",
            "leave --trust, --custom-objects, --tags and --signature out",
        )
    if options.maker == CONVERTER:
        raise InputError(f"{path} is a .tflite, which TensorFlow's converter does not read", "leave --maker out")
    return export_tflite(
        path,
        variants,
        options,
        source,
        out,
        listener,
        labels=choices.labels,
        value_range=choices.value_range,
        output=choices.output,
        size=choices.size,
        shapes=choices.shapes,
    )


def _adopted(
    path: Path, choices: Choices, key: dict[str, Any], store: Store, tf: TensorFlowProcess, out: Path
) -> Model:
    """Freeze somebody else's model, or take it from the store, and put it into ``out/model``."""
    name = slug(path.name.split(".")[0] or "model").replace("--", "-")
    entry = store.key("adopted", {**key, "name": name}, external.PACKAGES)
    if store.get(entry, shipped=True) is None:
        with store.write(entry) as workspace:
            tf.call("adopt", path=str(path.resolve()), name=name, workspace=str(workspace), choices=asdict(choices))
    place(store.root / entry, out / "model", root=out, mark="model.json")
    return load_model(out / "model")


def _described(model: Model) -> str:
    takes, gives = model.input, f"{len(model.labels)} classes" if model.labels else "classes not known"
    values = f", values {takes.low:g} to {takes.high:g}" if takes.kind == "image" else ""
    shape = " × ".join(str(side) for side in takes.shape)
    return f"takes {takes.kind} {takes.name} ({shape}) {takes.dtype}{values}; judged by {model.answer}; {gives}"


def _samples(model: Model, source: Data, store: Store, listener: Listener) -> PreparedData:
    if model.input.dtype == "string":
        raise InputError(
            f"{model.name} takes strings, which no TFLite or ONNX file could",
            "export no calibrated variants of it",
        )
    return prepared(
        source, Wanted.by(model.input, external.model_inputs(model)),
        seed=SEED, folder=Path(), store=store, listener=listener, use="train",
    )  # fmt: skip
