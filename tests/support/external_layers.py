"""What a user may have written of their own, in whichever Keras `TF_USE_LEGACY_KERAS` asks for."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

keras = tf.keras


@keras.utils.register_keras_serializable(package="mine")
class Scale(keras.layers.Layer):  # type: ignore[misc]
    """Times a number and a weight."""

    def __init__(self, factor: float = 2.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.factor = factor

    def build(self, shape: Any) -> None:
        self.weight = self.add_weight(shape=(shape[-1],), initializer="ones", name="weight")

    def call(self, x: Any) -> Any:
        return x * self.factor * self.weight

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


class Shift(keras.layers.Layer):  # type: ignore[misc]
    """Plus a number."""

    def __init__(self, by: float = 1.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.by = by

    def call(self, x: Any) -> Any:
        return x + self.by

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "by": self.by}


def bent(x: Any) -> Any:
    """An activation that Keras does not have."""
    return x * tf.math.tanh(x)
