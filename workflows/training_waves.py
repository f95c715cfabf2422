"""Recordings that a recipe trains on (``wav:``): read, converted to one rate, and cut into windows of one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..core.codec import sha256_file
from ..core.errors import InputError
from ..core.progress import Listener
from ..core.recipe_data import Data
from ..core.sample_files import SampleFile, UnreadableError
from ..core.sanitize import shorten
from ..data.files import stat_identity
from ..data.label_targets import targets_of
from ..data.listing import Listing, quoted
from ..data.sound_tables import is_table, recordings
from ..data.tables import IMAGE_COLUMNS, ImageTable
from ..data.waveforms import LOUDEST, need_reader, read_at
from .array_files import source_path
from .wave_files import pieces

_LEAST = 2  # samples of a window
_PROBED = 16


@dataclass(frozen=True)
class Sounds:
    """What a model takes: waveforms of `seconds` at `rate` Hz; None: as long, and of the rate, as the files are."""

    rate: int | None
    seconds: float | None


@dataclass(frozen=True)
class Waves:
    """N windows of recordings: `x` (N, samples) float32 from −1 to 1 at `rate` Hz, and their targets `y` (N, …).

    `given` (N,) is the source's own split of each, `groups` the group of each, or the recording of each where one gives
    several windows.
    `names` are those of tags, and then `tags` is true.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    given: NDArray[np.int8]
    groups: Sequence[str]
    rate: int
    names: tuple[str, ...] = ()
    tags: bool = False


def wave_identity(path: Path, source: str, task: str) -> dict[str, Any]:
    """Return what the recordings of a source depend on: names, sizes and times.

    Raises as `read_waves`, but opens no recording.
    """
    need_reader()
    listing = recordings(path, source, task).listing()
    rows = zip(listing.names, (file.path for file in _files(listing)), strict=True)
    table = {"table": sha256_file(path)} if is_table(path) else {}
    return {"labels": list(listing.labels), **stat_identity(rows), **table}


def probe_waves(data: Data, task: str, folder: Path) -> None:
    """Read some recordings, spread over ``wav:…``, the shortest and the longest file among them.

    Raises InputError as `read_waves`, also where these are of different lengths and no window is said.
    """
    path = source_path(data.source.partition(":")[2], folder)
    listing = recordings(path, data.source, task).listing()
    _check_classes(listing)
    where = path.parent if is_table(path) else path
    targets_of(listing, task, where)
    sizes = [Path(file.path).stat().st_size if Path(file.path).is_file() else 0 for file in _files(listing)]
    spread = np.linspace(0, len(listing) - 1, min(_PROBED, len(listing))).astype(np.int64)
    chosen = np.unique([*spread, int(np.argmin(sizes)), int(np.argmax(sizes))])
    files = [one for one in listing.stream(chosen) if isinstance(one, SampleFile)]
    with TemporaryFile() as spool:
        paths = [where / listing.names[row] for row in chosen.tolist()]
        lengths, rate = _read_all(files, paths, data.sample_rate, spool)
    _length(lengths, paths, rate, data.window_seconds)


def read_waves(
    path: Path, source: str, sounds: Sounds, task: str, listener: Listener, folder: Path, group: str = ""
) -> Waves:
    """Return the recordings of ``wav:FOLDER`` or ``wav:TABLE.csv``, mapped from an unnamed file in `folder`.

    A recording becomes the mean of its channels, and is converted to the rate. With `Sounds.seconds` it gives all
    whole windows, one after the other, and a shorter one has zeros behind it; without, all must be equally long.
    `group` is the column of a table that says of which person or machine a recording is.

    Raises InputError for a source without recordings, and with its name for a file that cannot be read or a target
    that is none of `task`; where lengths or rates differ and the recipe does not say them. NotInstalledError without
    SciPy.
    """
    need_reader()
    listing = recordings(path, source, task).listing()
    if listing.refused:
        raise InputError(f"{path}: {listing.refused[0].name}: {listing.refused[0].why}", "remove it, or copy it there")
    for remark in listing.remarks:
        listener.note("warning", remark.what, remedy=remark.remedy)
    _check_classes(listing)
    files, where = _files(listing), path.parent if is_table(path) else path
    groups = _groups(path, source, group)
    y, names = targets_of(listing, task, where)
    with TemporaryFile(dir=folder) as spool, TemporaryFile(dir=folder) as into:  # not in memory: an hour is 230 MB
        lengths, rate = _read_all(files, [where / name for name in listing.names], sounds.rate, spool)
        length = _length(lengths, [where / name for name in listing.names], rate, sounds.seconds)
        counts = [max(1, one // length) for one in lengths]
        x = _cut(spool, lengths, counts, length, into)
    _tell_of_short(lengths, listing, source, length, rate, listener)
    rows = np.repeat(np.arange(len(counts)), counts)
    if not groups and len(rows) > len(counts):
        groups = listing.names
    return Waves(
        x,
        y[rows],
        listing.splits[rows],
        [groups[row] for row in rows.tolist()] if len(groups) else (),
        rate,
        names,
        tags=bool(names),
    )


def _groups(path: Path, source: str, group: str) -> Sequence[str]:
    """Return the group of each recording, in the order of `recordings`; none where no column is named."""
    if not group:
        return ()
    if not is_table(path):
        raise InputError(
            f"{shorten(source, 200)} is a folder, and group = {shorten(group)!r} names a column",
            "give a table with the columns path, label and that one: wav:TABLE.csv",
        )
    table = ImageTable(source, path, None, IMAGE_COLUMNS._replace(label=group))
    listing = table.listing()
    return [listing.labels[number] for number in listing.targets.tolist()]


def _check_classes(listing: Listing) -> None:
    """Raise InputError for a class without a recording."""
    if not len(listing):
        raise InputError(f"{listing.source} holds no recordings", "put WAV files into its class folders")
    held = set(listing.targets.tolist())
    if empty := [label for number, label in enumerate(listing.labels) if number not in held]:
        raise InputError(
            f"{listing.source}: there is no recording of {quoted(empty)}",
            "put WAV files into the folder of each class, or remove it",
        )


def _files(listing: Listing) -> list[SampleFile]:
    return [one for one in listing.stream(np.arange(len(listing))) if isinstance(one, SampleFile)]


def check_waves(x: NDArray[Any], source: str) -> None:
    """Raise InputError for arrays that are no waveforms (N, samples) from −1 to 1."""
    if x.ndim != 2:
        raise InputError(
            f"{shorten(source, 200)}: the samples have the shape {x.shape}, and data.sample_rate says that they are "
            "waveforms",
            "give waveforms (N, samples), or leave data.sample_rate out",
        )
    if (loudest := float(np.abs(x).max(initial=0))) > LOUDEST:
        raise InputError(
            f"{shorten(source, 200)}: the waveforms have values up to {loudest:g}, and they are from -1 to 1",
            "divide them by their range, e.g. x / 32768 of 16 bits",
        )


def _read_all(
    files: Sequence[SampleFile], paths: Sequence[Path], rate: int | None, spool: IO[bytes]
) -> tuple[list[int], int]:
    """Write all recordings into `spool`, float32 one after the other; return their lengths and their rate: `rate`, or
    their own. Raises InputError where that is not one, and for a file that cannot be read."""
    lengths: list[int] = []
    rates: list[int] = []
    for file, path in zip(files, paths, strict=True):
        try:
            clip, own = read_at(file, rate)
        except UnreadableError as error:
            raise InputError(f"{path} cannot be used: {error}", "correct the file, or remove it") from error
        spool.write(clip.tobytes())
        lengths.append(len(clip))
        rates.append(own)
        if own != rates[0]:
            raise InputError(
                f"{paths[0]} has {rates[0]:,} Hz, and {path} has {own:,} Hz",
                "say the rate that the model takes, to which recordings are converted: data.sample_rate = 16000",
            )
    return lengths, rates[0]


def _cut(spool: IO[bytes], lengths: Sequence[int], counts: Sequence[int], length: int, into: IO[bytes]) -> NDArray[Any]:
    """Return the windows (N, length) of all recordings, mapped from the file `into`; each gives as many as `counts`."""
    spool.seek(0)
    x = np.memmap(into, np.float32, "w+", shape=(sum(counts), length))
    at = 0
    for samples, count in zip(lengths, counts, strict=True):
        clip = np.frombuffer(spool.read(4 * samples), np.float32)
        x[at : at + count] = pieces(clip, length, windows=True)
        at += count
    return x


def _length(lengths: Sequence[int], paths: Sequence[Path], rate: int, seconds: float | None) -> int:
    """Return how many samples a window has."""
    length = max(lengths) if seconds is None else round(seconds * rate)
    if length < _LEAST:
        raise InputError(
            f"{length / rate:g} s at {rate:,} Hz are {length} samples, fewer than {_LEAST}",
            "say more seconds with data.window_seconds, or a higher data.sample_rate",
        )
    if seconds is None and (least := min(lengths)) < length:
        short, long = (paths[lengths.index(one)] for one in (least, length))
        raise InputError(
            f"recordings are from {least / rate:g} s ({short}) to {length / rate:g} s long ({long})",
            "say how much of one the model takes: data.window_seconds = 1.0 (init --window-seconds 1.0)",
        )
    return length


def _tell_of_short(
    lengths: Sequence[int], listing: Listing, source: str, length: int, rate: int, listener: Listener
) -> None:
    short = [row for row, samples in enumerate(lengths) if samples < length]
    if short:
        listener.note(
            "warning",
            f"{len(short)} of {len(lengths)} recordings of {shorten(source, 200)} are shorter than {length / rate:g} "
            f"s, the first is {shorten(listing.names[short[0]], 200)} ({lengths[short[0]] / rate:g} s): zeros follow "
            "them",
            remedy="leave them out, or set a smaller data.window_seconds",
        )
