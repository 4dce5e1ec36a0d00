"""Images that devices send: recognised, measured and decoded without trusting a byte of them.

Every limit is known before a pixel is decoded: the sides and pixels of the header, the decoders (those of Pillow that
are loops in Python are not used), how often Pillow may read, and the scans of a JPEG (`cv_quality.drops.jpeg`). Only
single images in memory live here; which frame belongs to which event is the frame index's business. Faces inside the
decoded arrays are found in `cv_quality.inference.detection`.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, PpmImagePlugin

from cv_quality.drops.jpeg import bounded_jpeg
from cv_quality.errors import FrameError

ImageFormat = Literal["PNG", "JPEG", "PPM", "GIF", "BMP"]

MAX_PIXELS = 2**25  # 33.6 megapixels: above any phone's front camera, 100 MB decoded
MAX_SIDE_PX = 2**14
MAX_HEADER_READS = 2**12
"""A loop in Pillow's parsers reads in each turn, so that this bounds their time; a photograph takes a few hundred."""
MAX_READS = 2**18
"""Decoding reads 64 KiB or a PNG chunk at a time, in up to three reads."""

SIGNATURES: tuple[tuple[bytes, ImageFormat], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    *((b"P%d" % kind, "PPM") for kind in range(1, 7)),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
)

# The plugins are called directly: Image.open would consult the process-wide MAX_IMAGE_PIXELS.
_OPENERS: dict[ImageFormat, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}

_BAND_PIXELS = 2**20
_PNG_BITS_AT = 24
"""Place of the bits of a sample in a PNG's header (PNG specification, third edition, 11.2.1)."""
_COMPILED_DECODERS = frozenset({"gif", "jpeg", "raw", "zip"})
_GREY_MODES = frozenset({"1", "L"})
_COLOUR_MODES = frozenset({"P", "PA", "LA", "RGB", "RGBA", "CMYK", "YCbCr"})

# What Pillow's parsers raise on damaged input; anything else is a defect of ours and must surface.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What an image's header says: container format and size in pixels."""

    format: ImageFormat
    width_px: int
    height_px: int


def inspect_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Check an image's structure without decoding its pixels.

    PNG chunks are checked against their CRC; for the other formats only the header is read, so damage inside
    the pixel data shows in `decode_image` alone.

    Raises `FrameError` with reason "unsupported_format", "image_bomb" or "corrupt_image".
    """
    format_, image = _open(data, max_pixels=max_pixels)
    info = ImageInfo(format_, *image.size)
    try:
        image.verify()
    except _BOMB as error:
        raise _bomb(image.size, max_pixels) from error
    except _DAMAGE as error:
        raise _corrupt(data, error) from error
    return info


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode one 8-bit image to uint8 `[height, width]` (grey) or `[height, width, 3]` (RGB).

    The size in the header is checked before a pixel is decoded. Of an animation the first picture counts,
    alpha is dropped, and EXIF orientation is not applied: pixels stay as the sensor wrote them.

    Raises `FrameError` with reason "unsupported_format", "image_bomb" or "corrupt_image".
    """
    _, image = _open(data, max_pixels=max_pixels)
    if image.mode not in _GREY_MODES | _COLOUR_MODES:
        raise FrameError(
            f"expected 8-bit pixels, found Pillow mode {image.mode!r}: convert it on the device",
            reason="unsupported_format",
        )
    wanted = "L" if image.mode in _GREY_MODES else "RGB"
    try:
        image.load()
        return _pixels(image, mode=wanted)
    except _BOMB as error:
        raise _bomb(image.size, max_pixels) from error
    except _DAMAGE as error:
        raise _corrupt(data, error) from error


def decode_labels(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode one picture of labels, of a format that loses nothing, to uint8 `[height, width]`.

    A palette's indices are the labels, whatever its colours (as DAVIS has them), and so are grey levels as they are
    stored: those of 1, 2 and 4 bits are not stretched. Colours are labels where they are grey; alpha is dropped.

    Raises `FrameError` with reason "unsupported_format", "image_bomb" or "corrupt_image".
    """
    pixels = _png_samples(data, max_pixels=max_pixels, what="labels")
    if pixels.ndim == 3:
        pixels, colours = pixels[..., 0], pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1]
        if (colours != colours[..., :1]).any():
            raise FrameError(
                "expected labels as grey levels or as a palette's indices, found colours: write one channel",
                reason="unsupported_format",
            )
    if pixels.dtype != np.uint8 and int(pixels.max()) > 255:
        raise FrameError(f"expected labels up to 255, found {int(pixels.max())}", reason="unsupported_format")
    return np.ascontiguousarray(pixels, np.uint8)


def decode_depth(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint16]:
    """Decode one PNG of depth in mm, 16 bit grey, to uint16 `[height, width]`.

    Raises `FrameError` with reason "unsupported_format", "image_bomb" or "corrupt_image".
    """
    pixels = _png_samples(data, max_pixels=max_pixels, what="depth")
    if pixels.ndim != 2 or pixels.dtype != np.uint16:
        raise FrameError(
            f"expected depth in mm as grey levels of 16 bit, found {pixels.dtype} {list(pixels.shape)}",
            reason="unsupported_format",
        )
    return pixels.astype(np.uint16, copy=False)


def _png_samples(data: bytes, *, max_pixels: int, what: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Samples as a PNG, or another format that loses nothing, stores them, channels last where there are several."""
    format_, image = _open(data, max_pixels=max_pixels)
    if format_ == "JPEG":
        raise FrameError(f"expected {what} as PNG, which loses nothing, found JPEG", reason="unsupported_format")
    try:
        image.load()
        samples = np.asarray(image)
    except _BOMB as error:
        raise _bomb(image.size, max_pixels) from error
    except _DAMAGE as error:
        raise _corrupt(data, error) from error
    bits, is_grey = data[_PNG_BITS_AT] if format_ == "PNG" else 8, image.mode == "L"
    if image.mode.startswith("I"):
        return samples.astype(np.uint16)
    return samples.astype(np.uint8) // (255 // (2**bits - 1) if is_grey and bits < 8 else 1)


def _open(data: bytes, *, max_pixels: int) -> tuple[ImageFormat, ImageFile.ImageFile]:
    format_ = next((format_ for signature, format_ in SIGNATURES if data.startswith(signature)), None)
    if format_ is None:
        raise FrameError(
            f"expected a PNG, JPEG, PPM, GIF or BMP image, found bytes that start with {data[:8]!r}",
            reason="unsupported_format",
        )
    file = _Metered(bounded_jpeg(data) if format_ == "JPEG" else data)
    try:
        image = _OPENERS[format_](file)
    except _BOMB as error:
        raise FrameError(f"the image's canvas grows past {max_pixels} pixels", reason="image_bomb") from error
    except _DAMAGE as error:
        raise _corrupt(data, error) from error
    if image.width * image.height > max_pixels or max(image.size) > MAX_SIDE_PX:
        raise _bomb(image.size, max_pixels)
    if slow := {tile[0] for tile in image.tile} - _COMPILED_DECODERS:
        raise FrameError(
            f"{format_} pixels that are packed as text, in runs or with another maximum than 255 ({', '.join(slow)}): "
            "send plain 8-bit pixels",
            reason="unsupported_format",
        )
    file.reads_left = MAX_READS
    return format_, image


def _pixels(image: Image.Image, *, mode: str) -> NDArray[np.uint8]:
    """Copied and converted in bands of rows: Pillow makes two more copies of what it is asked for at once."""
    n_rows = max(1, _BAND_PIXELS // image.width)
    if n_rows >= image.height:
        return np.asarray(image.convert(mode), dtype=np.uint8)
    pixels = np.empty((image.height, image.width, *([3] if mode == "RGB" else [])), dtype=np.uint8)
    for top in range(0, image.height, n_rows):
        band = image.crop((0, top, image.width, min(top + n_rows, image.height)))
        pixels[top : top + n_rows] = np.asarray(band.convert(mode))
    return pixels


class _Metered(io.BytesIO):
    """Bytes that may be read from so many times."""

    reads_left = MAX_HEADER_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise FrameError("the image is cut into more pieces than a photograph has", reason="image_bomb")
        return super().read(size)


def _bomb(size_px: tuple[int, int], max_pixels: int) -> FrameError:
    return FrameError(
        f"expected at most {max_pixels} pixels and {MAX_SIDE_PX} a side, found {size_px[0]} x {size_px[1]}",
        reason="image_bomb",
    )


def _corrupt(data: bytes, error: BaseException) -> FrameError:
    problem = f"{type(error).__name__}: {error}"
    return FrameError(f"the image ({len(data)} bytes) cannot be decoded: {problem}", reason="corrupt_image")
