"""Nothing costs this machine's processor something for another device while the machine is timed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edgeproof.core.quiet import Quiet


class Thread:
    """Runs steps in a thread of its own; each ends when it is told to."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=lambda: [step() for step in steps], daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0)


def held(enter: Callable[[], object], begun: threading.Event, end: threading.Event, log: list[str], name: str) -> None:
    with enter():  # type: ignore[attr-defined]
        log.append(f"{name} begins")
        begun.set()
        assert end.wait(20)
        log.append(f"{name} ends")


def test_a_measurement_waits_for_work_that_has_begun_and_work_waits_for_the_measurement() -> None:
    machine, log = Quiet(), list[str]()
    events = {name: (threading.Event(), threading.Event()) for name in ("work", "timing", "more")}
    work = Thread(lambda: held(machine.working, *events["work"], log, "work"))
    assert events["work"][0].wait(20)
    timing = Thread(lambda: held(machine.quiet, *events["timing"], log, "timing"))
    until(lambda: machine._quiet)  # it is announced
    more = Thread(lambda: held(machine.working, *events["more"], log, "more"))
    until(lambda: machine._waiting)
    assert log == ["work begins"]
    events["work"][1].set()
    assert events["timing"][0].wait(20)
    assert log == ["work begins", "work ends", "timing begins"] and not events["more"][0].is_set()
    for name in ("timing", "more"):
        events[name][1].set()
    for thread in (work, timing, more):
        thread.join()
    assert log[3:] == ["timing ends", "more begins", "more ends"]


def test_work_that_has_waited_has_a_turn_before_the_next_measurement() -> None:
    machine, log = Quiet(), list[str]()
    over = threading.Event()

    def timings() -> None:
        for number in range(3):
            with machine.quiet():
                log.append(f"timing {number}")
                if number == 0:
                    until(lambda: machine._waiting)

    def work() -> None:
        until(lambda: log)
        with machine.working():
            log.append("work")
        over.set()

    threads = [Thread(timings), Thread(work)]
    for thread in threads:
        thread.join()
    assert log == ["timing 0", "work", "timing 1", "timing 2"]


def test_who_measures_or_works_already_goes_on() -> None:
    machine = Quiet()
    with machine.quiet(), machine.working():
        pass
    with machine.working(), machine.working():
        assert machine._working == 1
    with machine.working():
        assert machine._working == 1
    assert not machine._working and not machine._quiet


def test_the_clock_does_not_count_waiting() -> None:
    now = 0.0
    machine = Quiet(lambda: now)
    readings = list[float]()

    def work() -> None:
        with machine.working():
            readings.append(machine.clock())

    with machine.quiet():
        thread = Thread(work)
        until(lambda: machine._waiting)
        now = 5.0
    thread.join()
    now = 6.0
    assert readings == [0.0] and machine.clock() == 6.0
