"""Training from end to end on small real data: the frozen model, both phases, and runs killed in the middle."""

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.codec import read_json
from edgeproof.core.dataset import PreparedData, save_prepared
from edgeproof.core.decode import decode
from edgeproof.core.encoded_images import EncodedImages, EncodedWriter
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.model import InputContract, load_model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import FineTune, ModelSpec, Train
from edgeproof.core.recipe_training import Augment
from edgeproof.core.sample_files import SampleFile
from edgeproof.frameworks.freeze import freeze, graph_sha256, verify
from edgeproof.frameworks.tensorflow import fresh, load
from edgeproof.train import feature_file
from edgeproof.train import workspace as workspaces
from edgeproof.train.backbones import build_base
from edgeproof.train.finetune import training_batches, unfreeze
from edgeproof.train.fit import fit
from edgeproof.train.head import new_head
from edgeproof.train.network import attach_head
from edgeproof.train.source import ImageRequest

SIZE = 32
PIECE = 40  # samples between two writes of features: a kill is to come between two
LABELS = ("disc", "=cmd()", "../stripes")
SPEC = ModelSpec(name="m", backbone="package:mobilenet_v2", image_size=SIZE)
SMALL = ModelSpec(name="m", backbone="keras:MobileNet", weights="none", alpha=0.25, image_size=SIZE)
FULL = Train(
    epochs=4,
    batch_size=16,
    learning_rate=3e-3,
    patience=0,
    tensorboard=True,
    augment=Augment(flip=True, shift=0.1, brightness=0.2, views=2),
    fine_tune=FineTune(layers=3, epochs=2, learning_rate=1e-4),
)


class Heard(Silent):
    def __init__(self):
        self.tasks, self.notes = [], []

    def progress(self, task, done, total, note=""):
        self.tasks.append((task, done, total))

    def note(self, level, message, **facts):
        self.notes.append(message)


def picture(kind: int, rng: np.random.Generator) -> np.ndarray:
    """A disc, a square or stripes, anywhere, in any colour, on noise."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    cx, cy, r = *rng.uniform(10, 22, 2), rng.uniform(5, 9)
    shapes = (
        (x - cx) ** 2 + (y - cy) ** 2 < r**2,
        np.maximum(abs(x - cx), abs(y - cy)) < r,
        np.sin(x * rng.uniform(0.8, 1.2) + cy) > 0,
    )
    image = rng.uniform(0, 60, (SIZE, SIZE, 3)) + shapes[kind][..., None] * rng.uniform(80, 190, 3)
    return image.astype(np.uint8)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> PreparedData:
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(4)
    counts = {"train": 90, "validation": 30, "test": 60}
    for split, count in counts.items():
        labels = np.arange(count) % 3  # in the order of their classes' numbers, as a folder would give them
        np.save(folder / f"{split}.npy", np.stack([picture(int(kind), rng) for kind in np.sort(labels)]))
        np.save(folder / f"{split}-labels.npy", np.sort(labels).astype(np.int64))
    prepared = PreparedData(folder, "made up", LABELS, SIZE, SIZE, "stretch", counts, "d" * 64)
    save_prepared(prepared, folder)
    return prepared


def train(data, workspace, spec=SPEC, how=FULL, listener=None):
    with pytest.MonkeyPatch.context() as patch:  # batches of another size round otherwise on some processors
        patch.setattr(feature_file, "BLOCK", PIECE)
        return fit(spec, how, seed=3, data=data, folder=Path(), workspace=workspace, listener=listener or Silent())


@pytest.fixture(scope="session")
def fitted(data, tmp_path_factory):
    workspace, heard = tmp_path_factory.mktemp("fitted"), Heard()
    return train(data, workspace, listener=heard), workspace, heard


@pytest.fixture(scope="session")
def small(data, tmp_path_factory):
    """As `fitted`, of a network that is built, trained and frozen in a third of the time."""
    workspace = tmp_path_factory.mktemp("small")
    return train(data, workspace, spec=SMALL), workspace


@pytest.mark.slow
def test_the_result_is_one_frozen_model_with_all_that_is_to_be_known_of_it(fitted, data):
    model, workspace, _ = fitted
    names = {p.name for p in workspace.iterdir()}
    assert names == {"saved_model", "model.json", "network", "tensorboard", "work.json"}
    assert load_model(workspace) == model
    assert model.labels == LABELS and model.input == InputContract("image", (1, SIZE, SIZE, 3))
    assert [(r["phase"], r["epoch"]) for r in model.history] == [(1, n) for n in (1, 2, 3, 4)] + [(2, 1), (2, 2)]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} < model.history[0].keys()
    assert model.metrics["val_loss"] == min(r["val_loss"] for r in model.history)
    assert model.metrics["val_samples"] == 30 and model.metrics["epochs"] == 6
    provenance = model.provenance
    assert (provenance["seed"], provenance["preprocessing"], provenance["features_engine"]) == (3, "torch", "keras")
    # MobileNetV2's, our fixed 1×1 convolution's, the head's
    assert provenance["parameters"] == 2_257_984 + 12 + 1280 * 3 + 3
    assert provenance["data"]["sha256"] == data.sha256 and provenance["packages"]["tf-keras"]


@pytest.mark.slow
def test_the_saved_model_answers_by_its_signature_and_has_learned(fitted, data):
    tf, _ = load()
    model, _, _ = fitted
    assert list(tf.saved_model.load(str(model.saved_model)).signatures) == ["serving_default"]
    serve = tf.saved_model.load(str(model.saved_model)).signatures["serving_default"]
    (name, spec) = next(iter(serve.structured_input_signature[1].items()))
    assert (name, spec.shape.as_list(), spec.dtype) == ("image", [1, SIZE, SIZE, 3], tf.float32)
    out = serve.structured_outputs["probabilities"]
    assert (out.shape.as_list(), out.dtype) == ([1, 3], tf.float32)
    assert not serve.variables
    images, labels = np.load(data.images("test")), np.load(data.targets("test"))
    answers = np.concatenate([serve(tf.constant(i[None], tf.float32))["probabilities"].numpy() for i in images])
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    assert (answers.argmax(axis=1) == labels).mean() > 0.7
    assert graph_sha256(model.saved_model, model.labels) == model.sha256
    assert graph_sha256(model.saved_model, ("other", *LABELS[1:])) != model.sha256


@pytest.mark.slow
def test_progress_is_told_from_nothing_to_all(fitted):
    _, _, heard = fitted
    for task, total in {"features": 2 * 90 + 30, "train head": 4, "fine-tune": 2}.items():
        steps = [(done, of) for name, done, of in heard.tasks if name == task]
        assert steps[0][0] == 0 and steps[-1] == (total, total)
        assert steps == sorted(steps)


@pytest.mark.slow
def test_tensorboard_can_read_the_logs(fitted):
    from tensorflow.core.util import event_pb2

    tf, _ = load()
    model, workspace, _ = fitted
    tags = {}
    root = workspace / "tensorboard"
    for file in (path for path in root.rglob("*") if path.is_file()):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                if value.tag.startswith("epoch_"):
                    key = str(file.parent.relative_to(root)), value.tag, event.step
                    tags[key] = float(tf.make_ndarray(value.tensor))
    assert tags["phase-2/validation", "epoch_loss", 1] == pytest.approx(model.history[-1]["val_loss"])
    assert tags["phase-1/train", "epoch_accuracy", 0] == pytest.approx(model.history[0]["accuracy"])
    assert sum("phase-1/train" in key for key in tags) == 4 * 2


@pytest.mark.slow
def test_finished_work_is_returned_at_once_and_other_work_is_done_anew(small, data, tmp_path):
    first, before = small
    workspace = tmp_path / "w"
    shutil.copytree(before, workspace)
    heard = Heard()
    again = train(data, workspace, spec=SMALL, listener=heard)
    assert replace(again, saved_model=first.saved_model, network=first.network) == first
    assert not heard.tasks
    other = train(data, workspace, spec=SMALL, how=Train(epochs=2, batch_size=16), listener=heard)
    assert other.sha256 != first.sha256 and len(other.history) == 2
    assert load_model(workspace) == other
    assert not (workspace / "tensorboard").exists()


KILLED = """
import json, os, signal, sys
from pathlib import Path
from edgeproof.core.dataset import load_prepared
from edgeproof.core.recipe import ModelSpec, Train
from edgeproof.train import feature_file, fit as module

data, workspace, spec, train = sys.argv[1:]
feature_file.BLOCK = 40

class Listener:
    def progress(self, name, done, total, note=""):
        if name == "fine-tune" and done >= 1:
            os.kill(os.getpid(), signal.SIGKILL)
    def note(self, level, message, **facts):
        pass

module.fit(ModelSpec(**json.loads(spec)), Train(**json.loads(train)), seed=3,
           data=load_prepared(Path(data)), folder=Path(), workspace=Path(workspace), listener=Listener())
"""


class Stopping(Silent):
    """Ends the work in the middle of the features."""

    def progress(self, task, done, total, note=""):
        if task == "features" and done >= 130:
            raise KeyboardInterrupt


def interrupted(*arguments):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_model(small, data, tmp_path, monkeypatch):
    """By a signal that no code of ours hears while it fine-tunes; where less lies on the disk, by an exception."""
    reference, _ = small
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path, spec=SMALL, listener=Stopping())
    arguments = [str(data.folder), str(tmp_path), SMALL.model_dump_json(), FULL.model_dump_json()]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with monkeypatch.context() as patch:
        patch.setattr(workspaces, "save_model", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path, spec=SMALL)
    assert (tmp_path / "scratch" / "features-train-1.npy").is_file()
    heard = Heard()
    done = train(data, tmp_path, spec=SMALL, listener=heard)
    assert "fine-tune: resuming after epoch 2" in heard.notes
    assert done.history == reference.history and done.sha256 == reference.sha256
    assert not (tmp_path / "scratch").exists()


def test_the_top_layers_that_learn_are_counted_without_batch_norms():
    _, keras = fresh(1)
    base = build_base(SMALL, ImageRequest(Path()))
    names = lambda variables: [v.name.split("/")[0] for v in variables]  # noqa: E731
    assert unfreeze(base, 0) == []
    assert names(unfreeze(base, 3)) == ["conv_pw_12", "conv_dw_13", "conv_pw_13"]
    everything = unfreeze(base, 10_000)
    assert len(everything) == 27  # MobileNet's convolutions
    assert not any(layer.trainable for layer in base.layers if isinstance(layer, keras.layers.BatchNormalization))
    assert unfreeze(base, 0) == [] and not base.model.trainable_weights


def test_a_pass_of_phase_two_sees_every_image_once():
    images = np.arange(23, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    weights = np.arange(23, dtype=np.float32) / 2
    for augment in (Augment(), Augment(flip=True)):
        spec = Train(batch_size=8, augment=augment)
        batches = list(training_batches(images, np.arange(23), spec, weights, 1, range(4, 6)))
        assert [len(y) for _, y, _ in batches] == [8, 8, 7] * 2
        labels = np.concatenate([y.numpy() for _, y, _ in batches])
        for epoch in (labels[:23], labels[23:]):
            assert sorted(epoch) == list(range(23)) and epoch.tolist() != list(range(23))
        assert labels[:23].tolist() != labels[23:].tolist()
        values = np.concatenate([x.numpy()[:, 0, 0, 0] for x, _, _ in batches])
        np.testing.assert_allclose(values, labels, atol=1e-3)
        np.testing.assert_array_equal(np.concatenate([w.numpy() for _, _, w in batches]), labels / 2)
        again = next(iter(training_batches(images, np.arange(23), spec, weights, 1, range(5, 6))))
        np.testing.assert_array_equal(again[1].numpy(), batches[3][1].numpy())


def test_a_frozen_model_that_differs_does_not_pass(tmp_path):
    fresh(1)
    base = build_base(SMALL, ImageRequest(Path()))
    model = attach_head(base, new_head(base.features, 3, Train(), 1))
    samples = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)
    saved = freeze(model, LABELS, InputContract("image", (1, SIZE, SIZE, 3)), tmp_path / "saved_model")
    assert verify(saved, model, samples) < 1e-5
    model.get_layer("probabilities").bias.assign([0.1, 0.0, 0.0])
    with pytest.raises(StageError, match="differ"):
        verify(saved, model, samples)
    with pytest.raises(StageError, match="contract"):
        freeze(model, (*LABELS, "one more"), InputContract("image", (1, SIZE, SIZE, 3)), tmp_path / "other")


def test_data_that_do_not_fit_are_told_before_anything_starts(data, tmp_path):
    heard = Heard()
    cases = (
        (ModelSpec(name="m", backbone="package:mobilenet_v2", image_size=64), data, "prepared as 32×32"),
        (SPEC, replace(data, labels=("one",)), "at least two classes"),
        (SPEC, replace(data, counts={"train": 0}), "no training images"),
    )
    for spec, given, message in cases:
        with pytest.raises(InputError, match=message):
            train(given, tmp_path / "w", spec=spec, listener=heard)
    assert not (tmp_path / "w").exists() and not heard.tasks


@pytest.mark.slow
def test_without_validation_the_last_weights_are_kept(data, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for path in data.folder.glob("train*"):
        (folder / path.name).symlink_to(path)
    heard = Heard()
    bare = replace(data, folder=folder, counts={"train": 90}, sha256="e" * 64)
    how = Train(epochs=2, class_weights=True, mixed_precision=True)
    model = train(bare, tmp_path / "w", spec=SMALL, how=how, listener=heard)
    assert len(model.history) == 2 and "val_loss" not in model.history[0]
    assert model.metrics == {"val_samples": 0, "epochs": 2}
    assert any("no validation" in note for note in heard.notes) and any("no GPU" in note for note in heard.notes)
    assert read_json(tmp_path / "w" / "model.json")["metrics"] == {"val_samples": 0, "epochs": 2}


@pytest.fixture
def encoded(data, tmp_path):
    """The same training images, as PNG files."""
    folder, root = tmp_path / "encoded", (tmp_path / "images").resolve()
    folder.mkdir()
    root.mkdir()
    with EncodedWriter(folder, "train") as writer:
        for number, row in enumerate(np.load(data.images("train"))):
            file = SampleFile(str(root / f"{number}.png"), str(root))
            Image.fromarray(row).save(file.path)
            writer.append([(file, decode(file, size=SIZE, resize="stretch", max_pixels=10**6))])
    for path in (*data.folder.glob("*-labels.npy"), data.images("validation"), data.images("test")):
        (folder / path.name).symlink_to(path)
    prepared = replace(data, folder=folder)
    save_prepared(prepared, folder)
    return prepared


class Removing(Heard):
    """Takes a file away when fine-tuning begins."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def progress(self, task, done, total, note=""):
        super().progress(task, done, total)
        if task == "fine-tune" and self.path.exists():
            self.path.rename(self.path.with_suffix(".away"))


@pytest.mark.slow
def test_a_file_that_is_missing_is_named_and_with_it_the_model_is_the_same(encoded, small, tmp_path):
    rows = encoded.rows("train")
    assert isinstance(rows, EncodedImages)
    lost = Path(rows.file(7).path)
    with pytest.raises(InputError, match=r"7\.png cannot be read any more: the file does not exist"):
        train(encoded, tmp_path / "w", spec=SMALL, listener=Removing(lost))
    lost.with_suffix(".away").rename(lost)
    again = Heard()
    model = train(encoded, tmp_path / "w", spec=SMALL, listener=again)
    assert "resuming interrupted training" in again.notes
    assert (model.sha256, model.metrics) == (small[0].sha256, small[0].metrics)
