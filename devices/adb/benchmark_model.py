"""TensorFlow Lite's ``benchmark_model``: its flags, and what it prints.

The tool prints summaries alone: of the warm-up and of the runs their count, the first, the last, the lowest and the
highest time, in whole microseconds. Of three runs that is each of them. So runs are asked for in threes, after a
warm-up in the same process. The formats were read in the sources of the tool (``tflite/tools/benchmark`` of LiteRT,
``stats_calculator.h`` of TensorFlow), and in what users published of versions from 2019 to 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.sanitize import shorten

RUNS = 3
_LONGEST = 1e13  # microseconds
_NUMBER = r"(-?[0-9.]+(?:e[+-]?[0-9]+)?)"
_STATS = re.compile(
    r"count=(\d+)(?: first=(\d+))? curr=(\d+)(?: ?\(all same\))?"
    rf"(?: min=(\d+) max=(\d+) avg={_NUMBER} std=\S+)?(?: p5=\d+ median=(\d+) p95=\d+)?"
)
_COUNT, _MIB = re.compile(r"count=\d+"), 1 << 20
_OPERATORS = 100_000
_REPLACED = re.compile(
    r"Replacing (\d{1,9})(?: out of (\d{1,9}))? node\(s\) with delegate \((\w{1,60})\) node, yielding (\d{1,9})"
)


class OutputError(Exception):
    """The tool printed something else than it should."""


@dataclass(frozen=True)
class Input:
    """An input of a file: a name of ours (the tool goes by position), its shape, and the file with its value."""

    name: str
    shape: tuple[int, ...]
    file: str


def flags(
    graph: str,
    inputs: Sequence[Input],
    *,
    delegate: str,
    xnnpack: bool,
    threads: int,
    runs: int,
    warmup_runs: int,
    warmup_seconds: float,
    most_seconds: float,
    more: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the tool's arguments. `delegate` is ``GPU``, ``NNAPI`` or empty."""
    chosen = {"GPU": {"use_gpu": "true"}, "NNAPI": {"use_nnapi": "true"}}.get(
        delegate, {"use_xnnpack": "true" if xnnpack else "false"}
    )
    values = {
        "graph": graph,
        "num_threads": str(threads),
        "num_runs": str(runs),
        "min_secs": "0",
        "max_secs": f"{most_seconds:g}",
        "warmup_runs": str(warmup_runs),
        "warmup_min_secs": f"{warmup_seconds:g}",
        "input_layer": ",".join(one.name for one in inputs),
        "input_layer_shape": ":".join(",".join(map(str, one.shape)) for one in inputs),
        "input_layer_value_files": ",".join(f"{one.name}:{one.file}" for one in inputs),
        **chosen,
        **(more or {}),
    }
    return [f"--{name}={value}" for name, value in values.items()]


@dataclass(frozen=True)
class Stats:
    """A summary of `count` runs in microseconds; `times` are those of them that it tells, in their order."""

    count: int
    mean: float
    times: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """What one process of the tool printed: times in microseconds, memory in bytes (None where it says none).

    `grown` is what the process took beside what it had at its start, `peak` all of it. `placed` is the part of the
    operators that a delegate took, as `core.measurement.Placement` has it without the kept ones; None without one.
    """

    init: float
    first: float
    warmup: Stats
    runs: Stats
    grown: int | None
    peak: int | None
    applied: str
    placed: Mapping[str, Any] | None


def read_report(text: str, operators: int) -> Report:
    """Read what the tool printed for a file of so many operators. Raises OutputError."""
    summaries = [_stats(match) for line in text.splitlines() if _COUNT.search(line) and (match := _STATS.search(line))]
    if len(summaries) < 2:
        raise OutputError("benchmark_model printed no times")
    warmup, runs = summaries[:2]
    timings = re.search(rf"Init: {_NUMBER}, First inference: {_NUMBER}", text)
    older = re.search(rf"inference timings in us: Warmup: {_NUMBER}, Init: {_NUMBER}", text)
    session = re.search(rf"Initialized session in {_NUMBER} ?ms", text)
    init = (
        _micros(timings[1]) if timings else _micros(older[2]) if older else _micros(session[1]) * 1e3 if session else 0
    )
    first = _micros(timings[2]) if timings else 0.0
    if not first:  # without a warm-up the tool says 0
        first = (warmup.times or runs.times)[0] if warmup.times or runs.times else 0.0
    grown = re.search(
        rf"emory footprint (?:delta from the start of the tool )?\(MB\): init=\S+ overall={_NUMBER}", text
    )
    peak = re.search(rf"Overall peak memory footprint \(MB\) via periodic monitoring: {_NUMBER}", text)
    return Report(
        init, first, warmup, runs, _bytes(grown), _bytes(peak), *_placed(text, operators)
    )  # fmt: skip


def _stats(match: re.Match[str]) -> Stats:
    count, last = int(match[1]), _micros(match[3])
    if match[2] is None:  # all of them are the same, or there was one
        return Stats(count, last, (last,) * min(count, RUNS))
    first, low, high, mean = (_micros(match[i]) for i in (2, 4, 5, 6))
    if count == RUNS:
        # Older versions print no median; a mean of three times, with six digits, has the third.
        rest = [low, _micros(match[7]), high] if match[7] else [first, 3 * mean - first - last, last]
        for known in (first, last):
            if known not in rest:
                raise OutputError("benchmark_model printed times that do not fit together")
            rest.remove(known)
        return Stats(count, mean, (first, max(rest[0], 0.0), last))
    return Stats(count, mean, (first, last) if count > 1 else (last,))


def _micros(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= _LONGEST:
        raise OutputError("benchmark_model printed a time that cannot be")
    return number


def _bytes(match: re.Match[str] | None) -> int | None:
    """Return mebibytes as bytes. The tool says -1 where the system does not tell."""
    try:
        number = float(match[1]) if match else -1.0
    except ValueError:
        number = -1.0
    return int(number * _MIB) if 0 <= number < 1 << 24 else None


def _placed(text: str, operators: int) -> tuple[str, Mapping[str, Any] | None]:
    """Return the delegate that was applied, and how many operators it took in how many parts."""
    applied = re.findall(r"(?:Explicitly applied|Though) (\w{1,40}) delegate(?:,| is explicitly applied)", text)
    if not applied:
        return "", None
    backend = re.search(r"Initialized (\w{1,20})-based API", text)
    adapter = f"{applied[0]}{f' ({backend[1]})' if backend else ''}"
    whole = {"operators": operators, "adapter": adapter}
    if "the model graph will not be executed by the delegate" in text.replace("\n", " "):
        return adapter, {**whole, "delegated": 0, "partitions": 0}
    if "completely executed by the delegate" in text:
        return adapter, {**whole, "delegated": operators, "partitions": 1}
    # What a delegate leaves may go to XNNPACK, which says the same of it.
    for taken, every, name, parts in _REPLACED.findall(text):
        if applied[0].lower() in name.lower():
            total = max(int(every or 0), operators)
            return adapter, {**whole, "delegated": min(int(taken), total), "operators": total, "partitions": int(parts)}
    return adapter, None


@dataclass(frozen=True)
class OperatorRow:
    """A row of the tool's profile: the operator, its name, its milliseconds, its place in the graph or None."""

    op: str
    name: str
    ms: float
    node: int | None
    delegated: bool


def read_profile(text: str) -> list[OperatorRow]:
    """Read the operators of ``--enable_op_profiling``, in the order in which they ran. Raises OutputError.

    Where a delegate tells its own operators, they stand in place of the one that the file has for it.
    """
    _, heading, regular = text.rpartition("Profiling Info for Regular Benchmark Runs:")
    own, _, inside = (regular if heading else text).partition("Delegate internal:")
    rows, inner = _table(own, delegated=False), _table(inside, delegated=True)
    if not rows and not inner:
        raise OutputError("benchmark_model printed no operators: it was built without its profiler")
    if inner:
        rows = [row for row in rows if "elegate" not in row.op]
    return [*rows, *inner]


def _table(text: str, *, delegated: bool) -> list[OperatorRow]:
    """Return the rows of the first table "Run Order", whose columns differ between versions."""
    lines = text.partition("Run Order")[2].splitlines()[1:]
    header = [cell.strip() for cell in lines[0].split("\t")[1:]] if lines else []
    if "[avg ms]" not in header or "[Name]" not in header:
        return []
    mean, name = header.index("[avg ms]"), header.index("[Name]")
    rows: list[OperatorRow] = []
    for line in lines[1:]:
        cells = [cell.strip() for cell in line.split("\t")[1:]]
        if len(cells) <= name or len(rows) > _OPERATORS:
            break
        called, _, number = "\t".join(cells[name:]).rpartition(":")
        place = int(number) if re.fullmatch(r"\d{1,6}", number) else None
        words = (called if place is not None else cells[name]).strip("[]").removeprefix("Delegate/")
        op = words if delegated else cells[0].partition("/")[0]
        rows.append(
            OperatorRow(
                shorten(op, 60), shorten(words, 200), _micros(cells[mean]), None if delegated else place, delegated
            )
        )
    return rows


def cause(text: str) -> str:
    """Return what the tool printed about its failure: the last line that says more than that it failed."""
    lines = [re.sub(r"^(?:INFO|ERROR|WARNING|WARN|FATAL|F|E): ?", "", line.strip()) for line in text.splitlines()]
    empty = r"(Benchmarking failed\.?|Aborted|Segmentation fault|Killed|\s*)"
    told = [line for line in lines if not re.fullmatch(empty, line)]
    named = [line for line in told if re.search(r"rror|ailed|annot|not |n't|unsupported|nvalid|should", line)]
    for line in named:
        if re.search(r"Didn't find op|unresolved custom op|Select TensorFlow op", line):
            return line
    return (named or told or [""])[-1]
