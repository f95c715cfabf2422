"""Measure artifacts: load, answer the test split, time; every cell becomes a Measurement, whatever happens to it.

Three phases over the cells of a machine. Loading and answering use all cores; timing runs alone (`core.quiet`).
Machines are measured at the same time (`queues.py`). The result of a phase is stored at once, so that a killed run
repeats nothing. What may be transient (a crash, a time-out) is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.codec import from_json, read_json, to_json, write_json
from ..core.dataset import PreparedData
from ..core.device import THIS_MACHINE
from ..core.environment import now
from ..core.measurement import Arena, Measurement, NpuEstimate, Placement, ReferenceMatch
from ..core.progress import Listener
from ..core.quiet import quiet, working
from ..core.recipe import Evaluate
from ..core.runner import Outcome, Runner
from ..core.store import Store
from ..core.target import base_target
from ..tasks import TASKS
from ..tasks.agreement import Scores
from ..tasks.classification import Classification
from . import predictions
from .board import Board, RunningCell
from .certainty import Asks, everything
from .placement import unplaced
from .queues import run_queues
from .sustained import fastest, sustained
from .timing import TimedCell, time_cells

# What the load of a file tells of it beside the figures, by the row's field.
_TOLD: dict[str, type] = {"placement": Placement, "npu": NpuEstimate, "arena": Arena, "reference": ReferenceMatch}
_LASTING = ("ok", "unsupported", "failed")


@dataclass(frozen=True)
class Answered:
    """What a cell answered: the score of each sample, and how far each answer is the float reference's, from 0 to 1.

    Both are (samples,). `scores` are the task's (`tasks.Task`), None where the data or the answers do not tell what is
    right; `parts` (samples, …) are what its metric is made of. `likeness` is None where there is no reference or its
    answers are of other size. `answers` is the ``.npy`` of all answers, (samples, values) float32.
    """

    scores: NDArray[Any] | None = None
    likeness: Scores | None = None
    answers: Path | None = None
    parts: NDArray[Any] | None = None


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
    places: Mapping[str, str] | None = None,
    interrupt: Callable[[], None] = lambda: None,
) -> dict[tuple[str, str], Answered]:
    """Measure every runner on a split of `data`; call `on_row` whenever a cell's row is new or has grown.

    `references` maps a model's name to the id of its float reference artifact; agreement, difference and accuracy
    drop are against that artifact's answers (on the first of `runners` that runs it, this machine's before others).
    `raw_folder` receives one JSON file per timed cell; rows name it relative to the folder above. Artifacts whose ids
    are in `untimed` answer and are not timed. `answerers` is how many shards are answered at once (default: `cores`).
    `asks` says which order of latencies must be certain, and `on_bench` receives what the bench learnt about the
    machine (`timing.time_cells`). `on_sustained` receives a row for each device (`sustained.sustained`) if the settings
    ask for minutes of that; without it (of a trial) there is none.

    `places` has the machine of each device by the device's name (`core.device.Device.place`; default: this machine).
    Machines are measured at the same time; one call of a callback ends before the next begins. When this is
    interrupted, `interrupt` must let all calls of runners on other machines return soon.

    Accuracy needs data that say what is right, and answers that the task can score.
    Returns what all cells that answered said, by (artifact id, target).
    """
    places = places or {}
    everyone = [RunningCell(r, _row(r), places.get(r.target.device, THIS_MACHINE)) for r in runners]
    board = Board(
        everyone,
        data,
        split,
        references=references,
        examples=settings.examples if split == "test" else None,
        on_row=on_row,
    )

    metric = TASKS[data.task](0).metric if data.task in TASKS and data.targets(split).is_file() else ""
    if metric not in ("", Classification.metric):
        listener.note("info", f"answers are scored by {metric}", metric=metric)

    def queue(place: str, cells: Sequence[RunningCell], listener: Listener) -> None:
        for cell in cells:
            cell.identity = cell.runner.identity()
        _load(cells, data, split, store=store, workers=cores, listener=listener, board=board, strict=settings.strict)
        workers = answerers or cores
        _answer(_alive(cells), data, split, store=store, workers=workers, listener=listener, board=board)
        board.await_references(cells)
        board.describe(cells)
        board.fail_zeros(cells, cells)
        timed = [cell for cell in _alive(cells) if cell.runner.timed and cell.artifact not in untimed]
        alone = quiet if place == THIS_MACHINE else nullcontext
        rows: dict[str, list[Measurement]] = {}

        def on_timed(row: Measurement) -> None:
            rows.setdefault(row.device, []).append(row)
            board.report(row)

        # Latencies of different devices are no race: each device has its own anchor and its own rounds.
        for device in dict.fromkeys(cell.runner.target.device for cell in timed):
            time_cells(
                [TimedCell(c.runner, c.row, c.key()) for c in timed if c.runner.target.device == device],
                data.inputs(split),
                settings=settings,
                seed=seed,
                cores=cores,
                store=store,
                raw_folder=raw_folder,
                listener=listener,
                asks=asks,
                on_row=on_timed,
                on_bench=lambda row: board.record(lambda: on_bench(row)),
                alone=alone,
            )
        minutes = settings.latency.sustained_minutes
        for row in (fastest(of_device) for of_device in rows.values() if minutes):
            if row is not None and on_sustained is not None:
                cell = next(c for c in timed if (c.artifact, c.row.target) == (row.artifact, base_target(row.target)))
                with alone():
                    kept = _sustained(cell, row, data.inputs(split), minutes, store=store, listener=listener)
                board.record(partial(on_sustained, kept))

    run_queues(board, listener, queue, interrupt)
    board.fail_zeros(board.cells, board.cells)
    return {
        (cell.artifact, cell.row.target): Answered(cell.scores, cell.likeness, cell.answers, cell.parts)
        for cell in _alive(everyone)
    }


def _alive(cells: Sequence[RunningCell]) -> list[RunningCell]:
    """Return the cells that run and answer, as far as is known."""
    return [cell for cell in cells if cell.row.status == "ok" and cell.runner.answers]


def _sustained(
    cell: RunningCell, row: Measurement, inputs: Path, minutes: float, *, store: Store, listener: Listener
) -> dict[str, Any]:
    """Run a cell for some minutes, or take that from the store. What has failed is tried again in the next run."""
    threads = row.latency_ms.threads if row.latency_ms else 1
    key = store.key("sustained", {"minutes": minutes, "threads": threads, **cell.key()})
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
    cells: Sequence[RunningCell],
    data: PreparedData,
    split: str,
    *,
    store: Store,
    workers: int,
    listener: Listener,
    board: Board,
    strict: bool,
) -> None:
    """Phase one: does the file load and run there at all, and on the accelerator that was named?"""
    inputs = data.inputs(split)
    # Pictures and texts are made to fit the file; of tensors, each data set has its own shapes.
    spec = {"data": data.sha256} if data.kind == "tensor" else {}

    def one(cell: RunningCell) -> Outcome:
        key = store.key("load", {"status": cell.runner.artifact.status, **spec, **cell.key()})
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

    with ThreadPoolExecutor(workers) as pool, ExitStack() as stack:
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)  # where the loop is left early
        futures = {pool.submit(one, cell): cell for cell in cells}
        for count, future in enumerate(as_completed(futures), 1):
            cell, outcome = futures[future], future.result()
            listener.progress("load", count, len(cells), f"{cell.runner.artifact.id} on {cell.runner.target}")
            cell.facts = outcome.data
            cell.row = replace(
                placed(cell.row, cell.facts),
                runtime_version=cell.identity.get("runtime_version", ""),
                measured_at=now(),
                fingerprint={
                    **cell.identity,
                    **{k: cell.facts[k] for k in ("kernels", "python", "timer_us") if k in cell.facts},
                },
                peak_memory_bytes=cell.facts.get("peak_memory_bytes"),
            )
            board.tell(cell, unplaced(cell.row, strict=strict) if outcome.ok else outcome)


def _answer(
    cells: Sequence[RunningCell],
    data: PreparedData,
    split: str,
    *,
    store: Store,
    workers: int,
    listener: Listener,
    board: Board,
) -> None:
    """Phase two: accuracy on the whole split, and agreement with the float reference."""
    samples = data.counts[split]
    spec = {"data": data.sha256} if split == "test" else {"data": data.sha256, "split": split}
    keys = [store.key("answers", {**spec, **cell.key()}) for cell in cells]

    def done(index: int, outcome: Outcome, outputs: predictions.Floats | None) -> None:
        if outputs is None:
            board.tell(cells[index], outcome)
            return
        folder = store.partial(keys[index])
        with working():
            np.save(folder / "outputs.npy", outputs)
            for shard in folder.glob("*-*.npy"):
                shard.unlink()
            board.answered(cells[index], store.finish(keys[index]) / "outputs.npy")

    todo = []
    for index, key in enumerate(keys):
        if entry := store.get(key):
            board.answered(cells[index], entry / "outputs.npy")
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
