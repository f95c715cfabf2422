"""report.md: the answer, the table and the failures, short enough for a pull request."""

from __future__ import annotations

import html
import re

from markupsafe import Markup

from ..core.results import Results
from . import appendix, diagnosis_section, model_section, provenance_section, runtime_section
from .content import Content, figure_rows
from .data_section import data_section
from .recommendations import brief, choices
from .templating import environment

# Backslashes keep these from being markup: emphasis, code, links, tables, and bare addresses that become links.
# What is markup only where a line begins (headings, lists, rules) needs none: these words never begin one.
_MARKUP = re.compile(r"([\\`*_\[\]#|~]|(?<=:)/(?=/)|(?<=www)\.)", re.IGNORECASE)
_NOTIFIES = re.compile(r"([@#])(?=\w)")
_JOINER = "\u2060"


def render(results: Results) -> str:
    """Return the Markdown (GitHub's dialect). Every word from outside goes through `text`."""
    content = Content(results)
    template = environment(md=text, brief=brief).get_template("report.md.j2")
    rendered = template.render(
        content=content,
        headline=content.headline(),
        choices=choices(content),
        problems=content.problems(),
        figures=figure_rows(content),
        models=model_section.model_rows(content) if model_section.is_comparison(content) else [],
        pairs=model_section.pair_rows(content),
        best_file=model_section.best_file_title(content),
        diagnoses=diagnosis_section.diagnoses(content),
        diagnosis_title=diagnosis_section.title(content),
        trades=diagnosis_section.trades(content),
        warnings=provenance_section.warnings(content),
        contests=provenance_section.contests(content),
        workarounds=runtime_section.workarounds(content),
        data=data_section(content),
        tokenizers=[(card.name, card.tokenizer) for card in appendix.models(content) if card.tokenizer],
    )
    return re.sub(r"\n{3,}", "\n\n", rendered).strip() + "\n"


def text(words: object) -> Markup:
    """Return words so that Markdown shows them as they are: one line, no markup, no HTML, nobody notified.

    An invisible joiner after @ and # keeps hosts from taking a class name for a person or an issue.
    """
    line = " ".join(str(words).split())
    escaped = _NOTIFIES.sub(rf"\1{_JOINER}", _MARKUP.sub(r"\\\1", line))
    return Markup(html.escape(escaped, quote=False))  # noqa: S704 (escaped in this very line)
