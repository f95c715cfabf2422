"""report.md: the answer, the table and the failures, short enough for a pull request."""

from __future__ import annotations

import html
import re

from markupsafe import Markup

from ..core.results import Results
from .bench_words import bench_sentences
from .content import Content
from .headline import headline
from .sections import (
    classes,
    device_differences,
    diagnosis,
    fleet,
    method,
    microcontrollers,
    model_comparison,
    models,
    provenance,
    runtimes,
    sustained,
    task_figures,
)
from .sections.data import data_section
from .sections.figures import figure_rows
from .sections.problems import problems
from .sections.recommendations import brief, choices
from .templating import environment

# Backslashes keep these from being markup: emphasis, code, links, tables, and bare addresses that become links.
# What is markup only where a line begins (headings, lists, rules) needs none: these words never begin one.
_MARKUP = re.compile(r"([\\`*_\[\]#|~]|(?<=:)/(?=/)|(?<=www)\.)", re.IGNORECASE)
_NOTIFIES = re.compile(r"([@#])(?=\w)")
JOINER = "\u2060"


def render(results: Results) -> str:
    """Return the Markdown (GitHub's dialect). Every word from outside goes through `text`."""
    content = Content(results)
    template = environment(md=text, brief=brief).get_template("report.md.j2")
    rendered = template.render(
        content=content,
        run_facts=method.run_facts(content),
        environment=method.environment(content),
        headline=headline(content),
        choices=choices(content),
        problems=problems(content),
        figures=(rows := figure_rows(content)),
        ratios=any(row["ratio"] != "–" for row in rows),
        bench=bench_sentences(results),
        models=model_comparison.model_rows(content) if model_comparison.is_comparison(content) else [],
        pairs=model_comparison.pair_rows(content),
        best_file=model_comparison.best_file_title(content),
        hurt=classes.hurt_lines(content),
        diagnoses=diagnosis.diagnoses(content),
        diagnosis_title=diagnosis.title(content),
        trades=provenance.trades(content),
        warnings=provenance.warnings(content),
        tool_selections=provenance.tool_selections(content),
        workarounds=runtimes.workarounds(content),
        placements=runtimes.placements(content),
        sustained=sustained.sustained_rows(content),
        task_figures=task_figures.task_figures(content),
        fleet=fleet.fleet_view(content),
        differences=device_differences.difference_rows(content),
        micro=microcontrollers.micro_rows(content),
        data=data_section(content),
        tokenizers=[(card.name, card.tokenizer) for card in models.models(content) if card.tokenizer],
    )
    return re.sub(r"\n{3,}", "\n\n", rendered).strip() + "\n"


def text(words: object) -> Markup:
    """Return words so that Markdown shows them as they are: one line, no markup, no HTML, no mentions.

    An invisible joiner after @ and # keeps hosts from taking a class name for a person or an issue.
    """
    line = " ".join(str(words).split())
    escaped = _NOTIFIES.sub(rf"\1{JOINER}", _MARKUP.sub(r"\\\1", line))
    return Markup(html.escape(escaped, quote=False))  # noqa: S704 (escaped in this very line)
