"""The only place that imports TensorFlow and Keras 2: sets their environment before, and silences their logs."""

from __future__ import annotations

import logging
import os
from typing import Any

from ..core.environment import collector_paused, usable_cores
from ..core.extras import EXTRAS
from ..core.maker import MAKERS, TFMOT


def check_installed() -> None:
    """Raise NotInstalledError if the extra ``train`` is missing. Imports none of its packages."""
    EXTRAS["train"].require("training needs", "tensorflow", "tf_keras")


def check_tfmot_installed() -> None:
    """Raise NotInstalledError if the extra ``quantize`` is missing. Imports none of its packages."""
    tfmot = MAKERS[TFMOT]
    tfmot.extra.require("further training needs", "tensorflow", "tf_keras", *tfmot.modules)


def load() -> tuple[Any, Any]:
    """Import TensorFlow and Keras 2 (seconds at the first call) and return both modules.

    tensorflow-hub and TFMOT need Keras 2. TF_USE_LEGACY_KERAS makes ``tf.keras`` the same package as the `tf_keras`
    returned here, unless TensorFlow was imported in this process before.
    Raises NotInstalledError when the extra ``train`` is missing.
    """
    check_installed()
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with collector_paused():
        import tensorflow as tf
        import tf_keras

    tf.get_logger().setLevel("ERROR")
    logging.getLogger("absl").setLevel(logging.ERROR)
    tf_keras.utils.disable_interactive_logging()  # stdout belongs to --json
    return tf, tf_keras


def load_tfmot() -> Any:
    """Import the TensorFlow Model Optimization toolkit on top of Keras 2 and return it.

    Raises NotInstalledError when the extra ``quantize`` is missing.
    """
    check_tfmot_installed()
    load()
    with collector_paused():
        import tensorflow_model_optimization as tfmot

    return tfmot


def fresh(seed: int) -> tuple[Any, Any]:
    """Reset Keras for one piece of work: layer names count from zero, and every generator is seeded.

    Names end up in the frozen graph, so they must not depend on what the process built before. Models that the
    caller built earlier stay usable. Returns what `load` returns.
    """
    tf, keras = load()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    return tf, keras


def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU. Lets it take the GPU's memory as it needs it, where that can still be set."""
    tf, _ = load()
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the GPU is in use already, and its memory setting is fixed
            break
    return bool(gpus)


def cores() -> int:
    """The number of usable cores."""
    return usable_cores()
