"""The microcontrollers' processors that an image can be built for, and run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """A processor: the compiler's flags for it, and qemu's board with it."""

    flags: tuple[str, ...]
    board: str


# Boards with one memory map, Arm's MPS2.
CHIPS: dict[str, Chip] = {
    "cortex-m3": Chip(("-mcpu=cortex-m3",), "mps2-an385"),
    "cortex-m4": Chip(("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"), "mps2-an386"),
    "cortex-m7": Chip(("-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"), "mps2-an500"),
}
DEFAULT_CHIP = "cortex-m4"
