"""Training on texts from end to end, with real Hub SavedModels behind `hub.KerasLayer` and a model from scratch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.dataset import PreparedData, load_prepared, read_texts, save_prepared, write_texts
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.model import InputContract, Model, load_model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export, FineTune, ModelSpec, Train
from edgeproof.core.recipe_training import Augment
from edgeproof.core.tokenizer import open_tokenizer
from edgeproof.core.variant import Variant
from edgeproof.export import export
from edgeproof.frameworks.freeze import compare
from edgeproof.frameworks.saved_model import read
from edgeproof.frameworks.tensorflow import load
from edgeproof.train.text.fit import fit_text
from edgeproof.train.text.freeze import open_ids_model, run_texts

from ..support.text_answers import LENGTH, SCRATCH, TRAIN, WORDS, Heard, answers_of_file, encoded, run_file
from ..support.text_models import (  # fmt: skip
    bert_encoder,
    bert_preprocessor,
    counting_encoder,
    nnlm,
    sentence_encoder,
    sentences,
    word_encoder,
    word_encoder_v1,
)

pytestmark = pytest.mark.slow
LABELS = ("sport", "=money()")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the recipe stands: with the data, and with the models that somebody else has saved."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "data").mkdir()
    counts = {"train": 160, "validation": 40, "test": 60}
    for seed, (split, count) in enumerate(counts.items()):
        texts, labels = sentences(count, seed)
        write_texts(texts, folder / "data" / f"{split}.jsonl")
        np.save(folder / "data" / f"{split}-labels.npy", labels)
    data = PreparedData(folder / "data", "made up", LABELS, 0, 0, "", counts, "d" * 64, {}, "text")
    save_prepared(data, folder / "data")
    return folder


@pytest.fixture(scope="module")
def pair(root: Path) -> dict[str, str]:
    """An encoder and its preprocessor, as a recipe names them."""
    bert_encoder(root / "encoder", layers=2, penalty=1e-4)
    bert_preprocessor(root / "preprocessor", default_length=12)
    return {"backbone": "hub:encoder", "preprocessor": "hub:preprocessor"}


@pytest.fixture(scope="module")
def words(root: Path) -> str:
    """An encoder that looks words up."""
    word_encoder(root / "words", WORDS)
    return "hub:words"


@pytest.fixture(scope="module")
def counting(root: Path) -> str:
    """An encoder of strings that cannot be cut: no ids come out of its string part."""
    counting_encoder(root / "counting")
    return "hub:counting"


@pytest.fixture(scope="module")
def fit(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Model]:
    """Train a model on the made-up sentences; the same call is trained once, each in a workspace of its own."""
    done: dict[str, Model] = {}

    def train(train: Train = TRAIN, listener: Any = None, **keys: Any) -> Model:
        spec = ModelSpec.model_validate({"name": "m", "max_tokens": LENGTH, **keys})
        key = spec.model_dump_json() + train.model_dump_json()
        if key not in done:
            done[key] = fit_text(
                spec, train, seed=3, data=load_prepared(root / "data"), folder=root,
                workspace=tmp_path_factory.mktemp("model"), listener=listener or Silent(),
            )  # fmt: skip
        return done[key]

    return train


def check_both_paths(model: Model, root: Path) -> np.ndarray[Any, Any]:
    """The text through the string model, and its ids by the device tokenizer through the ids model: the same."""
    assert model.text_model is not None
    texts = [*read_texts(root / "data" / "test.jsonl"), "goal " * 40, "x", "Größe \N{GRINNING FACE} 3.50!"]
    strings = run_texts(model.text_model, texts)
    compare(strings, open_ids_model(model.saved_model)(*encoded(model, texts)), "test texts")
    return strings[:60]


def test_from_scratch_gives_an_ids_model_its_reference_and_its_tokenizer(fit: Callable[..., Model], root: Path) -> None:
    model = fit(**SCRATCH)
    workspace = model.saved_model.parent
    assert {p.name for p in workspace.iterdir()} == {
        "saved_model", "text_model", "tokenizer", "model.json", "work.json",
    }  # fmt: skip
    assert load_model(workspace) == model
    assert model.tokenizer is not None and model.tokenizer.kind == "wordpiece" and model.tokenizer.length == LENGTH
    size = open_tokenizer(model.tokenizer.folder).size
    assert model.input == InputContract(
        "ids", (1, LENGTH), dtype="int32", low=0, high=size - 1, colour="", resize="", kind="text", lengths="lens"
    )
    assert model.tokenizer.parity["same"] == model.tokenizer.parity["samples"] == 60
    right = check_both_paths(model, root).argmax(axis=1) == np.load(root / "data" / "test-labels.npy")
    assert right.mean() > 0.95
    assert model.metrics["val_loss"] == min(row["val_loss"] for row in model.history)
    assert model.provenance["learned"] == "all" and model.provenance["freeze_difference"] <= 1e-4


def test_the_ids_model_has_one_signature_of_named_inputs(fit: Callable[..., Model]) -> None:
    tf, _ = load()
    loaded = tf.saved_model.load(str(fit(**SCRATCH).saved_model))
    assert list(loaded.signatures) == ["serving_default"]
    serve = loaded.signatures["serving_default"]
    inputs = {name: (s.shape.as_list(), s.dtype) for name, s in serve.structured_input_signature[1].items()}
    assert inputs == {"ids": ([1, LENGTH], tf.int32), "lens": ([1], tf.int32)}
    assert serve.structured_outputs["probabilities"].shape.as_list() == [1, 2] and not serve.variables


def test_what_stands_behind_the_text_does_not_matter(fit: Callable[..., Model]) -> None:
    model = fit(**SCRATCH)
    infer = open_ids_model(model.saved_model)
    ids, lens = encoded(model, ["goal and coach", "bank"])
    changed = ids.copy()
    for row, count in zip(changed, lens, strict=True):
        row[count:] = 7
    np.testing.assert_array_equal(infer(ids, lens), infer(changed, lens))
    assert np.isfinite(infer(ids, np.zeros(2, np.int32))).all()


def test_golden_vectors_are_what_the_ids_model_answers(fit: Callable[..., Model]) -> None:
    model = fit(**SCRATCH)
    assert model.tokenizer is not None
    golden = json.loads((model.tokenizer.folder / "golden.json").read_text())
    assert tuple(golden["labels"]) == LABELS and len(golden["vectors"]) >= 10
    ids = np.array([vector["ids"] for vector in golden["vectors"]])
    answers = open_ids_model(model.saved_model)(ids, np.array([vector["count"] for vector in golden["vectors"]]))
    np.testing.assert_allclose(answers, [vector["probabilities"] for vector in golden["vectors"]], atol=1e-6)


def test_the_same_work_is_not_done_twice_and_other_work_gives_another_model(
    fit: Callable[..., Model], root: Path
) -> None:
    first = fit(**SCRATCH)
    assert fit(**SCRATCH, tokenizer="whitespace").sha256 != first.sha256
    heard = Heard()
    spec = ModelSpec.model_validate({"name": "m", "max_tokens": LENGTH, **SCRATCH})
    data = load_prepared(root / "data")
    workspace = first.saved_model.parent
    again = fit_text(spec, TRAIN, seed=3, data=data, folder=root, workspace=workspace, listener=heard)
    assert again == first and not heard.tasks


class Stopping(Heard):
    """Ends the work after three epochs, as an interruption does. What a real kill leaves is tested in `test_fit`."""

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        if task == "train" and done == 3:
            raise KeyboardInterrupt


def test_an_interrupted_training_goes_on_to_the_same_model_as_another_run(
    fit: Callable[..., Model], root: Path, tmp_path: Path
) -> None:
    spec, data = ModelSpec.model_validate({"name": "m", "max_tokens": LENGTH, **SCRATCH}), load_prepared(root / "data")
    with pytest.raises(KeyboardInterrupt):
        fit_text(spec, TRAIN, seed=3, data=data, folder=root, workspace=tmp_path, listener=Stopping())
    assert not (tmp_path / "model.json").exists()
    heard = Heard()
    model = fit_text(spec, TRAIN, seed=3, data=data, folder=root, workspace=tmp_path, listener=heard)
    assert any("resuming after epoch" in note for note in heard.notes)
    assert model.sha256 == fit(**SCRATCH).sha256 and model.history == fit(**SCRATCH).history


@pytest.mark.parametrize("variant", [*(f"tflite:{s}" for s in ("float32", "float16", "dynamic", "int8", "int16x8")),
                                     "onnx:float32"])  # fmt: skip
def test_every_scheme_of_the_small_model_answers_as_it_does(
    fit: Callable[..., Model], root: Path, tmp_path: Path, variant: str
) -> None:
    model = fit(**SCRATCH)
    ids, lens = encoded(model, read_texts(root / "data" / "train.jsonl")[:100])
    calibration = np.zeros(len(ids), [("ids", np.int32, (LENGTH,)), ("lens", np.int32)])
    calibration["ids"], calibration["lens"] = ids, lens
    np.save(tmp_path / "calibration.npy", calibration)
    artifact = export(
        model, Variant.parse(variant), options=Export(), folder=tmp_path, calibration=tmp_path / "calibration.npy"
    )
    assert artifact.status == "ok", artifact.reason
    ids, lens = encoded(model, read_texts(root / "data" / "test.jsonl"))
    answers = run_file(artifact.path, ids, lens)
    expected = open_ids_model(model.saved_model)(ids, lens)
    assert (answers.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.98


@pytest.mark.parametrize("parts", [True, False])
def test_a_pair_is_cut_between_preprocessor_and_encoder(
    fit: Callable[..., Model], root: Path, pair: dict[str, str], parts: bool
) -> None:
    if not parts:
        bert_preprocessor(root / "whole-preprocessor", parts=False, lower_case=False, default_length=12)
    model = fit(**pair if parts else pair | {"preprocessor": "whole-preprocessor"})
    assert model.tokenizer is not None
    # A preprocessor that shows its parts is asked for max_tokens; another one gives what it gives.
    assert model.input.shape == (1, LENGTH if parts else 12) and model.tokenizer.length == model.input.shape[1]
    assert model.provenance["tokenizer"]["lower_case"] is parts and model.provenance["learned"] == "head"
    assert model.tokenizer.parity["same"] == model.tokenizer.parity["samples"] == 60
    check_both_paths(model, root)


def test_the_ids_model_of_a_pair_converts_to_builtin_operators(
    fit: Callable[..., Model], root: Path, pair: dict[str, str], tmp_path: Path
) -> None:
    model = fit(**pair)
    ids, lens = encoded(model, read_texts(root / "data" / "test.jsonl")[:20])
    expected = open_ids_model(model.saved_model)(ids, lens)
    for variant in ("tflite:float32", "onnx:float32"):
        artifact = export(model, Variant.parse(variant), options=Export(), folder=tmp_path)
        assert artifact.status == "ok", artifact.reason
        np.testing.assert_allclose(run_file(artifact.path, ids, lens), expected, atol=1e-4)


def test_a_pair_can_be_fine_tuned_whole(fit: Callable[..., Model], root: Path, pair: dict[str, str]) -> None:
    how = TRAIN.model_copy(update={"patience": 0, "fine_tune": FineTune(epochs=20, learning_rate=3e-3)})
    model = fit(how, **pair, trainable=True)
    assert [row["phase"] for row in model.history] == [1] * 12 + [2] * 20
    # Of the training texts: the encoder's own dropout makes the loss of a dozen others a matter of chance.
    losses = [min(row["loss"] for row in model.history if row["phase"] == phase) for phase in (1, 2)]
    assert losses[1] < 0.9 * losses[0] and model.provenance["learned"] == "all"
    check_both_paths(model, root)


def test_an_output_that_is_no_vector_a_text_is_refused_by_name(fit: Callable[..., Model], pair: dict[str, str]) -> None:
    with pytest.raises(InputError, match="sequence_output"):
        fit(**pair, output="sequence_output")
    with pytest.raises(InputError) as caught:
        fit(**pair, output="nothing")
    assert "pooled_output" in caught.value.remedy
    with pytest.raises(InputError) as caught:
        fit(backbone=pair["backbone"])
    assert "preprocessor" in caught.value.remedy


def test_a_lookup_of_words_is_cut_and_equals_the_encoder(fit: Callable[..., Model], root: Path, words: str) -> None:
    tf, _ = load()
    model = fit(backbone=words)
    assert model.tokenizer is not None and model.tokenizer.kind == "words" and model.provenance["padded"]
    assert model.tokenizer.parity["same"] == model.tokenizer.parity["samples"] == 60
    check_both_paths(model, root)
    # The head on the encoder's own embeddings gives what the string model gives.
    encoder = tf.saved_model.load(str(root / "words"))
    assert model.text_model is not None
    kernel, bias = (v.numpy() for v in list(tf.saved_model.load(str(model.text_model)).keep)[-2:])
    texts = read_texts(root / "data" / "test.jsonl")
    expected = tf.nn.softmax(encoder(tf.constant(texts)).numpy() @ kernel + bias).numpy()
    np.testing.assert_allclose(run_texts(model.text_model, texts), expected, atol=1e-5)


@pytest.mark.parametrize("references", [pytest.param(False, marks=pytest.mark.thorough), True])
def test_an_encoder_in_the_tf1_hub_format_goes_the_same_way(
    fit: Callable[..., Model], root: Path, words: str, references: bool
) -> None:
    """Its table of words comes along, and nothing is left in the graph that only this process could fill."""
    name = f"words-v1-{references}"
    word_encoder_v1(root / name, WORDS, references=references)
    model = fit(backbone=f"hub:{name}")
    check_both_paths(model, root)
    graph = read(model.saved_model).main
    bodies = [graph.nodes, *(function.nodes for function in graph.functions.values())]
    assert not {"Variable", "VariableV2"} & {node.op for body in bodies for node in body}
    same = fit(backbone=words)  # the same words and weights
    arrays = encoded(model, ["a goal", "the bank profit"])
    np.testing.assert_allclose(
        open_ids_model(model.saved_model)(*arrays), open_ids_model(same.saved_model)(*arrays), atol=1e-4
    )
    with pytest.raises(InputError, match="TF1 Hub format"):
        fit(backbone=f"hub:{name}", trainable=True)


TRICKY = ["", "x", "Größe 12,5 €!", "goal, goal; (bank)", "the-market's 3.50 profit"]


def test_hashed_words_of_an_nnlm_are_cut_and_its_files_answer_as_the_encoder(
    fit: Callable[..., Model], root: Path, tmp_path: Path
) -> None:
    nnlm(root / "nnlm", WORDS)
    model = fit(backbone="hub:nnlm")
    assert model.tokenizer is not None and model.provenance["tokenizer"]["hash"]["kind"] == "fingerprint64"
    assert model.tokenizer.parity["same"] == 60 and model.text_model is not None
    texts = [*read_texts(root / "data" / "test.jsonl")[:20], *TRICKY]
    expected = run_texts(model.text_model, texts)
    for variant in ("tflite:float32", "tflite:dynamic", "onnx:float32"):
        answers = answers_of_file(model, variant, texts, tmp_path)
        np.testing.assert_allclose(answers, expected, atol=1e-4 if "dynamic" not in variant else 0.1, err_msg=variant)


def test_words_and_pairs_of_words_become_two_inputs_of_ids(
    fit: Callable[..., Model], root: Path, tmp_path: Path
) -> None:
    sentence_encoder(root / "sentences", WORDS)
    model = fit(backbone="hub:sentences")
    assert model.tokenizer is not None and model.tokenizer.parity["same"] == 60 and model.text_model is not None
    inputs = read(model.saved_model).signatures["serving_default"].inputs
    assert {name: tensor.shape for name, tensor in inputs.items()} == {
        "ids": (1, LENGTH), "lens": (1,), "ids_2": (1, LENGTH), "lens_2": (1,),
    }  # fmt: skip
    texts = [*read_texts(root / "data" / "test.jsonl")[:20], *TRICKY]
    expected = run_texts(model.text_model, texts)
    for variant in ("tflite:float32", "onnx:float32"):
        np.testing.assert_allclose(answers_of_file(model, variant, texts, tmp_path), expected, atol=1e-4)
    golden = json.loads((model.tokenizer.folder / "golden.json").read_text())["vectors"][0]
    assert len(golden["ids_2"]) == LENGTH and golden["count_2"] == max(0, golden["count"] - 1)


def test_ids_that_no_device_tokenizer_gives_come_from_the_encoders_own_operators(
    fit: Callable[..., Model], root: Path, tmp_path: Path
) -> None:
    heard = Heard()
    sentence_encoder(root / "odd", WORDS, odd=True)
    model = fit(backbone="hub:odd", listener=heard)
    assert model.tokenizer is not None and model.tokenizer.kind == "tensorflow"
    assert "UnsortedSegmentJoin" in model.provenance["tokenizer"]["why"]
    assert any("no tokenizer for devices" in note for note in heard.notes) and model.text_model is not None
    texts = [*read_texts(root / "data" / "test.jsonl")[:10], *TRICKY]
    answers = answers_of_file(model, "tflite:float32", texts, tmp_path)
    np.testing.assert_allclose(answers, run_texts(model.text_model, texts), atol=1e-4)


def test_what_is_fine_tuned_as_strings_is_cut_with_the_weights_it_ends_with(
    fit: Callable[..., Model], root: Path
) -> None:
    word_encoder(root / "words-hidden", WORDS, hidden=True)
    frozen, model = fit(backbone="hub:words-hidden"), fit(backbone="hub:words-hidden", trainable=True)
    assert model.metrics["val_loss"] < frozen.metrics["val_loss"] and model.provenance["learned"] == "all"
    check_both_paths(model, root)
    before, after = (open_ids_model(m.saved_model)(*encoded(m, ["goal bank"])) for m in (frozen, model))
    assert np.abs(before - after).max() > 1e-5


def test_an_encoder_that_cannot_be_cut_stays_a_model_of_strings_hashed_by_its_weights(
    fit: Callable[..., Model], counting: str, tmp_path: Path
) -> None:
    heard = Heard()
    model = fit(backbone=counting, listener=heard)
    assert model.tokenizer is None and model.text_model is None
    assert "no fixed input" in model.provenance["uncut"] or "no token ids" in model.provenance["uncut"]
    assert (model.input.dtype, model.input.shape, model.input.kind) == ("string", (1,), "text")
    assert any("cannot be cut" in note for note in heard.notes)
    np.testing.assert_allclose(run_texts(model.saved_model, ["a goal", "the bank"]).sum(axis=1), 1, atol=1e-5)
    artifact = export(model, Variant.parse("tflite:float32"), options=Export(), folder=tmp_path)
    assert artifact.status == "unsupported" and artifact.reason and artifact.remedy
    other = TRAIN.model_copy(update={"epochs": 2, "learning_rate": 1e-3})
    assert fit(backbone=counting, train=other).sha256 != model.sha256


def test_features_are_shared_between_seeds(fit: Callable[..., Model], words: str, root: Path, tmp_path: Path) -> None:
    spec = ModelSpec(name="m", backbone=words, max_tokens=LENGTH)
    data, heard = load_prepared(root / "data"), [Heard(), Heard()]
    first, second = (
        fit_text(
            spec, TRAIN, seed=seed, data=data, folder=root, workspace=tmp_path / f"ws{seed}", listener=listener,
            shared=tmp_path / "shared",
        )
        for seed, listener in zip((4, 3), heard, strict=True)
    )  # fmt: skip
    # Of each split: what is there already, and then a block that is computed. The second seed finds both splits done.
    assert [listener.tasks.count("features") for listener in heard] == [4, 2]
    assert first.sha256 != second.sha256 == fit(backbone=words).sha256  # seed 3 alone, without a shared folder


def test_data_and_settings_that_do_not_fit_are_refused(root: Path, tmp_path: Path) -> None:
    data = load_prepared(root / "data")
    spec = ModelSpec.model_validate({"name": "m", **SCRATCH})
    rest: dict[str, Any] = {"seed": 1, "folder": root, "workspace": tmp_path, "listener": Silent()}
    with pytest.raises(InputError, match="augment"):
        fit_text(spec, Train(augment=Augment(flip=True)), data=data, **rest)
    with pytest.raises(InputError, match="kind image"):
        fit_text(spec, TRAIN, data=replace(data, kind="image"), **rest)
    with pytest.raises(InputError, match="at least two classes"):
        fit_text(spec, TRAIN, data=replace(data, labels=("one",)), **rest)
    with pytest.raises(StageError, match="not a number"):
        fit_text(spec, Train(epochs=3, learning_rate=1e30, patience=0), data=data, **rest)


def test_a_finished_workspace_of_other_work_is_done_anew(
    root: Path, tmp_path: Path, fit: Callable[..., Model], counting: str
) -> None:
    workspace = tmp_path / "copy"
    shutil.copytree(fit(**SCRATCH).saved_model.parent, workspace)
    spec = ModelSpec(name="m", backbone=counting, max_tokens=LENGTH)
    data = load_prepared(root / "data")
    model = fit_text(spec, TRAIN, seed=3, data=data, folder=root, workspace=workspace, listener=Silent())
    assert model.sha256 == fit(backbone=counting).sha256  # as in a workspace of its own
    assert {p.name for p in workspace.iterdir()} == {"saved_model", "model.json", "work.json"}
