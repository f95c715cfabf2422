"""Texts and several seeds through the whole pipeline: token ids on every runtime, the tokenizer beside the files."""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core.codec import read_json, sha256_file
from edgeproof.core.recipe_file import parse_recipe
from edgeproof.core.runtime import RUNTIMES
from edgeproof.core.target import Target
from edgeproof.devices.runtimes import installed_versions
from edgeproof.workflows.finished import Run

from ..cli.test_commands import edgeproof
from ..conftest import made_once, result_of, run_recipe
from ..support.contract import hold_document
from ..support.quick import ONCE, as_options
from ..support.text_models import word_encoder

pytestmark = pytest.mark.slow
WORDS = {
    "garden": ["rose", "tulip", "soil", "spade", "seed", "leaf", "bloom", "water", "sun", "bee"],
    "sea": ["wave", "ship", "sail", "tide", "salt", "harbour", "whale", "net", "anchor", "gull"],
    "=sky <b>": ["cloud", "star", "moon", "wing", "storm", "comet", "hawk", "dawn", "rain", "breeze"],
}
COMMON = ["the", "a", "of", "and", "in", "it", "was", "12", "very", "old,", "new!", "😀", "größe"]


def write_texts(path: Path, count: int = 240) -> None:
    """Texts that a bag of words can tell apart, in a table whose columns are not called text and label."""
    draw = random.Random(5)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["said", "about"])
        for number in range(count):
            label = sorted(WORDS)[number % 3]
            words = draw.choices(WORDS[label], k=draw.randint(2, 6)) + draw.choices(COMMON, k=draw.randint(2, 30))
            draw.shuffle(words)
            writer.writerow([" ".join(words), label])


@dataclass(frozen=True)
class TextRun:
    """A finished run on texts: two models, the first of them trained with two seeds as well."""

    folder: Path
    table: Path
    finished: Run
    recipe: dict[str, Any]


def make_texts(folder: Path) -> TextRun:
    write_texts(folder / "table.csv")
    small = {"backbone": "scratch:average-embedding", "max_tokens": 24, "vocabulary": 200, "embedding": 8}
    recipe = {
        "name": "texts",
        "data": {"source": f"csv:{folder / 'table.csv'}", "text_column": "said", "label_column": "about"},
        "model": [{"name": "pieces", **small}, {"name": "words", "tokenizer": "whitespace", **small}],
        "train": {"epochs": 12, "learning_rate": 0.02, "batch_size": 16, "seeds": [1, 2]},
        "export": {"variants": ["tflite:float32", "tflite:int8", "onnx:float32"]},
        "evaluate": {"diagnose": "none", "latency": ONCE},
    }
    return TextRun(folder / "run", folder / "table.csv", run_recipe(parse_recipe(recipe), folder / "run"), recipe)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> TextRun:
    """The run, made once; each process of the tests has a copy."""
    shared = made_once(tmp_path_factory, "texts", make_texts)
    folder = tmp_path_factory.mktemp("texts") / "run"
    shutil.copytree(shared / "run", folder, symlinks=True)
    texts: TextRun = result_of(shared)
    return replace(texts, folder=folder, finished=replace(texts.finished, folder=folder, report=folder / "report.html"))


def test_every_file_takes_token_ids_and_loses_little(texts: TextRun) -> None:
    results = texts.finished.results
    rows = [m for m in results.measurements if m.status == "ok"]
    runtimes = [name for name, version in installed_versions().items() if version and RUNTIMES[name].default]
    assert {Target.parse(m.target).runtime for m in rows} == set(runtimes)
    for row in rows:
        assert row.accuracy is not None and row.accuracy > 0.8, row
        assert row.drop is not None and abs(row.drop) <= 0.05, row
        assert row.latency_ms is not None
        split = row.latency_ms.tokenize, row.latency_ms.infer
        if row.runtime == "tensorflow":  # the string model tokenizes inside
            assert split == (None, None)
        else:
            assert split[0] and split[1] and max(split) < 1.5 * row.latency_ms.median
    for model in results.models:
        parity = model["tokenizer"]["parity"]
        assert parity["same"] == parity["samples"] == results.data["counts"]["test"]


def test_further_seeds_are_trained_on_the_same_splits_and_compared(texts: TextRun) -> None:
    results = texts.finished.results
    for model in results.models:
        assert [repeat["seed"] for repeat in model["repeats"]] == [1, 2]
        assert model["repeats"][0]["accuracy"] == model["accuracy"]
        assert all(repeat["samples"] == results.data["counts"]["test"] for repeat in model["repeats"])
    (pair,) = results.comparisons
    assert (pair["a"], pair["b"]) == ("pieces", "words")
    assert pair["verdict"] in ("a", "b", "not distinguishable") and "2 seeds" in pair["sentence"]
    hold_document("texts: results.json", read_json(texts.folder / "results.json"))
    hold_document("texts: golden.json", read_json(texts.folder / "artifacts" / "pieces.tokenizer" / "golden.json"))
    assert pair["sentence"] in (texts.folder / "report.md").read_text().replace("\\", "")


def test_the_shipped_tokenizer_gives_the_golden_ids_with_nothing_installed(texts: TextRun) -> None:
    for name in ("pieces", "words"):
        folder = texts.folder / "artifacts" / f"{name}.tokenizer"
        vectors = read_json(folder / "golden.json")["vectors"]
        lines = "".join(vector["text"].replace("\n", " ") + "\n" for vector in vectors)
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(folder / "tokenizer.py"), str(folder)],
            input=lines, capture_output=True, text=True, check=True, encoding="utf-8",
        )  # fmt: skip
        printed = [[int(number) for number in line.split()] for line in done.stdout.splitlines()]
        assert printed == [vector["ids"][: vector["count"]] for vector in vectors]


def test_the_report_speaks_of_texts_and_holds_no_markup_from_outside(texts: TextRun) -> None:
    html = (texts.folder / "report.html").read_text()
    assert "image" not in html.split("</style>")[1].lower()
    assert "sky <b>" not in html and "sky &lt;b&gt;" in html
    assert "tokenize" in html and "golden.json" in html


def test_the_same_again_changes_nothing_and_a_changed_model_redoes_that_one(texts: TextRun) -> None:
    before = (texts.folder / "results.json").read_bytes()
    run_recipe(parse_recipe(texts.recipe), texts.folder)
    assert (texts.folder / "results.json").read_bytes() == before
    entries = {path.name for path in (texts.folder / ".store" / "model").iterdir()}
    assert len(entries) == 4
    files = {p.name: sha256_file(p) for p in (texts.folder / "artifacts").glob("*.tflite")}
    changed = {**texts.recipe, "model": [texts.recipe["model"][0], {**texts.recipe["model"][1], "embedding": 4}]}
    changed["train"] = {**changed["train"], "seeds": [1]}
    changed["evaluate"] = {**changed["evaluate"], "targets": ["local/litert"]}
    run_recipe(parse_recipe(changed), texts.folder)
    assert len({p.name for p in (texts.folder / ".store" / "model").iterdir()} - entries) == 1
    for path in (texts.folder / "artifacts").glob("*.tflite"):
        same = sha256_file(path) == files[path.name]
        assert same == path.name.startswith("pieces"), path


def test_more_files_from_a_text_model_and_their_proof(texts: TextRun, tmp_path: Path) -> None:
    model, source = texts.folder / "models" / "pieces", f"csv:{texts.table}"
    columns = ("--text-column", "said", "--label-column", "about")
    edgeproof(
        "export", str(model), "--to", "tflite:int8-int8io", "--calibrate", source, "--out", str(tmp_path), *columns
    )
    (file,) = tmp_path.glob("*.tflite")
    proof = ("evaluate", str(file), "--data", source, "--on", "local/litert", "--out", str(tmp_path / "proof"))
    (row,) = json.loads(edgeproof(*proof, "--json", *columns, *as_options(ONCE)).stdout)["measurements"]
    assert row["accuracy"] > 0.9 and row["latency_ms"]["tokenize"] > 0
    assert "no column 'text'" in edgeproof(*proof, status=2).stderr
    images = ("evaluate", str(file), "--data", "builtin:fashion-mnist-mini", "--out", str(tmp_path / "no"))
    assert "holds images, and the model takes texts" in edgeproof(*images, status=2).stderr


def test_a_model_that_is_refused_is_a_row_and_a_hub_encoder_is_cut_at_its_token_ids(
    texts: TextRun, tmp_path: Path
) -> None:
    encoder = tmp_path / "encoder"
    words = [word for group in WORDS.values() for word in group]
    word_encoder(encoder, words, width=64)
    hub = {"backbone": f"hub:{encoder}", "max_tokens": 24}
    recipe = {
        **texts.recipe,
        "name": "refused",
        "model": [{"name": "wrong", "output": "nothing", **hub}, {"name": "right", **hub}],
        "train": {"epochs": 60, "learning_rate": 0.02, "patience": 0},
        "export": {"variants": ["tflite:float32"]},
        "evaluate": {**texts.recipe["evaluate"], "targets": ["local/tensorflow", "local/litert"]},
    }
    finished = run_recipe(parse_recipe(recipe), tmp_path / "run")
    assert [failure.partition(":")[0] for failure in finished.failures] == ["wrong"]
    wrong, right = finished.results.models
    assert wrong["status"] == "failed" and "without a name" in wrong["reason"] and wrong["remedy"]
    row = next(m for m in finished.results.measurements if m.target == "local/litert" and m.status == "ok")
    assert row.artifact.startswith("right") and row.accuracy == right["accuracy"] and row.accuracy > 0.8
    assert "without a name" in (tmp_path / "run" / "report.md").read_text()
