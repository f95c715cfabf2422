"""Freezing: what is in the way of one SavedModel with constants in it, and that nothing of the answers changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.model import InputContract
from edgeproof.train.frameworks import fresh
from edgeproof.train.freeze import freeze, graph_sha256, verify

slow = pytest.mark.slow
CONTRACT, LABELS = InputContract("image", (1, 12, 12, 3)), ("a", "b", "c")


def swish_and_loops() -> Any:
    """Pictures through a convolution with swish, and their pixels as a sequence through two recurrent layers."""
    _, keras = fresh(3)
    layers = keras.layers
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Reshape((100, 4))(layers.Conv2D(4, 3, activation="swish")(image))
    x = layers.GRU(4)(layers.LSTM(5, return_sequences=True)(x))
    return keras.Model(image, layers.Dense(3, activation="softmax")(x))


@slow
def test_the_hash_of_a_graph_with_loops_is_that_of_what_it_computes(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (3, 12, 12, 3)).astype(np.uint8)
    hashes = []
    for number in range(2):
        model = swish_and_loops()
        saved = freeze(model, LABELS, CONTRACT, tmp_path / str(number))
        assert verify(saved, model, pictures) < 1e-6
        hashes.append(graph_sha256(saved, LABELS))
    assert hashes[0] == hashes[1]
    recurrent = model.layers[-2]  # its weights stand in the function that the loop calls
    recurrent.set_weights([weights + 1e-3 for weights in recurrent.get_weights()])
    other = freeze(model, LABELS, CONTRACT, tmp_path / "other")
    assert graph_sha256(other, LABELS) != hashes[0]
    assert graph_sha256(saved, ("a", "b", "d")) != hashes[0]
