"""The process that computes features with LiteRT: what it gives, and what becomes of it when something goes wrong."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgeproof.core.decode import decode
from edgeproof.core.encoded_images import EncodedImages, EncodedWriter, decode_block
from edgeproof.core.recipe import ModelSpec, Train
from edgeproof.frameworks.flat_graph import flat_graph
from edgeproof.frameworks.tensorflow import fresh, load
from edgeproof.train import feature_pass, features
from edgeproof.train import fit as fitting
from edgeproof.train.feature_process import EngineError, FeatureProcess
from edgeproof.train.network import Base

from ..support.aware_training_models import make_data, trained_backbone
from ..support.heads import Notes

IMAGES = np.random.default_rng(1).integers(0, 256, (333, 16, 16, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def base() -> Base:
    _, keras = fresh(3)
    image = keras.Input((16, 16, 3))
    maps = keras.layers.Conv2D(5, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    return Base(keras.Model(image, keras.layers.GlobalAveragePooling2D()(maps)), (), "inside")


@pytest.fixture(scope="module")
def content(base: Base) -> bytes:
    return features.convert(base)


@pytest.fixture
def process(content):
    process = FeatureProcess(content, cores=2)
    yield process
    process.close()


@pytest.mark.slow
def test_it_gives_what_keras_gives_whatever_the_blocks(base, process):
    expected = base.model.predict(IMAGES.astype(np.float32), verbose=0)
    assert process.features == 5
    np.testing.assert_allclose(process.compute(IMAGES), expected, atol=1e-5)
    for size in (1, 7, 64, 200):
        blocks = [IMAGES[at : at + size] for at in range(0, len(IMAGES), size)]
        answers = list(process.stream(iter(blocks)))
        assert [len(answer) for answer in answers] == [len(block) for block in blocks]
        np.testing.assert_allclose(np.concatenate(answers), expected, atol=1e-5)
    np.testing.assert_allclose(process.compute(IMAGES.astype(np.float32)), expected, atol=1e-5)
    assert process.compute(IMAGES[:0]).shape == (0, 5)


@pytest.mark.slow
def test_it_leaves_nothing_behind(process):
    process.compute(IMAGES[:9])
    (child,) = [one for one in psutil.Process().children() if one.pid == process._process.pid]
    model = child.cmdline()[-4]
    assert not Path(model).exists(), "it would stay if the caller was killed"
    process.close()
    assert not child.is_running()
    process.close()  # once more is harmless


@pytest.mark.slow
def test_a_stream_that_is_left_ends_the_process(process):
    stream = process.stream(IMAGES[at : at + 8] for at in range(0, 320, 8))
    next(stream)
    stream.close()
    assert process._process.poll() is not None


@pytest.mark.slow
def test_a_process_that_ends_or_never_starts_is_an_error_that_says_so(process):
    process.compute(IMAGES[:9])
    os.kill(process._process.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="status -9"):
        process.compute(IMAGES)
    with pytest.raises(EngineError, match="status 1"):
        FeatureProcess(b"no model", cores=1).compute(IMAGES)


@pytest.mark.slow
def test_it_ends_when_its_caller_is_killed(content, tmp_path):
    model = tmp_path / "model.tflite"
    model.write_bytes(content)
    code = (
        "import sys, time; from pathlib import Path; from edgeproof.train.feature_process import FeatureProcess; "
        f"process = FeatureProcess(Path({str(model)!r}).read_bytes(), 1); "
        "print(process.features, process._process.pid, flush=True); time.sleep(600)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    features, child = map(int, caller.stdout.readline().split())
    assert features == 5 and psutil.pid_exists(child)
    caller.kill()
    caller.communicate()
    psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=30)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


@pytest.mark.slow
def test_training_goes_on_with_keras_when_the_process_ends(tmp_path, monkeypatch):
    class Killed(FeatureProcess):
        def stream(self, blocks):
            os.kill(self._process.pid, signal.SIGKILL)
            return super().stream(blocks)

    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(feature_pass, "FEW_IMAGES", 0)
    (tmp_path / "data").mkdir()
    data = make_data(tmp_path / "data")
    path = trained_backbone(data, tmp_path / "small.keras")
    spec = ModelSpec(name="small", backbone=f"file:{path.name}", image_size=32, value_range=(0, 255))

    def train(name):
        listener = Notes()
        model = fitting.fit(
            spec, Train(epochs=2), seed=3, data=data, folder=tmp_path, workspace=tmp_path / name, listener=listener
        )
        return model, listener.notes

    monkeypatch.setattr(features, "FeatureProcess", Killed)
    model, notes = train("killed")
    assert model.provenance["features_engine"] == "keras"
    assert any("LiteRT did not process all images" in note[1] for note in notes)
    monkeypatch.setattr(features, "FeatureProcess", FeatureProcess)
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "other"))
    uninterrupted, _ = train("whole")
    assert uninterrupted.provenance["features_engine"] == "litert"
    assert abs(uninterrupted.metrics["val_accuracy"] - model.metrics["val_accuracy"]) < 0.05


@pytest.mark.slow
def test_a_flat_graph_holds_the_values_of_variables_and_nothing_else_is_tried():
    tf, _ = load()
    weights, steps = tf.Variable([[1.0, 2.0], [3.0, 4.0]]), tf.Variable(0)
    spec = tf.TensorSpec([None, 2], tf.float32, name="x")

    def concrete(function):
        return tf.function(function, autograph=False).get_concrete_function(spec)

    def counted(x):
        steps.assign_add(1)
        return x @ weights

    plain = concrete(lambda x: x @ weights + weights[0])
    frozen = flat_graph(plain)
    assert {node.op for node in frozen.node}.isdisjoint({"VarHandleOp", "ReadVariableOp"})
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(frozen, name="")
        answer = session.run(plain.outputs[0].name, {"x:0": np.array([[1, 1]], np.float32)})
    np.testing.assert_array_equal(answer, [[5, 8]])
    assert flat_graph(concrete(counted)) is None, "a variable that changes"
    assert flat_graph(concrete(tf.function(lambda x: x @ weights))) is None, "a function in the graph"


@pytest.mark.slow
def test_a_block_is_a_pure_function_of_its_encoded_images(content, process, tmp_path):
    """Any process that has the copy and the stored bytes computes the features of a range, to the last bit."""
    with EncodedWriter(tmp_path, "train") as writer:
        for pixels in IMAGES[:, :9, :12]:
            stored = np.ascontiguousarray(pixels)
            writer.append([(stored, decode(stored, size=16, resize="pad", max_pixels=1000))])
    rows = EncodedImages(tmp_path, "train", 16, "pad")
    whole = np.concatenate(list(process.stream(rows.blocks([(0, 200), (200, len(rows))]))))
    engine = features.litert_extractor(content)
    for start, stop in ((0, 64), (64, 333), (40, 41)):
        block = engine.compute(decode_block(rows.encoded(range(start, stop)), 16, "pad"))
        np.testing.assert_array_equal(block, whole[start:stop])
