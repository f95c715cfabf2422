"""What the user states about a model that somebody else made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

from ...core.pixels import Channels
from .tensors import Tensor, fixed_shapes


@dataclass(frozen=True)
class ImportOptions:
    """Settings for an external model; each is needed only where the file leaves it open.

    `trust` permits code in the file; `custom_objects` are modules (or ``.py`` files) with the file's own classes: they
    are imported, and trusting them is trusting the file. `tags` and `signature` choose the graph and the function of a
    SavedModel, `output` the output that is evaluated. `labels` are the classes in the order of that output; a name may
    occur twice. `value_range` is the range that pixels of 0–255 are mapped to, `channels` what is said of their
    channels. `size` fixes an open height and width in pixels, `shapes` the shape of inputs by name (``""``: the only
    one).
    """

    trust: bool = False
    output: str = ""
    tags: str = ""
    signature: str = ""
    labels: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None
    size: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    custom_objects: tuple[str, ...] = ()
    channels: Channels = field(default_factory=Channels)

    @model_serializer(mode="wrap")
    def _without_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What came later is left out where it is not set, so that the hashes of older imports stay."""
        return {key: value for key, value in dump(self).items() if key != "channels" or self.channels != Channels()}

    @property
    def trusted(self) -> bool:
        """Whether code may run: in the file, or in modules that the user names."""
        return self.trust or bool(self.custom_objects)

    def fix(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        """Return the inputs' fixed shapes. Raises InputError."""
        return fixed_shapes(inputs, size=self.size, shapes=self.shapes)
