"""Records from outside: whatever stands in a field, they become nouns or are refused with words."""

from __future__ import annotations

import io
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgeproof.cli.main import status
from edgeproof.core.artifact import Artifact, Operator, TensorSpec
from edgeproof.core.codec import canonical, from_json, read_json, to_json, write_json
from edgeproof.core.dataset import PreparedData, load_prepared, save_prepared
from edgeproof.core.diagnosis import Diagnosis, Finding, TensorError
from edgeproof.core.documents import MAX_DEPTH, encode_json, parse_json, parse_toml
from edgeproof.core.errors import EdgeproofError, InputError
from edgeproof.core.measurement import Latency, Measurement
from edgeproof.core.model import InputContract, Model, TokenizerRecord, load_model, save_model
from edgeproof.core.recipe_file import load_recipe, parse_budget, parse_recipe
from edgeproof.core.results import load_results
from edgeproof.evaluate import compare
from edgeproof.export import load
from edgeproof.quantize.calibration import Calibration
from edgeproof.report import summary
from edgeproof.report.html import render as render_html
from edgeproof.report.markdown import render as render_markdown
from edgeproof.workflows.model_files import open_artifact

from ..fuzz.documents import STRANGERS, mutants, places, replaced
from ..fuzz.seeds import tflite
from ..support.example_results import example

CONTRACT = InputContract("image", (1, 8, 8, 3))
ARTIFACT = Artifact(
    "m--tflite-int8", "m", "tflite", "int8", Path("m--tflite-int8.tflite"), sha256="ab" * 32, bytes=7,
    inputs=(TensorSpec("in", (1, 8, 8, 3), "int8", 0.1, 3),), outputs=(TensorSpec("out", (1, 2), "float32"),),
    labels=("a", "b"), contract=CONTRACT, ops=(Operator("ADD", 1, 2, "1.5.0"),), seconds=1.0,
    calibration={"count": 3}, loads={"local/litert": "ok"}, tokenizer=Path("tokenizer"), origin="trained",
)  # fmt: skip
MODEL = Model(
    "m", "package:x", Path("saved_model"), "ab" * 32, ("a", "b"), CONTRACT, 2.0, {"val_accuracy": 0.5},
    [{"loss": 1.0}], {"a": 1}, tokenizer=TokenizerRecord(Path("tokenizer"), "wordpiece", 64, "cd" * 32),
)  # fmt: skip
LATENCY = Latency(1.0, 0.9, 1.1, 0.96, 1.2, 1.3, 1.4, 6, 600, 1)
NOUNS: tuple[Any, ...] = (
    ARTIFACT,
    MODEL,
    Measurement("m--tflite-int8", "local/litert", "local", "litert", accuracy=0.5, samples=9, latency_ms=LATENCY),
    PreparedData(Path("d"), "folder:x", ("a", "b"), 8, 8, "stretch", {"train": 3}, "ab" * 32, {"a": [1]}),
    Diagnosis(
        "m--tflite-int8", "ab" * 32, "m--tflite-float32", "folder:x", 8, 0.5,
        (TensorError("t", "activation", "ADD", 0, (1, 2), "int8", 3.0),), (Finding("weights", "w", "r", ("t",)),),
    ),
    Calibration(Path("c.npy"), 3, {"a": 3}, 1, "ab" * 32),
)  # fmt: skip


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: type(noun).__name__)
def test_every_field_of_every_noun_is_what_it_was_or_is_refused(noun: Any) -> None:
    record = to_json(noun)
    assert from_json(type(noun), record) == noun
    refused = 0
    for place in places(record):
        for stranger in STRANGERS:
            changed = replaced(record, place, stranger)
            try:
                read = from_json(type(noun), changed, "it")
            except InputError as error:
                refused += 1
                assert str(error).startswith("it") and "→" in str(error)
            else:  # then nothing was converted: what was read is what stands there
                assert canonical(to_json(read)) == canonical(to_json(from_json(type(noun), to_json(read))))
                json.dumps(to_json(read), allow_nan=False)
    assert refused > len(list(places(record)))


def test_a_run_s_record_is_told_or_refused_whatever_stands_in_it(tmp_path: Path) -> None:
    original = example(folder=tmp_path)
    ids = {artifact.id for artifact in original.artifacts[:3]}  # a few rows: each is read and shown hundreds of times
    original.artifacts = original.artifacts[:3]
    original.measurements = [row for row in original.measurements if row.artifact in ids]
    original.save(tmp_path)
    loaded, whole_document = load_results(tmp_path), read_json(tmp_path / "results.json")
    documents = mutants(whole_document, random.Random(14))
    read = refused = 0
    for number in range(240):
        (tmp_path / "results.json").write_text(json.dumps(next(documents)), encoding="utf-8")
        try:
            results = load_results(tmp_path)
            screen = Console(file=io.StringIO(), width=100)
            for part in summary(results):
                screen.print(part)
            compare.compare(loaded, results, folder_a=tmp_path, folder_b=tmp_path, force=True).to_dict()
            results.to_csv()
            encode_json(results.to_json())
            render_markdown(results)
            if number % 100 == 0:  # drawing takes a second
                render_html(results, tmp_path)
            read += 1
        except EdgeproofError as error:
            refused += 1
            assert error.remedy
    assert read > 20
    assert refused > 100


@pytest.mark.parametrize("kind", ["sidecar", "model", "data", "results"])
@pytest.mark.parametrize(
    "content",
    [b"", b"[", b"\xff\xfe", b"null", b"[]", b"NaN", b"{}", b'{"a": NaN}', b"1" * 5000, b"[" * 100_000,
     b'{"a":' * 100_000, b'"\\ud800"', b'{"\\udc80": 1}', b"1e999", b"\0", b"{" + b" " * 10_000],
    ids=range(16),
)  # fmt: skip
def test_a_record_that_is_no_json_of_its_kind_is_refused_with_words(tmp_path: Path, kind: str, content: bytes) -> None:
    name = {"sidecar": "a.json", "model": "model.json", "data": "data.json", "results": "results.json"}[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        {
            "sidecar": lambda: load(tmp_path / name),
            "model": lambda: load_model(tmp_path),
            "data": lambda: load_prepared(tmp_path),
            "results": lambda: load_results(tmp_path),
        }[kind]()


def test_records_go_round_through_their_files(tmp_path: Path) -> None:
    save_model(MODEL, tmp_path)
    assert to_json(load_model(tmp_path)) == to_json(replace(
        MODEL, saved_model=tmp_path / "saved_model",
        tokenizer=replace(MODEL.tokenizer, folder=tmp_path / "tokenizer") if MODEL.tokenizer else None,
    ))  # fmt: skip
    data = next(noun for noun in NOUNS if isinstance(noun, PreparedData))
    save_prepared(data, tmp_path)
    assert load_prepared(tmp_path) == replace(data, folder=tmp_path)


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 100_000, "a = " + "1" * 5000, ".".join("a" * 100_000) + " = 1", ".".join(['"="'] * 5_000) + " = 1",
     "[" + ".".join("a" * 5_000) + "]", "a = {" + "a={" * 5_000, 'a = "\udcff"', "a = 1\n" * 300_000],
    ids=range(8),
)  # fmt: skip
def test_toml_without_bounds_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^it "):
        parse_toml(text, "it")


@pytest.mark.parametrize(
    "override",
    ["train.epochs=" + "[" * 100_000, "train.epochs=" + "1" * 5000, ".".join("a" * 1000) + "=1", "name=\udcff",
     "\udcff=1", "model." + "9" * 5000 + ".name=x", "train.epochs=1\nx=2", "train.epochs={a={b=1}}"],
    ids=range(8),
)  # fmt: skip
def test_overrides_without_bounds_are_refused(tmp_path: Path, override: str) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('[data]\nsource = "builtin:fashion-mnist-mini"\n[[model]]\nname = "m"\nbackbone = "keras:X"\n')
    if override != "train.epochs=1\nx=2":  # one value, and what follows it is not looked at
        with pytest.raises(InputError):
            load_recipe(recipe, [override])
    with pytest.raises(InputError):
        parse_budget([override])


def test_a_recipe_s_every_field_is_checked() -> None:
    recipe = parse_recipe(
        {"data": {"source": "builtin:fashion-mnist-mini"}, "model": [{"name": "m", "backbone": "package:mobilenet_v2"}]}
    )
    table = recipe.to_dict()
    for at, place in enumerate(places(table)):
        for stranger in STRANGERS[at % 5 :: 5]:
            changed = replaced(table, place, stranger)
            if isinstance(changed, dict):
                try:
                    parse_recipe(changed).to_toml()
                except InputError as error:
                    assert error.message.startswith("recipe: ")


def test_what_is_written_is_strict_json(tmp_path: Path) -> None:
    data = {"nan": math.nan, "inf": [math.inf, {"x": -math.inf}], "text": "é✓\x1b\u202e\x9b\udcff", "path": Path("a")}
    text = encode_json(data)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "nan": None, "inf": [None, {"x": None}], "text": "é✓\x1b\u202e\x9b\\xff", "path": "a",
    }  # fmt: skip
    assert not {"\x1b", "\u202e", "\x9b", "\udcff"} & set(text)
    write_json(tmp_path / "x.json", data)
    assert read_json(tmp_path / "x.json")["inf"] == [None, {"x": None}]


@pytest.mark.parametrize(
    ("shape", "scale"), [([1] * 100, 0.0), ([2**31 - 1] * 40, 0.0), ([1, 8, 8, 3], math.nan), ([1, 8, 8, 3], math.inf)]
)
def test_a_file_whose_tensors_are_none_is_refused_before_it_is_run(
    tmp_path: Path, shape: list[int], scale: float
) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(tflite(scale, shape))
    with pytest.raises(InputError, match=r"a\.tflite"):
        open_artifact(path)
    for arguments in (["bundle", str(path)], ["evaluate", str(path), "--data", "folder:x"]):
        assert status([*arguments, "--out", str(tmp_path / "out")]) == 2


def test_depth_is_bounded_where_it_is_said_to_be() -> None:
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH, "it")
    with pytest.raises(InputError, match=f"deeper than {MAX_DEPTH}"):
        parse_json("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "it")
