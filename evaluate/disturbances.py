"""What disturbed a measurement, in sentences: load, stolen time, clocks, heat, throttling, battery and screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.formatting import ms
from .bursts import Bursts, fastest_runs

# Of a Raspberry Pi's firmware: what was so at the time.
_FLAGS = {
    1: "the board's voltage was too low",
    2: "the board capped its clock",
    4: "the board throttled",
    8: "the board was too hot",
}
_ENOUGH, _SPEED = 10, 0.2  # bursts; share of the time
_LOAD, _OTHERS, _STEAL, _CLOCK, _HOT, _LOW_BATTERY = 0.5, 0.25, 0.02, 0.05, 85.0, 20.0


def change_of_speed(bursts: Bursts) -> list[str]:
    """Return a sentence if equal work took unequal times: the 10th and 90th percentile of a cell's bursts.

    Neither load nor stolen time shows that, say, the host's other guests share its cores and caches.
    """
    times = fastest_runs(bursts)
    if len(times) < _ENOUGH:
        return []
    fast, slow = np.percentile(times, (10, 90))
    if slow <= fast * (1 + _SPEED):
        return []
    return [f"the machine's speed changed: the same work took {ms(float(fast))} to {ms(float(slow))}"]


def disturbances(conditions: Sequence[Mapping[str, Any]], threads: int = 1) -> list[str]:
    """Return one sentence for each disturbance in the states before and after each block (`devices/agent.conditions`).

    The bench itself keeps as many cores busy as a cell has `threads`. What other processes took is told from the
    processor time within the blocks. A load average is looked at where that is unknown, and only the last one: it
    remembers for minutes what ran before, such as the same run's answers on all cores.
    """
    pairs = [(one["before"], one["after"]) for one in conditions]
    found = []
    counted = [pair for pair in pairs if all("busy_s" in one and "at" in one for one in pair)]
    if counted:
        spent, passed = (sum(after[name] - before[name] for before, after in counted) for name in ("busy_s", "at"))
        if passed > 0 and (others := spent / passed - threads) > _OTHERS:
            found.append(f"other processes ran: they took {others:.1f} cores on average")
    elif pairs and (load := pairs[-1][1].get("load", 0.0)) > threads + _LOAD:
        found.append(f"other processes ran: the load average was {load:.1f}")
    stolen = sum(max(0.0, after["steal_s"] - before["steal_s"]) for before, after in pairs if "steal_s" in after)
    seconds = sum(max(0.0, after.get("at", 0.0) - before.get("at", 0.0)) for before, after in pairs)
    if seconds and stolen > _STEAL * seconds:
        found.append(f"the host took the processor away for {stolen:.1f} of {seconds:.0f} s (steal)")
    clocks = [one["mhz"] for pair in pairs for one in pair if "mhz" in one]
    if clocks and min(clocks) < max(clocks) * (1 - _CLOCK):
        found.append(f"the processor's clock changed between {min(clocks):.0f} and {max(clocks):.0f} MHz")
    heat = max((one.get("celsius", 0.0) for pair in pairs for one in pair), default=0.0)
    if heat > _HOT:
        found.append(f"the machine was {heat:.0f} °C hot")
    if any(after.get("throttled", 0) > before.get("throttled", 0) for before, after in pairs):
        found.append("the processor throttled")
    flags = 0
    for pair in pairs:
        flags |= int(pair[0].get("throttling_flags", 0)) | int(pair[1].get("throttling_flags", 0))
    found += [words for bit, words in _FLAGS.items() if flags & bit]
    return found + _of_a_phone([one for pair in pairs for one in pair])


def _of_a_phone(states: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what a phone's own services said (`devices/adb/state.py`)."""
    found = []
    if status := max((int(one.get("thermal_status", 0)) for one in states), default=0):
        found.append(f"the phone reported heat (thermal status {status} of 6)")
    if any(one.get("battery_saver") for one in states):
        found.append("the battery saver was on")
    for name, words in (("screen", "the screen went on or off"), ("charging", "the charger was connected or removed")):
        if len({one[name] for one in states if name in one}) > 1:
            found.append(words)
    levels = [one["battery_percent"] for one in states if "battery_percent" in one]
    if levels and min(levels) < _LOW_BATTERY:
        found.append(f"the battery was at {min(levels):.0f} %")
    return found
