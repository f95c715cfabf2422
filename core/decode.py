"""Decodes one image, from a file, encoded bytes or pixels, to the input's size, with its properties for the check.

Files are untrusted: only the listed formats are opened, the size is checked in the header before anything is decoded,
and whatever Pillow raises on a broken file becomes the reason in an UnreadableError.
"""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from .picture_size import MODES, Size, sides
from .sample_files import Payload, Pixels, SampleFile, UnreadableError, read_error_reason, read_sample

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
# Background for transparent images. Cut-out pictures are mostly made for white pages; without a background, the
# arbitrary colours of the transparent parts would show.
BACKGROUND = (255, 255, 255, 255)


class Decoded(NamedTuple):
    """A decoded image, and how it was stored.

    `pixels` are (height, width, channels) uint8; `digest` is the SHA-256 of the pixels in the input's colours, and of
    the shape, before resizing.
    `stored` are the bytes of a file that was read, and their SHA-256; None for a sample that was in memory.
    """

    pixels: Pixels
    digest: bytes
    width: int
    height: int
    mode: str
    format: str
    rotated: bool
    animated: bool
    stored: tuple[int, bytes] | None = None


class _Users:
    """The blocks that are within `pillow_settings` now, and what restores the settings after the last of them."""

    def __init__(self) -> None:
        self.count, self.lock, self.previous = 0, threading.Lock(), ExitStack()


_users = _Users()


@contextmanager
def pillow_settings() -> Iterator[None]:
    """Switch off Pillow's pixel limit and its warnings for a block; both are settings of the whole process.

    `decode` checks the header against the recipe's limit itself, and defects of a file go into the report. Blocks of
    several threads may overlap: the last one to end restores the settings.
    """
    with _users.lock:
        if not _users.count:
            _users.previous.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None
            _users.previous.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\b")
        _users.count += 1
    try:
        yield
    finally:
        with _users.lock:
            _users.count -= 1
            if not _users.count:
                _users.previous.close()


def decode(payload: Payload, *, size: Size, resize: str, max_pixels: int) -> Decoded:
    """Return an image in the colours of `size`, rotated according to its EXIF orientation and resized to it.

    For RGB grey is repeated; for grey colours become their ITU-R 601 luma (Pillow's mode L) before they are resized.
    16-bit grey is scaled to 8 bits, CMYK is converted without colour management, transparent images are composed on
    white unless the model takes RGBA, and animations give their first frame. Raises UnreadableError.
    """
    image, facts = _read(payload, max_pixels, size)
    mode = MODES[sides(size)[2]]
    digest = hashlib.sha256(f"{image.width}x{image.height}\0".encode())
    digest.update((image if image.mode == mode else image.convert(mode)).tobytes())
    return Decoded(_input(image, size, resize), digest.digest(), image.width, image.height, *facts)


def decode_again(payload: bytes | Pixels, *, size: Size, resize: str) -> Pixels:
    """Return the pixels of `decode` for an encoded image, or one in pixels, that it has decoded before.

    Raises UnreadableError.
    """
    return _input(_read(payload, None, size)[0], size, resize)


def _input(image: Image.Image, size: Size, resize: str) -> Pixels:
    channels = sides(size)[2]
    # Grey that becomes RGB is the same resized first, in a third of the time; luma and alpha are not.
    shown = image if channels == 3 else image.convert(MODES[channels])
    pixels: Pixels = np.asarray(fit(shown, size, resize).convert(MODES[channels]))
    return pixels if channels > 1 else pixels[..., None]


class _Facts(NamedTuple):
    """The last fields of `Decoded`."""

    mode: str
    format: str
    rotated: bool = False
    animated: bool = False
    stored: tuple[int, bytes] | None = None


def _read(payload: Payload, max_pixels: int | None, size: Size) -> tuple[Image.Image, _Facts]:
    """Return an upright image of mode L or RGB (or RGBA, for such a size), and how it was stored.

    Raises UnreadableError.
    """
    if isinstance(payload, UnreadableError):
        raise payload
    if isinstance(payload, str):
        raise UnreadableError("a text, not an image")
    if isinstance(payload, np.ndarray):
        image = Image.fromarray(payload)
        return image, _Facts(image.mode, "pixels")
    try:
        content = _bytes(payload)
        stored = (len(content), hashlib.sha256(content).digest()) if isinstance(payload, SampleFile) else None
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            mode, kind = opened.mode, opened.format or "?"
            if max_pixels is not None and opened.width * opened.height > max_pixels:
                raise UnreadableError(
                    f"{opened.width} × {opened.height} pixels, more than data.max_pixels = {max_pixels}"
                )
            opened.load()
            orientation = _orientation(opened)
            image = _plain(opened, alpha=sides(size)[2] == 4)
            animated = _animated(opened)
    except UnreadableError:
        raise
    except Exception as error:
        # Pillow's readers raise nearly anything on a broken file: OSError, SyntaxError, struct.error, ….
        raise UnreadableError(_reason(error)) from error
    rotated = orientation in _TRANSPOSE
    if rotated:
        image = image.transpose(_TRANSPOSE[orientation])
    return image, _Facts(mode, kind, rotated, animated, stored)


def fit(
    image: Image.Image,
    size: Size,
    resize: str,
    *,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
    border: int = 0,
) -> Image.Image:
    """Resize an image to the pixels of `size` as core.model.InputContract defines; bilinear, antialiased.

    ``stretch`` scales both sides, ``crop`` takes the largest part in the middle that has the input's proportions,
    ``pad`` adds black borders (transparent ones to RGBA). Label pictures take another `resample`, and their own
    `border`.
    """
    high, wide, _ = sides(size)
    width, height = image.size
    wider = width * high - height * wide  # than the input, if positive
    if resize == "crop":
        across, down = (height * wide / high, height) if wider > 0 else (width, width * high / wide)
        left, top = (width - across) / 2, (height - down) / 2
        return image.resize((wide, high), resample, box=(left, top, left + across, top + down))
    if resize == "pad" and wider:
        fitted = (wide, round(height * wide / width)) if wider > 0 else (round(width * high / height), high)
        inner = (max(1, fitted[0]), max(1, fitted[1]))
        canvas = Image.new(image.mode, (wide, high), border)
        canvas.paste(image.resize(inner, resample), ((wide - inner[0]) // 2, (high - inner[1]) // 2))
        return canvas
    return image.resize((wide, high), resample)


def upright_size(content: bytes) -> tuple[int, int]:
    """Return the width and height of an encoded image as `decode` turns it. Only its header is read.

    Raises UnreadableError.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            across = _orientation(opened) in (5, 6, 7, 8)
            return (opened.height, opened.width) if across else (opened.width, opened.height)
    except Exception as error:
        raise UnreadableError(_reason(error)) from error


def _bytes(payload: SampleFile | bytes) -> bytes:
    """Return the encoded image. Raises UnreadableError when it is empty."""
    content = read_sample(payload) if isinstance(payload, SampleFile) else payload
    if not content:
        raise UnreadableError("empty: zero bytes", "empty")
    return content


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1  # a broken EXIF block does not make the picture unreadable


def _animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:
        return False  # later frames may be broken; only the first one is used


def _plain(image: Image.Image, *, alpha: bool = False) -> Image.Image:
    """Return a loaded image as mode L or RGB, detached from its file; with `alpha` a transparent one as RGBA."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image.copy()
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own convert() would clip it to white
        scaled = np.asarray(image).astype(np.int64) * 255 + 32767
        return Image.fromarray(np.clip(scaled // 65535, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        if alpha:
            return layer
        return Image.alpha_composite(Image.new("RGBA", layer.size, BACKGROUND), layer).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not an image in one of the formats {', '.join(FORMATS)}"
    if isinstance(error, FileNotFoundError | PermissionError):
        return read_error_reason(error)
    if isinstance(error, MemoryError):
        return "too large for this machine's memory"
    if isinstance(error, OSError | SyntaxError | EOFError | zlib.error | ValueError) and str(error):
        return " ".join(str(error).split())[:200]
    return f"broken: {type(error).__name__}"
