"""Makes data/load.csv for recipes/load.toml: the load of a pump and four readings, made up by this script.

    python recipes/load/make_data.py [FILE]

Licence of the data: Apache-2.0, as the rest of the project.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def table() -> str:
    """Return the table as CSV text: current (A), speed (revolutions per second), heat and ambient (°C), load (N m)."""
    random, rows = np.random.default_rng(2), ["current,speed,heat,ambient,load"]
    for _ in range(500):
        load, speed, ambient = random.uniform(0, 40), random.uniform(5, 25), random.uniform(5, 35)
        current = 0.8 + 0.11 * load + 0.03 * speed + random.normal(0, 0.15)
        heat = ambient + 0.5 * load + 0.02 * load * speed + random.normal(0, 1.0)
        rows.append(f"{current:.2f},{speed:.1f},{heat:.1f},{ambient:.1f},{load:.2f}")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    default = Path(__file__).parents[1] / "data" / "load.csv"
    Path(sys.argv[1] if len(sys.argv) > 1 else default).write_text(table(), encoding="utf-8")
