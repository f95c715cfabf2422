"""What the bench says of itself: what this machine could tell apart, and what disturbed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.formatting import percent, times
from ..core.results import Results
from ..core.sanitize import shorten


def bench_sentences(results: Results) -> list[str]:
    """Return the sentences for the groups of cells that were timed side by side; groups that say the same, once."""
    return list(dict.fromkeys(words for row in results.bench for words in _sentences(row)))


def _sentences(row: Mapping[str, Any]) -> list[str]:
    copy, told_apart = row.get("copy"), row.get("told_apart")
    if not copy or told_apart is None:
        return [
            "Each cell was timed in one block, so no latencies can be told apart: raise evaluate.latency.processes."
        ]
    verdict = copy["verdict"]
    same = "not distinguishable" if verdict == "not distinguishable" else f"{times(copy['ratio'])}, wrongly {verdict}"
    words = (
        f"This machine could tell apart differences in latency of {percent(told_apart)} and more "
        f"({row['blocks']} blocks of fresh processes); a file against its copy: {same}."
    )
    sentences = [words]
    disturbed = verdict != "not distinguishable" or told_apart > row["resolution"]
    if disturbed and row["disturbances"]:
        sentences.append(f"What disturbed it: {shorten('; '.join(row['disturbances']), 500)}.")
    if not row["certain"]:
        sentences.append(
            f"The order of the files is not certain to {percent(row['resolution'])} after {row['seconds']:.0f} s: "
            "raise evaluate.latency.max_seconds."
        )
    return sentences
