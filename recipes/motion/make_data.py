"""Makes data/motion.csv for recipes/motion.toml: three axes of an accelerometer, made up by this script.

    python recipes/motion/make_data.py [FILE]

Six persons rest, walk and run at a pace of their own. Licence of the data: Apache-2.0, as the rest of the project.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

STEPS, RATE = 160, 25  # of each motion; per second
PACES = {"rest": (0.0, 0.02), "run": (2.9, 0.9), "walk": (1.7, 0.35)}  # steps per second, strength in g


def table() -> str:
    """Return the table as CSV text: person, ax, ay, az in g, motion."""
    random, rows = np.random.default_rng(1), ["person,ax,ay,az,motion"]
    for person in range(6):
        own = random.uniform(0.85, 1.15)
        for name, (pace, strength) in PACES.items():
            turn = 2 * np.pi * pace * own * np.arange(STEPS) / RATE + random.uniform(0, 6)
            axes = np.stack([np.sin(turn), 0.6 * np.cos(turn), np.abs(np.sin(turn))], axis=1) * strength
            axes += np.array([0.0, 0.1, 1.0]) + random.normal(0, 0.08, axes.shape)
            rows += [f"p{person},{x:.3f},{y:.3f},{z:.3f},{name}" for x, y, z in axes]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    default = Path(__file__).parents[1] / "data" / "motion.csv"
    Path(sys.argv[1] if len(sys.argv) > 1 else default).write_text(table(), encoding="utf-8")
