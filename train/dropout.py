"""Dropout for heads: of the same distribution as Keras' own, drawn with half of the random bits.

On features that are computed already an epoch is a few hundred small products of matrices, and drawing random numbers
takes a third of its time: Keras draws 32 bits for each value and makes a float of them, and asks whether it is below
the rate. Here a value costs 16 bits, compared as they are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ..frameworks.tensorflow import load

_VALUES = 1 << 16  # of 16 bits


def new_dropout(rate: float, name: str) -> Any:
    """Return a Keras layer that drops `rate` of its inputs (n, features) float32 while it trains, and scales the rest.

    The rate is rounded to 1/65,536, and the scale follows from what it is rounded to, so that the expected value is
    the input's. Its generator is its own, ``layer._random_generator._generator``, as in Keras' layer with
    ``rng_type="stateful"``.
    """
    return _layer()(rate, name=name, dtype="float32", rng_type="stateful")


@lru_cache(maxsize=1)
def _layer() -> Any:
    tf, keras = load()

    class Dropout(keras.layers.Dropout):  # type: ignore[name-defined]
        """`new_dropout` says what it does."""

        def call(self, inputs: Any, training: Any = None) -> Any:
            if not training:
                return inputs
            dropped = min(round(self.rate * _VALUES), _VALUES - 1)
            count = tf.size(inputs)
            # Four values a number of 64 bits; up to three of the last number's are left over.
            drawn = self._random_generator._generator.uniform_full_int([(count + 3) // 4], tf.uint64)
            bits = tf.reshape(tf.reshape(tf.bitcast(drawn, tf.uint16), [-1])[:count], tf.shape(inputs))
            kept = tf.cast(bits >= tf.constant(dropped, tf.uint16), inputs.dtype)
            return inputs * kept * (_VALUES / (_VALUES - dropped))

    return Dropout
