"""Hostile and honest images through the one decoder that drops and inference share."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cv_quality.drops.images import ImageInfo, decode_image, inspect_image
from cv_quality.errors import FrameError

GREY = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4) * 10
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


def encoded(pixels: NDArray[np.generic], *, format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=format)
    return buffer.getvalue()


def png_claiming(*, width_px: int, height_px: int) -> bytes:
    """A few hundred bytes that claim to be a picture of any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def outcome(check: Callable[..., object], data: bytes, *, max_pixels: int = 10_000) -> str:
    """ "used", or the reason of the typed error; any other exception fails the test."""
    try:
        check(data, max_pixels=max_pixels)
    except FrameError as error:
        return error.reason
    return "used"


@pytest.mark.parametrize("format", ["PNG", "PPM", "BMP", "GIF"])
def test_lossless_grey_pixels_come_back_unchanged(format: str) -> None:
    decoded = decode_image(encoded(GREY, format=format))
    grey = decoded if decoded.ndim == 2 else decoded[..., 0]
    np.testing.assert_array_equal(grey, GREY)


@pytest.mark.parametrize("format", ["PNG", "PPM", "BMP"])
def test_lossless_colour_pixels_come_back_unchanged(format: str) -> None:
    np.testing.assert_array_equal(decode_image(encoded(COLOUR, format=format)), COLOUR)


def test_jpeg_decodes_to_three_channels() -> None:
    assert decode_image(encoded(COLOUR, format="JPEG")).shape == (6, 4, 3)


def test_inspection_reads_format_and_size() -> None:
    assert inspect_image(encoded(GREY, format="PNG")) == ImageInfo(format="PNG", width_px=4, height_px=6)
    assert inspect_image(encoded(GREY, format="PPM")) == ImageInfo(format="PPM", width_px=4, height_px=6)


@pytest.mark.parametrize("check", [decode_image, inspect_image])
@pytest.mark.parametrize(
    "bomb",
    [
        png_claiming(width_px=200_000, height_px=200_000),
        b"P5 200000 200000 255\n" + bytes(10),
        b"GIF89a"
        + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, 9, 9, 0)
        + b"\x08\0;",
        b"GIF89a"
        + struct.pack("<HHBBB", 9, 9, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0)
        + b"\x08\0;",
    ],
    ids=["png", "pgm", "gif-canvas", "gif-frame"],
)
def test_a_bomb_is_refused_before_decoding(check: Callable[..., object], bomb: bytes) -> None:
    assert outcome(check, bomb) == "image_bomb"


def test_the_limit_itself_is_allowed_and_one_pixel_more_is_not() -> None:
    data = encoded(GREY, format="PNG")
    assert decode_image(data, max_pixels=24).shape == (6, 4)
    assert outcome(decode_image, data, max_pixels=23) == "image_bomb"


def test_the_limit_does_not_depend_on_pillows_global_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    assert decode_image(encoded(GREY, format="PNG")).shape == (6, 4)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "PPM", "GIF", "BMP"])
def test_every_truncation_is_a_typed_error_or_a_whole_picture(format: str) -> None:
    data = encoded(COLOUR, format=format)
    for length in range(len(data)):
        assert outcome(decode_image, data[:length]) in {"used", "corrupt_image", "unsupported_format"}


@pytest.mark.parametrize("format", ["PNG", "PPM", "BMP"])
def test_a_picture_cut_in_half_is_corrupt(format: str) -> None:
    data = encoded(np.tile(COLOUR, (20, 20, 1)), format=format)
    assert outcome(decode_image, data[: len(data) // 2]) == "corrupt_image"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "PPM", "GIF", "BMP"])
def test_flipped_bytes_never_escape_the_typed_error(format: str) -> None:
    data = encoded(COLOUR, format=format)
    generator = np.random.default_rng(7)
    for _ in range(150):
        broken = bytearray(data)
        broken[int(generator.integers(len(data)))] = int(generator.integers(256))
        for check in (decode_image, inspect_image):
            assert outcome(check, bytes(broken)) in {"used", "corrupt_image", "unsupported_format", "image_bomb"}


def test_a_damaged_png_chunk_is_found_without_decoding() -> None:
    data = bytearray(encoded(GREY, format="PNG"))
    data[data.index(b"IDAT") + 6] ^= 0xFF
    assert outcome(inspect_image, bytes(data)) == "corrupt_image"


@pytest.mark.parametrize("data", [b"", b"RIFF....WEBPVP8 ", b"%PDF-1.7", b"\x00" * 64])
def test_other_formats_are_refused(data: bytes) -> None:
    assert outcome(decode_image, data) == "unsupported_format"


def test_tiff_is_refused_although_pillow_reads_it() -> None:
    assert outcome(decode_image, encoded(GREY, format="TIFF")) == "unsupported_format"


def test_sixteen_bit_pixels_are_refused_rather_than_truncated() -> None:
    assert outcome(decode_image, encoded(GREY.astype(np.uint16) * 200, format="PNG")) == "unsupported_format"
