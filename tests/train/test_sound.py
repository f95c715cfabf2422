"""Heads on modules of waveforms: features are NumPy's, answers those of the task, what does not fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.dataset import PreparedData
from edgeproof.core.errors import InputError
from edgeproof.core.recipe import ModelSpec, Recipe, Train
from edgeproof.core.recipe_data import Data
from edgeproof.train.backbones import check_backbone, number_source
from edgeproof.train.sound.base import SoundRequest
from edgeproof.train.sound.rates import known_rate
from edgeproof.workflows.recipe_kind import kind_of_recipe, recipe_fingerprint
from edgeproof.workflows.training_arrays import prepare_arrays

from ..support.external_imports import Heard
from ..support.sound_modules import FEATURES, RATE, SAMPLES, batched, embeddings, sounds, yamnet

LISTENER = Heard()


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    yamnet(folder / "yamnet")
    batched(folder / "batched")
    return folder


def spec(folder: Path, name: str, **keys: Any) -> ModelSpec:
    return ModelSpec.model_validate({"name": "m", "backbone": f"hub:{folder / name}", **keys})


def prepared(folder: Path, y: Any, task: str = "", **more: Any) -> PreparedData:
    folder.mkdir(exist_ok=True)
    np.savez(folder / "a.npz", x=sounds()[0], y=y, **more)
    data = Data(source="npz:a.npz", sample_rate=RATE)
    return prepare_arrays(data, task, seed=1, folder=folder, workspace=folder / "made", listener=LISTENER)


def trained(data: PreparedData, one: ModelSpec, folder: Path, **train: Any) -> tuple[Any, np.ndarray, Heard]:
    """Return the model, the frozen file's answers to the test split, and what was said."""
    from edgeproof.frameworks.freeze import serving
    from edgeproof.train.sound.fit import fit_sounds

    how, heard = (
        Train.model_validate({"epochs": 40, "learning_rate": 0.03, "dropout": 0, "patience": 0, **train}),
        Heard(),
    )
    model = fit_sounds(
        one, how, seed=4, data=data, folder=folder, workspace=folder / "work", listener=heard
    )  # fmt: skip
    call = serving(model.saved_model)
    answers = [call(waveform=wave[None])[model.answer].numpy()[0] for wave in np.load(data.inputs("test"))]
    return model, np.array(answers), heard


def request(count: int = 2, length: int = SAMPLES) -> SoundRequest:
    return SoundRequest(Path(), sounds()[0][:count, :length], RATE, Heard())


@pytest.mark.slow
def test_the_features_of_a_module_are_the_mean_of_its_embeddings(modules: Path) -> None:
    one, asked = spec(modules, "yamnet"), request()
    base = number_source(one).build(one, asked)
    found = np.array([np.asarray(base.apply(wave[None]))[0] for wave in asked.samples])
    assert base.features == FEATURES and base.facts["taken"] == "1" and base.facts["frames"] > 2
    assert found == pytest.approx(np.array([embeddings(wave) for wave in asked.samples]), abs=1e-4)
    asked = request(length=100)  # shorter than a patch: the module itself adds zeros
    assert number_source(one).build(one, asked).facts["frames"] == 1
    one, asked = spec(modules, "batched", output="frames"), request()
    base = number_source(one).build(one, asked)
    frames = np.stack([np.abs(asked.samples[0][at : at + 100]) for at in range(0, SAMPLES - 99, 50)])
    right = np.stack([frames.max(1), frames.mean(1), frames.min(1)], axis=1).mean(axis=0)
    assert np.asarray(base.apply(asked.samples[:1]))[0] == pytest.approx(right, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("version", "23")
def test_a_keras_file_of_waveforms_gives_what_its_last_layer_is_given(version: str, external_files: Path) -> None:
    arrays = np.load(external_files / f"waves{version}.npz")
    one = ModelSpec(name="m", backbone=f"file:{external_files / f'waves{version}.keras'}")
    check_backbone(one, folder=Path(), kind="tensor")
    base = number_source(one).build(one, SoundRequest(Path(), arrays["x"], RATE, Heard()))
    found = np.concatenate([np.asarray(base.apply(wave[None])) for wave in arrays["x"]])
    assert found == pytest.approx(arrays["y"], abs=1e-5) and base.features == 4
    if version == "2":
        with pytest.raises(InputError, match="waveforms of 500 samples, and those of the data have 400"):
            number_source(one).build(one, request(length=400))


@pytest.mark.slow
def test_classes_tags_one_sigmoid_and_numbers_are_trained_on_a_module(modules: Path, tmp_path: Path) -> None:
    x, y, _ = sounds()
    names = np.array(["low", "high", "noise"])[y]
    model, answers, heard = trained(data := prepared(tmp_path / "c", names), spec(modules, "yamnet"), tmp_path / "c")
    right = np.load(data.targets("test"))
    assert model.labels == ("high", "low", "noise") and model.input.shape == (1, SAMPLES)
    assert (answers.argmax(axis=1) == right).mean() > 0.8 and answers.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert any("its features are the output '1' of 3: 6 numbers, the mean of" in note for note in heard.notes)
    assert model.provenance["module"]["sample_rate"] == RATE and model.provenance["learned"] == "head"

    tags = np.stack([y == 0, y < 2], axis=1).astype(np.uint8)
    data = prepared(tmp_path / "t", tags, labels=["low", "tone"])
    model, answers, _ = trained(data, spec(modules, "yamnet"), tmp_path / "t")
    assert data.task == "multilabel" and ((answers > 0.5) == np.load(data.targets("test"))).mean() > 0.85

    data = prepared(tmp_path / "s", np.where(y == 2, "noise", "tone"))
    model, answers, _ = trained(data, spec(modules, "yamnet"), tmp_path / "s", head={"output": "sigmoid"})
    assert answers.shape[1] == 1 and ((answers[:, 0] > 0.5) == np.load(data.targets("test"))).mean() > 0.85

    loud = np.abs(x).max(axis=1) * 100 + 0.5
    data = prepared(tmp_path / "r", loud.astype(np.float32))
    model, answers, _ = trained(data, spec(modules, "batched", output="loudness"), tmp_path / "r", epochs=200)
    error = np.abs(answers[:, 0] - np.load(data.targets("test")).ravel())
    assert data.task == "regression" and model.answer == "values" and error.mean() < 0.3 * loud.std()


@pytest.mark.slow
def test_modules_that_do_not_fit_are_refused(modules: Path, tmp_path: Path) -> None:
    for keys, message in (
        ({"output": ""}, "2 outputs, and none is called 'default'"),
        ({"output": "volume"}, "no output 'volume'"),
        ({"output": "frames", "arguments": {"speed": 2}}, "takes no argument 'speed'"),
        ({"output": "frames", "signature": "other"}, "no signature 'other'"),
    ):
        with pytest.raises(InputError, match=message):
            one = spec(modules, "batched", **keys)
            number_source(one).build(one, request())
    fixed = spec(batched(tmp_path / "fixed", 400).parent, "fixed", output="frames")
    with pytest.raises(InputError, match=r"waveform of 500 samples \(0.5 s at 1,000 Hz\).*takes \(None, 400\)"):
        number_source(fixed).build(fixed, request())


def test_settings_and_data_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for keys, message in (
        ({"trainable": True}, "a new head alone is trained, and trainable is set"),
        ({"head": "own"}, "a new head alone is trained, and head is set"),
        ({"image_size": 96}, "image_size has no effect"),
        ({"backbone": "hub:nowhere"}, "does not exist"),
        ({"backbone": "keras:MobileNetV2"}, "takes no numbers"),
        ({"backbone": "file:none.keras"}, "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            check_backbone(spec(tmp_path, "x", **keys), folder=tmp_path, kind="tensor")
    for y, x, message in (
        (sounds()[1], sounds()[0] * 32768, "values up to .* from -1 to 1"),
        (sounds()[1], sounds()[0][..., None], "says that they are waveforms"),
    ):
        np.savez(tmp_path / "a.npz", x=x, y=y)
        data = Data(source="npz:a.npz", sample_rate=RATE)
        with pytest.raises(InputError, match=message):
            prepare_arrays(data, "", seed=1, folder=tmp_path, workspace=tmp_path / "made", listener=LISTENER)


def test_the_rate_is_the_module_s_where_its_handle_tells_it(tmp_path: Path) -> None:
    assert known_rate(spec(Path("https://tfhub.dev/google"), "yamnet/1")) == 16_000
    assert known_rate(spec(tmp_path, "speech-embedding")) == 16_000 and known_rate(spec(tmp_path, "mine")) is None
    np.savez(tmp_path / "a.npz", x=sounds()[0], y=sounds()[1])

    def recipe(backbone: str, **data: Any) -> Recipe:
        tables = {"data": {"source": f"npz:{tmp_path / 'a.npz'}", **data}}
        return Recipe.model_validate({**tables, "model": [{"name": "m", "backbone": backbone}]})

    assert kind_of_recipe(recipe("hub:x", sample_rate=5)) == "tensor" and kind_of_recipe(recipe("hub:x")) == "image"
    assert recipe_fingerprint(recipe("hub:x", sample_rate=5))["kind"] == "tensor"
    with pytest.raises(InputError, match="the rate of the waveforms that hub:x takes is not known"):
        recipe_fingerprint(recipe("hub:x", source="wav:clips"))
    both = recipe("hub:x").model_copy(update={"model": (recipe("scratch:dense").model[0], recipe("hub:x").model[0])})
    with pytest.raises(InputError, match="hub:x takes waveforms, and the data are arrays"):
        recipe_fingerprint(both)
