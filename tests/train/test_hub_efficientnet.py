"""package:efficientnet_lite0: a true Hub SavedModel whose every logit is that of a plain NumPy forward pass."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import ModelSpec
from edgeproof.frameworks.security import dangerous
from edgeproof.frameworks.tensorflow import fresh, load
from edgeproof.train import packaged
from edgeproof.train.backbones import build_base, check_backbone, identity
from edgeproof.train.hub import efficientnet_lite
from edgeproof.train.source import ImageRequest
from edgeproof.train.torch_pickle import read_state_dict

TOLERANCE = 1e-3  # of a logit; logits here spread over about ±5
SIZE = 65  # odd: SAME pads both sides then, and the far side only where the map is even
STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))  # repeats, kernel, first stride


def spec(**others):
    return ModelSpec.model_validate(
        {"name": "m", "backbone": "package:efficientnet_lite0", "image_size": SIZE, **others}
    )


# --- an independent forward pass, straight from the state dict ----------------------------------------------------


def convolve(x, kernel, stride, groups):
    """Cross-correlate x (c, h, w) with kernel (out, in / groups, k, k), padded as TensorFlow's SAME."""
    k = kernel.shape[2]
    pads = []
    for side in x.shape[1:]:
        missing = max((-(-side // stride) - 1) * stride + k - side, 0)
        pads.append((missing // 2, missing - missing // 2))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), *pads)), (k, k), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    if groups == 1:
        return np.einsum("chwij,ocij->ohw", windows, kernel, optimize=True)
    return np.einsum("chwij,cij->chw", windows, kernel[:, 0], optimize=True)


def numpy_logits(state, image):
    """Logits (1000,) of one picture (h, w, 3) of 0–255, in float64."""
    wide = {name: tensor.astype(np.float64) for name, tensor in state.items()}

    def unit(x, convolution, norm, stride=1, groups=1, relu=True):
        x = convolve(x, wide[f"{convolution}.weight"], stride, groups)
        parts = ("weight", "bias", "running_mean", "running_var")
        gamma, beta, mean, variance = (wide[f"{norm}.{part}"][:, None, None] for part in parts)
        x = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
        return np.clip(x, 0, 6) if relu else x

    x = unit((image.transpose(2, 0, 1) - 127.0) / 128.0, "_conv_stem", "_bn0", stride=2)
    number = 0
    for repeats, kernel, first in STAGES:
        for repeat in range(repeats):
            name, before = f"_blocks.{number}", x
            if f"{name}._expand_conv.weight" in wide:
                x = unit(x, f"{name}._expand_conv", f"{name}._bn0")
            assert wide[f"{name}._depthwise_conv.weight"].shape[2] == kernel
            stride = 1 if repeat else first
            x = unit(x, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride, groups=len(x))
            x = unit(x, f"{name}._project_conv", f"{name}._bn2", relu=False)
            if x.shape == before.shape:
                x = x + before
            number += 1
    pooled = unit(x, "_conv_head", "_bn1").mean(axis=(1, 2))
    return wide["_fc.weight"] @ pooled + wide["_fc.bias"]


def structured_image():
    """A picture with edges, gradients and texture: padding and scale both matter to it."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    disc = ((x - 0.4) ** 2 + (y - 0.55) ** 2 < 0.09) * 1.0
    stripes = np.sin(40 * x + 15 * y)
    image = np.stack([disc * 0.6 + 0.3 * x, 0.5 + 0.3 * stripes + 0.2 * y, 0.8 - 0.5 * disc + 0.1 * stripes], axis=-1)
    return (image * 255).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def state():
    return read_state_dict(packaged.weights_file("efficientnet_lite0"))


@pytest.fixture(scope="module")
def reference(state):
    return numpy_logits(state, structured_image().astype(np.float64))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPROOF_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def classifier(cache):
    fresh(1)
    return efficientnet_lite.saved_model("classification", Silent())


@pytest.mark.slow
def test_every_logit_is_that_of_plain_numpy(classifier, reference):
    tf, _ = load()
    pixels = structured_image()[None].astype(np.float32)
    module = tf.saved_model.load(str(classifier))
    logits = module((pixels - 127) / 128).numpy()[0]
    assert reference.std() > 0.5
    assert np.abs(logits - reference).max() < TOLERANCE
    base = build_base(spec(head="own"), ImageRequest(Path(), samples=structured_image()[None], classes=1000))
    expected = np.exp(reference - reference.max())
    given = base.model(pixels).numpy()[0]
    np.testing.assert_allclose(given, expected / expected.sum(), atol=1e-5)
    assert base.facts == {"gives": "values", "pixels": "[-0.992188, 1]"}


@pytest.mark.parametrize("mistake", ["none", "epsilon", "stride", "pixels"])
def test_the_tolerance_catches_each_mistake_the_conversion_could_make(state, reference, monkeypatch, mistake):
    fresh(1)
    if mistake == "epsilon":
        monkeypatch.setattr(efficientnet_lite, "EPSILON", 1e-5)
    if mistake == "stride":
        early = [replace(b, stride=1) if n == 3 else b for n, b in enumerate(efficientnet_lite.blocks())]
        monkeypatch.setattr(efficientnet_lite, "blocks", lambda: early)
    pixels = structured_image()[None].astype(np.float32)
    layers = efficientnet_lite.Layers(efficientnet_lite.convert(state))
    features = efficientnet_lite.features(layers, pixels / 255 if mistake == "pixels" else (pixels - 127) / 128, False)
    difference = np.abs(features.numpy()[0] @ state["_fc.weight"].T + state["_fc.bias"] - reference).max()
    assert (difference < TOLERANCE) if mistake == "none" else (difference > 100 * TOLERANCE)


@pytest.mark.slow
def test_it_is_a_reusable_saved_model_that_can_be_fine_tuned(classifier):
    tf, _ = load()
    module = tf.saved_model.load(str(classifier))
    assert dangerous(classifier) == []
    kernels = [v for v in module.trainable_variables if v.name.endswith("kernel:0")]
    assert len(kernels) == 50 and len(module.trainable_variables) == 50 + 2 * 49 + 1
    assert len(module.variables) - len(module.trainable_variables) == 2 * 49
    (regularize,) = module.regularization_losses
    expected = 1e-5 * sum(float(tf.nn.l2_loss(kernel)) for kernel in kernels)
    assert float(regularize()) == pytest.approx(expected, rel=1e-4)
    images = tf.random.stateless_uniform([4, SIZE, SIZE, 3], seed=(1, 2), minval=-1.0, maxval=1.0)
    mean = next(v for v in module.variables if v.name == "stem/mean:0")
    before = mean.numpy()
    resting = module(images)
    assert np.array_equal(mean.numpy(), before)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(module(images, training=True) ** 2)
    assert all(gradient is not None for gradient in tape.gradient(loss, module.trainable_variables))
    assert not np.array_equal(mean.numpy(), before)
    assert np.abs(resting - module(images)).max() > 0
    assert module.signatures["serving_default"](inputs=images)["default"].shape == (4, 1000)


@pytest.mark.slow
def test_features_come_through_the_hub_path_from_one_build_in_the_cache(cache, state, reference):
    class Heard(Silent):
        notes = 0

        def note(self, level, message, **facts):
            self.notes += "building" in message

    heard = Heard()
    fresh(1)
    base = build_base(spec(), ImageRequest(Path(), listener=heard))
    efficientnet_lite.saved_model("feature_vector", heard)
    assert heard.notes == 1 and base.features == 1280 and not base.answers
    features = base.model(structured_image()[None].astype(np.float32)).numpy()[0]
    logits = state["_fc.weight"] @ features + state["_fc.bias"]
    assert np.abs(logits - reference).max() < TOLERANCE


def test_an_unexpected_set_of_tensors_is_refused(state):
    with pytest.raises(InputError, match=r"_conv_head\.weight is missing"):
        efficientnet_lite.convert({name: t for name, t in state.items() if name != "_conv_head.weight"})
    with pytest.raises(InputError, match="also hold 'extra'"):
        efficientnet_lite.convert({**state, "extra": np.zeros(1)})
    with pytest.raises(InputError, match=r"has shape \(1280, 1000\)"):
        efficientnet_lite.convert({**state, "_fc.weight": state["_fc.weight"].T})


def test_it_is_checked_early_and_known_by_its_weights():
    check_backbone(spec(), folder=Path())
    check_backbone(spec(trainable=True), folder=Path())
    package = packaged.PACKAGES["efficientnet_lite0"]
    assert identity(spec(), folder=Path())["weights"] == {"sha256": package.sha256}
