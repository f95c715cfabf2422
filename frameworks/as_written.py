"""TensorFlow without its graph optimizers, where a few samples are run to compare answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def as_written(tf: Any) -> Iterator[None]:
    """Within this block the TensorFlow module `tf` runs functions that are called for the first time as they stand.

    Its remapper fuses operators of constant weights into kernels that approximate: GELU's answers move by 1.6e-3. And
    for the few samples that are run so no optimizer is of use: together they copy the weights ten times.
    """
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False, **before})
