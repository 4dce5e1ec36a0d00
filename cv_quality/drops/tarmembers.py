"""Reads the members of a tar file front to back, trusting neither names nor sizes.

The standard library's reader holds extended headers of any size in memory and follows links; this one reads what a
frame shard may hold, with a limit on everything, and reports the rest. What is done with an image is in
`cv_quality.drops.frames`.
"""

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

BLOCK = 512
MAX_HEADER_BYTES = 64 << 10
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)
_PAX, _PAX_GLOBAL, _GNU_NAME = tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME


class Reader(Protocol):
    """Anything with `read`."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Member:
    """One member.

    Attributes:
        number: position in the file, from 1.
        name: as the header says, not yet judged.
        is_file: whether it is a regular file, neither folder, link, device nor sparse.
        offset, size: where its bytes start in the tar file, and their number as the header says.
        data: its bytes; None when it is no file or larger than the limit. Where members are hashed, the bytes up to the
            limit of a larger one.
        sha256: digest of its bytes, where members are hashed.
    """

    number: int
    name: str
    is_file: bool
    offset: int
    size: int
    data: bytes | None
    sha256: str | None = None


class TarDamaged(Exception):
    """The tar file cannot be followed any further."""


def read_members(reader: Reader, *, max_bytes: int, is_hashed: bool = False) -> Iterator[Member]:
    """Every member in order; files above `max_bytes` are passed over without being held.

    Args:
        reader: of the tar file.
        max_bytes: of a member that are held.
        is_hashed: whether every file is hashed, and of a larger one its first bytes are given.

    Raises:
        TarDamaged: a header or a member is cut short or malformed, or more than padding follows the end marker.
    """
    source = _Source(reader)
    number = 0
    long_name: str | None = None
    while (header := source.take(BLOCK, may_end=True)) and header.strip(b"\0"):
        info = _parsed(header)
        if info.type in (_PAX, _PAX_GLOBAL, _GNU_NAME):
            text = _extension(source, info)
            if info.type != _PAX_GLOBAL:
                long_name = (
                    _pax_path(text) if info.type == _PAX else text.rstrip(b"\0").decode(errors="backslashreplace")
                )
            continue
        number += 1
        is_file = info.type in _REGULAR and not info.name.endswith("/")
        name, offset = long_name or info.name, source.position
        if is_hashed and is_file:
            data, digest = source.take_hashed(info.size, held=max_bytes)
            source.skip(-info.size % BLOCK)
            yield Member(number, name, is_file, offset, info.size, data, digest)
        else:
            is_held = is_file and info.size <= max_bytes
            held = source.take(info.size) if is_held else None
            source.skip(-info.size % BLOCK if is_held else info.size + -info.size % BLOCK)
            yield Member(number, name, is_file, offset, info.size, held)
        long_name = None
    source.check_padding()


class _Source:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.position = 0

    def take(self, size: int, *, may_end: bool = False) -> bytes:
        data = self._reader.read(size)
        self.position += len(data)
        if len(data) != size and not (may_end and not data):
            raise TarDamaged(f"expected {size} bytes at byte {self.position - len(data)}, found {len(data)}")
        return data

    def skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.take(min(size, 1 << 20)))

    def take_hashed(self, size: int, *, held: int) -> tuple[bytes, str]:
        """The first bytes, and the digest of all."""
        head = self.take(min(size, held))
        digest, left = hashlib.sha256(head), size - len(head)
        while left > 0:
            piece = self.take(min(left, 1 << 20))
            digest.update(piece)
            left -= len(piece)
        return head, digest.hexdigest()

    def check_padding(self) -> None:
        """Read to the end, where programs disagree on what another archive behind the first one means."""
        while data := self._reader.read(1 << 20):
            if data.strip(b"\0"):
                raise TarDamaged(f"expected zeros behind the end marker at byte {self.position}, found other bytes")


def _parsed(header: bytes) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "backslashreplace")
    except tarfile.HeaderError as error:
        raise TarDamaged(f"malformed header: {error}") from error
    if info.size < 0:
        raise TarDamaged(f"header of {info.name!r} gives a negative size")
    return info


def _extension(source: _Source, info: tarfile.TarInfo) -> bytes:
    if info.size > MAX_HEADER_BYTES:
        raise TarDamaged(f"expected extended headers of at most {MAX_HEADER_BYTES} bytes, found {info.size}")
    text = source.take(info.size)
    source.skip(-info.size % BLOCK)
    return text


def _pax_path(records: bytes) -> str | None:
    """The `path` record of an extended header: `<length> <key>=<value>\\n`, the length counting itself."""
    path = None
    while records:
        digits, _, _ = records.partition(b" ")
        if not digits.isdigit() or not len(digits) < int(digits[:9]) <= len(records):
            raise TarDamaged("malformed extended header")
        length = int(digits)
        key, _, value = records[len(digits) + 1 : length - 1].partition(b"=")
        if key == b"size":
            raise TarDamaged("members beyond 8 GiB are not frames")
        path = value.decode(errors="backslashreplace") if key == b"path" else path
        records = records[length:]
    return path
