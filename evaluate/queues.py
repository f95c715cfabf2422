"""Queues: machines that devices stand for are measured at the same time, each by a queue of its own.

All devices whose work this machine does share its queue. What must not happen at the same time is in `core.quiet`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from ..core.device import THIS_MACHINE
from ..core.progress import Listener, Silent
from .board import Board, RunningCell


class QueueListener(Silent):
    """A queue's listener: tasks of other machines are named, and a measurement that was given up ends the queue."""

    def __init__(self, listener: Listener, board: Board, device: str = "") -> None:
        self._listener, self._board, self._device = listener, board, device

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Forward it. Raises StoppedError if the measurement was given up."""
        self._board.check()
        self._listener.progress(on_device(task, self._device), done, total, note)

    def note(self, level: str, message: str, **facts: Any) -> None:
        """Forward it."""
        self._listener.note(level, message, **facts)


def on_device(task: str, device: str) -> str:
    """Return the name of a task on another machine, which `device` names; of this one it is the task's own."""
    return f"{task} on {device}" if device else task


def by_place(cells: Sequence[RunningCell]) -> dict[str, list[RunningCell]]:
    """Return the cells of each machine, in order."""
    places: dict[str, list[RunningCell]] = {}
    for cell in cells:
        places.setdefault(cell.place, []).append(cell)
    return places


def run_queues(
    board: Board,
    listener: Listener,
    queue: Callable[[str, Sequence[RunningCell], Listener], None],
    interrupt: Callable[[], None],
) -> None:
    """Call ``queue(place, its cells, listener)`` for each machine of the board's cells, all at the same time.

    When one raises, or this thread is interrupted, all are given up: `interrupt` ends what waits for a device. What was
    measured until then has been stored and reported.
    """
    places = by_place(board.cells)

    def run(place: str) -> None:
        cells = places[place]
        device = "" if place == THIS_MACHINE else cells[0].runner.target.device
        queue(place, cells, QueueListener(listener, board, device))

    if len(places) < 2:
        for place in places:
            run(place)
        return
    with ThreadPoolExecutor(len(places), thread_name_prefix="queue") as pool:
        futures = [pool.submit(run, place) for place in places]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            board.stop()
            interrupt()
            raise
