"""Sources of texts, written for tests, and what reading them gives."""

from __future__ import annotations

import csv
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.dataset import SPLITS, PreparedData, read_texts
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data
from edgeproof.data import fingerprint, kind_of, prepare_texts


def installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def run(folder: Path, source: str, *, use: Any = "all", **options: Any) -> PreparedData:
    data = Data(source=source, **options)
    assert kind_of(data, folder) == "text"
    fingerprint(data, seed=1, folder=folder)
    return prepare_texts(data, seed=1, folder=folder, workspace=folder / "out", listener=Silent(), use=use)


def texts(prepared: PreparedData, split: str) -> list[tuple[str, str]]:
    """Return (text, label) of a split."""
    targets = np.load(prepared.targets(split), allow_pickle=False)
    content = read_texts(prepared.inputs(split))
    assert targets.dtype == np.int64
    assert len(content) == len(targets) == prepared.counts[split]
    return [(text, prepared.labels[target]) for text, target in zip(content, targets, strict=True)]


def everything(prepared: PreparedData) -> list[tuple[str, str]]:
    return [pair for split in SPLITS for pair in texts(prepared, split)]


def warnings_of(prepared: PreparedData) -> str:
    return " ".join(warning["what"] for warning in prepared.report["warnings"])


def reasons(prepared: PreparedData) -> dict[str, str]:
    return {example["file"]: example["why"] for example in prepared.report["unreadable"]["examples"]}


def write_csv(path: Path, rows: list[list[str]], encoding: str = "utf-8") -> None:
    with path.open("w", newline="", encoding=encoding) as stream:
        csv.writer(stream).writerows(rows)


def write_folder(folder: Path, each: int = 4) -> None:
    for split in SPLITS:
        for label in "ab":
            for i in range(each):
                path = folder / split / label / f"{i}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"the {split} text number {i} of {label}")
