"""A profile on the terminal: the kinds of operators, the slowest operators, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core.formatting import count_words, ms, number, percent, size
from ..core.profile import Profile
from ..core.sanitize import shorten

if TYPE_CHECKING:
    from rich.console import RenderableType

# Rows that are shown; the JSON document has all.
KINDS, SLOWEST = 12, 10
_NAME = 48


def profile_summary(profile: Profile) -> Iterator[RenderableType]:
    """Yield the terminal's view of a profile. Names from the file are plain text in it, never markup."""
    from rich.table import Table
    from rich.text import Text

    yield Text.assemble(
        (shorten(profile.artifact), "bold"),
        f" on {shorten(profile.target)} {shorten(profile.runtime_version, 20)}: {profile.runs} profiled runs of "
        f"{shorten(profile.samples, 120)}, {profile.threads} thread{'s' if profile.threads > 1 else ''}; "
        f"{profile.engine}; {profile.kind}",
    )
    yield Text(
        f"a profiled run takes {ms(profile.run_ms)}, its operators {ms(profile.operators_ms)}: it is slower than a "
        "timed one"
    )
    kinds = Table("operators", "kernels", "count", "time", "share", "MACs", "bytes")
    for column in kinds.columns[2:]:
        column.justify = "right"
    for kind in profile.kinds[:KINDS]:
        kinds.add_row(
            Text(shorten(kind.op, _NAME)), Text(shorten(kind.kernel, 24)), str(kind.count), ms(kind.ms),
            percent(kind.share), count_words(kind.macs), size(kind.bytes) if kind.bytes is not None else "–",
        )  # fmt: skip
    yield kinds
    if len(profile.kinds) > KINDS:
        yield Text(f"and {len(profile.kinds) - KINDS} more kinds", style="dim")
    slowest = Table("slowest operators", "what ran", "time", "quartiles", "share")
    for column in slowest.columns[2:]:
        column.justify = "right"
    for row in sorted(profile.operators, key=lambda one: -one.ms)[:SLOWEST]:
        slowest.add_row(
            Text(f"{row.position} {shorten(row.op, _NAME)}"), Text(shorten(row.runtime_op, _NAME)), ms(row.ms),
            "–" if row.low is None or row.high is None else f"{number(row.low)} to {number(row.high)}",
            percent(row.share),
        )  # fmt: skip
    yield slowest
    if profile.without_time:
        yield Text(f"{profile.without_time} operators of the graph have no time of their own: fused, or free")
    for place, finding in enumerate(profile.findings, 1):
        yield Text(f"{place}. {finding}")
