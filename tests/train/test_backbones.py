"""Backbones: the table against the installed Keras, early errors, weights, and preprocessing inside the model."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from edgeproof.core.errors import InputError, StageError
from edgeproof.core.extras import EXTRAS
from edgeproof.core.recipe import ModelSpec, Train
from edgeproof.frameworks.tensorflow import fresh, load
from edgeproof.train.backbones import IMAGES, TEXTS, build_base, check_backbone, identity, packages
from edgeproof.train.families import BY_NAME, FAMILIES
from edgeproof.train.head import new_head
from edgeproof.train.network import assemble, attach_head, precision, preprocess
from edgeproof.train.source import ImageRequest, check_keys

HERE = Path()
TESTED = {"ResNet50": 32, "InceptionV3": 75, "MobileNet": 32, "MobileNetV2": 33, "MobileNetV3Small": 32}
NARROW = {"MobileNet": 0.25, "MobileNetV2": 0.35}


def spec(backbone: str, **others: object) -> ModelSpec:
    return ModelSpec.model_validate({"name": "m", "backbone": backbone, "weights": "none", "image_size": 96, **others})


def pixels(size: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, (count, size, size, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def keras():
    return fresh(1)[1]


def test_the_table_names_every_model_of_the_installed_keras(keras):
    assert {name for name in dir(keras.applications) if name[0].isupper()} == set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_keras_refuses_one_pixel_less_than_the_minimum(keras, name):
    size = BY_NAME[name].minimum - 1
    with pytest.raises(ValueError, match="at least"):
        getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(size, size, 3))
    with pytest.raises(InputError, match="too small") as caught:
        check_backbone(spec(f"keras:{name}", image_size=size), folder=HERE)
    assert str(size + 1) in caught.value.remedy


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.module)
def test_preprocessing_in_the_model_is_the_familys_own(keras, family):
    module = importlib.import_module(f"tf_keras.applications.{family.module}")
    expected = module.preprocess_input(pixels(8).copy())
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, preprocess(image, family.preprocessing))
    np.testing.assert_allclose(model(pixels(8)), expected, atol=2e-5)
    assert (family.preprocessing == "inside") == np.array_equal(expected, pixels(8))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.thorough) if n in ("InceptionV3", "MobileNetV2") else n for n in TESTED],
)
def test_the_model_takes_pixels_and_gives_what_keras_gives(name):
    _, keras = fresh(3)
    size, alpha = TESTED[name], NARROW.get(name)
    base = build_base(spec(f"keras:{name}", image_size=size, alpha=alpha), ImageRequest(HERE))
    widths = {"alpha": alpha} if alpha else {}
    plain = getattr(keras.applications, name)(
        include_top=False, weights=None, pooling="avg", input_shape=(size, size, 3), **widths
    )
    skip = 0 if BY_NAME[name].preprocessing == "inside" else 2  # our fixed convolution's kernel and bias
    plain.set_weights(base.model.get_weights()[skip:])
    module = importlib.import_module(f"tf_keras.applications.{BY_NAME[name].module}")
    expected = plain(module.preprocess_input(pixels(size).copy()), training=False).numpy()
    features = base.model(pixels(size), training=False).numpy()
    assert expected.std() > 0
    np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())
    assert not base.model.trainable_weights
    assert not any(isinstance(layer, keras.Model) for layer in base.model.layers), "the model must be flat"
    full_model = attach_head(base, new_head(base.features, 4, Train(), 1))
    np.testing.assert_allclose(full_model(pixels(size)).numpy().sum(axis=1), 1, rtol=1e-5)


def test_mixed_precision_computes_in_float16_and_answers_in_float32():
    _, keras = fresh(3)
    small = spec("package:mobilenet_v2", image_size=32, weights="imagenet")
    mixed = build_base(small, ImageRequest(HERE, mixed=True))
    plain = build_base(small, ImageRequest(HERE))
    assert keras.mixed_precision.global_policy().name == "float32"
    assert mixed.layers[-1].compute_dtype == "float16" and plain.layers[-1].compute_dtype == "float32"
    plain.model.set_weights(mixed.model.get_weights())
    answer, expected = mixed.model(pixels(32)).numpy(), plain.model(pixels(32)).numpy()
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("backbone", "others", "message", "remedy"),
    [
        ("MobileNetV2", {}, "no scheme", "keras:MobileNetV2"),
        ("kers:MobileNetV2", {}, "unknown scheme", "did you mean 'keras:'"),
        ("keras:MobilNetV2", {}, "no model 'MobilNetV2'", "did you mean 'MobileNetV2'"),
        ("keras:resnet50", {}, "no model", "did you mean 'ResNet50'"),
        ("keras:../../x", {}, "no model", "Known: ConvNeXtTiny"),
        ("package:mobilnet", {}, "no package", "did you mean 'mobilenet_v2'"),
        ("package:mobilenet_v2", {"weights": "imagenet", "image_size": 31}, "too small", "32"),
        ("package:mobilenet_v2", {"weights": "imagenet", "alpha": 0.5}, "width 1.0", "remove alpha"),
        ("package:mobilenet_v2", {"weights": "none"}, "its own weights", "keras:MobileNetV2"),
        ("keras:ResNet50", {"alpha": 0.5}, "one width", "remove alpha"),
        ("keras:MobileNetV2", {"weights": "imagenet", "alpha": 0.36}, "no ImageNet weights", "0.35, 0.5"),
        ("keras:MobileNetV2", {"weights": "absent.h5"}, "does not exist", "relative to the recipe"),
        ("keras:MobileNetV2", {"weights": "imagnet"}, "not a known kind of weights", "'imagenet'"),
        ("keras:MobileNetV2", {"weights": "text.h5"}, "not .h5 inside", ".keras"),
        ("keras:MobileNetV2", {"weights": "text.keras"}, "not .keras inside", ".keras"),
    ],
)
def test_a_backbone_that_cannot_be_built_is_told_early(tmp_path, backbone, others, message, remedy):
    for name in ("text.h5", "text.keras"):
        (tmp_path / name).write_text("hello")
    with pytest.raises(InputError) as caught:
        check_backbone(spec(backbone, **others), folder=tmp_path)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_the_early_check_imports_no_framework():
    code = (
        "import sys; from pathlib import Path; from edgeproof.core.recipe import ModelSpec\n"
        "from edgeproof.train.backbones import check_backbone, identity; import edgeproof.train.fit\n"
        "spec = ModelSpec(name='m', backbone='package:mobilenet_v2', image_size=96)\n"
        "check_backbone(spec, folder=Path()); identity(spec, folder=Path())\n"
        "print(sorted({'tensorflow', 'tf_keras', 'keras', 'torch', 'h5py'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_missing_extra_is_told_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in [n for n in sys.modules if n.partition(".")[0] in ("tensorflow", "tf_keras")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match="tensorflow and tf_keras") as caught:
        check_backbone(spec("keras:MobileNetV2"), folder=HERE)
    assert caught.value.remedy == "pip install 'edgeproof[train]'"


def test_identity_is_by_content_of_the_weights(tmp_path):
    first, second, other = tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "c.h5"
    for path, number in ((first, 1), (other, 2)):
        with h5py.File(path, "w") as file:
            file["w"] = number
    shutil.copyfile(first, second)
    keys = [identity(spec("keras:MobileNet", weights=p.name), folder=tmp_path) for p in (first, second, other)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["w.h5", "w.weights.h5", "w.keras", "whole.h5", "top.h5"])
def test_weights_come_from_each_kind_of_file(tmp_path, file):
    _, keras = fresh(5)
    top = file == "top.h5"
    saved = keras.applications.MobileNet(
        include_top=top, weights=None, input_shape=(32, 32, 3), alpha=0.25, **({"classes": 7} if top else {})
    )
    if file in ("w.keras", "whole.h5"):
        saved.save(tmp_path / file)
    else:
        saved.save_weights(tmp_path / file)
    base = build_base(spec("keras:MobileNet", weights=file, alpha=0.25, image_size=48), ImageRequest(tmp_path))
    for layer in base.layers:
        for loaded, expected in zip(layer.get_weights(), saved.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(loaded, expected)


@pytest.mark.slow
def test_weights_of_another_width_are_refused_whole(tmp_path):
    _, keras = fresh(5)
    keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.5).save_weights(
        tmp_path / "w.h5"
    )
    with pytest.raises(InputError, match="do not fit"):
        build_base(spec("keras:MobileNet", weights="w.h5", alpha=0.25), ImageRequest(tmp_path))


def test_a_download_that_fails_names_the_offline_choices(monkeypatch, tmp_path):
    load()
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".keras").mkdir()
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port: refused at once
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StageError, match="could not be fetched") as caught:
        build_base(spec("keras:MobileNet", weights="imagenet", image_size=128, alpha=0.25), ImageRequest(HERE))
    for choice in ("package:mobilenet_v2", "weights = 'none'", ".keras file", "~/.keras/models"):
        assert choice in caught.value.remedy


class Pretended:
    """A source of backbones that nobody has: one convolution of random weights."""

    packages = ("numpy",)

    def check(self, spec, folder):
        check_keys(spec, {"name", "backbone", "image_size", "resize"})

    def identity(self, spec, folder):
        return {"backbone": spec.backbone}

    def mixes(self, spec):
        return True

    def build(self, spec, request):
        _, keras = load()
        with precision(mixed=request.mixed):
            image = keras.Input((spec.image_size, spec.image_size, 3))
            return assemble(keras.Model(image, keras.layers.Conv2D(5, 3)(image)), "tf", spec.image_size)


@pytest.mark.slow
def test_a_source_is_one_class_and_one_row(monkeypatch):
    monkeypatch.setitem(IMAGES, "pretended", (__name__, "Pretended"))
    model = spec("pretended:x", weights="imagenet", image_size=16)
    check_backbone(model, folder=HERE)
    with pytest.raises(InputError, match="alpha has no effect for pretended:x"):
        check_backbone(spec("pretended:x", weights="imagenet", alpha=0.5), folder=HERE)
    assert identity(model, folder=HERE) == {"backbone": "pretended:x"} and packages(model) == ("numpy",)
    assert build_base(model, ImageRequest(HERE)).features == 5
    with pytest.raises(InputError) as caught:
        check_backbone(spec("pretend:x"), folder=HERE)
    assert "did you mean 'pretended:'" in caught.value.remedy


@pytest.mark.parametrize(("kind", "sources"), [("image", IMAGES), ("text", TEXTS)])
def test_each_source_names_packages_that_an_extra_brings(kind, sources):
    distributions = {name for extra in EXTRAS.values() for name in extra.packages.values()}
    for scheme in sources:
        assert set(packages(spec(f"{scheme}:x"), kind)) <= distributions, scheme
