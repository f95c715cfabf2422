"""The test samples of a file, with targets of the task that was asked for, else of the one it was trained for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..core.artifact import Artifact
from ..core.errors import InputError
from ..core.progress import Listener
from ..core.recipe_data import Data
from ..tasks import TARGETED
from ..tasks.multilabel import Multilabel
from ..tasks.regression import Regression
from .array_files import with_arrays
from .input_spec import InputSpec
from .model_files import answer_shape
from .samples import Samples

# Targets of these may look like classes: whole numbers, and tables where each row has one tag.
_LIKE_CLASSES = (Multilabel.name, Regression.name)
# Sources without right answers, which no task is asked of.
_BARE = ("images", "npy")


def judged_source(
    source: Data | Samples, spec: InputSpec, artifact: Artifact, listener: Listener, *, task: str, trained: str
) -> Data | Samples:
    """Return the samples of `source` for `artifact`, which takes `spec`, as `with_arrays` with the `task` asked for.

    Without one, targets that may be of the task `trained`, which the file was trained for, are. Others are read as what
    they show, and a note says why. Raises InputError as `with_arrays`.
    """

    def read(name: str) -> Data | Samples:
        return with_arrays(source, spec, Path(), use="test", targets=True, listener=listener, task=name)

    if task or trained not in _LIKE_CLASSES:
        return read(task)
    try:
        return _fitting(read(trained), trained, artifact)
    except InputError as error:
        refused = error
    try:
        given = read("")
    except InputError:
        raise refused from None
    bare = isinstance(given, Data) and given.source.partition(":")[0] in _BARE
    if not bare and not (isinstance(given, Samples) and given.classes is None):
        listener.note(
            "warning",
            f"{artifact.id} was trained for {trained}, and the data are read as classes: {refused.message}",
            remedy=refused.remedy,
        )
    return given


def _fitting(given: Data | Samples, trained: str, artifact: Artifact) -> Data | Samples:
    """Return samples whose targets are of the file's task. Raises InputError for others."""
    if isinstance(given, Data) or (given.classes is None and given.targets is None):
        return given
    shape = answer_shape(artifact)[1:]
    if given.numbered and given.classes is not None:  # of arrays in memory, read before the file was known
        numbers = given.classes[:, None]
        TARGETED[trained].check(numbers, shape)
        return replace(given, classes=None, targets=numbers, task=trained)
    if given.targets is None:
        raise InputError("they are names of classes", "give numbers, or tags of the file")
    if given.task == trained and not given.by_name:
        TARGETED[trained].check(given.targets, shape)
    return given
