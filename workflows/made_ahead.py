"""Files made ahead: while files are tried against each other, the TensorFlow process makes the next ones."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from ..core.artifact import Artifact
from ..core.variant import Variant


class MadeAhead:
    """Makes files one after the other, in the order in which they are announced. A context manager."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._files: dict[tuple[str, str], Future[Artifact]] = {}

    def __enter__(self) -> MadeAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not waited for: after an error or an interrupt the job that runs ends with the TensorFlow process.
        self._thread.shutdown(wait=False, cancel_futures=True)

    def announce(self, variant: Variant, maker: str, make: Callable[[], Artifact]) -> None:
        """Have one tool's file of a variant made by ``make()``, unless it was announced before."""
        key = (str(variant), maker)
        if key not in self._files:
            self._files[key] = self._thread.submit(make)

    def take(self, variant: Variant, maker: str) -> Artifact | None:
        """Wait for a file and return it; None if it was not announced. Raises what making it raised."""
        made = self._files.get((str(variant), maker))
        return made.result() if made is not None else None
