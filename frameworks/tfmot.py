"""The door to TensorFlow, Keras 2 and TFMOT: sets what must be set before they are imported, and keeps them quiet."""

from __future__ import annotations

import logging
import os
from typing import Any

from ..core.extras import EXTRAS


def check_installed() -> None:
    """Raise InputError if the extra ``quantize`` is missing. Looks packages up; imports none."""
    EXTRAS["quantize"].require("further training needs", "tensorflow", "tf_keras", "tensorflow_model_optimization")


def load() -> tuple[Any, Any, Any]:
    """Import TensorFlow, Keras 2 and TFMOT (seconds at the first call) and return the three modules.

    TFMOT stands on Keras 2, which TF_USE_LEGACY_KERAS makes ``tf.keras`` if nobody imported TensorFlow before without
    it. Raises InputError when the extra ``quantize`` is missing.
    """
    check_installed()
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras

    tf.get_logger().setLevel("ERROR")
    logging.getLogger("absl").setLevel(logging.ERROR)
    tf_keras.utils.disable_interactive_logging()  # stdout belongs to --json
    return tf, tf_keras, tfmot


def fresh(seed: int) -> tuple[Any, Any, Any]:
    """Start Keras anew for one piece of work: layer names count from zero, and every generator is seeded."""
    tf, keras, tfmot = load()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    return tf, keras, tfmot
