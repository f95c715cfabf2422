"""``edgeproof devices``: the targets and whether they work; installs further runtime versions; clears devices."""

from __future__ import annotations

from typing import Any

import click


@click.group(
    short_help="List the targets that can be named, and which are ready; install versions of runtimes.",
    invoke_without_command=True,
)
@click.option(
    "--install",
    multiple=True,
    metavar="NAME==VERSION",
    help="Put a version of a runtime beside this environment, e.g. litert==1.0.1; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(context: click.Context, install: tuple[str, ...], as_json: bool) -> None:
    """List the targets that can be named, with the runtime's version, or what is missing.

    Devices are this machine and those that a devices.toml declares. A version that is not the installed one is put into
    a cache folder (EDGEPROOF_RUNTIMES names another) with --install, and is then a target of its own:
    local/litert==1.0.1.
    """
    if context.invoked_subcommand:
        return
    from ...core.progress import Silent
    from ...workflows.devices import devices
    from ..output import show_json, show_parts
    from ..terminal import echo

    class Installed(Silent):
        """Prints the folder of each version."""

        def note(self, level: str, message: str, **facts: Any) -> None:
            echo(message, err=True)

    rows = devices(install, progress=Installed())
    if as_json:
        show_json([row.__dict__ for row in rows])
        return
    from rich.table import Column, Table
    from rich.text import Text

    names = ("target", "version", "reads", "state")
    table = Table(*(Column(name, overflow="fold") for name in names))  # a target's name is there to be copied, whole
    for row in rows:
        state = "ready" if row.ready else f"{row.reason} → {row.remedy}"
        cells = (row.target, row.version or "–", ", ".join(row.reads), state)
        table.add_row(*map(Text, cells))  # plain text: markup would eat the extra of edgeproof[litert]
    show_parts([table])


@command.command("clean", short_help="Remove what was put on devices.")
@click.argument("names", metavar="[DEVICE]…", nargs=-1)
def clean(names: tuple[str, ...]) -> None:
    """Remove the files, the samples and the program that were put on each DEVICE (default: on all)."""
    from ...workflows.devices import clean_devices
    from ..terminal import echo

    for name, removed in clean_devices(names).items():
        echo(f"{name}: {removed}")


@command.command("link", short_help="Show a link: the browser that opens it becomes a device.")
@click.option(
    "--bind",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="The address of this machine on which the page is served: for a phone, that of the network it is in.",
)
@click.option("--name", default="link", show_default=True, help='The device: link, or one declared with kind = "link".')
def link(bind: str, name: str) -> None:
    """Show a link for one page. Whatever browser opens it is the device NAME until this command is ended (Ctrl-C).

    While it runs, name NAME/litert-js or NAME/onnxruntime-web in another terminal (or in a recipe). Nothing is
    installed on the phone, and its page can be closed at any moment: what was measured stays, and a new link is shown.
    On plain http a page has one thread and no WebGPU.
    """
    import threading
    from contextlib import suppress

    from ...core.sanitize import shorten
    from ...workflows.devices import link_device
    from ..terminal import echo

    def tell(kind: str, text: str) -> None:
        if kind == "link":
            if bind.startswith("127."):
                echo("Only browsers of this machine can open it; for a phone in your network: --bind ADDRESS", err=True)
            for line in ("Open this link in one browser:", "", f"  {text}", "", *_qr_code(text)):
                echo(line)
        elif kind == "here":
            echo(
                f"{shorten(text, 200)} is {name} now: name {name}/litert-js or {name}/onnxruntime-web. Ctrl-C ends it."
            )
        else:
            echo(f"{shorten(text, 200)}; what was measured stays.")

    with suppress(KeyboardInterrupt):
        link_device(name, bind, tell, threading.Event())


def _qr_code(text: str) -> list[str]:
    """Return a QR code as lines for a dark terminal, two rows in each; none without the extra for it."""
    from ...core.extras import EXTRAS

    if EXTRAS["link"].missing():
        return []
    import segno

    rows = [[not dark for dark in row] for row in segno.make(text, micro=False).matrix_iter(border=2)]
    rows += [[False] * len(rows[0])] * (len(rows) % 2)
    signs = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["  " + "".join(signs[pair] for pair in zip(*lines, strict=True)) for lines in pairs] + [""]
