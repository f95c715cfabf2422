"""``file:PATH`` for waveforms: the user's own Keras file or SavedModel, up to its features, with a new head."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ...core.codec import sha256_file
from ...core.errors import EdgeproofError, InputError, StageError
from ...core.recipe import ModelSpec
from ...core.sanitize import shorten
from ...frameworks.tensorflow import check_installed, load
from ..external import keras3
from ..external.backbone import identified, objects_of, trusted
from ..external.custom import Definitions, check_modules, check_objects, fetch_modules, identify_objects
from ..external.feature_cut import check_wave, cut_features
from ..external.identify import ModelFile, identify
from ..external.keras_model import ADVICE, open_keras
from ..external.load import named
from ..hub.fetch import resolve
from ..source import check_keys
from .base import SoundBase, SoundRequest, base_of
from .hub_modules import check_module, check_not_trained, saved_model_base

_KEYS = frozenset({"name", "backbone", "sha256", "output", "trust", "custom_objects"})
_SAVED_MODEL_KEYS = _KEYS | {"tags", "signature", "arguments"}


class FileSounds:
    """A source of backbones: see `source.BackboneSource`."""

    packages: tuple[str, ...] = ()

    def check(self, spec: ModelSpec, folder: Path) -> None:
        """Check the file, that it has no code (`identify`), its hash if the recipe pins one, and the keys."""
        check_installed()
        check_not_trained(spec)
        file = identified(spec, folder)
        check_keys(spec, _KEYS if file.keras else _SAVED_MODEL_KEYS)
        check_objects(objects_of(spec, folder))
        if spec.sha256 and (other := sha256_file(file.path)) != spec.sha256:
            raise InputError(
                f"model {spec.name!r}: {file.path} is not the file that the recipe pins: its sha256 is {other}",
                "if the change is intended, write the new sha256 into the recipe",
            )
        if file.keras == 3:
            keras3.check_keras3()
        if file.format == "saved-model":
            check_module(spec, file.path)

    def identity(self, spec: ModelSpec, folder: Path) -> dict[str, Any]:
        """The hashes of the file and of the code that it needs, and the recipe's settings."""
        file = identified(spec, folder)
        chosen = {key: getattr(spec, key) for key in sorted(_SAVED_MODEL_KEYS - {"name", "backbone", "sha256"})}
        outside = {
            "modules": check_modules(file.path, file.config, trust=trusted(spec)),
            "custom_objects": identify_objects(objects_of(spec, folder)),
        }
        return {"backbone": "file", **chosen, **outside, "weights": {"sha256": sha256_file(file.path)}}

    def build(self, spec: ModelSpec, request: SoundRequest) -> SoundBase:
        """Build the file up to its features: of a Keras file what its last dense layer is given, or ``output``.

        Raises InputError when the file is not suitable, StageError when it cannot be opened.
        """
        file = identified(spec, request.folder)
        if file.format == "archive":
            path = resolve(str(file.path.absolute()), sha256=spec.sha256, folder=Path(), listener=request.listener)
            file = identify(path, trust=trusted(spec))
        for sentence in file.code:
            request.listener.note("warning", f"{file.path.name} is trusted: {sentence}")
        if file.format == "saved-model":
            return saved_model_base(spec, file.path, request)
        modules = fetch_modules(file.path, file.config, trust=trusted(spec), listener=request.listener)
        definitions = Definitions(objects_of(spec, request.folder), modules)
        with tempfile.TemporaryDirectory(prefix="edgeproof-") as scratch:
            build = _keras3 if file.keras == 3 else _keras2
            try:
                return build(spec, file, request, Path(scratch), definitions)
            except EdgeproofError:
                raise
            except Exception as error:  # Keras may raise any exception for an external file
                why = shorten(f"{type(error).__name__}: {error}", 300)
                raise StageError(f"{file.path} could not be opened: {why}", ADVICE) from error


def _keras2(
    spec: ModelSpec, file: ModelFile, request: SoundRequest, scratch: Path, definitions: Definitions
) -> SoundBase:
    tf, keras = load()
    opened = open_keras(tf, keras, named(file, scratch), file.config, trusted(spec), definitions)
    shape = check_wave(opened, request.samples.shape[1])
    model, taken = cut_features(keras, opened, spec.output, own=False)
    request.listener.note("info", f"{file.path.name}: its features are {taken}")
    return base_of(
        spec.model_copy(update={"output": ""}), lambda wave: model(wave, training=False), request,
        singular=len(shape) == 2,
    )  # fmt: skip


def _keras3(
    spec: ModelSpec, file: ModelFile, request: SoundRequest, scratch: Path, definitions: Definitions
) -> SoundBase:
    job = {
        "task": "features",
        "path": str(named(file, scratch)),
        "output": spec.output,
        "own": False,
        "samples": request.samples.shape[1],
        "custom_objects": list(definitions.objects),
    }
    try:
        result = keras3.run(job, file.config, scratch / "keras3", trust=trusted(spec))
    except keras3.KerasError as error:
        raise StageError(f"{file.path} could not be opened: {shorten(str(error), 300)}", ADVICE) from error
    request.listener.note(
        "info", f"{file.path.name} was opened with Keras {result['keras']}; its features are {result['taken']}"
    )
    plain = spec.model_copy(update={"output": "", "tags": "", "signature": "", "arguments": {}})
    return saved_model_base(plain, scratch / "keras3" / "saved_model", request, singular=result["singular"])
