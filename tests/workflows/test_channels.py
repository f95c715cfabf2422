"""Pictures whose channels are in another order, have a mean and std each, or come first, are fed so everywhere."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.codec import from_json, to_json
from edgeproof.core.errors import InputError
from edgeproof.core.model import InputContract
from edgeproof.core.pixels import Channels, as_input, pixel_feed
from edgeproof.devices.adb import value_files
from edgeproof.devices.agent.feed import Feed
from edgeproof.devices.browser.page_tensors import PageFeed
from edgeproof.export import inspect, save
from edgeproof.export.samples import feeds
from edgeproof.train.external.options import ImportOptions
from edgeproof.workflows.diagnose import diagnose
from edgeproof.workflows.evaluate import evaluate
from edgeproof.workflows.export import export
from edgeproof.workflows.model_files import open_artifact

from ..support.bundles import bundle_of, compiles, on_device
from ..support.external_imports import Heard
from ..support.picture_models import (
    LABELS,
    linear_model,
    litert_answers,
    onnx_model,
    prepared_pixels,
    weights_of,
    write_pictures,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
QUICK: dict[str, Any] = {"processes": 1, "warmup_seconds": 0, "run_seconds": 0.02}
SHAPE = (32, 20, 3)
CASES = {
    "bgr": ({"channel_order": "bgr", "value_range": (0, 1)}, False),
    "mean and std": ({"mean": MEAN, "std": STD}, False),
    "caffe": ({"channel_order": "bgr", "mean": (103.9, 116.8, 123.7), "value_range": (0, 255)}, False),
    "channels first": ({"value_range": (0, 1)}, True),
    "torch": ({"mean": MEAN, "std": STD}, True),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, int]:
    return write_pictures(tmp_path_factory.mktemp("pictures"), 8)


def values_of(pixels: np.ndarray, case: str) -> np.ndarray:
    """Return what the model takes for pixels (N, height, width, 3), by NumPy alone."""
    options, first = CASES[case]
    values = pixels.astype(np.float64)
    if options.get("value_range") != (0, 255):
        values = values / 255
    if options.get("channel_order") == "bgr":
        values = values[..., [2, 1, 0]]
    values = (values - options.get("mean", 0)) / options.get("std", 1)
    return values.transpose(0, 3, 1, 2) if first else values


def contract_of(case: str) -> InputContract:
    options, first = CASES[case]
    low, high = options.get("value_range", (0.0, 1.0))
    channels = Channels(options.get("channel_order", ""), options.get("mean", ()), options.get("std", ()))
    return channels.of(InputContract("x", (1, 3, 32, 20) if first else (1, *SHAPE), "float32", low, high))


@pytest.mark.parametrize("case", CASES)
def test_every_feed_gives_what_numpy_gives(case: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(3).integers(0, 256, (3, *SHAPE), np.uint8)
    np.save(tmp_path / "rows.npy", rows)
    contract = contract_of(case)
    about = pixel_feed(contract)
    fed = {
        "here": [as_input(about, rows)],
        "page": [one["x"] for one in PageFeed(about, tmp_path / "rows.npy").samples(0, 3)],
        "phone": [value_files._values(about, rows[i : i + 1])["x"] for i in range(3)],
        "agent": [Feed({"feed": about})(rows[i : i + 1])["x"] for i in range(3)],
        "calibration": [one["x"] for one in feeds(contract, rows)()],
    }
    for arrays in fed.values():
        found = np.concatenate(arrays)
        assert found.dtype == np.float32 and found.flags.c_contiguous
        np.testing.assert_allclose(found, values_of(rows, case), rtol=1e-5, atol=2e-6)


# "bgr" is within "caffe", and "channels first" within "torch".
@pytest.mark.parametrize("case", ["mean and std", "caffe", "torch"])
def test_a_supplied_file_is_exported_measured_diagnosed_and_bundled(
    case: str, pictures: dict[Path, int], tmp_path: Path
) -> None:
    options, first = CASES[case]
    source = f"folder:{next(iter(pictures)).parents[1]}"
    (tmp_path / "mine.tflite").write_bytes(linear_model((3, 32, 20) if first else SHAPE))
    pixels = np.stack([prepared_pixels(path, SHAPE, "stretch") for path in pictures])
    values, truths = values_of(pixels, case), np.array(list(pictures.values()))
    weights = weights_of((3, 32, 20) if first else SHAPE) * 0.002
    expected = np.mean((values.reshape(len(values), -1) @ weights.T).argmax(axis=1) == truths)

    # Without a sidecar, the options say what the file takes.
    supplied = {"out": tmp_path / "bare", "latency": QUICK, "labels": LABELS}
    run = evaluate(tmp_path / "mine.tflite", source, "local/litert", **supplied, **options)
    assert run.results.measurements[0].accuracy == pytest.approx(expected)

    files = export(tmp_path / "mine.tflite", "tflite:int8", out=tmp_path / "out", calibration=source, samples=8,
                   labels=LABELS, **options)  # fmt: skip
    int8 = files["tflite:int8"]
    assert int8.status == "ok" and int8.path is not None, int8.reason
    assert int8.contract is not None and int8.contract.colour == ("BGR" if "channel_order" in options else "RGB")
    # The sidecars say it: no option is needed any more.
    both = sorted((tmp_path / "out").glob("*.tflite"))
    run = evaluate(both, source, "local/litert", out=tmp_path / "run", latency=QUICK)
    for row in run.results.measurements:
        content = next(file for file in both if file.stem == row.artifact).read_bytes()
        answers = litert_answers(content, values.astype(np.float32))
        assert row.status == "ok" and row.accuracy == pytest.approx(np.mean(np.array(answers) == truths)), row
        assert (row.agreement or 0) > 0.8
    found = diagnose(int8.path, data=source, samples=4, out=tmp_path / "diagnosis")
    assert found.samples == 4 and min(tensor.snr_db for tensor in found.tensors if tensor.snr_db is not None) > 15

    bundle = bundle_of(int8.path, tmp_path / "bundle", source=source, samples=4)
    golden = np.load(bundle.folder / "golden.npz", allow_pickle=False)
    np.testing.assert_allclose(golden["input_0"][:, 0], values_of(golden["samples"], case), rtol=1e-5, atol=2e-6)
    site = Path(np.__file__).parents[1]
    verified = on_device(bundle.folder, site, "verify.py")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    np.save(tmp_path / "picture.npy", golden["samples"][0])
    shown = on_device(bundle.folder, site, "example.py", str(tmp_path / "picture.npy"))
    assert shown.stdout.split()[1] == LABELS[int(golden["outputs"][0].argmax())], shown.stderr
    compiles(bundle.folder / "cpp" / "classifier.cc", tmp_path)
    kotlin, cpp = (bundle.folder / part for part in ("android/Classifier.kt", "cpp/classifier.cc"))
    order = "2, 1, 0" if "channel_order" in options else "0, 1, 2"
    assert f"kFrom[] = {{ {order} }}" in cpp.read_text() and "SHIFTS[channel]" in kotlin.read_text()
    assert ("c * kHeight * kWidth + i" in cpp.read_text()) == first
    read = (bundle.folder / "README.md").read_text()
    assert ("blue, green, red" in read) == ("channel_order" in options) and ("NCHW" in read) == first
    assert ("(value − mean) / std" in read) == ("mean" in options)

    # What the metadata say is enough for a file without its sidecar; they know no order but RGB.
    metadata = inspect(next(bundle.folder.glob("*.tflite"))).metadata
    assert ("inputs" in metadata) != first
    if case == "mean and std":
        assert metadata["inputs"][0]["normalization"]["std"] == pytest.approx([255 * one for one in STD])
        alone = tmp_path / "alone.tflite"
        alone.write_bytes(next(bundle.folder.glob("*.tflite")).read_bytes())
        heard = Heard()
        run = evaluate(alone, source, "local/litert", out=tmp_path / "alone", latency=QUICK, progress=heard)
        assert run.results.measurements[0].accuracy == row.accuracy
        assert any("mean and std of each channel in its metadata" in said for said in heard.notes)


@pytest.mark.parametrize("first", [False, True])
def test_code_for_microcontrollers_puts_channels_in_their_places(first: bool, tmp_path: Path) -> None:
    """The loop of the C++ file, compiled and run alone, stores what NumPy computes."""
    shape = (3, 8, 5) if first else (8, 5, 3)
    path = tmp_path / "m--tflite-int8-int8io.tflite"
    path.write_bytes(linear_model(shape, int8=True))
    artifact = replace(open_artifact(path), id=path.stem, model="m")
    contract = Channels("bgr", (0.1, 0.2, 0.3)).of(InputContract("image", (1, *shape), "int8", 0.0, 1.0))
    save(replace(artifact, contract=contract, labels=LABELS), tmp_path)
    source = bundle_of(path, tmp_path / "bundle", samples=2).folder / "micro/classifier_micro.cc"
    code = source.read_text()
    loop = code[code.index("  static const int kFrom[]") : code.index("  if (g_interpreter->Invoke()")]
    scale, zero = artifact.inputs[0].scale, artifact.inputs[0].zero_point
    (tmp_path / "loop.cc").write_text(
        "#include <cstdint>\n#include <cstdio>\n"
        f"constexpr float kInputScale = {scale!r}f; constexpr int kInputZeroPoint = {zero}, kInputBytes = 120;\n"
        "int main() { std::uint8_t pixels[120]; std::int8_t input[120];\n"
        "  if (std::fread(pixels, 1, 120, stdin) != 120) return 1;\n"
        f"{loop}  std::fwrite(input, 1, 120, stdout); }}\n"
    )
    subprocess.run(["g++", "-std=c++17", "-o", tmp_path / "loop", tmp_path / "loop.cc"], check=True)
    pixels = np.random.default_rng(4).integers(0, 256, (8, 5, 3), np.uint8)
    done = subprocess.run([tmp_path / "loop"], input=pixels.tobytes(), check=True, capture_output=True)
    values = pixels[..., ::-1] / 255 - [0.1, 0.2, 0.3]
    expected = np.clip(np.rint((values.transpose(2, 0, 1) if first else values) / scale) + zero, -128, 127)
    assert np.abs(np.frombuffer(done.stdout, np.int8) - expected.reshape(-1)).max() <= 1  # halves are rounded away


def test_onnx_files_take_a_mean_and_std_too(pictures: dict[Path, int], tmp_path: Path) -> None:
    onnx_model(tmp_path / "m.onnx", SHAPE)
    pixels = np.stack([prepared_pixels(path, SHAPE, "stretch") for path in pictures])
    values = ((pixels / 255 - MEAN) / STD).reshape(len(pixels), -1)
    expected = np.mean((values @ (weights_of(SHAPE) * 0.002).T).argmax(axis=1) == np.array(list(pictures.values())))
    run = evaluate(tmp_path / "m.onnx", f"folder:{next(iter(pictures)).parents[1]}", "local/onnxruntime",
                   out=tmp_path / "run", latency=QUICK, labels=LABELS, mean=MEAN, std=STD)  # fmt: skip
    assert run.results.measurements[0].accuracy == pytest.approx(expected)


def test_what_is_not_said_changes_no_hash() -> None:
    plain = to_json(InputContract("x", (1, 8, 8, 3)))
    assert set(plain) == {"name", "shape", "dtype", "low", "high", "colour", "resize", "kind", "lengths"}
    assert "channels" not in to_json(ImportOptions()) and from_json(InputContract, plain).mean == ()
    said = contract_of("torch")
    assert from_json(InputContract, to_json(said)) == said
    options = ImportOptions(channels=Channels("bgr", MEAN))
    assert from_json(ImportOptions, to_json(options)) == options
    assert set(pixel_feed(InputContract("x", (1, 8, 8, 3)))) == {"kind", "input", "low", "high"}


@pytest.mark.parametrize(
    "options, words",
    [
        ({"mean": (0.5, 0.5)}, "the mean has 2 numbers, and the input 3 channels"),
        ({"std": (0.5, 0.5, 0)}, "the std is 0.5, 0.5, 0"),
        ({"mean": (float("nan"),) * 3}, "the mean is nan"),
        ({"mean": (103.9, 116.8, 123.7)}, "a mean or std is above 1.*--value-range 0,255"),
        ({"channel_order": "grb"}, "the channel order is 'grb'.*known: rgb, bgr"),
        ({"mean": ("a", 1, 2)}, "are not numbers"),
    ],
)
def test_what_cannot_be_is_refused(options: Any, words: str, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(linear_model(SHAPE))
    with pytest.raises(InputError) as caught:
        evaluate(tmp_path / "m.tflite", "images:.", "local/litert", out=tmp_path / "no", **options)
    assert re.search(words, f"{caught.value.message} {caught.value.remedy}")


def test_channels_are_those_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "grey.tflite").write_bytes(linear_model((20, 20, 1)))
    with pytest.raises(InputError, match="bgr, and the model takes 1"):
        evaluate(tmp_path / "grey.tflite", "images:.", "local/litert", out=tmp_path / "no", channel_order="bgr",
                 value_range=(0, 1))  # fmt: skip
    with pytest.raises(InputError, match="are for pictures, and the model takes tensors"):
        export(tmp_path / "grey.tflite", "tflite:float32", out=tmp_path / "out", channel_order="bgr")
    damaged = to_json(contract_of("torch")) | {"std": [0.0, 1.0, 1.0]}
    with pytest.raises(InputError, match="are not those of the channels"):
        from_json(InputContract, damaged)
    assert open_artifact(tmp_path / "grey.tflite").contract is None
