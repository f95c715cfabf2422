"""Calibration samples of quantized schemes, further training, and the diagnosis of quantized files."""

from .calibration import Calibration, draw, load

__all__ = ["Calibration", "draw", "load"]
