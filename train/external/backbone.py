"""``file:PATH`` as a backbone: the user's own Keras file or SavedModel, fine-tuned on other images, or used unchanged.

A Keras 2 file is split into its layers, so that ``train.fine_tune.layers`` counts them. A Keras 3 file is cut in a
separate process and returned as a reusable SavedModel; that and the user's SavedModels are handled as Hub modules.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ...core.codec import sha256_file
from ...core.errors import EdgeproofError, InputError, StageError
from ...core.recipe import ModelSpec
from ...core.sanitize import shorten
from ...frameworks.reusable import save_reusable
from ...frameworks.tensorflow import check_installed, load
from ..hub.fetch import resolve
from ..hub.image import base_of
from ..hub.module import check_hub_installed, check_module
from ..hub.pixel_ranges import BYTES, SYMMETRIC, Pixels
from ..network import Base, ranged
from ..source import ImageRequest, check_keys, check_pixels, name_of
from . import keras3
from .custom import Definitions, check_modules, check_objects, fetch_modules, identify_objects
from .feature_cut import check_picture, cut_features
from .identify import ModelFile, identify
from .keras_model import ADVICE, every_layer, open_keras
from .load import named
from .pixel_range import pixel_range

# The keys of [[model]] that apply to a file.
KEYS = frozenset(
    {"name", "backbone", "image_size", "resize", "sha256", "output", "value_range", "preprocessing", "trainable",
     "head", "trust", "custom_objects"}
)  # fmt: skip
SAVED_MODEL_KEYS = KEYS | {"tags", "signature", "arguments"}


def file_of(spec: ModelSpec, folder: Path) -> Path:
    """Return the file or folder behind ``file:``; relative paths start at `folder`."""
    return folder / Path(name_of(spec)).expanduser()


class Files:
    """A source of backbones: see `source.ImageSource`."""

    packages = ("tensorflow-hub",)

    def check(self, spec: ModelSpec, folder: Path) -> None:
        """Check the file, that it has no code (`identify`), its hash if the recipe pins one, keys that do not apply,
        that the range of its pixels is known, and the modules that it needs."""
        where = f"model {spec.name!r}"
        check_installed()
        file = identified(spec, folder)
        check_keys(spec, SAVED_MODEL_KEYS if file.keras == 0 else KEYS)
        check_objects(objects_of(spec, folder))
        if spec.sha256 and (other := sha256_file(file.path)) != spec.sha256:
            raise InputError(
                f"{where}: {file.path} is not the file that the recipe pins: its sha256 is {other}",
                "if the change is intended, write the new sha256 into the recipe",
            )
        check_pixels(spec)
        if spec.head == "own" and (spec.trainable or spec.output):
            key = "trainable" if spec.trainable else "output"
            raise InputError(f"{where}: with head = 'own' nothing is cut or trained, but {key} is set", f"remove {key}")
        _pixels(spec, file)
        if file.keras == 3:
            keras3.check_keras3()
        if file.keras != 2 or spec.head == "own":
            check_hub_installed()
        if file.format == "saved-model":
            check_module(spec, file.path)

    def identity(self, spec: ModelSpec, folder: Path) -> dict[str, Any]:
        """The hashes of the file and of the code that it needs, and the recipe's settings."""
        keys = sorted(SAVED_MODEL_KEYS - {"name", "backbone", "resize", "sha256"})
        chosen = {key: getattr(spec, key) for key in keys}
        file = identified(spec, folder)
        outside = {
            "modules": check_modules(file.path, file.config, trust=trusted(spec)),
            "custom_objects": identify_objects(objects_of(spec, folder)),
        }
        return {"backbone": "file", **chosen, **outside, "weights": {"sha256": sha256_file(file.path)}}

    def mixes(self, spec: ModelSpec) -> bool:
        """False: the types of a finished model are fixed."""
        return False

    def build(self, spec: ModelSpec, request: ImageRequest) -> Base:
        """Build the file as a backbone at its image size, or with ``head = "own"`` as a complete classifier.

        The features are the output of the layer ``spec.output``; without one, the input of the classification layer at
        the end, or the model's output if there is no such layer; averaged over height and width. Raises InputError when
        the file is not suitable, StageError when it cannot be opened.
        """
        listener = request.listener
        file = identified(spec, request.folder)
        if file.format == "archive":
            path = resolve(str(file.path.absolute()), sha256=spec.sha256, folder=Path(), listener=listener)
            file = identify(path, trust=trusted(spec))
        pixels = _pixels(spec, file)
        for sentence in file.code:
            listener.note("warning", f"{file.path.name} is trusted: {sentence}")
        if file.format == "saved-model":
            return base_of(spec, file.path, pixels, request)
        modules = fetch_modules(file.path, file.config, trust=trusted(spec), listener=listener)
        definitions = Definitions(objects_of(spec, request.folder), modules)
        with tempfile.TemporaryDirectory(prefix="edgeproof-") as scratch:
            if file.keras == 3:
                return _keras3(spec, file, pixels, request, Path(scratch), definitions)
            try:
                return _keras2(spec, file, pixels, request, Path(scratch), definitions)
            except EdgeproofError:
                raise
            except Exception as error:  # Keras may raise any exception for an external file
                reason = shorten(f"{type(error).__name__}: {error}", 300)
            listener.note("warning", f"{file.path.name} is of Keras {file.version}; trying Keras 3", said=reason)
            try:
                return _keras3(spec, file, pixels, request, Path(scratch), definitions)
            except StageError:
                raise StageError(
                    f"{file.path} could not be opened: {reason}", f"check that it is complete; or {ADVICE}"
                ) from None


def trusted(spec: ModelSpec) -> bool:
    """Whether the recipe lets the file bring code."""
    return spec.trust or bool(spec.custom_objects)


def objects_of(spec: ModelSpec, folder: Path) -> tuple[str, ...]:
    """Return the modules of `spec`; paths of Python files start at `folder`."""
    return tuple(str((folder / name).resolve()) if name.endswith(".py") else name for name in spec.custom_objects)


def identified(spec: ModelSpec, folder: Path) -> ModelFile:
    """Return what the file of `spec` is. Raises InputError as `identify`, with the model's name."""
    try:
        return identify(file_of(spec, folder), trust=trusted(spec))
    except InputError as error:
        raise InputError(f"model {spec.name!r}: {error.message}", error.remedy) from error


def _pixels(spec: ModelSpec, file: ModelFile) -> Pixels:
    """Return the pixels that the file expects, from the recipe or from the file. Raises InputError if unknown."""
    if spec.value_range is not None:
        return Pixels(spec.value_range, why="the recipe's value_range")
    if spec.preprocessing:
        why = "the recipe's preprocessing"
        span = {"tf": SYMMETRIC, "inside": BYTES}.get(spec.preprocessing)
        return Pixels(span, "" if span else spec.preprocessing, why)
    if (span := pixel_range(file.config)) is not None:
        return Pixels(span, why="the preprocessing that the file begins with")
    raise InputError(
        f"model {spec.name!r}: {file.path.name} does not define the range of its pixels",
        "say value_range = [0.0, 1.0] (or [-1.0, 1.0], [0.0, 255.0], …), or preprocessing = 'caffe' or 'torch', as "
        "the model was trained",
    )


def _spec_of_cut(spec: ModelSpec) -> ModelSpec:
    """Return `spec` for a SavedModel that was cut here, without the settings that the cut has applied."""
    return spec.model_copy(update={"output": "", "tags": "", "signature": "", "arguments": {}})


def _keras3(
    spec: ModelSpec, file: ModelFile, pixels: Pixels, request: ImageRequest, scratch: Path, definitions: Definitions
) -> Base:
    job = {
        "task": "features",
        "path": str(named(file, scratch)),
        "output": spec.output,
        "own": spec.head == "own",
        "size": spec.image_size,
        "custom_objects": list(definitions.objects),
    }
    try:
        result = keras3.run(job, file.config, scratch / "keras3", trust=trusted(spec))
    except keras3.KerasError as error:
        raise StageError(f"{file.path} could not be opened: {shorten(str(error), 300)}", ADVICE) from error
    message = f"{file.path.name} was opened with Keras {result['keras']}; its features are {result['taken']}"
    request.listener.note("info", message)
    return base_of(_spec_of_cut(spec), scratch / "keras3" / "saved_model", pixels, request)


def _keras2(
    spec: ModelSpec, file: ModelFile, pixels: Pixels, request: ImageRequest, scratch: Path, definitions: Definitions
) -> Base:
    tf, keras = load()
    opened = open_keras(tf, keras, named(file, scratch), file.config, trusted(spec), definitions)
    check_picture(opened, spec.image_size)
    backbone, features = cut_features(keras, opened, spec.output, own=spec.head == "own")
    request.listener.note("info", f"{file.path.name}: its features are {features}")
    if spec.head == "own":
        saved = save_reusable(tf, backbone, (spec.image_size, spec.image_size, 3), scratch / "own")
        return base_of(_spec_of_cut(spec), saved, pixels, request)
    return _flat(spec, backbone, pixels, features)


def _flat(spec: ModelSpec, backbone: Any, pixels: Pixels, features: str) -> Base:
    """Place the layers of `backbone` behind the preprocessing, one by one, and freeze them."""
    _, keras = load()
    image = keras.Input((spec.image_size, spec.image_size, 3), name="image")
    model = keras.Model(image, backbone.call(ranged(image, pixels)), name="base")
    model.trainable = False
    layers = tuple(layer for layer in every_layer(backbone) if type(layer).__name__ != "InputLayer")
    base_layers = layers if spec.trainable else ()
    return Base(model, layers, pixels.name, whole_layers=base_layers, facts={"taken": features, "pixels": pixels.name})
