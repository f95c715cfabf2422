"""Running sums of one tensor's values and errors, sample after sample; figures from them. Memory: one channel axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graph import Floats

# Beyond this an error is rounding in float32.
HIGHEST_DB = 140.0


def decibels(signal: float, noise: float) -> float | None:
    """Return the ratio of two powers in decibels, at most `HIGHEST_DB`; None where there is no signal."""
    if not signal > 0 or not np.isfinite(signal) or not np.isfinite(noise):
        return None
    if noise <= signal * 10 ** (-HIGHEST_DB / 10):
        return HIGHEST_DB
    return float(10 * np.log10(signal / noise))


@dataclass
class Sums:
    """Sums over samples of what one tensor holds in both files.

    `limits` is what the quantized tensor can hold (None: anything), in `steps` steps. Channels lie along the
    last axis.
    """

    limits: tuple[float, float] | None = None
    steps: int = 255
    count: int = 0
    float_power: float = 0.0
    our_power: float = 0.0
    product: float = 0.0
    error_power: float = 0.0
    own_signal: float = 0.0
    own_error: float = 0.0
    rounding_error: float = 0.0
    clipping_error: float = 0.0
    rest_error: float = 0.0
    outside: int = 0
    low: float = np.inf
    high: float = -np.inf
    our_low: float = np.inf
    our_high: float = -np.inf
    channel_low: Floats | None = None
    channel_high: Floats | None = None
    channel_signal: NDArray[np.float64] | None = None
    channel_error: NDArray[np.float64] | None = None
    not_finite: bool = False
    samples_outside: int = 0
    samples: int = 0

    def add(self, theirs: Floats, ours: Floats) -> None:
        """Add one sample's values of the float file and of ours (same shape, float32)."""
        theirs, ours = theirs.astype(np.float32, copy=False), ours.astype(np.float32, copy=False)
        if not np.isfinite(ours).all():
            self.not_finite = True
            ours = np.nan_to_num(ours, posinf=0.0, neginf=0.0)
        self.count += theirs.size
        self.samples += 1
        self.float_power += _dot(theirs, theirs)
        self.our_power += _dot(ours, ours)
        self.product += _dot(theirs, ours)
        difference = ours - theirs
        self.error_power += _dot(difference, difference)
        low, high = float(theirs.min()), float(theirs.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.our_low, self.our_high = min(self.our_low, float(ours.min())), max(self.our_high, float(ours.max()))
        if self.limits is not None:
            # Up to half a step beyond the last value is rounding, not saturation.
            margin = (self.limits[1] - self.limits[0]) / self.steps / 2
            if low < self.limits[0] - margin or high > self.limits[1] + margin:
                outside = (theirs < self.limits[0] - margin) | (theirs > self.limits[1] + margin)
                self.outside += int(outside.sum())
                self.samples_outside += 1
        if theirs.ndim >= 2 and theirs.shape[-1] > 1:
            flat = theirs.reshape(-1, theirs.shape[-1])
            if self.channel_low is None or self.channel_high is None:
                self.channel_low, self.channel_high = flat.min(axis=0), flat.max(axis=0)
            else:
                np.minimum(self.channel_low, flat.min(axis=0), out=self.channel_low)
                np.maximum(self.channel_high, flat.max(axis=0), out=self.channel_high)

    def add_own(self, exact: Floats, ours: Floats) -> tuple[Floats, Floats]:
        """Add what a float operator made of our inputs (`exact`) beside what ours made.

        Returns the two parts of the operator's own error: storing the result (rounding and clipping to `limits`), and
        the rest (its weights, its integer arithmetic).
        """
        error = ours - exact
        stored = self.store(exact) - exact
        rest = error - stored
        self.own_signal += _dot(exact, exact)
        self.own_error += _dot(error, error)
        self.rounding_error += _dot(stored, stored)
        self.rest_error += _dot(rest, rest)
        if self.limits is not None:
            clipped = np.clip(exact, *self.limits) - exact
            self.clipping_error += _dot(clipped, clipped)
        if exact.ndim >= 2 and exact.shape[-1] > 1:
            flat, wrong = exact.reshape(-1, exact.shape[-1]), error.reshape(-1, exact.shape[-1])
            signal, noise = np.einsum("ij,ij->j", flat, flat), np.einsum("ij,ij->j", wrong, wrong)
            if self.channel_signal is None or self.channel_error is None:
                self.channel_signal, self.channel_error = signal.astype(np.float64), noise.astype(np.float64)
            else:
                self.channel_signal += signal
                self.channel_error += noise
        return stored, rest

    def store(self, values: Floats) -> Floats:
        """Return values as the quantized tensor would hold them."""
        if self.limits is None:
            return values
        low, high = self.limits
        step = (high - low) / self.steps
        return np.asarray(np.round((np.clip(values, low, high) - low) / step) * step + low, np.float32)

    def figures(self) -> dict[str, Any]:
        """Return the figures, JSON-ready."""
        found: dict[str, Any] = {
            "snr_db": decibels(self.float_power, self.error_power),
            "own_snr_db": decibels(self.own_signal, self.own_error),
            "rest_snr_db": decibels(self.own_signal, self.rest_error),
            "cosine": _cosine(self.product, self.float_power, self.our_power),
            "float_low": _finite(self.low),
            "float_high": _finite(self.high),
            "our_low": _finite(self.our_low),
            "our_high": _finite(self.our_high),
            "not_finite": self.not_finite,
        }
        if self.limits is not None and self.count:
            low, high = self.limits
            covered = max(0.0, min(self.high, high) - max(self.low, low))
            found |= {
                "low": low,
                "high": high,
                "step": (high - low) / self.steps,
                "typical": float(np.sqrt(self.float_power / self.count)),
                "saturated": self.outside / self.count,
                "samples_saturated": self.samples_outside / self.samples,
                "range_use": covered / (high - low) if high > low else None,
                "clipping_share": self.clipping_error / self.own_error if self.own_error else 0.0,
                "storing_snr_db": decibels(self.own_signal, self.rounding_error),
            }
        if self.channel_low is not None and self.channel_high is not None:
            spans = np.maximum(np.abs(self.channel_low), np.abs(self.channel_high))
            found |= channels(spans)
        if self.channel_signal is not None and self.channel_error is not None:
            alive = self.channel_signal > self.channel_signal.max() * 1e-12
            signal = self.channel_signal[alive]
            ratio = signal / np.maximum(self.channel_error[alive], signal * 1e-14)
            found["channel_snr_db"] = float(10 * np.log10(np.median(ratio))) if alive.any() else None
        return found


def channels(spans: NDArray[Any]) -> dict[str, Any]:
    """Return the worst channel and the ratio of its span to the median channel's; dead channels do not count."""
    largest = float(spans.max())
    alive = spans[spans > largest * 1e-9]
    if len(alive) < 3:
        return {}
    return {"channel": int(spans.argmax()), "channel_ratio": largest / float(np.median(alive))}


def weight_figures(
    theirs: Floats, ours: Floats, axis: int, limits: tuple[float, float] | None = None
) -> dict[str, Any]:
    """Return the figures of a weight: float and quantized values of one shape, channels along `axis`.

    `limits` is what the quantized one can hold, where it has one scale.
    """
    difference = (ours - theirs).astype(np.float64)
    signal, noise = float((theirs.astype(np.float64) ** 2).sum()), float((difference**2).sum())
    found: dict[str, Any] = {
        "snr_db": decibels(signal, noise),
        "cosine": _cosine(_dot(theirs, ours), signal, _dot(ours, ours)),
        "float_low": float(theirs.min()),
        "float_high": float(theirs.max()),
        "low": float(ours.min()),
        "high": float(ours.max()),
    }
    if limits is not None:
        margin = (limits[1] - limits[0]) / 255
        outside = (theirs < limits[0] - margin) | (theirs > limits[1] + margin)
        found["saturated"] = float(outside.mean())
    if theirs.ndim >= 2:
        flat = np.moveaxis(theirs, axis, 0).reshape(theirs.shape[axis], -1)
        wrong = np.moveaxis(difference, axis, 0).reshape(theirs.shape[axis], -1)
        found |= channels(np.abs(flat).max(axis=1))
        power, lost = (flat.astype(np.float64) ** 2).sum(axis=1), (wrong**2).sum(axis=1)
        alive = power > power.max() * 1e-12
        if alive.any():
            ratio = power[alive] / np.maximum(lost[alive], power[alive] * 1e-14)
            found["channel_snr_db"] = float(10 * np.log10(np.median(ratio)))
    return found


def _dot(a: NDArray[Any], b: NDArray[Any]) -> float:
    # Over single precision: sums of at most a few million values, 1e-4 of a decibel.
    return float(np.dot(a.reshape(-1), b.reshape(-1)))


def _cosine(product: float, first: float, second: float) -> float | None:
    return float(np.clip(product / np.sqrt(first * second), -1, 1)) if first > 0 and second > 0 else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
