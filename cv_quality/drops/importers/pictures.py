"""Makes a picture what the pipeline reads: whole, of a format that drops take, and the right way up.

Devices send frames as their sensors see them, so that the pipeline ignores EXIF; photographs of people rely on it. One
that needs turning is written anew without loss; any other stays byte for byte what it was.
"""

import hashlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cv_quality.drops.frames import MAX_FRAME_BYTES
from cv_quality.drops.images import decode_image
from cv_quality.errors import FrameError

ORIENTATION_TAG: Final = 0x0112
MAX_EXIF_ENTRIES: Final = 1_000
_EXIF = b"Exif\0\0"
_TIFF = (b"II*\0", b"MM\0*")
_TURNS: Final = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}
"""By orientation: quarter turns against the clock, then whether left and right are exchanged."""


@dataclass(frozen=True, slots=True)
class CheckedPicture:
    """A picture that can be read.

    Attributes:
        is_turned: whether EXIF turns it.
        digest: of its pixels.
        size: width and height.
    """

    is_turned: bool
    digest: bytes
    size: tuple[int, int]


def check_picture(path: Path) -> CheckedPicture:
    """Decode a picture as the pipeline will.

    Raises:
        FrameError: it cannot be read, with the reason.
    """
    size = path.stat().st_size
    if size > MAX_FRAME_BYTES:
        raise FrameError(f"expected at most {MAX_FRAME_BYTES:,} bytes, found {size:,}", reason="frame_too_large")
    if not size:
        raise FrameError("the file is empty", reason="corrupt_image")
    data = path.read_bytes()
    if found := _foreign(data):
        raise FrameError(found, reason="unsupported_format")
    pixels = decode_image(data)
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(pixels.data)
    return CheckedPicture(orientation(data) in _TURNS, digest.digest(), (pixels.shape[1], pixels.shape[0]))


def _foreign(data: bytes) -> str | None:
    """What people often have in place of a picture that drops take."""
    if data[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page, saved in place of the picture"
    names = {b"ftyp": "a HEIC, AVIF or video file", b"WEBP": "a WebP image"}
    found = names.get(data[4:8]) or names.get(data[8:12]) or ("a TIFF image" if data[:4] in _TIFF else None)
    return f"{found}: convert it to JPEG or PNG" if found else None


def upright(data: bytes) -> bytes:
    """Turn a picture as its EXIF orientation says; the result is a PNG."""
    import numpy as np
    from PIL import Image

    turns, is_mirrored = _TURNS[orientation(data)]
    pixels = np.rot90(decode_image(data), turns)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[:, ::-1] if is_mirrored else pixels)).save(file, "PNG")
    return file.getvalue()


def orientation(data: bytes) -> int:
    """Read the EXIF orientation of a JPEG or PNG, 1 to 8; 1, upright, where there is none that can be read."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _of_tags(_exif_of_jpeg(data))
        return _of_tags(_exif_of_png(data)) if data.startswith(b"\x89PNG") else 1
    except struct.error:
        return 1


def _exif_of_jpeg(data: bytes) -> bytes:
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] not in (0xDA, 0xD9):
        kind, (size,) = data[place + 1], struct.unpack_from(">H", data, place + 2)
        if kind == 0xE1 and data.startswith(_EXIF, place + 4):
            return data[place + 4 + len(_EXIF) : place + 2 + size]
        place += 2 + max(2, size)
    return b""


def _exif_of_png(data: bytes) -> bytes:
    place = 8
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"eXIf":
            return data[place + 8 : place + 8 + size].removeprefix(_EXIF)
        place += 12 + size
    return b""


def _of_tags(exif: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    (first,) = struct.unpack_from(f"{order}I", exif, 4)
    (n_entries,) = struct.unpack_from(f"{order}H", exif, first)
    for number in range(min(n_entries, MAX_EXIF_ENTRIES)):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, first + 2 + 12 * number)
        if tag == ORIENTATION_TAG:
            return int(value) if kind == 3 else 1
    return 1
