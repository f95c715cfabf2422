"""External files that are damaged or hostile; shapes, names and ranges; external files as backbones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.errors import InputError
from edgeproof.core.model import InputContract
from edgeproof.core.recipe import ModelSpec
from edgeproof.train.external import ImportOptions, identify, import_key, tensor_data
from edgeproof.train.external.backbone import Files
from edgeproof.train.external.pixel_range import pixel_range
from edgeproof.train.external.tensors import Tensor, fixed_shapes, safe_names
from edgeproof.train.source import ImageRequest

from ..support.external_imports import TOLERANCE, slow

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
def test_keys_say_what_was_asked_and_of_what(external_files: Path) -> None:
    small, large = ImportOptions(size=32), ImportOptions(size=48)
    key = import_key(external_files / "plain2.h5", small)
    assert key == import_key(external_files / "plain2.h5", small)
    assert key != import_key(external_files / "plain2.h5", large) and key != import_key(
        external_files / "plain2.keras", small
    )
    with pytest.raises(InputError, match="is empty"):
        import_key(external_files / "plain2.h5", ImportOptions(value_range=(1.0, 1.0)))
    with pytest.raises(InputError, match="weights without the model"):
        import_key(external_files / "weights.h5")


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
def test_a_keras_2_file_as_backbone(external_files: Path) -> None:
    """Its features are what its own classification layer is given, its layers can be counted, nested ones too."""
    from edgeproof.frameworks import tensorflow

    _, keras = tensorflow.load()
    plain = spec("plain2.keras", value_range=(0.0, 1.0))
    Files().check(plain, external_files)
    base = Files().build(plain, ImageRequest(external_files))
    original = keras.models.load_model(str(external_files / "plain2.keras"), compile=False)
    features = keras.Model(original.input, original.get_layer("top").input)(PIXELS / 255.0, training=False)
    np.testing.assert_allclose(base.model(PIXELS.astype(np.float32), training=False), features, atol=TOLERANCE)
    assert base.features == 5 and not base.model.trainable_weights
    nested = spec("nested2.h5", output="trunk")
    Files().check(nested, external_files)
    base = Files().build(nested, ImageRequest(external_files))
    assert [type(layer).__name__ for layer in base.layers] == [
        "Rescaling", "Conv2D", "BatchNormalization", "Conv2D", "GlobalAveragePooling2D",
    ]  # fmt: skip
    from edgeproof.train.finetune import unfreeze

    assert len(unfreeze(base, 1)) == 2 and base.features == 6
    unfrozen = Files().build(spec("nested2.keras", output="trunk", trainable=True), ImageRequest(external_files))
    assert len(unfrozen.whole_layers) == 5


@slow
def test_files_that_come_back_as_saved_models(external_files: Path) -> None:
    three = spec("nested3.keras", output="trunk")
    Files().check(three, external_files)
    base = Files().build(three, ImageRequest(external_files, samples=PIXELS))
    assert base.features == 6 and base.model(PIXELS.astype(np.float32)).shape == (5, 6)
    own = Files().build(
        spec("plain2.h5", head="own", value_range=(0, 1)), ImageRequest(external_files, classes=3, samples=PIXELS)
    )
    assert own.answers
    np.testing.assert_allclose(np.sum(own.model(PIXELS.astype(np.float32)), axis=1), 1, atol=TOLERANCE)
    with pytest.raises(InputError, match="3"):
        Files().build(
            spec("plain2.h5", head="own", value_range=(0, 1)), ImageRequest(external_files, classes=7, samples=PIXELS)
        )


@slow
def test_backbones_that_cannot_be(external_files: Path) -> None:
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
            Files().check(refused, external_files)
    with pytest.raises(InputError, match="2 outputs"):
        Files().build(spec("nested2.keras"), ImageRequest(external_files))
    with pytest.raises(InputError, match="24×24 pixels"):
        Files().build(spec("nested2.keras", output="trunk", image_size=32), ImageRequest(external_files))
    with pytest.raises(InputError, match="no layer 'tronk'"):
        Files().build(spec("nested2.keras", output="tronk"), ImageRequest(external_files))
    assert Files().identity(spec("plain2.h5"), external_files) != Files().identity(
        spec("plain2.h5", output="top"), external_files
    )


def test_looking_needs_no_tensorflow() -> None:
    code = "import edgeproof.train.external, edgeproof.train.external.backbone, sys; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "False"
