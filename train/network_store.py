"""Stores the unfrozen model for further training: its Keras layers, or a module's variables.

The frozen SavedModel is for inference alone: its batch norms have no statistics to update, its graph no layers to
prune. `frameworks.network_format` defines the format of ``network/``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import explain_disk_errors
from ..core.files import discard
from ..frameworks.network_format import HIDDEN, KERAS, MODULE, PREPROCESS, PROBABILITIES, number, write_network
from ..frameworks.tensorflow import load
from .network import Base

LARGEST = 256 * 2**20  # bytes of a module's variables; larger networks are not trained further on a CPU
OURS = ("tf_keras.", "keras.")
OWN = (PREPROCESS, HIDDEN, PROBABILITIES)  # layers of ours around a module


def store_network(classifier: Any, base: Base, folder: Path) -> str:
    """Write the layers and weights of `classifier` into `folder`; return the reason if that is not possible, else "".

    A network of Keras' own layers is stored completely: its configuration and its weights in order, which give a
    network with bit-identical outputs. Of a Hub module the variables are stored with their names, and the layers before
    and behind it; further training rebuilds known architectures from those. Custom and ``Lambda`` layers would need
    their code. Raises StageError when the disk refuses.
    """
    described, arrays, why = _module(classifier, base) if base.module is not None else _layers(classifier)
    with explain_disk_errors(folder):
        discard(folder, root=folder.parent)
        if why:
            return why
        write_network(folder, {"preprocessing": base.preprocessing, **described}, arrays)
    return ""


def _layers(classifier: Any) -> tuple[dict[str, Any], dict[str, Any], str]:
    for layer in _every_layer(classifier):
        kind = type(layer)
        if not kind.__module__.startswith(OURS) or kind.__name__ == "Lambda":
            return {}, {}, f"layer {layer.name!r} ({kind.__name__}) is not one of Keras' own: it needs its code"
    try:
        config = json.loads(classifier.to_json())
    except (TypeError, ValueError, NotImplementedError) as error:
        return {}, {}, f"Keras cannot write the network down: {error}"
    return {"kind": KERAS, "config": config}, number(classifier.get_weights()), ""


def _every_layer(model: Any) -> list[Any]:
    _, keras = load()
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return [
        *(layer for layer in model.layers if not isinstance(layer, keras.Model)),
        *(layer for nested in inner for layer in _every_layer(nested)),
    ]


def _module(classifier: Any, base: Base) -> tuple[dict[str, Any], dict[str, Any], str]:
    _, keras = load()
    layer = base.module
    everything = list(getattr(layer.resolved_object, "variables", None) or layer.weights)
    variables = [variable for variable in everything if variable.dtype.is_floating]
    if not variables:
        return {}, {}, "the module does not list its variables"
    if sum(4 * int(np.prod(variable.shape)) for variable in variables) > LARGEST:
        return {}, {}, f"the module's variables are more than {LARGEST >> 20} MiB"
    arrays = number(variable.numpy() for variable in variables)
    own = [ours for ours in classifier.layers if ours.name.startswith(OWN) and ours.weights]
    for ours in own:
        parts = zip(("kernel", "bias"), ours.get_weights(), strict=False)
        arrays |= {f"{ours.name}/{part}": value for part, value in parts}
    described = {
        "kind": MODULE,
        "names": [variable.name.split(":")[0] for variable in variables],
        "gives": str(base.facts.get("gives", "")),
        "size": int(classifier.input_shape[1]),
        "classes": int(classifier.output_shape[-1]),
        "answers": base.answers,
        "pooling": "max" if isinstance(_pool(classifier), keras.layers.GlobalMaxPooling2D) else "avg",
        "hidden": [[ours.name, ours.get_config()["activation"]] for ours in own if ours.name.startswith(HIDDEN)],
    }
    return described, arrays, ""


def _pool(classifier: Any) -> Any:
    return next((layer for layer in classifier.layers if layer.name == "pool"), None)
