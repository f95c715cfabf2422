"""Runs an area's inputs and counts how they end."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .area import OUT, Area
from .watch import run


@dataclass
class Tally:
    """How many inputs ended with which status, the longest in seconds of processor time, what was wrong and said."""

    codes: Counter[int] = field(default_factory=Counter)
    longest: float = 0.0
    wrong: list[str] = field(default_factory=list)
    answers: set[str] = field(default_factory=set)

    def __add__(self, other: Tally) -> Tally:
        longest = max(self.longest, other.longest)
        return Tally(self.codes + other.codes, longest, self.wrong + other.wrong, self.answers | other.answers)

    @property
    def inputs(self) -> int:
        """How many there were."""
        return sum(self.codes.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the tally as JSON holds it."""
        return {
            "codes": dict(self.codes),
            "longest": self.longest,
            "wrong": self.wrong,
            "answers": sorted(self.answers),
        }

    @staticmethod
    def of(document: dict[str, Any]) -> Tally:
        """Return what `to_dict` gave."""
        codes = Counter({int(code): count for code, count in document["codes"].items()})
        return Tally(codes, document["longest"], document["wrong"], set(document["answers"]))

    def row(self, name: str) -> str:
        """Return a row of a Markdown table."""
        codes = " | ".join(f"{self.codes[code]:,}" for code in range(4))
        return (
            f"| {name} | {self.inputs:,} | {codes} | {len(self.answers):,} | {self.longest:.1f} | {len(self.wrong)} |"
        )

    def __str__(self) -> str:
        return f"{self.inputs} inputs, {len(self.wrong)} wrong"


def run_area(area: Area, inputs: int, seed: int, folder: Path, *, here: bool = False) -> Tally:
    """Run an area's inputs below `folder`; a process of its own for what may take one down, unless `here`."""
    if area.isolated and not here:
        return _in_child(area, inputs, seed)
    box = folder / "box"
    box.mkdir()
    tally = Tally()
    commands = area.make(box, random.Random(f"{area.name} {seed}"))
    for number, arguments in zip(range(inputs), _ready(box, commands), strict=False):
        ended = run(arguments, box, box / OUT, area.entry, starts=area.starts)
        tally.codes[ended.code] += 1
        tally.answers.add(_answer(ended.err or ended.out))
        tally.longest = max(tally.longest, ended.seconds)
        where = f"{area.name}, seed {seed}, input {number}: {_command(arguments)}"
        tally.wrong += [f"{where}: {what}" for what in ended.wrong]
    return tally


def _ready(box: Path, commands: Iterator[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    for arguments in commands:
        (box / OUT).mkdir(exist_ok=True)
        yield arguments


def _answer(output: str) -> str:
    """Return what was said, without what differs from input to input: numbers, paths and quoted parts."""
    return re.sub(r"\d+|'[^']*'|/\S+|\(found .*", "…", output[:20_000])[:2000]


def _command(arguments: tuple[str, ...]) -> str:
    return ascii(" ".join(arguments))[:200]


def _in_child(area: Area, inputs: int, seed: int) -> Tally:
    command = [sys.executable, "-m", "tests.fuzz", "--here", "--area", area.name, "--inputs", str(inputs)]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    done = subprocess.run(
        [*command, "--seed", str(seed)], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        what = f"{area.name}, seed {seed}: the process ended with {done.returncode}: {done.stderr[-500:]}"
        return Tally(Counter({-1: inputs}), wrong=[what])
    return Tally.of(json.loads(done.stdout)[area.name])
