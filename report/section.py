"""A section of the HTML report: its name, contents and template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .content import Content


@dataclass(frozen=True)
class Section:
    """One section. To add one: its module in `sections`, its template, and a row in `html.SECTIONS`.

    `id` is its anchor on the page; `title` is its name in the navigation, where it may depend on the run. `build`
    returns the variables of its `template` (a file of ``templates/``, which also knows `content`), or None where the
    run has nothing to show: then neither the section nor its link is there.
    """

    id: str
    title: str | Callable[[Content], str]
    build: Callable[[Content], Mapping[str, Any] | None]
    template: str

    def name(self, content: Content) -> str:
        """Return the section's name in the navigation."""
        return self.title if isinstance(self.title, str) else self.title(content)
