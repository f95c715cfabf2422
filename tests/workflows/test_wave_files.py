"""Folders of WAV files (``wav:``): the accuracy is that of NumPy on the waveforms, bad files are refused by name."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeproof as ep
from edgeproof.core import extras
from edgeproof.core.errors import InputError, NotInstalledError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe_data import Data
from edgeproof.core.sample_files import SampleFile
from edgeproof.data.waveforms import read_wave
from edgeproof.train.external import Input
from edgeproof.workflows.array_files import with_arrays
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.samples import Samples

from ..support.array_data import ACCURACY, COUNT, WEIGHTS, X, Y, measured
from ..support.external_imports import Heard
from ..support.micro_files import FEATURES, dense
from ..support.wave_files import ALAW, FLOAT, stored, wave, write

CLIP = np.array([0.5, -0.25, 1, -1, 0, 0.125], np.float32)
LABELS = "abcd"


def read(path: Path, rate: int = 16) -> np.ndarray:
    return read_wave(SampleFile(str(path), str(path.parent)), rate)


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("bits, real", [(8, False), (16, False), (24, False), (32, False), (32, True), (64, True)])
def test_every_format_is_the_same_waveform(bits: int, real: bool, extensible: bool, tmp_path: Path) -> None:
    both = np.stack([CLIP, CLIP / 2 - 0.25], axis=1)
    for values, expected in ((CLIP, CLIP), (both, both.mean(axis=1))):
        path = write(tmp_path / "a.wav", values, bits=bits, real=real, extensible=extensible)
        found = read(path)
        assert found.dtype == np.float32 and found.shape == CLIP.shape
        assert found == pytest.approx(expected, abs=0 if real else 2.0 ** (2 - bits))


@pytest.mark.parametrize("stored_rate", [8000, 16000, 22050, 44100, 48000])
def test_another_rate_keeps_a_tone(stored_rate: int, tmp_path: Path) -> None:
    """A tone of 440 Hz is the same tone at 16,000 Hz, but at the ends, where the filter meets silence."""
    times = np.arange(stored_rate // 2) / stored_rate
    path = write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * times), bits=24, rate=stored_rate)
    found = read(path, 16_000)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(found)) / 16_000)
    assert len(found) == 8000
    assert found[400:-400] == pytest.approx(expected[400:-400], abs=1e-3)


def spread(folder: Path, use: Any = "test", heard: Any = None, shape: Any = (1, FEATURES), **keys: Any) -> Samples:
    data = Data(source=f"wav:{folder}", **{"sample_rate": 16, **keys})
    spec = InputSpec("tensor", inputs=(Input("x", shape, "float32"),))
    samples = with_arrays(data, spec, Path(), use=use, targets=use == "test", listener=heard or Silent())
    assert isinstance(samples, Samples)
    return samples


def test_the_accuracy_is_that_of_numpy(tmp_path: Path, edgeproof: Callable[..., str]) -> None:
    """Clips of one second, at 16 Hz. They are stored at a quarter of their loudness, in files of all kinds."""
    artifact, loud = dense(tmp_path / "m--tflite-float32.tflite", "float32"), float(np.abs(X).max())
    assert artifact.path is not None
    for number, (values, label) in enumerate(zip(X / loud, Y, strict=True)):
        bits, real = ((16, False), (24, False), (32, True))[number % 3]
        write(tmp_path / "clips" / LABELS[label] / f"{number}.wav", values, bits=bits, real=real)
    row = measured(artifact.path, tmp_path, f"wav:{tmp_path / 'clips'}", edgeproof, "--sample-rate", "16")
    right = ((X / loud) @ WEIGHTS.T + np.array([0.1, 0, 0, -0.1])).argmax(axis=1) == Y
    assert row["samples"] == COUNT and row["accuracy"] == pytest.approx(right.mean()) and row["metric"] == "accuracy"
    assert right.mean() != ACCURACY  # what is quieter is answered otherwise


def test_clips_are_cut_into_windows_or_padded_and_it_is_said(tmp_path: Path) -> None:
    long = np.linspace(-1, 1, 40)
    write(tmp_path / "b" / "long.wav", long, bits=64, real=True)
    write(tmp_path / "a" / "short.wav", CLIP, bits=64, real=True)
    heard = Heard()
    samples = spread(tmp_path, heard=heard, window_seconds=1)
    padded = np.append(CLIP, np.zeros(10))
    assert samples.inputs[""] == pytest.approx(np.array([padded, long[:16], long[16:32]]), abs=1e-7)
    assert samples.classes is not None and samples.classes.tolist() == [0, 1, 1] and samples.names == ("a", "b")
    assert ["1 of 2 clips" in said and "zeros follow them" in said for said in heard.notes] == [True, False]
    heard = Heard()
    samples = spread(tmp_path, heard=heard, shape=(FEATURES,))
    assert samples.inputs[""] == pytest.approx(np.array([padded, long[:16]]), abs=1e-7)
    assert len(heard.notes) == 2 and "only their beginning is used" in heard.notes[1]


def test_folders_of_splits_and_folders_without_classes(tmp_path: Path) -> None:
    for split, value in (("train", 0.25), ("test", 0.5)):
        for label in "ab":
            write(tmp_path / split / label / "x.wav", np.full(16, value), bits=32, real=True)
    assert set(spread(tmp_path).inputs[""].ravel()) == {0.5}
    samples = spread(tmp_path, use="train")
    assert set(samples.inputs[""].ravel()) == {0.25} and samples.classes is None
    samples = spread(tmp_path / "test" / "a")
    assert samples.classes is None and samples.inputs[""].shape == (1, 16)


def test_clips_calibrate(tmp_path: Path) -> None:
    artifact = dense(tmp_path / "m--tflite-float32.tflite", "float32")
    assert artifact.path is not None
    for number, values in enumerate(X[:20] / 8):
        write(tmp_path / "clips" / f"{number}.wav", values)
    source = ep.Data(source=f"wav:{tmp_path / 'clips'}", sample_rate=16)
    made = ep.export(artifact.path, ["tflite:int8"], calibration=source, samples=20, out=tmp_path / "out")
    (file,) = made.values()
    assert file.status == "ok" and file.calibration["samples"] == 20


SOUND = stored(CLIP, 16)
BAD: dict[str, tuple[bytes, str]] = {
    "no samples": (wave(b""), "holds no samples"),
    "cut off": (wave(SOUND)[:-4], "it is cut off"),
    "cut off in the header": (wave(SOUND)[:20], "it is cut off"),
    "written as it went": (wave(SOUND, declared=0xFFFFFFFF), "it is cut off"),
    "NaN": (wave(stored(CLIP * np.nan, 32, real=True), bits=32, tag=FLOAT), "NaN or infinite"),
    "whole numbers as floats": (wave(stored(CLIP * 32767, 32, real=True), bits=32, tag=FLOAT), "up to 32767"),
    "A-law": (wave(SOUND, bits=8, tag=ALAW), "expected a WAV file .*ALAW"),
    "a rate of 0": (wave(SOUND, rate=0), "its rate is 0 Hz"),
    "a rate of 4 GHz": (wave(SOUND, rate=2**30), "its rate is 1,073,741,824 Hz"),
    "no channels": (wave(SOUND, channels=0), "expected a WAV file"),
    "no format": (b"RIFF" + struct.pack("<I", 20) + b"WAVE" + b"data" + struct.pack("<I", 8) + b"12345678", "No fmt"),
    "another format": (b"ID3\4 an mp3", "expected a WAV file"),
    "empty": (b"", "empty: zero bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_cannot_serve_are_refused_by_name(case: str, tmp_path: Path) -> None:
    content, words = BAD[case]
    write(tmp_path / "a" / "good.wav", CLIP)
    (tmp_path / "a" / "bad.wav").write_bytes(content)
    with pytest.raises(InputError, match=rf"a/bad\.wav cannot be used: .*({words})"):
        spread(tmp_path)


def test_folders_without_recordings_are_refused(tmp_path: Path) -> None:
    for name in ("classes/a", "classes/b", "nothing"):
        (tmp_path / name).mkdir(parents=True)
    for use in ("test", "train"):
        with pytest.raises(InputError, match=r"wav:.*classes holds no recordings") as caught:
            spread(tmp_path / "classes", use)
        assert caught.value.remedy == "put WAV files into its class folders"
    with pytest.raises(InputError, match="holds no class folders") as caught:
        spread(tmp_path / "nothing")
    assert "put the recordings of the class into it" in caught.value.remedy and "image" not in caught.value.remedy


def test_a_chunk_that_is_no_sound_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wave(SOUND, extra=b"bext" + struct.pack("<I", 4) + b"more"))
    assert read(tmp_path / "a.wav") == pytest.approx(CLIP, abs=1e-4)


def test_what_does_not_fit_the_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a" / "x.wav", CLIP)
    for keys, words in (
        ({"sample_rate": None}, "the rate that the model takes is not known.*--sample-rate"),
        ({"window_seconds": 2.0}, r"2 s at 16 Hz are 32 samples, .* takes 16 \(1 s\)"),
        ({"shape": (1, 49, 40)}, r"the model takes x \(49, 40\) float32.*npz:FILE"),
        ({"target": "t"}, "target: for tables of numbers"),
        ({"limit_test": 3}, "has no use for limit_test"),
    ):
        with pytest.raises(InputError) as caught:
            spread(tmp_path, **keys)  # type: ignore[arg-type]
        assert re.search(words, f"{caught.value.message} {caught.value.remedy}")
    with pytest.raises(InputError, match="for wav:FOLDER alone"):
        with_arrays(
            Data(source="npz:x.npz", sample_rate=3), InputSpec("tensor"), Path(), use="test", targets=True,
            listener=Silent(),
        )  # fmt: skip
    with pytest.raises(InputError, match="there is no folder"):
        spread(tmp_path / "nowhere")
    (tmp_path / "a" / "link.wav").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="a link that leads out"):
        spread(tmp_path)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(NotInstalledError, match="scipy") as missing:
        spread(tmp_path)
    assert "edgeproof[audio]" in missing.value.remedy
