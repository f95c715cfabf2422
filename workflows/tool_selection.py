"""Tool selection: if two tools make the same scheme, both files are measured, and the better one is chosen.

The rule, in this order: a file loses that cannot be made, does not run, or gives wrong results on a target that the
other runs on; then the file wins that agrees more often with the float model, if the difference is significant; then
the faster one, if that difference is significant; then the smaller. Files of the same operators on the same shapes and
types run the same kernels, so they are not timed. The trial is on validation samples, never on the test split, and
shipped files are measured again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.artifact import Artifact
from ..core.codec import read_json, to_json, write_json
from ..core.dataset import PreparedData
from ..core.environment import usable_cores
from ..core.measurement import Measurement
from ..core.progress import Listener
from ..core.recipe import Evaluate
from ..core.statistics import mcnemar, paired_loss
from ..core.store import Store
from ..core.target import TRIAL_TARGET, Target
from ..devices import open_runner
from ..evaluate.bursts import Ratios
from ..evaluate.measure import Answered
from ..tasks.agreement import Scores, qualifier
from ..tasks.quality import likeness_of
from ..tflite.graph import Node, read_graph
from .candidate_trial import counted, trial, trial_data

# A selection takes seconds, not minutes: on each target a few samples show whether a file's results are right at all;
# on one target as many samples as fit into the time separate two good files.
_FEW = 24
_ANSWER_SECONDS = 3.0
_LATENCY = {"processes": 5, "warmup_seconds": 0.02, "run_seconds": 0.2, "min_runs": 3, "max_seconds": 0.0}
# Two differences are tested in each of several selections per run: hence a stricter level than 5 %.
_LEVEL = 0.01
# A file whose agreement on one target is lower by this than on another is computed wrongly there.
_WRONG = 0.2


@dataclass
class _Entry:
    """One tool's file and its results by target: row, likeness to float, reason for refusal."""

    artifact: Artifact
    alias: Artifact
    rows: dict[str, Measurement] = field(default_factory=dict)
    likeness: dict[str, Scores] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    latency: Measurement | None = None


def select_tool(
    files: Sequence[Artifact],
    reference: Artifact,
    data: PreparedData,
    *,
    targets: Sequence[Target],
    evaluate: Evaluate,
    samples: int,
    seed: int,
    store: Store,
    listener: Listener,
    alone: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Artifact:
    """Return the best of `files`, one variant made by several tools, with the others as its `alternatives`.

    Agreement is with `reference`, the float32 file of the same format. At most `samples` of the validation split of
    `data` are used; fewer if the files are slow. Targets that do not read the format are skipped. Latencies are
    measured in ``alone()``, where nothing else may run. The result is cached in `store`.
    """
    if len(files) == 1:
        return files[0]
    entries = [_Entry(one, replace(one, id=f"{one.id}--by-{index}")) for index, one in enumerate(files)]
    alive = [entry for entry in entries if entry.artifact.status == "ok"]
    # Files are chosen on this machine: another device may be slow, or away.
    here = [target for target in targets if target.device == TRIAL_TARGET.device]
    readers = [target for target in here if target.reads(files[0].format)] or [TRIAL_TARGET]
    if len(alive) < 2:
        return _ended(alive[0] if alive else entries[0], entries, {}, data)
    validation = data.counts.get("validation", 0)
    key = store.key(
        "tool-selection",
        {
            "files": [one.artifact.sha256 for one in alive],
            "reference": reference.sha256,
            "data": data.sha256,
            "targets": [open_runner(alive[0].alias, t).identity() for t in readers],
            "samples": samples,
            "seed": seed,
        },
    )
    if (done := store.get(key)) is not None:
        stored = read_json(done / "selection.json")
        looked_at = int(stored.get("samples", samples))
        return replace(
            files[int(stored["winner"])],
            alternatives=tuple(stored["alternatives"]),
            chosen_on=min(looked_at, validation),
        )
    quick = evaluate.model_copy(update={"latency": evaluate.latency.model_copy(update=_LATENCY)})

    def run(on: Sequence[Target], count: int, *, timed: bool = False) -> tuple[Any, Any]:
        return trial(
            [entry.alias for entry in alive], reference, trial_data(data, count, seed, store), targets=on,
            evaluate=quick, seed=seed, store=store, listener=listener, timed=timed,
        )  # fmt: skip

    looked_at = min(samples, _FEW)
    _read(alive, *run(readers, looked_at))
    winner, whys = _by_running(alive)
    shared = next((t for t in readers if all(str(t) not in entry.refused for entry in alive)), None)
    if winner is None and shared is not None:
        looked_at = _affordable(alive, shared, trial_data(data, 1, seed, store).inputs("test"), evaluate, samples)
        _read(alive, *run([shared], looked_at))
        winner, whys = _by_agreement(alive, str(shared), counted(data, looked_at))
        if winner is None and not _same_work(alive):
            with alone():
                rows, _ = run([shared], looked_at, timed=True)
            for one in alive:
                one.latency = rows[one.alias.id, str(shared)]
            winner, whys = _by_speed(alive, str(shared), store.root)
    if winner is None:
        winner, whys = _by_size(alive)
    # Also if speed or size decided: had these samples shown that the file is worse, it would not have been chosen.
    best = replace(_ended(winner, entries, whys, data), chosen_on=min(looked_at, validation))
    with store.write(key) as folder:
        write_json(
            folder / "selection.json",
            {
                "winner": entries.index(winner),
                "alternatives": to_json(best)["alternatives"],
                "samples": looked_at,
            },
        )
    return best


def _affordable(alive: Sequence[_Entry], target: Target, inputs: Path, evaluate: Evaluate, samples: int) -> int:
    """Return the number of samples that all files can answer on a target in a few seconds, from one run of each."""
    spent = 0.0
    for entry in alive:
        outcome = open_runner(entry.alias, target, timeout_seconds=evaluate.timeout_seconds).load(inputs)
        spent += outcome.data["run_ms"] / 1000 if outcome.ok else 0.0
    affordable = int(_ANSWER_SECONDS * usable_cores() / spent) if spent else samples
    return min(samples, max(_FEW, affordable))


def _read(
    alive: Sequence[_Entry], rows: dict[tuple[str, str], Measurement], answers: dict[tuple[str, str], Answered]
) -> None:
    """Assign the measurements to the files, and record where a file does not run or agrees less than elsewhere."""
    for entry in alive:
        entry.rows |= {target: row for (artifact, target), row in rows.items() if artifact == entry.alias.id}
        entry.likeness |= {
            target: answer.likeness
            for (artifact, target), answer in answers.items()
            if artifact == entry.alias.id and answer.likeness is not None
        }
        average = {target: float(scores.mean()) for target, scores in entry.likeness.items()}
        best = max(average.values(), default=0.0)
        for target, row in entry.rows.items():
            if row.status != "ok":
                entry.refused[target] = f"{row.status} on {target}: {row.reason}"
            elif average.get(target, best) < best - _WRONG:
                entry.refused[target] = (
                    f"answers wrongly on {target}: agrees with float on "
                    f"{average[target]:.1%}{qualifier(row.agreement_by)} there, on {best:.1%} elsewhere"
                )


def _by_running(alive: Sequence[_Entry]) -> tuple[_Entry | None, dict[int, str]]:
    """Return the file that runs wherever another one does not, if there is exactly one."""
    runs = {id(entry): set(entry.rows) - set(entry.refused) for entry in alive}
    whys: dict[int, str] = {}
    for entry in alive:
        for other in alive:
            if missed := sorted(runs[id(other)] - runs[id(entry)]):
                whys[id(entry)] = "; ".join(entry.refused[target] for target in missed)
    left = [entry for entry in alive if id(entry) not in whys]
    if len(left) == 1:
        return left[0], whys
    if whys and not left:  # each runs where another does not: the one that runs on more targets
        most = max(alive, key=lambda entry: len(runs[id(entry)]))
        return most, {key: why for key, why in whys.items() if key != id(most)}
    return None, {}


def _by_agreement(alive: Sequence[_Entry], target: str, samples: str) -> tuple[_Entry | None, dict[int, str]]:
    """Return the file that is significantly closer to float than all others on these samples."""
    if any(target not in entry.likeness for entry in alive):
        return None, {}
    scores = {id(entry): entry.likeness[target] for entry in alive}
    best = max(alive, key=lambda entry: (scores[id(entry)].mean(), -entry.artifact.bytes))
    whys = {}
    for entry in alive:
        if entry is best:
            continue
        if not _is_better(scores[id(best)], scores[id(entry)]):
            return None, {}
        of = f"{qualifier(entry.rows[target].agreement_by)} of {samples}"
        whys[id(entry)] = (
            f"agrees with float on {scores[id(entry)].mean():.1%}{of} on {target}, "
            f"the chosen file on {scores[id(best)].mean():.1%}"
        )
    return best, whys


def _is_better(best: Scores, other: Scores) -> bool:
    """Whether a file's likeness to float is significantly higher than another's."""
    if np.isin(best, (0, 1)).all() and np.isin(other, (0, 1)).all():
        return mcnemar(best.astype(bool), other.astype(bool)) < _LEVEL
    return paired_loss(best, other, 1 - _LEVEL)[1] > 0


def _by_speed(alive: Sequence[_Entry], target: str, root: Path) -> tuple[_Entry | None, dict[int, str]]:
    """Return the file that is faster than all others by the interval of the ratio."""
    rows = {id(entry): entry.latency for entry in alive if entry.latency is not None and entry.latency.latency_ms}
    if len(rows) < len(alive):
        return None, {}
    ratios = Ratios(root)
    best = min(alive, key=lambda entry: _median(rows[id(entry)]))
    whys = {}
    for entry in alive:
        if entry is best:
            continue
        ratio = ratios(rows[id(best)], rows[id(entry)])
        if ratio is None or ratio.verdict != "slower":
            return None, {}
        whys[id(entry)] = f"as near to float within the noise, and {ratio.ratio:.2f} times as slow on {target}"
    return best, whys


def _same_work(alive: Sequence[_Entry]) -> bool:
    """Whether all files have the same operators, in order, on the same shapes and types: they run the same kernels.

    They differ in the values of weights and ranges alone, and the time of a dense kernel does not depend on those.
    """
    paths = [entry.artifact.path for entry in alive]
    if any(path is None or path.suffix != ".tflite" for path in paths):
        return False
    first, *others = (list(map(_work, read_graph(path).nodes)) for path in paths if path is not None)
    return all(other == first for other in others)


def _work(node: Node) -> tuple[Any, ...]:
    tensors = (*node.inputs, *node.outputs)
    shapes = [(t.shape, t.dtype, t.dynamic, t.constant, t.scales, t.axis, t.blockwise) for t in tensors]
    return node.op, node.version, node.custom, len(node.inputs), shapes, node.options


def _median(row: Measurement) -> float:
    return row.latency_ms.median if row.latency_ms is not None else float("inf")


def _by_size(alive: Sequence[_Entry]) -> tuple[_Entry, dict[int, str]]:
    """Return the smallest file; the first one if none is smaller by 1 %."""
    smallest = min(alive, key=lambda entry: entry.artifact.bytes)
    first = alive[0]
    timed = any(entry.latency is not None for entry in alive)
    same = "as near to float and as fast within the noise" if timed or not _same_work(alive) else (
        "as near to float within the noise, the same operators on the same shapes and types"
    )  # fmt: skip
    if smallest.artifact.bytes > 0.99 * first.artifact.bytes:
        return first, {id(entry): f"{same}, and of about the same size" for entry in alive}
    sizes = {id(entry): entry.artifact.bytes for entry in alive}
    return smallest, {
        key: f"{same}, and larger: {size:,} bytes against {smallest.artifact.bytes:,}" for key, size in sizes.items()
    }


def _ended(winner: _Entry, entries: Sequence[_Entry], whys: dict[int, str], data: PreparedData) -> Artifact:
    """Return the winner's artifact with a row for each other tool's file, before the rows of its own trials."""
    rows = []
    for entry in entries:
        if entry is not winner:
            why = whys.get(id(entry)) or f"{entry.artifact.status}: {entry.artifact.reason}"
            facts = {
                "made_by": entry.artifact.made_by,
                "bytes": entry.artifact.bytes,
                "status": entry.artifact.status,
                "why": why,
            }
            chosen = {"bytes": winner.artifact.bytes, **_figures(winner, data)}
            rows.append({**facts, **_figures(entry, data), "chosen": chosen})
    return replace(winner.artifact, alternatives=(*rows, *winner.artifact.alternatives))


def _figures(entry: _Entry, data: PreparedData) -> dict[str, Any]:
    """Return a file's measurements on the target with the most answered samples."""
    answering = [row for row in entry.rows.values() if likeness_of(row)]
    row = max(answering, key=lambda row: row.samples, default=None)
    timed = entry.latency.latency_ms if entry.latency else None
    return {
        "target": row.target if row else "",
        "samples": row.samples if row else 0,
        "samples_of": counted(data, row.samples) if row else "",
        "agreement": row.agreement if row else None,
        "agreement_by": row.agreement_by if row else "",
        "relative_error": row.relative_error if row else None,
        "latency_ms": timed.median if timed else None,
    }
