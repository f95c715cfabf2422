"""The selection between two tools' files: by running, agreement, speed and size, in this order, on real runtimes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.dataset import PreparedData
from edgeproof.core.maker import CONVERTER, QUANTIZER
from edgeproof.core.measurement import Latency, Measurement
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Evaluate
from edgeproof.core.store import Store
from edgeproof.core.target import Target
from edgeproof.workflows import tool_selection
from edgeproof.workflows.tool_selection import select_tool

from ..support.records import record
from ..support.scheme_files import LITERT, OLD, ONNX, Files, raw_dynamic, shared

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return shared(tmp_path_factory)


@pytest.fixture(scope="module")
def pictures(files: Files) -> PreparedData:
    """The test pictures as a validation split, without classes."""
    np.save(files.folder / "validation.npy", np.load(files.inputs))
    return PreparedData(files.folder, "x", (), 32, 32, "stretch", {"train": 0, "validation": 60, "test": 0}, "pictures")


def hold(
    candidates: list[Artifact],
    files: Files,
    data: PreparedData,
    store: Path,
    targets: tuple[Target, ...] = (ONNX, LITERT),
) -> Artifact:
    return select_tool(
        candidates, files("tflite:float32"), data, targets=targets, evaluate=Evaluate(), samples=60, seed=1,
        store=Store(store), listener=Silent(),
    )  # fmt: skip


def test_the_better_of_two_files_is_taken_and_kept(
    files: Files, pictures: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = [files("tflite:int8", CONVERTER), files("tflite:int8", QUANTIZER)]
    best = hold(candidates, files, pictures, tmp_path)
    (loser,) = best.alternatives
    assert {best.made_by, loser["made_by"]} == {one.made_by for one in candidates}
    assert best.path in {one.path for one in candidates} and best.id == candidates[0].id
    assert loser["why"] and loser["status"] == "ok"
    assert best.chosen_on == 60, "all of them took part, whatever decided"
    for figures in (loser, loser["chosen"]):
        assert figures["agreement"] > 0.5 and figures["samples"] == 60 and figures["target"] == "local/litert"
    monkeypatch.setattr(tool_selection, "trial", None)  # what was found is not looked for again
    assert hold(candidates, files, pictures, tmp_path) == best


def test_a_file_that_answers_wrongly_somewhere_loses(files: Files, pictures: PreparedData, tmp_path: Path) -> None:
    """As ai-edge-quantizer's own dynamic file does on tflite-runtime 2.14."""
    wrong = replace(raw_dynamic(files, tmp_path), id="model--tflite-dynamic")
    right = replace(files("tflite:dynamic-conv"), id=wrong.id)
    best = hold([wrong, right], files, pictures, tmp_path, (LITERT, OLD))
    assert best.path == right.path
    assert "answers wrongly on local/tflite-runtime" in best.alternatives[0]["why"]


def test_a_file_that_does_not_run_somewhere_loses(files: Files, pictures: PreparedData, tmp_path: Path) -> None:
    new = replace(files("tflite:dynamic", CONVERTER), id="x")
    old = replace(files("tflite:dynamic-per-tensor"), id="x")
    best = hold([new, old], files, pictures, tmp_path, (LITERT, OLD))
    assert best.path == old.path and "unsupported on local/tflite-runtime" in best.alternatives[0]["why"]
    assert best.chosen_on == 24, "the first few samples decided"


def test_a_file_that_could_not_be_made_loses(files: Files, pictures: PreparedData, tmp_path: Path) -> None:
    good = files("tflite:int8", QUANTIZER)
    bad = files("tflite:int8", CONVERTER).failed("failed", "no kernel")
    for candidates in ([good, bad], [bad, good]):
        best = hold(candidates, files, pictures, tmp_path)
        assert best.path == good.path and best.alternatives[0]["why"] == "failed: no kernel"
        assert best.chosen_on == 0, "nothing was tried"
    assert hold([bad, bad], files, pictures, tmp_path).status == "failed"
    assert hold([good], files, pictures, tmp_path) is good


def test_a_file_that_agrees_less_loses(files: Files, pictures: PreparedData, tmp_path: Path) -> None:
    good = files("tflite:weight-int8")
    worse = replace(files("tflite:int4"), id=good.id)
    best = hold([worse, good], files, pictures, tmp_path)
    assert best.path == good.path and "agrees with float on" in best.alternatives[0]["why"]
    assert best.alternatives[0]["agreement"] < best.alternatives[0]["chosen"]["agreement"]


def entry(name: str, size: int, medians: list[float] | None = None, root: Path = Path()) -> tool_selection._Entry:
    artifact = Artifact(name, "m", "tflite", "int8", None, bytes=size, made_by=name)
    created = tool_selection._Entry(artifact, artifact)
    if medians:
        (root / f"{name}.json").write_text(json.dumps(record(medians)))
        latency = Latency(medians[0], 0, 0, 0.9, 0, 0, 0, len(medians), 3, 1)
        created.latency = Measurement(name, "local/litert", "local", "litert", raw=f"{name}.json", latency_ms=latency)
    return created


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ([2.0, 2.1, 2.05, 2.2], [1.0, 1.1, 1.05, 1.02], "b"),
        ([2.0, 2.1, 2.05, 2.2], [2.01, 2.1, 2.0, 2.15], None),
        ([2.0, 2.1, 2.05, 2.2], [3.0, 3.1, 1.9, 3.3], None),  # one of them is as fast: it cannot be told
        ([1.0], [2.0], None),
    ],
)
def test_the_faster_one_wins_where_it_can_be_told(
    tmp_path: Path, first: list[float], second: list[float], winner: Any
) -> None:
    pair = [entry("a", 10, first, tmp_path), entry("b", 10, second, tmp_path)]
    best, whys = tool_selection._by_speed(pair, "local/litert", tmp_path)
    assert (best.artifact.id if best else None) == winner
    if winner:
        assert "2.00 times as slow on local/litert" in whys[id(pair[0])]


def test_else_the_smaller_one_wins_and_else_the_first() -> None:
    pair = [entry("a", 1000), entry("b", 900)]
    winner, whys = tool_selection._by_size(pair)
    assert winner.artifact.id == "b" and "1,000 bytes against 900" in whys[id(pair[0])]
    pair = [entry("a", 1000), entry("b", 998)]
    winner, whys = tool_selection._by_size(pair)
    assert winner.artifact.id == "a" and "about the same size" in whys[id(pair[1])]


def test_files_of_the_same_kernels_are_not_timed(
    files: Files, pictures: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two int8 files with other ranges run the same kernels; an int16x8 file of the other tool does not."""
    real, timed = tool_selection.trial, []

    def spy(*candidates: Any, **named: Any) -> Any:
        timed.append(named["timed"])
        return real(*candidates, **named)

    monkeypatch.setattr(tool_selection, "trial", spy)
    first = files("tflite:int8", CONVERTER)
    assert first.path is not None
    twin = replace(first, path=tmp_path / "twin.tflite", sha256="0" * 64, made_by="another tool")
    (tmp_path / "twin.tflite").write_bytes(first.path.read_bytes())
    best = hold([first, twin], files, pictures, tmp_path)
    assert best.path == first.path and not any(timed)
    assert "the same operators on the same shapes and types" in best.alternatives[0]["why"]

    def same(*artifacts: Artifact) -> bool:
        return tool_selection._same_work([tool_selection._Entry(one, one) for one in artifacts])

    assert same(first, twin)
    assert not same(first, files("tflite:float32"))
    assert not same(first, files("tflite:int8", CONVERTER).failed("failed", "no kernel"))
