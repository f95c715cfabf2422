"""Makes recipes/sounds/clips for recipes/sounds.toml: short sounds in WAV files, made up by this script.

    python recipes/sounds/make_data.py [FOLDER]

Half a second each at 8 kHz: a rising tone, a falling tone, knocks and hiss. Licence of the data: Apache-2.0, as the
rest of the project.
"""

from __future__ import annotations

import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE, SAMPLES, CLIPS = 8000, 4000, 100  # Hz; of a clip; of each kind
TIME = np.arange(SAMPLES) / RATE
Sound = NDArray[np.float64]


def sweep(random: np.random.Generator, low: float, high: float) -> Sound:
    """Return a tone that goes from one pitch to another."""
    start, end = random.uniform(0.8, 1.25, 2) * (low, high)
    tone: Sound = np.sin(2 * np.pi * (start * TIME + (end - start) * TIME**2) + random.uniform(0, 6))
    return tone


def knocks(random: np.random.Generator) -> Sound:
    """Return a low sound that dies away, three to six times a second."""
    since = (TIME + random.uniform(0, 0.3)) % (1 / random.uniform(3, 6))
    sound: Sound = np.exp(-40 * since) * np.sin(2 * np.pi * random.uniform(120, 220) * since)
    return sound


KINDS: dict[str, Callable[[np.random.Generator], Sound]] = {
    "falling": lambda random: sweep(random, 1600, 400),
    "hiss": lambda random: random.normal(0, 0.4, SAMPLES),
    "knock": knocks,
    "rising": lambda random: sweep(random, 400, 1600),
}


def write(folder: Path) -> None:
    """Write the clips of each kind into a folder of its own, 16 bits, mono."""
    random = np.random.default_rng(6)
    for kind, sound in KINDS.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(CLIPS):
            values = sound(random) * random.uniform(0.2, 0.8) + random.normal(0, 0.05, SAMPLES)
            with wave.open(str(folder / kind / f"{number:03d}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE)
                file.writeframes((np.clip(values, -1, 1) * 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "clips")
