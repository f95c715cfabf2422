"""SavedModels of several graphs, and those without a signature: which part of them is used, and how one chooses."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.errors import InputError
from edgeproof.core.model import Model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export, ModelSpec
from edgeproof.core.variant import Variant
from edgeproof.export import export
from edgeproof.frameworks import tensorflow
from edgeproof.train.external import ImportOptions, import_model
from edgeproof.train.external.backbone import Files
from edgeproof.train.hub.image import HubModules
from edgeproof.train.source import ImageRequest

from ..support.external_imports import run_onnx, run_tflite

pytestmark = pytest.mark.slow

Graphs = Iterable[tuple[list[str], float]]


def several(folder: Path, graphs: Graphs, *, side: int = 0, reads: str = "") -> Path:
    """A SavedModel with a graph for each set of tags; each multiplies the same weights (ones) by a factor of its own.

    It takes (N, 3), or with `side` pictures. The graph whose tags are `reads` also reads a file.
    """
    tf, _ = tensorflow.load()
    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(folder))
    for number, (tags, factor) in enumerate(graphs):
        with v1.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, (None, side, side, 3) if side else (None, 3), "x")
            weights = v1.get_variable("w", initializer=tf.ones((3, 2)), use_resource=True)
            y = tf.matmul(tf.reduce_mean(x, (1, 2)) if side else x, weights) * factor
            if reads in tags:
                y += tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)
            session.run(v1.global_variables_initializer())
            signatures = {"serving_default": v1.saved_model.predict_signature_def({"x": x}, {"y": y})}
            if number:
                builder.add_meta_graph(tags, signature_def_map=signatures)
            else:
                builder.add_meta_graph_and_variables(session, tags, signature_def_map=signatures)
    builder.save()
    return folder


def take(path: Path, folder: Path, **asked: Any) -> Model:
    return import_model(path, ImportOptions(**asked), name="theirs", workspace=folder, listener=Silent())


def answer(model: Model, inputs: dict[str, Any]) -> dict[str, Any]:
    tf, _ = tensorflow.load()
    signature = tf.saved_model.load(str(model.saved_model)).signatures["serving_default"]
    return {name: value.numpy() for name, value in signature(**inputs).items()}


def factor_of(model: Model) -> float:
    tf, _ = tensorflow.load()
    return float(answer(model, {"x": tf.ones((1, 3))})["y"][0, 0]) / 3


@pytest.mark.parametrize(
    ("graphs", "tags", "factor"),
    [
        ([(["train"], 1.0), (["eval"], 2.0), (["serve"], 5.0)], "", 5.0),
        ([([], 5.0), (["train"], 1.0)], "", 5.0),
        ([(["serve", "gpu"], 5.0), (["train"], 1.0)], "", 5.0),
        ([(["serve", "tpu"], 1.0), (["serve"], 5.0), ([], 2.0)], "", 5.0),
        ([(["train"], 1.0), (["eval"], 5.0), (["serve"], 2.0)], "eval", 5.0),
        ([([], 5.0), (["serve"], 1.0)], "none", 5.0),
        ([(["train"], 5.0)], "train", 5.0),
        ([(["mine"], 5.0)], "", 5.0),
        ([(["serve", "gpu"], 1.0), (["serve", "tpu"], 5.0)], "tpu,serve", 5.0),
    ],
)
def test_of_several_graphs_the_serving_one_is_taken_or_the_one_that_is_named(
    tmp_path: Path, graphs: Graphs, tags: str, factor: float
) -> None:
    model = take(several(tmp_path / "several", graphs), tmp_path / "model", tags=tags)
    assert factor_of(model) == pytest.approx(factor)
    if tags == "tpu,serve":
        artifact = export(model, Variant.parse("tflite:float32"), options=Export(), folder=tmp_path)
        assert artifact.path is not None, artifact.reason
        np.testing.assert_allclose(run_tflite(artifact.path, {"x": np.ones((1, 3), np.float32)})["y"], [[15, 15]])


@pytest.mark.parametrize(
    ("graphs", "listed"),
    [
        ([(["train"], 1.0)], ["train"]),
        ([(["serve", "gpu"], 1.0), (["serve", "tpu"], 2.0)], ["gpu,serve", "serve,tpu"]),
        ([(["eval"], 1.0), (["train"], 2.0)], ["eval", "train"]),
    ],
)
def test_where_no_graph_is_clearly_made_to_serve_the_tags_are_asked_for_and_then_work(
    tmp_path: Path, graphs: list[tuple[list[str], float]], listed: list[str]
) -> None:
    path = several(tmp_path / "several", graphs)
    with pytest.raises(InputError, match="not clear which is made to serve") as caught:
        take(path, tmp_path / "model")
    assert "; ".join(listed) in caught.value.message
    remedy = caught.value.remedy.rsplit("--tags ", 1)[1]
    assert factor_of(take(path, tmp_path / "model", tags=remedy)) == pytest.approx(graphs[0][1])
    with pytest.raises(InputError, match="no graph with the tags 'other'") as caught:
        take(path, tmp_path / "model", tags="other")
    assert "; ".join(listed) in caught.value.remedy


def test_every_graph_is_looked_at_before_any_is_loaded(tmp_path: Path) -> None:
    path = several(tmp_path / "several", [(["serve"], 1.0), (["train"], 1.0)], reads="train")
    with pytest.raises(InputError, match="ReadFile"):
        take(path, tmp_path / "model")


def test_backbones_with_several_graphs(tmp_path: Path) -> None:
    path = several(tmp_path / "several", [(["train"], 1.0), (["serve", "gpu"], 5.0)], side=24)
    pictures = np.full((2, 24, 24, 3), 255, np.float32)
    common = {"name": "m", "image_size": 24, "value_range": (0.0, 1.0)}
    for tags, factor in (("", 5.0), ("train", 1.0)):
        spec = ModelSpec.model_validate({**common, "backbone": f"hub:{path}", "tags": tags})
        base = HubModules().build(spec, ImageRequest(tmp_path))
        np.testing.assert_allclose(base.model(pictures), np.full((2, 2), 3 * factor), rtol=1e-5)
        spec = ModelSpec.model_validate({**common, "backbone": f"file:{path}", "tags": tags})
        Files().check(spec, tmp_path)
        np.testing.assert_allclose(
            Files().build(spec, ImageRequest(tmp_path)).model(pictures), np.full((2, 2), 3 * factor), 1e-5
        )
    wrong = ModelSpec.model_validate({**common, "backbone": f"file:{path}", "tags": "eval"})
    with pytest.raises(InputError, match="no graph with the tags 'eval'"):
        Files().check(wrong, tmp_path)


# --- without a signature ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As TensorFlow's audio tutorial exports its model: called with a file's name or with waves."""
    tf, _ = tensorflow.load()
    weights = np.random.default_rng(0).normal(size=(1600, 2)).astype(np.float32)

    class ExportModel(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.weights = tf.Variable(weights)
            self.__call__.get_concrete_function(x=tf.TensorSpec((), tf.string))
            self.__call__.get_concrete_function(x=tf.TensorSpec([None, 1600], tf.float32))

        @tf.function  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            if x.dtype == tf.string:
                x, _ = tf.audio.decode_wav(tf.io.read_file(x), desired_channels=1, desired_samples=1600)
                x = tf.squeeze(x, axis=-1)[tf.newaxis, :]
            scores = x @ self.weights
            numbers = tf.argmax(scores, axis=-1)
            names = tf.gather(tf.constant(["no", "yes"]), numbers)
            return {"predictions": scores, "class_ids": numbers, "class_names": names}

    folder = tmp_path_factory.mktemp("speech") / "saved"
    tf.saved_model.save(ExportModel(), str(folder))
    return folder


def test_a_speech_model_is_called_with_waves_never_with_file_names(speech: Path, tmp_path: Path) -> None:
    tf, _ = tensorflow.load()
    wave = np.random.default_rng(1).uniform(-1, 1, (1, 1600)).astype(np.float32)
    original = {name: value.numpy() for name, value in tf.saved_model.load(str(speech))(tf.constant(wave)).items()}
    model = take(speech, tmp_path / "model")
    assert model.input.shape == (1, 1600) and model.answer == "predictions"
    for text, run in (("tflite:float32", run_tflite), ("onnx:float32", run_onnx)):
        artifact = export(model, Variant.parse(text), options=Export(), folder=tmp_path)
        assert artifact.path is not None, artifact.reason
        outputs = run(artifact.path, {model.input.name: wave})
        np.testing.assert_allclose(outputs["predictions"], original["predictions"], rtol=1e-4)
        assert outputs["class_ids"] == original["class_ids"]
    with pytest.raises(InputError, match=r"__call__:x=string:scalar .* works on files \(ReadFile\)") as caught:
        take(speech, tmp_path / "model", signature="string")
    remedy = caught.value.remedy.split("--signature: ")[1]
    assert remedy == "__call__:x=float32:Nx1600"
    assert take(speech, tmp_path / "model", signature=remedy).provenance["source"]["signature"] == remedy


def test_several_functions_are_listed_with_their_inputs_and_chosen_by_a_part_of_their_name(tmp_path: Path) -> None:
    tf, _ = tensorflow.load()

    class Many(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.factor = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="a")])  # type: ignore[untyped-decorator]
        def scaled(self, a: Any) -> Any:
            return {"y": a * self.factor}

        @tf.function(input_signature=[tf.TensorSpec((None, 4), name=name) for name in "ab"])  # type: ignore[untyped-decorator]
        def lessened(self, a: Any, b: Any) -> Any:
            return a * self.factor - b

    tf.saved_model.save(Many(), str(tmp_path / "many"), signatures={})
    with pytest.raises(InputError, match="no signature, and 2 functions") as caught:
        take(tmp_path / "many", tmp_path / "model")
    assert "lessened:a=float32:Nx4,b=float32:Nx4; scaled:a=float32:Nx4" in caught.value.remedy
    with pytest.raises(InputError, match="2 functions that 'a=float32' may mean"):
        take(tmp_path / "many", tmp_path / "model", signature="a=float32")
    with pytest.raises(InputError, match="no signature or function 'divided'"):
        take(tmp_path / "many", tmp_path / "model", signature="divided")
    four, one = tf.fill((1, 4), 4.0), tf.ones((1, 4))
    scaled = take(tmp_path / "many", tmp_path / "model", signature="scaled")
    assert answer(scaled, {"a": four})["y"].tolist() == [[8, 8, 8, 8]]
    lessened = take(tmp_path / "many", tmp_path / "model", signature="lessened:a=float32:Nx4,b=float32:Nx4")
    assert answer(lessened, {"a": four, "b": one})["output"].tolist() == [[7, 7, 7, 7]]


def test_of_the_traces_of_one_call_the_one_with_its_own_defaults_and_not_training_is_taken(tmp_path: Path) -> None:
    tf, _ = tensorflow.load()
    root = tf.train.Checkpoint()
    root.factor = tf.Variable(3.0)

    @tf.function  # type: ignore[untyped-decorator]
    def call(x: Any, training: bool = False, gain: float = 2.0) -> Any:
        return x * root.factor * gain * (0.0 if training else 1.0)

    for training in (True, False):
        for gain in (0.5, 2.0):
            call.get_concrete_function(tf.TensorSpec((None, 4), tf.float32), training=training, gain=gain)
    root.__call__ = call
    tf.saved_model.save(root, str(tmp_path / "reusable"))
    model = take(tmp_path / "reusable", tmp_path / "model")
    assert answer(model, {"x": tf.ones((1, 4))})["output"].tolist() == [[6, 6, 6, 6]]
    half = take(tmp_path / "reusable", tmp_path / "model", signature="gain=0.5")
    assert answer(half, {"x": tf.ones((1, 4))})["output"].tolist() == [[1.5, 1.5, 1.5, 1.5]]


def test_a_model_that_only_works_on_files_is_told_so(tmp_path: Path) -> None:
    tf, _ = tensorflow.load()

    class Reader(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((), tf.string)])  # type: ignore[untyped-decorator]
        def __call__(self, name: Any) -> Any:
            return tf.strings.length(tf.io.read_file(name))

    tf.saved_model.save(Reader(), str(tmp_path / "reader"), signatures={})
    with pytest.raises(InputError, match="works on files: __call__:name=string:scalar"):
        take(tmp_path / "reader", tmp_path / "model")
