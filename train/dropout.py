"""Dropout for heads: the same distribution as Keras' own, with a quarter of the random bits.

On precomputed features an epoch is a few hundred small matrix products, and drawing random numbers takes most of its
time: Keras draws 32 bits for each value, makes a float of them, and compares it with the rate. Here a value costs 8
bits, and eight values are compared at once, in one number of 64 bits.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ..frameworks.tensorflow import load

_LEVELS = 128  # 7 of a value's 8 bits are compared; the highest receives the result
_ONES = 0x0101010101010101  # in each of the eight bytes


def new_dropout(rate: float, name: str) -> Any:
    """Return a Keras layer that drops `rate` of its inputs (n, features) float32 while it trains, and scales the rest.

    A call drops at the next lower or the next higher multiple of 1/128, drawn so that the mean is `rate`; the scale
    follows from the multiple that was drawn, so that the expected value is the input's. The layer has its own
    generator, ``layer._random_generator._generator``, as Keras' layer with ``rng_type="stateful"`` does.
    """
    return _layer()(rate, name=name, dtype="float32", rng_type="stateful")


@lru_cache(maxsize=1)
def _layer() -> Any:
    tf, keras = load()

    class Dropout(keras.layers.Dropout):  # type: ignore[name-defined]
        """See `new_dropout`."""

        def call(self, inputs: Any, training: Any = None) -> Any:
            if not training:
                return inputs
            count = tf.size(inputs)
            # Eight values a number; the last number sets the threshold; part of the one before may be unused.
            drawn = self._random_generator._generator.uniform_full_int([(count + 7) // 8 + 1], tf.uint64)
            values, last = drawn[:-1], drawn[-1]
            share = tf.cast(tf.bitwise.right_shift(last, _uint64(40)), tf.float32) / 2**24  # uniform in [0, 1)
            dropped = tf.minimum(tf.floor(self.rate * _LEVELS + share), _LEVELS - 1)
            # In each byte: 7 random bits plus 128 - dropped carry into the eighth where they are `dropped` or more.
            add = tf.cast(_LEVELS - dropped, tf.uint64) * _uint64(_ONES)
            sums = tf.bitwise.bitwise_and(values, _uint64(0x7F * _ONES)) + add
            mask = tf.bitwise.bitwise_and(tf.bitwise.right_shift(sums, _uint64(7)), _uint64(_ONES))
            mask = tf.reshape(tf.reshape(tf.bitcast(mask, tf.uint8), [-1])[:count], tf.shape(inputs))
            return inputs * tf.cast(mask, inputs.dtype) * (_LEVELS / (_LEVELS - dropped))

    def _uint64(value: int) -> Any:
        return tf.constant(value, tf.uint64)

    return Dropout
