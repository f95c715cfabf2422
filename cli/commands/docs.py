"""``edgeproof docs``: the pages of the documentation that are installed with edgeproof."""

from __future__ import annotations

import click

from ..completing import pages


@click.command(short_help="Show a page of the documentation.")
@click.argument("page", required=False, shell_complete=pages)
def command(page: str | None) -> None:
    """Show PAGE of the documentation, e.g. recipe; without PAGE, list the pages.

    In a terminal the page is laid out and paged; in a pipe it is Markdown.
    """
    from ...core.terminal import console
    from ...workflows.shipped import first_line, page_names
    from ...workflows.shipped import page as packed_page
    from ..terminal import echo

    if page is None:
        names = page_names()
        width = max(map(len, names))
        for name in names:
            echo(f"{name:<{width}}  {first_line(packed_page(name))}")
        echo("show one: edgeproof docs PAGE")
        return
    text = packed_page(page).read_text(encoding="utf-8")
    from rich.markdown import Markdown

    screen = console()
    if not screen.is_terminal:
        echo(text, newline=False)
        return
    with screen.pager(styles=True, links=False):
        screen.print(Markdown(text))
