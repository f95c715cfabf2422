"""Colours and shapes of the plots. Plots are drawn with placeholders; the page's style sheet gives them their values.

Light and dark have values of their own, chosen so that each stands out from the paper by at least 3:1 (WCAG 2.2,
1.4.11) and that the schemes stay apart for colour-blind readers (after Okabe and Ito's palette).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.runtime import RUNTIMES
from ..core.variant import find_scheme


@dataclass(frozen=True)
class Colour:
    """A CSS variable, the placeholder that stands for it in a drawing, and its values."""

    name: str
    placeholder: str
    light: str
    dark: str


def _colours(*rows: tuple[str, str, str]) -> dict[str, Colour]:
    # Placeholders differ from each other and from anything that matplotlib draws on its own.
    return {name: Colour(name, f"#0e1f{i + 16:02x}", light, dark) for i, (name, light, dark) in enumerate(rows)}


PAGE = _colours(
    ("ink", "#16191d", "#e7eaed"),
    ("muted", "#59636e", "#9aa5b1"),
    ("rule", "#dfe3e8", "#2d333b"),
    ("paper", "#ffffff", "#14171a"),
    ("soft", "#f5f7f8", "#1b1f24"),
    ("accent", "#0a6b5c", "#4fd0b8"),
    ("scheme-float32", "#0068ad", "#5fb0ee"),
    ("scheme-float16", "#2a8fa8", "#7fdbe8"),
    ("scheme-dynamic", "#a66f00", "#f2b632"),
    ("scheme-int8", "#c2410c", "#ff8a5c"),
    ("scheme-int16x8", "#a3478b", "#e796cf"),
    ("scheme-int8io", "#2f7d32", "#7fd182"),
    ("scheme-other", "#6b5cb8", "#b3a6ff"),
    ("scheme-qat", "#6b7a00", "#c3d24a"),
    ("scheme-int4", "#7a4b2a", "#d3a17e"),
)

_OTHER_MARKER = ("P", "✚")  # of runtimes that only another version of edgeproof has


def scheme_colour(scheme: str) -> Colour:
    """Return the colour that a scheme's row names; schemes of another version of edgeproof share one."""
    row = find_scheme(scheme)
    return PAGE[f"scheme-{row.colour if row else 'other'}"]


def marker(runtime: str) -> tuple[str, str]:
    """Return a runtime's marker and its sign."""
    return RUNTIMES[runtime].symbol if runtime in RUNTIMES else _OTHER_MARKER


def style_variables(theme: str) -> str:
    """Return the CSS declarations of all colours for ``light`` or ``dark``."""
    return " ".join(f"--{c.name}: {c.light if theme == 'light' else c.dark};" for c in PAGE.values())
