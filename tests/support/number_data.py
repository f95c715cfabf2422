"""Tables and arrays that a recipe trains networks for numbers on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

MOTIONS = ("rest", "run", "walk")
PERSONS, STEPS = 6, 128
TAGS = ("hot", "wet", "loud")


def motion_table(path: Path) -> Path:
    """Three axes of six persons who rest, walk and run, 128 steps of each."""
    random, rows = np.random.default_rng(0), ["person,ax,ay,az,motion"]
    for person in range(PERSONS):
        for speed, name in ((0.0, "rest"), (3.0, "run"), (1.3, "walk")):
            turn = 2 * np.pi * speed * np.arange(STEPS) / 25 + random.uniform(0, 6)
            axes = np.stack([np.sin(turn), np.cos(turn), np.ones(STEPS)], axis=1) * max(speed, 0.1)
            axes += random.normal(0, 0.1, axes.shape)
            rows += [f"p{person},{x:.4f},{y:.4f},{z:.4f},{name}" for x, y, z in axes]
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


def motion_recipe(folder: Path, **tables: object) -> dict[str, object]:
    """Return a recipe for `motion_table`: windows of 16 steps, persons in one split each."""
    data = {"source": f"csv:{motion_table(folder / 'motion.csv')}", "target": "motion", "window": 16, "stride": 8}
    return {
        "name": "motion",
        "data": {**data, "group": "person"},
        "model": [{"name": "conv", "backbone": "scratch:conv1d", "units": [8, 8]}],
        "train": {"epochs": 8, "batch_size": 16, "learning_rate": 0.01},
        "export": {"variants": ["tflite:float32", "tflite:int8"]},
        "evaluate": {
            "targets": ["local/tensorflow", "local/litert"],
            "latency": {"processes": 1, "run_seconds": 0.05},
        },
        **tables,
    }


def tagged(count: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Return samples (N, 6) float32 of unlike units and the tags (N, 3) that two features decide."""
    random = np.random.default_rng(3)
    x = random.normal(0, 1, (count, 6))
    y = np.stack([x[:, 0] > 0, x[:, 1] > 0.5, x[:, 2] + x[:, 3] > 0], axis=1)
    return (x * [1, 10, 100, 100, 1, 1] + 5).astype(np.float32), y.astype(np.uint8)
