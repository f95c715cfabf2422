"""Folders of WAV files (``wav:``), read as the waveforms that a model takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.progress import Listener
from ..core.recipe_data import Data
from ..core.sample_files import SampleFile, UnreadableError
from ..core.sanitize import shorten
from ..data.classless import without_classes
from ..data.label_targets import targets_of
from ..data.sound_tables import is_table, of_classes, recordings
from ..data.splits import rows_of_split
from ..data.waveforms import need_reader, read_wave
from ..data.windows import NOT_INDEPENDENT
from ..train.external import Input
from ..train.external.tensors import describe
from .input_spec import InputSpec
from .samples import Samples


def with_waves(
    data: Data, spec: InputSpec, folder: Path, use: str, listener: Listener, task: str, *, targets: bool
) -> Samples:
    """Return the clips in `folder`, or in a table, as waveforms for a model that takes `spec`, perhaps with `targets`.

    Targets of a folder are classes; of a table also tags or numbers, where `task` says so.

    Raises InputError for a model that takes no waveform, for a file that cannot be read, and where the rate is not
    said; NotInstalledError without SciPy.
    """
    source = recordings(folder, data.source, task)
    if not data.sample_rate:
        raise InputError(
            f"{data.source}: the rate that the model takes is not known",
            "say it in Hz, with --sample-rate (sample_rate in Python and in a recipe), e.g. 16000",
        )
    one = _waveform(data, spec)
    length = max(one.sample)
    window = data.window_seconds
    if window is not None and round(window * data.sample_rate) != length:
        raise InputError(
            f"{window:g} s at {data.sample_rate:,} Hz are {round(window * data.sample_rate):,} samples, and the "
            f"model's input {one.name!r} takes {length:,} ({length / data.sample_rate:g} s)",
            "give the model's own rate and seconds",
        )
    need_reader()
    listing = without_classes(source).listing()
    folder = folder.parent if is_table(folder) else folder
    if listing.refused:
        refused = listing.refused[0]
        raise InputError(f"{folder}: {refused.name}: {refused.why}", "remove it, or copy it there")
    chosen = rows_of_split(listing, use)
    if not len(chosen):
        raise InputError(f"{shorten(data.source, 200)} holds no recordings", "put WAV files into its class folders")
    clips, rows = list[NDArray[np.float32]](), list[int]()
    shorter = longer = 0
    for row, payload in zip(chosen.tolist(), listing.stream(chosen), strict=True):
        if not isinstance(payload, SampleFile):
            raise TypeError(f"{data.source} holds {type(payload).__name__}")
        try:
            wave = read_wave(payload, data.sample_rate)
        except UnreadableError as error:
            raise InputError(
                f"{folder / listing.names[row]} cannot be used: {error}", "correct the file, or remove it"
            ) from error
        windows = pieces(wave, length, windows=window is not None)
        shorter += len(wave) < length
        longer += len(wave) > length
        clips += windows
        rows += [row] * len(windows)
    _tell(data, listener, len(chosen), shorter, longer, length / data.sample_rate)
    inputs = {"": np.stack(clips).reshape(len(clips), *one.sample)}
    if not targets or not listing.labels:
        return Samples(inputs, (), None, source=data.source)
    if len(rows) > len(chosen):
        listener.note("info", f"{data.source}: {NOT_INDEPENDENT}")
    if of_classes(task):
        return Samples(inputs, (), listing.targets[rows], listing.labels, source=data.source)
    y, names = targets_of(listing, task, folder)
    return Samples(inputs, (), None, names, source=data.source, targets=y[rows], task=task, by_name=bool(names))


def _waveform(data: Data, spec: InputSpec) -> Input:
    """Return the model's only input, if it takes a waveform."""
    one = spec.inputs[0] if len(spec.inputs) == 1 else None
    if one is None or one.dtype not in ("float32", "float64") or sum(side > 1 for side in one.sample) != 1:
        takes = ", ".join(f"{i.name} {describe(i.sample)} {i.dtype}" for i in spec.inputs) or f"{spec.kind}s"
        raise InputError(
            f"{data.source} holds waveforms, and the model takes {takes}",
            "a waveform is one input of (samples,) or (1, samples), float32 from -1 to 1; for spectrograms give "
            "npz:FILE",
        )
    return one


def pieces(wave: NDArray[np.float32], length: int, *, windows: bool) -> list[NDArray[np.float32]]:
    """Return the beginning of a clip, with zeros behind a shorter one; or all whole windows, one after another."""
    count = max(1, len(wave) // length) if windows else 1
    padded = np.zeros(count * length, np.float32)
    held = wave[: count * length]
    padded[: len(held)] = held
    return list(padded.reshape(count, length))


def _tell(data: Data, listener: Listener, clips: int, shorter: int, longer: int, seconds: float) -> None:
    if shorter:
        listener.note(
            "warning",
            f"{shorter} of {clips} clips of {shorten(data.source, 200)} are shorter than {seconds:g} s: zeros follow "
            "them",
        )
    if longer and data.window_seconds is None:
        listener.note(
            "warning",
            f"{longer} of {clips} clips of {shorten(data.source, 200)} are longer than {seconds:g} s: only their "
            "beginning is used",
            remedy=f"cut them into windows with --window-seconds {seconds:g}",
        )
