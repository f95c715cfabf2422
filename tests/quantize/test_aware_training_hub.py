"""Hub modules for further training: built again where the architecture is known and the answers agree, else refused."""

from dataclasses import replace

import numpy as np
import pytest

from edgeproof.core.codec import read_json, write_json
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import ModelSpec, Train
from edgeproof.frameworks import network_format
from edgeproof.frameworks.efficientnet_lite import LITE
from edgeproof.frameworks.tensorflow import load
from edgeproof.quantize.aware_training import network_loading
from edgeproof.quantize.aware_training.efficientnet_lite import efficientnet_lite
from edgeproof.quantize.aware_training.frozen_head import signature_answers
from edgeproof.quantize.aware_training.hub_networks import APPLICATIONS, UnavailableNetworkError, rebuild
from edgeproof.train.fit import fit

from ..support.aware_training_models import SIZE, make_data, small_network


def fit_module(network, folder):
    """Save a Keras network as a Hub module, and fine-tune a head on it."""
    tf, keras = load()
    pooled = keras.Model(network.input, keras.layers.GlobalAveragePooling2D()(network.output))
    tf.saved_model.save(pooled, str(folder / "module"))
    (folder / "data").mkdir()
    data = make_data(folder / "data", {"train": 12, "validation": 6, "test": 3})
    spec = ModelSpec(name="hub", backbone="hub:module", image_size=SIZE, value_range=(-1, 1))
    how = Train(epochs=1, patience=0, head={"hidden": [8], "activation": "tanh"})
    model = fit(spec, how, seed=1, data=data, folder=folder, workspace=folder / "model", listener=Silent())
    return model, data.rows("train")[:].astype(np.float32)


@pytest.fixture(scope="module")
def mobile(tmp_path_factory):
    _, keras = load()
    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25, input_shape=(SIZE, SIZE, 3))
    rng = np.random.default_rng(0)
    network.set_weights([w + rng.uniform(0, 0.2, w.shape) for w in network.get_weights()])  # norms must matter
    return network, *fit_module(network, tmp_path_factory.mktemp("hub"))


@pytest.mark.slow
def test_a_module_of_a_known_architecture_is_built_again(mobile):
    network, model, pictures = mobile
    described = read_json(model.network / "network.json")
    assert described["kind"] == "module" and described["gives"] == "values" and described["size"] == SIZE
    flat = network_loading.open_network(model, pictures)
    assert [layer.name for layer in flat.layers if network_loading.fixed(layer)] == ["preprocess"]
    assert not any(layer.trainable for layer in flat.layers if network_loading.fixed(layer))
    assert {"conv_dw_3", "conv_pw_13_bn", "pool", "hidden_1", "probabilities"} <= {layer.name for layer in flat.layers}
    expected = signature_answers(model.saved_model, model.input.name, model.answer, pictures)
    np.testing.assert_allclose(np.asarray(flat(pictures)), expected, atol=1e-5)
    kernel = flat.get_layer("conv_pw_13").get_weights()[0]
    np.testing.assert_array_equal(kernel, network.get_layer("conv_pw_13").get_weights()[0])


def slim(name: str) -> str:
    """Keras' name of one of MobileNet's variables as TF-Slim has it."""
    layer, part = name.removesuffix(":0").split("/")
    part = {"kernel": "weights", "depthwise_kernel": "depthwise_weights"}.get(part, part)
    norm, layer = layer.endswith("_bn"), layer.removesuffix("_bn")
    scope = "Conv2d_0" if layer == "conv1" else "Conv2d_{2}_{1}".format(*layer.split("_"))
    scope = scope.replace("dw", "depthwise").replace("pw", "pointwise")
    return f"module/MobilenetV1/{scope}/{'BatchNorm/' if norm else ''}{part}"


@pytest.mark.slow
@pytest.mark.parametrize("names", ["slim", "numbers"])
def test_variables_find_their_places_by_other_libraries_names_and_by_their_order(mobile, names):
    network, model, _ = mobile
    described, arrays = network_format.read_network(model.network)
    order = {name: number for number, name in enumerate(described["names"])}
    weights = [weight.name.removesuffix(":0") for weight in network.weights]
    if names == "slim":  # in the order of the alphabet, which is not the network's
        pairs = sorted((slim(name), order[name]) for name in weights)
    else:
        kinds = {"kernel": "weights", "depthwise_kernel": "weights", "gamma": "gamma", "beta": "beta",
                 "moving_mean": "mean", "moving_variance": "var"}  # fmt: skip
        pairs = [(f"layer/{kinds[name.split('/')[1]]}", order[name]) for name in weights]
    numbered = {f"{place:05d}": arrays[f"{old:05d}"] for place, (_, old) in enumerate(pairs)}
    renamed = {**described, "names": [name for name, _ in pairs]}
    rebuilt = next(rebuild(renamed, {**arrays, **numbered}))
    flat = network_loading.flatten(rebuilt)
    for layer in (layer for layer in network.layers if layer.weights):
        for weight, copied in zip(layer.get_weights(), flat.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(copied, weight)


@pytest.mark.slow
def test_a_module_whose_answers_do_not_agree_is_refused(mobile, tmp_path):
    _, model, pictures = mobile
    described, arrays = network_format.read_network(model.network)
    folder = tmp_path / "network"
    folder.mkdir()
    np.savez(folder / "weights.npz", **{name: -a if name.isdecimal() else a for name, a in arrays.items()})
    write_json(folder / "network.json", described)
    with pytest.raises(UnavailableNetworkError, match="does not agree"):
        network_loading.open_network(replace(model, network=folder), pictures)
    for change, why in (
        ({"gives": "probabilities"}, "its own classes"),
        ({"names": ["x/y"] * len(described["names"])}, "do not fit that architecture"),
    ):
        write_json(folder / "network.json", {**described, **change})
        with pytest.raises(UnavailableNetworkError, match=why):
            network_loading.open_network(replace(model, network=folder), pictures)


@pytest.mark.slow
def test_a_module_that_nobody_knows_is_refused_by_its_numbers(tmp_path):
    model, pictures = fit_module(small_network(), tmp_path)
    with pytest.raises(
        UnavailableNetworkError, match=r"its architecture is unknown \(25 variables, [\d,]+ parameters\)"
    ):
        network_loading.open_network(model, pictures)


@pytest.mark.slow
def test_the_tables_of_architectures_count_right():
    _, keras = load()
    for name in ("lite0", "lite2"):
        network = efficientnet_lite(name, 64)
        assert (len(network.weights), network.count_params()) == LITE[name].count
        learned = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights) + 1_281_000
        assert learned / 1e6 == pytest.approx(
            {"lite0": 4.7, "lite2": 6.1}[name], abs=0.05
        )  # as published, head and all
    assert len({lite.count for lite in LITE.values()}) == len(LITE)
    assert not {lite.count for lite in LITE.values()} & set(APPLICATIONS)
    count = (135, 218_544)
    name, options = APPLICATIONS[count]
    network = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(64, 64, 3), **options)
    assert (len(network.weights), network.count_params()) == count
