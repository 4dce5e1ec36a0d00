"""JPEG files cut down to what pixels need, and bounded before a pixel is decoded.

Decoding takes at most `MAX_SCANS` passes over the pixels and the memory of the coefficients, and the markers tell both.
What Pillow would read besides (EXIF, profiles, thumbnails, comments) never reaches it: four segments of EXIF tags that
all point at the same 260 KB cost it 5 GB. Decoding is in `cv_quality.drops.images`.
"""

import re
import struct
from dataclasses import dataclass

from cv_quality.errors import FrameError

MAX_SCANS = 64
"""Progressive photographs have 10; a pass over 2**25 pixels takes at most 30 ms."""
MAX_MARKERS = 10_000
MAX_COEFFICIENT_BYTES = 2**27
"""Held at once by several scans: 2 bytes a sample."""

_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_OTHER_FRAMES = frozenset({0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
_NEEDED = frozenset({0xC4, 0xDB, 0xDD, 0xE0, 0xEE}) | _HUFFMAN_FRAMES
"""Huffman and quantisation tables, restart interval, the JFIF and Adobe headers (they tell the colour space), frame."""
_WITHOUT_LENGTH = frozenset({*range(0x01, 0xC0), _SOI})


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    start: int
    end: int


def bounded_jpeg(data: bytes) -> bytes:
    """The same picture without what its pixels do not need.

    Raises:
        FrameError: reason "image_bomb" for more scans, markers or coefficients than a photograph has, "corrupt_image"
            without a frame or a scan, "unsupported_format" for arithmetic or lossless coding.
    """
    header: list[bytes] = []
    frame, n_scans, n_markers, first_scan, place = b"", 0, 0, 0, 2
    while (segment := _next(data, place)) is not None and segment.kind != _EOI:
        place, n_markers = segment.end, n_markers + 1
        n_scans += segment.kind == _SOS
        first_scan = first_scan or (segment.start if n_scans else 0)
        if n_scans > MAX_SCANS or n_markers > MAX_MARKERS:
            raise FrameError(
                f"expected a JPEG of at most {MAX_SCANS} scans and {MAX_MARKERS:,} markers, found more",
                reason="image_bomb",
            )
        if segment.kind in _OTHER_FRAMES:
            raise FrameError(
                "expected a baseline or progressive JPEG with Huffman coding, found another coding: "
                "convert it on the device",
                reason="unsupported_format",
            )
        if segment.kind in _HUFFMAN_FRAMES:
            frame = data[segment.start : segment.end]
        if not n_scans and segment.kind in _NEEDED:
            header.append(data[segment.start : segment.end])
    if not (frame and n_scans):
        raise FrameError(f"the JPEG ({len(data)} bytes) breaks off before its pixels", reason="corrupt_image")
    if frame[1] == 0xC2 or n_scans > 1:
        _check_coefficients(frame)
    return b"".join([b"\xff\xd8", *header, memoryview(data)[first_scan:]])


def _next(data: bytes, place: int) -> _Segment | None:
    """The next marker, with what it holds; entropy-coded bytes and padding before it are passed over."""
    found = _MARKER.search(data, place)
    if found is None:
        return None
    kind, start = found[1][0], found.start()
    if kind in _WITHOUT_LENGTH:
        return _Segment(kind, start, start + 2)
    if kind == _EOI or start + 4 > len(data):
        return _Segment(_EOI, start, start + 2)
    return _Segment(kind, start, start + 2 + max(2, int.from_bytes(data[start + 2 : start + 4], "big")))


def _check_coefficients(frame: bytes) -> None:
    """A frame's header: length, precision, height, width, components as (id, sampling factors, table)."""
    try:
        _, _, height_px, width_px, n = struct.unpack_from(">HBHHB", frame, 2)
        factors = [(frame[place] >> 4, frame[place] & 15) for place in range(11, 11 + 3 * n, 3)]
    except (struct.error, IndexError) as error:
        raise FrameError("the JPEG's frame header is cut short", reason="corrupt_image") from error
    largest = max((h for h, _ in factors), default=1) * max((v for _, v in factors), default=1)
    size = 2 * height_px * width_px * sum(h * v for h, v in factors) / max(largest, 1)
    if size > MAX_COEFFICIENT_BYTES:
        raise FrameError(
            f"expected a progressive JPEG of at most {MAX_COEFFICIENT_BYTES:,} bytes of coefficients, found "
            f"{size:,.0f} ({width_px} x {height_px}): send a baseline JPEG",
            reason="image_bomb",
        )
