"""An area of what is fuzzed, and its inputs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeproof.cli.main import status

OUT = "out"

Inputs = Iterator[tuple[str, ...]]


@dataclass(frozen=True)
class Area:
    """`make` fills a folder with inputs without end, each time yielding the command line that reads one.

    `inputs` are how many of each 2,000 are of this area. `isolated`: the reader is a C library that may crash, so
    that this area has a process of its own. `entry` takes the command line and returns the status. `starts`: each
    input is opened in processes that the command starts.
    """

    name: str
    inputs: int
    make: Callable[[Path, random.Random], Inputs]
    isolated: bool = False
    entry: Callable[[list[str]], int] = status
    starts: bool = False


def write_inputs(box: Path, **files: bytes | str) -> None:
    for name, content in files.items():
        path = box / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
