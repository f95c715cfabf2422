"""The page of the matrix, written from its state alone: tables of ✓, and numbered notes for other results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..sides import ROOT
from .agreement import SIMILARITY, TOLERANCE
from .rows import FINE_TUNE, MODEL, OLD_RUNTIME, RowSpec, all_rows
from .sizes import CALIBRATION, TEST, TRAIN
from .state import Cell, Results

_NAMES = {MODEL: "model", FINE_TUNE: "fine-tune", OLD_RUNTIME: "tflite-runtime"}
_TITLES = {
    "keras": (
        "tf.keras.applications",
        "All models, at the smallest picture that each takes, grouped by family. The first of each family (and of "
        "RegNet's two kinds) goes through everything, the others through the three main files.",
    ),
    "image": (
        "TensorFlow Hub: images",
        "Look-alikes with the operators, signatures and formats of published modules.",
    ),
    "text": ("TensorFlow Hub: texts", "Look-alikes of published encoders; strings in, tokenizer and file out."),
    "file": ("Files people have", "One row a kind, built by the tests of that kind."),
}


def write(results: Results, state: Path) -> None:
    """Write the page of the state file `state` beside it."""
    state.with_suffix(".md").write_text(markdown(results, all_rows(), _shown(state)), encoding="utf-8")


def markdown(results: Results, rows: Sequence[RowSpec], state: str = "docs/coverage.json") -> str:
    """Return the page as Markdown."""
    notes: dict[str, int] = {}
    tables = [
        f"## {title}\n\n{about}\n\n{_table([row for row in rows if row.kind == kind], results, notes)}"
        for kind, (title, about) in _TITLES.items()
        if any(row.kind == kind for row in rows)
    ]
    listed = "\n".join(f"{number}. {note}" for note, number in notes.items()) or "None."
    return "\n\n".join([_head(results, rows, state), *tables, f"## Notes\n\n{listed}\n"])


def _head(results: Results, rows: Sequence[RowSpec], state: str) -> str:
    pairs = [(row, cell) for row in rows for cell in row.cells]
    done = [cell for row, name in pairs if (cell := results.get(row.id, {}).get("cells", {}).get(name))]
    good = sum(cell["status"] == "ok" for cell in done)
    dates = sorted({cell["date"] for cell in done})
    packages = sorted({f"{name} {version}" for row in results.values() for name, version in row["packages"].items()})
    when = f"{dates[0]} to {dates[-1]}" if len(dates) > 1 else "".join(dates) or "never"
    codes = len({cell["code"] for cell in done})
    versions = f"{codes} states of the code (`code` of a cell says which)" if codes > 1 else "one state of the code"
    return f"""# Coverage: which models go all the way

Every model below was taken through the product's own functions: trained (head only, one epoch) or imported, frozen,
and exported; each file was run on its runtime, and its answers were compared with the float model's. This page is
written by

    python -m benchmarks coverage                            # what is not there yet; it can be ended and goes on
    python -m benchmarks coverage --failed                   # and again what is not ✓
    python -m benchmarks coverage --only 'keras:ConvNeXt*'   # some rows; add --again to repeat them

from the repository's root. The results, with every figure, are in `{state}`.

**{good:,} of {len(pairs):,} cells are ✓, {len(done) - good:,} are not, {len(pairs) - len(done):,} were not run.**
Run: {when}, with {versions}. Packages: {", ".join(packages)}.

| mark | what it means |
|---|---|
| ✓ | the file was made, it ran, and its answers agree with the float model's |
| ✓ⁿ | the same, by the way that note *n* says |
| ✗ⁿ | not so; note *n* has the reason, and what to do instead |
| · | not run yet |
| (empty) | not part of this row |

**How a ✓ is judged.** Weights are random, with the statistics that training would have left
(`benchmarks/statistics_from_data.py`): nothing is downloaded, and answers differ from sample to sample. {TRAIN}
pictures train the head, {CALIBRATION} calibrate, and each file answers {TEST} others (user files: as many samples as
their row has). float32: the largest difference is at most {TOLERANCE["float32"]:g} of the float model's largest answer;
float16: {TOLERANCE["float16"]:g}. Quantized files: the cosine similarity of the answers, each without the float
model's mean over the samples, is at least {SIMILARITY:g} (a file that answers every sample alike comes to 0). TFLite
files run on LiteRT, ONNX files on ONNX Runtime. *model*: trained or imported, frozen, and equal to what was frozen.
*fine-tune*: `train.fine_tune.layers` changed the top layers, and the float file answers as the new model does.
*tflite-runtime*: all TFLite files of the row on tflite-runtime 2.14."""


def _table(rows: Sequence[RowSpec], results: Results, notes: dict[str, int]) -> str:
    columns = list(dict.fromkeys(cell for row in rows for cell in row.cells))
    lines = [f"| | {' | '.join(_column(cell) for cell in columns)} |", "|---|" + ":---:|" * len(columns)]
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            lines.append(f"| **{section}** |" + " |" * len(columns))
        cells = results.get(row.id, {}).get("cells", {})
        shown = (_mark(cells.get(cell), notes) if cell in row.cells else "" for cell in columns)
        lines.append(f"| {row.name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _column(cell: str) -> str:
    return _NAMES.get(cell, cell.replace(":", " "))


def _mark(cell: Cell | None, notes: dict[str, int]) -> str:
    if cell is None:
        return "·"
    note = _note(cell)
    mark = "✓" if cell["status"] == "ok" else "✗"
    if not note:
        return mark
    number = notes.setdefault(note, len(notes) + 1)
    return mark + str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _note(cell: Cell) -> str:
    """Return the note on a cell; empty for a plain ✓."""
    parts: list[str] = []
    if cell["status"] != "ok":
        parts.append(f"{cell['status']}: {cell.get('reason') or 'no reason is known'}.")
        if cell.get("remedy"):
            parts.append(f"Instead: {cell['remedy']}.")
        if cell.get("remedy_works"):
            parts.append(f"{cell['remedy_works']} of this model was made, ran and agrees.")
    elif cell.get("head_only"):
        parts.append("Only the head was trained for quantization; the rest was calibrated.")
    elif cell.get("maker") == "ai-edge-quantizer":
        parts.append("Made by ai-edge-quantizer; the converter's file is not as good or cannot be made.")
    if cell.get("instead"):
        pairs = ", ".join(f"{new} instead of {old}" for old, new in cell["instead"].items())
        parts.append(
            f"The runtime is too old for an operator's version; it runs what the product makes instead: {pairs}."
        )
    return " ".join(_plain(parts))


def _plain(parts: Iterable[str]) -> Iterable[str]:
    for part in parts:
        yield " ".join(part.split()).replace("|", "\\|").replace("..", ".").replace("<", "&lt;")


def _shown(state: Path) -> str:
    path = state.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
