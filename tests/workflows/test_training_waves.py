"""Recordings that a recipe trains on: their windows, splits and targets are the files'; bad ones are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.dataset import PreparedData
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import ModelSpec, Recipe
from edgeproof.core.recipe_data import Data
from edgeproof.train.sensor.networks import NumberRequest, check_shape
from edgeproof.workflows.array_files import with_arrays
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.recipe_kind import kind_of_recipe
from edgeproof.workflows.samples import Samples
from edgeproof.workflows.training_arrays import array_fingerprint, prepare_arrays

from ..support.external_imports import Heard
from ..support.wave_files import write

RATE = 16


def tone(number: int, length: int = RATE) -> np.ndarray:
    return np.sin(np.arange(length) * (number + 1) / 7) / 2


def clips(folder: Path, *, length: int = RATE, count: int = 10, **options: Any) -> Path:
    for number in range(2 * count):
        write(folder / "ab"[number % 2] / f"{number}.wav", tone(number, length), bits=32, real=True, **options)
    return folder


def table(folder: Path, labels: Mapping[str, str]) -> str:
    rows = [f"{name},{label}" for name, label in labels.items()]
    (folder / "table.csv").write_text("\n".join(["path,label", *rows]), "utf-8")
    return f"wav:{folder / 'table.csv'}"


def prepare(folder: Path, source: str, task: str = "", listener: Any = None, **keys: Any) -> PreparedData:
    data = Data(source=source, **keys)
    array_fingerprint(data, task, seed=1, folder=folder)
    return prepare_arrays(
        data, task, seed=1, folder=folder, workspace=folder / "made", listener=listener or Silent()
    )  # fmt: skip


def test_each_recording_is_a_sample_of_its_folder_in_one_split(tmp_path: Path) -> None:
    made = prepare(tmp_path, f"wav:{clips(tmp_path / 'c')}")
    assert (made.kind, made.task, made.labels) == ("tensor", "classification", ("a", "b"))
    assert made.counts == {"train": 14, "validation": 2, "test": 4}
    assert made.report["sample_rate"] == RATE and made.report["sample"] == "16 samples at 16 Hz"
    seen = []
    for split, count in made.counts.items():
        x, y = np.load(made.inputs(split)), np.load(made.targets(split))
        assert x.shape == (count, RATE) and x.dtype == np.float32
        for wave, label in zip(x, y, strict=True):
            (number,) = [n for n in range(20) if np.allclose(wave, tone(n), atol=1e-6)]
            assert label == number % 2
            seen.append(number)
    assert sorted(seen) == list(range(20))


def test_all_windows_of_a_recording_are_in_one_split(tmp_path: Path) -> None:
    folder = clips(tmp_path / "c", length=40)
    write(folder / "a" / "other.wav", tone(30, 10), bits=32, real=True)
    made = prepare(tmp_path, f"wav:{folder}", window_seconds=0.5)
    assert "of the groups" in made.report["splits"]["test"]
    windows = {split: np.load(made.inputs(split)) for split in made.counts}
    assert sum(made.counts.values()) == 20 * 5 + 1  # 10 samples are one window
    for number in range(20):
        own = tone(number, 40).reshape(5, 8)
        held = [split for split, x in windows.items() if any(np.allclose(own[0], one, atol=1e-6) for one in x)]
        assert len(held) == 1
        for window in own:
            assert any(np.allclose(window, one, atol=1e-6) for one in windows[held[0]])


def test_a_recording_shorter_than_the_window_is_followed_by_zeros(tmp_path: Path) -> None:
    folder, heard = clips(tmp_path / "c"), Heard()
    write(folder / "a" / "short.wav", tone(30, 10), bits=32, real=True)
    made = prepare(tmp_path, f"wav:{folder}", listener=heard, window_seconds=1)
    padded = np.append(tone(30, 10), np.zeros(6))
    assert any(np.allclose(padded, one, atol=1e-6) for split in made.counts for one in np.load(made.inputs(split)))
    assert "1 of 21 recordings" in heard.notes[0] and "a/short.wav (0.625 s): zeros follow" in heard.notes[0]


def test_other_rates_and_channels_are_converted(tmp_path: Path) -> None:
    folder = clips(tmp_path / "c")
    both = np.stack([tone(40, 32), tone(40, 32)], axis=1)
    write(folder / "a" / "other.wav", both, bits=32, real=True, rate=2 * RATE)
    made = prepare(tmp_path, f"wav:{folder}", sample_rate=RATE)
    assert sum(made.counts.values()) == 21 and np.load(made.inputs("train")).shape[1] == RATE


def test_folders_of_splits_are_kept(tmp_path: Path) -> None:
    for split, amount in (("train", 6), ("test", 3)):
        for number in range(amount):
            value = np.full(RATE, (number + 1) / 8 + (split == "test") / 64)
            write(tmp_path / "c" / split / "ab"[number % 2] / f"{number}.wav", value, bits=32, real=True)
    made = prepare(tmp_path, "wav:c")
    assert made.counts["test"] == 3 and sum(made.counts.values()) == 9
    assert ((np.load(made.inputs("test"))[:, 0] * 64 % 8).round() == 1).all()


def test_a_table_has_tags_or_numbers(tmp_path: Path) -> None:
    clips(tmp_path)
    names = {number: f"{'ab'[number % 2]}/{number}.wav" for number in range(20)}
    source = table(
        tmp_path, {name: "|".join(t for t in "xy" if number & (t == "y") + 1) for number, name in names.items()}
    )
    made = prepare(tmp_path, source, "multilabel")
    assert made.task == "multilabel" and made.labels == ("x", "y")
    spec = InputSpec("tensor", inputs=(_input(),))
    for split in made.counts:
        for wave, tags in zip(np.load(made.inputs(split)), np.load(made.targets(split)), strict=True):
            (number,) = [n for n in range(20) if np.allclose(wave, tone(n), atol=1e-6)]
            assert tags.tolist() == [number & 1, number >> 1 & 1]
    source = table(tmp_path, {name: f"{number / 4}" for number, name in names.items()})
    made = prepare(tmp_path, source, "regression")
    y = np.concatenate([np.load(made.targets(split)).ravel() for split in made.counts])
    assert made.labels == () and sorted(y) == [number / 4 for number in range(20)]
    judged = with_arrays(
        Data(source=source, sample_rate=RATE), spec, Path(), use="test", targets=True, listener=Silent(),
        task="regression",
    )  # fmt: skip
    assert isinstance(judged, Samples) and judged.task == "regression" and judged.targets is not None
    assert [float(y) for y in judged.targets] == [
        n / 4 for one in judged.inputs[""] for n in range(20) if np.allclose(one, tone(n), atol=1e-6)
    ]


def _input() -> Any:
    from edgeproof.train.external import Input

    return Input("x", (1, RATE), "float32")


def test_all_recordings_of_a_group_are_in_one_split(tmp_path: Path) -> None:
    clips(tmp_path)
    rows = [f"{'ab'[n % 2]}/{n}.wav,{'ab'[n % 2]},speaker {n % 10 // 2}" for n in range(20)]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,who", *rows]), "utf-8")
    made = prepare(tmp_path, f"wav:{tmp_path / 'table.csv'}", group="who")
    held: dict[int, set[str]] = {}
    for split in made.counts:
        for wave in np.load(made.inputs(split)):
            (number,) = [n for n in range(20) if np.allclose(wave, tone(n), atol=1e-6)]
            held.setdefault(number % 10 // 2, set()).add(split)
    assert len(held) == 5 and all(len(splits) == 1 for splits in held.values()) and made.counts["test"] == 4
    with pytest.raises(InputError, match="is a folder, and group = 'who' names a column"):
        prepare(tmp_path, f"wav:{clips(tmp_path / 'c')}", group="who")
    with pytest.raises(InputError, match="nobody"):
        prepare(tmp_path, f"wav:{tmp_path / 'table.csv'}", group="nobody")


BAD: dict[str, tuple[Any, str, dict[str, Any], str]] = {
    "no samples": (lambda f: write(f / "a" / "0.wav", np.zeros(0)), "", {}, r"a/0\.wav cannot be used: it holds no"),
    "an empty class": (lambda f: (f / "c").mkdir(), "", {}, "there is no recording of 'c'"),
    "no wav": (lambda f: (f / "a" / "0.wav").write_text("x"), "", {}, r"a/0\.wav cannot be used: expected a WAV"),
    "another rate": (lambda f: write(f / "b" / "1.wav", tone(1), rate=20), "", {}, r"has 16 Hz, and .*b/1\.wav has 20"),
    "other lengths": (lambda f: write(f / "a" / "0.wav", tone(0, 9)), "", {}, r"from 0\.5625 s \(.*a/0\.wav\) to 1 s"),
    "a window of nothing": (lambda f: 0, "", {"window_seconds": 0.01}, "are 0 samples, fewer than 2"),
    "a key of tables": (lambda f: 0, "", {"target": "x"}, "has no use for target"),
    "folders of numbers": (lambda f: 0, "regression", {}, "its folders are classes"),
    "maps": (lambda f: 0, "segmentation", {}, "no targets of the task segmentation"),
    "a test of another rate": (
        lambda f: clips(f.parent / "t", rate=20), "", {"test_source": "wav:t"}, "has 16 Hz, and data.test_source 20"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_trained_on_is_refused_by_name(case: str, tmp_path: Path) -> None:
    spoil, task, keys, message = BAD[case]
    spoil(clips(tmp_path / "c"))
    with pytest.raises(InputError, match=message) as refused:
        prepare(tmp_path, "wav:c", task, **keys)
    assert refused.value.remedy


def test_labels_that_do_not_fit_the_task_are_refused_by_name(tmp_path: Path) -> None:
    clips(tmp_path)
    source = table(tmp_path, {"a/0.wav": "1.5", "b/1.wav": "loud"})
    with pytest.raises(InputError, match=r"b/1\.wav: its label 'loud' is no number"):
        prepare(tmp_path, source, "regression")
    with pytest.raises(InputError, match=r"a/0\.wav: '\|x' has an empty tag"):
        prepare(tmp_path, table(tmp_path, {"a/0.wav": "|x"}), "multilabel")
    with pytest.raises(InputError, match="leads out of"):
        prepare(tmp_path, table(tmp_path, {"../0.wav": "x"}))


def test_a_recipe_on_recordings_takes_waveforms_of_one_scale(tmp_path: Path) -> None:
    recipe = {"data": {"source": "wav:x"}, "model": [{"name": "m", "backbone": "scratch:conv1d", "pool": 4}]}
    made = Recipe.model_validate(recipe)
    assert kind_of_recipe(made) == "tensor" and made.to_dict()["model"][0]["pool"] == 4
    assert "pool" not in ModelSpec(name="m", backbone="scratch:conv1d").model_dump()
    request = NumberRequest(np.zeros((3, 50), np.float32), 1, waves=True)
    assert request.features.shape == (3, 50, 1)
    check_shape(made.model[0], request.features.shape[1:])
