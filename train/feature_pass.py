"""The pass of all images through the frozen backbone: once, on all cores, in parallel with Keras.

It runs in its own thread: LiteRT computes outside Python's lock, while Keras builds layers and traces functions
inside it. Features of another seed's run, and complete blocks of a killed run, are not computed again.
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
from ..core.dataset import Rows
from ..core.progress import Listener
from ..core.recipe_training import Augment
from .augment import Augmenter
from .feature_file import read_complete
from .features import FEW_IMAGES, Engine, compute

ENGINE = "engine.json"
FeaturesByJob = dict[tuple[str, int], NDArray[Any]]  # by split and view


class _StoppedError(Exception):
    """The pass was asked to stop."""


@dataclass
class FeaturePass:
    """Features of `images` (by split, (N, h, w, 3) uint8): one set for each view of training, one of validation.

    Features of images without augmentation lie in `shared` if that is a folder, all others in `scratch`.
    """

    images: Mapping[str, Rows]
    scratch: Path
    shared: Path | None
    augment: Augment
    seed: int
    listener: Listener
    engine: str = ""
    extract: Engine | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _running: Future[FeaturesByJob] | None = None
    _done: int = 0

    @property
    def _jobs(self) -> list[tuple[str, int]]:
        views = self.augment.views if self.augment.active else 1
        return [*(("train", view) for view in range(views)), ("validation", 0)]

    @property
    def few(self) -> bool:
        """Whether there are too few images for a faster engine than Keras to pay off."""
        return sum(len(self.images[split]) for split, _ in self._jobs) <= FEW_IMAGES

    def _path(self, split: str, view: int) -> Path:
        folder = self.shared if self.shared is not None and not view else self.scratch
        return folder / f"features-{split}-{view}.npy"

    def left_by_another(self, width: int) -> FeaturesByJob | None:
        """Return all features, `width` wide, if the run of another seed has stored them; otherwise None."""
        note = self.shared / ENGINE if self.shared is not None else None
        if note is None or not note.is_file() or len(self._jobs) > 2:
            return None
        files = {job: read_complete(self._path(*job), len(self.images[job[0]]), width) for job in self._jobs}
        complete = {job: features for job, features in files.items() if features is not None}
        if len(complete) < len(files):
            return None
        self.engine = str(read_json(note)["engine"])
        self._tell(sum(map(len, complete.values())))
        return complete

    def start(self, extract: Engine) -> None:
        """Start computing with `extract`; nothing else may use it meanwhile."""
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
        """Stop, and delete the computed features because they are wrong."""
        self.stop()
        for job in self._jobs:
            self._path(*job).unlink(missing_ok=True)

    def result(self) -> FeaturesByJob:
        """Wait for all features and return them. Raises what computing them raised."""
        if self._running is None:
            raise RuntimeError("nothing was started")
        features = self._running.result()
        if self.shared is not None:  # other seeds may use only features that have been checked by now
            write_json(self.shared / ENGINE, {"engine": self.engine})
        return features

    def _run(self, extract: Engine) -> FeaturesByJob:
        try:
            return self._computed(extract)
        finally:
            extract.close()

    def _computed(self, extract: Engine) -> FeaturesByJob:
        features: FeaturesByJob = {}
        for split, view in self._jobs:
            images = self.images[split]
            height, width = images.shape[1:3]
            seed = (self.seed, 1, view)
            changed = Augmenter(self.augment, count=len(images), height=height, width=width, seed=seed)
            features[split, view] = compute(
                extract,
                images,
                self._path(split, view),
                augmenter=changed if view else None,  # the first view is the image itself
                progress=self._tell,
            )
        return features

    def _tell(self, more: int) -> None:
        if self._stop.is_set():
            raise _StoppedError
        self._done += more
        total = sum(len(self.images[split]) for split, _ in self._jobs)
        self.listener.progress("features", self._done, total, note=self.engine)
