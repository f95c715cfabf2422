"""Pictures in arrays that a recipe trains on: checked, and resized as the model's contract says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.decode import decode_again, fit
from ..core.errors import InputError
from ..core.sanitize import shorten
from ..tasks.segmentation import VOID


@dataclass(frozen=True)
class Pictures:
    """Square RGB pictures of `side` pixels, made by `resize` (``stretch``, ``crop`` or ``pad``)."""

    side: int
    resize: str

    def checked(self, x: NDArray[Any], source: str) -> NDArray[np.uint8]:
        """Return pictures (N, height, width) or (N, height, width, 3) uint8. Raises InputError for what are none."""
        if x.ndim == 4 and x.shape[3] == 1:
            x = x[..., 0]
        if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] != 3):
            raise InputError(
                f"{shorten(source, 200)}: the samples have the shape {x.shape}, and the model takes pictures",
                "give pictures (samples, height, width, 3) or in grey (samples, height, width)",
            )
        if x.dtype.kind not in "bui" or x.min() < 0 or x.max() > 255:
            raise InputError(
                f"{shorten(source, 200)}: pictures are whole numbers from 0 to 255, and these are {x.dtype} from "
                f"{x.min():g} to {x.max():g}",
                "e.g. (x * 255).round().astype('uint8') for values from 0 to 1",
            )
        return x.astype(np.uint8)

    def resized(self, x: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return pictures (N, side, side, 3)."""
        made = np.empty((len(x), self.side, self.side, 3), np.uint8)
        for index, one in enumerate(x):
            made[index] = decode_again(one, size=self.side, resize=self.resize)
        return made

    def targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return targets; maps of classes (N, height, width) get the pictures' geometry, by nearest neighbour."""
        if y.ndim != 3:
            return y
        made = np.empty((len(y), self.side, self.side), np.uint8)
        for index, one in enumerate(y.astype(np.uint8)):
            image = Image.fromarray(one)
            made[index] = np.asarray(fit(image, self.side, self.resize, resample=Image.Resampling.NEAREST, border=VOID))
        return made
