"""The proof of a bundle's code for microcontrollers: what is read back from the C text runs, or the bundle says not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeproof
from edgeproof.cli.main import status
from edgeproof.core.chips import CHIPS
from edgeproof.core.errors import InputError
from edgeproof.core.target import Target
from edgeproof.devices.cortex_m import CortexM
from edgeproof.export import bundle as room
from edgeproof.export import load
from edgeproof.export.bundle import Bundle, micro_code
from edgeproof.workflows import micro_proof
from edgeproof.workflows.micro_proof import prove_image, prove_micro

from ..support.bundles import bundle_of
from ..support.micro_files import dense, features

pytest.importorskip("tflite_micro", reason="tflite-micro is not installed here")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bundle]:
    folder = tmp_path_factory.mktemp("files")
    artifact = dense(folder / "m--tflite-int8.tflite", "int8")
    assert artifact.path is not None
    return artifact.path, bundle_of(artifact.path, folder / "out", f"npy:{features(folder / 'x.npy')}")


def test_the_array_and_the_resolver_are_proved_on_the_golden_vectors(made: tuple[Path, Bundle]) -> None:
    path, bundle = made
    micro = json.loads((bundle.folder / "bundle.json").read_text("utf-8"))["micro"]
    proof, written = micro["proof"], micro_code(bundle.folder)
    assert (proof["status"], proof["kind"], proof["runtime"]) == ("ok", "emulated", "tflite-micro"), proof
    assert proof["samples"] == 8 and 0 <= proof["identical"] <= 8 and proof["reference"]["samples"] == 8
    assert written.array == path.read_bytes() and written.registered == ("AddFullyConnected",) and written.room == 1
    # The code reserves what the interpreter took, and the estimate where that is more.
    assert micro["cortex_m"] is None and micro["arena"]["bytes"] >= proof["arena"]["bytes"] > 0
    code = (bundle.folder / "micro" / "classifier_micro.cc").read_text("utf-8")
    assert f"kArenaBytes = {micro['arena']['bytes']};" in code
    assert "The C array was run in" in (bundle.folder / "README.md").read_text("utf-8")
    assert not any("not proved" in note for note in bundle.manifest["notes"])


def proved(
    made: tuple[Path, Bundle], folder: Path, changed: dict[str, tuple[str, str]], outputs: Any
) -> dict[str, Any]:
    """Return the proof of the bundle's code with changes: by file, what is replaced by what."""
    path, bundle = made
    shutil.copytree(bundle.folder / "micro", folder / "micro")
    for name, (old, new) in changed.items():
        file = folder / "micro" / name
        assert old in file.read_text("utf-8")
        file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")
    golden = room.Golden((), outputs, (None,) * 8, "", False, "litert", "", "", 1)
    artifact = load(path.with_suffix(".json"))
    vectors = json.loads((bundle.folder / "golden.json").read_text())
    return prove_micro(folder, artifact, golden, vectors, path.with_name("x.npy"), folder)


def test_code_that_does_not_fit_its_array_is_not_proved(made: tuple[Path, Bundle], tmp_path: Path) -> None:
    with np.load(made[1].folder / "golden.npz", allow_pickle=False) as stored:
        outputs = stored["outputs"]
    resolver = {"classifier_micro.cc": ("AddFullyConnected()", "AddSoftmax()")}
    proof = proved(made, tmp_path / "a", resolver, outputs)
    assert proof["status"] == "failed" and "registers AddSoftmax" in proof["reason"]
    assert "needs AddFullyConnected" in proof["reason"] and proof["remedy"]
    proof = proved(made, tmp_path / "b", {"classifier_micro.cc": ("Resolver<1>", "Resolver<7>")}, outputs)
    assert proof["status"] == "failed" and "room for 7" in proof["reason"]
    proof = proved(made, tmp_path / "c", {}, outputs + 1)
    assert proof["status"] == "failed" and "differ from the golden ones" in proof["reason"]


def test_without_the_interpreter_nothing_is_claimed(
    made: tuple[Path, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro_proof, "TARGET", Target("local", "tflite-micro", "9.9"))
    bundle = bundle_of(made[0], tmp_path / "out")
    proof = bundle.manifest["micro"]["proof"]
    assert proof["status"] == "unsupported" and proof["remedy"] and "samples" not in proof
    assert any(note.startswith("micro/ is not proved: ") for note in bundle.manifest["notes"])
    readme = (bundle.folder / "README.md").read_text("utf-8")
    assert "array was run in" not in readme and "is not proved" in readme


TREE = os.environ.get("EDGEPROOF_TFLM", "")


@pytest.mark.skipif(not TREE, reason="EDGEPROOF_TFLM names no TFLM tree")
@pytest.mark.parametrize("chip", CHIPS)
def test_the_code_is_built_for_a_cortex_m_and_answers_on_it(
    made: tuple[Path, Bundle], tmp_path: Path, chip: str
) -> None:
    samples = f"npy:{made[0].with_name('x.npy')}"
    bundle = edgeproof.bundle(made[0], out=tmp_path, data=samples, tflm=TREE, chip=chip)
    image = bundle.manifest["micro"]["cortex_m"]
    assert (image["status"], image["kind"], image["chip"]) == ("ok", "emulated", chip), image
    assert image["samples"] == image["identical"] == 8 and image["largest"] == 0
    assert 0 < image["arena_bytes"] <= bundle.manifest["micro"]["arena"]["bytes"] < image["data_bytes"]
    assert f"was built for a `{chip}`" in (bundle.folder / "README.md").read_text("utf-8")


@pytest.mark.skipif(not TREE, reason="EDGEPROOF_TFLM names no TFLM tree")
def test_an_image_that_fails_is_no_proof(made: tuple[Path, Bundle], tmp_path: Path) -> None:
    _, bundle = made
    with np.load(bundle.folder / "golden.npz", allow_pickle=False) as stored:
        golden = room.Golden(
            (stored["input_0"][:, 0] * 0.02,), stored["outputs"], (None,) * 8, "", False, "", "", "", 1
        )
    vectors = json.loads((bundle.folder / "golden.json").read_text())
    for changed, expected, words in (
        (("kArenaBytes = ", "kArenaBytes = 16; // "), "crashed", "Failed to allocate"),
        (("kOutputZeroPoint = ", "kOutputZeroPoint = 40; // "), "failed", "differ from the golden ones"),
        (("bool Begin()", "bool Begin( {"), "unsupported", "error:"),
    ):
        folder = tmp_path / expected
        shutil.copytree(bundle.folder / "micro", folder / "micro")
        code = folder / "micro" / "classifier_micro.cc"
        code.write_text(code.read_text("utf-8").replace(*changed), "utf-8")
        proof = prove_image(
            folder, vectors, artifact=load(made[0].with_suffix(".json")), golden=golden,
            cortex_m=CortexM("cortex-m3", Path(TREE)), workspace=folder, tell=lambda done, total: None,
        )  # fmt: skip
        assert proof["status"] == expected and words in proof["reason"] and proof["remedy"], proof


def test_what_an_image_needs_is_said(
    made: tuple[Path, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert status(["bundle", str(made[0]), "--out", str(tmp_path / "out"), "--tflm", str(tmp_path)]) == 2
    assert "create_tflm_tree.py" in capfd.readouterr().err
    header = tmp_path / "tensorflow" / "lite" / "micro" / "micro_interpreter.h"
    header.parent.mkdir(parents=True)
    header.write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"arm-none-eabi-g\+\+ is not installed: it is needed for") as error:
        edgeproof.bundle(made[0], out=tmp_path / "out", tflm=tmp_path, chip="cortex-m7")
    assert "apt install gcc-arm-none-eabi" in error.value.remedy
    with pytest.raises(InputError, match="m99"):
        edgeproof.bundle(made[0], out=tmp_path / "out", tflm=tmp_path, chip="cortex-m99")
    assert not (tmp_path / "out").exists()
