"""Writes reusable SavedModels: callable, with the variables that training changes.

https://www.tensorflow.org/hub/reusable_saved_models
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..core.model import SIGNATURE


def write_reusable(
    tf: Any,
    root: Any,
    call: Any,
    folder: Path,
    *,
    variables: Sequence[Any],
    trainable: Sequence[Any],
    losses: Sequence[Any] = (),
    serve: Callable[..., Any] | None = None,
) -> None:
    """Write `root`, a ``tf.train.Checkpoint`` with what `call` uses, as a reusable SavedModel into `folder`.

    `call` is a ``tf.function`` that is traced; `losses` are functions without arguments; `serve` is the default
    signature.
    """
    root.__call__ = call
    root.variables, root.trainable_variables = list(variables), list(trainable)
    root.regularization_losses = list(losses)
    tf.saved_model.save(root, str(folder), signatures={SIGNATURE: serve} if serve else None)


def save_reusable(tf: Any, model: Any, sample: Sequence[int], folder: Path) -> Path:
    """Save `model`, which maps (batch, *`sample`) float32 to one tensor, in Keras 2 or 3; return `folder`."""
    root = tf.train.Checkpoint()
    root.model = model
    image = tf.TensorSpec((None, *sample), tf.float32, name="image")
    call = tf.function(lambda image: model(image, training=False), input_signature=[image], autograph=False)
    # TensorFlow does not track the seeds of random layers in a Keras 3 model; some layers read them in inference too.
    root.rest = list(call.get_concrete_function().graph.variables)
    # A variable of Keras 3 holds TensorFlow's; those of Keras 2 are TensorFlow's.
    variables, trainable = (
        [variable if isinstance(variable, tf.Variable) else variable.value for variable in several]
        for several in (model.variables, model.trainable_variables)
    )
    write_reusable(tf, root, call, folder, variables=variables, trainable=trainable)
    return folder
