"""Arrays and tables with targets for the dense file of `micro_files`, and what it answers by NumPy alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.progress import Silent
from edgeproof.core.recipe_data import Data
from edgeproof.train.external import Input
from edgeproof.workflows.array_files import with_arrays
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.samples import Samples

from .micro_files import CLASSES, FEATURES
from .quick import ONCE, as_options

COUNT = 40
X = np.random.default_rng(5).normal(0, 1, (COUNT, FEATURES)).astype(np.float32)
WEIGHTS = np.random.default_rng(3).integers(-127, 128, (CLASSES, FEATURES)) * 0.01  # those of `dense`
RIGHT = (X @ WEIGHTS.T + [0.1, 0, 0, -0.1]).argmax(axis=1)
# Every third target is another class, so that the accuracy is neither 0 nor 1.
Y = np.where(np.arange(COUNT) % 3 == 0, (RIGHT + 1) % CLASSES, RIGHT)
ACCURACY = float((Y == RIGHT).mean())
ONE = (Input("x", (1, FEATURES), "float32"),)


def table(path: Path, target: Any = Y, features: Any = X, more: Callable[[int], str] = lambda _: "") -> Path:
    names = [f"f{number}" for number in range(features.shape[1])]
    rows = [",".join([*names, "answer", *(["note"] if more(0) else [])])]
    for at, (row, answer) in enumerate(zip(features.tolist(), np.asarray(target).tolist(), strict=True)):
        rows.append(",".join([*map(repr, row), str(answer), *([more(at)] if more(0) else [])]))
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


def measured(file: Path, folder: Path, source: str, edgeproof: Callable[..., str], *options: str) -> Any:
    edgeproof("evaluate", file, "--data", source, "--on", "local/litert", *as_options(ONCE),
              "--out", folder / "out", *options)  # fmt: skip
    results = json.loads((folder / "out" / "results.json").read_text("utf-8"))
    assert results["data"]["source"] == source
    (row,) = results["measurements"]
    assert row["status"] == "ok", row
    return row


def spread(data: Data, inputs: tuple[Input, ...] = ONE, kind: Any = "tensor", use: Any = "test") -> Samples:
    samples = with_arrays(
        data, InputSpec(kind, inputs=inputs), Path(), use=use, targets=use == "test", listener=Silent()
    )
    assert isinstance(samples, Samples)
    return samples
