"""``edgeproof diagnose``: where a quantized file departs from its float model, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..completing import models
from ..options import labelled_data, text_columns

if TYPE_CHECKING:
    from ...core.diagnosis import Diagnosis

SHOWN = 10


@click.command(short_help="Say where a quantized file loses accuracy, and why.")
@click.argument("artifact", metavar="ARTIFACT", type=click.Path(path_type=Path), shell_complete=models)
@click.option("--float", "reference", metavar="FILE", type=click.Path(path_type=Path), help="Its float32 .tflite.")
@click.option("--data", "source", metavar="SOURCE", default="", help="Samples, e.g. folder:images or csv:texts.csv.")
@click.option("--samples", type=click.IntRange(min=1), default=64, show_default=True, help="How many are compared.")
@click.option("--out", type=click.Path(path_type=Path), help="Where diagnosis/ goes.  [default: the run, or beside]")
@text_columns
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as one JSON document.")
def command(
    artifact: Path,
    reference: Path | None,
    source: str,
    samples: int,
    out: Path | None,
    as_json: bool,
    **columns: str | None,
) -> None:
    """Compare every tensor of ARTIFACT, a quantized .tflite, with the float model on the same samples.

    Of a file in a run's folder the float file and the samples (of the test split, where the loss was measured) are
    known; of others say them with --float and --data. OUT/diagnosis/ gets the figures as JSON, and files that Model
    Explorer (Google's viewer of .tflite graphs) loads as node data.
    """
    from ...core.codec import to_json
    from ...workflows.diagnose import diagnose_file, home
    from ...workflows.preflight import check_writable
    from ...workflows.run_folder import check_parts
    from ..console import ConsoleListener
    from ..output import show_json
    from ..terminal import echo

    if not artifact.exists():
        raise click.BadParameter(f"{artifact} does not exist", param_hint="ARTIFACT")
    data = labelled_data(source, columns) if source else None
    home_folder = home(artifact, out)
    check_parts(home_folder)
    check_writable(home_folder / "diagnosis")
    with ConsoleListener(home_folder / "diagnosis" / "log.jsonl") as listener:
        listener.begin("diagnose", artifact.name)
        found, folder = diagnose_file(artifact, reference, data, samples, out, listener)
    if as_json:
        show_json(to_json(found))
        return
    _show(found)
    echo(f"diagnosis: {folder / 'diagnosis' / found.artifact}.json")


def _show(found: Diagnosis) -> None:
    from rich.markup import escape
    from rich.table import Table

    from ...quantize.diagnosis import short_name
    from ...tasks.agreement import WORDS
    from ..console import stdout_console

    console = stdout_console()
    counted = WORDS.get(str(found.facts.get("agreement_by", "")), "answer")
    agreement = "" if found.agreement is None else f"; the {counted} is the same on {found.agreement:.1%}"
    snr = found.facts.get("answer_snr_db")
    console.print(
        f"[bold]{escape(found.artifact)}[/] against {escape(found.reference)} on {found.samples} samples of "
        f"{escape(found.source)}{agreement}" + ("" if snr is None else f"; the answer keeps {snr:.1f} dB"),
        soft_wrap=True,
    )
    if missing := found.facts.get("unmatched"):
        names = ", ".join(f"{one['operator']} {short_name(one['name'])}" for one in missing[:3])
        console.print(
            f"[yellow]{len(missing)} of {found.facts.get('operators')} operators have no counterpart in the float file "
            f"and are not judged: {escape(names)}{', …' if len(missing) > 3 else ''}[/]",
            soft_wrap=True,
        )
    if not found.suspicions:
        console.print("nothing is suspected: it is as near the float model as its scheme allows")
    for number, suspicion in enumerate(found.suspicions, 1):
        console.print(f"{number}. [bold]{suspicion.cause}[/]: {escape(suspicion.why)}", soft_wrap=True)
        console.print(f"   → {escape(suspicion.remedy)}", soft_wrap=True)
    table = Table("tensor", "operator", "damage", "SNR dB", "own dB", "cut off", "range used", "widest channel")
    for column in table.columns[2:]:
        column.justify = "right"
    for tensor in found.tensors[:SHOWN]:
        table.add_row(
            escape(_shortened(short_name(tensor.name))),
            f"{tensor.position} {tensor.operator}{', weights' if tensor.kind == 'weight' else ''}",
            _share(tensor.share),
            _number(tensor.snr_db),
            _number(tensor.own_snr_db),
            _share(tensor.saturated),
            _share(tensor.range_use),
            "–" if tensor.channel_ratio is None else f"{tensor.channel_ratio:.1f}×",
        )
    console.print(table)


def _shortened(name: str, limit: int = 28) -> str:
    return name if len(name) <= limit else "…" + name[1 - limit :]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
