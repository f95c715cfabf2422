"""Finds the files and samples of two runs that are to be timed together now, and times them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.artifact import Artifact
from ..core.codec import sha256_file
from ..core.dataset import PreparedData
from ..core.device_files import load_devices
from ..core.environment import usable_cores
from ..core.errors import EdgeproofError, InputError
from ..core.inputs import check_plain
from ..core.picture_size import size_of
from ..core.progress import Listener
from ..core.recipe import Evaluate
from ..core.results import Results
from ..core.target import Target, base_target
from ..devices import OpenDevices
from ..evaluate.cells import Cell
from ..evaluate.compare import Remeasured, Together, matched
from ..evaluate.gate import Limit
from ..evaluate.remeasure import CellKey, Pair, Side, time_pairs
from .run_folder import Evaluation, source_run_of

SEED = 1


def time_together(
    run_a: tuple[Results, Path | None],
    run_b: tuple[Results, Path | None],
    *,
    settings: Evaluate,
    limits: Sequence[Limit],
    listener: Listener,
) -> Remeasured:
    """Time the files of every cell that ran in both runs, side by side in the same rounds.

    Cells on one device are timed together, one device after the other. A cell whose files cannot be timed has the
    reason in place of figures. One file that both runs have is not timed: it differs by nothing. The float model ships
    nowhere and is timed only if the runs have nothing else. Raises InputError when no cell can be timed.
    """
    cells_a, cells_b = matched([run_a[0], run_b[0]])
    common = [(key, cells_a[key], cells_b[key]) for key in cells_a if key in cells_b]
    running = [pair for pair in common if all(cell.measurement.status == "ok" for cell in pair[1:])]
    shipped = [pair for pair in running if not pair[2].is_reference]
    found: dict[CellKey, Together] = {}
    pairs: list[Pair] = []
    samples = _Samples(run_a[1], run_b[1])
    with OpenDevices(load_devices()) as devices:
        for key, a, b in shipped or running:
            if a.artifact.sha256 and a.artifact.sha256 == b.artifact.sha256:
                found[key] = Together(is_same=True)
                continue
            try:
                pairs.append(_pair(key, (a, run_a[1]), (b, run_b[1]), samples, settings.timeout_seconds, devices))
            except EdgeproofError as error:
                found[key] = Together(f"it was not timed: {error.message}")
        timed, benches = _timed(pairs, settings, limits, listener)
    if not pairs and (whys := [together.why for together in found.values() if not together.is_same]):
        raise InputError(f"no file of the two runs can be timed now: {whys[0]}", _REMEDY)
    return Remeasured(found | timed, tuple(benches))


def _timed(
    pairs: Sequence[Pair], settings: Evaluate, limits: Sequence[Limit], listener: Listener
) -> tuple[dict[CellKey, Together], list[dict[str, Any]]]:
    """Time all pairs, device by device."""
    found: dict[CellKey, Together] = {}
    benches: list[dict[str, Any]] = []
    allowed = [limit.most / 100 for limit in limits if limit.metric == "latency" and limit.most is not None]
    by_device: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_device.setdefault(pair.a.runner.target.device, []).append(pair)
    with tempfile.TemporaryDirectory(prefix="edgeproof-compare-") as folder:
        for number, group in enumerate(by_device.values()):
            listener.begin("measure")
            timed, rows = time_pairs(
                group, table=settings.latency, limit=min(allowed, default=None), seed=SEED, cores=usable_cores(),
                folder=Path(folder) / f"records-{number}", listener=listener,
            )  # fmt: skip
            found |= timed
            benches += rows
    return found, benches


_REMEDY = "give the folders of the runs, with their artifacts/ and, of one of them, .store/"


def _pair(
    key: CellKey,
    a: tuple[Cell, Path | None],
    b: tuple[Cell, Path | None],
    samples: _Samples,
    timeout_seconds: float,
    devices: OpenDevices,
) -> Pair:
    """Return the two files of a cell, ready to be timed. Raises EdgeproofError if one is gone, changed, or unfed."""
    options = [(m.threads, m.batch) if (m := cell.measurement.latency_ms) else (1, 1) for cell, _ in (a, b)]
    if options[0] != options[1]:
        raise InputError(f"threads and batch are {options[0]} in a and {options[1]} in b", "measure both alike")
    files = [_file(cell, folder) for cell, folder in (a, b)]
    target = Target.parse(base_target(key[1]))
    sides = [
        Side(
            devices.open_runner(file, target, timeout_seconds=timeout_seconds),
            samples.of(number, file).inputs("test"),
            cell.measurement.peak_memory_bytes,
        )
        for number, (file, (cell, _)) in enumerate(zip(files, (a, b), strict=True))
    ]
    if not sides[0].runner.timed:
        raise InputError(f"{target.device} is {sides[0].runner.kind}: its times say nothing", "compare its accuracies")
    return Pair(key, sides[0], sides[1], *options[0])


def _file(cell: Cell, folder: Path | None) -> Artifact:
    """Return a run's artifact with absolute paths. Raises InputError if its file is gone or has changed."""
    artifact = cell.artifact
    if folder is None or artifact.path is None:
        raise InputError(f"{artifact.id} has no file: the run's folder is not known", _REMEDY)
    here = folder.absolute()
    path = here / artifact.path
    if not path.exists():
        raise InputError(f"{path} does not exist", _REMEDY)
    check_plain(path)
    if artifact.format != "savedmodel" and sha256_file(path) != artifact.sha256:
        raise InputError(f"{path} has changed since its run", "run its recipe again")
    return replace(artifact, path=path, tokenizer=here / artifact.tokenizer if artifact.tokenizer else None)


class _Samples:
    """The prepared samples of two runs: each file is fed its own run's, or the other's where its own are gone."""

    def __init__(self, folder_a: Path | None, folder_b: Path | None) -> None:
        self._folders = (folder_a, folder_b)
        self._opened: dict[tuple[int, str], PreparedData | InputError] = {}

    def of(self, number: int, artifact: Artifact) -> PreparedData:
        """Return the samples for a file of run `number` (0 or 1). Raises InputError when neither run has any."""
        own = self._open(number, artifact)
        if isinstance(own, PreparedData):
            return own
        other = self._open(1 - number, artifact)
        if isinstance(other, InputError):
            raise own
        size = size_of(other.height, other.width, other.channels)
        contract = artifact.contract
        if contract is not None and (contract.kind != other.kind or (other.kind == "image" and contract.size != size)):
            raise own
        return other

    def _open(self, number: int, artifact: Artifact) -> PreparedData | InputError:
        place = (number, artifact.model)
        if place not in self._opened:
            try:
                self._opened[place] = self._find(number, artifact)
            except InputError as error:
                self._opened[place] = error
        return self._opened[place]

    def _find(self, number: int, artifact: Artifact) -> PreparedData:
        folder = self._folders[number]
        if folder is None:
            raise InputError("the run's folder is not known", _REMEDY)
        models = sorted(path.name for path in (folder / "models").glob("*") if path.is_dir())
        # The other run may call its only model otherwise.
        model = artifact.model if artifact.model in models or len(models) != 1 else models[0]
        source = source_run_of(folder / "artifacts" / "any", model)
        if source is not None:
            return source.data()
        if evaluation := Evaluation.of(folder):
            return evaluation.data()
        raise InputError(f"{folder} holds no samples", _REMEDY)
