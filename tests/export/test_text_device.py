"""A text model from export to measurement: its files tokenize, infer and answer as the string model does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproof import quantize
from edgeproof.core.artifact import Artifact
from edgeproof.core.dataset import PreparedData, write_texts
from edgeproof.core.errors import InputError
from edgeproof.core.measurement import Measurement
from edgeproof.core.model import InputContract, Model, TokenizerRecord, tokenizer_sha256
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Evaluate, Export
from edgeproof.core.runner import Runner
from edgeproof.core.store import Store
from edgeproof.core.target import Target
from edgeproof.core.tokenizer import open_tokenizer
from edgeproof.core.variant import SCHEMES, Variant
from edgeproof.devices import open_runner
from edgeproof.devices.remedies import explain
from edgeproof.devices.runtimes import installed_versions
from edgeproof.evaluate.measure import measure
from edgeproof.export import export, load, place_tokenizer, tflite
from edgeproof.export import reference as float_artifact

from ..support.serving import served

pytestmark = pytest.mark.slow
LENGTH, LABELS = 12, ("bad", "good", "so-so")
WORDS = ["[PAD]", "[UNK]", "film", "bad", "good", "awful", "fine", "é", "шум", "\N{GRINNING FACE}", "the", "so"]
TEXTS = [
    "good film", "", "the film so bad", "  \t awful\nfilm ", "fine é шум", "\N{GRINNING FACE} good", "never seen",
    '"quoted" \\ text', "so " * 40, "good \u2028 film", "\x00 film", "the the the bad bad good",
]  # fmt: skip
READERS = {"litert": "tflite", "tflite-runtime": "tflite", "onnxruntime": "onnx", "tensorflow": "savedmodel"}


@dataclass(frozen=True)
class Text:
    """A text model, its data, and an artifact for each variant that could be made."""

    model: Model
    data: PreparedData
    folder: Path
    files: dict[str, Artifact]


def networks(folder: Path) -> None:
    """Save one network twice: behind token ids, and behind TensorFlow Text's tokenizer."""
    import tensorflow as tf
    import tensorflow_text

    random = np.random.default_rng(2)
    table, weights = random.normal(size=(len(WORDS), 32)), random.normal(size=(32, 40))
    last = random.normal(size=(40, len(LABELS)))
    table, weights, last = (tf.constant(array, tf.float32) for array in (table, weights, last))

    def answer(ids: Any, lens: Any) -> Any:
        mask = tf.cast(tf.range(LENGTH)[None] < lens[:, None], tf.float32)[..., None]
        mean = tf.reduce_sum(tf.gather(table, ids) * mask, axis=1) / LENGTH
        return {"probabilities": tf.nn.softmax(tf.matmul(tf.nn.relu(tf.matmul(mean, weights)), last))}

    keys = tf.lookup.KeyValueTensorInitializer(tf.constant(WORDS), tf.range(len(WORDS)))
    # Two modules: the files' one must not hold the table, which has no TFLite kernel.
    module, ids_module = tf.Module(), tf.Module()
    module.lookup = tf.lookup.StaticHashTable(keys, WORDS.index("[UNK]"))
    tokenizer = tensorflow_text.WhitespaceTokenizer()

    def from_text(text: Any) -> Any:
        words = tokenizer.tokenize(text)[:, :LENGTH]
        ids = module.lookup.lookup(words.to_tensor(default_value="[PAD]", shape=(1, LENGTH)))
        return answer(ids, tf.cast(words.row_lengths(), tf.int32))

    # The order of arguments is not the order of names.
    lens, ids = tf.TensorSpec((1,), tf.int32, name="lens"), tf.TensorSpec((1, LENGTH), tf.int32, name="ids")
    ids_module.serve = tf.function(lambda lens, ids: answer(ids, lens), input_signature=[lens, ids], autograph=False)
    text = tf.TensorSpec((1,), tf.string, name="text")
    module.serve = tf.function(from_text, input_signature=[text], autograph=False)
    tf.saved_model.save(ids_module, str(folder / "saved_model"), signatures={"serving_default": ids_module.serve})
    tf.saved_model.save(module, str(folder / "text_model"), signatures={"serving_default": module.serve})


def write_tokenizer(folder: Path, length: int = LENGTH) -> Path:
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    settings = {"version": 1, "kind": "whitespace", "file": "vocab.txt", "length": length, "pad": 0, "unknown": 1,
                "start": None, "end": None, "lower_case": False, "normalize": "", "offset": 0}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    (folder / "golden.json").write_text("[]")
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    pytest.importorskip("tensorflow_text")
    folder = tmp_path_factory.mktemp("text")
    networks(folder / "model")
    tokenizer = write_tokenizer(folder / "model" / "tokenizer")
    record = TokenizerRecord(tokenizer, "whitespace", LENGTH, tokenizer_sha256(tokenizer))
    contract = InputContract("ids", (1, LENGTH), "int32", 0, len(WORDS) - 1, "", "", "text", "lens")
    model = Model(
        "words", "scratch:average-embedding", folder / "model" / "saved_model", "0" * 64, LABELS, contract, 1.0,
        text_model=folder / "model" / "text_model", tokenizer=record,
    )  # fmt: skip
    data = PreparedData(folder, "mine", LABELS, 0, 0, "", {"train": 36, "test": len(TEXTS)}, "b" * 64, kind="text")
    write_texts(TEXTS, data.inputs("test"))
    np.save(data.targets("test"), np.arange(len(TEXTS)) % 3)
    write_texts([f"{text} {turn}" for text in TEXTS for turn in range(3)], data.inputs("train"))
    np.save(data.targets("train"), np.arange(36) % 3)
    drawn = quantize.draw(data, 12, 1, folder, record.folder)
    variants = [Variant(f, s) for f, schemes in SCHEMES.items() if f != "savedmodel" for s in schemes]
    files = {
        str(v): export(model, v, options=Export(), folder=folder / "out", calibration=drawn.images) for v in variants
    }
    place_tokenizer(model, folder / "out")
    return Text(model, data, folder, {**files, "savedmodel:float32": float_artifact(model)})


def runner(artifact: Artifact, runtime: str) -> Runner:
    if not installed_versions()[runtime]:
        pytest.skip(f"{runtime} is not installed in this Python")
    return open_runner(artifact, Target("local", runtime), timeout_seconds=120)


def answers(run: Runner, inputs: Path, folder: Path, start: int = 0, stop: int = len(TEXTS)) -> NDArray[np.float32]:
    outcome = run.infer(inputs, folder / "answers.npy", start, stop)
    assert outcome.ok, outcome.reason
    values: NDArray[np.float32] = np.load(folder / "answers.npy")
    return values


def test_every_variant_is_a_file_or_a_row_with_a_reason(text: Text) -> None:
    for name, artifact in text.files.items():
        scheme = artifact.variant.scheme
        refused = name == "tflite:int16x8" or scheme.training or scheme.searched  # which take more than an export
        assert (artifact.status == "ok") == (not refused), (name, artifact.reason)
        if artifact.format != "savedmodel" and artifact.status == "ok":
            assert {(i.name, i.shape, i.dtype) for i in artifact.inputs} == {
                ("ids", (1, LENGTH), "int32"),
                ("lens", (1,), "int32"),
            }
            assert [o.name for o in artifact.outputs] == ["probabilities"]
            assert artifact.tokenizer == text.folder / "out" / "words.tokenizer" and artifact.contract
            assert artifact.tokenizer_sha256 == tokenizer_sha256(artifact.tokenizer)
            assert artifact.contract.lengths == "lens"
    wide = text.files["tflite:int16x8"]
    assert "integers, such as token ids" in wide.reason and wide.remedy and len(wide.reason) < 400


@pytest.fixture(scope="module")
def reference(text: Text) -> NDArray[np.float32]:
    """The string model's answers to the test texts."""
    return answers(runner(text.files["savedmodel:float32"], "tensorflow"), text.data.inputs("test"), text.folder)


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime", "onnxruntime"])
def test_a_file_answers_texts_as_the_string_model_does(
    text: Text, reference: NDArray[np.float32], tmp_path: Path, runtime: str
) -> None:
    inputs = text.data.inputs("test")
    assert reference.shape == (len(TEXTS), 3) and np.ptp(reference, axis=0).min() > 0.1
    run = runner(text.files[f"{READERS[runtime]}:float32"], runtime)
    np.testing.assert_allclose(answers(run, inputs, tmp_path), reference, atol=1e-5)
    np.testing.assert_array_equal(answers(run, inputs, tmp_path, 3, 7), answers(run, inputs, tmp_path)[3:7])


@pytest.mark.parametrize("variant", ["tflite:int8", "tflite:int8-int8io", "tflite:int8-uint8io", "tflite:float16"])
def test_quantized_files_run_or_say_why(text: Text, variant: str) -> None:
    for runtime in ("litert", "tflite-runtime"):
        outcome = runner(text.files[variant], runtime).load(text.data.inputs("test"))
        assert outcome.ok or (outcome.reason and outcome.remedy), outcome
        assert outcome.ok or runtime == "tflite-runtime"


@pytest.mark.parametrize("runtime", READERS)
def test_latency_is_split_where_the_device_tokenizes(text: Text, runtime: str) -> None:
    run = runner(text.files[f"{READERS[runtime]}:float32"], runtime)
    with served(run, text.data.inputs("test")) as server:
        opened = server.ask({"do": "open"})
        timed = server.ask({"do": "burst", "runs": 7, "sample": 1})
    assert timed.ok, timed.reason
    runs = timed.data["runs_ms"]
    assert len(runs) == 7 and all(t > 0 for t in runs)
    if runtime == "tensorflow":
        assert "tokenize_ms" not in timed.data, "it tokenizes inside the graph"
        return
    assert 0 < opened.data["tokenizer_ms"] < opened.data["load_ms"]
    tokenize, infer = timed.data["tokenize_ms"], timed.data["infer_ms"]
    assert len(tokenize) == len(infer) == len(runs) and min(tokenize) > 0 and min(infer) > 0
    np.testing.assert_allclose(np.add(tokenize, infer), runs, atol=1e-4)


def test_a_run_measures_files_against_the_string_model(text: Text, tmp_path: Path) -> None:
    names = ["savedmodel:float32", "tflite:float32", "onnx:float32"]
    runtimes = ("tensorflow", "litert", "onnxruntime")
    runners = [runner(text.files[n], r) for n, r in zip(names, runtimes, strict=True)]
    rows: dict[str, Measurement] = {}

    def keep(row: Measurement) -> None:
        rows[row.artifact] = row

    def run() -> dict[tuple[str, str], Any]:
        latency = {"processes": 2, "warmup_seconds": 0.01, "run_seconds": 0.01}
        return measure(
            runners, text.data, references={"words": "words--savedmodel-float32"},
            settings=Evaluate.model_validate({"latency": latency}), seed=1, cores=2, store=Store(tmp_path / "store"),
            raw_folder=tmp_path / "raw", listener=Silent(), on_row=keep,
            untimed={"words--savedmodel-float32", "words--onnx-float32"},
        )  # fmt: skip

    results = run()
    for (artifact, _), answer in results.items():
        row = rows[artifact]
        assert row.status == "ok" and row.samples == len(TEXTS) and row.agreement == 1.0 and row.drop == 0
        assert row.accuracy == answer.scores.mean() and row.difference is not None and row.difference < 1e-5
    assert len(results) == 3
    timed = rows["words--tflite-float32"].latency_ms
    assert timed and timed.tokenize and timed.infer and timed.median > max(timed.tokenize, timed.infer)
    assert [rows[a].latency_ms for a in ("words--savedmodel-float32", "words--onnx-float32")] == [None, None]
    first = dict(rows)
    for key, answer in run().items():
        np.testing.assert_array_equal(answer.scores, results[key].scores)
    for artifact, row in rows.items():
        assert replace(row, measured_at="") == replace(first[artifact], measured_at=""), "nothing is measured twice"


def test_another_tokenizer_is_refused_and_is_another_figure(text: Text, tmp_path: Path) -> None:
    inputs = text.data.inputs("test")
    run = runner(replace(text.files["tflite:float32"], tokenizer=write_tokenizer(tmp_path / "t")), "litert")
    before = run.identity()
    assert run.load(inputs).ok
    (tmp_path / "t" / "golden.json").write_text("[1]")
    assert run.identity() == before and run.load(inputs).ok
    with (tmp_path / "t" / "vocab.txt").open("a") as stream:
        stream.write("more\n")
    assert run.identity() != before
    outcome = run.load(inputs)
    assert outcome.status == "unsupported" and "not the one" in outcome.reason and outcome.remedy


def test_a_file_without_its_tokenizer_is_a_row(text: Text, tmp_path: Path) -> None:
    inputs = text.data.inputs("test")
    artifact = text.files["tflite:float32"]
    artifact = replace(artifact, tokenizer_sha256="")  # what it says of its tokenizer may be lost
    broken = write_tokenizer(tmp_path / "broken")
    (broken / "vocab.txt").unlink()
    for tokenizer, words in (
        (None, "no tokenizer"),
        (tmp_path / "gone", "gone/ is missing"),
        (broken, "does not open"),
    ):
        outcome = runner(replace(artifact, tokenizer=tokenizer), "litert").load(inputs)
        assert outcome.status == "unsupported" and words in outcome.reason and outcome.remedy, outcome
    other = runner(replace(artifact, tokenizer=write_tokenizer(tmp_path / "long", LENGTH + 1)), "litert").load(inputs)
    assert other.status in ("failed", "unsupported") and other.reason
    bare = runner(replace(artifact, contract=None), "litert").load(inputs)
    assert bare.status == "unsupported" and bare.remedy
    np.save(tmp_path / "pictures.npy", np.zeros((1, 8, 8, 3), np.uint8))
    pictures = runner(artifact, "litert").load(tmp_path / "pictures.npy")
    assert pictures.status == "unsupported" and "takes texts" in pictures.reason and pictures.remedy


def test_a_placed_tokenizer_keeps_its_hash(text: Text, tmp_path: Path) -> None:
    placed = place_tokenizer(text.model, tmp_path)
    assert text.model.tokenizer and tokenizer_sha256(placed) == text.model.tokenizer.sha256


def test_the_tokenizer_beside_a_file_is_complete_and_placed_once(text: Text, tmp_path: Path) -> None:
    out = tmp_path / "out"
    placed = place_tokenizer(text.model, out)
    assert placed == out / "words.tokenizer"
    names = {"tokenizer.json", "vocab.txt", "golden.json", "tokenizer.py"}
    assert {p.name for p in placed.iterdir()} == names and list(out.iterdir()) == [placed]
    printed = subprocess.run(
        [sys.executable, "-I", str(placed / "tokenizer.py"), str(placed)], input="good film\n", text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert [int(n) for n in re.findall(r"\d+", printed.stdout)] == [WORDS.index("good"), WORDS.index("film")]
    before = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (placed, *placed.iterdir())}
    assert place_tokenizer(text.model, out) == placed
    assert {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (placed, *placed.iterdir())} == before
    (placed / "vocab.txt").write_text("spoilt")
    (placed / "left.over").touch()
    place_tokenizer(text.model, out)
    assert {p.name for p in placed.iterdir()} == names and list(out.iterdir()) == [placed]
    assert (placed / "vocab.txt").read_text(encoding="utf-8").splitlines() == WORDS


def test_sidecars_name_the_tokenizer_beside_them_and_nothing_else(text: Text, tmp_path: Path) -> None:
    path = text.folder / "out" / "words--tflite-float32.json"
    document = json.loads(path.read_text())
    assert document["tokenizer"] == "words.tokenizer" and document["path"] == "words--tflite-float32.tflite"
    assert load(path) == text.files["tflite:float32"]
    for hostile in ("../../etc", "/etc/words.tokenizer", "a/../../b"):
        moved = tmp_path / "moved.json"
        moved.write_text(json.dumps(document | {"tokenizer": hostile}))
        with pytest.raises(InputError, match=r"moved\.json: tokenizer .* is not a plain file name"):
            load(moved)


def test_a_model_that_takes_strings_is_measured_and_not_exported(text: Text, tmp_path: Path) -> None:
    assert text.model.text_model is not None
    contract = InputContract("text", (1,), "string", kind="text")
    strings = replace(text.model, saved_model=text.model.text_model, text_model=None, tokenizer=None, input=contract)
    for variant in ("tflite:int8", "onnx:float32"):
        artifact = export(strings, Variant.parse(variant), options=Export(), folder=tmp_path)
        assert artifact.status == "unsupported" and "takes strings" in artifact.reason and artifact.remedy
        assert artifact.path is None and [p.suffix for p in tmp_path.iterdir()] == [".json"] * len(
            list(tmp_path.iterdir())
        )
    reference = float_artifact(strings)
    assert reference.contract == contract and reference.path == text.model.text_model
    given = answers(runner(reference, "tensorflow"), text.data.inputs("test"), tmp_path)
    assert given.shape == (len(TEXTS), 3)


def test_calibration_sees_what_the_device_will_feed(text: Text, tmp_path: Path) -> None:
    assert text.model.tokenizer
    record = quantize.draw(text.data, 12, 1, tmp_path, text.model.tokenizer.folder)
    drawn = np.load(record.images)
    assert (
        drawn.dtype.names == ("ids", "lens") and drawn["ids"].shape == (12, LENGTH) and drawn["ids"].dtype == np.int32
    )
    tokenizer = open_tokenizer(text.model.tokenizer.folder)
    train = [f"{words} {turn}" for words in TEXTS for turn in range(3)]
    encoded = [tokenizer.encode(words) for words in train]
    assert all((list(ids), count) in [(list(i), c) for i, c in encoded] for ids, count in drawn)
    assert record.per_class == dict.fromkeys(LABELS, 4) and quantize.load(tmp_path) == record
    with pytest.raises(InputError, match="tokenizer"):
        quantize.draw(text.data, 12, 1, tmp_path)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        quantize.draw(text.data, 12, 1, tmp_path, tmp_path)


def test_calibrating_once_changes_no_byte_of_a_text_file(text: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite, "calibrate_once", lambda _: nullcontext())
    samples = np.load(text.folder / "calibration.npy")
    for scheme in ("int8-uint8io", "int8"):
        converted, _ = tflite.convert(text.model, Variant("tflite", scheme).scheme, Export(), samples)
        path = text.files[f"tflite:{scheme}"].path
        assert path is not None and converted == path.read_bytes(), scheme


def test_one_text_model_gives_one_onnx_file(text: Text, tmp_path: Path) -> None:
    again = export(text.model, Variant("onnx", "float32"), options=Export(), folder=tmp_path)
    assert again.sha256 == text.files["onnx:float32"].sha256


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "Op type not registered 'TFText>WhitespaceTokenizeWithOffsetsV2' in binary running on x. Make sure",
            "needs TensorFlow Text's operator WhitespaceTokenizeWithOffsetsV2",
        ),
        ("Op type not registered 'Mine' in binary running on x.", "needs TensorFlow's operator Mine"),
        (
            "RuntimeError: Div only supports FLOAT32, INT32 and quantized UINT8 now, got 9."
            "Node number 15 (DIV) failed to invoke.",
            "operator DIV of a 1 does not compute this: Div only supports FLOAT32, INT32 and quantized UINT8",
        ),
        ("the tokenizer does not open: the tokenizer in x: " + "y" * 5000, "the tokenizer does not open"),
        ("ValueError: the answer's size changes: 4 values, then 1", "the answer's size changes: 4 values, then 1"),
    ],
)
def test_what_text_models_meet_has_a_remedy(message: str, words: str) -> None:
    reason, remedy = explain(message, "a", "1")
    assert words in reason and remedy and len(reason) <= 400
