"""Does the calibration data resemble the data that files are proved on? Ranges found on other data are wrong ranges.

Both sides are compared channel by channel (red, green and blue; the last axis of other tensors; of texts how long they
are and how many of their tokens are unknown). A difference is told only when it is both beyond chance and large enough
to matter: an honest draw of a few hundred samples differs too. Chance is judged by tests that hold for any
distribution, each sample counted as one observation however many values it has.
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

# What counts as a difference, each with its reason.
LIMITS = {
    # Of ten thousand honest draws one may be told to differ, over all its channels together.
    "chance": 1e-4,
    # Half of what one sample differs from the next moves no range of note.
    "shift": 0.5,
    # Values that spread half or twice as much use one bit less or more.
    "spread": 2.0,
    # Pixels fed as 0–1 instead of 0–255 differ 255-fold, as -1–1 128-fold; three bits of eight are lost here.
    "range": 8.0,
    # The channels the other way round must fit twice as well.
    "swap": 0.5,
    # TensorFlow's guide asks for 100 to 500 representative samples; on fewer than 32 the extremes are luck.
    "samples": 32,
    # Values outside of the calibrated range are cut off there.
    "outside": 0.01,
}
_MOST_SAMPLES = 500
_MOST_VALUES = 500_000  # that percentiles are taken of
_MOST_CHANNELS = 16


def resemblance(
    calibration: Calibration,
    data: PreparedData,
    *,
    split: str = "test",
    tokenizer: Path | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    """Compare the samples of `calibration` with up to 500 samples of `split` of `data`.

    These are drawn with the classes in the calibration's proportions, so that classes which are seldom do not look
    like a difference. Texts need the folder of the model's `tokenizer`. Returns the record for an artifact's
    ``calibration["resemblance"]``: ``checked_against`` (split), ``samples`` (how many of it), ``channels`` (the first
    16 and all that differ: ``name``, ``calibration`` and ``data`` with low, high, mean, spread, and ``differs``),
    ``alike``, and ``why`` (a sentence for each difference). Raises InputError when the split is empty.
    """
    chosen = _like(calibration, data, split, seed)
    if not len(chosen):
        raise InputError(f"there is no {split} sample to compare calibration with", f"give the data a {split} split")
    saved = np.load(calibration.images, mmap_mode="r", allow_pickle=False)
    if data.kind == "text":
        pairs = list(_text_channels(saved, data, split, chosen, tokenizer))
    else:
        loaded = np.load(data.inputs(split), mmap_mode="r", allow_pickle=False)[chosen]
        pairs = list(_channels(saved, loaded, "image" if data.kind == "image" else ""))
    chance = LIMITS["chance"] / max(1, len(pairs))
    channels = [_compare(name, ours, theirs, data.kind, chance) for name, ours, theirs in pairs]
    whys = _words(channels, data.kind, split)
    if data.kind != "text" and (swapped := _swapped(pairs, chance)):
        whys = [swapped]
    whys += _few(calibration)
    shown = [c for n, c in enumerate(channels) if n < _MOST_CHANNELS or c["differs"]][: 4 * _MOST_CHANNELS]
    return {
        "checked_against": split,
        "samples": len(chosen),
        "channels": shown,
        "alike": not whys,
        "why": "; ".join(whys),
    }


def _like(calibration: Calibration, data: PreparedData, split: str, seed: int) -> NDArray[np.int64]:
    """Return indices into a split, sorted, with the classes in the proportions of `calibration`."""
    count = data.counts.get(split, 0)
    random = np.random.default_rng(seed)
    if not data.labels or not calibration.per_class:
        return np.sort(random.permutation(count)[:_MOST_SAMPLES])
    labels = np.load(data.targets(split), allow_pickle=False)
    groups = [random.permutation(np.flatnonzero(labels == index)) for index in range(len(data.labels))]
    wanted = np.array([calibration.per_class.get(label, 0) for label in data.labels], float)
    there = np.array([len(group) for group in groups], float)
    both = (wanted > 0) & (there > 0)
    if not both.any():
        return np.sort(random.permutation(count)[:_MOST_SAMPLES])
    scale = min(_MOST_SAMPLES / wanted[both].sum(), float((there[both] / wanted[both]).min()))
    # At least as many as were calibrated with: a rare class must not shrink the whole comparison to nothing.
    scale = max(scale, min(1.0, _MOST_SAMPLES / wanted.sum()))
    takes = np.minimum(np.ceil(wanted * scale), there).astype(int)
    return np.sort(np.concatenate([group[:take] for group, take in zip(groups, takes, strict=True)]))


class _Channel:
    """The values of one channel: a row a sample, (samples, values)."""

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
        """From the first to the last percentile; from end to end where these fall together."""
        span = float(self.percentiles[-1] - self.percentiles[0])
        return span or self.high - self.low

    def beyond_chance(self, other: _Channel, chance: float) -> bool:
        """Whether samples' means, or their spreads, are of another distribution than `other`'s.

        Kolmogorov and Smirnov's two-sample test, by its asymptotic bound sqrt(-ln(chance / 2) / 2), which errs on the
        side of no difference for small samples and for values that repeat.
        """
        n, m = self.samples, other.samples
        bound = np.sqrt(-np.log(chance / 4) / 2) * np.sqrt((n + m) / (n * m))
        return _distance(self.means, other.means) > bound or _distance(self.spreads, other.spreads) > bound

    def often_outside(self, other: _Channel, chance: float) -> bool:
        """Whether many values, of more samples than chance explains, lie outside of what `other` saw.

        The share of samples that exceed the largest of n is distributed as Beta(1, n), whatever the values are.
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


def _channels(ours: NDArray[Any], theirs: NDArray[Any], kind: str) -> Iterator[_Pair]:
    """Give the channels of two arrays of samples: colours, or the last axis; of structured arrays each field's."""
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
        name = ("red", "green", "blue")[index] if kind == "image" and ours.shape[-1] == 3 else f"channel {index}"
        yield name, _Channel(ours[..., index]), _Channel(theirs[..., index])


def _text_channels(
    saved: NDArray[Any], data: PreparedData, split: str, chosen: NDArray[np.int64], tokenizer: Path | None
) -> Iterator[_Pair]:
    """Give a text's number of tokens and its share of unknown ones as channels."""
    if tokenizer is None:
        raise InputError("comparing texts needs the model's tokenizer", "give the folder MODEL.tokenizer")
    opened = open_tokenizer(tokenizer)
    texts = read_texts(data.inputs(split))
    theirs = encode_texts(opened, [texts[index] for index in chosen])

    def tokens(samples: NDArray[Any]) -> NDArray[Any]:
        # Where ids cross already padded, their number is that of the ones that are no padding.
        return samples["lens"] if "lens" in opened.names else (samples["ids"] != opened.pad).sum(axis=1)

    def unknown(samples: NDArray[Any]) -> Floats:
        real = np.arange(samples["ids"].shape[1]) < tokens(samples)[:, None]
        hits = (samples["ids"] == opened.unknown) & real
        return np.asarray(hits.sum(axis=1) / np.maximum(1, tokens(samples)), np.float64)

    yield "tokens", _Channel(tokens(saved)), _Channel(tokens(theirs))
    yield "unknown tokens", _Channel(unknown(saved)), _Channel(unknown(theirs))


def _compare(name: str, ours: _Channel, theirs: _Channel, kind: str, chance: float) -> dict[str, Any]:
    """Return one channel's record; ``differs`` says how, empty where it does not beyond `chance` and note."""
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
    """Return the greatest distance between two samples' cumulative distributions."""
    places = np.concatenate([a, b])
    ours = np.searchsorted(np.sort(a), places, side="right") / len(a)
    theirs = np.searchsorted(np.sort(b), places, side="right") / len(b)
    return float(np.abs(ours - theirs).max())


def _swapped(pairs: Sequence[_Pair], chance: float) -> str:
    """Return a sentence where three channels fit much better the other way round, as BGR for RGB."""
    if len(pairs) != 3 or not any(theirs.beyond_chance(ours, chance) for _, ours, theirs in pairs):
        return ""
    ours = np.array([ours.percentiles for _, ours, _ in pairs])
    theirs = np.array([theirs.percentiles for _, _, theirs in pairs])
    straight, turned = np.abs(ours - theirs).sum(), np.abs(ours[::-1] - theirs).sum()
    if turned >= LIMITS["swap"] * straight:
        return ""
    return (
        "the first and the last channel of the calibration samples look swapped (BGR for RGB): the other way round "
        f"they fit the data {straight / max(turned, 1e-9):.1f} times as well"
    )


def _words(channels: Sequence[dict[str, Any]], kind: str, split: str) -> list[str]:
    """Return a sentence for each kind of difference, about the channel in which it is greatest."""
    found: dict[str, list[dict[str, Any]]] = {}
    for channel in channels:
        if channel["differs"]:
            found.setdefault(channel["differs"], []).append(channel)
    words = []
    for differs, those in found.items():
        worst = max(those, key=lambda c: abs(c["data"]["mean"] - c["calibration"]["mean"]))
        ours, theirs = worst["calibration"], worst["data"]
        where = _where(worst["name"], len(those), len(channels))
        if differs == "range":
            words.append(
                f"calibration values lie in another range{where}: {ours['low']:g} to {ours['high']:g}, those of the "
                f"{split} split {theirs['low']:g} to {theirs['high']:g}{_guess(ours, theirs)}"
            )
        elif differs == "shift" and kind == "image":
            brighter = "darker" if ours["mean"] < theirs["mean"] else "brighter"
            words.append(
                f"the calibration pictures are much {brighter}{where}: {ours['mean']:.0f} on average, those of the "
                f"{split} split {theirs['mean']:.0f}"
            )
        elif differs == "shift" and kind == "text":
            words.append(
                f"the calibration texts have other {worst['name']}: {ours['mean']:.3g} on average, those of the "
                f"{split} split {theirs['mean']:.3g}"
            )
        elif differs == "shift":
            words.append(
                f"calibration values are elsewhere{where}: {ours['mean']:.3g} on average, those of the {split} split "
                f"{theirs['mean']:.3g}"
            )
        elif differs == "spread":
            words.append(
                f"calibration values spread otherwise{where}: by {ours['spread']:.3g}, those of the {split} split by "
                f"{theirs['spread']:.3g}"
            )
        else:
            words.append(
                f"many values of the {split} split lie outside of what calibration saw{where}: {ours['low']:g} to "
                f"{ours['high']:g} against {theirs['low']:g} to {theirs['high']:g}"
            )
    return words


def _where(name: str, those: int, of: int) -> str:
    if of == 1:
        return f" ({shorten(name, 40)})" if name else ""
    return f" ({shorten(name, 40)}" + (f", and {those - 1} more of {of} channels)" if those > 1 else ")")


def _guess(ours: dict[str, float], theirs: dict[str, float]) -> str:
    """Return what another range probably is: one of those that pictures are fed in."""
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        if ours["low"] >= low - 0.01 and ours["high"] <= high + 0.01 and ours["high"] > high / 2:
            return f". It looks as if {low:g} to {high:g} had been fed" if theirs["high"] > 2 * high or high > 1 else ""
    return ""


def _few(calibration: Calibration) -> list[str]:
    words = []
    if calibration.count < LIMITS["samples"]:
        words.append(
            f"{calibration.count} calibration samples are few: 100 to 500 are usual, and below {LIMITS['samples']:g} "
            "the extremes that set the ranges are luck"
        )
    if missing := [label for label, count in calibration.per_class.items() if not count]:
        shown = ", ".join(shorten(label, 20) for label in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        words.append(f"no calibration sample shows the classes {shown}{more}")
    return words
