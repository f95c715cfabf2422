"""Makes data/faults.csv for recipes/faults.toml: readings of a machine and its faults, made up by this script.

    python recipes/faults/make_data.py [FILE]

Licence of the data: Apache-2.0, as the rest of the project.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

FAULTS = ("bearing", "leak", "voltage")


def table() -> str:
    """Return the table as CSV text: six readings, and the faults with a bar between them."""
    random, rows = np.random.default_rng(3), ["shake,noise,pressure,flow,supply,heat,faults"]
    for _ in range(600):
        bearing, leak, voltage = there = random.random(3) < 0.35
        readings = np.array([1 + 1.6 * bearing, 2 + 1.1 * bearing, 6 - 1.4 * leak, 3 - 0.8 * leak, 5 - 0.7 * voltage,
                             4 + 0.8 * bearing + 0.6 * voltage])  # fmt: skip
        readings += random.normal(0, 0.35, 6)
        named = "|".join(name for name, is_there in zip(FAULTS, there, strict=True) if is_there)
        rows.append(",".join([*(f"{one:.2f}" for one in readings), named]))
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    default = Path(__file__).parents[1] / "data" / "faults.csv"
    Path(sys.argv[1] if len(sys.argv) > 1 else default).write_text(table(), encoding="utf-8")
