"""`edgeproof evaluate`: what files are compared with, and what a budget does to the verdict and the exit status."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edgeproof.cli.commands.evaluate import command
from edgeproof.core.artifact import Artifact
from edgeproof.core.errors import InputError
from edgeproof.core.results import load_results
from edgeproof.data import builtin
from edgeproof.workflows.judged_data import float_references

from ..conftest import TinyRun
from ..support.quick import OPTIONS


def test_files_are_held_against_the_saved_model_where_it_runs_and_else_against_the_float_file():
    saved = Artifact("m--savedmodel-float32", "m", "savedmodel", "float32", Path("m"))
    file = Artifact("m--tflite-float32", "m", "tflite", "float32", Path("f"))
    bare = Artifact("theirs", "theirs", "tflite", "float32", Path("t"))
    int8 = replace(file, id="m--tflite-int8", scheme="int8")
    assert float_references([int8, saved, file], ["local/tensorflow"]) == {"m": saved.id}
    assert float_references([int8, saved, file], ["local/litert"]) == {"m": file.id}
    assert float_references([int8, bare], ["local/litert"]) == {}, "without a sidecar its inside is not known"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Three random pictures for each class of the tiny run."""
    folder = tmp_path_factory.mktemp("pictures")
    labels = (Path(builtin.__file__).parent / "fashion-mnist-mini" / "labels.txt").read_text().splitlines()
    random, rows = np.random.default_rng(0), ["path,label"]
    for number, label in enumerate(labels):
        for copy in range(3):
            Image.fromarray(random.integers(0, 255, (32, 32, 3), np.uint8)).save(folder / f"{number}-{copy}.png")
            rows.append(f"{number}-{copy}.png,{label}")
    (folder / "pictures.csv").write_text("\n".join(rows))
    return folder / "pictures.csv"


@pytest.mark.slow
def test_a_budget_recommends_and_sets_the_exit_status(tiny: TinyRun, pictures: Path, tmp_path: Path) -> None:
    files = [str(tiny.folder / "artifacts" / f"tiny--tflite-{scheme}.tflite") for scheme in ("float32", "int8")]
    common = [*files, "--data", f"csv:{pictures}", "--on", "local/litert", "--out", str(tmp_path / "e"), *OPTIONS]

    def evaluate(*more: str) -> int:
        result = CliRunner().invoke(command, [*common, *more], standalone_mode=False, catch_exceptions=False)
        return result.return_value

    assert evaluate() == 0
    results = load_results(tmp_path / "e")
    assert results.budget == {}
    assert results.recommendation["artifact"] is None and results.recommendation["pareto"]
    assert all(m.agreement is not None for m in results.measurements), "against the float32 file beside it"

    assert evaluate("--budget", "max_accuracy_drop=1", "--budget", "max_latency_ms=60000") == 0
    assert load_results(tmp_path / "e").recommendation["targets"][0]["artifact"] is not None
    assert evaluate("--budget", "max_bytes=10") == 1
    nothing = load_results(tmp_path / "e")
    assert nothing.budget["met"] is False
    assert "above the 10 B allowed" in nothing.recommendation["why"]
    with pytest.raises(InputError, match="is not among the targets"):
        evaluate("--budget", "target=local/onnxruntime")
    with pytest.raises(InputError, match="did you mean 'max_bytes'"):
        evaluate("--budget", "max_byte=10")


@pytest.mark.slow
def test_a_drop_that_nobody_asked_for_is_no_limit_without_a_float_model(
    tiny: TinyRun, pictures: Path, tmp_path: Path
) -> None:
    file = str(tiny.folder / "artifacts" / "tiny--tflite-int8.tflite")
    common = [file, "--data", f"csv:{pictures}", "--on", "local/litert", "--out", str(tmp_path / "e"), *OPTIONS]
    for asked, status in ((["max_latency_ms=60000"], 0), (["max_latency_ms=60000", "max_accuracy_drop=0.5"], 1)):
        pairs = [part for pair in asked for part in ("--budget", pair)]
        result = CliRunner().invoke(command, [*common, *pairs], standalone_mode=False, catch_exceptions=False)
        assert result.return_value == status
