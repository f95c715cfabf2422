"""The end of a training on arrays of numbers or waveforms: the network is frozen, verified, and put into its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..core.model import InputContract, Model
from ..frameworks.freeze import freeze, graph_sha256, verify
from .answers import Answer
from .keras_fit import State
from .workspace import Work

CHECKED_SAMPLES = 8


def spread(x: NDArray[Any]) -> NDArray[Any]:
    """Return a few samples (8 or fewer), spread over all."""
    return x[:: max(1, len(x) // CHECKED_SAMPLES)][:CHECKED_SAMPLES]


def finish_arrays(
    work: Work, state: State, identity: Any, head: Any, network: Callable[[], Any], *, answer: Answer,
    contract: InputContract, samples: NDArray[Any], facts: dict[str, Any],
) -> Model:  # fmt: skip
    """Freeze `network`, called when the values of `head` are in the targets' units, and return the finished model.

    It must answer `samples` (n, …) float32 as before it was frozen. `contract` is of its input; `facts` are entries of
    the model's provenance. Raises StageError when the answers differ, or the disk refuses.
    """

    def save() -> tuple[Path, float]:
        answer.rescale(head)
        complete = network()
        saved = freeze(
            complete, work.data.labels, contract, work.scratch / "saved_model",
            values=answer.units, output=answer.output,
        )  # fmt: skip
        difference = verify(saved, complete, samples, output=answer.output, size=answer.size)
        return work.place("saved_model"), difference

    saved, difference = work.timed("freeze", save)
    return work.finish(
        state, state.history, identity, {**facts, "freeze_difference": difference},
        answer=answer.output, saved_model=saved, sha256=graph_sha256(saved, work.data.labels), input=contract,
    )  # fmt: skip
