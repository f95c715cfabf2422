"""What is refused before anything runs: recipes of data that are not there, and budgets of targets that are not run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from edgeproof.core.errors import InputError
from edgeproof.core.recipe import Data
from edgeproof.core.recipe_file import parse_recipe
from edgeproof.data.sources import check_source
from edgeproof.tflite.embedded_labels import embedded_labels


@pytest.mark.parametrize("scheme", ["folder", "images", "textfolder", "idx", "csv", "tsv", "jsonl"])
def test_a_source_that_is_not_there_is_refused(scheme: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        check_source(Data(source=f"{scheme}:nowhere"), tmp_path)
    with pytest.raises(InputError, match="begins with no known scheme"):
        check_source(Data(source=f"{scheme}s-of-mine:nowhere"), tmp_path)


def test_a_table_whose_columns_are_called_otherwise_is_no_table_of_images(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("review,sentiment\nfine,good\n")
    with pytest.raises(InputError, match=r"columns review, sentiment, and none called text or label") as raised:
        check_source(Data(source="csv:t.csv"), tmp_path)
    assert "--text-column NAME" in raised.value.remedy
    check_source(Data(source="csv:t.csv", text_column="review", label_column="sentiment"), tmp_path)
    (tmp_path / "i.csv").write_text("path,class\na.png,good\n")
    with pytest.raises(InputError, match="none called label"):
        check_source(Data(source="csv:i.csv"), tmp_path)
    (tmp_path / "i.csv").write_text("Path,Label\na.png,good\n")
    check_source(Data(source="csv:i.csv"), tmp_path)
    check_source(Data(source="builtin:fashion-mnist-mini"), tmp_path)


def recipe(target: str, *targets: str, runtime: str = "") -> None:
    parse_recipe(
        {
            "data": {"source": "builtin:fashion-mnist-mini"},
            "model": [{"name": "m", "backbone": "package:mobilenet_v2"}],
            "evaluate": {"targets": list(targets)},
            "budget": {"target": target},
            "runtime": runtime,
        }
    )


def test_a_budget_of_a_target_that_nothing_runs_on_is_refused() -> None:
    with pytest.raises(InputError, match=r"budget.target 'local/onnxruntime' is none of evaluate.targets"):
        recipe("local/onnxruntime", "local/litert")
    recipe("local/litert", "local/litert")
    recipe("", "local/litert")
    recipe("local/tflite-runtime==2.14", "local/litert", runtime="tflite-runtime==2.14")


def test_labels_inside_a_file_are_its_classes_only_where_they_fit(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"model")
    assert embedded_labels(path, ["labels.txt"], 3) == ()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\nowl\n")
        archive.writestr("huge.txt", "x\n" * 3_000_000)
    assert embedded_labels(path, ["labels.txt"], 3) == ("cat", "dog", "owl")
    assert embedded_labels(path, ["labels.txt"], 4) == embedded_labels(path, ["other.txt"], 3) == ()
    assert embedded_labels(path, ["huge.txt"], 3_000_000) == embedded_labels(path, ["labels.txt"], None) == ()
