"""Every file as texts: decoded values, names and digests of members, text of documents, metadata of images.

A search of the bytes alone would find nothing in what is compressed. Which files there are is in `places`, what is
looked for in `words`.
"""

import base64
import gzip
import hashlib
import io
import json
import re
import sqlite3
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Final

from cv_quality.errors import ForgettingError

CHUNK: Final = 4 << 20
OVERLAP: Final = 2 << 10
"""What two pieces of a file share, so that no word is cut."""
MAX_DEPTH: Final = 6
_EMBEDDED = re.compile(r"[A-Za-z0-9+/]{64,}={0,2}")
_TEXTS = (".html", ".json", ".jsonl", ".md", ".txt", ".csv", ".log", ".xml", ".svg", ".twb", ".tds", ".yaml", ".err")
_SUBJECT = "subject_id"

Reader = Callable[[str, BinaryIO, int], Iterator[str]]


def texts_of(name: str, file: BinaryIO, depth: int = 0) -> Iterator[str]:
    """Everything that a file says, in pieces.

    Args:
        name: of the file; it is among what is said.
        file: at its start.
        depth: of archives within archives.

    Raises:
        ForgettingError: it is of a format that is known, and cannot be read.
    """
    yield name
    if depth > MAX_DEPTH:
        raise ForgettingError(f"{name}: archives within archives, more than {MAX_DEPTH} deep; unpack it and look again")
    reader, is_packed = _reader_of(name, file)
    if not is_packed:
        yield from _plain(file)
    if reader:
        file.seek(0)
        try:
            yield from reader(name, file, depth)
        except ForgettingError:
            raise
        except Exception as error:  # Each engine and library raises its own.
            told = str(error).splitlines()
            raise ForgettingError(f"{name}: {type(error).__name__}: {told[0] if told else 'unreadable'}") from error


def _reader_of(name: str, file: BinaryIO) -> tuple[Reader | None, bool]:
    """Who decodes a file, and whether its bytes themselves say nothing more."""
    head = file.read(512)
    file.seek(0)
    if head[257:262] == b"ustar":
        return _tar, True
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd, True
    for magic, reader in _MAGIC.items():
        if head.startswith(magic):
            return reader, False
    if head[8:12] == b"DUCK":
        return _duckdb, False
    if name.endswith(".hyper"):
        return _hyper, False
    return (_document if name.endswith(_TEXTS) else None), False


def _plain(file: BinaryIO) -> Iterator[str]:
    rest = b""
    while data := file.read(CHUNK):
        yield (rest + data).decode("latin-1")
        rest = data[-OVERLAP:]


def _document(name: str, file: BinaryIO, depth: int) -> Iterator[str]:
    """Text in which others are wrapped: escaped characters, and files as base64."""
    text = file.read().decode(errors="replace")
    if "\\u" in text:
        yield re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    for number, match in enumerate(_EMBEDDED.finditer(text)):
        code = match[0].rstrip("=")
        data = base64.b64decode(code[: len(code) - (len(code) % 4 == 1)] + "==")
        yield from texts_of(f"{name}#{number}", io.BytesIO(data), depth + 1)


def _tar(name: str, file: BinaryIO, depth: int) -> Iterator[str]:
    with tarfile.open(fileobj=file) as archive:
        for member in archive:
            yield f"{member.name} {member.linkname} {member.uname} {json.dumps(member.pax_headers)}"
            if opened := archive.extractfile(member):
                yield from _member(f"{name}/{member.name}", opened.read(), depth)


def _zip(name: str, file: BinaryIO, depth: int) -> Iterator[str]:
    with zipfile.ZipFile(file) as archive:
        yield archive.comment.decode("latin-1")
        for member in archive.infolist():
            yield from _member(f"{name}/{member.filename}", archive.read(member), depth)


def _member(name: str, data: bytes, depth: int) -> Iterator[str]:
    yield hashlib.sha256(data).hexdigest()
    yield from texts_of(name, io.BytesIO(data), depth + 1)


def _gzip(name: str, file: BinaryIO, depth: int) -> Iterator[str]:
    with gzip.open(file) as stream:
        yield from texts_of(name.removesuffix(".gz"), io.BytesIO(stream.read()), depth + 1)


def _zstd(_: str, file: BinaryIO, __: int) -> Iterator[str]:
    """The decompressed text in pieces; what a damaged file still gives, which is all that there is to be read."""
    import pyarrow as pa

    stream, rest = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"), b""
    step = CHUNK
    while True:
        try:
            data = stream.read(step)
        except OSError:
            return
        if not data:
            return
        text = (rest + data).decode("latin-1")
        yield text
        if "\\u" in text:
            yield re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
        rest = data[-OVERLAP:]


def _parquet(_: str, file: BinaryIO, __: int) -> Iterator[str]:
    """Values and metadata; statistics stand in clear in the file's bytes."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as parquet:
        yield str(parquet.schema_arrow.metadata)
        for group in range(parquet.num_row_groups):
            rows = parquet.read_row_group(group, use_threads=False)
            for column in rows.column_names:
                yield from _column(column, _strings(rows[column].combine_chunks()))


def _strings(values: "object") -> Iterator[str]:
    """The texts in a column, however nested."""
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        for chunk in values.chunks:
            yield from _strings(chunk)
    elif isinstance(values, pa.DictionaryArray):
        yield from _strings(values.dictionary)
    elif isinstance(values, pa.StructArray):
        for field in values.flatten():
            yield from _strings(field)
    elif isinstance(values, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray | pa.MapArray):
        yield from _strings(values.flatten())
    elif isinstance(values, pa.Array) and _is_text(values.type):
        for value in values.unique().to_pylist():
            if value is not None:
                yield value if isinstance(value, str) else bytes(value).decode("latin-1")


def _is_text(kind: object) -> bool:
    import pyarrow.types as kinds

    tests = (kinds.is_string, kinds.is_large_string, kinds.is_string_view, kinds.is_binary, kinds.is_large_binary)
    return any(test(kind) for test in tests)


def _column(name: str, values: Iterator[str]) -> Iterator[str]:
    """The values of a column in few pieces; those of subjects as fields, so that short ids are found there."""
    is_subject, held, size = name.endswith(_SUBJECT), list[str](), 0
    for value in values:
        held.append(f'"{_SUBJECT}": "{value}"' if is_subject else value)
        size += len(value)
        if size > CHUNK:
            yield "\n".join(held)
            held, size = [], 0
    if held:
        yield "\n".join(held)


def _sqlite(_: str, file: BinaryIO, __: int) -> Iterator[str]:
    with _as_path(file, ".db") as path, closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        for table, columns in sqlite_tables(database):
            for column in columns:
                rows = database.execute(f'SELECT DISTINCT "{column}" FROM "{table}"')
                told = (value for (value,) in rows if isinstance(value, str | bytes))
                texts = (value if isinstance(value, str) else value.decode("latin-1") for value in told)
                yield from _column(column, texts)


def sqlite_tables(database: sqlite3.Connection) -> list[tuple[str, list[str]]]:
    """List the tables of an SQLite database with their columns."""
    found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE '%WITHOUT ROWID%'")
    names = [str(name) for (name,) in found if not str(name).startswith("sqlite_")]
    return [(name, [str(row[1]) for row in database.execute(f'PRAGMA table_info("{name}")')]) for name in names]


def _duckdb(_: str, file: BinaryIO, __: int) -> Iterator[str]:
    import duckdb

    with _as_path(file, ".duckdb") as path, duckdb.connect(str(path), read_only=True) as database:
        tables = database.execute("SELECT schema_name, table_name, sql FROM duckdb_tables()").fetchall()
        for schema, table, sql in tables:
            yield str(sql)
            columns = database.execute(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = ? AND table_name = ?",
                [schema, table],
            ).fetchall()
            for column, kind in columns:
                if any(word in kind for word in ("VARCHAR", "BLOB", "JSON", "ENUM")):
                    rows = database.execute(f'SELECT DISTINCT "{column}"::VARCHAR FROM "{schema}"."{table}"').fetchall()
                    yield from _column(column, (value for (value,) in rows if value is not None))


def _hyper(_: str, file: BinaryIO, __: int) -> Iterator[str]:
    try:
        import tableauhyperapi as hyper
    except ImportError as error:
        raise ForgettingError("extracts are read with the extra `tableau`, which is not installed") from error

    started = hyper.HyperProcess(hyper.Telemetry.DO_NOT_SEND_USAGE_DATA_TO_TABLEAU, parameters={"log_config": ""})
    with (
        _as_path(file, ".hyper", is_copied=True) as path,
        started as process,
        hyper.Connection(process.endpoint, str(path)) as database,
    ):
        for schema in database.catalog.get_schema_names():
            for table in database.catalog.get_table_names(schema):
                for column in database.catalog.get_table_definition(table).columns:
                    if column.type.tag in (hyper.TypeTag.TEXT, hyper.TypeTag.VARCHAR, hyper.TypeTag.CHAR):
                        with database.execute_query(f"SELECT DISTINCT {column.name} FROM {table}") as rows:
                            yield from _column(
                                str(column.name.unescaped), (str(value) for (value,) in rows if value is not None)
                            )


class _as_path:
    """A local file for an engine that reads nothing else: the file itself, or a copy where it lies in an archive."""

    def __init__(self, file: BinaryIO, suffix: str, *, is_copied: bool = False) -> None:
        self._file, self._suffix, self._is_copied = file, suffix, is_copied

    def __enter__(self) -> Path:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        name = getattr(self._file, "name", None)
        if isinstance(name, str) and not self._is_copied:
            return Path(name)
        self._folder = tempfile.TemporaryDirectory(prefix="cvq-scan-")
        path = Path(self._folder.name) / f"copy{self._suffix}"
        with path.open("wb") as copy:
            while data := self._file.read(CHUNK):
                copy.write(data)
        return path

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def _pdf(_: str, file: BinaryIO, __: int) -> Iterator[str]:
    import pypdf

    document = pypdf.PdfReader(file)
    yield str(dict(document.metadata or {}))
    for page in document.pages:
        text = page.extract_text()
        yield text
        yield text.replace("\n", "")
    for name, contents in document.attachments.items():
        for data in contents:
            yield from _member(name, data, MAX_DEPTH - 1)


def _image(_: str, file: BinaryIO, __: int) -> Iterator[str]:
    from PIL import Image

    with Image.open(file) as image:
        yield " ".join(str(value) for value in image.info.values())
        yield " ".join(str(value) for value in image.getexif().values())


def _numpy(_: str, file: BinaryIO, __: int) -> Iterator[str]:
    import numpy as np

    array = np.load(file, allow_pickle=False)
    if array.dtype.kind in "US":
        yield "\n".join(map(str, np.unique(array).tolist()))


_MAGIC: dict[bytes, Reader] = {
    b"PAR1": _parquet,
    b"\x1f\x8b": _gzip,
    b"PK\x03\x04": _zip,
    b"%PDF": _pdf,
    b"SQLite format 3\0": _sqlite,
    b"\x89PNG": _image,
    b"\xff\xd8\xff": _image,
    b"GIF8": _image,
    b"\x93NUMPY": _numpy,
}
