"""Files that leave unsaid what a person knows: that floats are token ids, what a subclassed model takes, no batches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.errors import InputError
from edgeproof.core.model import Model
from edgeproof.core.progress import Silent
from edgeproof.frameworks import tensorflow
from edgeproof.train.external import ImportOptions, import_model
from edgeproof.train.external.tensors import Tensor, fixed_shapes

pytestmark = pytest.mark.slow

# What a user writes with Keras 3, and what predict said to a picture and to token ids.
KERAS3 = """
import sys
from pathlib import Path
import keras
import numpy as np
from keras import layers

@keras.saving.register_keras_serializable("mine")
class Pictures(keras.Model):
    def __init__(self, **rest):
        super().__init__(**rest)
        self.conv, self.dense = layers.Conv2D(3, 3, activation="relu"), layers.Dense(2)

    def call(self, image):
        light = keras.ops.mean(image, (1, 2, 3))
        return {"scores": self.dense(keras.ops.mean(self.conv(image), (1, 2))), "light": light}

@keras.saving.register_keras_serializable("mine")
class Words(keras.Model):
    def __init__(self, **rest):
        super().__init__(**rest)
        self.table, self.dense = layers.Embedding(20, 4), layers.Dense(2)

    def call(self, ids, training=False):
        return self.dense(keras.ops.mean(self.table(ids), 1))

@keras.saving.register_keras_serializable("mine")
class Both(keras.Model):
    def __init__(self, **rest):
        super().__init__(**rest)
        self.dense = layers.Dense(2)

    def call(self, left, right):
        return self.dense(left + right)

if __name__ == "__main__":
    folder, random = Path(sys.argv[1]), np.random.default_rng(3)
    keras.utils.set_random_seed(3)
    image, ids = random.normal(size=(4, 9, 9, 3)).astype("float32"), random.integers(0, 20, (4, 6))
    pictures, words, both = Pictures(), Words(), Both()
    expected = {"pictures": pictures(image)["scores"], "words": words(ids)}
    both(image, image)
    given = keras.Input((9, 9, 3), dtype="uint8")
    x = layers.Rescaling(1 / 255)(layers.Resizing(5, 5)(given))
    resized = keras.Model(given, layers.Dense(2)(layers.Flatten()(x)))
    pixels = random.integers(0, 256, (4, 9, 9, 3)).astype("uint8")
    expected["resized"] = resized.predict(pixels, verbose=0)
    for name, model in {"pictures": pictures, "words": words, "both": both, "resized": resized}.items():
        model.save(folder / f"{name}.keras")
    np.savez(folder / "known.npz", image=image, ids=ids, pixels=pixels, **expected)
"""


@pytest.fixture(scope="module")
def keras3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras3")
    (folder / "theirs.py").write_text(KERAS3, encoding="utf-8")
    subprocess.run([sys.executable, str(folder / "theirs.py"), str(folder)], check=True, timeout=180)
    return folder


def take(path: Path, folder: Path, **asked: Any) -> Model:
    return import_model(path, ImportOptions(**asked), name="m", workspace=folder, listener=Silent())


def answer(model: Model, value: Any) -> Any:
    tf, _ = tensorflow.load()
    signature = tf.saved_model.load(str(model.saved_model)).signatures["serving_default"]
    return signature(**{model.input.name: tf.constant(value)})[model.answer].numpy()


@pytest.mark.parametrize(
    ("name", "given", "dtype"),
    [("pictures", "image", "float32"), ("words", "ids", "int32"), ("resized", "pixels", "uint8")],
)
def test_a_keras_3_file_answers_as_predict_did(keras3: Path, tmp_path: Path, name: str, given: str, dtype: str) -> None:
    model = take(keras3 / f"{name}.keras", tmp_path, custom_objects=(str(keras3 / "theirs.py"),))
    reference = np.load(keras3 / "known.npz")
    assert model.input.dtype == dtype and model.input.shape == (1, *reference[given].shape[1:])
    answers = np.concatenate([answer(model, one[None].astype(dtype)) for one in reference[given]])
    np.testing.assert_allclose(answers, reference[name], rtol=1e-4, atol=1e-5)


def test_a_model_of_several_arguments_is_told_what_helps(keras3: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes several arguments") as caught:
        take(keras3 / "both.keras", tmp_path, custom_objects=(str(keras3 / "theirs.py"),))
    assert "model.export" in caught.value.remedy


def test_an_input_of_floats_may_hold_token_ids(tmp_path: Path) -> None:
    tf, keras = tensorflow.load()
    keras.utils.set_random_seed(1)
    given = keras.Input((10,))  # no dtype: float32
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 8)(given))
    theirs = keras.Model(given, keras.layers.Dense(1, activation="sigmoid")(x))
    theirs.save(str(tmp_path / "m.h5"))
    tf.saved_model.save(theirs, str(tmp_path / "m"))
    ids = np.random.default_rng(2).integers(0, 20, (1, 10)).astype(np.float32)
    for name in ("m.h5", "m"):
        model = take(tmp_path / name, tmp_path / "taken")
        np.testing.assert_allclose(answer(model, ids), theirs.predict(ids, verbose=0), rtol=1e-5)


def test_a_signature_of_serialized_examples_names_the_one_that_helps(tmp_path: Path) -> None:
    tf, _ = tensorflow.load()
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def raw(x: Any) -> dict[str, Any]:
        return {"y": 2 * x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def parsed(examples: Any) -> dict[str, Any]:
        return {"y": 2 * tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([4], tf.float32)})["x"]}

    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": parsed, "predict": raw})
    with pytest.raises(InputError, match=r"serialized tf\.Example") as caught:
        take(tmp_path / "m", tmp_path / "taken")
    assert caught.value.remedy.endswith(": predict")
    model = take(tmp_path / "m", tmp_path / "taken", signature="predict")
    assert answer(model, np.ones((1, 4), np.float32)).tolist() == [[2, 2, 2, 2]]


def test_whole_shapes_are_offered_to_the_only_input_alone() -> None:
    waveform, gain = Tensor("v", (4,), "float32"), Tensor("gain", (), "float32")
    with pytest.raises(InputError, match=r"'v' has the shape \(4,\)") as caught:
        fixed_shapes([waveform], size=None, shapes={})
    assert caught.value.remedy.endswith("--shape v=4")
    assert fixed_shapes([waveform], size=None, shapes={"v": (4,)}) == [(4,)]
    with pytest.raises(InputError, match=r"'v' has the shape \(4,\)") as caught:
        fixed_shapes([gain, waveform], size=None, shapes={})
    assert "--shape" not in caught.value.remedy  # it would be refused: see the next
    with pytest.raises(InputError, match="one of several") as caught:
        fixed_shapes([gain, waveform], size=None, shapes={"v": (4,)})
