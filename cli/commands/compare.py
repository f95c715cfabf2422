"""``edgeproof compare``: two runs side by side."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Compare two runs, cell by cell; a gate for CI.")
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Compare latencies although the machines differ.")
@click.option(
    "--fail-on", "fail_on", metavar="LIMIT", multiple=True,
    help="A limit on how much worse RUN_B may be: 'accuracy_drop > 0.5 points', 'metric_drop > 2 %', 'latency > 3 %', "
    "'size > 5 %', new-failures; may be repeated.",
)  # fmt: skip
@click.option("--remeasure", is_flag=True, help="Time both runs' files together now, in the same rounds.")
@click.option(
    "--latency", "timing", metavar="KEY=VALUE", multiple=True,
    help="How --remeasure times, as in a recipe's [evaluate.latency], e.g. max_seconds=300; may be repeated.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit status 1 also when it is not shown that a limit is met.")
@click.option("--markdown", is_flag=True, help="Print Markdown for a pull request.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write the limits as JUnit XML for CI.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    run_a: Path,
    run_b: Path,
    force: bool,
    fail_on: tuple[str, ...],
    remeasure: bool,
    timing: tuple[str, ...],
    strict: bool,
    markdown: bool,
    junit: Path | None,
    as_json: bool,
) -> int:
    """Compare RUN_A and RUN_B (folders or results.json): metric, latency and size of the cells that both have.

    With --fail-on the exit status is 1 when a limit is not met: the interval of the change lies wholly beyond it. A
    limit that the samples or latencies cannot show is reported, and fails only with --strict. With --remeasure the
    files of both runs are timed side by side on this machine, until they are told apart or time is over.

    Examples: edgeproof compare runs/main runs/mine --fail-on "accuracy_drop > 0.5 points" --fail-on new-failures
    """
    from ...workflows.compare import compare
    from ..exit_status import gate_status
    from ..output import show_json, show_markdown, show_parts
    from ..terminal import stdout_console

    if markdown and as_json:
        raise click.UsageError("--markdown and --json both print on stdout: give one of them.")
    if junit is not None and not fail_on:
        raise click.UsageError("--junit writes what limits came to: give at least one --fail-on.")
    if timing and not remeasure:
        raise click.UsageError("--latency says how --remeasure times: give both.")
    if junit is not None:
        from ...core.files import check_replaceable

        check_replaceable(junit, mark=b"<testsuite", kind="JUnit file", option="--junit")
    from ...core.recipe_file import parse_latency
    from ...report.progress_bars import ProgressBars

    comparison = compare(
        run_a, run_b, force=force, fail_on=fail_on, remeasure=remeasure,
        latency=parse_latency(timing) if remeasure else None, progress=ProgressBars() if remeasure else None,
    )  # fmt: skip
    if junit is not None:
        from ...core.codec import write_atomic
        from ...report.junit import junit as junit_document

        write_atomic(junit, junit_document(comparison, strict=strict))
    if as_json:
        show_json(comparison.to_dict())
    elif markdown:
        from ...report.comparison_markdown import comparison_markdown

        show_markdown(comparison_markdown(comparison))
    else:
        from ...report.comparison import comparison_table

        show_parts([comparison_table(comparison, stdout_console().width)])
    return gate_status(comparison.gate.verdict if comparison.gate else "", strict=strict)
