"""A file that was trained here knows its task: what is read, and what is compared, follows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import from_json, to_json
from edgeproof.core.dataset import PreparedData
from edgeproof.core.errors import InputError
from edgeproof.core.maker import CONVERTER
from edgeproof.core.model import InputContract, Model
from edgeproof.core.recipe_data import Data
from edgeproof.core.variant import Variant
from edgeproof.export import reference
from edgeproof.export.export import described
from edgeproof.quantize.diagnosis.diagnose import _task
from edgeproof.tasks import trained_task
from edgeproof.train.external import Input
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.judged_source import judged_source
from edgeproof.workflows.samples import Samples, data_source
from edgeproof.workflows.steps import blank

from ..support.external_imports import Heard
from ..support.micro_files import dense

COUNT = 12
X = np.random.default_rng(4).normal(size=(COUNT, 8)).astype(np.float32)
SPEC = InputSpec("tensor", inputs=(Input("x", (1, 8), "float32"),))
FILE = Artifact("m", "m", "tflite", "float32", None)


def read(source: Any, trained: str, folder: Path, task: str = "") -> tuple[Any, list[str]]:
    heard, artifact = Heard(), dense(folder / "m.tflite", "float32")
    return judged_source(data_source(source, task), SPEC, artifact, heard, task=task, trained=trained), heard.notes


def table(folder: Path, target: list[Any]) -> Data:
    rows = [",".join(map(str, [*row, *end])) for row, end in zip(X.tolist(), target, strict=True)]
    head = ",".join([*(f"f{n}" for n in range(8)), *(f"t{n}" for n in range(len(target[0])))])
    (folder / "t.csv").write_text("\n".join([head, *rows]), "utf-8")
    return Data(source=f"csv:{folder / 't.csv'}", target=",".join(f"t{n}" for n in range(len(target[0]))))


def test_whole_numbers_of_a_regressor_are_no_classes(tmp_path: Path) -> None:
    numbers = np.arange(4 * COUNT).reshape(COUNT, 4)
    given, said = read(table(tmp_path, numbers.tolist()), "regression", tmp_path)
    assert given.task == "regression" and given.targets.tolist() == numbers.tolist() and not said


def test_whole_numbers_in_memory_are_those_of_a_regressor_of_one(tmp_path: Path) -> None:
    given = data_source((X, np.arange(COUNT)))
    assert isinstance(given, Samples) and given.numbered
    one = replace(dense(tmp_path / "m.tflite", "float32"), outputs=())
    held = judged_source(given, SPEC, one, Heard(), task="", trained="regression")
    assert isinstance(held, Samples) and held.targets is not None and held.task == "regression"
    assert held.targets.tolist() == [[number] for number in range(COUNT)]


def test_a_tagger_reads_rows_of_one_tag_or_none_as_tags(tmp_path: Path) -> None:
    cells = [["red"], [""]] * (COUNT // 2)
    given, said = read(table(tmp_path, cells), "multilabel", tmp_path)
    assert given.task == "multilabel" and given.targets.ravel().tolist() == [1, 0] * (COUNT // 2) and not said
    with pytest.raises(InputError, match="no target"):
        read(table(tmp_path, cells), "", tmp_path)


def test_what_was_asked_for_goes_before_the_file_s_task(tmp_path: Path) -> None:
    given, _ = read(table(tmp_path, [["1"], ["0"]] * (COUNT // 2)), "regression", tmp_path, task="classification")
    assert given.targets is None and given.classes.tolist() == [1, 0] * (COUNT // 2)


def test_data_of_another_task_are_read_as_they_are_with_the_reason(tmp_path: Path) -> None:
    given, said = read(table(tmp_path, [["red"], ["blue"]] * (COUNT // 2)), "regression", tmp_path)
    assert given.names == ("blue", "red") and len(said) == 1
    assert "m was trained for regression, and the data are read as classes: " in said[0] and "no list" in said[0]
    assert read((X,), "regression", tmp_path)[1] == []  # no right answers: nothing to say
    (tmp_path / "mixed").mkdir()
    with pytest.raises(InputError, match="'red' is no number"):  # and what can be read in no way, as the file's task
        read(table(tmp_path, [["1.5"], ["red"]] * (COUNT // 2)), "regression", tmp_path)


def test_files_of_a_trained_model_record_its_task(tmp_path: Path) -> None:
    model = Model(
        "m", "scratch:dense", tmp_path, "0" * 64, ("a", "b"), InputContract("x", (1, 8), kind="tensor"), 1.0,
        provenance={"task": "multilabel"},
    )  # fmt: skip
    variant = Variant("tflite", "float32")
    for artifact in (described(model, variant, CONVERTER, tmp_path), blank(model, variant), reference(model)):
        assert artifact.task == "multilabel"
        assert from_json(Artifact, to_json(artifact), "a").task == "multilabel"
    plain = replace(model, provenance={"task": "classification"})
    assert "task" not in to_json(blank(plain, variant))


def test_two_tags_whose_sigmoids_add_up_to_one_are_no_classes() -> None:
    answers = np.array([[0.4, 0.6], [0.7, 0.3]])
    for task, counted in (("multilabel", "side of one half of each element"), ("", "class"), ("unheard", "class")):
        agreement = trained_task(("a", "b"), task).agreement((2,))
        agreement.add(answers, answers)
        assert agreement.by == counted
    bare = PreparedData(Path(), "images:x", (), 0, 0, "", {"test": 1}, "")
    assert _task(replace(FILE, task="multilabel"), bare) == "multilabel" and _task(FILE, bare) == ""
    assert _task(replace(FILE, task="unheard"), bare) == ""
