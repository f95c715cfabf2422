"""What the reports say, worked out once: the terminal, Markdown and HTML lay out these same words and figures.

Everything here is plain text; each output escapes it for itself. Names that came from outside are put on one line
and cut to a length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.agreement import CLASS, WORDS
from ..core.artifact import Artifact
from ..core.measurement import Measurement
from ..core.results import Results
from ..core.sanitize import shorten
from ..evaluate.cells import Cell, artifact_name, cells, has_several_models
from ..evaluate.formatting import (
    limits,
    ms,
    ms_range,
    on_splits,
    percent,
    percent_range,
    points_range,
    signed_points,
    size,
)

NAME_LIMIT = 60
# What one sample is called, by the kind of input.
_NOUNS = {"image": "image", "text": "text"}
REASON_LIMIT = 600
NAMED = 8


@dataclass(frozen=True)
class Figure:
    """One figure of the headline: what it is, its value with its unit, its interval or what else there is to know."""

    name: str
    value: str
    note: str
    kind: str


@dataclass(frozen=True)
class Headline:
    """The answer: `title` in parts (text, emphasised), figures, and the sentences why.

    `verdict` is the budget's: ``met``, ``not met``, ``not shown``; empty where there is none.
    """

    ships: bool
    title: tuple[tuple[str, bool], ...]
    why: str
    figures: tuple[Figure, ...]
    limits: tuple[tuple[str, str], ...]
    verdict: str

    @property
    def status(self) -> str:
        """The verdict as the word that colours it."""
        return {"met": "ok", "not shown": "unsupported"}.get(self.verdict, "failed")

    @property
    def verdict_words(self) -> str:
        """The verdict as it follows the word budget."""
        return {"not shown": "not shown to be met"}.get(self.verdict, self.verdict)

    @property
    def text(self) -> str:
        """The title as one line."""
        return "".join(part for part, _ in self.title)


@dataclass(frozen=True)
class Problem:
    """Something that has no figures, and what a person can do about it."""

    what: str
    where: tuple[str, ...]
    status: str
    reason: str
    remedy: str
    stage: str = "export"


@dataclass(frozen=True)
class GridCell:
    """A cell of artifact × target. `mark` is what is said of it beside its figures.

    `state`: ok, over, ship (the recommendation), pick (that of its target), front (on the Pareto front of a run
    without a budget), quiet, missing, or a status that is not ok.
    """

    state: str
    target: str
    accuracy: str = ""
    latency: str = ""
    kind: str = ""
    note: str = ""
    mark: str = ""


class Content:
    """All that a report says of one run."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.cells = cells(results)
        self.several = has_several_models(results)
        self.by_key = {(c.artifact.id, c.measurement.target): c for c in self.cells}
        self.targets = tuple(dict.fromkeys(m.target for m in results.measurements))
        recommendation = results.recommendation
        self.ship = self.by_key.get((recommendation.get("artifact"), recommendation.get("target")))  # type: ignore[arg-type]
        kinds = {i["kind"] for m in results.models if isinstance(i := m.get("input"), Mapping) and i.get("kind")}
        kinds |= {"image" for m in results.models if isinstance(i := m.get("input"), Mapping) and i and "kind" not in i}
        self.noun = _NOUNS.get(kinds.pop(), "sample") if len(kinds) == 1 else "sample"
        self.tokenizes = any(m.latency_ms and m.latency_ms.tokenize is not None for m in results.measurements)
        self.over = _verdicts(recommendation.get("rejected"))
        self.front = _keys(recommendation.get("pareto"))
        self.picks = {k: v for k, v in _verdicts(recommendation.get("targets")).items() if k in self.by_key}

    @property
    def tested_on(self) -> str:
        """What accuracies are of: the test split, or all samples where a source has none or was asked for whole."""
        report = self.results.data.get("report")
        splits = report.get("splits") if isinstance(report, Mapping) else None
        whole = isinstance(splits, Mapping) and splits.get("test") == "the whole source"
        return "all samples of the source" if whole else "the test split"

    @property
    def dropped_on(self) -> str:
        """Which samples the drops are of, where the run says it: most files' first, then which are of others."""
        groups: dict[str, list[str]] = {}
        for cell in self.cells:
            drop = cell.measurement.pooled_drop
            if drop is not None and cell.measurement.status == "ok":
                names = groups.setdefault(on_splits(drop), [])
                names += [name for name in [self.name(cell.artifact)] if name not in names]
        told = [
            f"that of {', '.join(names[:NAMED])}{f' and {len(names) - NAMED} more' if len(names) > NAMED else ''}{on}"
            for on, names in sorted(groups.items(), key=lambda group: -len(group[1]))
        ]
        if not told:
            return ""
        first = "drop against float" + max(groups, key=lambda on: len(groups[on]))
        return "; ".join([first, *told[1:]])

    @property
    def samples_of(self) -> str:
        """What accuracies and drops are of, as a sentence."""
        told = "; ".join(part for part in (self.judged_by, self.dropped_on) if part)
        return f"{told[:1].upper()}{told[1:]}."

    def name(self, artifact: Artifact) -> str:
        """Return an artifact's name as short as it can be told apart."""
        return artifact_name(artifact, self.several)

    @property
    def run_name(self) -> str:
        """The run's name."""
        return shorten(str(self.results.run.get("name") or "run"), NAME_LIMIT)

    @property
    def nothing_ran(self) -> bool:
        """Whether files were to be measured, and none of them ran anywhere."""
        tried = [c.measurement.status for c in self.cells if not c.is_reference and not c.is_by_design]
        return bool(tried) and "ok" not in tried

    def timed(self) -> list[Cell]:
        """Return the cells with a latency above 0: those that can be drawn on a logarithmic axis."""
        return [
            c
            for c in self.cells
            if (m := c.measurement).status == "ok" and m.latency_ms and min(m.latency_ms.low, m.latency_ms.median) > 0
        ]

    def measured(self) -> list[Cell]:
        """Return the timed cells that have an accuracy or an agreement as well."""
        return [c for c in self.timed() if c.quality is not None]

    def headline(self) -> Headline:
        """Return the answer to which file to ship."""
        recommendation, budget = self.results.recommendation, self.results.budget
        asked = tuple(limits(budget.get("asked", {})))
        why = shorten(str(recommendation.get("why", "")), 2000)
        verdict = verdict_of(budget)
        if self.ship:
            m, artifact = self.ship.measurement, self.ship.artifact
            title = (("Ship ", False), (self.name(artifact), True), (" on ", False), (shorten(m.target), True))
            if verdict == "not shown":
                title = (("Not shown to fit the budget, the best there is: ", False), *title[1:])
            return Headline(True, title, why, tuple(_figures(m, artifact)), asked, verdict)
        if not recommendation:
            return Headline(False, (("No recommendation: the run has not ended", False),), "", (), asked, "")
        if budget or not self.front:
            nothing = "Nothing fits the budget" if budget else "No file is chosen"
            nothing = "No file ran" if self.nothing_ran else nothing
            return Headline(False, ((nothing, False),), why, (), asked, verdict)
        files = len({artifact for artifact, _ in self.front})
        worth = "1 file that no other beats" if files == 1 else f"{files} files that no other beats"
        return Headline(False, (("No budget was given: ", False), (worth, True)), why, (), (), "")

    def grid(self) -> list[tuple[str, list[tuple[Artifact, list[GridCell]]]]]:
        """Return for each model one row per artifact with one cell per target."""
        groups: dict[str, list[tuple[Artifact, list[GridCell]]]] = {}
        for artifact in self.results.artifacts:
            row = [self._grid_cell(artifact, target) for target in self.targets]
            groups.setdefault(artifact.model, []).append((artifact, row))
        return [(shorten(model, NAME_LIMIT), rows) for model, rows in groups.items()]

    def grid_words(self) -> str:
        """Return what stands in the cells of the grid, in sentences; of its signs those that occur."""
        cells = [cell for _, rows in self.grid() for _, row in rows for cell in row]
        marks = {cell.mark for cell in cells}
        timed = "answer, tokenizing and inference" if self.tokenizes else "inference"
        told = {
            f"{self.judged_by[:1].upper()}{self.judged_by[1:]}; then median latency of one {timed}.": any(
                cell.accuracy or cell.latency for cell in cells
            ),
            "A dash: that runtime does not read files of that format.": self.by_design() > 0,
            "Over budget: it ran, and misses a limit.": "over budget" in marks,
            "Not shown to fit: the samples are too few to tell.": "not shown to fit" in marks,
            "Coloured: the best there is on that target, and not shown to fit.": any(
                cell.state in ("ship", "pick") and cell.mark == "not shown to fit" for cell in cells
            ),
            "Ship here: recommended on that target.": "ship here" in marks,
            f"On the front: no other pair of file and target beats it in {self.quality.lower()}, latency and size at "
            "once.": "on the front" in marks,
        }
        return " ".join(sentence for sentence, is_there in told.items() if is_there)

    def _grid_cell(self, artifact: Artifact, target: str) -> GridCell:
        cell = self.by_key.get((artifact.id, target))
        if cell is None:
            missing = "missing" if artifact.status == "ok" else artifact.status
            return GridCell(missing, target, note="no file" if artifact.status != "ok" else "not run")
        m = cell.measurement
        if cell.is_by_design:
            return GridCell("quiet", target, note=shorten(m.reason, REASON_LIMIT))
        if m.status != "ok":
            return GridCell(m.status, target, note=shorten(m.reason, REASON_LIMIT))
        state, mark = self._standing(cell)
        latency = ms(m.latency_ms.median) if m.latency_ms else "no latency"
        return GridCell(state, target, quality_words(cell), latency, m.kind, mark=mark)

    def _standing(self, cell: Cell) -> tuple[str, str]:
        """Return a measured cell's state and what is said of it."""
        key = (cell.artifact.id, cell.measurement.target)
        if cell is self.ship:
            return "ship", "not shown to fit" if verdict_of(self.results.budget) == "not shown" else "ship this"
        if key in self.picks:
            return "pick", "ship here" if self.picks[key] != "not shown" else "not shown to fit"
        if self.over.get(key) == "not shown":
            return "over", "not shown to fit"
        if key in self.over:
            return "over", "over budget" if self.results.budget else "turned down"
        if key in self.front and not self.results.budget:
            return "front", "on the front"
        return "ok", "reference" if cell.is_reference else ""

    def problems(self) -> list[Problem]:
        """Return what failed, one entry per reason: models, files, cells. Those empty by design are no problems.

        The cells of an artifact that could not be made are not told again for every target.
        """
        found = [
            Problem(
                shorten(str(m.get("name", "")), NAME_LIMIT),
                (),
                shorten(str(m["status"]), NAME_LIMIT),
                shorten(str(m.get("reason", "")), REASON_LIMIT),
                shorten(str(m.get("remedy", "")), REASON_LIMIT),
                "training",
            )
            for m in self.results.models
            if m.get("status", "ok") != "ok"
        ]
        found += [
            Problem(self.name(a), (), a.status, shorten(a.reason, REASON_LIMIT), shorten(a.remedy, REASON_LIMIT))
            for a in self.results.artifacts
            if a.status != "ok"
        ]
        grouped: dict[tuple[str, str, str, str], list[str]] = {}
        for cell in self.cells:
            m = cell.measurement
            if cell.is_problem and cell.artifact.status == "ok":
                grouped.setdefault((self.name(cell.artifact), m.status, m.reason, m.remedy), []).append(m.target)
        return found + [
            Problem(name, tuple(where), status, shorten(reason, REASON_LIMIT), shorten(remedy, REASON_LIMIT))
            for (name, status, reason, remedy), where in grouped.items()
        ]

    @property
    def by_agreement(self) -> bool:
        """Whether some files could only be judged by their agreement with their float model."""
        return any(c.by_agreement for c in self.cells if c.measurement.status == "ok")

    @property
    def quality(self) -> str:
        """What the drawings show against latency: accuracy, or agreement where nothing has an accuracy."""
        shown = self.measured()
        return "Agreement" if shown and all(c.by_agreement for c in shown) else "Accuracy"

    @property
    def _agreed(self) -> str:
        """What agreements are shares of: samples, or the answers' elements where an answer is no row of classes."""
        kinds = {c.measurement.agreement_by for c in self.cells if c.by_agreement and c.measurement.status == "ok"}
        told = ["samples with the float model's answer"] if kinds & {"", CLASS} else []
        told += [
            f"the answers' elements with the float model's {WORDS.get(kind, kind)}"
            for kind in sorted(kinds - {"", CLASS})
        ]
        return " or ".join(told)

    @property
    def judged_by(self) -> str:
        """What stands where an accuracy would: shares of right answers, of answers as the float model's, or less."""
        ran = [c for c in self.cells if c.measurement.status == "ok"]
        kinds = {
            f"accuracy on {self.tested_on}": any(c.measurement.accuracy is not None for c in ran),
            f"agree: share of {self._agreed}": self.by_agreement,
            "off: relative error of the float model's numbers": any(
                c.quality is None and c.measurement.relative_error is not None for c in ran
            ),
            "differs: by how much at most from the float model's answers": any(
                c.quality is None and c.measurement.relative_error is None and c.measurement.difference is not None
                for c in ran
            ),
        }
        return "; ".join(name for name, is_there in kinds.items() if is_there) or "no accuracy"

    def by_design(self) -> int:
        """Return how many cells are empty because the runtime does not read the format."""
        return sum(c.is_by_design for c in self.cells)

    def environment(self) -> list[tuple[str, str]]:
        """Return the machine and its packages in words."""
        names = {
            "cpu": "Processor",
            "architecture": "Architecture",
            "cores": "Cores",
            "os": "System",
            "python": "Python",
        }
        env = self.results.environment
        rows = [(title, shorten(str(env[key]), 160)) for key, title in names.items() if env.get(key) is not None]
        if isinstance(env.get("memory_bytes"), int):
            rows.insert(3, ("Memory", size(env["memory_bytes"])))
        packages = env.get("packages")
        if isinstance(packages, Mapping):
            rows += [(shorten(str(name)), shorten(str(version))) for name, version in packages.items()]
        return rows

    def run_facts(self) -> list[tuple[str, str]]:
        """Return when and by what the run was made."""
        run = self.results.run
        names = {
            "started": "Started",
            "finished": "Finished",
            "edgeproof_version": "Edgeproof",
            "recipe_sha256": "Recipe's SHA-256",
        }
        return [(title, shorten(str(run[key]), 80)) for key, title in names.items() if run.get(key)]

    def latency_confidence(self) -> str:
        """Return what the latency intervals cover, where that is the same for all: ``96.9 % interval``."""
        found = {m.latency_ms.confidence for m in (c.measurement for c in self.cells) if m.latency_ms}
        return f"{percent(found.pop())} interval" if len(found) == 1 else "interval"


def verdict_of(budget: Mapping[str, Any]) -> str:
    """Return a budget's verdict; runs of before there were three have `met` alone. Empty where there is no budget."""
    if budget.get("met") is None:
        return ""
    return shorten(str(budget.get("verdict") or ("met" if budget["met"] else "not met")), NAME_LIMIT)


def _keys(rows: object) -> set[tuple[str, str]]:
    """Return (artifact, target) of each row of a recommendation."""
    found = [r for r in rows if isinstance(r, Mapping)] if isinstance(rows, list) else []
    return {(str(r.get("artifact")), str(r.get("target"))) for r in found}


def _verdicts(rows: object) -> dict[tuple[str, str], str]:
    """Return the verdict of each row of a recommendation by (artifact, target); empty where it has none."""
    found = [r for r in rows if isinstance(r, Mapping)] if isinstance(rows, list) else []
    return {(str(r.get("artifact")), str(r.get("target"))): str(r.get("verdict") or "") for r in found}


def _figures(m: Measurement, artifact: Artifact) -> Iterable[Figure]:
    if m.accuracy is not None:
        interval = percent_range(m.accuracy_low, m.accuracy_high)
        yield Figure("Accuracy", percent(m.accuracy), _interval("95 %", interval, f"{m.samples:,} samples"), m.kind)
    elif m.agreement is not None:
        same = "same answer" if m.agreement_by in ("", CLASS) else f"same {WORDS.get(m.agreement_by, 'answer')}"
        samples = f"{same}; {m.samples:,} samples" if m.samples else same
        yield Figure("Agreement with its float model", percent(m.agreement), samples, m.kind)
    elif m.relative_error is not None:
        most = f"; any value ≤ {m.difference:.2g}" if m.difference is not None else ""
        samples = f"of the answers' spread{most}; {m.samples:,} samples"
        yield Figure("Error against its float model", percent(m.relative_error), samples, m.kind)
    elif m.difference is not None:
        samples = f"in any value; {m.samples:,} samples"
        yield Figure("Difference from its float model", f"≤ {m.difference:.2g}", samples, m.kind)
    if (drop := m.judged_drop) is not None:
        unit = "point" if abs(round(100 * drop.drop, 2)) == 1 else "points"
        note = _interval("95 %", points_range(drop.low, drop.high), on_splits(drop, ""))
        yield Figure("Drop against float", f"{signed_points(drop.drop)} {unit}", note, m.kind)
    if m.latency_ms:
        confidence = percent(m.latency_ms.confidence)
        more = f"p95 {ms(m.latency_ms.p95)}"
        if m.latency_ms.tokenize is not None and m.latency_ms.infer is not None:
            more += f"; tokenizing {ms(m.latency_ms.tokenize)}, inference {ms(m.latency_ms.infer)}"
        note = _interval(confidence, ms_range(m.latency_ms), more)
        yield Figure("Median latency", ms(m.latency_ms.median), note, m.kind)
    memory = f"peak memory {size(m.peak_memory_bytes)}" if m.peak_memory_bytes else f"{artifact.bytes:,} bytes"
    yield Figure("File size", size(artifact.bytes), memory, m.kind)


def quality_words(cell: Cell) -> str:
    """Return a cell's accuracy in words, or how often it agrees with its float model, or how far it is from it."""
    if cell.quality is None and cell.measurement.relative_error is not None:
        return f"{percent(cell.measurement.relative_error)} off"
    if cell.quality is None and cell.measurement.difference is not None:
        return f"differs ≤ {cell.measurement.difference:.2g}"
    if cell.quality is None:
        return "no accuracy"
    return f"{percent(cell.quality)} agree" if cell.by_agreement else percent(cell.quality)


def drop_points(cell: Cell) -> str:
    """Return a cell's drop in points; by agreement it is known only what it cannot exceed."""
    m = cell.measurement
    if (drop := m.judged_drop) is not None:
        return signed_points(drop.drop)
    return f"≤ {100 * (1 - m.agreement):.2f}" if m.agreement is not None else "–"


def drop_interval(cell: Cell) -> str:
    """Return the interval of a cell's drop; nothing where there is none."""
    drop = cell.measurement.judged_drop
    return points_range(drop.low, drop.high) if drop else ""


def _agreement(m: Measurement) -> str:
    """Return how often a measurement agrees with float: of samples, or of elements; of numbers the relative error."""
    if m.agreement is None:
        return f"{percent(m.relative_error)} off" if m.relative_error is not None else "–"
    return percent(m.agreement) + ("" if m.agreement_by in ("", CLASS) else " of elements")


def _interval(confidence: str, interval: str, more: str = "") -> str:
    told = interval if interval.startswith("no ") else f"{interval} ({confidence} interval)" if interval else ""
    return "; ".join(part for part in (told, more) if part)


def figure_rows(content: Content) -> list[dict[str, str]]:
    """Return every measured cell's figures in words: the long table of the reports."""
    rows = []
    for cell in content.cells:
        m = cell.measurement
        if m.status != "ok":
            continue
        latency = m.latency_ms
        rows.append(
            {
                "name": content.name(cell.artifact),
                "model": shorten(cell.artifact.model, NAME_LIMIT),
                "variant": artifact_name(cell.artifact, with_model=False),
                "target": shorten(m.target, NAME_LIMIT),
                "kind": m.kind,
                "ship": "yes" if cell is content.ship else "",
                "pick": "yes" if (cell.artifact.id, m.target) in content.picks else "",
                "version": shorten(f"{m.runtime} {m.runtime_version}".strip(), NAME_LIMIT),
                "accuracy": quality_words(cell),
                "accuracy_interval": percent_range(m.accuracy_low, m.accuracy_high),
                "drop": drop_points(cell),
                "drop_interval": drop_interval(cell),
                "agreement": _agreement(m),
                "difference": f"≤ {m.difference:.2g}" if m.difference is not None else "",
                "latency": ms(latency.median) if latency else "–",
                "latency_interval": ms_range(latency) if latency else "",
                "tokenize": ms(latency.tokenize) if latency and latency.tokenize is not None else "–",
                "infer": ms(latency.infer) if latency and latency.infer is not None else "–",
                "p95": ms(latency.p95) if latency else "–",
                "p99": ms(latency.p99) if latency else "–",
                "load": ms(m.load_ms) if m.load_ms is not None else "–",
                "first": ms(m.first_ms) if m.first_ms is not None else "–",
                "memory": size(m.peak_memory_bytes) if m.peak_memory_bytes is not None else "–",
                "size": size(cell.artifact.bytes),
            }
        )
    return rows
