"""Checks whether a source can be trained on, before `edgeproof init` writes a recipe for it.

It does every check that a run does before decoding, and then decodes a few samples. A source is refused when none of
them is readable; single unreadable samples are left to the run, which names each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..core.decode import decode, pillow_settings
from ..core.errors import InputError
from ..core.recipe_data import Data
from ..core.sample_files import Payload, UnreadableError
from ..core.sanitize import shorten
from .decode_text import check_encoding, decode_text
from .listing import Listing, SampleKind, count
from .preparing import trained_texts
from .sources import check_source, kind_of, open_source
from .splits import assign

# Samples that are decoded, spread over the whole source, and samples that a message names.
PROBED_SAMPLES = 16
NAMED = 3
# Loaded by TensorFlow, and perhaps downloaded: only their names are checked.
CATALOGUES = ("keras", "tfds")
_REMEDIES = {
    "image": "name existing files in the formats PNG, JPEG, BMP, GIF or WebP; a folder of texts, with one sub-folder "
    "per class, is textfolder:PATH",
    "text": "name existing files in the encoding given by --encoding; a folder of images, with one sub-folder per "
    "class, is folder:PATH",
}


def check_trainable(data: Data, *, seed: int, folder: Path) -> None:
    """Raise InputError when a recipe with this source could not be trained. Relative paths start from `folder`.

    The source must have two classes or more, enough samples of each to split, and at least one readable sample among
    those that are tried.
    """
    check_source(data, folder)
    if data.source.partition(":")[0] in CATALOGUES:
        return
    kind = kind_of(data, folder)
    if kind == "text":
        check_encoding(data.encoding)
    listing = (
        trained_texts(data, "", folder) if kind == "text" else open_source(data.source, data, folder, kind).listing()
    )
    assign(listing, data, seed=seed)
    _check_readable(listing, _reader(kind, data))


def _reader(kind: SampleKind, data: Data) -> Callable[[Payload], object]:
    if kind == "text":
        return lambda payload: decode_text(payload, encoding=data.encoding, max_characters=data.max_characters)
    return lambda payload: decode(payload, size=1, resize="stretch", max_pixels=data.max_pixels)


def _check_readable(listing: Listing, read: Callable[[Payload], object]) -> None:
    """Raise InputError unless at least one of some evenly spaced samples can be read."""
    indices = np.unique(np.linspace(0, len(listing) - 1, PROBED_SAMPLES).astype(np.int64))
    reasons = []
    with pillow_settings():
        for index, payload in zip(indices.tolist(), listing.stream(indices), strict=True):
            try:
                read(payload)
                return
            except UnreadableError as error:
                reasons.append(f"{shorten(listing.names[index], 200)}: {error}")
    raise InputError(
        f"none of the {count(len(reasons), listing.kind)} of {shorten(listing.source, 200)} that were tried can be "
        "read" + "".join(f"\n  - {reason}" for reason in reasons[:NAMED]),
        _REMEDIES[listing.kind],
    )
