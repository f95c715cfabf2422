"""Schemes and calibration."""
