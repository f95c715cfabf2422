"""Files whose pictures are grey, rectangular or have alpha are fed folders of pictures as square RGB files are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.class_figures import ClassFigures, Disagreement
from edgeproof.core.decode import decode, decode_again
from edgeproof.core.errors import InputError
from edgeproof.core.measurement import Measurement
from edgeproof.core.picture_size import size_of
from edgeproof.core.progress import Silent
from edgeproof.core.recipe_data import Data
from edgeproof.core.store import Store
from edgeproof.devices.adb import value_files
from edgeproof.devices.agent.feed import Feed
from edgeproof.devices.browser.page_tensors import PageFeed
from edgeproof.evaluate.examples import with_samples
from edgeproof.export import inspect
from edgeproof.train.external.import_model import _judge
from edgeproof.workflows.diagnose import diagnose
from edgeproof.workflows.evaluate import evaluate
from edgeproof.workflows.export import export
from edgeproof.workflows.files import Files
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.model_files import input_spec_of, open_artifact
from edgeproof.workflows.prepare_data import prepared

from ..support.bundles import bundle_of, compiles, on_device
from ..support.picture_models import (
    LABELS,
    linear_model,
    litert_answers,
    onnx_model,
    prepared_pixels,
    weights_of,
    write_pictures,
)

SHAPES = [(48, 48, 1), (32, 96, 3), (40, 24, 4)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, int]:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("shape", [*SHAPES, (64, 64, 3)])
def test_pictures_are_as_pillow_alone_makes_them(
    pictures: dict[Path, int], shape: tuple[int, int, int], resize: str
) -> None:
    for path in pictures:
        ours = decode(path.read_bytes(), size=size_of(*shape), resize=resize, max_pixels=10**6).pixels
        np.testing.assert_array_equal(ours, prepared_pixels(path, shape, resize), f"{path.name}")
        again = decode_again(path.read_bytes(), size=size_of(*shape), resize=resize)
        np.testing.assert_array_equal(ours, again)


@pytest.mark.parametrize(
    ("shape", "resize"),
    [((48, 48, 1), "stretch"), ((32, 96, 3), "crop"), ((32, 96, 3), "pad"), ((40, 24, 4), "stretch")],
)
def test_accuracy_equals_that_of_pillow_and_litert_alone(
    tmp_path: Path, pictures: dict[Path, int], shape: tuple[int, int, int], resize: str
) -> None:
    files = {"float": linear_model(shape), "int8": linear_model(shape, int8=True)}
    for name, content in files.items():
        (tmp_path / f"{name}.tflite").write_bytes(content)
    values = np.stack([prepared_pixels(path, shape, resize) for path in pictures]) / np.float32(255)
    truths = np.array(list(pictures.values()))
    run = evaluate(
        [tmp_path / f"{name}.tflite" for name in files], f"folder:{_root(pictures)}", "local/litert",
        out=tmp_path / "out", value_range=(0, 1), resize=resize, labels=LABELS,
        latency={"processes": 1, "warmup_seconds": 0, "run_seconds": 0.02},
    )  # fmt: skip
    for name, content in files.items():
        expected = np.mean(np.array(litert_answers(content, values)) == truths)
        (row,) = [row for row in run.results.measurements if row.artifact == name]
        assert row.status == "ok" and row.accuracy == pytest.approx(expected), row
        assert 0 < expected < 1


@pytest.mark.parametrize("channels", [2, 5])
def test_other_channels_are_refused_and_what_is_possible_is_said(tmp_path: Path, channels: int) -> None:
    (tmp_path / "m.tflite").write_bytes(linear_model((8, 8, channels)))
    with pytest.raises(InputError, match=r"1 channel \(grey\), 3 \(RGB\) or 4 \(RGBA\), found image \(1, 8, 8"):
        input_spec_of(open_artifact(tmp_path / "m.tflite"), None)


def test_the_size_of_square_rgb_pictures_is_their_side(tmp_path: Path) -> None:
    for shape, size in (((8, 8, 3), 8), ((8, 8, 1), (8, 8, 1)), ((8, 6, 3), (8, 6, 3))):
        (tmp_path / "m.tflite").write_bytes(linear_model(shape))
        assert input_spec_of(open_artifact(tmp_path / "m.tflite"), None) == InputSpec("image", size, "stretch")


@pytest.fixture(scope="module", params=[(48, 48, 1), (32, 96, 3), (40, 24, 4)], ids=str)
def exported(
    request: pytest.FixtureRequest, pictures: dict[Path, int], tmp_path_factory: pytest.TempPathFactory
) -> Files:
    """A float .tflite of each shape that is quantized as it is, with pictures of all kinds."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "mine.tflite").write_bytes(linear_model(request.param))
    return export(
        folder / "mine.tflite", "tflite:int8", out=folder / "out", calibration=f"folder:{_root(pictures)}",
        samples=8, value_range=(0, 1), labels=LABELS,
    )  # fmt: skip


def test_a_supplied_file_is_calibrated_with_pictures_and_proved(
    exported: Files, pictures: dict[Path, int], tmp_path: Path
) -> None:
    int8 = exported["tflite:int8"]
    assert int8.status == "ok" and int8.contract is not None and int8.contract.kind == "image", int8.reason
    shape = int8.contract.shape[1:]
    assert int8.contract.colour == {1: "grey", 3: "RGB", 4: "RGBA"}[shape[2]]
    assert int8.calibration is not None and int8.calibration["samples"] == 8
    files = sorted(int8.path.parent.glob("*.tflite")) if int8.path else []
    assert len(files) == 2
    run = evaluate(
        files, f"folder:{_root(pictures)}", "local/litert", out=tmp_path,
        latency={"processes": 1, "warmup_seconds": 0, "run_seconds": 0.02},
    )  # fmt: skip
    values = np.stack([prepared_pixels(path, shape, "stretch") for path in pictures]) / np.float32(255)
    truths = np.array(list(pictures.values()))
    for row in run.results.measurements:
        content = next(file for file in files if file.stem == row.artifact).read_bytes()
        expected = np.mean(np.array(litert_answers(content, values)) == truths)
        assert row.status == "ok" and row.accuracy == pytest.approx(expected) and (row.agreement or 0) > 0.8


def test_its_bundle_reads_pictures_as_the_evaluation_did(
    exported: Files, pictures: dict[Path, int], tmp_path: Path
) -> None:
    path = exported["tflite:int8"].path
    assert path is not None
    bundle = bundle_of(path, tmp_path / "out", source=f"folder:{_root(pictures)}", samples=4)
    contract = bundle.manifest["contract"]
    height, width, channels = contract["shape"][1:]
    golden = np.load(bundle.folder / "golden.npz", allow_pickle=False)
    assert golden["samples"].shape == (4, height, width, channels)
    verified = on_device(bundle.folder, Path(np.__file__).parents[1], "verify.py")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    compiles(bundle.folder / "cpp" / "classifier.cc", tmp_path)
    code = (
        "import sys, numpy; sys.path.insert(0, sys.argv[1]); import example\n"
        "contract = {'shape': [1, *map(int, sys.argv[2].split(','))]}\n"
        "for resize in ('stretch', 'crop', 'pad'):\n"
        "    rows = [example.read_picture(path, {**contract, 'resize': resize}) for path in sys.argv[3:]]\n"
        "    numpy.save(resize, numpy.stack(rows))"
    )
    paths = list(map(str, pictures))
    shape = (height, width, channels)
    subprocess.run(
        [sys.executable, "-c", code, str(bundle.folder), ",".join(map(str, shape)), *paths], check=True, cwd=tmp_path
    )
    for resize in ("stretch", "crop", "pad"):
        wanted = np.stack([prepared_pixels(path, shape, resize) for path in pictures])
        np.testing.assert_array_equal(np.load(tmp_path / f"{resize}.npy"), wanted, resize)
    (file,) = bundle.folder.glob("*.tflite")
    metadata = inspect(file).metadata
    assert metadata["inputs"][0]["colour"] == {1: "grayscale", 3: "rgb", 4: "unknown"}[channels]
    assert metadata["inputs"][0]["normalization"] == {"mean": [0.0], "std": [255.0]}
    assert open_artifact(file).labels == LABELS and bundle.manifest["file"]["metadata"] is True
    accepted = [row["accepts"] for row in bundle.manifest["consumers"]]
    assert channels == 3 or not any(accepted), "the stock consumers feed RGB"
    kotlin = (bundle.folder / "android/Classifier.kt").read_text()
    assert kotlin.count("put(") == {1: 2, 3: 4, 4: 5}[channels], "the function, and a call for each channel"
    assert f"{channels} bytes, {contract['colour']}" in (bundle.folder / "cpp/classifier.cc").read_text()
    assert f"takes {contract['colour']} pictures" in (bundle.folder / "README.md").read_text()


def test_it_is_diagnosed_and_its_disagreements_are_shown(
    exported: Files, pictures: dict[Path, int], tmp_path: Path
) -> None:
    path = exported["tflite:int8"].path
    assert path is not None
    found = diagnose(path, data=f"folder:{_root(pictures)}", samples=4, out=tmp_path)
    assert found.samples == 4 and found.tensors
    data = prepared(
        Data(source=f"folder:{_root(pictures)}"), input_spec_of(open_artifact(path), None), seed=1, folder=Path(),
        store=Store(tmp_path / "store"), listener=Silent(), use="test",
    )  # fmt: skip
    assert data.rows("test").shape[1:] == (data.height, data.width, data.channels)
    wrong = ClassFigures(3, (), disagreements=(Disagreement(0, "a", "b", 0.9, "c", 0.8),))
    row = Measurement("m", "local/litert", "local", "litert", by_class=wrong)
    (shown,) = with_samples([row], data, tmp_path, {}, {})
    assert shown.by_class is not None
    picture = Image.open(tmp_path / shown.by_class.disagreements[0].picture)
    assert picture.mode == ("L" if data.channels == 1 else "RGB") and max(picture.size) <= 96


def test_without_a_range_such_inputs_are_arrays_as_before(tmp_path: Path) -> None:
    """A spectrogram has the shape of a grey picture: only whoever says a range says that it is one."""
    (tmp_path / "sound.tflite").write_bytes(linear_model((20, 12, 1)))
    np.save(tmp_path / "x.npy", np.random.default_rng(1).standard_normal((8, 20, 12, 1)).astype("float32"))
    made = export(
        tmp_path / "sound.tflite",
        "tflite:int8",
        out=tmp_path / "out",
        calibration=f"npy:{tmp_path / 'x.npy'}",
        samples=8,
    )["tflite:int8"]
    assert made.status == "ok" and made.contract is not None and made.contract.kind == "tensor", made.reason
    with pytest.raises(InputError, match="arrays of its own shape") as refused:
        export(tmp_path / "sound.tflite", "tflite:int8", out=tmp_path / "o", calibration=f"folder:{tmp_path}")
    assert "--value-range 0,1" in (refused.value.remedy or "")


@pytest.mark.parametrize(
    ("shape", "dtype", "known", "said", "kind"),
    [
        ((1, 48, 48, 1), "float32", None, (0.0, 1.0), "image"),
        ((1, 32, 96, 3), "uint8", None, (0.0, 255.0), "image"),
        ((1, 32, 96, 3), "float32", (0.0, 255.0), None, "tensor"),
        ((1, 48, 48, 1), "uint8", None, None, "tensor"),
        ((1, 48, 48, 3), "float32", (0.0, 255.0), None, "image"),
        ((1, 48, 48, 3), "uint8", None, None, "image"),
        ((1, 48, 48, 3), "float32", None, None, "tensor"),
    ],
)
def test_of_an_external_model_only_square_rgb_is_a_picture_without_being_said(
    shape: tuple[int, ...],
    dtype: str,
    known: tuple[float, float] | None,
    said: tuple[float, float] | None,
    kind: str,
) -> None:
    plain = SimpleNamespace(inputs=[("x", shape, dtype)])
    source: Any = SimpleNamespace(plain=plain, inputs=[])
    file: Any = SimpleNamespace(path=Path("m.keras"))
    contract = _judge(source, file, said, said or known).contract
    assert contract.kind == kind


@pytest.mark.slow
def test_a_keras_model_of_grey_rectangles_goes_through_export_and_evaluation(
    pictures: dict[Path, int], tmp_path: Path
) -> None:
    shape = (24, 40, 1)
    weights = weights_of(shape).astype(np.float32) * np.float32(0.002)
    code = (
        "import sys, numpy, tf_keras as keras\n"
        "weights = numpy.load(sys.argv[1])\n"
        "layers = keras.layers\n"
        "parts = [keras.Input((24, 40, 1)), layers.Flatten(), layers.Dense(3, activation='softmax')]\n"
        "model = keras.Sequential(parts)\n"
        "model.layers[-1].set_weights([weights.T, numpy.zeros(3, 'float32')])\n"
        "model.save(sys.argv[2])"
    )
    np.save(tmp_path / "weights.npy", weights)
    arguments = [str(tmp_path / "weights.npy"), str(tmp_path / "grey.keras")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
    files = export(
        tmp_path / "grey.keras", ["tflite:float32", "tflite:int8-int8io", "onnx:float32"], out=tmp_path / "out",
        calibration=f"folder:{_root(pictures)}", samples=12, maker="converter", value_range=(0, 1), labels=LABELS,
    )  # fmt: skip
    assert files.all_ok, [file.reason for file in files.values()]
    run = evaluate(
        files, f"folder:{_root(pictures)}", ["local/tensorflow", "local/litert", "local/onnxruntime"],
        out=tmp_path / "run", latency={"processes": 1, "warmup_seconds": 0, "run_seconds": 0.02},
    )  # fmt: skip
    values = np.stack([prepared_pixels(path, shape, "stretch") for path in pictures]) / np.float32(255)
    top = (values.reshape(len(values), -1) @ weights.T).argmax(axis=1)
    expected = np.mean(top == np.array(list(pictures.values())))
    rows = [row for row in run.results.measurements if row.status == "ok"]
    assert {row.artifact.partition("--")[2] for row in rows} == {
        "savedmodel-float32", "tflite-float32", "tflite-int8-int8io", "onnx-float32",
    }  # fmt: skip
    for row in rows:
        if row.artifact.endswith("float32"):
            assert row.accuracy == pytest.approx(expected) and row.agreement in (None, 1.0), row
        else:
            assert row.agreement is not None and row.agreement > 0.9, row


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("shape", [(32, 96, 3), (48, 48, 1)])
def test_onnx_files_whose_channels_come_first_are_fed_so(
    pictures: dict[Path, int], tmp_path: Path, shape: tuple[int, int, int], dtype: str
) -> None:
    onnx_model(tmp_path / "first.onnx", shape, dtype)
    values = np.stack([prepared_pixels(path, shape, "crop") for path in pictures]) / np.float32(255)
    weights = weights_of(shape).astype(np.float32) * np.float32(0.002)
    top = (values.reshape(len(values), -1) @ weights.T).argmax(axis=1)
    run = evaluate(
        tmp_path / "first.onnx", f"folder:{_root(pictures)}", "local/onnxruntime", out=tmp_path / "run", resize="crop",
        value_range=(0, 1) if dtype == "float32" else None, labels=LABELS, budget={"max_latency_ms": 60000},
        latency={"processes": 1, "warmup_seconds": 0, "run_seconds": 0.02},
    )  # fmt: skip
    (row,) = run.results.measurements
    assert row.status == "ok", row.reason
    assert row.accuracy == pytest.approx(np.mean(top == np.array(list(pictures.values()))))
    (artifact,) = run.results.artifacts
    assert artifact.contract is not None and artifact.contract.layout == "NCHW"
    assert artifact.contract.shape == (1, shape[2], *shape[:2]) and artifact.contract.size == shape

    assert artifact.scheme == "float32"  # it takes integers, and computes in float
    bundle = bundle_of(tmp_path / "run", tmp_path / "bundle", samples=4)
    golden = np.load(bundle.folder / "golden.npz", allow_pickle=False)
    assert golden["samples"].shape == (4, *shape) and golden["input_0"].shape == (4, 1, shape[2], *shape[:2])
    site = Path(np.__file__).parents[1]
    verified = on_device(bundle.folder, site, "verify.py")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    np.save(tmp_path / "picture.npy", golden["samples"][0])
    shown = on_device(bundle.folder, site, "example.py", str(tmp_path / "picture.npy"))
    assert shown.stdout.split()[1] == LABELS[int(golden["outputs"][0].argmax())], shown.stderr


def test_the_feeds_of_browsers_and_phones_put_channels_first_too(tmp_path: Path) -> None:
    rows = np.random.default_rng(3).integers(0, 256, (2, 5, 7, 3), np.uint8)
    np.save(tmp_path / "rows.npy", rows)
    about = {"kind": "image", "input": "x", "low": 0.0, "high": 1.0, "layout": "NCHW"}
    wanted = (rows.astype(np.float32) / np.float32(255)).transpose(0, 3, 1, 2)
    page = PageFeed(about, tmp_path / "rows.npy").samples(0, 2)
    phone = [value_files._values(about, rows[i : i + 1]) for i in range(2)]
    agent = [Feed({"feed": about})(rows[i : i + 1]) for i in range(2)]
    for fed in (page, phone, agent):
        np.testing.assert_allclose(np.concatenate([one["x"] for one in fed]), wanted, rtol=1e-6)


def test_a_tflite_file_may_have_its_channels_first(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(linear_model((3, 32, 96)))
    assert input_spec_of(open_artifact(tmp_path / "m.tflite"), None) == InputSpec("image", (32, 96, 3), "stretch")


def _root(pictures: dict[Path, int]) -> Path:
    return next(iter(pictures)).parents[1]
