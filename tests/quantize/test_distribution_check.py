"""Distribution check: random draws never differ, and each defect of calibration data is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof.core.dataset import PreparedData, write_texts
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.data import prepare
from edgeproof.quantize import draw
from edgeproof.quantize.calibration import Calibration
from edgeproof.quantize.distribution_check import check_distribution
from edgeproof.train.text.vocabulary import write_tokenizer


@pytest.fixture(scope="module")
def fashion(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """The shipped pictures, with colour in them."""
    from edgeproof.core.recipe import Data

    folder = tmp_path_factory.mktemp("fashion")
    data = prepare(
        Data(source="builtin:fashion-mnist-mini", limit_train=1500, limit_test=600), seed=1, image_size=32,
        resize="stretch", folder=Path(), workspace=folder, listener=Silent(), workers=2,
    )  # fmt: skip
    for split in ("train", "validation", "test"):
        pictures = data.rows(split)[:]
        np.save(data.images(split), (pictures * np.array([1.0, 0.7, 0.4])).astype(np.uint8))
    return data


@pytest.mark.parametrize("samples", [32, 100, 200])
def test_honest_draws_are_alike(fashion: PreparedData, tmp_path: Path, samples: int) -> None:
    for seed in range(8):
        record = check_distribution(draw(fashion, samples, seed, tmp_path), fashion, seed=seed)
        assert record["alike"], (seed, record["why"])
        assert record["checked_against"] == "test" and 300 < record["samples"] <= 500
        assert [channel["name"] for channel in record["channels"]] == ["red", "green", "blue"]


Change = Callable[[Any], Any]
CHANGES: dict[str, tuple[Change, str]] = {
    "0–1 instead of 0–255": (lambda x: x // 255, "another range"),
    "swapped": (lambda x: x[..., ::-1], "swapped"),
    "darker": (lambda x: x // 4, "much darker"),
    "brighter": (lambda x: 255 - x // 2, "much brighter"),
    "few": (lambda x: x[:9], "9 calibration samples are few"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_goes_wrong_is_named(fashion: PreparedData, tmp_path: Path, name: str) -> None:
    change, words = CHANGES[name]
    honest = draw(fashion, 200, 1, tmp_path)
    changed = change(np.load(honest.images))
    np.save(tmp_path / "changed.npy", changed)
    record = check_distribution(replace(honest, images=tmp_path / "changed.npy", count=len(changed)), fashion)
    assert not record["alike"] and words in record["why"]
    if name == "0–1 instead of 0–255":
        assert "look like pixels of 0 to 1" in record["why"]


def test_classes_out_of_proportion_are_no_difference(fashion: PreparedData, tmp_path: Path) -> None:
    """A calibration draw shows all classes alike; data in which one class is nineteen of twenty still resemble it."""
    labels = np.load(fashion.targets("test"))
    bags = np.flatnonzero(labels == 8)
    chosen = np.sort(np.concatenate([np.repeat(bags, 10), np.flatnonzero(labels != 8)[::8]]))
    np.save(tmp_path / "test.npy", np.load(fashion.images("test"))[chosen])
    np.save(tmp_path / "test-labels.npy", labels[chosen])
    skewed = replace(fashion, folder=tmp_path, counts={"test": len(chosen)})
    record = check_distribution(draw(fashion, 200, 1, tmp_path), skewed)
    assert record["alike"], record["why"]


def test_classes_that_calibration_never_saw_are_named(fashion: PreparedData, tmp_path: Path) -> None:
    honest = draw(fashion, 200, 1, tmp_path)
    blind = replace(honest, per_class=honest.per_class | {fashion.labels[3]: 0})
    assert f"no calibration sample is of the classes {fashion.labels[3]}" in check_distribution(blind, fashion)["why"]


DRAWS: dict[str, Callable[[np.random.Generator, int, int], Any]] = {
    "normal": lambda random, count, width: random.normal(size=(count, width)),
    "heavy tails": lambda random, count, width: random.standard_t(2, size=(count, width)),
    "log-normal": lambda random, count, width: random.lognormal(sigma=2, size=(count, width)),
    "mostly zero": lambda random, count, width: (random.random((count, width)) < 0.03).astype(float),
    "constant": lambda _, count, width: np.ones((count, width)),
}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(DRAWS)), st.integers(32, 300), st.integers(1, 200), st.integers(0, 10_000))
def test_no_distribution_is_told_to_differ_from_itself(
    tmp_path_factory: pytest.TempPathFactory, kind: str, count: int, width: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    row = tensors(tmp_path_factory.mktemp("draw"), DRAWS[kind](random, count, width), DRAWS[kind](random, 500, width))
    assert row["alike"], row["why"]


def tensors(folder: Path, calibration: Any, data: Any, **report: Any) -> dict[str, Any]:
    np.save(folder / "calibration.npy", calibration)
    np.save(folder / "test.npy", data)
    drawn = Calibration(folder / "calibration.npy", len(calibration), {}, 1, "")
    counts = {"test": len(data)}
    return check_distribution(drawn, PreparedData(folder, "x", (), 0, 0, "", counts, "", report, kind="tensor"))


def test_one_of_many_features_is_found(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    ours, theirs = random.normal(size=(200, 40)), random.normal(size=(500, 40))
    ours[:, 17] *= 1000
    record = tensors(tmp_path, ours, theirs)
    assert "another range (channel 17)" in record["why"]
    assert [channel["name"] for channel in record["channels"] if channel["differs"]] == ["channel 17"]
    assert len(record["channels"]) == 17  # the first sixteen, and the one that differs
    ours[:, 17] /= 1000
    ours[:, 3] = np.clip(ours[:, 3], -0.7, 0.7)
    assert "channel 3" in tensors(tmp_path, ours, theirs)["why"]


def test_waveforms_are_one_channel(tmp_path: Path) -> None:
    """Not one for each of the samples in time: of a second there are thousands."""
    random = np.random.default_rng(0)
    ours, theirs = random.normal(size=(100, 4000)), random.normal(size=(200, 4000))
    record = tensors(tmp_path, ours, theirs, sample_rate=4000)
    assert record["alike"] and [channel["name"] for channel in record["channels"]] == ["channel 0"]
    record = tensors(tmp_path, ours / 50, theirs, sample_rate=4000)
    assert "another range (channel 0)" in record["why"] and record["channels"][0]["data"]["spread"] > 0.9


def test_several_inputs_are_compared_each(tmp_path: Path) -> None:
    kind = np.dtype([("a", "f4", (3,)), ("b", "f4", (2, 2))])
    random = np.random.default_rng(0)
    ours, theirs = np.zeros(100, kind), np.zeros(300, kind)
    for samples in (ours, theirs):
        samples["a"], samples["b"] = random.normal(size=(len(samples), 3)), random.normal(size=(len(samples), 2, 2))
    assert tensors(tmp_path, ours, theirs)["alike"]
    theirs["b"] += 5
    assert "b channel" in tensors(tmp_path, ours, theirs)["why"]


def test_texts_are_compared_by_length_and_unknown_words(tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer"
    vocabulary = ["[PAD]", "[UNK]", "the", "cat", "sat", "on", "a", "mat", "and", "saw"]
    write_tokenizer(tokenizer, {"kind": "whitespace", "length": 64, "pad": 0, "unknown": 1}, vocabulary)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw"]
    random = np.random.default_rng(0)

    def texts(count: int, longest: int, strange: float) -> list[str]:
        lengths = random.integers(1, longest, count)
        return [
            " ".join("ξξ" if random.random() < strange else random.choice(words) for _ in range(n)) for n in lengths
        ]

    def data(name: str, samples: list[str]) -> PreparedData:
        folder = tmp_path / name
        folder.mkdir()
        for split in ("train", "test"):
            write_texts(samples, folder / f"{split}.jsonl")
            np.save(folder / f"{split}-labels.npy", np.zeros(len(samples), np.int64))
        counts = {"train": len(samples), "test": len(samples), "validation": 0}
        return PreparedData(folder, name, ("x", "y"), 0, 0, "", counts, name, kind="text")

    plain = data("plain", texts(300, 8, 0.05))
    drawn = draw(plain, 150, 1, tmp_path, tokenizer)
    drawn = replace(drawn, per_class={"x": 150})
    assert check_distribution(drawn, data("same", texts(300, 8, 0.05)), tokenizer=tokenizer)["alike"]
    longer = check_distribution(drawn, data("longer", texts(300, 60, 0.05)), tokenizer=tokenizer)
    assert "differ in tokens" in longer["why"]
    strange = check_distribution(drawn, data("strange", texts(300, 8, 0.6)), tokenizer=tokenizer)
    assert "unknown tokens" in strange["why"]
    with pytest.raises(InputError, match="tokenizer"):
        check_distribution(drawn, plain)
    with pytest.raises(InputError, match="no validation sample"):
        check_distribution(replace(drawn, per_class={}), plain, split="validation", tokenizer=tokenizer)
