"""Reads foreign logs in batches of rows: JSON lines, delimited text, Parquet, or plain lines, compressed or not.

A batch holds the columns that are asked for, as the log writes them, and the line of every row; what they mean is read
in `cv_quality.drops.importers.values`.
"""

import csv
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MappingError, TableError, near
from cv_quality.tables.cells import column_names, write_cells
from cv_quality.tables.dialect import TextDialect, sniff
from cv_quality.tables.plain_text import PlainText, plain_text
from cv_quality.tables.reading import is_parquet

if TYPE_CHECKING:
    import polars as pl

LINE: Final = "line of the log"
"""The column of a batch that holds the line, from 1; no column of a log can be mapped under this name."""
BATCH_ROWS: Final = 100_000
BLOCK_BYTES: Final = 16 << 20
MAX_LINE_BYTES: Final = 1 << 20
MAX_ARRAY_BYTES: Final = 256 << 20
"""Of a JSON array, which is read at once."""
_LOOKED_AT: Final = 1_000

Form = Literal["json", "delimited", "parquet", "lines"]


@dataclass(frozen=True, slots=True)
class Refused:
    """One row that could not be read at all."""

    line: int
    reason: str
    detail: str
    text: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a log, with `LINE`, and those that could not be read."""

    rows: "pl.DataFrame"
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log that is open.

    Attributes:
        path: as it was named.
        form: how it is written.
        names: the columns, as far as they can be told beforehand; of JSON those of its first lines.
        notes: what was understood, for people.
        text, dialect: the plain text of it, and how its lines are split.
        folder: for files that are needed while it is read.
        read: reads columns batch by batch, where the form alone does not say how.
        passed_over: pattern of lines that are no rows.
        source: of Parquet, where it lies if not under its name.
    """

    path: Path
    form: Form
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    text: PlainText | None = None
    dialect: TextDialect | None = None
    folder: Path | None = None
    read: Callable[[Sequence[str]], Iterator[Batch]] | None = None
    passed_over: str | None = None
    source: Path | None = None

    def require(self, columns: Sequence[str]) -> None:
        """Refuse columns that the log does not have; of JSON, whose rows differ, that is told from all rows.

        Raises:
            MappingError: with the near names.
        """
        if self.form == "json":
            for name in columns:
                outer = next((other for other in columns if name.startswith(f"{other}.")), None)
                if outer is not None:
                    raise MappingError(f"{self.path}: {name!r} is a part of {outer!r}: map one of them")
            return
        for name in columns:
            if name not in self.names:
                raise MappingError(f"{self.path}: no column {name!r}; {near(name, self.names)}")

    def batches(self, columns: Sequence[str]) -> "Iterator[Batch]":
        """Read the columns batch by batch; every row that is not blank is in one, or refused."""
        if self.read is not None:
            yield from self.read(columns)
        elif self.form == "parquet":
            yield from _parquet_batches(self.source or self.path, columns)
        elif self.form == "delimited":
            yield from _delimited_batches(self, columns)
        else:
            assert self.text is not None
            for batch in line_batches(self.text.path, passed_over=self.passed_over):
                yield _objects(batch.rows, columns) if self.form == "json" else batch


Opener = Callable[[Path, PlainText, Path], LogFile]
"""Opens the plain text of a file in a known form, with a folder for what it needs while it is read."""


@contextmanager
def opened_log(path: Path, opener: Opener | None = None) -> Iterator[LogFile]:
    """Open a log, its form told by content, whatever it is called.

    Args:
        opener: of a form that is known beforehand.

    Raises:
        TableError: no such file, an empty or damaged one, or one without text.
    """
    if is_parquet(path):
        yield LogFile(path, "parquet", _parquet_names(path))
        return
    with tempfile.TemporaryDirectory(prefix="cvq-log-", ignore_cleanup_errors=True) as folder:
        text = plain_text(path, folder=Path(folder))
        yield (opener or _open_text)(path, text, Path(folder))


def open_lines(path: Path, text: PlainText, _: Path) -> LogFile:
    """Open plain text, as one column `line`."""
    return LogFile(path, "lines", ("line",), text.notes, text)


def paths_of(value: object, before: str = "") -> Iterator[tuple[str, object]]:
    """Name what a JSON object holds by dotted paths."""
    if not isinstance(value, dict):
        yield before, value
        return
    for key, item in value.items():
        yield from paths_of(item, f"{before}.{key}" if before else key)


def decoded(texts: "pl.Series", columns: Sequence[str]) -> "pl.DataFrame":
    """Take JSON objects apart into columns of text by dotted paths; what is no object is a null in every one.

    Texts that are no JSON are looked at one by one.
    """
    import polars as pl

    try:
        rows = texts.str.json_decode(_struct_of(columns)).alias("").to_frame()
        return rows.select(_path(pl.col(""), name).alias(name) for name in columns)
    except pl.exceptions.PolarsError:
        found = [dict(paths_of(_json(text))) for text in texts]
        return pl.DataFrame(
            {name: pl.Series([_text(row.get(name)) for row in found], dtype=pl.String) for name in columns}
        )


def _open_text(path: Path, text: PlainText, folder: Path) -> LogFile:
    solid = _head(text)
    if not solid:
        raise TableError(f"{path}: expected a log, found only empty lines")
    if solid[0].lstrip().startswith(b"{"):
        return json_lines(path, text)
    if solid[0].lstrip().startswith(b"["):
        return json_lines(path, unrolled(text, folder / "records.jsonl"))
    dialect = sniff(text)
    names = tuple(column_names(path, dialect))
    return LogFile(path, "delimited", names, (*text.notes, *dialect.notes), text, dialect, folder)


def json_lines(path: Path, text: PlainText, *, passed_over: str | None = None) -> LogFile:
    """Open JSON lines.

    Args:
        path: as it was named.
        text: of the lines.
        passed_over: pattern of lines that are no rows.
    """
    found = dict.fromkeys(name for line in _head(text) for name, _ in paths_of(_json(line)) if name)
    ends = tuple(name for name in found if not any(other.startswith(f"{name}.") for other in found))
    return LogFile(path, "json", ends, text.notes, text, passed_over=passed_over)


def _head(text: PlainText) -> list[bytes]:
    """The first lines that are not blank."""
    with text.path.open("rb") as stream:
        lines = [line.lstrip(b"\xef\xbb\xbf") for line in stream.readlines(BLOCK_BYTES >> 4)[:_LOOKED_AT]]
    return [line for line in lines if line.strip()]


def unrolled(text: PlainText, target: Path) -> PlainText:
    """Write the records of a JSON array as lines.

    Raises:
        TableError: it is none, or too large to be read at once.
    """
    size = text.path.stat().st_size
    if size > MAX_ARRAY_BYTES:
        raise TableError(
            f"{text.source}: a JSON array of {size:,} bytes; at most {MAX_ARRAY_BYTES:,} are read, write JSON lines"
        )
    data = text.path.read_bytes()
    try:
        records = msgspec.json.decode(data[_start_of_array(data) :], type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TableError(f"{text.source}: expected a JSON array of records, found none: {error}") from error
    with target.open("wb") as lines:
        lines.writelines(bytes(record).replace(b"\n", b" ").replace(b"\r", b" ") + b"\n" for record in records)
    return PlainText(text.source, target, (*text.notes, "a JSON array: its records are counted, in place of lines"))


def _start_of_array(data: bytes) -> int:
    """Where an array begins: at once, or on a line of its own behind what a tool says of itself."""
    first = data.find(b"[")
    return first if not data[:first].strip(b"\xef\xbb\xbf \t\r\n") else data.find(b"\n[") + 1


def _json(text: str | bytes | None) -> object:
    try:
        return msgspec.json.decode(text) if text is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _struct_of(columns: Sequence[str]) -> "pl.Struct":
    """The type of an object that has something at every path; a path may not go on below another's end."""
    import polars as pl

    tree: dict[str, list[str]] = {}
    for name in columns:
        first, _, rest = name.partition(".")
        tree.setdefault(first, []).append(rest)
    return pl.Struct({name: pl.String() if "" in rests else _struct_of(rests) for name, rests in tree.items()})


def _path(value: "pl.Expr", name: str) -> "pl.Expr":
    for part in name.split("."):
        value = value.struct.field(part)
    return value


def _parquet_names(path: Path) -> tuple[str, ...]:
    import polars as pl

    try:
        schema = pl.scan_parquet(path, glob=False).collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TableError(f"{path}: is Parquet, but damaged or cut off ({error}); write it again") from error
    found: list[str] = []
    for name, kind in schema.items():
        found.append(name)
        inner: list[tuple[str, pl.DataType]] = [(name, kind)]
        while inner:
            before, outer = inner.pop()
            if isinstance(outer, pl.Struct):
                inner += [(f"{before}.{item.name}", item.dtype) for item in outer.fields]  # type: ignore[misc]
                found += [f"{before}.{item.name}" for item in outer.fields]
    return tuple(found)


def _parquet_batches(path: Path, columns: Sequence[str]) -> Iterator[Batch]:
    import polars as pl
    import pyarrow.parquet as pq

    file, done = pq.ParquetFile(path), 0
    top = set(file.schema_arrow.names)
    firsts = list(dict.fromkeys(name if name in top else name.partition(".")[0] for name in columns))
    for piece in file.iter_batches(batch_size=BATCH_ROWS, columns=firsts):
        rows = pl.DataFrame(pl.from_arrow(piece))
        lines = pl.Series(LINE, np.arange(done + 1, done + piece.num_rows + 1))
        done += piece.num_rows
        yield Batch(
            rows.select(
                (pl.col(name) if name in top else _path(pl.col(name.partition(".")[0]), name.partition(".")[2])).alias(
                    name
                )
                for name in columns
            ).with_columns(lines)
        )


def _delimited_batches(log: LogFile, columns: Sequence[str]) -> Iterator[Batch]:
    import polars as pl
    import pyarrow as pa

    assert log.text is not None
    assert log.dialect is not None
    assert log.folder is not None
    target = log.folder / "cells.arrow"
    try:
        write_cells(log.text, target, dialect=log.dialect, names=log.names, texts=log.names)
    except TableError:
        yield from _odd_batches(log.text, log.dialect, log.names, columns)
        return
    with pa.OSFile(str(target)) as data:
        places = [log.names.index(name) for name in columns]
        reader = pa.ipc.open_file(data, options=pa.ipc.IpcReadOptions(included_fields=sorted(places)))
        lines, done = _lines_of(log.text, log.dialect, _count_rows(target)), 0
        for index in range(reader.num_record_batches):
            piece = reader.get_batch(index).select(list(columns))
            numbers = pl.Series(LINE, lines(np.arange(done, done + piece.num_rows)))
            done += piece.num_rows
            rows = pl.DataFrame(pl.from_arrow(piece)).with_columns(numbers)
            yield from (Batch(part) for part in rows.iter_slices(BATCH_ROWS))


def _odd_batches(
    text: PlainText, dialect: TextDialect, names: Sequence[str], columns: Sequence[str]
) -> Iterator[Batch]:
    """Read a text row by row, and refuse rows with more cells than the header, or a quote that is not closed."""
    rows, lines, refused = list[list[str]](), list[int](), list[Refused]()
    for line, end, cells in _csv_rows(text, dialect):
        is_wide = any(cell.strip() for cell in cells[len(names) :])
        if is_wide or (len(cells) < len(names) and end > line):
            expected = f"expected {len(names)} cells, as the header has, found {len(cells)}"
            reason = ("too_many_cells", expected) if is_wide else ("open_quote", f"{expected}; a quote is not closed")
            refused.append(Refused(line, *reason, dialect.separator.join(cells)[:MAX_LINE_BYTES]))
            continue
        rows.append([*cells[: len(names)], *[""] * (len(names) - len(cells))])
        lines.append(line)
        if len(rows) >= BATCH_ROWS:
            yield Batch(_frame(rows, lines, names, columns), refused)
            rows, lines, refused = [], [], []
    yield Batch(_frame(rows, lines, names, columns), refused)


def _frame(
    rows: Sequence[Sequence[str]], lines: Sequence[int], names: Sequence[str], columns: Sequence[str]
) -> "pl.DataFrame":
    import polars as pl

    found = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    return found.select(columns).with_columns(pl.Series(LINE, lines, pl.Int64))


def _csv_rows(text: PlainText, dialect: TextDialect) -> Iterator[tuple[int, int, list[str]]]:
    """Rows that are not empty, with their first and last lines, from 1."""
    with text.path.open(encoding="utf-8-sig", newline="") as stream:
        for _ in range(dialect.first_line):
            stream.readline()
        reader, line = csv.reader(stream, delimiter=dialect.separator, quotechar=dialect.quote), dialect.first_line + 1
        try:
            for cells in reader:
                end = dialect.first_line + reader.line_num
                if any(cells):
                    yield line, end, cells
                line = end + 1
        except csv.Error as error:
            raise TableError(f"{text.source}: line {line}: expected cells of a CSV table, found {error}") from error


def _count_rows(cells: Path) -> int:
    import polars as pl

    return int(pl.scan_ipc(cells).select(pl.len()).collect().item())


_Numbers = NDArray[np.int64]


def _lines_of(text: PlainText, dialect: TextDialect, n_rows: int) -> Callable[[_Numbers], _Numbers]:
    """The lines of rows by their numbers from 0: counted, where each line is one, and otherwise looked up."""
    n_lines, last = 0, b""
    with text.path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            n_lines, last = n_lines + block.count(b"\n"), block[-1:]
    n_lines += last != b"\n"
    if n_lines - dialect.first_line == n_rows:
        return lambda numbers: numbers + dialect.first_line + 1
    found = [line for line, _, _ in _csv_rows(text, dialect)]
    lines = np.array(found + found[-1:] * (n_rows - len(found)), dtype=np.int64)
    return lambda numbers: lines[numbers]


def line_batches(path: Path, *, passed_over: str | None = None) -> Iterator[Batch]:
    """Read the lines that are not blank, as one column `line`.

    Args:
        path: of plain text.
        passed_over: pattern of lines that are left out.
    """
    import polars as pl

    done, carry = 0, b""
    with path.open("rb") as stream:
        while True:
            block = stream.read(BLOCK_BYTES)
            data, cut, rest = (carry + block).rpartition(b"\n") if block else (carry, b"", b"")
            carry = rest
            if block and not cut:
                continue
            found = data.decode("utf-8", "replace").removeprefix("\ufeff").split("\n") if data or cut else []
            lines = pl.DataFrame(
                {"line": pl.Series(found, dtype=pl.String), LINE: np.arange(done + 1, done + len(found) + 1)}
            )
            done += len(found)
            lines = lines.with_columns(pl.col("line").str.strip_chars()).filter(pl.col("line") != "")
            if passed_over is not None:
                lines = lines.filter(~pl.col("line").str.contains(passed_over))
            yield Batch(lines)
            if not block:
                return


def _objects(lines: "pl.DataFrame", columns: Sequence[str]) -> Batch:
    import polars as pl

    texts = lines["line"]
    is_object = texts.str.starts_with("{") & (texts.str.len_bytes() <= MAX_LINE_BYTES)
    refused = _repeating(lines.filter(is_object), columns)
    is_object &= ~lines[LINE].is_in([item.line for item in refused])
    try:
        rows = texts.filter(is_object).str.json_decode(_struct_of(columns)).alias("").to_frame()
    except pl.exceptions.PolarsError:
        is_object &= pl.Series([isinstance(_json(text), dict) for text in texts], dtype=pl.Boolean)
        rows = None
    told = {item.line for item in refused}
    for line, text in lines.filter(~is_object).select(LINE, "line").iter_rows():
        if line not in told:
            refused.append(Refused(line, *_why_no_object(text), text))
    kept = lines.filter(is_object)
    if rows is None:
        return Batch(decoded(kept["line"], columns).with_columns(kept[LINE]), refused)
    values = rows.select(_path(pl.col(""), name).alias(name) for name in columns)
    return Batch(values.with_columns(kept[LINE]), refused)


def _repeating(lines: "pl.DataFrame", columns: Sequence[str]) -> list[Refused]:
    """Lines in which an object has a key twice: which value is meant cannot be told.

    A name that is asked for and stands in a line more than once is what such lines have in common.
    """
    import polars as pl

    names = {part for column in columns for part in column.split(".")}
    n_asked = {name: sum(name in column.split(".") for column in columns) for name in names}
    is_odd = [pl.col("line").str.count_matches(f'"{name}"', literal=True) > n_asked[name] for name in names]
    found = []
    for line, text in lines.filter(pl.any_horizontal(is_odd)).select(LINE, "line").iter_rows():
        twice = _keys_twice(text)
        if twice:
            found.append(Refused(line, "malformed_json", f"expected each key once, found {twice[0]!r} again", text))
    return found


def _keys_twice(text: str) -> list[str]:
    found: list[str] = []

    def note(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        found.extend(key for key in dict.fromkeys(keys) if keys.count(key) > 1)
        return dict(pairs)

    with suppress(ValueError, RecursionError):
        json.loads(text, object_pairs_hook=note)
    return found


def _why_no_object(text: str) -> tuple[str, str]:
    if len(text.encode()) > MAX_LINE_BYTES:
        return "line_too_long", f"expected at most {MAX_LINE_BYTES:,} bytes"
    try:
        found: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return "malformed_json", f"expected a JSON object, found text that is none: {error}"
    return "malformed_json", f"expected a JSON object, found {type(found).__name__}"


def row_text(row: Mapping[str, object]) -> str:
    """Write a row that is set aside as JSON."""
    return msgspec.json.encode({name: value for name, value in row.items() if name != LINE}, enc_hook=str).decode()
