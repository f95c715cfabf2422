"""Devices that are machines of their own are measured at the same time; what that may disturb is not."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from edgeproof.core.device import THIS_MACHINE
from edgeproof.core.errors import StageError
from edgeproof.core.runner import Outcome

from ..support.scripted_fleet import PATIENCE, Fleet, Log, Scripted

OWN = {"pi": "pi", "phone": "phone"}


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "run", Log())


def files(log: Log, *devices: str) -> list[Scripted]:
    return [Scripted(log, device, file) for file in ("float", "int8") for device in devices]


def test_a_slow_device_delays_nobody(fleet: Fleet) -> None:
    log = fleet.log
    for file in ("float", "int8"):  # the device is not even loaded before the others are done
        log.hooks[f"pi {file} load"] = log.after("row phone/litert int8 timed")
        log.hooks[f"phone {file} load"] = log.after("row local/litert int8 timed")
    fleet.measure(files(log, "local", "pi", "phone"), OWN)
    assert all(row.latency_ms and row.drop == 0 for row in fleet.rows.values()) and len(fleet.rows) == 6
    assert sorted(fleet.progress) == sorted(
        f"{task}{place}" for task in ("load", "accuracy", "latency") for place in ("", " on pi", " on phone")
    )


def test_machines_are_timed_at_the_same_time_and_this_one_beside_their_bursts(fleet: Fleet) -> None:
    log = fleet.log
    together = threading.Barrier(3, timeout=PATIENCE)
    met = threading.Event()

    def meet() -> None:
        if not met.is_set():
            together.wait()
            met.set()

    for device in ("local", "pi", "phone"):
        log.hooks[f"{device} int8 burst"] = meet
    log.hooks["local int8 infer"] = lambda: log.after("pi int8 serve")() and log.after("phone int8 serve")()
    fleet.measure(files(log, "local", "pi", "phone"), OWN)
    assert met.is_set()


def test_what_costs_this_machine_something_waits_while_it_is_timed(fleet: Fleet) -> None:
    log = fleet.log
    once = threading.Event()

    def answer_now() -> None:
        """In the first block of this machine the device answers; nobody may read that before the block is over."""
        if not once.is_set():
            once.set()
            log.await_("pi int8 infer")

    log.hooks["local int8 burst"] = answer_now
    log.hooks["pi int8 infer"] = lambda: once.wait(PATIENCE)
    fleet.measure(files(log, "local", "pi"), OWN)
    inferred, read = log.index("pi int8 infer"), log.index("row pi/litert int8 ok")
    read = next(i for i, e in enumerate(log.events) if e == "row pi/litert int8 ok" and i > inferred)
    block = max(i for i, e in enumerate(log.events) if e == "local int8 serve" and i < inferred)
    over = [i for i, e in enumerate(log.events) if e.startswith("local") and e.endswith("close") and i > block]
    assert block < inferred < over[0] and max(over[:3]) < read


def test_devices_of_this_machine_share_its_queue(fleet: Fleet) -> None:
    runners = files(fleet.log, "local", "board")
    fleet.measure(runners, {"local": THIS_MACHINE, "board": THIS_MACHINE})
    timing = [e.split()[0] for e in fleet.log.events if e.endswith(("serve", "burst", "close"))]
    assert timing == sorted(timing, reverse=True) and set(timing) == {"local", "board"}
    assert set(fleet.progress) == {"load", "accuracy", "latency"}


def test_two_names_of_one_machine_are_never_timed_at_the_same_time(fleet: Fleet) -> None:
    runners = files(fleet.log, "local", "pi", "again")
    fleet.measure(runners, {"pi": "boot 1", "again": "boot 1"})
    names = ("pi", "again")
    timing = [e.split()[0] for e in fleet.log.events if e.startswith(names) and e.endswith(("serve", "close"))]
    assert timing == sorted(timing, key=names.index)


def test_a_device_is_timed_when_its_float_reference_has_answered_elsewhere(fleet: Fleet) -> None:
    log = fleet.log
    runners = [Scripted(log, "local", "float"), Scripted(log, "pi", "int8", wrong=4)]
    log.hooks["local float infer"] = log.after("row pi/litert int8 ok")
    fleet.measure(runners, OWN)
    assert log.index("local float infer") < log.index("pi int8 serve")
    row = fleet.rows["m--tflite-int8", "pi/litert"]
    assert row.drop == pytest.approx(0.1) and row.latency_ms is not None and row.agreement == pytest.approx(0.9)


def test_the_reference_is_the_first_that_runs_it_whichever_answers_first(fleet: Fleet) -> None:
    log = fleet.log
    runners = [Scripted(log, "pi", "float", wrong=8), Scripted(log, "local", "float"), Scripted(log, "local", "int8")]
    log.hooks["local float infer"] = log.after("row pi/litert float32 ok")
    answers = fleet.measure(runners, OWN)
    assert fleet.rows["m--tflite-int8", "local/litert"].drop == 0
    assert fleet.rows["m--tflite-float32", "pi/litert"].drop == pytest.approx(0.2)
    assert next(iter(answers)) == ("m--tflite-float32", "pi/litert")


def test_where_the_first_reference_fails_the_next_one_counts(fleet: Fleet) -> None:
    log = fleet.log
    gone = Outcome("crashed", "the cable is out")
    runners = [
        replace(Scripted(log, "local", "float"), away=gone), Scripted(log, "pi", "float"),
        Scripted(log, "pi", "int8", wrong=4),
    ]  # fmt: skip
    log.hooks["local float load"] = log.after("row pi/litert int8 ok")
    fleet.measure(runners, OWN)
    assert fleet.rows["m--tflite-int8", "pi/litert"].drop == pytest.approx(0.1)


def test_a_dead_device_has_rows_and_the_others_all_figures(fleet: Fleet) -> None:
    away = Outcome("skipped", "pi does not answer", "switch it on")
    dead = [replace(one, away=away) for one in files(fleet.log, "pi")]
    fleet.measure([*files(fleet.log, "local"), *dead], OWN)
    assert {row.status for (_, target), row in fleet.rows.items() if target == "pi/litert"} == {"skipped"}
    assert all(row.latency_ms for (_, target), row in fleet.rows.items() if target == "local/litert")


def test_queues_measure_what_one_queue_does_and_find_it_in_the_same_store(tmp_path: Path) -> None:
    def measured(places: dict[str, str] | None) -> tuple[Fleet, list[object]]:
        one = Fleet(tmp_path / "-".join(places or ["one"]), Log())
        every = files(one.log, "local", "pi", "phone")
        answers = one.measure([replace(r, wrong=2 * len(r.device), ms=len(r.device)) for r in every], places)
        plain = [replace(row, measured_at="") for _, row in sorted(one.rows.items())]
        return one, [plain, [(key, (a.scores is None, a.likeness is None)) for key, a in answers.items()]]

    apart, figures = measured(OWN)
    _, same = measured(None)
    assert figures == same
    before = len(apart.log.events)
    again = Fleet(apart.folder, apart.log)
    again.measure([replace(r, wrong=2 * len(r.device)) for r in files(apart.log, "local", "pi", "phone")], None)
    assert all(event.startswith("row ") for event in apart.log.events[before:])
    assert {k: replace(r, measured_at="") for k, r in again.rows.items()} == {
        k: replace(r, measured_at="") for k, r in apart.rows.items()
    }


def test_an_interrupt_ends_all_queues_and_loses_nothing(fleet: Fleet) -> None:
    log, cut = fleet.log, threading.Event()

    def interrupt() -> None:
        log.after("row local/litert int8 timed")()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert cut.wait(PATIENCE)  # a device that does not answer

    log.hooks["pi int8 infer"] = interrupt
    before_test = signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background, none
    try:
        with pytest.raises(KeyboardInterrupt):
            fleet.measure(files(log, "local", "pi"), OWN, cut.set)
    finally:
        signal.signal(signal.SIGINT, before_test)
    assert fleet.rows["m--tflite-int8", "local/litert"].latency_ms is not None
    assert not any(event.startswith("queue") for event in (thread.name for thread in threading.enumerate()))
    log.hooks.clear()
    before = len(log.events)
    fleet.measure(files(log, "local", "pi"), OWN)
    again = [event for event in log.events[before:] if not event.startswith("row ")]
    assert not any(event.startswith("local") or event.endswith("load") for event in again)
    assert all(row.latency_ms for row in fleet.rows.values())


def test_a_full_disk_in_one_queue_ends_the_others(fleet: Fleet) -> None:
    log, cut = fleet.log, threading.Event()

    def full() -> None:
        raise StageError("no space left", "free some")

    log.hooks["row local/litert int8 timed"] = full
    log.hooks["pi int8 load"] = lambda: cut.wait(PATIENCE)
    with pytest.raises(StageError, match="no space left"):
        fleet.measure(files(log, "local", "pi"), OWN, cut.set)
    assert cut.is_set() and "row pi/litert int8 timed" not in log.events
