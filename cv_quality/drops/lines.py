"""Reads a compressed log as blocks of whole lines, with flat memory whatever the file holds.

Only bytes live here: decompression, the digest of what was read, and cutting at newlines. What a line means is
decided in `cv_quality.drops.parsing`.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

BLOCK_BYTES = 4 << 20
MAX_LINE_BYTES = 1 << 20
RAW_BYTES = 64 << 10
_FINE_BYTES = 64
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


def read_pieces(path: Path, reader: HashingReader) -> Iterator[Piece]:
    """Cut the decompressed bytes of `reader`, a reader of `path`, into pieces in the order of the file.

    A file that breaks off gives every whole line before the break, then one `Break`.
    """
    cutter = _Cutter()
    stream = pa.CompressedInputStream(pa.PythonFile(reader, mode="r"), "zstd")
    done = 0
    try:
        while data := stream.read(BLOCK_BYTES):
            yield from cutter.feed(data)
            done += len(data)
    except OSError as error:
        for data in _rest_before_break(path, skip=done):
            yield from cutter.feed(data)
        yield cutter.broken(str(error))
        return
    yield from cutter.end()


def _rest_before_break(path: Path, *, skip: int) -> Iterator[bytes]:
    """What a failed read of a whole block threw away: the same stream again, read in small steps up to the break."""
    with path.open("rb") as file:
        stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
        while skip > 0:
            skip -= len(stream.read(min(skip, BLOCK_BYTES)))
        try:
            while data := stream.read(_FINE_BYTES):
                yield data
        except OSError:
            return


class _Cutter:
    def __init__(self) -> None:
        self._line = 1
        self._carry = b""
        self._long_head = b""
        self._long_size = 0

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        if self._long_size:
            end = chunk.find(b"\n")
            if end < 0:
                self._long_size += len(chunk)
                return
            yield self._finish_long(end)
            chunk = chunk[end + 1 :]
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield self._block(b"".join((self._carry, memoryview(chunk)[:cut])))
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
            yield self._block(self._carry + b"\n")

    def broken(self, detail: str) -> Break:
        head = self._long_head or self._carry[:RAW_BYTES]
        return Break(self._line, head, self._long_size or len(self._carry), detail)

    def _block(self, data: bytes) -> Block:
        block = Block(self._line, data)
        self._line += int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == _NEWLINE))
        return block

    def _finish_long(self, more: int) -> LongLine:
        found = LongLine(self._line, self._long_head, self._long_size + more)
        self._line += 1
        self._long_head, self._long_size = b"", 0
        return found
