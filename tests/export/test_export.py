"""Export: calibrating once changes no byte, a variant that fails is a row, files say what they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file
from edgeproof.core.errors import InputError
from edgeproof.core.model import load_model
from edgeproof.core.recipe import Export
from edgeproof.core.variant import Variant
from edgeproof.export import export, inspect, load, onnx, sidecar, tflite

from ..conftest import TinyRun

pytestmark = pytest.mark.slow


def test_calibrating_once_changes_no_byte(tiny: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the run, made with one calibration, are those that the stock converter makes with one each."""
    from contextlib import nullcontext

    monkeypatch.setattr(tflite, "calibrate_once", lambda _: nullcontext())
    model = load_model(tiny.folder / "models" / "tiny")
    (entry,) = (tiny.folder / ".store" / "calibration").iterdir()
    samples = np.load(entry / "calibration.npy")
    for scheme in ("int8", "int8-uint8io"):
        content, _ = tflite.convert(model, Variant("tflite", scheme).scheme, Export(), samples)
        path = tiny.artifact(f"tflite:{scheme}").path
        assert path is not None and content == path.read_bytes(), scheme


def test_optimizing_onnx_in_place_changes_no_byte(tiny: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tf2onnx's copies of the graph the file is what its own way gives, and there are none."""
    import copy
    from contextlib import nullcontext

    from tf2onnx.graph import Graph

    copied: list[Any] = []

    def spy(thing: Any, *more: Any) -> Any:
        if isinstance(thing, Graph):
            copied.append(thing)
        return real(thing, *more)

    real = copy.deepcopy
    monkeypatch.setattr(copy, "deepcopy", spy)
    model = load_model(tiny.folder / "models" / "tiny")
    in_place = onnx.convert(model, Export())
    assert not copied
    monkeypatch.setattr(onnx, "_optimize_in_place", nullcontext)
    assert onnx.convert(model, Export()) == in_place
    assert copied


def test_other_samples_give_another_file(tiny: TinyRun) -> None:
    """A kept calibrator must not answer for samples that it has not seen."""
    model = load_model(tiny.folder / "models" / "tiny")
    scheme = Variant("tflite", "int8").scheme
    random = np.random.default_rng(0)
    dark, bright = (random.integers(low, low + 40, (4, 32, 32, 3), np.uint8) for low in (0, 200))
    assert tflite.convert(model, scheme, Export(), dark)[0] != tflite.convert(model, scheme, Export(), bright)[0]


def test_files_say_what_they_are(tiny: TinyRun) -> None:
    expected = {
        "tflite:float32": ("float32", None),
        "tflite:int8": ("float32", None),
        "tflite:int8-int8io": ("int8", "int8"),
        "tflite:int8-uint8io": ("uint8", "uint8"),
        "onnx:float32": ("float32", None),
    }
    for variant, (dtype, quantized) in expected.items():
        artifact = tiny.artifact(variant)
        assert artifact.path is not None
        contents = inspect(artifact.path)
        assert (contents.inputs, contents.outputs) == (artifact.inputs, artifact.outputs)
        (file_input,) = contents.inputs
        assert (file_input.name, file_input.shape, file_input.dtype) == ("image", (1, 32, 32, 3), dtype)
        assert contents.outputs[0].name == "probabilities" and contents.outputs[0].shape == (1, 10)
        assert (file_input.scale is not None) == (quantized is not None)
    assert tiny.artifact("onnx:float32").min_runtime == "onnxruntime 1.12"
    assert {o.name: o.version for o in tiny.artifact("tflite:dynamic").ops}["FULLY_CONNECTED"] == 12


def test_dense_per_tensor_lets_an_old_runtime_load_dynamic_files(tiny: TinyRun, tmp_path: Path) -> None:
    model = load_model(tiny.folder / "models" / "tiny")
    options = Export(dense_per_channel=False)
    artifact = export(model, Variant("tflite", "dynamic"), options=options, folder=tmp_path)
    assert artifact.status == "ok"
    assert {o.name: o.version for o in artifact.ops}["FULLY_CONNECTED"] < 12


def test_a_variant_that_cannot_be_made_is_a_row(tiny: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(tiny.folder / "models" / "tiny")
    gone = replace(model, saved_model=tmp_path / "none")
    artifact = export(gone, Variant("tflite", "float32"), options=Export(), folder=tmp_path)
    assert artifact.status == "failed" and artifact.path is None and artifact.reason and artifact.remedy
    assert load(tmp_path / "tiny--tflite-float32.json") == artifact

    def refuse(*_: Any) -> bytes:
        raise RuntimeError("Quantization not yet supported for op: 'CUMSUM'.\n" + "x" * 100_000)

    monkeypatch.setattr(tflite, "convert", refuse)
    artifact = export(model, Variant("tflite", "float16"), options=Export(), folder=tmp_path)
    assert artifact.reason == "there is no integer kernel for CUMSUM" and "dynamic" in artifact.remedy


def test_sidecars_are_read_back_where_the_file_is(tiny: TinyRun) -> None:
    artifact = tiny.artifact("tflite:int8")
    assert artifact.path is not None
    read = load(sidecar(artifact.path))
    assert isinstance(read, Artifact) and read.path == artifact.path
    assert read.sha256 == sha256_file(artifact.path)
    assert read.contract is not None and read.contract.resize == "stretch"


@pytest.mark.parametrize("name", ["x.tflite", "x.onnx"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 20, b"\x1c\0\0\0TFL3" + b"\xff" * 64])
def test_a_damaged_file_is_told(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        inspect(tmp_path / name)
