"""What users do wrong with texts, and what hostile ones hold: messages, rows and reports instead of tracebacks."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core.codec import read_json
from edgeproof.core.errors import InputError
from edgeproof.core.recipe_file import load_recipe, parse_recipe
from edgeproof.devices.remedies import explain
from edgeproof.workflows.doctor import doctor
from edgeproof.workflows.preflight import preflight

from ..conftest import class_folders, run_recipe
from ..support.quick import ONCE
from .test_commands import edgeproof, printed

# Class names that are markup, a formula, a table, a direction, a command or a terminal's escape; and their words.
CLASSES = {
    "</script><script>alert(1)</script>": ["rose", "tulip"],
    '=HYPERLINK("http://x","y")': ["wave", "ship"],
    "a|b`c`\n## head [x](http://y)": ["car", "road"],
    "\u202egnp.exe": ["cloud", "star"],
    "😀 größe": ["tea", "cup"],
    "$(touch x); `id`": ["ant", "bee"],
    "\x1b[31mred\x07": ["owl", "elk"],
}
SMALL = {
    "name": "m", "backbone": "scratch:average-embedding", "max_tokens": 12, "vocabulary": 120, "embedding": 4,
}  # fmt: skip


def write_table(path: Path, rows: list[tuple[str, str]], header: tuple[str, ...] = ("text", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def texts(count: int, classes: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Texts of each class in turn; some hold markup."""
    draw = random.Random(5)
    rows = []
    for number in range(count):
        label = sorted(classes)[number % len(classes)]
        words = draw.choices(classes[label], k=4) + draw.choices(["the", "of", "in", "it", "and"], k=6)
        rows.append((" ".join(words) + " <img src=x onerror=alert(1)>" * (number % 9 == 0), label))
    return rows


def recipe(source: str, **tables: Any) -> dict[str, Any]:
    return {"data": {"source": source, **tables.pop("data", {})}, "model": [SMALL], **tables}


def refusal(table: dict[str, Any], folder: Path) -> InputError:
    with pytest.raises(InputError) as raised:
        preflight(parse_recipe(table, folder), folder / "out")
    return raised.value


@pytest.mark.parametrize(
    ("content", "data", "message"),
    [
        ("", {}, "the header lacks 'path' and 'label'; found none"),
        ("review,label\nx,y\n", {}, "found 'review', 'label'"),
        ("text,label\nx,y\n", {"encoding": "klingon"}, "data.encoding = 'klingon' is not an encoding"),
        ("text,label\nx,y\n", {"encoding": "hex"}, "data.encoding = 'hex' is not an encoding"),
        ("text,label\nx,y\n", {"text_column": "txt"}, "the header lacks 'txt'; found 'text', 'label'"),
        ("text,label\nx,y\n", {"label_column": "klass"}, "the header lacks 'klass'; found 'text', 'label'"),
        (None, {}, "there is no file"),
    ],
)
def test_a_broken_table_is_told_and_its_models_are_not_blamed(
    content: str | None, data: dict[str, str], message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    error = refusal(recipe("csv:t.csv", data=data), tmp_path)
    assert message in error.message and error.remedy
    assert "backbone" not in str(error) and "in the way" not in str(error) and "average-embedding" not in str(error)
    pictures = {**recipe("csv:t.csv", data=data), "model": [{"name": "m", "backbone": "keras:MobileNetV2"}]}
    if "encoding" not in data and "text_column" not in data and "label_column" not in data:
        assert message in refusal(pictures, tmp_path).message


def test_a_broken_table_does_not_hide_what_is_wrong_with_a_model(tmp_path: Path) -> None:
    table = {**recipe("csv:none.csv"), "model": [{"name": "m", "backbone": "keras:MobilNetV2"}]}
    message = str(refusal(table, tmp_path))
    assert "2 things are in the way" in message and "there is no file" in message and "MobileNetV2" in message


def test_why_a_class_has_no_text_left_is_told(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", texts(30, {"a": ["x"], "b": ["y"]}))
    with pytest.raises(InputError, match=r"without a usable training text") as raised:
        run_recipe(parse_recipe(recipe("csv:t.csv", data={"max_characters": 3}), tmp_path), tmp_path / "out")
    assert "row 2: " in raised.value.message and "more than data.max_characters = 3" in raised.value.message


def test_init_writes_a_recipe_for_texts_where_the_data_are(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", texts(30, {"a": ["x"], "b": ["y"]}))
    path = tmp_path / "texts.toml"
    edgeproof("init", str(path), "--data", "csv:t.csv")
    recipe = load_recipe(path)
    assert recipe.model[0].backbone == "scratch:average-embedding"
    assert preflight(recipe, tmp_path / "out")
    class_folders(tmp_path / '😀\x01"\\')
    edgeproof("init", str(path), "--force", "--data", 'folder:😀\x01"\\', "--backbone", "package:mobilenet_v2")
    assert load_recipe(path).data.source == 'folder:😀\x01"\\'
    errors = edgeproof("init", str(tmp_path / "no.toml"), "--data", "folder:a\udcff", status=2).stderr
    assert "not Unicode" in errors and not (tmp_path / "no.toml").exists()


def test_doctor_tells_of_hub_and_text() -> None:
    checks = {check.what for check in doctor()}
    assert {"tensorflow-hub", "tensorflow-text", "package:efficientnet_lite0", "package:use_multilingual_v3"} <= checks


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on texts and classes that are out to harm; its table is ``texts.csv`` beside it."""
    folder = tmp_path_factory.mktemp("hostile")
    write_table(folder / "texts.csv", texts(70, CLASSES))
    table = recipe(
        f"csv:{folder / 'texts.csv'}",
        train={"epochs": 2, "batch_size": 16},
        export={"variants": ["tflite:float32"]},
        evaluate={"targets": ["local/litert"], "latency": ONCE},
    )  # fmt: skip
    assert not run_recipe(parse_recipe(table), folder / "run").failures
    return folder


@pytest.mark.slow
def test_hostile_classes_are_words_in_every_report(hostile: Path) -> None:
    run = hostile / "run"
    html = (run / "report.html").read_text(encoding="utf-8")
    body = html.split("</style>")[1]
    assert "<script" not in html and "<img" not in html and "&lt;/script&gt;" in body
    assert "image" not in body.lower()
    markdown = (run / "report.md").read_text(encoding="utf-8")
    assert "<script" not in markdown and "\n## head" not in markdown
    for text in (body, markdown):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert set(read_json(run / "results.json")["models"][0]["labels"]) == set(CLASSES)
    assert not list(hostile.rglob("x"))


def tampered(hostile: Path, folder: Path, **settings: Any) -> Path:
    """A copy of the run's files, the sidecars without the tokenizer's hash, its settings changed."""
    shutil.copytree(hostile / "run" / "artifacts", folder)
    for path in folder.glob("m--*.json"):
        path.unlink() if path.is_symlink() else None
        path.write_text(json.dumps({**read_json(hostile / "run" / "artifacts" / path.name), "tokenizer_sha256": ""}))
    place = folder / "m.tokenizer" / "tokenizer.json"
    changed = {**read_json(place), **settings}
    place.unlink()
    place.write_text(json.dumps(changed))
    return folder


def rows(hostile: Path, out: Path, file: Path, capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    said = printed(
        capfd, "evaluate", str(file), "--data", f"csv:{hostile / 'texts.csv'}", "--on", "local/litert", "--out",
        str(out), "--json", expected=3,
    )  # fmt: skip
    measurements = json.loads(said)["measurements"]
    assert isinstance(measurements, list)
    return measurements


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"length": 7}, "takes 12 values along dimension 1 of an input, and is given 7"),
        ({"file": "../../../../../../etc/passwd"}, "is not a plain file name"),
        ({"length": 10**12}, "not a whole number from 1 to"),
        ({"kind": "evil"}, "the tokenizer does not open"),
    ],
)
def test_a_tampered_tokenizer_is_a_row_with_a_remedy(
    hostile: Path, tmp_path: Path, settings: dict[str, Any], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tampered(hostile, tmp_path / "files", **settings)
    (row,) = rows(hostile, tmp_path / "out", folder / "m--tflite-float32.tflite", capfd)
    assert row["status"] in ("unsupported", "failed") and reason in row["reason"] and row["remedy"]


@pytest.mark.slow
def test_a_tokenizer_that_is_gone_or_another_is_a_row_with_a_remedy(
    hostile: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "files"
    shutil.copytree(hostile / "run" / "artifacts", folder)
    words = folder / "m.tokenizer" / "vocab.txt"
    swapped = words.read_text(encoding="utf-8").replace("\nt", "\n\u00fc")
    words.unlink()
    words.write_text(swapped, encoding="utf-8")
    (row,) = rows(hostile, tmp_path / "out", folder / "m--tflite-float32.tflite", capfd)
    assert row["status"] == "unsupported" and "is not the one that the file was made with" in row["reason"]
    shutil.rmtree(folder / "m.tokenizer")
    (row,) = rows(hostile, tmp_path / "out", folder / "m--tflite-float32.tflite", capfd)
    assert row["status"] == "unsupported" and "m.tokenizer/ is missing" in row["reason"] and row["remedy"]


def test_a_wrong_length_is_explained_as_onnxruntime_says_it() -> None:
    message = (
        "InvalidArgument: [ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: ids for the "
        "following indices\n index: 1 Got: 7 Expected: 12\n Please fix either the inputs/outputs or the model."
    )
    reason, remedy = explain(message, "onnxruntime", "1.20")
    assert reason == "the file takes 12 values along dimension 1 of its input ids, and is given 7"
    assert "MODEL.tokenizer/" in remedy


def test_a_batch_that_a_file_does_not_take_is_no_operator_that_is_missing() -> None:
    message = (
        "Unsupported: the file does not take 4 samples at a time: XNNPack delegate failed to reshape runtime"
        "Node number 10 (TfLiteXNNPackDelegate) failed to prepare."
    )
    reason, remedy = explain(message, "litert", "2.3.0")
    assert reason.startswith("the file does not take 4 samples at a time: XNNPack delegate failed")
    assert "evaluate.latency.batch" in remedy
