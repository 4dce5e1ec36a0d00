"""Any text file as UTF-8 with line feeds, and any file unpacked.

Its encoding is told by a mark, by zero bytes, or by what is no UTF-8.

What separates the fields of its lines is found in `cv_quality.tables.dialect`.
"""

import bz2
import codecs
import gzip
import io
import lzma
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from cv_quality.errors import TableError

CHUNK: Final = 1 << 22
HEAD: Final = 1 << 16
MAX_UNPACKED_BYTES: Final = 64 << 30
"""Of one compressed file: a few bytes can stand for a full disk."""
WESTERN: Final = "cp1252"
COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
FOREIGN: Final = (
    (b"PK\x03\x04", "an Excel workbook or a zip archive", "save the sheet as CSV, or name the file in the archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as CSV"),
    (b"\x89HDF", "an HDF5 file", "export the table as CSV or Parquet"),
    (b"\x93NUMPY", "a NumPy array", "export the table as CSV or Parquet"),
    (b"ARROW1", "an Arrow file", "write it as Parquet"),
    (b"%PDF", "a PDF", "export the table as CSV"),
)


@dataclass(frozen=True, slots=True)
class PlainText:
    """A text file in UTF-8.

    Attributes:
        source: the file as it was named.
        path: where its text is; a byte order mark may stand before it.
        notes: what was undone to have it, for people.
    """

    source: Path
    path: Path
    notes: tuple[str, ...] = ()


def plain_text(path: Path, *, folder: Path) -> PlainText:
    """Undo compression and encoding of a text file; the file itself where there is nothing to undo.

    Lines that are no UTF-8 are read as Windows-1252, each by itself, so that a file of both is read too.

    Args:
        path: the file; gzip, zstd, bzip2 or xz, in UTF-8, UTF-16, UTF-32 or Windows-1252.
        folder: where a rewritten file may lie.

    Raises:
        TableError: the file is damaged, or holds no text.
    """
    found, notes = unpacked(path, folder=folder)
    start = _head(found)
    encoding, name = _encoding(path, start)
    if start.startswith(codecs.BOM_UTF8):
        notes = (*notes, "UTF-8 with a byte order mark")
    target = folder / "decoded"
    if encoding is not None:
        _recode(found, target, encoding=encoding, name=name, source=path)
        found, notes = target, (*notes, name)
    elif not _is_utf8(found):
        n_western = _recode_western(found, target)
        lines = f"{n_western:,} line{'' if n_western == 1 else 's'} not in UTF-8, read as Windows-1252"
        found, notes = target, (*notes, lines)
    start = _head(found)
    if b"\n" in start or b"\r" not in start.rstrip(b"\r"):
        return PlainText(path, found, notes)
    _with_line_feeds(found, folder / "lines")
    return PlainText(path, folder / "lines", (*notes, "line ends of old Macs"))


def unpacked(path: Path, *, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Undo the compression of a file of any kind; the file itself where there is none. Also name the compression.

    Raises:
        TableError: the file is damaged, empty inside, or larger than `MAX_UNPACKED_BYTES` once unpacked.
    """
    start = _head(path)
    packed = next((name for magic, name in COMPRESSED.items() if start.startswith(magic)), None)
    if packed is None:
        return path, ()
    target = folder / "unpacked"
    _unpack(path, target, packed=packed)
    return target, (packed,)


def wide_encoding(start: bytes) -> tuple[str, str] | None:
    """Tell UTF-16 or UTF-32, as Python calls it and in words, by a mark or the place of zero bytes at the beginning."""
    for mark, encoding, name in MARKS:
        if start.startswith(mark):
            return encoding, name
    even, odd = start[0::2], start[1::2]
    if odd and odd.count(0) > len(odd) / 2 > 4 * even.count(0):
        return "utf-16-le", "UTF-16 without a byte order mark"
    if odd and even.count(0) > len(even) / 2 > 4 * odd.count(0):
        return "utf-16-be", "UTF-16 without a byte order mark"
    return None


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEAD)


def _unpack(path: Path, target: Path, *, packed: str) -> None:
    size = 0
    try:
        with _opened(path, packed) as source, target.open("wb") as sink:
            while size <= MAX_UNPACKED_BYTES and (chunk := source.read(CHUNK)):
                size += sink.write(chunk)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise TableError(f"{path}: is {packed}, but damaged or cut off ({error}); write it again") from error
    if size > MAX_UNPACKED_BYTES:
        raise TableError(f"{path}: holds more than {MAX_UNPACKED_BYTES >> 30} GiB once unpacked ({packed}); divide it")
    if not size:
        raise TableError(f"{path}: is empty once unpacked ({packed})")


def _opened(path: Path, packed: str) -> IO[bytes]:
    if packed == "gzip":
        return io.BufferedReader(gzip.open(path))
    if packed == "bzip2":
        return bz2.open(path)
    if packed == "xz":
        return lzma.open(path)
    import pyarrow as pa

    stream: IO[bytes] = pa.input_stream(str(path), compression=packed)
    return stream


def _encoding(source: Path, start: bytes) -> tuple[str | None, str]:
    """The encoding that a mark or the place of zero bytes tells, and its name; None for UTF-8 or an 8-bit one."""
    for magic, what, advice in FOREIGN:
        if start.startswith(magic):
            raise TableError(f"{source}: is {what}, which is not read as a table; {advice}")
    if (wide := wide_encoding(start)) is not None:
        return wide
    if b"\x00" in start:
        raise TableError(f"{source}: expected a CSV table with a header, or Parquet, found binary data")
    return None, "UTF-8"


def _is_utf8(path: Path) -> bool:
    decoder, is_between = codecs.getincrementaldecoder("utf-8")(), True
    with path.open("rb") as stream:
        try:
            while chunk := stream.read(CHUNK):
                if not (is_between and chunk.isascii()):  # most files hold nothing else, and this costs nothing
                    decoder.decode(chunk)
                    is_between = not decoder.getstate()[0]
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _recode(path: Path, target: Path, *, encoding: str, name: str, source: Path) -> None:
    try:
        with path.open(encoding=encoding, newline="") as text, target.open("w", encoding="utf-8", newline="") as sink:
            shutil.copyfileobj(text, sink, CHUNK)
    except UnicodeError as error:
        raise TableError(f"{source}: begins as {name} and is none further on ({error}); save it as UTF-8") from error


def _with_line_feeds(path: Path, target: Path) -> None:
    with path.open("rb") as text, target.open("wb") as sink:
        while chunk := text.read(CHUNK):
            sink.write(chunk.replace(b"\r", b"\n"))


def _recode_western(path: Path, target: Path) -> int:
    """Write the lines in UTF-8, and count those that were not."""
    found = 0
    with path.open("rb") as lines, target.open("w", encoding="utf-8", newline="") as sink:
        for line in lines:
            try:
                sink.write(line.decode("utf-8"))
            except UnicodeDecodeError:
                found += 1
                sink.write(_western(line))
    return found


def _western(line: bytes) -> str:
    try:
        return line.decode(WESTERN)
    except UnicodeDecodeError:  # five bytes mean nothing in Windows-1252
        return line.decode("latin-1")
