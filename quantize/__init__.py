"""Schemes and calibration: what quantized files are calibrated with."""

from .calibration import Calibration, draw, load

__all__ = ["Calibration", "draw", "load"]
