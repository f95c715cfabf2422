"""Saves a Keras model as a reusable SavedModel: callable with images, with trainable variables.

https://www.tensorflow.org/hub/reusable_saved_models
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_reusable(tf: Any, model: Any, size: int, folder: Path) -> Path:
    """Save `model`, which maps (batch, `size`, `size`, 3) float32 to one tensor, in Keras 2 or 3; return `folder`."""
    root = tf.train.Checkpoint()
    root.model = model
    image = tf.TensorSpec((None, size, size, 3), tf.float32, name="image")
    root.__call__ = tf.function(lambda image: model(image, training=False), input_signature=[image], autograph=False)
    # A variable of Keras 3 holds TensorFlow's; those of Keras 2 are TensorFlow's.
    root.variables = [variable if isinstance(variable, tf.Variable) else variable.value for variable in model.variables]
    root.trainable_variables = [
        variable if isinstance(variable, tf.Variable) else variable.value for variable in model.trainable_variables
    ]
    # TensorFlow does not track the seeds of random layers in a Keras 3 model; some layers read them in inference too.
    root.rest = list(root.__call__.get_concrete_function().graph.variables)
    root.regularization_losses = []
    tf.saved_model.save(root, str(folder))
    return folder
