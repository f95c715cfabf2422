"""Hub image modules in training: a frozen module with a head, fine-tuning, the interruption in between, and export."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.dataset import PreparedData
from edgeproof.core.errors import InputError
from edgeproof.core.model import Model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export, FineTune
from edgeproof.core.variant import Variant
from edgeproof.export import export
from edgeproof.frameworks.tensorflow import fresh
from edgeproof.train import feature_pass
from edgeproof.train import fit as fitting
from edgeproof.train.backbones import build_base, check_backbone
from edgeproof.train.fit import fit
from edgeproof.train.hub.module import Module
from edgeproof.train.source import ImageRequest

from ..support.hub_modules import (
    FAST,
    LABELS,
    LONG,
    SIZE,
    Heard,
    answers,
    called,
    spec,
    tf1_module,
    tf2_module,
)

# --- training -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(4)
    counts = {"train": 60, "validation": 24, "test": 24}
    tints = np.array([[1.3, 0.1, 0.1], [0.1, 1.3, 0.1], [0.1, 0.1, 1.3]])
    for split, count in counts.items():
        labels = np.sort(np.arange(count) % 3)
        images = rng.uniform(0, 160, (count, SIZE, SIZE, 3)) * tints[labels][:, None, None] + 40
        np.save(folder / f"{split}.npy", images.astype(np.uint8))
        np.save(folder / f"{split}-labels.npy", labels.astype(np.int64))
    return PreparedData(folder, "made up", LABELS, SIZE, SIZE, "stretch", counts, "d" * 64)


def trained(spec_, data, workspace, how=FAST, **others):
    listener = others.pop("listener", Silent())
    return fit(spec_, how, seed=3, data=data, folder=Path(), workspace=workspace, listener=listener, **others)


@pytest.fixture(scope="module")
def learned(modules, data, tmp_path_factory):
    """A module with a head that has learnt, trained when it is first asked for."""
    models = {}

    def get(name, maker=tf2_module, **options):
        if name not in models:
            chosen = spec(modules(name, maker, **options))
            models[name] = trained(chosen, data, tmp_path_factory.mktemp(name), how=LONG)
        return models[name]

    return get


@pytest.mark.slow
def test_a_frozen_module_gets_a_head_and_the_same_seed_the_same_model(learned, modules, data, tmp_path):
    model = learned("features")
    assert model.metrics["val_accuracy"] > 0.9 and len(model.history) == LONG.epochs
    assert model.provenance["module"]["gives"] == "values" and model.provenance["features_engine"] == "keras"
    images, labels = np.load(data.images("validation")), np.load(data.targets("validation"))
    assert (answers(model, images).argmax(1) == labels).mean() == pytest.approx(model.metrics["val_accuracy"])
    assert trained(spec(modules("features")), data, tmp_path / "b", how=LONG).sha256 == model.sha256
    assert learned("probabilities", gives="probabilities").sha256 != model.sha256


@pytest.mark.slow
def test_a_saved_model_of_ones_own_is_trained_on_like_a_hub_module(learned, modules, data, tmp_path):
    """``file:`` with the range that ``hub:`` assumes: the same network, trained the same way."""
    own = spec(modules("features"), backbone=f"file:{modules('features')}", value_range=(0.0, 1.0))
    check_backbone(own, folder=Path())
    model = trained(own, data, tmp_path / "w", how=LONG)
    images = np.load(data.images("test"))
    np.testing.assert_allclose(answers(model, images), answers(learned("features"), images), atol=1e-5)


@dataclass
class Tuned:
    """A module that was trained as a whole: the model, the phase that moved it, and its weights before that."""

    model: Model
    base: Any
    phase: Any
    start: list[np.ndarray]


TUNE = FAST.model_copy(update={"fine_tune": FineTune(epochs=2, learning_rate=0.05)})


@pytest.fixture(scope="module")
def tuned(modules, data, tmp_path_factory):
    real, seen = fitting.fine_tune_phase, {}

    def watched(base, *arguments, **named):
        phase = real(base, *arguments, **named)
        seen.update(base=base, phase=phase, start=[v.numpy().copy() for v in phase.model.weights])
        return phase

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "fine_tune_phase", watched)
        model = trained(spec(modules("features"), trainable=True), data, tmp_path_factory.mktemp("tuned"), how=TUNE)
    return Tuned(model, **seen)


@pytest.mark.slow
def test_trainable_moves_the_modules_variables_and_its_regularization_counts(tuned, data):
    model, weights = tuned.model, tuned.phase.model.weights
    assert [row["phase"] for row in model.history] == [1, 1, 2, 2]
    layer = tuned.base.whole_layers[0]
    assert {v.name for v in layer.trainable_weights} == {"first:0", "second:0", "gamma:0", "beta:0"}
    (loss,) = layer.losses
    kernel = next(v for v in layer.trainable_weights if v.name == "first:0").numpy()
    assert float(loss) == pytest.approx(0.25 * (kernel**2).sum(), rel=1e-4)
    names = [v.name for v in weights]
    assert {"mean:0", "variance:0"} <= set(names), "running statistics belong into the checkpoint"
    moved = {n: np.abs(v.numpy() - s).max() for n, v, s in zip(names, weights, tuned.start, strict=True)}
    if model.history[-1]["val_loss"] == model.metrics["val_loss"]:
        assert all(moved[name] > 0 for name in ("first:0", "second:0", "mean:0"))
    frozen = answers(model, np.load(data.images("test")))
    assert np.isfinite(frozen).all()


@pytest.mark.slow
def test_regularization_alone_shrinks_what_it_regularizes(modules, data):
    """With no weight on any sample, what moves is what the module's own losses ask for."""
    from edgeproof.train.finetune import fine_tune_phase
    from edgeproof.train.head import new_head

    fresh(1)
    base = build_base(spec(modules("features"), trainable=True), ImageRequest(Path()))
    images, labels = data.rows("train")[:], np.load(data.targets("train"))
    how = FAST.model_copy(update={"fine_tune": FineTune(epochs=2, learning_rate=1e-3)})
    head = new_head(base.features, 3, how, 1)
    phase = fine_tune_phase(
        base, head, (images, images[:0]), (labels, labels[:0]), how, np.zeros(3, np.float32), seed=1, mixed=False,
    )  # fmt: skip
    before = {v.name: v.numpy().copy() for v in phase.model.weights}
    phase.model.fit(phase.batches(1), verbose=0)
    after = {v.name: v.numpy() for v in phase.model.weights}
    assert np.abs(after["first:0"]).sum() < np.abs(before["first:0"]).sum()
    np.testing.assert_array_equal(after["second:0"], before["second:0"])
    assert np.abs(after["mean:0"] - before["mean:0"]).max() > 0, "in training mode, batch norm keeps its statistics"


class Stopping(Silent):
    """Ends the work when fine-tuning has begun, as an interruption does. `test_fit` has what a real kill leaves."""

    def progress(self, task, done, total, note=""):
        if task == "fine-tune" and done >= 1:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_fine_tuning_that_was_interrupted_goes_on_to_the_same_model(tuned, modules, data, tmp_path):
    chosen, heard = spec(modules("features"), trainable=True), Heard()
    with pytest.raises(KeyboardInterrupt):
        trained(chosen, data, tmp_path, how=TUNE, listener=Stopping())
    done = trained(chosen, data, tmp_path, how=TUNE, listener=heard)
    assert any("resuming after epoch 1" in note for note in heard.notes)
    assert done.history == tuned.model.history and done.sha256 == tuned.model.sha256


@pytest.mark.slow
def test_its_own_head_is_measured_and_frozen_but_not_trained(modules, data, tmp_path):
    heard = Heard()
    five = replace(data, labels=("a", "b", "c", "d", "e"))
    own = spec(modules("logits", gives="logits"), head="own")
    model = trained(own, five, tmp_path / "w", listener=heard)
    assert model.history == [] and model.metrics["val_samples"] == 24 and model.metrics["epochs"] == 0
    images = np.load(data.images("validation"))
    logits = called(modules("logits"), images / 255.0).numpy()
    expected = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(answers(model, images), expected / expected.sum(1, keepdims=True), atol=1e-4)
    right = (logits.argmax(1) == np.load(data.targets("validation"))).mean()
    assert model.metrics["val_accuracy"] == pytest.approx(right) and "train head" not in heard.tasks
    with pytest.raises(InputError, match="5 classes of its own, the data have 3"):
        trained(own, data, tmp_path / "x")


@pytest.mark.slow
def test_features_are_computed_once_for_all_seeds(modules, data, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    computed, once = [], data.counts["train"] + data.counts["validation"]
    real = feature_pass.compute

    def counted(extract, *arguments, **named):
        def compute(pixels):
            computed.append(len(pixels))
            return extract.compute(pixels)

        return real(replace(extract, compute=compute), *arguments, **named)

    monkeypatch.setattr(feature_pass, "compute", counted)
    shared, alone = tmp_path / "shared", []
    for seed in (3, 4):
        model = fit(
            spec(modules("features")), FAST, seed=seed, data=data, folder=Path(), workspace=tmp_path / str(seed),
            listener=Silent(), shared=shared,
        )  # fmt: skip
        alone.append(model)
    assert sum(computed) == once and alone[0].sha256 != alone[1].sha256
    assert alone[1].provenance["features_engine"] == "keras"
    assert trained(spec(modules("features")), data, tmp_path / "plain").sha256 == alone[0].sha256
    trained(spec(modules("features"), value_range=(-1, 1)), data, tmp_path / "other", shared=shared)
    assert sum(computed) == 3 * once


@pytest.mark.slow
def test_layers_of_keras_models_do_not_concern_a_module(modules, data, tmp_path):
    heard = Heard()
    how = FAST.model_copy(update={"fine_tune": FineTune(layers=5), "mixed_precision": True})
    model = trained(spec(modules("features")), data, tmp_path / "w", how=how, listener=heard)
    assert {row["phase"] for row in model.history} == {1}
    assert any("trainable = true" in note for note in heard.notes)


# --- export ---------------------------------------------------------------------------------------------------------


def run_file(path, images):
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        return np.concatenate([session.run(None, {"image": i[None].astype(np.float32)})[0] for i in images])
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    rows = []
    for image in images:
        interpreter.set_tensor(source, image[None].astype(np.float32))
        interpreter.invoke()
        rows.append(interpreter.get_tensor(target))
    return np.concatenate(rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "maker", "options"),
    [
        ("features", tf2_module, {}),
        ("probabilities", tf2_module, {"gives": "probabilities"}),
        ("tf1", tf1_module, {}),
        ("tf1-references", tf1_module, {"references": True}),
    ],
)
def test_every_kind_of_module_exports_and_answers_like_the_frozen_model(
    learned, data, tmp_path, module, maker, options
):
    model = learned(module, maker, **options)
    images = np.load(data.images("test"))
    expected = answers(model, images)
    np.save(tmp_path / "calibration.npy", data.rows("train")[:])
    variants = [("tflite:float32", 1e-4), ("onnx:float32", 1e-4), ("tflite:int8", 0.15)]
    for variant, tolerance in variants[: 1 if module == "tf1-references" else 3]:
        artifact = export(
            model, Variant.parse(variant), options=Export(), folder=tmp_path,
            calibration=tmp_path / "calibration.npy",
        )  # fmt: skip
        assert artifact.status == "ok", f"{variant}: {artifact.reason}"
        outputs = run_file(artifact.path, images)
        assert np.abs(outputs - expected).max() < tolerance, variant
        assert (outputs.argmax(1) == expected.argmax(1)).mean() > 0.9


def test_a_module_is_loaded_through_keras_layer(modules):
    import tensorflow_hub as hub

    assert isinstance(Module(spec(modules("features")), modules("features")).layer, hub.KerasLayer)
