"""Times of commands: the help, the first run of the quickstart recipe, and a second run that finds it finished."""

from __future__ import annotations

import json
import statistics
import sysconfig
from pathlib import Path

from .sides import ROOT, BenchmarkError, Job, Row, Scale, in_turns, run_command, run_python, seconds

HELP_SECONDS, AGAIN_SECONDS = 0.2, 3.0
# Seconds of minutes of work do not travel: the same machine has been 2.3 times as slow on another day.
FIRST_IMPORTS = 90.0

# The quick scale's replacement of the quickstart recipe: the same stages in a few seconds.
TINY = """
name = "tiny"
[data]
source = "builtin:fashion-mnist-mini"
limit_train = 60
limit_test = 20
[[model]]
name = "tiny"
backbone = "keras:MobileNetV2"
weights = "none"
alpha = 0.35
image_size = 32
[train]
epochs = 1
[export]
variants = ["tflite:float32"]
[evaluate]
targets = ["local/litert"]
latency = { processes = 1, warmup_seconds = 0.0, run_seconds = 0.01 }
"""


def run(scale: Scale, folder: Path) -> list[Row]:
    """Time the three commands."""
    mine = folder / "startup"
    mine.mkdir()
    help_row = _help(scale, mine)
    return [help_row, *_runs(scale, mine, statistics.median(help_row.by_hand))]


def _help(scale: Scale, folder: Path) -> Row:
    """The help, compared with the import that every script by hand starts with."""
    log = folder / "help.log"

    def by_hand(_number: int) -> Job:
        return {"seconds": run_python(["-c", "import tensorflow"], log)}

    def edgeproof(_number: int) -> Job:
        return {"seconds": run_command([_command(), "--help"], log)}

    if not scale.quick:  # warm-up: reading from a cold disk is not measured
        by_hand(0), edgeproof(0)
    hand, ours = in_turns(scale.short_repeats, by_hand, edgeproof)
    return Row(
        "`edgeproof --help`, against `python -c 'import tensorflow'`",
        seconds(hand),
        seconds(ours),
        f"≤ {HELP_SECONDS:g} s",
        None if scale.quick else statistics.median(seconds(ours)) <= HELP_SECONDS,
    )


def _runs(scale: Scale, folder: Path, importing: float) -> list[Row]:
    """A recipe's first run, and repetitions of the same command. `importing` TensorFlow takes these seconds here."""
    recipe, out, log = ROOT / "recipes" / "quickstart.toml", folder / "run", folder / "run.log"
    if scale.quick:
        recipe = folder / "tiny.toml"
        recipe.write_text(TINY, encoding="utf-8")
    command = [_command(), "run", str(recipe), "--out", str(out)]
    first = run_command(command, log)
    results = (out / "results.json").read_bytes()
    again = tuple(run_command(command, log) for _ in range(scale.short_repeats))
    if (out / "results.json").read_bytes() != results:
        raise BenchmarkError("running the finished recipe again changed its results.json")
    parts = ", ".join(f"{name} {spent:g} s" for name, spent in json.loads(results)["run"]["seconds"].items())
    return [
        Row(
            f"`edgeproof run {recipe.name}` from nothing to its report",
            (),
            (first,),
            f"≤ {FIRST_IMPORTS:g} × `import tensorflow` on 2 cores",
            None if scale.quick else first <= FIRST_IMPORTS * importing,
            f"{first / importing:.0f} × `import tensorflow`; of which {parts}",
        ),
        Row(
            "The same again, nothing changed",
            (),
            again,
            f"≤ {AGAIN_SECONDS:g} s",
            None if scale.quick else statistics.median(again) <= AGAIN_SECONDS,
            "results.json is the same, byte for byte",
        ),
    ]


def _command() -> str:
    """Return the installed command of this environment."""
    return str(Path(sysconfig.get_path("scripts")) / "edgeproof")
