"""Error statistics of one tensor: running sums over samples, and the figures from them. Memory: one channel axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...tflite.values import Floats

# A higher ratio is rounding in float32.
HIGHEST_DB = 140.0


def decibels(signal: float, noise: float) -> float | None:
    """Return the ratio of two powers in decibels, at most `HIGHEST_DB`; None without a signal."""
    if not signal > 0 or not np.isfinite(signal) or not np.isfinite(noise):
        return None
    if noise <= signal * 10 ** (-HIGHEST_DB / 10):
        return HIGHEST_DB
    return float(10 * np.log10(signal / noise))


@dataclass
class ErrorStats:
    """Sums over samples of one tensor's values in both files.

    `limits` is the range that the quantized tensor can represent (None: unlimited), in `steps` steps. Channels are
    the last axis. "Own" sums are about the operator's own error (`add_own`).
    """

    limits: tuple[float, float] | None = None
    steps: int = 255
    count: int = 0
    reference_power: float = 0.0
    quantized_power: float = 0.0
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
    quantized_low: float = np.inf
    quantized_high: float = -np.inf
    channel_low: Floats | None = None
    channel_high: Floats | None = None
    channel_signal: NDArray[np.float64] | None = None
    channel_error: NDArray[np.float64] | None = None
    not_finite: bool = False
    samples_outside: int = 0
    samples: int = 0

    def add(self, reference: Floats, quantized: Floats) -> None:
        """Add one sample's values in the float file and in the quantized file (same shape, float32)."""
        reference, quantized = reference.astype(np.float32, copy=False), quantized.astype(np.float32, copy=False)
        if not np.isfinite(quantized).all():
            self.not_finite = True
            quantized = np.nan_to_num(quantized, posinf=0.0, neginf=0.0)
        self.count += reference.size
        self.samples += 1
        self.reference_power += _dot(reference, reference)
        self.quantized_power += _dot(quantized, quantized)
        self.product += _dot(reference, quantized)
        difference = quantized - reference
        self.error_power += _dot(difference, difference)
        low, high = float(reference.min()), float(reference.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.quantized_low, self.quantized_high = (
            min(self.quantized_low, float(quantized.min())),
            max(self.quantized_high, float(quantized.max())),
        )
        if self.limits is not None:
            # Up to half a step beyond the limits is rounding, not saturation.
            margin = (self.limits[1] - self.limits[0]) / self.steps / 2
            if low < self.limits[0] - margin or high > self.limits[1] + margin:
                outside = (reference < self.limits[0] - margin) | (reference > self.limits[1] + margin)
                self.outside += int(outside.sum())
                self.samples_outside += 1
        if reference.ndim >= 2 and reference.shape[-1] > 1:
            flat = reference.reshape(-1, reference.shape[-1])
            if self.channel_low is None or self.channel_high is None:
                self.channel_low, self.channel_high = flat.min(axis=0), flat.max(axis=0)
            else:
                np.minimum(self.channel_low, flat.min(axis=0), out=self.channel_low)
                np.maximum(self.channel_high, flat.max(axis=0), out=self.channel_high)

    def add_own(self, exact: Floats, quantized: Floats) -> tuple[Floats, Floats]:
        """Add one sample's result of the quantized operator, and of a float operator with the same inputs (`exact`).

        Returns the two parts of the operator's own error: that of storing the result (rounding and clipping to
        `limits`), and the rest (its weights, its integer arithmetic).
        """
        error = quantized - exact
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
        """Return values as the quantized tensor stores them: clipped to `limits` and rounded to steps."""
        if self.limits is None:
            return values
        low, high = self.limits
        step = (high - low) / self.steps
        return np.asarray(np.round((np.clip(values, low, high) - low) / step) * step + low, np.float32)

    def figures(self) -> dict[str, Any]:
        """Return the figures as a JSON-ready dictionary."""
        figures: dict[str, Any] = {
            "snr_db": decibels(self.reference_power, self.error_power),
            "own_snr_db": decibels(self.own_signal, self.own_error),
            "rest_snr_db": decibels(self.own_signal, self.rest_error),
            "cosine": _cosine(self.product, self.reference_power, self.quantized_power),
            "float_low": _finite(self.low),
            "float_high": _finite(self.high),
            "quantized_low": _finite(self.quantized_low),
            "quantized_high": _finite(self.quantized_high),
            "not_finite": self.not_finite,
        }
        if self.limits is not None and self.count:
            low, high = self.limits
            covered = max(0.0, min(self.high, high) - max(self.low, low))
            figures |= {
                "low": low,
                "high": high,
                "step": (high - low) / self.steps,
                "typical": float(np.sqrt(self.reference_power / self.count)),
                "saturated": self.outside / self.count,
                "samples_saturated": self.samples_outside / self.samples,
                "range_use": covered / (high - low) if high > low else None,
                "clipping_share": self.clipping_error / self.own_error if self.own_error else 0.0,
                "storing_snr_db": decibels(self.own_signal, self.rounding_error),
            }
        if self.channel_low is not None and self.channel_high is not None:
            spans = np.maximum(np.abs(self.channel_low), np.abs(self.channel_high))
            figures |= channels(spans)
        if self.channel_signal is not None and self.channel_error is not None:
            alive = self.channel_signal > self.channel_signal.max() * 1e-12
            signal = self.channel_signal[alive]
            ratio = signal / np.maximum(self.channel_error[alive], signal * 1e-14)
            figures["channel_snr_db"] = float(10 * np.log10(np.median(ratio))) if alive.any() else None
        return figures


def channels(spans: NDArray[Any]) -> dict[str, Any]:
    """Return the worst channel and the ratio of its span to the median channel's; zero channels are left out."""
    largest = float(spans.max())
    alive = spans[spans > largest * 1e-9]
    if len(alive) < 3:
        return {}
    return {"channel": int(spans.argmax()), "channel_ratio": largest / float(np.median(alive))}


def weight_figures(
    reference: Floats, quantized: Floats, axis: int, limits: tuple[float, float] | None = None
) -> dict[str, Any]:
    """Return the figures of a weight: float and quantized values of one shape, channels along `axis`.

    `limits` is the range that the quantized weight can represent, if it has one scale.
    """
    difference = (quantized - reference).astype(np.float64)
    signal, noise = float((reference.astype(np.float64) ** 2).sum()), float((difference**2).sum())
    figures: dict[str, Any] = {
        "snr_db": decibels(signal, noise),
        "cosine": _cosine(_dot(reference, quantized), signal, _dot(quantized, quantized)),
        "float_low": float(reference.min()),
        "float_high": float(reference.max()),
        "low": float(quantized.min()),
        "high": float(quantized.max()),
    }
    if limits is not None:
        margin = (limits[1] - limits[0]) / 255
        outside = (reference < limits[0] - margin) | (reference > limits[1] + margin)
        figures["saturated"] = float(outside.mean())
    if reference.ndim >= 2:
        flat = np.moveaxis(reference, axis, 0).reshape(reference.shape[axis], -1)
        wrong = np.moveaxis(difference, axis, 0).reshape(reference.shape[axis], -1)
        figures |= channels(np.abs(flat).max(axis=1))
        power, lost = (flat.astype(np.float64) ** 2).sum(axis=1), (wrong**2).sum(axis=1)
        alive = power > power.max() * 1e-12
        if alive.any():
            ratio = power[alive] / np.maximum(lost[alive], power[alive] * 1e-14)
            figures["channel_snr_db"] = float(10 * np.log10(np.median(ratio)))
    return figures


def _dot(a: NDArray[Any], b: NDArray[Any]) -> float:
    # Single precision is enough: over a few million values the error is 1e-4 of a decibel.
    return float(np.dot(a.reshape(-1), b.reshape(-1)))


def _cosine(product: float, first: float, second: float) -> float | None:
    return float(np.clip(product / np.sqrt(first * second), -1, 1)) if first > 0 and second > 0 else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
