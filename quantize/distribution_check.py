"""Checks that calibration samples have the distribution of the evaluation samples; otherwise the ranges are wrong.

The samples are compared channel by channel: red, green and blue of pictures, the last axis of other tensors (all values
of waveforms are one channel), and of texts the number of tokens and the share of unknown tokens. A difference is
reported only if it is statistically significant and large enough to matter, because a random draw of a few hundred
samples differs as well. The tests are distribution-free. Each sample is one observation, however many values it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import PreparedData, read_texts
from ..core.encoded import encode_texts
from ..core.errors import InputError
from ..core.sanitize import shorten
from ..core.tokenizer import open_tokenizer
from .calibration import Calibration

Floats = NDArray[np.float64]

# The thresholds of a difference, each with its reason.
LIMITS = {
    # The false-alarm rate of one check, over all of its channels: 1 in 10,000.
    "chance": 1e-4,
    # In standard deviations between samples' means: a shift of half of one hardly moves a range.
    "shift": 0.5,
    # A spread of half or twice the size uses one bit less or more.
    "spread": 2.0,
    # A ratio of spans: 0–1 instead of 0–255 is 255, -1–1 is 128; at 8, three of eight bits are lost.
    "range": 8.0,
    # Reversed channels must fit twice as well as channels in order.
    "swap": 0.5,
    # TensorFlow's guide asks for 100 to 500 representative samples; the extremes of fewer than 32 are random.
    "samples": 32,
    # The share of values outside of the calibrated range, where they are clipped.
    "outside": 0.01,
}
_MOST_SAMPLES = 500
_MOST_VALUES = 500_000  # for percentiles
_MOST_CHANNELS = 16


def check_distribution(
    calibration: Calibration,
    data: PreparedData,
    *,
    split: str = "test",
    tokenizer: Path | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    """Compare the samples of `calibration` with up to 500 samples of `split` of `data`.

    The samples are drawn with the classes in the calibration's proportions, so that unequal class sizes are not
    reported as a difference. Texts need the folder of the model's `tokenizer`. Returns the record for an artifact's
    ``calibration["resemblance"]``: ``checked_against`` (split), ``samples`` (number), ``channels`` (the first 16 and
    all that differ: ``name``, ``calibration`` and ``data`` with low, high, mean, spread, and ``differs``), ``alike``,
    and ``why`` (a clause for each difference). Raises InputError if the split is empty.
    """
    chosen = _stratified(calibration, data, split, seed)
    if not len(chosen):
        raise InputError(f"there is no {split} sample to compare calibration with", f"give the data a {split} split")
    saved = np.load(calibration.images, mmap_mode="r", allow_pickle=False)
    if data.kind == "text":
        pairs = list(_text_channels(saved, data, split, chosen, tokenizer))
    else:
        loaded = data.rows(split)[chosen]
        if "sample_rate" in data.report:
            saved, loaded = saved[..., None], loaded[..., None]
        pairs = list(_channels(saved, loaded, "image" if data.kind == "image" else ""))
    chance = LIMITS["chance"] / max(1, len(pairs))
    channels = [_compare(name, ours, theirs, data.kind, chance) for name, ours, theirs in pairs]
    reasons = _describe_differences(channels, data.kind, split)
    if data.kind != "text" and (swapped := _swapped(pairs, chance)):
        reasons = [swapped]
    reasons += _describe_draw(calibration)
    shown = [c for n, c in enumerate(channels) if n < _MOST_CHANNELS or c["differs"]][: 4 * _MOST_CHANNELS]
    return {
        "checked_against": split,
        "samples": len(chosen),
        "channels": shown,
        "alike": not reasons,
        "why": "; ".join(reasons),
    }


def _stratified(calibration: Calibration, data: PreparedData, split: str, seed: int) -> NDArray[np.int64]:
    """Return sorted indices into a split, with the classes in the proportions of `calibration`."""
    count = data.counts.get(split, 0)
    random = np.random.default_rng(seed)
    if not data.labels or not calibration.per_class:
        return np.sort(random.permutation(count)[:_MOST_SAMPLES])
    labels = np.load(data.targets(split), allow_pickle=False)
    groups = [random.permutation(np.flatnonzero(labels == index)) for index in range(len(data.labels))]
    targets = np.array([calibration.per_class.get(label, 0) for label in data.labels], float)
    there = np.array([len(group) for group in groups], float)
    both = (targets > 0) & (there > 0)
    if not both.any():
        return np.sort(random.permutation(count)[:_MOST_SAMPLES])
    scale = min(_MOST_SAMPLES / targets[both].sum(), float((there[both] / targets[both]).min()))
    # At least as many as the calibration has: a rare class must not leave too few samples to compare.
    scale = max(scale, min(1.0, _MOST_SAMPLES / targets.sum()))
    takes = np.minimum(np.ceil(targets * scale), there).astype(int)
    return np.sort(np.concatenate([group[:take] for group, take in zip(groups, takes, strict=True)]))


class _Channel:
    """The values of one channel, (samples, values)."""

    def __init__(self, values: NDArray[Any]) -> None:
        rows = np.asarray(values, np.float32).reshape(len(values), -1)
        self.samples = len(rows)
        self.means: Floats = rows.mean(axis=1, dtype=np.float64)
        self.spreads: Floats = rows.std(axis=1, dtype=np.float64)
        self.low, self.high = float(rows.min()), float(rows.max())
        self.mean, self.spread = float(rows.mean(dtype=np.float64)), float(rows.std(dtype=np.float64))
        self.between = float(self.means.std(ddof=1)) if self.samples > 1 else 0.0
        self.percentiles: Floats = np.percentile(rows.ravel()[:: 1 + rows.size // _MOST_VALUES], (1, 25, 50, 75, 99))
        self._rows = rows

    @property
    def span(self) -> float:
        """From the 1st to the 99th percentile; from minimum to maximum if these are equal."""
        span = float(self.percentiles[-1] - self.percentiles[0])
        return span or self.high - self.low

    def beyond_chance(self, other: _Channel, chance: float) -> bool:
        """Whether the samples' means, or their spreads, differ in distribution from `other`'s.

        This is the two-sample Kolmogorov–Smirnov test with its asymptotic bound sqrt(-ln(chance / 2) / 2). It is
        conservative for small samples and for tied values.
        """
        n, m = self.samples, other.samples
        bound = np.sqrt(-np.log(chance / 4) / 2) * np.sqrt((n + m) / (n * m))
        return _distance(self.means, other.means) > bound or _distance(self.spreads, other.spreads) > bound

    def often_outside(self, other: _Channel, chance: float) -> bool:
        """Whether many values lie outside of `other`'s range, in more samples than chance explains.

        The share of samples that exceed the largest of n has the distribution Beta(1, n), whatever the values are.
        """
        outside = (self._rows < other.low) | (self._rows > other.high)
        expected = 1 - (chance / 4) ** (1 / other.samples)
        noise = 3 * np.sqrt(expected * (1 - expected) / self.samples)
        share = float(outside.any(axis=1).mean())
        return float(outside.mean()) > LIMITS["outside"] and share > 2 * expected + noise

    def record(self) -> dict[str, float]:
        figures = {"low": self.low, "high": self.high, "mean": self.mean, "spread": self.spread}
        return {name: float(f"{value:.6g}") for name, value in figures.items()}


_Pair = tuple[str, _Channel, _Channel]
_COLOURS = {1: ("grey",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}


def _channels(ours: NDArray[Any], theirs: NDArray[Any], kind: str) -> Iterator[_Pair]:
    """Yield the channels of two arrays of samples: colours, or the last axis; of structured arrays, of each field."""
    if ours.dtype.names:
        for field in ours.dtype.names:
            yield from ((f"{field} {name}".strip(), a, b) for name, a, b in _channels(ours[field], theirs[field], ""))
        return
    if ours.dtype.kind not in "biuf":
        return
    if ours.ndim < 2:
        yield "", _Channel(ours), _Channel(theirs)
        return
    for index in range(ours.shape[-1]):
        names = _COLOURS.get(ours.shape[-1], ()) if kind == "image" else ()
        name = names[index] if names else f"channel {index}"
        yield name, _Channel(ours[..., index]), _Channel(theirs[..., index])


def _text_channels(
    saved: NDArray[Any], data: PreparedData, split: str, chosen: NDArray[np.int64], tokenizer: Path | None
) -> Iterator[_Pair]:
    """Yield two channels: the number of tokens of each text, and its share of unknown tokens."""
    if tokenizer is None:
        raise InputError("comparing texts needs the model's tokenizer", "give the folder MODEL.tokenizer")
    opened = open_tokenizer(tokenizer)
    texts = read_texts(data.inputs(split))
    theirs = encode_texts(opened, [texts[index] for index in chosen])

    def tokens(samples: NDArray[Any]) -> NDArray[Any]:
        # Without lengths, tokens are the ids that are not padding.
        return samples["lens"] if "lens" in opened.names else (samples["ids"] != opened.pad).sum(axis=1)

    def unknown(samples: NDArray[Any]) -> Floats:
        real = np.arange(samples["ids"].shape[1]) < tokens(samples)[:, None]
        hits = (samples["ids"] == opened.unknown) & real
        return np.asarray(hits.sum(axis=1) / np.maximum(1, tokens(samples)), np.float64)

    yield "tokens", _Channel(tokens(saved)), _Channel(tokens(theirs))
    yield "unknown tokens", _Channel(unknown(saved)), _Channel(unknown(theirs))


def _compare(name: str, ours: _Channel, theirs: _Channel, kind: str, chance: float) -> dict[str, Any]:
    """Return one channel's record; ``differs`` names the difference, empty if none is significant and large."""
    limit, differs = LIMITS["spread"], ""
    if theirs.beyond_chance(ours, chance):
        if kind != "text" and not 1 / LIMITS["range"] < _ratio(theirs.span, ours.span) < LIMITS["range"]:
            differs = "range"
        elif abs(theirs.mean - ours.mean) > LIMITS["shift"] * max(ours.between, theirs.between):
            differs = "shift"
        elif kind != "text" and not 1 / limit <= _ratio(theirs.spread, ours.spread) <= limit:
            differs = "spread"
    if not differs and theirs.often_outside(ours, chance):
        differs = "outside"
    return {"name": name, "calibration": ours.record(), "data": theirs.record(), "differs": differs}


def _ratio(a: float, b: float) -> float:
    return a / b if b else (1.0 if a == b else float("inf"))


def _distance(a: Floats, b: Floats) -> float:
    """Return the Kolmogorov–Smirnov statistic: the largest distance between the cumulative distributions."""
    places = np.concatenate([a, b])
    ours = np.searchsorted(np.sort(a), places, side="right") / len(a)
    theirs = np.searchsorted(np.sort(b), places, side="right") / len(b)
    return float(np.abs(ours - theirs).max())


def _swapped(pairs: Sequence[_Pair], chance: float) -> str:
    """Return a clause if three channels fit much better in reverse order, as BGR for RGB; otherwise empty."""
    if len(pairs) != 3 or not any(theirs.beyond_chance(ours, chance) for _, ours, theirs in pairs):
        return ""
    ours = np.array([ours.percentiles for _, ours, _ in pairs])
    theirs = np.array([theirs.percentiles for _, _, theirs in pairs])
    straight, turned = np.abs(ours - theirs).sum(), np.abs(ours[::-1] - theirs).sum()
    if turned >= LIMITS["swap"] * straight:
        return ""
    return (
        "the first and the last channel of the calibration samples look swapped (BGR for RGB): in reverse order they "
        f"fit the data {straight / max(turned, 1e-9):.1f} times as well"
    )


def _describe_differences(channels: Sequence[dict[str, Any]], kind: str, split: str) -> list[str]:
    """Return a clause for each kind of difference, about the channel in which it is largest."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for channel in channels:
        if channel["differs"]:
            by_kind.setdefault(channel["differs"], []).append(channel)
    words = []
    for differs, affected in by_kind.items():
        worst = max(affected, key=lambda c: abs(c["data"]["mean"] - c["calibration"]["mean"]))
        ours, theirs = worst["calibration"], worst["data"]
        where = _place(worst["name"], len(affected), len(channels))
        if differs == "range":
            words.append(
                f"calibration values lie in another range{where}: {ours['low']:g} to {ours['high']:g}; the {split} "
                f"split has {theirs['low']:g} to {theirs['high']:g}{_guess_convention(ours, theirs)}"
            )
        elif differs == "shift" and kind == "image":
            brighter = "darker" if ours["mean"] < theirs["mean"] else "brighter"
            words.append(
                f"the calibration pictures are much {brighter}{where}: their mean is {ours['mean']:.0f}, that of the "
                f"{split} split {theirs['mean']:.0f}"
            )
        elif differs == "shift" and kind == "text":
            words.append(
                f"the calibration texts differ in {worst['name']}: their mean is {ours['mean']:.3g}, that of the "
                f"{split} split {theirs['mean']:.3g}"
            )
        elif differs == "shift":
            words.append(
                f"calibration values have another mean{where}: {ours['mean']:.3g}; the {split} split has "
                f"{theirs['mean']:.3g}"
            )
        elif differs == "spread":
            words.append(
                f"calibration values have another standard deviation{where}: {ours['spread']:.3g}; the {split} split "
                f"has {theirs['spread']:.3g}"
            )
        else:
            words.append(
                f"many values of the {split} split lie outside of the calibration samples' range{where}: "
                f"{ours['low']:g} to {ours['high']:g}; the {split} split has {theirs['low']:g} to {theirs['high']:g}"
            )
    return words


def _place(name: str, affected: int, channels: int) -> str:
    if channels == 1:
        return f" ({shorten(name, 40)})" if name else ""
    return f" ({shorten(name, 40)}" + (f", and {affected - 1} more of {channels} channels)" if affected > 1 else ")")


def _guess_convention(ours: dict[str, float], theirs: dict[str, float]) -> str:
    """Return which of the usual pixel ranges the calibration values probably have; empty if none fits."""
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        if ours["low"] >= low - 0.01 and ours["high"] <= high + 0.01 and ours["high"] > high / 2:
            return f". They look like pixels of {low:g} to {high:g}" if theirs["high"] > 2 * high or high > 1 else ""
    return ""


def _describe_draw(calibration: Calibration) -> list[str]:
    """Return a clause each for too few samples and for classes without a sample."""
    words = []
    if calibration.count < LIMITS["samples"]:
        words.append(
            f"{calibration.count} calibration samples are few: 100 to 500 are usual, and with fewer than "
            f"{LIMITS['samples']:g} the ranges depend on chance"
        )
    if missing := [label for label, count in calibration.per_class.items() if not count]:
        shown = ", ".join(shorten(label, 20) for label in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        words.append(f"no calibration sample is of the classes {shown}{more}")
    return words
