"""``export``: variants of a model, our own or an external one, calibrated with the user's data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.artifact import Artifact
from ..core.codec import to_json
from ..core.dataset import PreparedData
from ..core.errors import InputError, explain_os_errors
from ..core.maker import CONVERTER, MAKERS, MakerChoice
from ..core.model import Model, check_model, load_model
from ..core.progress import Listener
from ..core.recipe import Evaluate, Export
from ..core.recipe_data import Data
from ..core.recipe_file import parse_table
from ..core.run_log import RunLog
from ..core.runtime import RUNTIMES
from ..core.sanitize import slug
from ..core.store import Store, copy_out, lock, open_store
from ..core.target import Target
from ..core.variant import Variant
from ..devices import device
from ..quantize.calibration import Calibration
from ..train import external
from .arguments import at_least_one, channels_of, labels_of, one_or_more, path_of, text_of, tuple_of_two
from .files import Files
from .input_spec import InputSpec
from .keras_models import ModelLike, model_path
from .listening import listener_of
from .model_files import is_ours, open_model
from .plan import export_steps
from .preflight import check_makers, check_writable
from .prepare_data import prepared
from .quantize_tflite import FLOAT32, export_tflite
from .samples import DataLike, Samples, data_source
from .steps import calibrate as calibrate_samples
from .steps import make_file, makers, put, warn
from .tensorflow_process import TensorFlowProcess
from .tool_selection import select_tool

SEED = 1


@explain_os_errors
def export(
    model: ModelLike,
    variants: str | Variant | Sequence[str | Variant],
    *,
    out: str | os.PathLike[str] | None = None,
    calibration: DataLike | None = None,
    samples: int = 200,
    maker: MakerChoice = "best",
    labels: Sequence[str] | str | os.PathLike[str] = (),
    value_range: tuple[float, float] | None = None,
    channel_order: str = "",
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    size: int | None = None,
    shapes: Mapping[str, Sequence[int]] | Sequence[int] = (),
    output: str = "",
    tags: str = "",
    signature: str = "",
    trust: bool = False,
    custom_objects: Sequence[str | os.PathLike[str]] = (),
    progress: Listener | None = None,
) -> Files:
    """Export files of a trained model, of Edgeproof or external.

    Args:
        model: a Keras 2 or 3 model in memory; or the path of a Keras file (``.keras``, ``.h5``), of a SavedModel
            (folder or ``.tar.gz``), of a float ``.tflite``, which is quantized as it is, or of a run's ``models/NAME``.
        variants: what to make, such as ``tflite:int8`` or ``["tflite:int8", "onnx:float32"]``.
        out: where the files go. Default: the model's own ``artifacts``, or ``exported/NAME``.
        calibration: samples for int8 and int16x8: a source such as ``folder:images``, a `Data`, or arrays in memory,
            ``(x,)`` with x of shape (samples, …) as the model takes them (pictures uint8, 0 to 255).
        samples: how many of them are used.
        maker: the tool, where several make a variant; ``best`` tries them on samples of `calibration`.
        labels: the classes in the order of the output, or the path of a file of them, one a line.
        value_range: what the model wants pixels in, such as ``(0, 1)``. Its files then take 0 to 255. Without it the
            model takes arrays as they are.
        channel_order: ``rgb`` or ``bgr``. Default: ``rgb``.
        mean: of each channel, in the model's order: it takes (value - mean) / std of values in its range (default then:
            0 to 1).
        std: of each channel.
        size: height and width in pixels, where the model leaves them open.
        shapes: an input's shape, where the model leaves it open; of several inputs by name.
        output: which of several outputs is judged.
        tags: which of several graphs of a SavedModel is used.
        signature: which signature or function of a SavedModel is used.
        trust: run code that the file contains (Lambda layers, custom classes).
        custom_objects: modules, or paths of ``.py`` files, that define what the file needs. They are imported.
        progress: hears how far the work is. Default: nothing is shown, but for a bar in a notebook.

    Returns:
        The artifacts by variant. One that could not be made has a status, a reason and a remedy.

    Raises:
        InputError: the model is refused, calibration samples are missing or do not fit, a variant cannot be made of
            this model, or a package is missing. Nothing was made.
        StageError: the model cannot be frozen, or the disk refuses.
    """
    listed = one_or_more(variants, str | Variant, "variants", "such as tflite:int8")
    if not listed:
        raise InputError("there are no variants to make", "name one or more, such as tflite:int8")
    asked = [v if isinstance(v, Variant) else Variant.parse(v) for v in dict.fromkeys(listed)]
    table = {"variants": list(map(str, asked)), "maker": maker, "calibration": {"samples": samples}}
    options = parse_table(Export, table, "export")
    modules = one_or_more(custom_objects, str | os.PathLike, "custom_objects", "modules, or paths of .py files")
    channels = channels_of(channel_order, mean, std)
    stated = external.ImportOptions(
        trust=trust,
        output=text_of(output, "output"),
        tags=text_of(tags, "tags"),
        signature=text_of(signature, "signature"),
        labels=labels_of(labels),
        value_range=channels.span(tuple_of_two(value_range)),
        size=None if size is None else at_least_one(size, "size"),
        shapes=_shapes(shapes),
        channels=channels,
        custom_objects=tuple(str(Path(m).resolve()) if str(m).endswith(".py") else str(m) for m in modules),
    )
    source = data_source(calibration) if calibration is not None else None
    with model_path(model) as path:
        folder = path_of(out, "out") if out is not None else _default_folder(path)
        check_writable(folder)
        with RunLog(folder / "log.jsonl", listener_of(progress)) as log:
            artifacts = export_model(path, stated, asked, options, source, folder, log)
        return Files(artifacts, folder, _float_model(path, folder))


def _default_folder(path: Path) -> Path:
    """Return the default folder for the files of a model."""
    if is_ours(path):
        return open_model(path).saved_model.parent / "artifacts"
    return Path("exported") / slug(path.name.split(".")[0] or "model")


def _float_model(path: Path, folder: Path) -> Path | None:
    """Return the folder of the float model that the files were made from."""
    if path.suffix == ".tflite":
        return None
    return open_model(path).saved_model.parent if is_ours(path) else folder / "model"


def _shapes(shapes: Mapping[str, Sequence[int]] | Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return shapes by input name; an empty name means the only input."""
    try:
        by_name = shapes if isinstance(shapes, Mapping) else {"": shapes} if len(shapes) else {}
        return {str(name): tuple(int(side) for side in shape) for name, shape in by_name.items()}
    except (TypeError, ValueError) as error:
        raise InputError(f"{shapes!r} are no shapes", 'give e.g. (1, 128), or {"ids": (1, 128)}') from error


def export_model(
    path: Path,
    stated: external.ImportOptions,
    variants: Sequence[Variant],
    options: Export,
    source: Data | Samples | None,
    out: Path,
    listener: Listener,
) -> list[Artifact]:
    """Make each variant of the model at `path` in `out`; an external model is frozen into ``out/model`` first.

    If two tools make a variant, `options.maker` chooses; ``best`` tries both on the calibration source's samples, and
    is the first tool without samples. A ``.tflite`` is quantized as it is. Raises InputError before anything is made
    when the file is refused, calibration data are missing, or a variant needs training.
    """
    if path.suffix == ".tflite" and path.is_file():
        return _export_tflite(path, stated, variants, options, source, out, listener)
    if learnt := [str(v) for v in variants if v.scheme.training or v.scheme.searched]:
        raise InputError(
            f"{', '.join(learnt)}: is trained or searched with the model's own data",
            "put it among export.variants of the recipe, and run that",
        )
    problems = check_makers(variants)
    if problems:
        raise problems[0]
    ours = is_ours(path)
    if ours and stated != external.ImportOptions():
        raise InputError(
            f"{path} was made by edgeproof, which knows its classes, range and outputs",
            "leave out all options for external models: --trust, --custom-objects, --labels, --output, --tags, "
            "--signature, --value-range, --channel-order, --mean, --std, --size and --shape",
        )
    key = None if ours else external.import_key(path, stated)
    calibrated = [str(variant) for variant in variants if variant.scheme.calibrated]
    if calibrated and source is None:
        raise InputError(
            f"{', '.join(calibrated)} must be calibrated",
            "add --calibrate SOURCE, with samples like those of the training, e.g. folder:images or csv:texts.csv",
        )
    with lock(out):
        store = open_store(out, listener)
        listener.plan(export_steps(variants, path.name, imports_model=bool(key)))
        listener.begin("model", path.name)
        with TensorFlowProcess(store.root / "tensorflow.log", listener) as tf:
            tf.start()
            model = _imported(path, stated, key, store, tf, out) if key else open_model(path)
            check_model(model.saved_model.parent)
            listener.note("info", f"{model.name}: {_described(model)}")
            data = _samples(model, source, store, listener) if source else None
            drawn = None
            if calibrated and data is not None:
                drawn = calibrate_samples(data, options.calibration.samples, SEED, store, model.tokenizer)
            artifacts = []
            listener.begin("export", path.name)
            listener.progress("export", 0, len(variants))
            for count, variant in enumerate(variants, 1):
                best = _best(
                    model, variant, options, drawn if variant.scheme.calibrated else None, data, store, tf, listener
                )
                warn(best, listener)
                artifacts.append(put(best, model, out))
                listener.progress("export", count, len(variants), str(variant))
    return artifacts


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
    """Make a file with each of its tools, and return the one that measures better on the samples."""
    tools = makers(variant, options)
    if data is None:
        tools = tools[:1]

    def make(what: Variant, calibration: Calibration | None, maker: str) -> Artifact:
        return make_file(model, what, options, calibration, maker=maker, store=store, tf=tf)

    candidates = [make(variant, drawn, maker) for maker in tools]
    if len(candidates) == 1 or data is None:
        return candidates[0]
    return select_tool(
        candidates,
        make(FLOAT32, None, CONVERTER),
        data,
        targets=[
            Target("local", name) for name, version in device().runtimes().items() if version and RUNTIMES[name].default
        ],
        evaluate=Evaluate(),
        samples=options.trial_samples,
        seed=SEED,
        store=store,
        listener=listener,
    )


def _export_tflite(
    path: Path,
    stated: external.ImportOptions,
    variants: Sequence[Variant],
    options: Export,
    source: Data | Samples | None,
    out: Path,
    listener: Listener,
) -> list[Artifact]:
    if stated.trust or stated.tags or stated.signature or stated.custom_objects:
        raise InputError(
            f"{path} is a .tflite: it has no code, and is not opened by tags or signatures",
            "leave --trust, --custom-objects, --tags and --signature out",
        )
    if options.maker == CONVERTER:
        raise InputError(f"{path} is a .tflite, which {MAKERS[CONVERTER].title} does not read", "leave --maker out")
    return export_tflite(
        path,
        variants,
        options,
        source,
        out,
        listener,
        stated,
    )


def _imported(
    path: Path, stated: external.ImportOptions, key: dict[str, Any], store: Store, tf: TensorFlowProcess, out: Path
) -> Model:
    """Freeze an external model, or take it from the store, and put it into ``out/model``."""
    name = slug(path.name.split(".")[0] or "model").replace("--", "-")
    entry = store.key("imported", {**key, "name": name}, external.PACKAGES)
    if store.get(entry, shipped=True) is None:
        with store.write(entry) as workspace:
            tf.call("import", path=str(path.resolve()), name=name, workspace=str(workspace), options=to_json(stated))
    copy_out(store.root / entry, out / "model", root=out, mark="model.json")
    return load_model(out / "model")


def _described(model: Model) -> str:
    takes, gives = model.input, f"{len(model.labels)} classes" if model.labels else "classes not known"
    values = f", values {takes.low:g} to {takes.high:g}" if takes.kind == "image" else ""
    shape = " × ".join(str(side) for side in takes.shape)
    return f"takes {takes.kind} {takes.name} ({shape}) {takes.dtype}{values}; judged by {model.answer}; {gives}"


def _samples(model: Model, source: Data | Samples, store: Store, listener: Listener) -> PreparedData:
    if model.input.dtype == "string":
        raise InputError(
            f"{model.name} takes strings, which no TFLite or ONNX file could",
            "export no calibrated variants of it",
        )
    return prepared(
        source, InputSpec.of(model.input, external.model_inputs(model)),
        seed=SEED, folder=Path(), store=store, listener=listener, use="train",
    )  # fmt: skip
