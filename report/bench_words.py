"""What the bench says of itself: what this machine could tell apart, and what disturbed it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..core.formatting import percent, times
from ..core.results import Results
from ..core.sanitize import shorten

# With fewer blocks a copy's interval is narrow or wide by chance: Student's factor is 4.3 and more.
_FEW = 4
UNSURE = "The order of the files is not certain to {resolution} after {seconds}: raise evaluate.latency.max_seconds."


def bench_sentences(results: Results) -> list[str]:
    """Return the sentences for the groups of cells that were timed side by side; groups that say the same, once."""
    return sentences_of(results.bench)


def sentences_of(bench: Iterable[Mapping[str, Any]], unsure: str = UNSURE) -> list[str]:
    """Return the sentences for rows of ``bench``; those that are the same, once.

    `unsure` is what is said, with `resolution` and `seconds`, where time ran out.
    """
    return list(dict.fromkeys(words for row in bench for words in _sentences(row, unsure)))


def _sentences(row: Mapping[str, Any], unsure: str) -> list[str]:
    copy, told_apart = row.get("copy"), row.get("told_apart")
    if not copy or told_apart is None:
        return [
            "Each cell was timed in one block, so no latencies can be told apart: raise evaluate.latency.processes."
        ]
    verdict = copy["verdict"]
    same = "not distinguishable" if verdict == "not distinguishable" else f"{times(copy['ratio'])}, wrongly {verdict}"
    device = str(row["anchor"]).rpartition("@")[2].partition("/")[0]
    machine = "This machine" if device in ("", "local") else f"The device {shorten(device)}"
    words = (
        f"{machine} could tell apart differences in latency of {percent(told_apart)} and more "
        f"({row['blocks']} blocks of fresh processes); a file against its copy: {same}."
    )
    sentences = [words]
    if row["blocks"] < _FEW:
        sentences.append("Of so few blocks that is uncertain, and the intervals of other files may be far wider.")
    disturbed = verdict != "not distinguishable" or told_apart > row["resolution"]
    if disturbed and row["disturbances"]:
        sentences.append(f"What disturbed it: {shorten('; '.join(row['disturbances']), 500)}.")
    if not row["certain"]:
        sentences.append(unsure.format(resolution=percent(row["resolution"]), seconds=f"{row['seconds']:.0f} s"))
    return sentences
