"""Tables of any origin, delimited text or Parquet, as lazy frames that can be read a column at a time.

Text goes through `plain_text`, `dialect` and `columns`; what was understood is said with the rows.
"""

import csv
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cv_quality.errors import TableError
from cv_quality.tables.columns import ColumnReading, Habits, as_text, read_column
from cv_quality.tables.dialect import Dialect, sniff
from cv_quality.tables.notes import notes_of
from cv_quality.tables.plain_text import PlainText, plain_text

if TYPE_CHECKING:
    import polars as pl

PARQUET_MAGIC: Final = b"PAR1"


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is read.

    Attributes:
        rows: the typed rows, read from disk when they are asked for.
        notes: what was understood that plain CSV would not need, for people.
    """

    rows: "pl.LazyFrame"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Cells:
    """The text of a delimited file, a column at a time, and what each column is taken for."""

    cells: "pl.LazyFrame"
    notes: tuple[str, ...]
    habits: Habits
    readings: Mapping[str, ColumnReading] = field(default_factory=dict)

    def table(self) -> Table:
        rows = self.cells.select(item.values.alias(item.name) for item in self.readings.values())
        return Table(rows, (*self.notes, *notes_of([*self.readings.values()])))


@contextmanager
def opened_table(
    path: Path, *, ids: Collection[str] = (), missing: Sequence[str] = ()
) -> Iterator[Table]:
    """Open the table in a delimited text or Parquet file, told apart by content, whatever the file is called.

    Text is rewritten in a temporary folder first, in bounded memory, so that columns can be read alone.

    Args:
        path: the file; text may be compressed (`plain_text`) and written in any `Dialect`.
        ids: columns that name somebody: their text counts, so that "7" and "07" are two.
        missing: what stands for a missing value beside the usual words, in every column.

    Raises:
        TableError: no such file, an empty or damaged one, two columns of one name, a line that does not fit the others.
    """
    with _opened(path, ids=ids, missing=missing) as table:
        yield table if isinstance(table, Table) else table.table()


@contextmanager
def opened_tables(
    before: Path, after: Path, *, ids: Collection[str] = (), missing: Sequence[str] = ()
) -> Iterator[tuple[Table, Table]]:
    """Open two tables that are compared: what is text in one of them is text in both.

    Args:
        before, after: the files, each as of `opened_table`.
        ids, missing: as of `opened_table`.
    """
    with (
        _opened(before, ids=ids, missing=missing) as old,
        _opened(after, ids=ids, missing=missing) as new,
    ):
        one, other = _alike(old, new), _alike(new, old)
        yield tuple(item if isinstance(item, Table) else item.table() for item in (one, other))


@contextmanager
def _opened(path: Path, *, ids: Collection[str], missing: Sequence[str]) -> "Iterator[Table | _Cells]":
    if not path.is_file():
        raise TableError(f"{path}: is a folder; name a file in it" if path.is_dir() else f"{path}: no such file")
    with path.open("rb") as file:
        start = file.read(len(PARQUET_MAGIC))
    if not start:
        raise TableError(f"{path}: the file is empty")
    if start == PARQUET_MAGIC:
        with _parquet(path, missing=missing) as table:
            yield table
        return
    # A sink that failed may still be closing its file when the folder goes.
    with tempfile.TemporaryDirectory(prefix="cvq-table-", ignore_cleanup_errors=True) as folder:
        yield _delimited(path, Path(folder), ids=ids, missing=missing)


@contextmanager
def _parquet(path: Path, *, missing: Sequence[str]) -> Iterator[Table]:
    import polars as pl

    try:
        rows = pl.scan_parquet(path, glob=False)
        if missing:
            texts = pl.col(pl.String, pl.Categorical, pl.Enum).cast(pl.String)
            rows = rows.with_columns(pl.when(~texts.is_in(missing)).then(texts))
        yield Table(rows)
    except (pl.exceptions.ComputeError, pl.exceptions.InvalidOperationError, OSError) as error:
        raise TableError(f"{path}: not a readable Parquet file: {error}") from error
    except pl.exceptions.PanicException as error:  # Polars asserts what a sound file holds; no subclass of Exception
        raise TableError(f"{path}: not a readable Parquet file: its pages do not fit its columns") from error


def _delimited(path: Path, folder: Path, *, ids: Collection[str], missing: Sequence[str]) -> _Cells:
    import polars as pl

    text = plain_text(path, folder=folder)
    dialect = sniff(text)
    names, target = _names(path, dialect), folder / "cells.arrow"
    try:
        _as_cells(text.path, target, dialect=dialect, names=names)
    except (pl.exceptions.PolarsError, OSError):
        # Slower, but lenient where quotes and blanks are odd, and it knows the line that is broken.
        rewritten = folder / "rewritten.csv"
        _rewrite(text, rewritten, dialect=dialect, width=len(names))
        _as_cells(rewritten, target, dialect=Dialect(first_line=0), names=names)
    cells = pl.scan_ipc(target)
    habits = Habits(dialect.separator, missing=tuple(missing))
    readings = _readings(cells, habits, ids=ids)
    cut = _short_lines(text, dialect, names, cells)
    return _Cells(cells, (*text.notes, *dialect.notes, *cut), habits, readings)


def _names(path: Path, dialect: Dialect) -> list[str]:
    """The names of the columns; one without a name has its place.

    Raises:
        TableError: two columns have one name.
    """
    for name, n in Counter(dialect.names).items():
        if name and n > 1:
            places = [str(place) for place, known in enumerate(dialect.names, 1) if known == name]
            raise TableError(
                f"{path}: {n} columns are named {name!r}, the {' and the '.join(f'{place}.' for place in places)}: "
                "which is meant? Rename all but one, or leave them out"
            )
    return [name or _unnamed(place, dialect.names) for place, name in enumerate(dialect.names, 1)]


def _unnamed(place: int, names: Collection[str]) -> str:
    name = f"column {place}"
    while name in names:
        name += "_"
    return name


def _as_cells(path: Path, target: Path, *, dialect: Dialect, names: Sequence[str]) -> None:
    """Write the cells as they are, all text; lines in which every cell is empty are passed over."""
    import polars as pl

    rows = pl.scan_csv(
        path,
        has_header=False,
        skip_lines=dialect.first_line,
        separator=dialect.separator,
        quote_char=dialect.quote,
        eol_char=dialect.end,
        schema=dict.fromkeys(names, pl.String()),
        missing_columns="insert",
        raise_if_empty=False,
        glob=False,
    )
    if len(names) > 1:
        rows = rows.filter(pl.any_horizontal(pl.all().is_not_null()))
    rows.sink_ipc(target, maintain_order=True)


def _rewrite(text: PlainText, target: Path, *, dialect: Dialect, width: int) -> None:
    """Write the rows as plain CSV, one cell after the other.

    Raises:
        TableError: a line has more cells than the header, or a quote is not closed.
    """
    with (
        text.path.open(encoding="utf-8-sig", newline="") as lines,
        target.open("w", encoding="utf-8", newline="") as sink,
    ):
        head = [lines.readline() for _ in range(dialect.first_line)]
        reader = csv.reader(
            lines, delimiter=dialect.separator, quotechar=dialect.quote, skipinitialspace=dialect.separator != " "
        )
        writer, line = csv.writer(sink), len(head)
        try:
            for cells in reader:
                first, line = line + 1, len(head) + reader.line_num
                writer.writerow(_fitted(cells, text, width=width, line=first, n_lines=line - first + 1))
        except csv.Error as error:
            raise TableError(
                f"{text.source}: line {line + 1}: expected cells of a CSV table: {error}; is a quote not closed?"
            ) from error


def _fitted(cells: list[str], text: PlainText, *, width: int, line: int, n_lines: int) -> list[str]:
    while len(cells) > width and not cells[-1].strip():
        del cells[-1]
    if len(cells) > width:
        raise TableError(f"{text.source}: line {line} has {len(cells):,} cells where the header has {width:,}")
    if n_lines > 1 and len(cells) < width:
        raise TableError(f"{text.source}: line {line} opens a quote that is not closed where a cell ends; close it")
    return [*cells, *[""] * (width - len(cells))]


def _readings(cells: "pl.LazyFrame", habits: Habits, *, ids: Collection[str]) -> dict[str, ColumnReading]:
    """Decide what every column is; what the commas of one tell is then taken for those that do not tell."""
    names = cells.collect_schema().names()

    def read(name: str, habits: Habits) -> ColumnReading:
        values = cells.select(name).collect().to_series()
        return read_column(values, habits=habits, is_id=name in ids)

    found = {name: read(name, habits) for name in names}
    told = {item.comma for item in found.values() if item.comma}
    if len(told) != 1:
        return found
    known = replace(habits, comma=told.pop())
    return {
        name: read(name, known) if item.kind == "number" and item.comma is None else item
        for name, item in found.items()
    }


def _short_lines(text: PlainText, dialect: Dialect, names: Sequence[str], cells: "pl.LazyFrame") -> tuple[str, ...]:
    """Say how many lines have fewer cells than the header; Polars fills them up in silence."""
    import polars as pl

    last = cells.select(pl.col(names[-1]).is_null().any()).collect().item()
    if not last or dialect.separator == " ":
        return ()
    lines = pl.scan_lines(text.path, name="line").slice(dialect.first_line)
    marks = pl.col("line").str.count_matches(dialect.separator, literal=True)
    is_plain = ~pl.col("line").str.contains(dialect.quote, literal=True) & (pl.col("line").str.strip_chars() != "")
    n = int(lines.select((is_plain & (marks < len(names) - 1)).sum()).collect().item())
    return (f"{n:,} line{'' if n == 1 else 's'} with fewer cells than the header, which are missing",) if n else ()


def _alike(one: "Table | _Cells", other: "Table | _Cells") -> "Table | _Cells":
    """Read as text what is text in the other table and only looks like numbers in this one."""
    import polars as pl

    if isinstance(one, Table):
        return one
    if isinstance(other, Table):
        schema = other.rows.collect_schema()
        texts = {name for name, kind in schema.items() if kind in (pl.String, pl.Categorical, pl.Enum)}
    else:
        texts = {name for name, item in other.readings.items() if item.kind == "text" and item.is_filled}
    changed = {
        name: as_text(item, habits=one.habits, because="in the other table it is text")
        for name, item in one.readings.items()
        if item.kind != "text" and name in texts
    }
    return replace(one, readings={**one.readings, **changed})
