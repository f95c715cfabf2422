"""Whether a source can be trained on, told before a recipe of it is written: what `edgeproof init` asks.

Everything is looked at that a run would look at before it decodes, and then a few samples are decoded. Single samples
that cannot be read are the run's matter, which names each; a folder in which none can be read is told here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.recipe import Data
from ..core.sanitize import shorten
from .decode import decode, pillow_our_way
from .decode_text import check_encoding, decode_text
from .listing import Listing, Payload, SampleKind, UnreadableError, count
from .sources import check_source, kind_of, open_source
from .splits import assign

# How many samples are decoded, spread over the whole source; how many of them a message names.
LOOKED_AT = 16
NAMED = 3
# Read by TensorFlow, and perhaps downloaded: only their names are looked at.
LOADED_LATER = ("keras", "tfds")
_REMEDIES = {
    "image": "name files that are there, and are PNG, JPEG, BMP, GIF or WebP; a folder of texts, with a sub-folder a "
    "class, is textfolder:PATH",
    "text": "name files that are there, in the encoding that --encoding says; a folder of pictures, with a sub-folder "
    "a class, is folder:PATH",
}


def check_trainable(data: Data, *, seed: int, folder: Path) -> None:
    """Raise InputError where a recipe with this source could not be trained; relative paths are meant from `folder`.

    The samples have two classes or more, each with enough of them to be split, and of the samples looked at one at
    least can be read.
    """
    check_source(data, folder)
    if data.source.partition(":")[0] in LOADED_LATER:
        return
    kind = kind_of(data, folder)
    if kind == "text":
        check_encoding(data.encoding)
    listing = open_source(data.source, data, folder, kind).listing()
    assign(listing, data, seed=seed)
    _check_readable(listing, _reader(kind, data))


def _reader(kind: SampleKind, data: Data) -> Callable[[Payload], object]:
    if kind == "text":
        return lambda payload: decode_text(payload, encoding=data.encoding, max_characters=data.max_characters)
    return lambda payload: decode(payload, size=1, resize="stretch", max_pixels=data.max_pixels)


def _check_readable(listing: Listing, read: Callable[[Payload], object]) -> None:
    """Raise InputError unless one of the samples, drawn at even distances, can be read."""
    places = np.unique(np.linspace(0, len(listing) - 1, LOOKED_AT).astype(np.int64))
    reasons = []
    with pillow_our_way():
        for place, payload in zip(places.tolist(), listing.stream(places), strict=True):
            try:
                read(payload)
                return
            except UnreadableError as error:
                reasons.append(f"{shorten(listing.names[place], 200)}: {error}")
    raise InputError(
        f"none of the {count(len(reasons), listing.kind)} of {shorten(listing.source, 200)} that were looked at can be "
        "read" + "".join(f"\n  - {reason}" for reason in reasons[:NAMED]),
        _REMEDIES[listing.kind],
    )
