"""What is advised can be done with the model at hand: trained by a run, somebody else's, or a supplied ``.tflite``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from edgeproof.core.maker import CONVERTER, QUANTIZER
from edgeproof.core.model import InputContract, Model
from edgeproof.core.remedies import CannotMakeError, Origin, Remedy, can_be_made, origin_of
from edgeproof.core.variant import Variant
from edgeproof.devices import remedies as devices
from edgeproof.export import reasons
from edgeproof.export.quantizer import POSSIBLE
from edgeproof.frameworks import tensorflow
from edgeproof.quantize.diagnosis import causes
from edgeproof.workflows import steps

from ..support.scheme_files import frozen, make

ORIGINS: tuple[Origin, ...] = get_args(Origin)


def every_remedy() -> Iterator[Remedy]:
    """All that are written down in tables."""
    yield from (remedy for _, _, remedy in reasons.MESSAGES)
    yield from (remedy for _, _, remedy in devices.MESSAGES if isinstance(remedy, Remedy))
    yield from causes._REMEDIES.values()
    yield steps.FAR_FROM_FLOAT


def test_every_remedy_says_something_that_the_model_can_follow() -> None:
    for remedy in every_remedy():
        for origin in ORIGINS:
            words = remedy.words(origin)
            assert words
            used = re.search(r"use (tflite\S+(?:, tflite\S+)*(?: or tflite\S+)?)", words)
            named = re.findall(r"(?:tflite|onnx):[a-z0-9-]+", used.group(1)) if used else []
            assert all(can_be_made(name, origin) for name in named), (origin, words)
            if origin in ("tflite", ""):
                assert all(name in (*POSSIBLE, "tflite:float32") for name in named)
            if origin != "trained":
                assert "backbone" not in words and "qat" not in words and "export.maker" not in words


def test_words_depend_on_where_the_model_is_from() -> None:
    remedy = Remedy(("tflite:int8-fallback", "tflite:dynamic", "tflite:qat-int8"), model="without it", also=("wait",))
    assert remedy.words("trained") == (
        "use tflite:int8-fallback, tflite:dynamic or tflite:qat-int8, or choose a backbone without it, or wait"
    )
    assert remedy.words("external") == (
        "use tflite:int8-fallback or tflite:dynamic, or change the model to one without it, or wait"
    )
    assert remedy.words("tflite").startswith("use tflite:dynamic, or change the model")
    assert "tflite:dynamic" not in remedy.words("tflite", without="tflite:dynamic").split("make")[0]
    only_ours = Remedy(("tflite:int8-fallback",))
    assert only_ours.words("tflite") == (
        "make tflite:int8-fallback of the SavedModel or Keras file that it was converted from"
    )
    assert CannotMakeError("no", remedy).remedy == remedy.words("")
    model = Model("m", "file:m", Path(), "s", (), InputContract("x", (1, 3)), 0.0)
    assert origin_of(model) == "external"


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """Somebody else's LSTM, whose operator ai-edge-quantizer leaves in float, and samples for it."""
    tf, _ = tensorflow.fresh(3)
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("recurrent")
    kernel, state = (tf.constant(random.normal(0, 0.4, shape), tf.float32) for shape in ((3, 32), (8, 32)))

    def serve(window: Any) -> Any:
        def step(index: Any, hidden: Any, cell: Any) -> Any:
            gates = tf.split(window[:, index] @ kernel + hidden @ state, 4, axis=1)
            cell = tf.sigmoid(gates[0]) * cell + tf.sigmoid(gates[1]) * tf.tanh(gates[2])
            return index + 1, tf.sigmoid(gates[3]) * tf.tanh(cell), cell

        start = tf.zeros((1, 8))
        _, hidden, _ = tf.while_loop(lambda index, *_: index < 6, step, (0, start, start))
        return {"hidden": hidden}

    model = frozen(serve, folder / "model", (1, 6, 3))
    np.save(folder / "samples.npy", random.normal(size=(40, 6, 3)).astype(np.float32))
    return model, folder / "samples.npy"


@pytest.mark.slow
def test_what_is_advised_for_a_loop_can_be_made(recurrent: tuple[Model, Path], tmp_path: Path) -> None:
    model, samples = recurrent
    failed = make(model, "tflite:int8", tmp_path, samples, QUANTIZER)
    assert failed.status == "failed" and "graphs of its own" in failed.reason
    advised = re.findall(r"tflite:[a-z0-9-]+", failed.remedy)
    assert advised == ["tflite:dynamic", "tflite:weight-int8"]
    for name in advised:
        assert QUANTIZER in Variant.parse(name).scheme.makers
        artifact = make(model, name, tmp_path, None, QUANTIZER)
        assert artifact.status == "ok", (name, artifact.reason)
        assert artifact.storage["weights"]["int8"] == 32 * (3 + 8)
    assert make(model, "tflite:dynamic", tmp_path, None, CONVERTER).status == "ok"
