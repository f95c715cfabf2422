"""Text models' files for stock classifiers: inputs rewritten, tokenizers inside, and the real MediaPipe."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof import quantize
from edgeproof.core.artifact import Artifact, TensorSpec
from edgeproof.core.dataset import PreparedData, save_prepared, write_texts
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.model import InputContract
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export, ModelSpec, Train
from edgeproof.core.recipe_training import Augment
from edgeproof.core.tokenizer import Tokenizer, open_tokenizer
from edgeproof.core.variant import Variant
from edgeproof.export import export, place_tokenizer
from edgeproof.export.bundle.input_adapter import PADDING, Frame, for_masked, for_padded
from edgeproof.export.bundle.stock_tokenizers import VOCABULARY, bert_vocabulary, stock_tokenizer, surface_forms
from edgeproof.export.bundle.text import (
    classify_with_mediapipe,
    compare_with_mediapipe,
    text_bundle,
)
from edgeproof.export.bundle.text_parity import golden_texts
from edgeproof.tflite.metadata_append import read_files
from edgeproof.train.text.fit import fit_text
from edgeproof.train.text.vocabulary import write_tokenizer

from ..support.sentencepiece_models import sentencepiece_model
from ..support.text_models import sentences
from ..support.text_probe import probe, probe_artifact
from ..support.text_tokenizers import FOLDERS, LENGTH, ODD, noise, tokenizer_folder

needs_mediapipe = pytest.mark.skipif(find_spec("mediapipe") is None, reason="mediapipe is not installed")
LABELS = ("sport", '=mo"ney()\n\u2028')


def run(content: bytes, **feeds: Any) -> list[float]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    signature = interpreter.get_signature_runner(next(iter(interpreter.get_signature_list())))
    return next(iter(signature(**{name: np.asarray(feed, np.int32) for name, feed in feeds.items()}).values()))[
        0
    ].tolist()


def masked(tokens: Sequence[int], room: int, offset: int = 0) -> dict[str, Any]:
    ids, mask = np.full((1, room + 2), 77), np.zeros((1, room + 2))
    ids[0, 1 : 1 + len(tokens)] = np.asarray(tokens) - offset
    mask[0, : 2 + len(tokens)] = 1
    return {"ids": ids, "mask": mask, "segment_ids": np.zeros_like(mask)}


def padded(tokens: Sequence[int], room: int, offset: int = 0) -> dict[str, Any]:
    return {"ids": [[token - offset for token in tokens] + [PADDING] * (room - len(tokens))]}


# ---------------------------------------------------------------------------------------------------------- rewriting

some = st.integers(0, 2**20)
markers = st.one_of(st.none(), some)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(3, 12), some, markers, markers, st.integers(0, 1000))
def test_the_model_behind_is_fed_what_its_tokenizer_gives(
    data: Any, length: int, pad: int, start: int | None, end: int | None, offset: int
) -> None:
    frame = Frame("ids", "lens", length, pad, start, end, offset, "probabilities")
    tokens = data.draw(st.lists(st.integers(offset, offset + 2**20), max_size=frame.room))
    ids = [*([] if start is None else [start]), *tokens, *([] if end is None else [end])]
    expected = [float(n) for n in (len(ids), *ids, *[pad] * (length - len(ids)))]
    model = probe(length)
    assert run(model, ids=[expected[1:]], lens=[expected[0]]) == expected
    assert run(for_masked(model, frame), **masked(tokens, frame.room, offset)) == expected
    assert run(for_padded(model, frame), **padded(tokens, frame.room, offset)) == expected


def test_what_was_there_stays_and_what_is_new_is_old() -> None:
    from ai_edge_litert import schema_py_generated as schema

    model = probe(9)
    before: Any = schema.ModelT.InitFromPackedBuf(model, 0)
    written = for_masked(model, Frame("ids", "lens", 9, 5, 1, 2, 3))
    after: Any = schema.ModelT.InitFromPackedBuf(written, 0)
    assert {code.version for code in after.operatorCodes} == {1}
    old, new = before.subgraphs[0], after.subgraphs[0]
    tail = new.operators[-len(old.operators) :]
    kinds = [
        [m.operatorCodes[op.opcodeIndex].builtinCode for op in ops]
        for m, ops in ((before, old.operators), (after, tail))
    ]
    assert kinds[0] == kinds[1]
    weights = [bytes(bytearray(buffer.data)) for buffer in before.buffers[1:]]
    assert [bytes(bytearray(buffer.data)) for buffer in after.buffers[1 : 1 + len(weights)]] == weights
    places = {int(i) for op in new.operators for i in (*op.inputs, *op.outputs)} | {int(i) for i in new.inputs}
    assert places == set(range(len(new.tensors)))  # no tensor without a use
    names = [tensor.name for tensor in new.tensors]
    assert len(set(names)) == len(names) and [names[i] for i in new.inputs] == [b"ids", b"mask", b"segment_ids"]
    for number in range(len(after.buffers)):  # schema.fbs: force_align 16
        stored = schema.Model.GetRootAs(written, 0).Buffers(number)
        if not stored.DataIsNone():
            vector = stored._tab.Vector(stored._tab.Offset(4))
            assert vector % 16 == 0


def test_a_file_without_a_signature_is_known_by_its_tensors() -> None:
    frame = Frame("ids", "lens", 4)
    assert run(for_padded(probe(4, signature=False), frame), ids=[[7, 8, -1, -1]]) == [2, 7, 8, 0, 0]


@pytest.mark.parametrize(
    ("content", "frame", "words"),
    [
        (b"", Frame("ids", "lens", 4), "not a TFLite file"),
        (b"\0\0\0\0TFL3" + b"\xff" * 40, Frame("ids", "lens", 4), "holds no graph"),
        (b"\xff\xff\xff\x7fTFL3" + b"\xff" * 40, Frame("ids", "lens", 4), "damaged"),
        (probe(4), Frame("tokens", "lens", 4), "no input 'tokens'"),
        (probe(4), Frame("ids", "lens", 5), "expected (1, 5)"),
        (probe(4), Frame("lens", "ids", 4), "expected (1, 4)"),
        (probe(4), Frame("ids", "lens", 4, answer="logits"), "no output 'logits'"),
        (probe(4, output="INT64"), Frame("ids", "lens", 4), "int64"),
    ],
)
def test_other_files_are_refused(content: bytes, frame: Frame, words: str) -> None:
    for rewrite in (for_masked, for_padded):
        with pytest.raises(InputError) as refused:
            rewrite(content, frame)
        assert words in str(refused.value)


def fed(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[int]:
    """What the model is fed for tokens that somebody gave."""
    before, after = ([] if end is None else [end] for end in (tokenizer.start, tokenizer.end))
    room = tokenizer.length - len(before) - len(after)
    ids = [*before, *tokens[:room], *after]
    return [len(ids), *ids, *[tokenizer.pad] * (tokenizer.length - len(ids))]


@needs_mediapipe
@pytest.mark.slow
@pytest.mark.parametrize("kind", [*FOLDERS, "sentencepiece"])
def test_mediapipe_feeds_the_ids_that_we_say(kind: str, tmp_path: Path) -> None:
    folder = tokenizer_folder(kind, tmp_path / "tokenizer")
    tokenizer = open_tokenizer(folder)
    stock = stock_tokenizer(folder, tokenizer)
    file = text_bundle(probe_artifact(tmp_path, LENGTH), folder)
    texts = [text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for text in (*ODD, *noise(150))]
    # Prepared, both see the same; what a NUL hides is lost.
    prepared = [stock.prepare(text) for text in texts if "\0" not in text] if stock.prepare else []
    answers = classify_with_mediapipe(file.content, [*texts, *prepared])
    assert [label for _, label, _ in answers[0]] == [f"place {n}" for n in range(1 + LENGTH)]
    given = [[round(score) for _, _, score in answer] for answer in answers]
    others = [t for t, ids in zip(texts, given, strict=False) if ids != fed(tokenizer, stock.tokens(t))]
    # Its SentencePiece is of another version and breaks ties otherwise.
    assert others == [] if kind != "sentencepiece" else all(len(set(text.lower())) < 4 for text in others)
    own = [fed(tokenizer, tokenizer.tokens(text)) for text in texts if "\0" not in text]
    same = [ids == mine for ids, mine in zip(given[len(texts) :], own if prepared else [], strict=True)]
    assert np.mean(same or [1]) > (0.98 if kind != "hostile" else 0.9)


def test_every_id_of_a_vocabulary_is_its_line(tmp_path: Path) -> None:
    for kind in ("wordpiece", "bert", "cased", "shifted", "hostile"):
        tokenizer = open_tokenizer(tokenizer_folder(kind, tmp_path / kind))
        lines = bert_vocabulary(tokenizer).decode().split("\n")[:-1]
        assert len(set(lines)) == len(lines) and all(lines) and not any(line.endswith("\r") for line in lines)
        assert lines[tokenizer.unknown] == "[UNK]" and lines.count("[UNK]") == 1
        for number, token in enumerate(tokenizer.vocabulary, tokenizer.offset):
            assert lines[number] == token or token in ("[UNK]", "[CLS]", "[SEP]", "<unk>") or token.endswith("\r")


def test_words_are_known_however_they_are_written(tmp_path: Path) -> None:
    tokenizer = open_tokenizer(tokenizer_folder("whitespace", tmp_path / "t"))
    forms = surface_forms(tokenizer, lower_case=True)
    assert {"goal", "Goal", "GOAL", "don't", "Don't", "DON'T"} <= set(forms) and "gOAL" not in forms
    assert all(tokenizer.tokens(word) == [number] for word, number in forms.items())


def test_ids_far_from_the_vocabulary_are_refused_in_words(tmp_path: Path) -> None:
    for change in ({"unknown": 2**30}, {"offset": 2**30}):
        folder = tmp_path / "tokenizer"
        write_tokenizer(
            folder, {"kind": "wordpiece", "length": LENGTH, "unknown": 1, **change}, ["[PAD]", "[UNK]", "a"]
        )
        file = text_bundle(probe_artifact(tmp_path, LENGTH), folder)
        assert not file.content and not any(row["accepts"] for row in file.consumers)
        assert "leaves out more ids" in file.consumers[0]["why"]


# ------------------------------------------------------------------------------------------------------- bundled models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Two small models that learnt something, one for each tokenizer, exported."""
    root = tmp_path_factory.mktemp("bundle-text")
    counts = {"train": 96, "validation": 30, "test": 40}
    for seed, (split, count) in enumerate(counts.items()):
        texts, classes = sentences(count, seed)
        write_texts(texts, root / f"{split}.jsonl")
        np.save(root / f"{split}-labels.npy", classes)
    data = PreparedData(root, "made up", LABELS, 0, 0, "", counts, "d" * 64, {}, "text")
    save_prepared(data, root)
    artifacts: dict[str, Artifact] = {}
    for kind in ("wordpiece", "whitespace"):
        spec = ModelSpec.model_validate(
            {
                "name": f"{kind}-model", "backbone": "scratch:average-embedding", "max_tokens": LENGTH,
                "vocabulary": 120, "embedding": 8, "tokenizer": kind,
            }
        )  # fmt: skip
        train = Train(epochs=4, batch_size=16, learning_rate=3e-2, patience=4, augment=Augment())
        model = fit_text(spec, train, seed=3, data=data, folder=root, workspace=root / kind, listener=Silent())
        assert model.tokenizer is not None
        samples = quantize.draw(data, 20, 1, root / kind, model.tokenizer.folder).images
        folder = place_tokenizer(model, root)
        schemes = ("float32", "dynamic", "int8", "int8-int8io")
        for scheme in schemes if kind == "wordpiece" else ("int8",):
            variant = Variant("tflite", scheme)
            artifact = export(model, variant, options=Export(), folder=root, calibration=samples)
            assert artifact.status == "ok", artifact.reason
            artifacts[f"{kind}:{scheme}"] = replace(artifact, tokenizer=folder)
    return artifacts


@needs_mediapipe
@pytest.mark.slow
def test_a_stock_classifier_runs_each_file_and_answers_as_we_do(models: dict[str, Artifact]) -> None:
    for name, artifact in models.items():
        assert artifact.tokenizer is not None and artifact.path is not None
        before = artifact.path.read_bytes()
        file = text_bundle(artifact, artifact.tokenizer)
        assert artifact.path.read_bytes() == before
        assert file.name.endswith("--text-classifier.tflite") and "/" not in file.name
        assert all(row["accepts"] and row["why"] for row in file.consumers) and file.notes
        comparison = compare_with_mediapipe(file, artifact, artifact.tokenizer)
        texts = len(golden_texts(artifact.tokenizer))
        assert file.parity["texts"] == comparison["texts"] == texts > 20
        assert file.parity["same_tokens"] == texts and comparison["same_labels"] == texts, (name, comparison)
        assert comparison["largest_difference"] < 1e-4, name
    [answer] = classify_with_mediapipe(file.content, ["goal match coach team"])
    assert [label for _, label, _ in answer] == ["sport", '=mo"ney()  '] and answer[0][2] > 0.5


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tflite_runtime") is None, reason="tflite-runtime is not installed")
def test_an_old_runtime_runs_them_as_it_runs_the_model(models: dict[str, Artifact], tmp_path: Path) -> None:
    code = """
import json, sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
def run(path, feeds):
    interpreter = Interpreter(path)
    runner = interpreter.get_signature_runner(list(interpreter.get_signature_list())[0])
    return [runner(**{k: np.array(v, np.int32) for k, v in feed.items()}) for feed in feeds]
rows = []
for old, new, own, stock in json.load(open(sys.argv[1])):
    pairs = zip(run(old, own), run(new, stock))
    rows.append(max(float(np.abs(list(a.values())[0] - list(b.values())[0]).max()) for a, b in pairs))
print(json.dumps(rows))
"""
    asked = []
    for name in ("wordpiece:float32", "wordpiece:int8", "whitespace:int8"):
        artifact = models[name]
        assert artifact.tokenizer is not None
        tokenizer, path = open_tokenizer(artifact.tokenizer), tmp_path / f"{len(asked)}.tflite"
        path.write_bytes(text_bundle(artifact, artifact.tokenizer).content)
        pack = padded if name.startswith("white") else masked
        own, stock = [], []
        for text in golden_texts(artifact.tokenizer):
            ids, count = tokenizer.encode(text)
            own.append({"ids": [ids], "lens": [count]})
            feed = pack(tokenizer.tokens(text)[:LENGTH], LENGTH)
            stock.append({key: np.asarray(value).astype(int).tolist() for key, value in feed.items()})
        asked.append([str(artifact.path), str(path), own, stock])
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "asked.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert max(json.loads(done.stdout.splitlines()[-1])) < 1e-6


def test_what_they_do_not_take_is_said(tmp_path: Path) -> None:
    folder = tokenizer_folder("wordpiece", tmp_path / "tokenizer")
    good = probe_artifact(tmp_path, LENGTH)
    text = good.contract
    assert text is not None
    cases: list[tuple[Artifact, str]] = [
        (replace(good, format="onnx"), "onnx"),
        (good.failed("unsupported", "no integer kernel"), "no integer kernel"),
        (replace(good, contract=None), "does not"),
        (replace(good, contract=InputContract("image", (1, 8, 8, 3))), "they take texts"),
        (replace(good, contract=replace(text, dtype="string", lengths="")), "inside its graph"),
        (replace(good, tokenizer=None), "inside its graph"),
        (replace(good, outputs=(TensorSpec("probabilities", (1, 1), "float32"),), labels=("a", "b")), "one for 2"),
        (replace(good, answer="values"), "answers with numbers"),
    ]
    for artifact, words in cases:
        file = text_bundle(artifact, folder)
        assert not file.content and not file.name and not file.parity
        assert all(not row["accepts"] and words in row["why"] for row in file.consumers), words
        with pytest.raises(InputError):
            compare_with_mediapipe(file, artifact, folder)


def test_damaged_folders_and_files_are_told(tmp_path: Path) -> None:
    folder = tokenizer_folder("wordpiece", tmp_path / "tokenizer")
    good = probe_artifact(tmp_path, LENGTH)
    with pytest.raises(InputError, match="tokenizer"):
        text_bundle(good, tmp_path / "nowhere")
    with pytest.raises(InputError, match="its tokenizer gives 16"):
        text_bundle(probe_artifact(tmp_path, LENGTH + 1, "long"), folder)
    for golden in ("[]", '{"vectors": 3}', '{"vectors": [{"text": 3}]}', "{"):
        (folder / "golden.json").write_text(golden)
        with pytest.raises(InputError, match=r"golden\.json"):
            text_bundle(good, folder)
    texts = [text for text in ODD if text.isascii() or text.encode("utf-8", "ignore").decode() == text]
    assert len(texts) < len(ODD)  # JSON of ours holds no half of a surrogate pair
    (folder / "golden.json").write_text(json.dumps({"vectors": [{"text": text} for text in texts]}))
    file = text_bundle(good, folder)
    assert file.parity["texts"] == len(texts) and 0 < file.parity["same_tokens"] < len(texts)
    assert f"of {len(texts)} golden texts" in file.consumers[0]["why"]
    assert read_files(file.content)[VOCABULARY] == bert_vocabulary(open_tokenizer(folder))
    assert good.path is not None
    good.path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="not a TFLite file"):
        text_bundle(good, folder)


@needs_mediapipe
def test_a_refusal_of_mediapipe_comes_in_its_own_words() -> None:
    with pytest.raises(StageError, match="TextClassifier refuses the file: "):
        classify_with_mediapipe(probe(4), ["text"])


def test_sentencepiece_keeps_its_model_and_says_how_to_keep_capitals(tmp_path: Path) -> None:
    model = sentencepiece_model(
        [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("▁a", -1.0, 1), ("b", -2.0, 1), ("A", -2.0, 1)], {3: 1}, {1: "none"}
    )
    write_tokenizer(tmp_path, {"kind": "sentencepiece", "length": LENGTH, "start": 1}, model=model)
    stock = stock_tokenizer(tmp_path, open_tokenizer(tmp_path))
    # This one does not normalize: full-width letters would be unknown to it, so nothing is advised.
    assert stock.prepare is None and "full-width" not in stock.says[0]
    file = text_bundle(probe_artifact(tmp_path, LENGTH), tmp_path)
    assert read_files(file.content)["sentencepiece.model"] == model and file.parity["same_tokens_prepared"] is None


def test_labels_that_do_not_fit_are_left_out(tmp_path: Path) -> None:
    folder = tokenizer_folder("wordpiece", tmp_path / "tokenizer")
    file = text_bundle(probe_artifact(tmp_path, LENGTH, labels=("one",)), folder)
    assert set(read_files(file.content)) == {VOCABULARY}
    assert TensorSpec("probabilities", (1, 17), "float32") in probe_artifact(tmp_path, LENGTH).outputs
