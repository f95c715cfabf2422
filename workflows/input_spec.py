"""What samples a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.dataset import Kind
from ..core.model import InputContract

if TYPE_CHECKING:
    from ..train.external import Input


@dataclass(frozen=True)
class InputSpec:
    """A model's samples: texts, images of `size` (see `picture_size.Size`) resized by `resize`, or arrays of `inputs`.

    `columns` are the names of those of the table that it was trained on, in its order; empty: not known.
    `answer` is the shape of its judged answer to one sample, for targets that must fit it; empty: not known or needed.
    """

    kind: Kind
    size: int | tuple[int, int, int] = 0
    resize: str = ""
    inputs: tuple[Input, ...] = ()
    answer: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, contract: InputContract, inputs: Sequence[Input] = ()) -> InputSpec:
        """Return the spec of an input contract; `inputs` are all inputs of a model that takes arrays."""
        if contract.kind == "image":
            return cls("image", contract.size, contract.resize)
        if contract.kind == "tensor":
            return cls("tensor", inputs=tuple(inputs), columns=contract.columns)
        return cls(contract.kind)
