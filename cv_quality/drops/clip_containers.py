"""Containers of clips: recognised by their first bytes, and measured against the length that they declare.

Neither needs FFmpeg. A container that is none of these never reaches a decoder (`cv_quality.drops.clip_decoder`).
"""

import os
from collections.abc import Callable
from typing import Final, Literal

from cv_quality.errors import ClipError

ClipFormat = Literal["mov", "matroska", "ivf", "h264", "hevc"]

SIGNATURE_BYTES: Final = 16
MAX_BOXES: Final = 100_000
"""Of an MP4 at its top level, where a file in fragments has two a second; what lies beyond is not measured."""

_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide"})
# The byte after an Annex B start code: parameter sets, delimiters and messages that a stream opens with.
_H264_OPENINGS = frozenset({0x06, 0x09, 0x27, 0x47, 0x67})
_HEVC_OPENINGS = frozenset({0x40, 0x42, 0x44, 0x46, 0x4E})
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"

ReadAt = Callable[[int, int], bytes]


def sniff_clip(start: bytes) -> ClipFormat:
    """Recognise a clip's container by its first 16 bytes; the name of a file says nothing.

    Raises `ClipError` with reason "unsupported_format": playlists, image sequences and every other of FFmpeg's formats.
    """
    if start[4:8] in _BOXES:
        return "mov"
    if start.startswith(_EBML):
        return "matroska"
    if start.startswith(b"DKIF"):
        return "ivf"
    for code in (b"\0\0\0\1", b"\0\0\1"):
        opening = start[len(code)] if start.startswith(code) and len(start) > len(code) else None
        if opening in _H264_OPENINGS:
            return "h264"
        if opening in _HEVC_OPENINGS:
            return "hevc"
    raise ClipError(
        f"expected MP4, MOV, Matroska, WebM, IVF or an H.264 or HEVC stream, found bytes that start with {start[:8]!r}",
        reason="unsupported_format",
    )


def missing_bytes(handle: int, format_: ClipFormat) -> int:
    """How many bytes a file lacks of what its container declares; 0 where that cannot be told.

    Args:
        handle: of the open file; its position stays.
        format_: of the container.
    """

    def read_at(start: int, size: int) -> bytes:
        return os.pread(handle, size, start)

    declared = {"mov": _end_of_boxes, "matroska": _end_of_segment}.get(format_)
    return max(0, declared(read_at) - os.fstat(handle).st_size) if declared else 0


def _end_of_boxes(read_at: ReadAt) -> int:
    """Where the last box of an MP4 ends (ISO/IEC 14496-12, 2015, 4.2)."""
    start = 0
    for _ in range(MAX_BOXES):
        header = read_at(start, 16)
        if len(header) < 8:
            break
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < 8:  # 0: the box goes to the end of the file, wherever that is
            break
        start += size
    return start


def _end_of_segment(read_at: ReadAt) -> int:
    """Where the segment of a Matroska file ends (RFC 9559, 2024; sizes by RFC 8794, 2020); 0 where unknown."""
    header = _element_size(read_at(4, 8))
    if header is None:
        return 0
    start = 4 + sum(header)
    segment = _element_size(read_at(start + 4, 8)) if read_at(start, 4) == _SEGMENT else None
    return start + 4 + sum(segment) if segment else 0


def _element_size(data: bytes) -> tuple[int, int] | None:
    """Length of an EBML size and its value; None where it is cut, malformed or says that it is unknown."""
    length = 9 - data[0].bit_length() if data else 9
    if length > len(data):
        return None
    value = int.from_bytes(data[:length], "big") & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else (length, value)
