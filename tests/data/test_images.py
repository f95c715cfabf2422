"""One image at a time: every format and mode that is promised, and files that are broken or hostile."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeproof.core.decode import decode, fit, pillow_settings
from edgeproof.core.sample_files import SampleFile, UnreadableError
from edgeproof.data.arrays import NpyWriter

BROKEN_EXIF = b"Exif\0\0MM\0*\xff\xff\xff\xff broken"
RED, BLUE = (200, 30, 40), (20, 40, 210)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def two_colours(mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image.convert(mode)


def read(content: bytes | np.ndarray, size: int = 16, resize: str = "stretch", max_pixels: int = 10**6):
    return decode(content, size=size, resize=resize, max_pixels=max_pixels)


def near(pixel: np.ndarray, colour: tuple[int, ...], within: int = 12) -> bool:
    return bool(np.all(np.abs(pixel.astype(int) - np.array(colour)) <= within))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
def test_every_promised_format(kind: str) -> None:
    image = read(encoded(two_colours(), kind))
    assert image.pixels.shape == (16, 16, 3)
    assert image.pixels.dtype == np.uint8
    assert image.format == kind
    assert (image.width, image.height) == (40, 20)
    assert near(image.pixels[8, 2], RED)
    assert near(image.pixels[8, 13], BLUE)


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "JPEG"), ("1", "PNG"), ("P", "PNG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("LA", "PNG")]
)
def test_every_mode_becomes_rgb_as_pillow_shows_it(mode: str, kind: str) -> None:
    source = two_colours(mode)
    image = read(encoded(source, kind))
    assert image.mode == mode
    expected = np.asarray(source.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(image.pixels.astype(int), expected, atol=30 if kind == "JPEG" else 1)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.tile(np.array([0, 0x4000, 0x8000, 0xFFFF], np.uint16).repeat(4), (16, 1))
    image = read(encoded(Image.fromarray(values), "PNG"))
    assert image.pixels[8, [1, 5, 9, 14], 0].tolist() == [0, 64, 128, 255]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_laid_on_white(kind: str) -> None:
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))  # hidden black
    image.paste((*RED, 255), (10, 0, 20, 20))
    seen = read(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert near(seen.pixels[8, 2], (255, 255, 255))
    assert near(seen.pixels[8, 13], RED)


def test_transparent_palettes_and_colour_keys_too() -> None:
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 0, *RED])
    assert near(read(encoded(palette, "PNG", transparency=0)).pixels[4, 4], (255, 255, 255))
    assert near(read(encoded(palette, "GIF", transparency=0)).pixels[4, 4], (255, 255, 255))
    keyed = Image.new("RGB", (8, 8), BLUE)
    assert near(read(encoded(keyed, "PNG", transparency=BLUE)).pixels[4, 4], (255, 255, 255))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int) -> None:
    upright = two_colours()
    back = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright if back is None else upright.transpose(back)
    image = read(encoded(stored, "PNG", exif=exif))
    assert image.rotated == (orientation != 1)
    assert (image.width, image.height) == (40, 20)
    assert image.digest == read(encoded(upright, "PNG")).digest


def test_a_broken_exif_block_spoils_nothing() -> None:
    with pillow_settings():
        image = read(encoded(two_colours(), "JPEG", exif=BROKEN_EXIF))
    assert not image.rotated
    assert near(image.pixels[8, 2], RED)


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    image = read(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert image.animated
    assert near(image.pixels[8, 8], RED)


def test_the_digest_is_over_pixels_not_over_files() -> None:
    image = two_colours()
    assert read(encoded(image, "PNG")).digest == read(encoded(image, "BMP")).digest == read(np.asarray(image)).digest
    grey = image.convert("L")
    assert read(np.asarray(grey)).digest == read(encoded(grey.convert("RGB"), "PNG")).digest
    # The same bytes in another shape are another image.
    assert read(np.zeros((4, 9), np.uint8)).digest != read(np.zeros((6, 6), np.uint8)).digest


def test_stretch_crop_and_pad() -> None:
    wide = Image.new("RGB", (60, 20), RED)
    wide.paste(BLUE, (20, 0, 40, 20))  # red, blue, red in thirds
    stretched, cropped, padded = (np.asarray(fit(wide, 30, how)) for how in ("stretch", "crop", "pad"))
    assert near(stretched[15, 3], RED)
    assert near(stretched[15, 15], BLUE)
    assert near(cropped[15, 15], BLUE)
    # Cutting the middle out is the same before and after scaling: an app may do either.
    scaled = wide.resize((90, 30), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(cropped, np.asarray(scaled.crop((30, 0, 60, 30))))
    assert near(padded[15, 3], RED)
    assert near(padded[15, 15], BLUE)
    assert np.all(padded[:10] == 0)
    assert np.all(padded[20:] == 0)
    assert padded[10:20].min() > 0


@given(
    width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(16, 48),
    resize=st.sampled_from(["stretch", "crop", "pad"]), grey=st.booleans(),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_any_size_comes_out_at_the_input_size(width: int, height: int, size: int, resize: str, grey: bool) -> None:
    array = np.full((height, width) if grey else (height, width, 3), 90, np.uint8)
    pixels = read(array, size, resize).pixels
    assert pixels.shape == (size, size, 3)
    assert set(np.unique(pixels)) <= ({90} if resize != "pad" else {0, 90})


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is that large, and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(2000, 1000), (60_000, 60_000)])
def test_a_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    with pillow_settings(), pytest.raises(UnreadableError, match=rf"{width} × {height} pixels, more than"):
        read(png_header(width, height))


def test_pillows_own_settings_come_back(recwarn: pytest.WarningsRecorder) -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pillow_settings():
        assert Image.MAX_IMAGE_PIXELS is None
        read(encoded(two_colours(), "JPEG", exif=BROKEN_EXIF))
        assert not recwarn
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "zero bytes"),
        (b"this is no image", "not an image"),
        (encoded(two_colours(), "TIFF"), "not an image in one of the formats"),
        (encoded(two_colours(), "JPEG")[:-200], "(?i)truncated"),
        (encoded(two_colours(size=(300, 300)), "PNG")[:200], "."),
        (png_header(50, 50), "."),
    ],
)
def test_what_cannot_be_read_has_a_reason(content: bytes, why: str) -> None:
    with pytest.raises(UnreadableError, match=why):
        read(content)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files_never_raise_anything_else(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "BMP", "GIF", "WEBP"]))
    content = bytearray(encoded(two_colours(), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        image = read(bytes(content))
    except UnreadableError as error:
        assert str(error)
    else:
        assert image.pixels.shape == (16, 16, 3)


def test_only_regular_files_inside_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    outside = tmp_path / "secret.png"
    outside.write_bytes(encoded(two_colours(), "PNG"))
    (root / "in.png").write_bytes(outside.read_bytes())
    (root / "link-in.png").symlink_to("in.png")
    (root / "link-out.png").symlink_to(outside)
    (root / "broken.png").symlink_to("nowhere.png")
    os.mkfifo(root / "pipe.png")

    def at(name: str) -> SampleFile:
        return SampleFile(str(root / name), str(root.resolve()))

    for name in ("in.png", "link-in.png"):
        assert decode(at(name), size=16, resize="stretch", max_pixels=10**6).format == "PNG"
    for name, why in {
        "link-out.png": "leads out", "broken.png": "does not exist", "pipe.png": "not a regular file",
    }.items():  # fmt: skip
        with pytest.raises(UnreadableError, match=why):
            decode(at(name), size=16, resize="stretch", max_pixels=10**6)


@given(st.lists(st.integers(0, 5), max_size=5), st.sampled_from(["uint8", "int64"]), st.sampled_from([(), (2, 3)]))
@settings(max_examples=40, deadline=None)
def test_npy_files_are_numpys(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], kind: str, item) -> None:
    path = tmp_path_factory.mktemp("npy") / "a.npy"
    rng = np.random.default_rng(1)
    blocks = [rng.integers(0, 200, (n, *item)).astype(kind) for n in sizes]
    with NpyWriter(path, item, kind) as writer:
        for block in blocks:
            writer.append(block)
    expected = np.concatenate([np.empty((0, *item), kind), *blocks])
    loaded = np.load(path)
    assert loaded.dtype == np.dtype(kind)
    np.testing.assert_array_equal(loaded, expected)
    if len(expected):
        np.testing.assert_array_equal(np.load(path, mmap_mode="r"), expected)
    with pytest.raises(ValueError, match="expected"), NpyWriter(path, (7,), kind) as writer:
        writer.append(np.zeros((1, 8), kind))
