"""What Android says of its state: battery, heat and screen, as ``dumpsys`` prints them.

The formats differ between versions and makers: what is not understood is left out. All of it is text from a device:
only numbers within bounds, and words of a list, are taken from it.
"""

from __future__ import annotations

import re
from typing import Any

# Prints all that `state_of` reads. Each part has a heading, which no program prints.
SCRIPT = (
    "echo @@battery; dumpsys battery 2>/dev/null; echo @@thermal; dumpsys thermalservice 2>/dev/null; "
    "echo @@power; dumpsys power 2>/dev/null | "
    "grep -E 'mWakefulness=|Display Power: state=|mScreenOn=|mIsPowered=|mLowPowerModeEnabled=|"
    "mBatterySaverEnabled=|mSettingBatterySaverEnabled=|mFullEnabled='; "
    "echo @@saver; settings get global low_power 2>/dev/null; "
    "echo @@load; cat /proc/loadavg 2>/dev/null; echo @@uptime; cat /proc/uptime 2>/dev/null; "
    "echo @@clocks; cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq 2>/dev/null; true"
)
# Of `PowerManager.THERMAL_STATUS_*`.
THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
# Of `BatteryManager.BATTERY_STATUS_*`: 2 is charging, 5 is full.
_CHARGING = (2, 5)
# Of `Temperature.TYPE_*`: processor, graphics, battery, skin. Others (modem, charger) say nothing about a run.
_PARTS = (0, 1, 2, 3)
_COLDEST, _HOTTEST = -30.0, 200.0


def parts_of(text: str) -> dict[str, str]:
    """Return the parts of what a script printed, by heading."""
    parts: dict[str, str] = {}
    for part in re.split(r"^@@", text, flags=re.M)[1:]:
        name, _, content = part.partition("\n")
        parts[name.strip()] = content
    return parts


def state_of(text: str) -> dict[str, Any]:
    """Return the state that `SCRIPT` printed; what was not there is missing.

    ``battery_percent``, ``battery_celsius``, ``charging``; ``thermal_status`` (0 none to 6 shutdown), ``celsius`` (the
    hottest of processor, graphics and skin, else the battery); ``screen`` (``on``, ``off``, ``doze``),
    ``battery_saver``; ``load``, ``at`` (seconds since the start) and ``mhz`` (the mean of the cores' clocks).
    """
    parts = parts_of(text)
    facts = {**battery(parts.get("battery", "")), **thermal(parts.get("thermal", "")), **power(parts.get("power", ""))}
    if "celsius" not in facts and "battery_celsius" in facts:
        facts["celsius"] = facts["battery_celsius"]
    if parts.get("saver", "").strip() in ("0", "1"):
        facts["battery_saver"] = parts["saver"].strip() == "1"
    for name, part in (("load", "load"), ("at", "uptime")):
        if (number := _number(parts.get(part, "").split(" ")[0], 1e9)) is not None:
            facts[name] = number
    clocks = [clock for line in parts.get("clocks", "").split() if (clock := _number(line, 1e8))]
    if clocks:
        facts["mhz"] = sum(clocks) / len(clocks) / 1000
    return facts


def battery(text: str) -> dict[str, Any]:
    """Return what ``dumpsys battery`` says. Makers add keys of their own, also with names that begin like these."""

    def value(key: str) -> str | None:
        found = re.search(rf"^\s*{key}:\s*(\S+)\s*$", text, re.M)
        return found[1] if found else None

    facts: dict[str, Any] = {}
    level, scale = _number(value("level"), 1e6), _number(value("scale"), 1e6) or 100.0
    if value("present") == "false":
        return facts
    if level is not None and 0 <= level <= scale:
        facts["battery_percent"] = 100 * level / scale
    tenths = _number(value("temperature"), 1e4)
    if tenths is not None and _COLDEST < tenths / 10 < _HOTTEST:
        facts["battery_celsius"] = tenths / 10
    plugged = re.findall(r"^\s*(?:AC|USB|Wireless|Dock) powered:\s*(true|false)", text, re.M)
    status = _number(value("status"), 10)
    if plugged or status is not None:
        facts["charging"] = "true" in plugged or status in _CHARGING
    return facts


def thermal(text: str) -> dict[str, Any]:
    """Return what ``dumpsys thermalservice`` (Android 10 and newer) says.

    The temperatures are those from the hardware where they are listed apart: cached ones may be old.
    """
    facts: dict[str, Any] = {}
    if (found := re.search(r"^\s*Thermal Status: ([0-6])\s*$", text, re.M)) is not None:
        facts["thermal_status"] = int(found[1])
    heading = "Current temperatures from HAL:"
    current = text.partition(heading)[2].partition("\nCurrent cooling")[0] if heading in text else text
    heat = []
    for entry in re.findall(r"Temperature\{([^}\n]{1,300})\}", current):
        fields = dict(re.findall(r"(m\w+)=([^,\s]+)", entry))
        celsius, kind = _number(fields.get("mValue"), 1e4), fields.get("mType", "")
        # A sensor that is not there says 0 or -99.9.
        if celsius is not None and celsius and _COLDEST < celsius < _HOTTEST and kind in map(str, _PARTS):
            heat.append(celsius)
    if heat:
        facts["celsius"] = max(heat)
    return facts


def power(text: str) -> dict[str, Any]:
    """Return what ``dumpsys power`` says of the screen and of the battery saver."""
    facts: dict[str, Any] = {}
    screens = {
        r"Display Power: state=(ON|OFF|DOZE)": {"ON": "on", "OFF": "off", "DOZE": "doze"},
        r"mWakefulness=(Awake|Asleep|Dozing|Dreaming)": {
            "Awake": "on", "Asleep": "off", "Dozing": "doze", "Dreaming": "on",
        },
        r"mScreenOn=(true|false)": {"true": "on", "false": "off"},
    }  # fmt: skip
    for pattern, words in screens.items():
        if found := re.search(pattern, text):
            facts["screen"] = words[found[1]]
            break
    saver = re.search(r"(?:mLowPowerModeEnabled|mBatterySaverEnabled|mFullEnabled)=(true|false)", text)
    if saver:
        facts["battery_saver"] = saver[1] == "true"
    return facts


def _number(text: str | None, most: float) -> float | None:
    """Return a number of a few plain digits, or None."""
    if text is None or not re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", text):
        return None
    number = float(text)
    return number if abs(number) <= most else None
