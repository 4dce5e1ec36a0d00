"""Tables of any origin, delimited text or Parquet, as lazy frames that can be read a column at a time.

Text goes through `plain_text`, `dialect` and `columns`; what was understood is said with the rows.
"""

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cv_quality.errors import TableError
from cv_quality.tables.cells import column_names, count_short_lines, write_cells
from cv_quality.tables.columns import ColumnReading, Habits, as_text, read_column
from cv_quality.tables.dialect import sniff
from cv_quality.tables.notes import notes_of
from cv_quality.tables.plain_text import plain_text

if TYPE_CHECKING:
    import polars as pl

PARQUET_MAGIC: Final = b"PAR1"


@dataclass(frozen=True, slots=True)
class OpenedTable:
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


@contextmanager
def opened_table(path: Path, *, ids: Collection[str] = (), missing: Sequence[str] = ()) -> Iterator[OpenedTable]:
    """Open the table in a delimited text or Parquet file, told apart by content, whatever the file is called.

    Text is rewritten in a temporary folder first, in bounded memory, so that columns can be read alone.

    Args:
        path: the file; text may be compressed (`plain_text`) and written in any `TextDialect`.
        ids: columns that name somebody: their text counts, so that "7" and "07" are two.
        missing: what stands for a missing value beside the usual words, in every column.

    Raises:
        TableError: no such file, an empty or damaged one, two columns of one name, a line that does not fit the others.
    """
    with _opened(path, ids=ids, missing=missing) as table:
        yield _typed(table)


@contextmanager
def opened_tables(
    before: Path, after: Path, *, ids: Collection[str] = (), missing: Sequence[str] = ()
) -> Iterator[tuple[OpenedTable, OpenedTable]]:
    """Open two tables that are compared: what is text in one of them is text in both.

    Args:
        before, after: the files, each as of `opened_table`.
        ids, missing: as of `opened_table`.
    """
    with (
        _opened(before, ids=ids, missing=missing, is_compared=True) as old,
        _opened(after, ids=ids, missing=missing, is_compared=True) as new,
    ):
        yield _typed(_alike(old, new)), _typed(_alike(new, old))


@contextmanager
def _opened(
    path: Path, *, ids: Collection[str], missing: Sequence[str], is_compared: bool = False
) -> "Iterator[OpenedTable | _Cells]":
    if is_parquet(path):
        with _parquet(path, missing=missing) as table:
            yield table
        return
    # A sink that failed may still be closing its file when the folder goes.
    with tempfile.TemporaryDirectory(prefix="cvq-table-", ignore_cleanup_errors=True) as folder:
        yield _delimited(path, Path(folder), ids=ids, missing=missing, is_compared=is_compared)


def is_parquet(path: Path) -> bool:
    """Tell by its first bytes whether a file is Parquet, whatever it is called.

    Raises:
        TableError: no such file, or an empty one.
    """
    if not path.is_file():
        raise TableError(f"{path}: is a folder; name a file in it" if path.is_dir() else f"{path}: no such file")
    with path.open("rb") as file:
        start = file.read(len(PARQUET_MAGIC))
    if not start:
        raise TableError(f"{path}: the file is empty")
    return start == PARQUET_MAGIC


@contextmanager
def _parquet(path: Path, *, missing: Sequence[str]) -> Iterator[OpenedTable]:
    import polars as pl

    try:
        rows = pl.scan_parquet(path, glob=False)
        if missing:
            texts = pl.col(pl.String, pl.Categorical, pl.Enum).cast(pl.String)
            rows = rows.with_columns(pl.when(~texts.is_in(missing)).then(texts))
        yield OpenedTable(rows)
    except (pl.exceptions.ComputeError, pl.exceptions.InvalidOperationError, OSError) as error:
        raise TableError(f"{path}: not a readable Parquet file: {error}") from error
    except pl.exceptions.PanicException as error:  # Polars asserts what a sound file holds; no subclass of Exception
        raise TableError(f"{path}: not a readable Parquet file: its pages do not fit its columns") from error


def _delimited(path: Path, folder: Path, *, ids: Collection[str], missing: Sequence[str], is_compared: bool) -> _Cells:
    import polars as pl

    text = plain_text(path, folder=folder)
    dialect = sniff(text)
    names, target = column_names(path, dialect), folder / "cells.arrow"
    texts = names if is_compared or missing else ids
    write_cells(text, target, dialect=dialect, names=names, texts=texts)
    cells = pl.scan_ipc(target)
    habits = Habits(dialect.separator, missing=tuple(missing))
    readings = _readings(cells, habits, ids=ids)
    is_full = not cells.select(pl.col(names[-1]).is_null().any()).collect().item()
    n_short = 0 if is_full else count_short_lines(text, dialect)
    short = f"{n_short:,} line{'' if n_short == 1 else 's'} with fewer cells than the header; those are missing"
    return _Cells(cells, (*text.notes, *dialect.notes, *([short] if n_short else [])), habits, readings)


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


def _typed(table: "OpenedTable | _Cells") -> OpenedTable:
    if isinstance(table, OpenedTable):
        return table
    readings = list(table.readings.values())
    rows = table.cells.select(item.values.alias(item.name) for item in readings)
    return OpenedTable(rows, (*table.notes, *notes_of(readings)))


def _alike(one: "OpenedTable | _Cells", other: "OpenedTable | _Cells") -> "OpenedTable | _Cells":
    """Read as text what is text in the other table and only looks like numbers in this one."""
    import polars as pl

    if isinstance(one, OpenedTable):
        return one
    if isinstance(other, OpenedTable):
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
