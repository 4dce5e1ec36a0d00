"""Hostile and honest images through the one decoder that drops and inference share."""

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cv_quality.drops.images import ImageInfo, decode_depth, decode_image, decode_labels, inspect_image
from cv_quality.drops.jpeg import MAX_SCANS
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


def exif_directory(*, size: int) -> bytes:
    """EXIF in which every tag points at the same bytes: quadratic in `size` to who reads it."""
    tags = b"".join(struct.pack("<HHII", tag, 1, size - 20, 8) for tag in range(1, size // 12 - 1))
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags) // 12) + tags).ljust(size, b"\0")


def with_exif(jpeg: bytes) -> bytes:
    block = b"Exif\0\0" + exif_directory(size=60_000)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def with_scans(jpeg: bytes, times: int) -> bytes:
    """The last pass over the pixels, again and again: each costs as much as the first."""
    return jpeg[:-2] + jpeg[jpeg.rindex(b"\xff\xda") : -2] * times + b"\xff\xd9"


def progressive(*, width_px: int = 32, height_px: int = 32, mode: str = "RGB", subsampling: int = 0) -> bytes:
    buffer = io.BytesIO()
    image = Image.new(mode, (width_px, height_px), 90)
    image.save(buffer, format="JPEG", progressive=True, subsampling=subsampling)
    return buffer.getvalue()


def chunks(*names: bytes, times: int) -> bytes:
    """A PNG with empty chunks in front of its pixels, between, and behind."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(20)))
    parts = {b"tEXt": b"", b"IDAT": b"", b"abCd": pixels}
    return start + b"".join(parts[name] + chunk(name, b"") * times for name in names) + pixels + chunk(b"IEND", b"")


def bmp_of_runs(runs: bytes, *, side_px: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, side_px, side_px, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + header + bytes(1024) + runs


GIF_START = b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0)
SLOW_IMAGES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a side of millions": (lambda: png_claiming(width_px=2**25, height_px=1), "image_bomb"),
    "a side beyond the limit": (lambda: png_claiming(width_px=1, height_px=2**14 + 1), "image_bomb"),
    "thousands of scans": (lambda: with_scans(progressive(), 400_000), "image_bomb"),
    "progressive beyond memory": (lambda: progressive(width_px=8192, height_px=4096), "image_bomb"),
    "millions of JPEG markers": (lambda: progressive()[:2] + b"\xff\xe3\0\2" * 8_000_000, "image_bomb"),
    "millions of bare markers": (lambda: progressive()[:2] + b"\xff\x01" * 16_000_000, "image_bomb"),
    "PNG chunks in front": (lambda: chunks(b"tEXt", times=2_700_000), "image_bomb"),
    "PNG chunks of no pixels": (lambda: chunks(b"IDAT", times=2_700_000), "image_bomb"),
    "PNG chunks behind": (lambda: chunks(b"abCd", times=2_700_000), "image_bomb"),
    "a GIF of comments": (lambda: GIF_START + b"\x21\xfe" + (b"\xff" + b"x" * 255) * 130_000, "image_bomb"),
    "a GIF of extensions": (lambda: GIF_START + b"\x21\x01\0" * 10_000_000, "image_bomb"),
    "plain PPM of comments": (lambda: b"P3 4000 4000 255\n" + b"#\n" * 1_000_000, "unsupported_format"),
    "PPM of another maximum": (lambda: b"P6 4000 4000 254\n" + bytes(16_000_000), "unsupported_format"),
    "a BMP of runs": (lambda: bmp_of_runs(b"\0\0" * 8_000_000, side_px=4096), "unsupported_format"),
}


@pytest.mark.parametrize("check", [decode_image, inspect_image])
@pytest.mark.parametrize("name", SLOW_IMAGES)
def test_an_image_made_to_take_long_is_refused_at_once(check: Callable[..., object], name: str) -> None:
    make, reason = SLOW_IMAGES[name]
    data, started = make(), time.perf_counter()
    assert outcome(check, data, max_pixels=2**25) == reason
    assert time.perf_counter() - started < 10


def test_exif_of_a_jpeg_is_never_read() -> None:
    """Pillow alone takes 300 MB for these 60 KB."""
    data = with_exif(encoded(COLOUR, format="JPEG"))
    tracemalloc.start()
    np.testing.assert_array_equal(decode_image(data), decode_image(encoded(COLOUR, format="JPEG")))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2, "restart_marker_blocks": 3}])
def test_a_jpeg_has_the_pixels_that_pillow_finds(mode: str, options: dict[str, object]) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(pixels).convert(mode)
    image.save(
        buffer, format="JPEG", comment=b"\xff\xda" * 200, exif=b"Exif\0\0MM\0*", icc_profile=bytes(70_000), **options
    )
    whole = Image.open(io.BytesIO(buffer.getvalue()))
    data = buffer.getvalue() + b"a film behind the picture \xff\xda" * 200
    np.testing.assert_array_equal(decode_image(data), np.asarray(whole if mode == "L" else whole.convert("RGB")))


def test_as_many_scans_as_allowed_are_decoded() -> None:
    n_scans = progressive().count(b"\xff\xda")
    assert decode_image(with_scans(progressive(), MAX_SCANS - n_scans)).shape == (32, 32, 3)
    assert outcome(decode_image, with_scans(progressive(), MAX_SCANS - n_scans + 1)) == "image_bomb"


@pytest.mark.parametrize("coding", [0xC3, 0xC9, 0xCA])
def test_a_jpeg_of_another_coding_is_refused(coding: int) -> None:
    data = progressive().replace(b"\xff\xc2", b"\xff" + bytes([coding]))
    assert outcome(decode_image, data) == "unsupported_format"


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA"])
def test_a_large_image_is_copied_in_bands_without_a_seam(mode: str) -> None:
    pixels = np.random.default_rng(11).integers(0, 256, (1500, 1100, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    expected = np.asarray(image.convert("L" if mode in ("1", "L") else "RGB"))
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), max_pixels=2**25), expected)


def png_of_bits(samples: NDArray[np.integer], *, bits: int, is_palette: bool = False) -> bytes:
    """A PNG whose samples are packed as they are, a palette of one colour where there is one."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = samples.shape
    header = struct.pack(">IIBBBBB", width, height, bits, 3 if is_palette else 0, 0, 0, 0)
    rows = ("".join(f"{value:0{bits}b}" for value in row) for row in samples)
    packed = (int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8)) for row in rows)
    palette = chunk(b"PLTE", bytes(3 * 2**bits)) if is_palette else b""
    body = zlib.compress(b"".join(b"\0" + row for row in packed))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("is_palette", [False, True])
def test_labels_are_the_samples_that_a_png_stores(bits: int, is_palette: bool) -> None:
    samples = np.arange(35).reshape(5, 7) * 7 % 2**bits
    np.testing.assert_array_equal(decode_labels(png_of_bits(samples, bits=bits, is_palette=is_palette)), samples)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_alpha_of_labels_is_dropped_and_grey_colours_are_labels(channels: int) -> None:
    pixels = np.stack([GREY] * 4, axis=2)[..., :channels]
    pixels[..., -1] = 7 if channels % 2 == 0 else pixels[..., -1]
    np.testing.assert_array_equal(decode_labels(encoded(pixels, format="PNG")), GREY)


def test_labels_are_refused_where_they_could_be_others() -> None:
    assert outcome(decode_labels, encoded(COLOUR, format="PNG")) == "unsupported_format"
    assert outcome(decode_labels, encoded(GREY, format="JPEG")) == "unsupported_format"
    assert outcome(decode_labels, png_of_bits(GREY.astype(int) + 256, bits=16)) == "unsupported_format"
    assert outcome(decode_labels, png_of_bits(GREY, bits=16)) == "used"
    assert outcome(decode_labels, png_claiming(width_px=20_000, height_px=20_000)) == "image_bomb"
    assert outcome(decode_labels, encoded(GREY, format="PNG")[:-30]) == "corrupt_image"


def test_depth_keeps_its_16_bits() -> None:
    depth = np.array([[0, 1, 255], [256, 40_000, 65_535]])
    decoded = decode_depth(png_of_bits(depth, bits=16))
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, depth)
    for data in (encoded(GREY, format="PNG"), encoded(COLOUR, format="PNG"), encoded(GREY, format="JPEG")):
        assert outcome(decode_depth, data) == "unsupported_format"
