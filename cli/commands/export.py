"""``edgeproof export``: more files from a model that is trained already."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Make more files from a trained model.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--to", "variants", metavar="VARIANT", multiple=True, required=True, help="e.g. tflite:int8; repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the files go.  [default: MODEL/artifacts]")
@click.option("--calibrate", metavar="SOURCE", default="", help="Data source for int8 and int16x8, e.g. folder:images.")
@click.option("--samples", default=200, show_default=True, help="Calibration images.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    model: Path, variants: tuple[str, ...], out: Path | None, calibrate: str, samples: int, as_json: bool
) -> int:
    """Make files of MODEL (a run's models/NAME folder). Exit status 3 when one of them could not be made."""
    from ...core.codec import to_json
    from ...core.recipe import Calibration, Export
    from ...core.variant import Variant
    from ..console import ConsoleListener
    from ..exporting import export_model
    from ..files import open_model
    from ..output import show_json
    from ..preflight import check_writable

    opened = open_model(model)
    wanted = [Variant.parse(text) for text in dict.fromkeys(variants)]
    options = Export(variants=tuple(str(v) for v in wanted), calibration=Calibration(samples=samples))
    folder = out or opened.saved_model.parent / "artifacts"
    check_writable(folder)
    with ConsoleListener(None) as listener:
        artifacts = export_model(opened, wanted, options, calibrate, folder, listener)
    if as_json:
        show_json([to_json(artifact) for artifact in artifacts])
    else:
        for artifact in artifacts:
            line = (
                f"{artifact.bytes:>12,} bytes  {artifact.path}"
                if artifact.path
                else f"{artifact.id}: {artifact.reason}"
            )
            click.echo(line)
            if artifact.remedy:
                click.echo(f"  → {artifact.remedy}")
    return 0 if all(artifact.status == "ok" for artifact in artifacts) else 3
