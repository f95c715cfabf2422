"""Further training of a small model: what it starts from, what it must not change, and what comes out as a file."""

import math
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core import extras
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.model import InputContract, load_model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe_quantize import Quantize
from edgeproof.frameworks import tensorflow
from edgeproof.frameworks.freeze import graph_sha256
from edgeproof.quantize.aware_training import (
    fake_quant_ranges,
    layers,
    network_loading,
    qat,
    tflite_eval,
    train_further,
    training,
)
from edgeproof.quantize.aware_training.frozen_head import cut_head, signature_answers
from edgeproof.quantize.aware_training.hub_networks import UnavailableNetworkError
from edgeproof.quantize.aware_training.training_data import Split, TrainingData, prepare_training_data

from ..support.aware_training_models import LABELS, SIZE, Heard, fitted, make_data, small_network

QUICK = Quantize.model_validate(
    {
        "qat": {"epochs": 1, "frozen_epochs": 1, "learning_rate": 1e-4, "batch_size": 16},
        "prune": {"sparsity": 0.6, "epochs": 2, "learning_rate": 1e-3, "batch_size": 16},
        "cluster": {"clusters": 8, "epochs": 1, "learning_rate": 1e-3, "batch_size": 16},
    }
)
# Each phase of quantization-aware training is a graph of its own to build, which is most of the time.
ONE_PHASE = QUICK.model_copy(update={"qat": QUICK.qat.model_copy(update={"frozen_epochs": 0})})


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("small"))


def test_a_separable_convolution_beside_layers_with_keras_own_names_is_quantized():
    _, keras = tensorflow.load()
    keras.backend.clear_session()  # as in a new process: Keras has given out no name yet
    given = {"padding": "same", "use_bias": False}
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, name="conv2d", **given)(image)
    y = keras.layers.SeparableConv2D(4, 3, name="separable_conv2d", **given)(x)
    y = keras.layers.DepthwiseConv2D(3, name="depthwise_conv2d_1", **given)(y)
    y = keras.layers.Conv2D(4, 1, name="conv2d_1", **given)(y)
    network = keras.Model(image, keras.layers.Add(name="add")([x, y]))
    keras.backend.clear_session()

    def alarm(number, frame):
        raise TimeoutError("TFMOT does not come to an end")

    before = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(120)
    try:
        fake = qat.quantize(network)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert fake.layers == (5, 5)  # the separable one is two now


def further(small, kind, workspace, settings=QUICK, **changes):
    given = {"data": small.data, "calibration": None, "seed": 5, "listener": Silent()} | changes
    return train_further(given.pop("model", small.model), kind, settings, workspace=workspace, **given)


def pixels(small, split="validation"):
    return small.data.rows(split)[:].astype(np.float32)


def network_of(small):
    return network_loading.open_network(small.model, pixels(small)[:4])


def answers(model, values):
    return signature_answers(model.saved_model, model.input.name, model.answer, values)


@pytest.fixture(scope="module")
def quantized(small, tmp_path_factory):
    workspace, heard = tmp_path_factory.mktemp("qat"), Heard()
    return further(small, "qat", workspace, listener=heard), workspace, heard


@pytest.mark.slow
def test_fit_keeps_the_network_it_froze(small):
    model = small.model
    assert load_model(model.saved_model.parent).network == model.network
    assert {part.name for part in model.network.iterdir()} == {"network.json", "weights.npz"}
    assert graph_sha256(model.saved_model, model.labels) == model.sha256
    network = network_of(small)
    np.testing.assert_allclose(np.asarray(network(pixels(small))), answers(model, pixels(small)), atol=1e-6)
    assert (np.asarray(network(pixels(small))).argmax(1) == np.load(small.data.targets("validation"))).mean() > 0.8


@pytest.mark.slow
def test_a_network_that_is_not_the_frozen_one_is_refused(small, tmp_path):
    folder = tmp_path / "network"
    folder.mkdir()
    (folder / "network.json").write_bytes((small.model.network / "network.json").read_bytes())
    with np.load(small.model.network / "weights.npz") as file:
        np.savez(folder / "weights.npz", **{name: file[name] * 1.05 for name in file.files})
    with pytest.raises(UnavailableNetworkError, match="does not agree"):
        network_loading.open_network(replace(small.model, network=folder), pixels(small)[:4])


@pytest.mark.slow
def test_models_inside_models_are_taken_apart():
    network = small_network(nested=True)
    flat = network_loading.flatten(network)
    names = [layer.name for layer in flat.layers]
    assert "middle" not in names and not any("dropout" in name for name in names) and "depthwise" in names
    values = np.random.default_rng(0).uniform(0, 255, (3, SIZE, SIZE, 3)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(flat(values)), np.asarray(network(values)), atol=1e-6)


@pytest.mark.slow
def test_equal_channels_and_folded_norms_leave_the_answers_as_they_are(small):
    values = pixels(small)
    network = network_of(small)
    before = np.asarray(network(values))
    folded = layers.fold_norms(network)
    assert not [layer for layer in folded.layers if "Normalization" in type(layer).__name__]
    np.testing.assert_allclose(np.asarray(folded(values)), before, atol=1e-5)
    assert layers.equalize_channels(network) == 1
    largest = np.abs(network.get_layer("depthwise").get_weights()[0]).max(axis=(0, 1, 3))
    np.testing.assert_allclose(largest, 1, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(network(values)), before, atol=1e-5)


@pytest.mark.slow
def test_a_quantized_network_starts_calibrated_and_not_at_chance(small):
    values, labels = pixels(small), np.load(small.data.targets("validation"))
    network = network_of(small)
    float_ = np.asarray(network(values))
    fake = qat.quantize(network)
    assert fake.layers == (7, 7)  # with the pixels' scaling
    with fake_quant_ranges.observe(fake.network):
        np.testing.assert_allclose(np.asarray(fake.network(values)), float_, atol=1e-5)
    loose = np.asarray(fake.network(values))
    fake_quant_ranges.calibrate(fake.network, pixels(small, "train"))
    tight = np.asarray(fake.network(values))
    assert np.abs(tight - float_).mean() < 0.5 * np.abs(loose - float_).mean()
    assert (tight.argmax(1) == float_.argmax(1)).mean() > 0.9 > (loose.argmax(1) == labels).mean()


@pytest.mark.slow
def test_quantization_aware_training_gives_integer_files_that_answer_as_float(small, quantized):
    tf, _ = tensorflow.load()
    model, workspace, heard = quantized
    assert {part.name for part in workspace.iterdir()} == {"saved_model", "model.json", "work.json"}
    assert load_model(workspace) == model
    facts = model.tuning
    assert (facts["kind"], facts["of"], facts["head_only"]) == ("qat", small.model.sha256, False)
    assert facts["layers"] == {"quantized": 7, "total": 7}
    assert [row["epoch"] for row in facts["history"]] == [0, 1, 2]
    assert facts["history"][0]["val_agreement"] > 0.9  # calibrated
    assert model.sha256 != small.model.sha256 and (model.name, model.labels) == ("small", LABELS)
    content = tflite_eval.convert(model.saved_model, quantized=True)
    outputs = tflite_eval.run(content, np.load(small.data.images("validation")), model.input, workspace / "x")
    assert not outputs.float_operators
    best = facts["history"][facts["best_epoch"]]
    expected = answers(small.model, pixels(small)).argmax(1)
    assert (outputs.values.argmax(1) == expected).mean() == pytest.approx(best["val_agreement"]) and expected.any()
    converter = tf.lite.TFLiteConverter.from_saved_model(str(model.saved_model))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    from ai_edge_litert.interpreter import Interpreter

    edges = Interpreter(model_content=converter.convert())
    assert edges.get_input_details()[0]["dtype"] == np.int8 == edges.get_output_details()[0]["dtype"]
    assert edges.get_input_details()[0]["quantization"] == (1.0, -128)  # whole numbers of 0–255, without loss
    assert heard.tasks[-1] == ("tune qat", 3, 3)


@pytest.mark.slow
def test_a_head_with_hidden_layers_is_trained_further_with_the_rest(small, tmp_path):
    deep = fitted(tmp_path, small, head={"hidden": [12], "dropout": 0.1})
    assert {"hidden_1", "probabilities"} <= {layer.name for layer in network_of(deep).layers}
    opened = cut_head(deep.model)
    assert opened.kernel.shape == (12, len(LABELS)), "what is cut off is the last of the dense layers"
    expected = answers(deep.model, pixels(deep)).argmax(1)
    for kind, layers_ in (("qat", 8), ("pruned", None)):
        model = further(deep, kind, tmp_path / kind, ONE_PHASE)
        assert model.tuning["head_only"] is False
        if layers_:
            assert model.tuning["layers"] == {"quantized": layers_, "total": layers_}
        assert (answers(model, pixels(deep)).argmax(1) == expected).mean() > 0.8


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_a_killed_training_goes_on(small, quantized, tmp_path, monkeypatch):
    model, _, heard = quantized
    real, calls = training.score, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(qat, "score", dies)
    with pytest.raises(KeyboardInterrupt):
        further(small, "qat", tmp_path)
    monkeypatch.setattr(qat, "score", real)
    heard = Heard()
    again = further(small, "qat", tmp_path, listener=heard)
    assert any("resuming after epoch 1" in message for _, message in heard.notes)
    assert again.sha256 == model.sha256
    assert {k: v for k, v in again.tuning.items() if k != "seconds"} == {
        k: v for k, v in model.tuning.items() if k != "seconds"
    }
    resumed = Heard()
    assert further(small, "qat", tmp_path, listener=resumed) == again and not resumed.tasks  # done already


@pytest.mark.slow
def test_batch_norm_learns_in_phase_one_and_is_frozen_in_phase_two(small, tmp_path):
    training_data = prepare_training_data(
        small.model, small.data, epochs=2, samples=48, seed=1, calibration=None, scratch=tmp_path
    )
    fake = qat.quantize(network_of(small)).network
    fake_quant_ranges.calibrate(fake, pixels(small, "train"))
    with_norms, without = qat.variables_by_phase(fake)
    norms = [layer.layer for layer in fake.layers if "bn" in layer.name]
    seen = []

    def judge():
        seen.append([[w.copy() for w in norm.get_weights()] for norm in norms])
        return {"score": float(len(seen))}

    plan = training.Plan((training.Phase(1, with_norms), training.Phase(1, without)), 1e-3, 16, 1.0)
    kernel = fake.get_layer("quant_top").layer
    before = [v.numpy() for v in without]
    training.train(training.Trainable(fake, judge), plan, training_data, checkpoint=tmp_path / "c.npz", task="t",
                   listener=Silent())  # fmt: skip
    start, one, two = seen
    for first, second, third in zip(start, one, two, strict=True):
        gamma, beta, mean, variance = range(4)
        assert (first[gamma] != second[gamma]).any() and (first[beta] != second[beta]).any()
        assert all((second[part] == third[part]).all() for part in range(4))
        assert (first[mean] == second[mean]).all() and (first[variance] == second[variance]).all()
    assert any((a != b.numpy()).any() for a, b in zip(before, without, strict=True)) and kernel is not None


@pytest.mark.slow
@pytest.mark.parametrize("scores, stopped, best", [((5, 4, 3, 2, 1), 3, 0), ((1, 2, 3, 2, 1), 5, 2)])
def test_training_stops_early_and_the_best_epoch_stays(scores, stopped, best, tmp_path):
    _, keras = tensorflow.load()
    values = keras.Input((4,))
    network = keras.Model(values, keras.layers.Dense(2, activation="softmax")(values))
    rng, contract = np.random.default_rng(0), InputContract("x", (1, 4), kind="tensor")
    split = Split(rng.normal(size=(8, 4)), np.arange(8) % 2, np.full((8, 2), 0.5, np.float32), contract)
    orders = [rng.permutation(8) for _ in range(4)]
    weights = []

    def judge():
        weights.append(network.get_weights()[0])
        return {"score": float(scores[len(weights) - 1])}

    plan = training.Plan((training.Phase(4, network.trainable_weights),), 0.1, 4, 0.5, patience=2)
    state = training.train(training.Trainable(network, judge), plan, TrainingData(split, split, orders, split.stored),
                           checkpoint=tmp_path / "c.npz", task="t", listener=Silent())  # fmt: skip
    assert len(weights) == stopped and state.best_epoch == best
    assert (network.get_weights()[0] == weights[best]).all()


def test_a_score_weighs_labels_and_float_answers_as_the_loss_does():
    values, float_ = np.eye(3)[[0, 1, 2, 0]], np.array([[1, 0, 0], [0, 1, 0], [0, 0.5, 0.5], [0.2, 0.8, 0]])
    row = training.score(values, np.array([0, 1, 2, 2]), float_, 0.25)
    likeness = (1 + 1 + 0.5 + 0.2) / 4
    assert row == {"val_accuracy": 0.75, "val_agreement": 0.5, "score": 0.25 * likeness + 0.75 * 0.75}
    assert training.score(values[:0], np.zeros(0, int), float_[:0], 0.5) == {}


def kernels_in(content):
    """The constant float tensors of a file with four or two dimensions: weights."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    written = {index for op in interpreter._get_ops_details() for index in op["outputs"]}
    inputs = {detail["index"] for detail in interpreter.get_input_details()}
    kernels = [
        interpreter.get_tensor(t["index"])
        for t in interpreter.get_tensor_details()
        if t["index"] not in written | inputs and len(t["shape"]) in (2, 4) and t["dtype"] in (np.float32, np.int8)
    ]
    return {tensor.shape: tensor for tensor in kernels}


@pytest.mark.slow
def test_pruned_files_hold_the_zeros_that_were_asked_for(small, tmp_path):
    model = further(small, "pruned", tmp_path)
    facts = model.tuning
    assert facts["sparsity"] == 0.6 and facts["zero_weights"] >= 0.6 * facts["pruned_weights"] - 4
    assert facts["layers"]["total"] == 7 and facts["layers"]["pruned"] == 4
    for quantized in (False, True):  # as float32 and as dynamic
        kernels = kernels_in(tflite_eval.convert(model.saved_model, quantized=quantized))
        for shape in ((16, 1, 1, 8), (8, 1, 1, 16), (32, 3, 3, 8), (3, 32)):
            assert (kernels[shape] == 0).sum() >= math.floor(0.6 * math.prod(shape)), shape
        assert (kernels[(1, 3, 3, 16)] == 0).mean() < 0.2 > (kernels[(8, 3, 3, 3)] == 0).mean()
    right = answers(model, pixels(small)).argmax(1) == np.load(small.data.targets("validation"))
    assert right.mean() > 0.5


@pytest.mark.slow
def test_clustered_files_hold_as_few_values_as_were_asked_for(small, tmp_path):
    model = further(small, "clustered", tmp_path)
    facts = model.tuning
    assert facts["clusters"] == 8 and facts["distinct_values"] <= 8 and facts["layers"]["clustered"] == 3
    kernels = kernels_in(tflite_eval.convert(model.saved_model, quantized=False))
    for shape in ((16, 1, 1, 8), (8, 1, 1, 16), (32, 3, 3, 8)):
        assert 2 <= len(np.unique(kernels[shape])) <= 8
    assert len(np.unique(kernels[(1, 3, 3, 16)])) > 100  # depthwise: left alone
    right = answers(model, pixels(small)).argmax(1) == np.load(small.data.targets("validation"))
    assert right.mean() > 0.6


@pytest.mark.slow
def test_of_a_network_that_is_not_known_only_the_head_is_trained(small, tmp_path):
    unknown = replace(small.model, network=None, provenance={"not_kept": "it came as a graph"})
    heard = Heard()
    model = further(small, "qat", tmp_path / "a", model=unknown, listener=heard)
    assert model.tuning["head_only"] is True and model.tuning["why"] == "it came as a graph"
    assert any("training of the head only" in message for _, message in heard.notes)
    assert model.tuning["history"][0]["val_agreement"] > 0.9
    before, after = cut_head(small.model), cut_head(model)
    assert (before.kernel != after.kernel).any()
    steps = after.kernel / (np.abs(after.kernel).max(axis=0) / 127)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)  # the weights are what eight bits have
    images = pixels(small, "train")[:30]
    samples = ({model.input.name: one[None]} for one in images)
    content = tflite_eval.convert(model.saved_model, quantized=True, samples=lambda: samples)
    outputs = tflite_eval.run(content, np.load(small.data.images("validation")), model.input, tmp_path / "x")
    assert (outputs.values.argmax(1) == answers(small.model, pixels(small)).argmax(1)).mean() > 0.9
    for kind in ("pruned", "clustered"):
        with pytest.raises(StageError, match=r"cannot be pruned or clustered: it came as a graph"):
            further(small, kind, tmp_path / kind, model=unknown)


@pytest.mark.slow
def test_a_layer_that_cannot_be_quantized_is_named(small):
    _, keras = tensorflow.load()
    image = keras.Input((8, 8, 3))
    network = keras.Model(image, keras.layers.ELU(name="odd")(keras.layers.Conv2D(4, 3)(image)))
    with pytest.raises(UnavailableNetworkError, match=r"no quantization for layer 'odd' \(ELU\)"):
        qat.quantize(network)


@pytest.mark.slow
def test_a_file_that_takes_its_interpreter_down_ends_no_training(small, tmp_path, monkeypatch):
    with pytest.raises(tflite_eval.CrashError):
        tflite_eval.run(b"not a file", np.zeros((1, 2)), InputContract("x", (1, 2), kind="tensor"), tmp_path)
    heard, network = Heard(), network_of(small)

    def crash(*_):
        raise tflite_eval.CrashError("signal 11")

    monkeypatch.setattr(qat, "run", crash)
    labels = np.load(small.data.targets("validation"))
    split = Split(
        np.load(small.data.images("validation")), labels, np.asarray(network(pixels(small))), small.model.input
    )
    judge = qat.file_evaluator(
        lambda values: network(values, training=False), small.model, split, 1.0, scratch=tmp_path, listener=heard,
        spare=split.stored, before=lambda: None,
    )  # fmt: skip
    row = judge()
    assert row["val_agreement"] == 1.0 and row["converted"] == 0.0
    assert heard.notes == [
        ("warning", f"{qat.TASK}: the converted file could not be run, its network is evaluated: signal 11")
    ]


def test_what_cannot_be_trained_is_told_before_anything_starts(small, tmp_path, monkeypatch):
    text = replace(small.model, input=InputContract("ids", (1, 8), "int32", kind="text", lengths="lens"))
    with pytest.raises(StageError, match="takes texts") as raised:
        further(small, "qat", tmp_path, model=text)
    assert "tflite:dynamic" in raised.value.remedy
    with pytest.raises(InputError, match="unknown further training 'qaat'"):
        further(small, "qaat", tmp_path)
    with pytest.raises(InputError, match=r"already trained further \(qat\)"):
        further(small, "pruned", tmp_path, model=replace(small.model, tuning={"kind": "qat"}))
    with pytest.raises(InputError, match="labels"):
        further(small, "qat", tmp_path, data=replace(small.data, labels=("a", "b")))
    (tmp_path / "one").mkdir()
    none = make_data(tmp_path / "one", {"validation": 3, "train": 3})
    with pytest.raises(InputError, match="no training samples"):
        further(small, "qat", tmp_path, data=replace(none, counts={"validation": 3}))
    monkeypatch.setattr(extras, "find_spec", lambda name: None if "optimization" in name else object())
    with pytest.raises(InputError, match="tensorflow_model_optimization") as missing:
        further(small, "qat", tmp_path)
    assert missing.value.remedy == "pip install 'edgeproof[quantize]'"
    assert not (tmp_path / "model.json").exists() and not Path(tmp_path / "scratch").exists()
