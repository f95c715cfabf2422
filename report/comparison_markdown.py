"""Two runs side by side as Markdown, for a pull request."""

from __future__ import annotations

import re

from markupsafe import Markup

from ..core.formatting import by_design_words, capitalized
from ..core.sanitize import shorten
from ..evaluate.compare import Comparison
from .comparison_words import Figure, gate_lines, legend, metric_heading, only_in, rows, status_changes
from .markdown import text
from .templating import environment


def comparison_markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown (GitHub's dialect): the gate, a table, what only one run has."""
    cells = rows(comparison)
    notes = [*legend(comparison), *only_in(comparison)]
    if hidden := len(comparison.cells) - len(cells):
        notes.append(by_design_words(hidden))
    rendered = environment(md=_words, change=_change).get_template("comparison.md.j2").render(
        comparison=comparison,
        rows=cells,
        metric=capitalized(metric_heading(comparison)),
        # The last line says the verdict, which the heading has.
        gate=list(gate_lines(comparison))[:-1],
        changes=list(status_changes(comparison)),
        notes=notes,
    )  # fmt: skip
    return re.sub(r"\n{3,}", "\n\n", rendered).strip() + "\n"


def _words(words: object) -> Markup:
    return text(shorten(str(words), 2000))


def _change(figure: Figure) -> Markup:
    """Return a figure's change and interval; bold where it is distinguishable."""
    change = text(figure.change)
    return Markup(" ").join(
        part for part in (Markup("**{}**").format(change) if figure.tone else change, text(figure.interval)) if part
    )
