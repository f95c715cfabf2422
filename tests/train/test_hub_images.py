"""Hub image modules: real SavedModels, made here, through `hub.KerasLayer`, from early checks to frozen models."""

from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.errors import InputError
from edgeproof.frameworks.saved_model import read
from edgeproof.frameworks.tensorflow import load
from edgeproof.train.backbones import build_base, check_backbone
from edgeproof.train.hub.module import kind_of
from edgeproof.train.hub.pixel_ranges import pixels_of
from edgeproof.train.source import ImageRequest

from ..support.hub_modules import (
    CLASSES,
    Heard,
    called,
    pixels,
    spec,
    tf1_module,
)

# --- what a module is and gives -------------------------------------------------------------------------------------


def test_features_are_the_modules_own_on_pixels_in_its_range(modules):
    folder = modules("features")
    base = build_base(spec(folder), ImageRequest(Path(), samples=pixels()))
    expected = called(folder, pixels() / 255.0)
    np.testing.assert_allclose(base.model(pixels().astype(np.float32)), expected, atol=1e-5)
    assert base.model.output_shape == (None, 8) and not base.model.trainable_weights
    assert not base.answers and base.facts == {"gives": "values", "pixels": "[0, 1]"}


@pytest.mark.parametrize(
    ("chosen", "low", "high"),
    [({"value_range": (-1.0, 1.0)}, -1, 1), ({"preprocessing": "tf"}, -1, 1), ({"preprocessing": "inside"}, 0, 255)],
)
def test_the_recipe_says_what_pixels_the_module_wants(modules, chosen, low, high):
    folder = modules("features")
    base = build_base(spec(folder, **chosen), ImageRequest(Path(), samples=pixels()))
    expected = called(folder, low + (high - low) * (pixels() / 255.0)).numpy()
    np.testing.assert_allclose(base.model(pixels().astype(np.float32)), expected, atol=1e-5 * expected.max())


def test_known_publishers_have_their_range_and_unknown_ones_a_note(modules):
    for handle, name in {
        "https://tfhub.dev/google/imagenet/mobilenet_v3_large_100_224/feature_vector/5": "[0, 1]",
        "https://www.kaggle.com/models/google/bit/TensorFlow2/m-r50x1/1": "[0, 1]",
        "https://tfhub.dev/sayakpaul/vit_b16_fe/1": "[-1, 1]",
        "https://tfhub.dev/sayakpaul/convnext_tiny_1k_224_fe/1": "torch",
        "https://tfhub.dev/adityakane2001/regnety200mf_feature_extractor/1": "[0, 255]",
        "https://www.kaggle.com/models/rishit-dagli/xcit/TensorFlow2/nano-12-p16-224/1": "[-1, 1]",
    }.items():
        pixel_range = pixels_of(spec("x"), handle)
        assert pixel_range.name == name and pixel_range.why
    assert pixels_of(spec("x", value_range=(0, 2)), "https://tfhub.dev/sayakpaul/vit_b16_fe/1").name == "[0, 2]"
    for unknown in ("https://example.org/google/x/1", "../google/x", "https://tfhub.dev/somebody/x/1"):
        assert pixels_of(spec("x"), unknown).name == "[0, 1]" and not pixels_of(spec("x"), unknown).why
    heard = Heard()
    build_base(spec(modules("features")), ImageRequest(Path(), listener=heard))
    assert any("is not known" in note and "value_range" in note for note in heard.notes)


def test_maps_are_pooled_and_dictionaries_and_pairs_give_what_is_chosen(modules):
    expected = called(modules("features"), pixels() / 255.0)
    for name, output in (("maps", ""), ("several", "embedding"), ("pair", "0")):
        base = build_base(spec(modules(name, gives=name), output=output), ImageRequest(Path(), samples=pixels()))
        np.testing.assert_allclose(base.model(pixels().astype(np.float32)), expected, atol=1e-5)
    with pytest.raises(InputError, match="2 outputs") as caught:
        build_base(spec(modules("several", gives="several")), ImageRequest(Path()))
    assert "'embedding', 'logits'" in caught.value.remedy
    with pytest.raises(InputError, match="no output 'embeding'"):
        build_base(spec(modules("several"), output="embeding"), ImageRequest(Path()))
    with pytest.raises(InputError, match=r"\(4, 4, 2\)"):
        build_base(spec(modules("tokens", gives="tokens")), ImageRequest(Path()))


def test_extra_arguments_reach_the_call(modules):
    folder = modules("extra", extra=True)
    expected = called(folder, pixels() / 255.0, training=False, gain=2.0)
    base = build_base(spec(folder, arguments={"gain": 2.0}), ImageRequest(Path(), samples=pixels()))
    np.testing.assert_allclose(base.model(pixels().astype(np.float32)), expected, atol=1e-5)
    with pytest.raises(InputError, match=r"cannot be called .* arguments \['gian'\]"):
        build_base(spec(folder, arguments={"gian": 2.0}), ImageRequest(Path()))


def test_a_fixed_size_is_told_with_the_size(modules):
    folder = modules("fixed", side=48)
    with pytest.raises(InputError, match="48×48 pixels only, but image_size = 32") as caught:
        build_base(spec(folder), ImageRequest(Path()))
    assert caught.value.remedy == "set image_size = 48"
    assert build_base(spec(folder, image_size=48), ImageRequest(Path())).features == 8
    with pytest.raises(InputError, match=r"1 image\(s\) at a time"):
        build_base(spec(modules("single", batch=1)), ImageRequest(Path()))


def test_what_a_module_gives_is_found_out_not_assumed():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20, 6)) * 5
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert kind_of(logits) == "values" and kind_of(softmax) == "probabilities"
    assert kind_of(softmax.astype(np.float16).astype(np.float32)) == "probabilities"
    assert kind_of(1 / (1 + np.exp(-logits))) == "scores"
    assert kind_of(np.maximum(logits, 0)) == "values" and kind_of(np.maximum(logits, 0) / 100) == "values"
    assert kind_of(np.ones((5, 1))) == "values" and kind_of(np.full((3, 2), np.nan)) == "values"


def test_probabilities_become_logarithms_for_a_new_head(modules):
    logits = called(modules("logits", gives="logits"), pixels() / 255.0).numpy()
    base = build_base(spec(modules("probabilities", gives="probabilities")), ImageRequest(Path(), samples=pixels()))
    features = base.model(pixels().astype(np.float32)).numpy()
    assert base.facts["gives"] == "probabilities"
    shift = features - logits
    np.testing.assert_allclose(shift - shift.mean(1, keepdims=True), 0, atol=1e-4)


@pytest.mark.parametrize("gives", ["logits", "probabilities", "sigmoid"])
def test_its_own_head_answers_in_probabilities(modules, gives):
    heard = Heard()
    own = spec(modules(gives, gives=gives), head="own")
    base = build_base(own, ImageRequest(Path(), samples=pixels(), classes=CLASSES, listener=heard))
    answers = base.model(pixels().astype(np.float32)).numpy()
    expected = called(modules(gives), pixels() / 255.0).numpy()
    if gives == "logits":
        expected = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    np.testing.assert_allclose(answers, expected / expected.sum(1, keepdims=True), atol=1e-5)
    assert base.answers and any("class number i" in note for note in heard.notes)
    with pytest.raises(InputError, match="5 classes of its own, the data have 3"):
        build_base(own, ImageRequest(Path(), samples=pixels(), classes=3))
    with pytest.raises(InputError, match="background class at index 0"):
        build_base(own, ImageRequest(Path(), samples=pixels(), classes=4))


def test_the_tf1_hub_format_works_through_its_signatures(modules):
    folder = modules("tf1", tf1_module)
    assert read(folder).hub_v1 and sorted(read(folder).signatures) == ["default", "image_classification", "with_gain"]
    tf, _ = load()
    signatures = tf.saved_model.load(str(folder), tags=[]).signatures
    images = tf.constant(pixels() / 255.0, tf.float32)
    features = {}
    for signature, output in (("", ""), ("image_classification", ""), ("image_classification", "hidden")):
        base = build_base(spec(folder, signature=signature, output=output), ImageRequest(Path(), samples=pixels()))
        expected = signatures[signature or "default"](images)[output or "default"]
        features[signature, output] = base.model(pixels().astype(np.float32)).numpy()
        np.testing.assert_allclose(features[signature, output], expected, atol=1e-4)
    double = build_base(
        spec(folder, signature="with_gain", arguments={"gain": 2}), ImageRequest(Path(), samples=pixels())
    )
    np.testing.assert_allclose(double.model(pixels().astype(np.float32)), 2 * features["", ""], atol=1e-4)
    with pytest.raises(InputError, match="takes no argument 'rate'"):
        build_base(spec(folder, signature="with_gain", arguments={"rate": 2}), ImageRequest(Path()))


# --- told early, without TensorFlow -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "others", "message"),
    [
        ("tf1", {"trainable": True}, "TF1 Hub format, which TensorFlow 2 cannot fine-tune"),
        ("tf1", {"signature": "defualt"}, "no signature 'defualt'"),
        ("tf1", {"image_size": 64}, "32×32 pixels only, but image_size = 64"),
        ("tf1", {"output": "nothing"}, "no output 'nothing'"),
        ("frozen", {"trainable": True}, "no variables to fine-tune"),
        ("features", {"signature": "serving_default"}, "no signature"),
        ("features", {"trainable": True, "head": "own"}, "nothing is trained"),
        ("features", {"value_range": (0, 1), "preprocessing": "tf"}, "exclude each other"),
        ("features", {"alpha": 0.5}, "alpha has no effect for hub:"),
        ("features", {"weights": "none"}, "weights has no effect for hub:"),
        ("features", {"max_tokens": 32}, "max_tokens has no effect for hub:"),
        ("features", {"sha256": "0" * 64}, "not the one that the recipe pins"),
    ],
)
def test_what_cannot_work_is_told_before_anything_starts(modules, module, others, message):
    folder = {
        "tf1": lambda: modules("tf1", tf1_module),
        "frozen": lambda: modules("frozen", trainable=False),
        "features": lambda: modules("features"),
    }[module]()
    with pytest.raises(InputError, match=message) as caught:
        check_backbone(spec(folder, **others), folder=Path())
    assert caught.value.remedy
