"""``hub:HANDLE`` for waveforms: a TensorFlow Hub module, or a SavedModel, called as it is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...core.errors import EdgeproofError, InputError
from ...core.recipe import ModelSpec
from ...core.sanitize import shorten
from ...frameworks.saved_model import FLOAT32, SavedModel, read
from ...frameworks.security import check_security
from ...frameworks.tensorflow import check_installed, load
from ...frameworks.tf1 import without_references
from ..hub.fetch import already_here, identify, resolve
from ..hub.handles import check_recipe_handle
from ..hub.module import check_output, described_inputs, signature_name
from ..source import check_keys, name_of
from .base import Call, SoundBase, SoundRequest, base_of

_KEYS = frozenset({"name", "backbone", "sha256", "tags", "signature", "output", "arguments", "trust"})


class HubSounds:
    """A source of backbones: see `source.BackboneSource`."""

    packages: tuple[str, ...] = ()

    def check(self, spec: ModelSpec, folder: Path) -> None:
        """Check keys and handle; a local module must take a waveform."""
        check_not_trained(spec)
        check_keys(spec, _KEYS)
        check_installed()
        handle = name_of(spec)
        check_recipe_handle(handle, spec.sha256, folder, f"model {spec.name!r}")
        if (local := already_here(handle, spec.sha256, folder)) is not None:
            check_module(spec, local)

    def identity(self, spec: ModelSpec, folder: Path) -> dict[str, Any]:
        """The identity of the handle, and the recipe's settings."""
        chosen = {key: getattr(spec, key) for key in sorted(_KEYS - {"name", "sha256"})}
        return {**chosen, "weights": identify(name_of(spec), spec.sha256, folder)}

    def build(self, spec: ModelSpec, request: SoundRequest) -> SoundBase:
        """Fetch the module and try it. Raises InputError as `base_of`, StageError when it cannot be fetched."""
        path = resolve(name_of(spec), sha256=spec.sha256, folder=request.folder, listener=request.listener)
        return saved_model_base(spec, path, request)


def check_not_trained(spec: ModelSpec) -> None:
    """Raise InputError for a module that is to be fine-tuned, or to keep its own head."""
    if spec.trainable or spec.head == "own":
        key = "trainable" if spec.trainable else "head"
        raise InputError(
            f"model {spec.name!r}: of a module of waveforms a new head alone is trained, and {key} is set",
            f"remove {key}",
        )


def check_module(spec: ModelSpec, folder: Path) -> tuple[SavedModel, str, str]:
    """Check, without TensorFlow, that the SavedModel at `folder` takes a waveform.

    Returns it with the signature that is called, and the name of its input; both empty where the module itself is
    called. Raises InputError when its graph may do more than compute, and for a signature of another input or without
    the wanted output.
    """
    where = f"model {spec.name!r}"
    saved = read(folder, spec.tags)
    check_security(folder, trust=spec.trust, where=where)
    name = signature_name(spec, saved, where)
    if not name:
        return saved, "", ""
    signature = saved.signatures[name]
    waves = [
        key for key, t in signature.inputs.items() if t.dtype == FLOAT32 and (t.shape is None or len(t.shape) in (1, 2))
    ]
    if len(waves) != 1:
        raise InputError(
            f"{where}: signature {name!r} takes {described_inputs(signature)}; expected one float32 waveform, "
            "(samples,) or (batch, samples)",
            "choose another with signature = '…'" if len(saved.signatures) > 1 else "use a module of waveforms",
        )
    if spec.output:
        check_output(spec.output, list(signature.outputs), where)
    return saved, name, waves[0]


def saved_model_base(spec: ModelSpec, path: Path, request: SoundRequest, *, singular: bool = False) -> SoundBase:
    """Load the SavedModel at `path` (seconds) and return it as a backbone. Raises InputError as `base_of`."""
    saved, name, key = check_module(spec, path)
    tf, _ = load()
    try:
        with TemporaryDirectory(prefix="edgeproof-") as scratch:
            constant = without_references(path, saved.main, Path(scratch) / "constant")
            module = tf.saved_model.load(str(constant), tags=sorted(saved.main.tags))
    except EdgeproofError:
        raise
    except Exception as error:  # TensorFlow's loader may raise any exception
        raise InputError(
            f"model {spec.name!r}: TensorFlow cannot load the SavedModel {path}: {shorten(str(error), 300)}",
            "check that it was saved completely, by a TensorFlow no newer than this one",
        ) from error
    call = _signature(module, name, key, spec) if name else _itself(module, spec)
    return base_of(spec, call, request, singular=singular)


def _signature(module: Any, name: str, key: str, spec: ModelSpec) -> Call:
    tf, _ = load()
    keywords = module.signatures[name].structured_input_signature[1]
    if unknown := sorted(set(spec.arguments) - set(keywords)):
        raise InputError(
            f"model {spec.name!r}: signature {name!r} takes no argument {unknown[0]!r}",
            f"it takes: {', '.join(sorted(set(keywords) - {key})) or 'none besides the waveform'}",
        )
    more = {one: tf.constant(value, keywords[one].dtype) for one, value in spec.arguments.items()}

    def call(wave: Any) -> Any:
        if not keywords[key].shape.is_compatible_with(wave.shape):
            raise ValueError(f"signature {name!r} takes {keywords[key].shape}")
        return module.signatures[name](**{key: wave}, **more)  # a signature alone would not keep the module's variables

    return call


def _itself(module: Any, spec: ModelSpec) -> Call:
    """Return a call of the module itself; of one that was saved with an argument ``training``, for inference."""
    more = dict(spec.arguments)

    def call(wave: Any) -> Any:
        try:
            return module(wave, **more)
        except (ValueError, TypeError):
            if "training" in more:
                raise
            try:
                return module(wave, training=False, **more)
            except (ValueError, TypeError):
                pass
            raise

    return call
