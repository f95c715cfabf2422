"""``python -m tests.fuzz``: the fuzz suite for as long as one likes. Prints a table; exit status 1 for a finding."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .areas import AREAS
from .suite import Tally, run_area


def main() -> int:
    """Go through the areas in turn, a seed after another, until each was tried once and the time is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0, help="how long; default: each area once")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the next one has the next")
    parser.add_argument("--area", choices=sorted(AREAS), action="append", help="only these; may be repeated")
    parser.add_argument("--inputs", type=int, help="of each area and round; default: its share of the suite")
    parser.add_argument("--here", action="store_true", help="run every area in this process, and print JSON")
    asked = parser.parse_args()
    names = asked.area or list(AREAS)
    tallies = {name: Tally() for name in names}
    end = time.monotonic() + 60 * asked.minutes
    for seed, name in ((seed, name) for seed in itertools.count(asked.seed) for name in names):
        if seed > asked.seed and time.monotonic() >= end:
            break
        with tempfile.TemporaryDirectory(prefix="edgeproof-fuzz-") as folder:
            count = asked.inputs or AREAS[name].inputs
            counts = run_area(AREAS[name], count, seed, Path(folder), here=asked.here)
        tallies[name] += counts
        if not asked.here:
            print("\n".join(["", *counts.wrong]), file=sys.stderr)  # noqa: T201
            print(f"seed {seed}: {name}: {tallies[name]}", file=sys.stderr, flush=True)  # noqa: T201
    if asked.here:
        print(json.dumps({name: tally.to_dict() for name, tally in tallies.items()}))  # noqa: T201
        return 0
    print("| area | inputs | exit 0 | 1 | 2 | 3 | answers | longest, s | wrong |")  # noqa: T201
    print("|---|---|---|---|---|---|---|---|---|")  # noqa: T201
    for name, tally in tallies.items():
        print(tally.row(name))  # noqa: T201
    total = sum(tallies.values(), Tally())
    print(total.row("all"))  # noqa: T201
    for what, count in Counter(total.wrong).most_common():
        print(f"{count}× {what}")  # noqa: T201
    return 1 if total.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
