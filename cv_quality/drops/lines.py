"""Reads a compressed log as blocks of whole lines, with flat memory whatever the file holds.

Only bytes live here: decompression, the digest of what was read, and cutting at newlines. What a line means is
decided in `cv_quality.drops.parsing`.
"""

import hashlib
import io
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from cv_quality.errors import DropError

BLOCK_BYTES = 4 << 20
MAX_BLOCK_LINES = 1 << 15
"""Events have more than 128 bytes, so that only blocks of blank or broken lines are cut by it."""
MAX_LINE_BYTES = 1 << 20
RAW_BYTES = 64 << 10
FREE_EXPANDED_BYTES = 64 << 20
MAX_EXPANSION = 256
"""Real logs expand to 5 to 20 times their compressed size."""
_FINE_STEPS = (64, 1)
_NEWLINE = ord("\n")


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines, each ending in a newline; `first_line` is the number of the first one, from 1."""

    first_line: int
    data: bytes


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line beyond `MAX_LINE_BYTES`, of which only the first `RAW_BYTES` were kept."""

    line: int
    head: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Break:
    """The compressed stream ends too early or is damaged: nothing follows; `head` began the unfinished line."""

    line: int
    head: bytes
    size: int
    detail: str


Piece = Block | LongLine | Break


@dataclass(slots=True)
class Expansion:
    """What the compressed files of a drop may expand to, all together.

    Attributes:
        drop_id: the drop.
        compressed: bytes of the files.
        expanded: bytes that came out of them so far.
    """

    drop_id: str
    compressed: int
    expanded: int = 0

    def add(self, size: int) -> None:
        """Count bytes that came out.

        Raises:
            DropError: the files expand to more than `FREE_EXPANDED_BYTES` and `MAX_EXPANSION` times their size.
        """
        self.expanded += size
        allowed = FREE_EXPANDED_BYTES + MAX_EXPANSION * self.compressed
        if self.expanded > allowed:
            raise DropError(
                f"{self.drop_id}: expected events of at most {allowed:,} bytes from {self.compressed:,} compressed, "
                "found more; deliver logs that are not padded"
            )


class HashingReader(io.RawIOBase):
    """A binary file that digests and counts what is read from it, front to back."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes_read = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        self.bytes_read += len(data)
        return data

    def readable(self) -> bool:
        return True

    def hexdigest(self) -> str:
        """The digest of the whole file: what no reader asked for is read now."""
        while self.read(BLOCK_BYTES):
            pass
        return self._digest.hexdigest()


def read_pieces(path: Path, reader: HashingReader, *, expansion: Expansion | None = None) -> Iterator[Piece]:
    """Cut the decompressed bytes of `reader`, a reader of `path`, into pieces in the order of the file.

    Frames that follow one another are one log. A file that breaks off, or goes on with bytes that are no frame, gives
    every whole line before that, then one `Break`.

    Args:
        path: the file.
        reader: of it, at its start.
        expansion: counts what comes out; None for a file that was read before.

    Raises:
        DropError: more comes out than `expansion` allows.
    """
    cutter = _Cutter()
    stream = pa.CompressedInputStream(pa.PythonFile(reader, mode="r"), "zstd")
    done = 0
    try:
        while data := stream.read(BLOCK_BYTES):
            if expansion is not None:
                expansion.add(len(data))
            yield from cutter.feed(data)
            done += len(data)
    except OSError as error:
        for data in _rest_before_break(path, skip=done):
            yield from cutter.feed(data)
        yield cutter.broken(str(error))
        return
    yield from cutter.end()


def _rest_before_break(path: Path, *, skip: int) -> Iterator[bytes]:
    """What a failed read of a whole block threw away: the same stream again, in ever smaller steps up to the break."""
    for step in _FINE_STEPS:
        with path.open("rb") as file, suppress(OSError):
            stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
            place = 0
            while place < skip and (data := stream.read(min(skip - place, BLOCK_BYTES))):
                place += len(data)
            while data := stream.read(step):
                skip += len(data)
                yield data


class _Cutter:
    def __init__(self) -> None:
        self._line = 1
        self._is_start = True
        self._carry = b""
        self._long_head = b""
        self._long_size = 0

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        if self._is_start:  # a byte order mark is no part of the first line
            chunk, self._is_start = chunk.removeprefix(BOM_UTF8), False
        if self._long_size:
            end = chunk.find(b"\n")
            if end < 0:
                self._long_size += len(chunk)
                return
            yield self._finish_long(end)
            chunk = chunk[end + 1 :]
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield from self._blocks(b"".join((self._carry, memoryview(chunk)[:cut])))
            self._carry = chunk[cut:]
        else:
            self._carry += chunk
        if len(self._carry) > MAX_LINE_BYTES:
            self._long_head, self._long_size = self._carry[:RAW_BYTES], len(self._carry)
            self._carry = b""

    def end(self) -> Iterator[Piece]:
        if self._long_size:
            yield self._finish_long(0)
        elif self._carry:
            yield from self._blocks(self._carry + b"\n")

    def broken(self, detail: str) -> Break:
        head = self._long_head or self._carry[:RAW_BYTES]
        return Break(self._line, head, self._long_size or len(self._carry), detail)

    def _blocks(self, data: bytes) -> Iterator[Block]:
        n_lines = int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == _NEWLINE))
        ends = [len(data)]
        if n_lines > MAX_BLOCK_LINES:
            newlines = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == _NEWLINE)
            ends = [*(newlines[MAX_BLOCK_LINES - 1 : -1 : MAX_BLOCK_LINES] + 1).tolist(), len(data)]
        for start, end in pairwise([0, *ends]):
            yield Block(self._line, data[start:end])
            self._line += min(n_lines, MAX_BLOCK_LINES)
            n_lines -= MAX_BLOCK_LINES

    def _finish_long(self, more: int) -> LongLine:
        found = LongLine(self._line, self._long_head, self._long_size + more)
        self._line += 1
        self._long_head, self._long_size = b"", 0
        return found
