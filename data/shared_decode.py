"""Decodes a batch of images here, or has a helper do it: the bytes of the files travel, never their paths."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.decode import Decoded, decode, pillow_settings
from ..core.helpers import Helpers, packed, unpacked
from ..core.picture_size import Size, sides
from ..core.sample_files import Payload, SampleFile, UnreadableError, read_sample

PACKAGES = ("pillow",)
Results = list[Decoded | UnreadableError]


def decode_all(payloads: Sequence[Payload], *, size: Size, resize: str, max_pixels: int) -> Results:
    """Return each image, or why there is none."""
    results: Results = []
    for payload in payloads:
        try:
            results.append(decode(payload, size=size, resize=resize, max_pixels=max_pixels))
        except UnreadableError as error:
            results.append(error)
    return results


def decode_there(
    helpers: Helpers, payloads: Sequence[Payload], *, size: Size, resize: str, max_pixels: int
) -> Results | None:
    """As `decode_all`, by a helper; None where it must be done here: also for what is not a readable encoded image."""
    contents, stored = [], []
    for payload in payloads:
        try:
            content = read_sample(payload) if isinstance(payload, SampleFile) else payload
        except (UnreadableError, OSError):
            return None
        if not isinstance(content, bytes):
            return None
        contents.append(content)
        is_file = isinstance(payload, SampleFile)
        stored.append((len(content), hashlib.sha256(content).digest()) if is_file else None)
    blob, lengths = packed(contents)
    job = {"size": size, "resize": resize, "max_pixels": max_pixels, "lengths": lengths}
    found = helpers.call(decode_task, job, [blob], PACKAGES)
    if found is None or len(found) != len(payloads):
        return None
    results: Results = []
    for payload, (pixels, facts), file in zip(payloads, found, stored, strict=True):
        if pixels is None:  # what the report says of a file is found on this machine
            results += decode_all([payload], size=size, resize=resize, max_pixels=max_pixels)
            continue
        if pixels.shape != sides(size) or pixels.dtype != np.uint8:
            return None
        results.append(Decoded._make((pixels, *facts, file)))
    return results


def decode_task(job: dict[str, Any], blob: bytes) -> list[tuple[Any, Any]]:
    """What a helper does: of each image return its pixels and facts; None of one that cannot be read there."""
    contents = unpacked(blob, job["lengths"])
    with pillow_settings():
        results = decode_all(contents, size=job["size"], resize=job["resize"], max_pixels=job["max_pixels"])
    return [
        (None, None)
        if isinstance(result, UnreadableError)
        else (np.ascontiguousarray(result.pixels), tuple(result[1:-1]))
        for result in results
    ]
