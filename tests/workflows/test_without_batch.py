"""Models whose input has no batch, as a Hub module of sounds takes one waveform: from the file to its answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproof.core.artifact import Artifact
from edgeproof.core.errors import InputError
from edgeproof.core.model import Model, sample_shape
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export
from edgeproof.core.target import Target
from edgeproof.core.variant import Variant
from edgeproof.devices import open_runner
from edgeproof.export import export
from edgeproof.frameworks import tensorflow
from edgeproof.train.external import ImportOptions, import_model
from edgeproof.train.external.samples import model_inputs, tensor_data
from edgeproof.train.external.tensors import Tensor, fixed_shapes

from ..cli.test_commands import edgeproof

LENGTH = 800


def test_a_sample_is_what_follows_a_batch_of_one_or_everything() -> None:
    assert sample_shape((1, 24, 24, 3)) == (24, 24, 3) and sample_shape((1,)) == ()
    assert sample_shape((16000,)) == (16000,) and sample_shape((96, 64)) == (96, 64) and sample_shape(()) == ()


def test_a_fixed_first_side_that_is_no_batch_has_a_way() -> None:
    wave = Tensor("wave", (16000,), "float32")
    with pytest.raises(InputError, match="batch is fixed to 16000") as error:
        fixed_shapes([wave], size=None, shapes={})
    assert "--shape wave=16000" in error.value.remedy
    assert fixed_shapes([wave], size=None, shapes={"wave": (16000,)}) == [(16000,)]
    with pytest.raises(InputError, match="one of several"):
        fixed_shapes([wave, Tensor("gain", (None,), "float32")], size=None, shapes={"wave": (16000,)})


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, NDArray[Any], NDArray[Any]]:
    """A module of waveforms of any length, fixed to one; samples, and what the module itself answers to each."""
    tf, _ = tensorflow.load()
    folder = tmp_path_factory.mktemp("sounds")
    random = np.random.default_rng(3)
    kernel, top = (random.normal(size=shape).astype(np.float32) for shape in ((5, 1, 4), (4, 3)))

    def call(waveform: Any) -> dict[str, Any]:
        frames = tf.nn.relu(tf.nn.conv1d(waveform[None, :, None], kernel, 5, "SAME"))
        embedding = tf.reduce_mean(frames, axis=1)
        return {"scores": tf.nn.softmax(tf.matmul(embedding, top)), "embedding": embedding}

    module = tf.Module()
    module.call = tf.function(call, input_signature=[tf.TensorSpec([None], tf.float32, name="waveform")])
    tf.saved_model.save(module, str(folder / "module"), signatures=module.call.get_concrete_function())
    samples = (random.normal(size=(40, LENGTH)) * random.uniform(0.2, 3, (40, 1))).astype(np.float32)
    expected = np.stack([call(tf.constant(sample))["scores"].numpy() for sample in samples])
    model = import_model(
        folder / "module", ImportOptions(output="scores", shapes={"waveform": (LENGTH,)}), name="sounds",
        workspace=folder / "taken", listener=Silent(),
    )  # fmt: skip
    return model, samples, expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "runtime", "close"),
    [("tflite:float32", "litert", 1e-5), ("tflite:dynamic", "litert", 0.02), ("tflite:int8", "litert", 0.05),
     ("tflite:float32", "tflite-runtime", 1e-5), ("onnx:float32", "onnxruntime", 1e-5),
     ("onnx:int8", "onnxruntime", 0.05)],
)  # fmt: skip
def test_a_waveform_without_a_batch_goes_all_the_way(
    variant: str, runtime: str, close: float, sounds: tuple[Model, NDArray[Any], NDArray[Any]], tmp_path: Path
) -> None:
    model, samples, expected = sounds
    assert model.input.shape == (LENGTH,)
    np.save(tmp_path / "samples.npy", samples)
    exported, outputs = make_and_run(model, variant, runtime, tmp_path / "samples.npy")
    assert [spec.shape for spec in exported.inputs] == [(LENGTH,)]
    assert np.abs(outputs.reshape(expected.shape) - expected).max() < close


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, dict[str, NDArray[Any]], NDArray[Any]]:
    """A model of a vector and of a single number, which has no batch; samples of both, and what it answers."""
    tf, _ = tensorflow.load()
    folder, random = tmp_path_factory.mktemp("scaled"), np.random.default_rng(4)
    kernel = random.normal(size=(6, 3)).astype(np.float32)

    def call(x: Any, gain: Any) -> dict[str, Any]:
        return {"scores": tf.nn.softmax(tf.matmul(x, kernel) * gain)}

    specs = [tf.TensorSpec([None, 6], tf.float32, name="x"), tf.TensorSpec([], tf.float32, name="gain")]
    module = tf.Module()
    module.call = tf.function(call, input_signature=specs)
    tf.saved_model.save(module, str(folder / "module"), signatures=module.call.get_concrete_function())
    samples = {
        "x": random.normal(size=(40, 6)).astype(np.float32),
        "gain": random.uniform(0.3, 3, 40).astype(np.float32),
    }
    pairs = zip(samples["x"], samples["gain"], strict=True)
    expected = np.concatenate([call(tf.constant(x[None]), tf.constant(gain))["scores"].numpy() for x, gain in pairs])
    return (
        import_model(folder / "module", name="scaled", workspace=folder / "taken", listener=Silent()),
        samples,
        expected,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "runtime", "close"),
    [("tflite:float32", "litert", 1e-5), ("tflite:int8", "litert", 0.1), ("tflite:float32", "tflite-runtime", 1e-5),
     ("onnx:float32", "onnxruntime", 1e-5), ("onnx:int8", "onnxruntime", 0.1)],
)  # fmt: skip
def test_a_single_number_among_several_inputs_has_no_batch(
    variant: str,
    runtime: str,
    close: float,
    scaled: tuple[Model, dict[str, NDArray[Any]], NDArray[Any]],
    tmp_path: Path,
) -> None:
    model, samples, expected = scaled
    np.savez(tmp_path / "samples.npz", **samples)
    exported, outputs = make_and_run(model, variant, runtime, tmp_path / "samples.npz")
    assert {spec.name: spec.shape for spec in exported.inputs} == {"x": (1, 6), "gain": ()}
    assert np.abs(outputs.reshape(expected.shape) - expected).max() < close


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["tflite:float32", "onnx:float32"])
@pytest.mark.parametrize("made_by", ["sounds", "scaled"])
def test_a_bundle_replays_inputs_without_a_batch(
    made_by: str, variant: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model, samples, expected = request.getfixturevalue(made_by)
    exported = export(model, Variant.parse(variant), options=Export(), folder=tmp_path)
    assert exported.status == "ok" and exported.path is not None, exported.reason
    source = tmp_path / ("samples.npz" if isinstance(samples, dict) else "samples.npy")
    np.savez(source, **samples) if isinstance(samples, dict) else np.save(source, samples)
    edgeproof("bundle", str(exported.path), "--out", str(tmp_path / "bundles"), "--data", f"npy:{source}")
    (bundle,) = (path for path in (tmp_path / "bundles").iterdir() if path.is_dir())
    done = subprocess.run([sys.executable, "verify.py"], cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "answers as it should" in done.stdout, done.stdout + done.stderr
    one = tmp_path / source.name.replace("samples", "one")
    np.savez(one, **{n: v[0] for n, v in samples.items()}) if isinstance(samples, dict) else np.save(one, samples[0])
    done = subprocess.run(
        [sys.executable, "example.py", str(one)], cwd=bundle, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{expected[0].max():.4f}" in done.stdout


def make_and_run(model: Model, variant: str, runtime: str, samples: Path) -> tuple[Artifact, NDArray[Any]]:
    """Make a file beside `samples`, run it on them, and return both."""
    folder = samples.parent
    data = tensor_data(samples, folder / "data", model.input, inputs=model_inputs(model))
    exported = export(
        model, Variant.parse(variant), options=Export(), folder=folder,
        calibration=data.inputs("test") if variant.endswith("int8") else None,
    )  # fmt: skip
    assert exported.status == "ok", exported.reason
    return exported, answers(exported, runtime, data.inputs("test"), folder)


def answers(artifact: Artifact, runtime: str, inputs: Path, folder: Path) -> NDArray[Any]:
    outcome = open_runner(artifact, Target("local", runtime), timeout_seconds=120).infer(
        inputs, folder / "answers.npy", 0, len(np.load(inputs))
    )
    assert outcome.ok, outcome.reason
    values: NDArray[Any] = np.load(folder / "answers.npy")
    return values
