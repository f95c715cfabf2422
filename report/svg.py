"""Drawings into the page: matplotlib figures as SVG that follows the page's colours and font, and fetches nothing."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from markupsafe import Markup

from .palette import PAGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Text stays text (svg.fonttype none), identifiers do not change from one day to the next (svg.hashsalt), and a
# dollar sign in a name is no formula.
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgeproof",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "text.color": PAGE["ink"].placeholder,
    "axes.labelcolor": PAGE["muted"].placeholder,
    "axes.edgecolor": PAGE["rule"].placeholder,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": PAGE["rule"].placeholder,
    "xtick.color": PAGE["rule"].placeholder,
    "ytick.color": PAGE["rule"].placeholder,
    "xtick.labelcolor": PAGE["muted"].placeholder,
    "ytick.labelcolor": PAGE["muted"].placeholder,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with the settings above; matplotlib's own are given back afterwards."""
    import matplotlib as mpl

    with warnings.catch_warnings(), mpl.rc_context(SETTINGS):
        # Emoji have no glyph in matplotlib's font; the browser, which draws the text, has one.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def inline(draw: Callable[[bool], Figure], name: str, title: str) -> Markup:
    """Return a figure twice, for wide and for narrow pages; the style sheet shows one of them.

    `draw` is given whether it is the narrow one. `name` must be unique in the page, made of letters and dashes.
    `title` describes the figure to those who cannot see it.
    """
    with drawing():
        parts = [
            _element(draw(narrow), f"{name}-{'n' if narrow else 'w'}", title, "narrow" if narrow else "wide")
            for narrow in (False, True)
        ]
    return Markup("\n").join(parts)


def _element(figure: Figure, prefix: str, title: str, css_class: str) -> Markup:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", dpi=72, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    view_box = re.search(r'viewBox="([^"]+)"', text)
    body = text[text.index("<defs>") : text.rindex("</svg>")] if "<defs>" in text else ""
    # The one <style> of the file would be the whole page's.
    body = re.sub(r"<style\b.*?</style>", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href=", "href=")
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", body)
    for colour in PAGE.values():
        body = body.replace(colour.placeholder, f"var(--{colour.name})")
    body = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "var(--sans)", body)
    # Names are in the body as matplotlib's XML writer escaped them, and in the label as format() does.
    opening = Markup('<svg class="plot {}" viewBox="{}" role="img" aria-label="{}" style="stroke-linejoin: round">')
    return opening.format(css_class, view_box[1] if view_box else "0 0 1 1", title) + Markup(body + "</svg>")  # noqa: S704
