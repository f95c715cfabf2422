"""Keras files that need something outside them: classes of their maker, and Hub modules inside their layers."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edgeproof.core.errors import InputError, StageError
from edgeproof.core.model import Model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import ModelSpec
from edgeproof.frameworks import tensorflow
from edgeproof.train.external import ImportOptions, identify, import_key, import_model
from edgeproof.train.external.backbone import Files
from edgeproof.train.source import ImageRequest

pytestmark = pytest.mark.slow

LAYERS = str(Path(__file__).parents[1] / "support" / "external_layers.py")


def take(path: Path, folder: Path, **asked: Any) -> Model:
    return import_model(path, ImportOptions(**asked), name="theirs", workspace=folder, listener=Silent())


def answer(model: Model) -> Any:
    """What the frozen model says to ones."""
    tf, _ = tensorflow.load()
    signature = tf.saved_model.load(str(model.saved_model)).signatures["serving_default"]
    return signature(**{model.input.name: tf.ones(model.input.shape)})[model.answer].numpy()


@pytest.mark.parametrize("name", ["own2.h5", "own2.keras", "own3.h5", "own3.keras"])
def test_classes_of_the_user_come_from_a_file_that_is_named(external_files: Path, tmp_path: Path, name: str) -> None:
    expected = np.load(external_files / f"{name[:4]}.npy")
    with pytest.raises(InputError, match="Scale") as caught:
        import_key(external_files / name)
    assert "--custom-objects" in caught.value.remedy and "model.export" in caught.value.remedy
    model = take(external_files / name, tmp_path / "model", custom_objects=(LAYERS,))
    np.testing.assert_allclose(answer(model), expected, rtol=1e-5)
    assert model.provenance["source"]["trusted"] and "Scale" in model.provenance["source"]["code"][0]
    if name.endswith(".h5"):
        with pytest.raises(InputError, match=r"needs (Scale|Shift), which is custom code") as caught:
            take(external_files / name, tmp_path / "model", trust=True)
        assert "--custom-objects" in caught.value.remedy


def test_the_remedy_of_saving_it_again_works(external_files: Path, tmp_path: Path) -> None:
    for version in "23":
        model = take(external_files / f"own{version}", tmp_path / version)
        np.testing.assert_allclose(answer(model), np.load(external_files / f"own{version}.npy"), rtol=1e-5)
    np.testing.assert_allclose(
        answer(take(external_files / "hub2", tmp_path / "hub")), np.load(external_files / "hub2.npy"), rtol=1e-5
    )


def test_a_module_that_is_installed_serves_by_its_name(
    external_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(LAYERS).parent))
    monkeypatch.setenv("PYTHONPATH", ":".join([str(Path(LAYERS).parent), *sys.path]))
    for name in ("own2.h5", "own3.keras"):
        model = take(external_files / name, tmp_path / "model", custom_objects=("external_layers",))
        np.testing.assert_allclose(answer(model), np.load(external_files / f"{name[:4]}.npy"), rtol=1e-5)


def test_definitions_that_do_not_serve_are_told(external_files: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "broken.py").write_text("raise RuntimeError('no such board')")
    path = external_files / "own2.h5"
    for module, message in (
        (tmp_path / "empty.py", r"needs (Scale|Shift)"),
        (tmp_path / "broken.py", "RuntimeError: no such board"),
        ("no_such_module", "No module named"),
        (tmp_path / "gone.py", "there is no such file"),
    ):
        with pytest.raises(InputError, match=message):
            take(path, tmp_path / "model", custom_objects=(str(module),))
    (tmp_path / "half.py").write_text(Path(LAYERS).read_text().replace("def bent", "def straight"))
    with pytest.raises(StageError, match="bent") as caught:
        take(path, tmp_path / "model", custom_objects=(str(tmp_path / "half.py"),))
    assert "--custom-objects" in caught.value.remedy
    key = import_key(path, ImportOptions(custom_objects=(str(tmp_path / "half.py"),)))
    (tmp_path / "half.py").write_text(Path(LAYERS).read_text())
    assert import_key(path, ImportOptions(custom_objects=(str(tmp_path / "half.py"),))) != key


# --- Hub modules inside ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hub2.h5", "hub2.keras"])
def test_a_hub_layer_is_known_and_has_the_weights_of_the_file(external_files: Path, tmp_path: Path, name: str) -> None:
    model = take(external_files / name, tmp_path / "model")
    np.testing.assert_allclose(answer(model), np.load(external_files / "hub2.npy"), rtol=1e-5)
    assert not model.provenance["source"]["code"]


def test_a_file_with_a_hub_layer_as_backbone(external_files: Path) -> None:
    spec = ModelSpec.model_validate(
        {"name": "m", "backbone": "file:hub2.h5", "image_size": 24, "value_range": (0.0, 1.0), "head": "own"}
    )
    Files().check(spec, external_files)
    assert Files().identity(spec, external_files)["modules"]
    base = Files().build(spec, ImageRequest(external_files, classes=3))
    features = base.model(np.full((1, 24, 24, 3), 255, np.float32))
    np.testing.assert_allclose(features, np.load(external_files / "hub2.npy"), rtol=1e-5)


def test_classes_of_the_user_in_a_recipe(external_files: Path, tmp_path: Path) -> None:
    shutil.copy(LAYERS, tmp_path / "layers.py")
    shutil.copy(external_files / "own2.h5", tmp_path / "own2.h5")
    table = {"name": "m", "backbone": "file:own2.h5", "image_size": 24, "value_range": (0.0, 1.0)}
    with pytest.raises(InputError, match="custom_objects = "):
        Files().check(ModelSpec.model_validate(table), tmp_path)
    spec = ModelSpec.model_validate({**table, "custom_objects": ["layers.py"]})
    Files().check(spec, tmp_path)
    with pytest.raises(InputError, match="a backbone takes one RGB picture"):  # it was opened
        Files().build(spec, ImageRequest(tmp_path))


def with_handle(source: Path, target: Path, handle: str) -> Path:
    """The file with another handle in its Hub layer."""
    shutil.copy(source, target)
    with h5py.File(target, "r+") as file:
        config = file.attrs["model_config"]
        file.attrs["model_config"] = re.sub(r'("handle": )"[^"]*"', lambda m: m[1] + json.dumps(handle), config)
    return target


def test_what_a_hub_layer_loads_is_looked_at_and_fetched_only_with_trust(external_files: Path, tmp_path: Path) -> None:
    tf, _ = tensorflow.load()
    root = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((None, 4))])  # type: ignore[untyped-decorator]
    def call(x: Any) -> Any:
        tf.io.write_file("never", "x")
        return x

    root.__call__ = call
    tf.saved_model.save(root, str(tmp_path / "evil"))
    file = external_files / "hub2.h5"
    for handle, message in (
        (str(tmp_path / "evil"), "WriteFile"),
        (str(tmp_path / "gone"), "does not exist"),
        ("/etc/hostname", "neither a folder nor"),
        ("https://tfhub.dev/google/some/1", "not on this machine"),
    ):
        with pytest.raises(InputError, match=message):
            identify(with_handle(file, tmp_path / "m.h5", handle), trust=False)
    # Beside the file, or at another place that is named: what is there is taken.
    shutil.copytree(external_files / "hub_module", tmp_path / "beside")
    model = take(with_handle(file, tmp_path / "m.h5", "beside"), tmp_path / "model")
    np.testing.assert_allclose(answer(model), np.load(external_files / "hub2.npy"), rtol=1e-5)
    with pytest.raises(StageError, match=r"needs 'http://127.0.0.1:9/") as caught:
        take(with_handle(file, tmp_path / "m.h5", "http://127.0.0.1:9/m.tar.gz"), tmp_path / "model", trust=True)
    assert "model.export" in caught.value.remedy
