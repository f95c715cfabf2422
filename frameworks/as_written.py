"""Runs TensorFlow without its graph optimizers, for comparing outputs on a few samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def as_written(tf: Any) -> Iterator[None]:
    """Within this block the TensorFlow module `tf` does not optimize functions that it calls for the first time.

    Its remapper fuses operators on constant weights into approximate kernels, which change GELU by 1.6e-3. The
    optimizers do not pay off for a few samples either: together they copy the weights ten times.
    """
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False, **before})
