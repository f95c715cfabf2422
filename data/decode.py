"""One image: from a file, encoded bytes or pixels to RGB of the input size, with what a check needs to know of it.

Files are hostile: formats are limited to those promised, the size is judged from the header before anything is
decoded, and whatever Pillow raises on a broken file becomes a reason.
"""

from __future__ import annotations

import hashlib
import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from .listing import Payload, Pixels, SampleFile, UnreadableError
from .reading import read_sample, why_not_read

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
ORIENTATION = 0x0112  # EXIF 2.3, table 4
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What transparency is laid on. Cut-out pictures of things are mostly made for white pages; without it the colours
# that happen to be hidden under the transparent parts would come out.
BACKGROUND = (255, 255, 255, 255)


class Decoded(NamedTuple):
    """`pixels` (size, size, 3) uint8 RGB; `digest`, of the RGB pixels and shape before resizing; how it was stored."""

    pixels: Pixels
    digest: bytes
    width: int
    height: int
    mode: str
    format: str
    rotated: bool
    animated: bool


@contextmanager
def pillow_our_way() -> Iterator[None]:
    """For a block, switch off Pillow's own limit on pixels and its warnings; both are settings of the process.

    `decode` holds the header against the recipe's limit itself, and what is wrong with a file goes into the report.
    """
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\b")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def decode(payload: Payload, *, size: int, resize: str, max_pixels: int) -> Decoded:
    """Return an image as RGB, rotated as its EXIF says, brought to `size` × `size`.

    Grey is repeated, 16-bit grey is scaled down to 8, CMYK is converted without colour management, transparency is
    laid on white, of an animation the first frame is taken. Raises UnreadableError.
    """
    rotated = animated = False
    if isinstance(payload, UnreadableError):
        raise payload
    if isinstance(payload, str):
        raise UnreadableError("a text, not an image")
    if isinstance(payload, np.ndarray):
        image = Image.fromarray(payload)
        mode, kind = image.mode, "pixels"
    else:
        try:
            with Image.open(_bytes(payload), formats=FORMATS) as opened:
                mode, kind = opened.mode, opened.format or "?"
                if opened.width * opened.height > max_pixels:
                    raise UnreadableError(
                        f"{opened.width} × {opened.height} pixels, more than data.max_pixels = {max_pixels}"
                    )
                opened.load()
                orientation = _orientation(opened)
                image = _plain(opened)
                animated = _animated(opened)
        except UnreadableError:
            raise
        except Exception as error:
            # Pillow's readers raise nearly anything on a broken file: OSError, SyntaxError, struct.error, ….
            raise UnreadableError(_reason(error)) from error
        if orientation in _TRANSPOSE:
            rotated = True
            image = image.transpose(_TRANSPOSE[orientation])
    whole = image if image.mode == "RGB" else image.convert("RGB")
    digest = hashlib.sha256(f"{image.width}x{image.height}\0".encode())
    digest.update(whole.tobytes())
    pixels = np.asarray(fit(image, size, resize).convert("RGB"))
    return Decoded(pixels, digest.digest(), image.width, image.height, mode, kind, rotated, animated)


def fit(image: Image.Image, size: int, resize: str) -> Image.Image:
    """Bring an image to `size` × `size` as core.model.InputContract says; bilinear, antialiased.

    ``stretch`` scales both sides, ``crop`` takes the middle square, ``pad`` puts the whole image on black.
    """
    bilinear = Image.Resampling.BILINEAR
    width, height = image.size
    if resize == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return image.resize((size, size), bilinear, box=(left, top, left + side, top + side))
    if resize == "pad" and width != height:
        side = max(width, height)
        inner = (max(1, round(width * size / side)), max(1, round(height * size / side)))
        canvas = Image.new(image.mode, (size, size))
        canvas.paste(image.resize(inner, bilinear), ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return canvas
    return image.resize((size, size), bilinear)


def _bytes(payload: SampleFile | bytes) -> io.BytesIO:
    """Return what the file holds, or the bytes themselves; never nothing."""
    content = read_sample(payload) if isinstance(payload, SampleFile) else payload
    if not content:
        raise UnreadableError("empty: zero bytes", "empty")
    return io.BytesIO(content)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1  # a broken EXIF block does not make the picture unreadable


def _animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:
        return False  # what comes after the first frame may be broken; the first one is what counts


def _plain(image: Image.Image) -> Image.Image:
    """Return a loaded image as mode L or RGB, detached from its file."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image.copy()
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own convert() would clip it to white
        scaled = np.asarray(image).astype(np.int64) * 255 + 32767
        return Image.fromarray(np.clip(scaled // 65535, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, BACKGROUND), layer).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not an image in one of the formats {', '.join(FORMATS)}"
    if isinstance(error, FileNotFoundError | PermissionError):
        return why_not_read(error)
    if isinstance(error, MemoryError):
        return "too large for this machine's memory"
    if isinstance(error, OSError | SyntaxError | EOFError | zlib.error | ValueError) and str(error):
        return " ".join(str(error).split())[:200]
    return f"broken: {type(error).__name__}"
