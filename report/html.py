"""report.html: one self-contained file. It has no scripts, and its own policy forbids every request."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment
from markupsafe import Markup

from ..core.formatting import size
from ..core.results import Results
from ..core.sanitize import shorten
from .content import Content
from .headline import headline
from .palette import style_variables
from .section import Section
from .sections import (
    classes,
    data,
    device_differences,
    diagnosis,
    disagreements,
    figures,
    files,
    fleet,
    method,
    microcontrollers,
    model_comparison,
    models,
    operators,
    overview,
    problems,
    provenance,
    quality_latency,
    recommendations,
    runtimes,
    sustained,
    task_figures,
    worst_samples,
)
from .templating import environment

# The page's sections, in its order; the navigation follows.
SECTIONS: tuple[Section, ...] = (
    recommendations.SECTION,
    model_comparison.SECTION,
    fleet.SECTION,
    overview.SECTION,
    quality_latency.SECTION,
    sustained.SECTION,
    operators.SECTION,
    classes.SECTION,
    task_figures.SECTION,
    worst_samples.SECTION,
    disagreements.SECTION,
    device_differences.SECTION,
    microcontrollers.SECTION,
    problems.SECTION,
    diagnosis.SECTION,
    provenance.SECTION,
    runtimes.SECTION,
    figures.SECTION,
    files.SECTION,
    models.SECTION,
    data.SECTION,
    method.SECTION,
)


class Part(NamedTuple):
    """A section as it is shown on a run's page."""

    id: str
    title: str
    html: Markup


def render(results: Results, folder: Path | None = None) -> str:
    """Return the page. `folder` is the run's: raw files in it add each process's median to the latency plot."""
    content = Content(results, folder)
    templates = environment(breakable=_breakable, size=size)
    return templates.get_template("report.html.j2").render(
        content=content,
        headline=headline(content),
        parts=[part for section in SECTIONS if (part := _part(section, content, templates)) is not None],
        light=style_variables("light"),
        dark=style_variables("dark"),
    )


def _part(section: Section, content: Content, templates: Environment) -> Part | None:
    """Return a section laid out, or None where the run has nothing for it."""
    built = section.build(content)
    if built is None:
        return None
    html = templates.get_template(section.template).render(content=content, **built)
    return Part(section.id, section.name(content), Markup(html))  # noqa: S704 (the template escapes)


def _breakable(name: str) -> Markup:
    """Return a name that may be broken after a slash or a colon, as ``local/`` and ``tflite:`` invite to."""
    pieces = re.split(r"(?<=[/:])", shorten(name, 80))
    return Markup("<wbr>").join(pieces)
