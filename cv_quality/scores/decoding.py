"""Text as other machines save it, made plain: compressed, UTF-16, Windows-1252, or with the line ends of old Macs.

A file that is plain UTF-8 is left where it is and read from the disk; only what must be decoded is held in memory.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO, cast

from cv_quality.scores.source import Source

MAX_DECODED_BYTES = 4 << 30
"""Of one compressed file: two hundred million lines of scores."""
HEAD_BYTES = 1 << 16
UTF16 = (b"\xff\xfe", b"\xfe\xff")
UNDEFINED_IN_1252 = bytes([0x81, 0x8D, 0x8F, 0x90, 0x9D])


def _zstd(stream: BinaryIO) -> BinaryIO:
    import pyarrow as pa

    return cast("BinaryIO", pa.CompressedInputStream(stream, "zstd"))


COMPRESSIONS: tuple[tuple[bytes, str, Callable[[BinaryIO], BinaryIO]], ...] = (
    (b"\x1f\x8b", "gzip", lambda stream: cast("BinaryIO", gzip.GzipFile(fileobj=stream))),
    (b"BZh", "bzip2", lambda stream: cast("BinaryIO", bz2.BZ2File(stream))),
    (b"\xfd7zXZ", "xz", cast("Callable[[BinaryIO], BinaryIO]", lzma.LZMAFile)),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
)
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


def decoded(source: Source) -> tuple[Source, tuple[str, ...]]:
    """Decode a text file that is not plain UTF-8 with line feeds, and say what was done.

    Raises:
        ScoreFileError: the compression is damaged, or what it holds is larger than `MAX_DECODED_BYTES`.
    """
    with source.open() as stream:
        head = stream.read(HEAD_BYTES)
    for magic, name, opened in COMPRESSIONS:
        if head.startswith(magic):
            inner, notes = decoded(replace(source, decoded=_decompressed(source, opened, name)))
            return inner, (f"{source}: decompressed ({name})", *notes)
    if head.startswith(UTF16):
        return replace(source, decoded=_from_utf16(source)), (f"{source}: read as UTF-16",)
    if b"\r" in head and b"\n" not in head:
        content = _content(source)
        return replace(source, decoded=content.replace(b"\r", b"\n")), (f"{source}: lines end in carriage returns",)
    return source, ()


def from_windows(source: Source) -> tuple[Source, tuple[str, ...]]:
    """Decode text that is no UTF-8 as Windows-1252, the encoding of Excel's CSV in the west, of which Latin-1 is part.

    Raises:
        ScoreFileError: it is not that either.
    """
    content = _content(source)
    if any(byte in content for byte in UNDEFINED_IN_1252):
        raise source.error("is neither UTF-8 nor Windows-1252 text; save it as UTF-8")
    return replace(source, decoded=content.decode("cp1252").encode()), (f"{source}: read as Windows-1252",)


def _content(source: Source) -> bytes:
    with source.open() as stream:
        return stream.read()


def _decompressed(source: Source, opened: Callable[[BinaryIO], BinaryIO], name: str) -> bytes:
    try:
        with source.open() as stream, opened(stream) as inner:
            content = inner.read(MAX_DECODED_BYTES + 1)
    except DAMAGED as error:
        raise source.error(f"is {name}-compressed and damaged ({error}); copy or compress it again") from error
    if len(content) > MAX_DECODED_BYTES:
        raise source.error(f"holds more than {MAX_DECODED_BYTES >> 30} GiB once decompressed; divide it")
    if not content:
        raise source.error("is empty once decompressed; name a file with scores")
    return content


def _from_utf16(source: Source) -> bytes:
    try:
        return _content(source).decode("utf-16").encode()
    except UnicodeError as error:
        raise source.error(f"begins like UTF-16 text and is none ({error}); save it as UTF-8") from error
