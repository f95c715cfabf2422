"""The classes inside a ``.tflite``: a label file named by its TFLite metadata."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

# Label files of large models have a few hundred kilobytes; an archive may claim any size.
_MOST_BYTES = 4 * 2**20


def embedded_labels(path: Path, names: Sequence[str], count: int | None) -> tuple[str, ...]:
    """Return the lines of the first of the label files `names` in `path` that has `count` lines; else nothing.

    `names` are the axis labels of the metadata (`inspect.Contents.metadata`). A file that is damaged, or has another
    number of lines, is ignored.
    """
    if not names or count is None:
        return ()
    try:
        with zipfile.ZipFile(path) as archive:
            for name in names:
                with archive.open(name) as stream:
                    content = stream.read(_MOST_BYTES + 1)
                lines = tuple(line.strip() for line in content.decode("utf-8").splitlines())
                while lines and not lines[-1]:
                    lines = lines[:-1]
                if len(content) <= _MOST_BYTES and len(lines) == count and "" not in lines:
                    return lines
    except (OSError, KeyError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, EOFError):
        return ()
    return ()
