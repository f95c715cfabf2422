"""Measure artifacts: load, answer the test split, time; every cell becomes a Measurement, whatever happens to it.

Three phases over all cells. Loading and answering use all cores; timing runs alone. The result of a phase is stored at
once, so that a killed run repeats nothing. What may be transient (a crash, a time-out) is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.codec import from_json, read_json, to_json, write_json
from ..core.dataset import PreparedData
from ..core.environment import now
from ..core.measurement import Arena, Measurement, NpuEstimate, Placement, ReferenceMatch
from ..core.model import sample_shape
from ..core.progress import Listener
from ..core.recipe import Evaluate
from ..core.runner import Outcome, Runner
from ..core.store import Store
from ..core.target import base_target
from ..tasks import Task, compare, task_of
from ..tasks.agreement import Scores
from . import predictions
from .certainty import Asks, everything
from .placement import unplaced
from .sustained import fastest, sustained
from .timing import TimedCell, time_cells

# What the load of a file tells of it beside the figures, by the row's field.
_TOLD: dict[str, type] = {"placement": Placement, "npu": NpuEstimate, "arena": Arena, "reference": ReferenceMatch}
_LASTING = ("ok", "unsupported", "failed")


@dataclass
class _Cell:
    """A runner on its way through the phases, and its row so far.

    `answers` is the ``.npy`` of its answers (samples, values) float32; `scores` (samples,) how well each sample is
    answered, where that is known; `likeness` (samples,) how like the float reference's each answer is.
    """

    runner: Runner
    row: Measurement
    identity: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    answers: Path | None = None
    scores: NDArray[Any] | None = None
    likeness: Scores | None = None


@dataclass(frozen=True)
class Answered:
    """What a cell answered: the score of each sample, and how far each answer is the float reference's, from 0 to 1.

    Both are (samples,). `scores` are the task's (`tasks.Task`), None where the data or the answers do not tell what is
    right; `likeness` is None where there is no reference or its answers are of other size. `answers` is the ``.npy`` of
    all answers, (samples, values) float32.
    """

    scores: NDArray[Any] | None = None
    likeness: Scores | None = None
    answers: Path | None = None


def measure(
    runners: Sequence[Runner],
    data: PreparedData,
    *,
    references: Mapping[str, str],
    settings: Evaluate,
    seed: int,
    cores: int,
    answerers: int = 0,
    store: Store,
    raw_folder: Path,
    listener: Listener,
    on_row: Callable[[Measurement], None],
    untimed: Collection[str] = (),
    split: str = "test",
    asks: Asks = everything,
    on_bench: Callable[[dict[str, Any]], None] = lambda row: None,
    on_sustained: Callable[[dict[str, Any]], None] | None = None,
) -> dict[tuple[str, str], Answered]:
    """Measure every runner on a split of `data`; call `on_row` whenever a cell's row is new or has grown.

    `references` maps a model's name to the id of its float reference artifact; agreement, difference and accuracy
    drop are against that artifact's answers (on the first of `runners` that runs it). `raw_folder` receives one JSON
    file per timed cell; rows name it relative to the folder above. Artifacts whose ids are in `untimed` answer and
    are not timed. `answerers` is how many shards are answered at once (default: `cores`). `asks` says which order of
    latencies must be certain, and `on_bench` receives what the bench learnt about the machine (`timing.time_cells`).
    `on_sustained` receives a row for each device (`sustained.sustained`) if the settings ask for minutes of that;
    without it (of a trial) there is none.

    Accuracy needs data that say what is right, and answers that the task can score.
    Returns what all cells that answered said, by (artifact id, target).
    """
    cells = [_Cell(runner, _row(runner), runner.identity()) for runner in runners]
    _load(cells, data, split, store=store, workers=cores, listener=listener, on_row=on_row, strict=settings.strict)
    alive = [cell for cell in cells if cell.row.status == "ok" and cell.runner.answers]
    _answer(
        alive,
        data,
        split,
        references=references,
        store=store,
        workers=answerers or cores,
        listener=listener,
        on_row=on_row,
        examples=settings.examples if split == "test" else None,
    )
    _fail_zeros(alive, on_row)
    alive = [cell for cell in alive if cell.row.status == "ok"]
    timed = [cell for cell in alive if cell.runner.timed and cell.runner.artifact.id not in untimed]
    rows: dict[str, list[Measurement]] = {}

    def on_timed(row: Measurement) -> None:
        rows.setdefault(row.device, []).append(row)
        on_row(row)

    # Latencies of different devices are no race: each device has its own anchor and its own rounds.
    for device in dict.fromkeys(cell.runner.target.device for cell in timed):
        time_cells(
            [TimedCell(cell.runner, cell.row, _key(cell)) for cell in timed if cell.runner.target.device == device],
            data.inputs(split),
            settings=settings,
            seed=seed,
            cores=cores,
            store=store,
            raw_folder=raw_folder,
            listener=listener,
            asks=asks,
            on_row=on_timed,
            on_bench=on_bench,
        )
    minutes = settings.latency.sustained_minutes
    for row in (fastest(of_device) for of_device in rows.values() if minutes):
        if row is not None and on_sustained is not None:
            cell = next(c for c in timed if (c.row.artifact, c.row.target) == (row.artifact, base_target(row.target)))
            on_sustained(_sustained(cell, row, data.inputs(split), minutes, store=store, listener=listener))
    return {(cell.row.artifact, cell.row.target): Answered(cell.scores, cell.likeness, cell.answers) for cell in alive}


def _sustained(
    cell: _Cell, row: Measurement, inputs: Path, minutes: float, *, store: Store, listener: Listener
) -> dict[str, Any]:
    """Run a cell for some minutes, or take that from the store. What has failed is tried again in the next run."""
    threads = row.latency_ms.threads if row.latency_ms else 1
    key = store.key("sustained", {"minutes": minutes, "threads": threads, **_key(cell)})
    if entry := store.get(key):
        return dict(read_json(entry / "sustained.json"))
    found = sustained(cell.runner, inputs, minutes, threads=threads, listener=listener)
    if found["status"] == "ok":
        with store.write(key) as folder:
            write_json(folder / "sustained.json", found)
    return found


def _row(runner: Runner) -> Measurement:
    target = runner.target
    return Measurement(
        artifact=runner.artifact.id, target=str(target), device=target.device, runtime=target.runtime, kind=runner.kind
    )


def _load(
    cells: Sequence[_Cell],
    data: PreparedData,
    split: str,
    *,
    store: Store,
    workers: int,
    listener: Listener,
    on_row: Callable[[Measurement], None],
    strict: bool,
) -> None:
    """Phase one: does the file load and run there at all, and on the accelerator that was named?"""
    inputs = data.inputs(split)
    # Pictures and texts are made to fit the file; of tensors, each data set has its own shapes.
    spec = {"data": data.sha256} if data.kind == "tensor" else {}

    def one(cell: _Cell) -> Outcome:
        key = store.key("load", {"status": cell.runner.artifact.status, **spec, **_key(cell)})
        if entry := store.get(key):
            return from_json(Outcome, read_json(entry / "load.json"), str(entry))
        outcome = cell.runner.load(inputs)
        if outcome.ok and not outcome.data["finite"]:
            outcome = Outcome("failed", "it answers with NaN or infinity", "do not ship this pair; try another scheme")
        if outcome.status in _LASTING:
            with store.write(key) as folder:
                write_json(folder / "load.json", to_json(outcome))
        return outcome

    def placed(row: Measurement, facts: dict[str, Any]) -> Measurement:
        told: dict[str, Any] = {
            name: from_json(kind, facts[name], name) for name, kind in _TOLD.items() if facts.get(name)
        }
        row = replace(row, **told)
        return replace(row, kind="emulated") if row.placement and row.placement.software else row

    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(one, cell): cell for cell in cells}
        for count, future in enumerate(as_completed(futures), 1):
            cell, outcome = futures[future], future.result()
            listener.progress("load", count, len(cells), f"{cell.runner.artifact.id} on {cell.runner.target}")
            cell.facts = outcome.data
            cell.row = replace(
                placed(cell.row, cell.facts),
                runtime_version=cell.identity.get("runtime_version", ""),
                measured_at=now(),
                fingerprint={**cell.identity, **{k: cell.facts[k] for k in ("kernels", "python") if k in cell.facts}},
                peak_memory_bytes=cell.facts.get("peak_memory_bytes"),
            )
            _tell(cell, unplaced(cell.row, strict=strict) if outcome.ok else outcome, on_row)


def _answer(
    cells: Sequence[_Cell],
    data: PreparedData,
    split: str,
    *,
    references: Mapping[str, str],
    store: Store,
    workers: int,
    listener: Listener,
    on_row: Callable[[Measurement], None],
    examples: int | None = None,
) -> None:
    """Phase two: accuracy on the whole split, and agreement with the float reference.

    With a number of `examples` rows get their task's details, and at most so many samples of which they disagree.
    """
    task = task_of(data.labels)
    targets = task.targets(data, split)

    def detail(cell: _Cell, outputs: predictions.Floats, exact: predictions.Floats | None) -> None:
        if examples is not None:
            cell.row = task.detailed(cell.row, outputs, targets, data.labels, exact, disagreements=examples)

    samples = data.counts[split]
    spec = {"data": data.sha256} if split == "test" else {"data": data.sha256, "split": split}
    keys = [store.key("answers", {**spec, **_key(cell)}) for cell in cells]

    def scored(index: int, answers: Path) -> None:
        cell, outputs = cells[index], np.load(answers, mmap_mode="r", allow_pickle=False)
        wrong = int((~np.isfinite(outputs).all(axis=1)).sum())
        if wrong:
            reason = f"it answers with NaN or infinity on {wrong} of {len(outputs)} samples"
            return _tell(cell, Outcome("failed", reason, "do not ship this pair; try another scheme"), on_row)
        cell.answers = answers
        cell.scores = task.scores(outputs, targets)
        cell.row = replace(cell.row, samples=samples)
        if cell.scores is not None:
            cell.row = task.recorded(cell.row, task.estimate(cell.scores))
        for other in cells:
            if other.runner.artifact.model == cell.runner.artifact.model:
                _against_reference(other, cells, references, task, on_row, detail)
        return None

    def done(index: int, outcome: Outcome, outputs: predictions.Floats | None) -> None:
        if outputs is None:
            _tell(cells[index], outcome, on_row)
            return
        folder = store.partial(keys[index])
        np.save(folder / "outputs.npy", outputs)
        for shard in folder.glob("*-*.npy"):
            shard.unlink()
        scored(index, store.finish(keys[index]) / "outputs.npy")

    todo = []
    for index, key in enumerate(keys):
        if entry := store.get(key):
            scored(index, entry / "outputs.npy")
        else:
            todo.append(index)
    predictions.predict(
        [
            predictions.Cell(
                cells[i].runner,
                store.partial(keys[i]),
                run_ms=cells[i].facts["run_ms"],
                start_ms=sum(cells[i].facts[part] for part in ("import_ms", "load_ms", "first_ms")),
            )
            for i in todo
        ],
        data.inputs(split),
        samples,
        workers=workers,
        listener=listener,
        done=lambda position, outcome, outputs: done(todo[position], outcome, outputs),
    )
    for cell in cells:
        if cell.answers is not None and cell.scores is not None and cell.row.by_class is None:  # without a reference
            detail(cell, np.load(cell.answers, mmap_mode="r", allow_pickle=False), None)
            on_row(cell.row)


def _fail_zeros(cells: Sequence[_Cell], on_row: Callable[[Measurement], None]) -> None:
    """Fail accelerators that answer with zeros where another target of the same file does not, however few samples."""
    is_zero = {id(c): not np.load(c.answers, mmap_mode="r", allow_pickle=False).any() for c in cells if c.answers}
    for cell in cells:
        if not is_zero.get(id(cell)) or not cell.runner.target.engine.cpu:
            continue
        artifact = cell.runner.artifact.id
        others = (c for c in cells if c.runner.artifact.id == artifact and not is_zero.get(id(c), True))
        if (other := next(others, None)) is not None:
            reason = f"it answers 0 on all {cell.row.samples} samples, and on {other.runner.target} it does not"
            _tell(cell, Outcome("failed", reason, "do not ship this pair; try another scheme"), on_row)


def _against_reference(
    cell: _Cell,
    cells: Sequence[_Cell],
    references: Mapping[str, str],
    task: Task,
    on_row: Callable[[Measurement], None],
    detail: Callable[[_Cell, predictions.Floats, predictions.Floats], None],
) -> None:
    """Fill what compares a cell with its float reference once both have answered; report the row."""
    if cell.answers is None or cell.row.difference is not None:
        return
    reference_id = references.get(cell.runner.artifact.model)
    # Of an accelerator, the answers are what is in question.
    on_cpu = (c for c in cells if c.runner.artifact.id == reference_id and not c.runner.target.engine.cpu)
    reference = next((c for c in on_cpu if c.answers is not None), None)
    if reference is not None and reference.answers is not None:
        exact, ours = (np.load(path, mmap_mode="r", allow_pickle=False) for path in (reference.answers, cell.answers))
        if exact.shape == ours.shape:
            _compare(cell, exact, ours, _shape(reference, cells))
            if cell.scores is not None and reference.scores is not None:
                drop, low, high = task.drop(reference.scores, cell.scores, identical=cell.row.difference == 0)
                cell.row = replace(cell.row, drop=drop, drop_low=low, drop_high=high)
                detail(cell, ours, exact)
    on_row(cell.row)


def _compare(cell: _Cell, exact: predictions.Floats, ours: predictions.Floats, shape: Sequence[int]) -> None:
    """Fill what a cell's answers have in common with the reference's."""
    alike = compare(task_of(cell.runner.artifact.labels), exact, ours, shape)
    cell.likeness = alike.scores
    cell.row = alike.recorded(replace(cell.row, difference=float(np.abs(exact - ours).max())))


def _shape(reference: _Cell, cells: Sequence[_Cell]) -> tuple[int, ...]:
    """Return the shape of one answer of a model's files, of whichever file says it (a SavedModel does not)."""
    for cell in (reference, *cells):
        artifact = cell.runner.artifact
        if artifact.model == reference.runner.artifact.model and artifact.outputs:
            named = [t for t in artifact.outputs if t.name == artifact.answer] or artifact.outputs[:1]
            return sample_shape(named[0].shape)
    return ()


def _key(cell: _Cell) -> dict[str, Any]:
    """What every figure of a cell depends on. The id distinguishes artifacts whose bytes are equal."""
    return {"artifact": cell.runner.artifact.id, "sha256": cell.runner.artifact.sha256, **cell.identity}


def _tell(cell: _Cell, outcome: Outcome, on_row: Callable[[Measurement], None]) -> None:
    """Write an outcome into the row and report it."""
    cell.row = replace(cell.row, status=outcome.status, reason=outcome.reason, remedy=outcome.remedy)
    on_row(cell.row)
