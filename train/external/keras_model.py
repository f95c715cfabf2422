"""Opens a Keras file with a given Keras: Keras 2 in this process, Keras 3 in its own.

This module imports only plain helpers of ours: the process of Keras 3 must not import Keras 2.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.sanitize import shorten
from .code import custom_objects, defined_elsewhere
from .custom import DEFINE, Definitions, hub_layer, load_objects
from .tensors import Tensor

SEE_DATA = (
    "open it in its original environment, call it once with a sample (model(x)) and save it again; if that does not "
    "help, save it as a SavedModel (model.export) and give that folder"
)
DENSE = "build it with dense inputs (keras.Input without sparse or ragged) on the same layers, and save it again"
ADVICE = "open it in its original environment and save it as a SavedModel (model.export), then give that folder"


@dataclass(frozen=True)
class Opened:
    """A Keras model: `input` and `output` in its own structure (a tensor, a list, a dictionary), and as flat lists."""

    model: Any
    input: Any
    output: Any
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]

    def call(self, tf: Any, values: list[Any]) -> list[Any]:
        """Return the outputs for one list of tensors, in inference mode, in the order of `outputs`."""
        arguments = tf.nest.pack_sequence_as(self.input, values) if tf.nest.is_nested(self.input) else values[0]
        return list(tf.nest.flatten(self.model(arguments, training=False)))


def open_keras(
    tf: Any, keras: Any, path: Path, config: Any, trust: bool, definitions: Definitions | None = None
) -> Opened:
    """Load the file with `keras` (tf_keras or keras 3), uncompiled. Only for files that `identify` accepted.

    `definitions` has its external objects. Raises whatever Keras raises, and InputError when a class is unknown or the
    model was saved before it had inputs.
    """
    definitions = definitions or Definitions()
    scope = {**_ours(tf, keras), **hub_layer(definitions.modules), **load_objects(definitions.objects)}
    if trust:
        scope = {**_imported(config, scope), **scope}
    for name, registered in defined_elsewhere(config):
        plain = registered.rpartition(">")[2]  # PACKAGE>NAME, where it was registered
        value = scope.get(registered) or scope.get(name) or scope.get(plain)
        if value is not None:
            scope |= {name: value, registered: value}
        elif keras.saving.get_registered_object(registered) is None:
            raise InputError(f"the file needs {shorten(plain)}, which is custom code and not part of Keras", DEFINE)
    with keras.utils.custom_object_scope(scope):
        if _major(keras) == 3:
            if trust:  # legacy HDF5 files have no safe_mode argument
                keras.config.enable_unsafe_deserialization()
            # Saving would also trace this signature, in training mode, in which random layers draw numbers.
            keras.Model._default_save_signature = None
            model = keras.saving.load_model(str(path), compile=False, safe_mode=not trust)
        else:
            model = keras.models.load_model(str(path), compile=False, safe_mode=not trust)
    return describe(tf, keras, model)


def describe(tf: Any, keras: Any, model: Any) -> Opened:
    """Return a loaded model with its inputs and outputs. Raises InputError when they are unknown or unsupported."""
    inputs_structure, outputs_structure = _structure(model, "input"), _structure(model, "output")
    if inputs_structure is None:
        inputs_structure, outputs_structure = _called_anew(keras, model)
    tensors, results = tf.nest.flatten(inputs_structure), tf.nest.flatten(outputs_structure)
    if not tensors or any(tensor is None for tensor in [*tensors, *results]):
        raise InputError(
            "the model's inputs are not known: it was saved before it was called with data, or takes several arguments",
            SEE_DATA,
        )
    if any(getattr(tensor, "sparse", False) or "Ragged" in type(tensor).__name__ for tensor in tensors):
        raise InputError("the model takes sparse or ragged inputs, which TFLite and ONNX files cannot hold", DENSE)
    rows = [int(layer.input_dim) for layer in every_layer(model) if type(layer).__name__ == "Embedding"]
    inputs = tuple(Tensor(_name(t), _shape(t), _dtype(t), min(rows, default=None)) for t in tensors)
    return Opened(model, inputs_structure, outputs_structure, inputs, _output_names(model, outputs_structure, results))


def _structure(model: Any, side: str) -> Any:
    """Return ``model.input`` or ``model.output``; a Sequential of Keras 3 has only the lists."""
    try:
        return getattr(model, side)
    except (AttributeError, ValueError, RuntimeError):
        tensors = getattr(model, f"{side}s", None) or [None]
        return tensors[0] if len(tensors) == 1 else tensors


def _called_anew(keras: Any, model: Any) -> tuple[Any, Any]:
    """Return input and output of a subclassed model, which stores neither, by calling it as it was built.

    The file has the shapes of the first argument's tensors, with any batch. (None, None) if it has none, or the model
    takes more arguments (``call(self, a, b)``).
    """
    shapes = (model.get_build_config() or {}).get("input_shape")
    if not shapes:
        return None, None
    ids = any(type(layer).__name__ == "Embedding" for layer in every_layer(model))

    def tensor(shape: Any, name: str) -> Any:
        # A matrix before an embedding holds token ids; the file has shapes but no types.
        dtype = "int32" if ids and len(shape) == 2 else None
        return keras.Input(batch_shape=(None, *shape[1:]), name=name, dtype=dtype)

    if isinstance(shapes, Mapping):
        inputs: Any = {str(key): tensor(shape, str(key)) for key, shape in shapes.items()}
    elif isinstance(shapes[0], list | tuple):
        inputs = [tensor(shape, f"input_{number}") for number, shape in enumerate(shapes, 1)]
    else:
        inputs = tensor(shapes, "input")
    try:
        return inputs, model(inputs, training=False)
    except Exception:  # the author's own call may need more arguments than the file records
        return None, None


def every_layer(model: Any) -> Iterator[Any]:
    """Yield the layers of a model in order, those of nested models in their place."""
    for layer in model.layers:
        if hasattr(layer, "layers") and hasattr(layer, "inputs"):
            yield from every_layer(layer)
        else:
            yield layer


def _output_names(model: Any, structure: Any, outputs: list[Any]) -> tuple[str, ...]:
    """The keys if the model returns a dictionary, else the names of the output layers."""
    if isinstance(structure, dict) and len(structure) == len(outputs):
        return tuple(sorted(str(key) for key in structure))  # the order in which nest flattens
    names = list(getattr(model, "output_names", None) or [])
    if len(names) != len(outputs):
        names = [str(tensor._keras_history[0].name) for tensor in outputs]
    return tuple(
        f"{name}_{names[:at].count(name) + 1}" if name in names[:at] else name for at, name in enumerate(names)
    )


def _name(tensor: Any) -> str:
    return str(tensor.name).split(":")[0].split("/")[0]


def _shape(tensor: Any) -> tuple[int | None, ...] | None:
    try:
        return tuple(None if side is None else int(side) for side in tensor.shape)
    except ValueError:  # a shape of unknown rank
        return None


def _dtype(tensor: Any) -> str:
    return str(getattr(tensor.dtype, "name", tensor.dtype))


def _ours(tf: Any, keras: Any) -> dict[str, Any]:
    """Names in files of tf.keras.applications that are not layers of Keras."""
    objects: dict[str, Any] = {"relu6": tf.nn.relu6}
    if _major(keras) == 2:
        convnext = importlib.import_module("tf_keras.src.applications.convnext")
        objects |= {"LayerScale": convnext.LayerScale, "StochasticDepth": convnext.StochasticDepth}
    return objects


def _imported(config: Any, available: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a trusted file imports from installed packages, without the names that are in `available`."""
    imported: dict[str, Any] = {}
    for module, name, registered in custom_objects(config):
        if name in available or registered in available:
            continue
        with suppress(Exception):  # importing runs foreign code; the caller reports names that are still missing
            value: Any = importlib.import_module(module)
            for part in name.split("."):
                value = getattr(value, part)
            imported |= {name: value, registered: value}
    return imported


def _major(keras: Any) -> int:
    return int(str(keras.__version__).split(".", maxsplit=1)[0])
