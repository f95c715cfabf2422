"""The pass of all images through the frozen backbone: once, on all cores, beside what Keras still has to do.

It runs in a thread of its own: LiteRT computes outside Python's lock, while Keras builds layers and traces functions
inside it. Features that another seed has left, and blocks that a killed run has left, are not computed again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..core.codec import read_json, write_json
from ..core.progress import Listener
from ..core.recipe import Augment
from .augment import Augmenter
from .feature_file import kept
from .features import FEW_IMAGES, Engine, compute

ENGINE = "engine.json"
Found = dict[tuple[str, int], NDArray[Any]]  # by split and view


class _StoppedError(Exception):
    """The pass was told to stop."""


@dataclass
class FeaturePass:
    """Features of `images` (by split, (N, h, w, 3) uint8): of training one set a view, of validation one.

    Those of unchanged images lie in `shared` where there is such a folder, the others in `scratch`.
    """

    images: Mapping[str, NDArray[Any]]
    scratch: Path
    shared: Path | None
    augment: Augment
    seed: int
    listener: Listener
    engine: str = ""
    extract: Engine | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _running: Future[Found] | None = None
    _done: int = 0

    @property
    def _jobs(self) -> list[tuple[str, int]]:
        views = self.augment.views if self.augment.active else 1
        return [*(("train", view) for view in range(views)), ("validation", 0)]

    @property
    def few(self) -> bool:
        """Whether a faster engine than Keras would not be worth making."""
        return sum(len(self.images[split]) for split, _ in self._jobs) <= FEW_IMAGES

    def _path(self, split: str, view: int) -> Path:
        folder = self.shared if self.shared is not None and not view else self.scratch
        return folder / f"features-{split}-{view}.npy"

    def left_by_another(self, width: int) -> Found | None:
        """Return all features if another seed has left them, `width` wide."""
        note = self.shared / ENGINE if self.shared is not None else None
        if note is None or not note.is_file() or len(self._jobs) > 2:
            return None
        found = {job: kept(self._path(*job), len(self.images[job[0]]), width) for job in self._jobs}
        whole = {job: features for job, features in found.items() if features is not None}
        if len(whole) < len(found):
            return None
        self.engine = str(read_json(note)["engine"])
        self._tell(sum(map(len, whole.values())))
        return whole

    def start(self, extract: Engine) -> None:
        """Start computing with `extract`, which nobody else may use meanwhile."""
        self.extract, self.engine, self._done = extract, extract.engine, 0
        self._stop.clear()
        pool = ThreadPoolExecutor(1, "features")
        self._running = pool.submit(self._run, extract)
        pool.shutdown(wait=False)  # the thread ends with its work

    def stop(self) -> None:
        """Stop computing and wait until it has stopped; what was computed stays."""
        if self._running is not None:
            self._stop.set()
            self._running.exception()
            self._running = None

    def discard(self) -> None:
        """Stop, and forget what was computed: it was computed wrongly."""
        self.stop()
        for job in self._jobs:
            self._path(*job).unlink(missing_ok=True)

    def result(self) -> Found:
        """Wait for all features; raises what computing them raised."""
        if self._running is None:
            raise RuntimeError("nothing was started")
        found = self._running.result()
        if self.shared is not None:  # only what has been checked by now may be taken by others
            write_json(self.shared / ENGINE, {"engine": self.engine})
        return found

    def _run(self, extract: Engine) -> Found:
        try:
            return self._computed(extract)
        finally:
            extract.close()

    def _computed(self, extract: Engine) -> Found:
        found: Found = {}
        for split, view in self._jobs:
            images = self.images[split]
            height, width = images.shape[1:3]
            seed = (self.seed, 1, view)
            changed = Augmenter(self.augment, count=len(images), height=height, width=width, seed=seed)
            found[split, view] = compute(
                extract,
                images,
                self._path(split, view),
                augmenter=changed if view else None,  # the first view is the image itself
                progress=self._tell,
            )
        return found

    def _tell(self, more: int) -> None:
        if self._stop.is_set():
            raise _StoppedError
        self._done += more
        total = sum(len(self.images[split]) for split, _ in self._jobs)
        self.listener.progress("features", self._done, total, note=self.engine)
