"""The cells of a delimited text as columns in an Arrow file, each of which can be read alone.

Cells stay text until `cv_quality.tables.columns` has seen all of a column, but for those that Polars itself reads as
decimals from the first to the last.
"""

import csv
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cv_quality.errors import TableError
from cv_quality.tables.columns import FEW_NAMES, SHOWN_CELL
from cv_quality.tables.dialect import TextDialect
from cv_quality.tables.plain_text import CHUNK, PlainText

if TYPE_CHECKING:
    import polars as pl

LOOKED_AT: Final = 1_000
"""Rows in which a column must hold decimals for Polars to be asked to read it as such."""
SWALLOWED_ROWS: Final = 2
"""Whole lines of a cell, between its first and its last, that look like rows of the table when all of them do."""
_DECIMAL: Final = r"^[+-]?\d+\.\d+$"


def column_names(source: Path, dialect: TextDialect) -> list[str]:
    """Name the columns as the header does; one without a name is named by its place.

    Raises:
        TableError: two columns have one name.
    """
    for name, n in Counter(dialect.names).items():
        if name and n > 1:
            places = [str(place) for place, known in enumerate(dialect.names, 1) if known == name]
            raise TableError(
                f"{source}: expected columns of different names, found {n} named {name!r} (columns "
                f"{' and '.join(places)}): rename or remove all but the one that is meant"
            )
    return [name or _unnamed(place, dialect.names) for place, name in enumerate(dialect.names, 1)]


def write_cells(
    text: PlainText, target: Path, *, dialect: TextDialect, names: Sequence[str], texts: Collection[str]
) -> None:
    """Write the cells of a text to an Arrow file; lines in which every cell is empty are passed over.

    Args:
        text, dialect: the file, and how its lines are split.
        target: beside it a rewritten text may lie for a while.
        names: of the columns.
        texts: columns that are to be text whatever their cells look like.

    Raises:
        TableError: a line has more cells than the header, or a quote is not closed.
    """
    import polars as pl

    schema: dict[str, pl.DataType] = dict.fromkeys(names, pl.String())
    decimals = [name for name in _decimals(text.path, dialect, schema) if name not in texts]
    for attempt, floats in enumerate(() if dialect.has_spaces else (decimals, []) if decimals else ([],)):
        # Of its own: a sink that failed may still be writing when the next one has begun.
        tried = target.with_suffix(f".attempt-{attempt}")
        try:
            _sink(_scan(text.path, dialect, {**schema, **dict.fromkeys(floats, pl.Float64())}), tried)
            tried.rename(target)
            break
        except (pl.exceptions.PolarsError, OSError):
            continue
    else:
        # Slower, but lenient where quotes and blanks are odd, and it knows the line that is broken.
        rewritten = target.with_suffix(".csv")
        _rewrite(text, rewritten, dialect=dialect, width=len(names))
        _sink(_scan(rewritten, TextDialect(first_line=0), schema), target)
        rewritten.unlink()
    if _has_quotes(text.path, dialect.quote):
        _refuse_swallowed(target, text.source, dialect=dialect, width=len(names))


def _has_quotes(path: Path, quote: str) -> bool:
    with path.open("rb") as stream:
        return any(quote.encode() in chunk for chunk in iter(lambda: stream.read(CHUNK), b""))


def _refuse_swallowed(cells: Path, source: Path, *, dialect: TextDialect, width: int) -> None:
    """Refuse a cell that holds whole rows of the table: between two stray quotes they would vanish without a word."""
    import polars as pl

    rows = pl.scan_ipc(cells)
    for name in (name for name, kind in rows.collect_schema().items() if kind == pl.String):
        has_lines = pl.col(name).str.count_matches("\n", literal=True) > SWALLOWED_ROWS
        for cell in rows.select(pl.col(name).filter(has_lines)).collect(engine="streaming").to_series():
            inner = cell.split("\n")[1:-1]
            if all(line.count(dialect.separator) == width - 1 for line in inner):
                raise TableError(
                    f"{source}: expected a cell in column {name!r}, found one of {len(inner) + 2:,} lines that look "
                    f"like rows of the table; it begins with {cell[:SHOWN_CELL]!r}: a quote is not closed, or is meant "
                    "as a character and has to be doubled"
                )


def count_short_lines(text: PlainText, dialect: TextDialect) -> int:
    """Count the lines with fewer cells than the header, which are read as if the last ones were empty."""
    import polars as pl

    line = pl.col("line")
    n_marks = line.str.count_matches(dialect.separator, literal=True)
    is_plain = ~line.str.contains(dialect.quote, literal=True) & (line.str.strip_chars() != "")
    lines = pl.scan_lines(text.path, name="line").slice(dialect.first_line)
    return int(lines.select((is_plain & (n_marks < len(dialect.names) - 1)).sum()).collect(engine="streaming").item())


def _unnamed(place: int, names: Collection[str]) -> str:
    name = f"column {place}"
    while name in names:
        name += "_"
    return name


def _scan(path: Path, dialect: TextDialect, schema: "dict[str, pl.DataType]") -> "pl.LazyFrame":
    import polars as pl

    return pl.scan_csv(
        path,
        has_header=False,
        skip_lines=dialect.first_line,
        separator=dialect.separator,
        quote_char=dialect.quote,
        schema=schema,
        missing_columns="insert",
        raise_if_empty=False,
        glob=False,
    )


def _sink(rows: "pl.LazyFrame", target: Path) -> None:
    """Write rows, and once more without those that are empty, if there are any: that is rare, a filter not free."""
    import polars as pl

    rows.sink_ipc(target, maintain_order=True)
    names = rows.collect_schema().names()
    all_empty = pl.all_horizontal(pl.all().is_null())
    if len(names) > 1 and _has_empty_row(target, (0, len(names) - 1)) and _has_empty_row(target, range(len(names))):
        whole = target.with_suffix(".whole")
        target.rename(whole)
        pl.scan_ipc(whole).filter(~all_empty).sink_ipc(target, maintain_order=True)
        whole.unlink()


def _has_empty_row(cells: Path, places: Collection[int]) -> bool:
    """Whether some row is empty in these columns; the file is read, not mapped, which would count as memory."""
    import polars as pl
    import pyarrow as pa

    options, is_empty = pa.ipc.IpcReadOptions(included_fields=list(places)), pl.all_horizontal(pl.all().is_null())
    with pa.OSFile(str(cells)) as data, pa.ipc.open_file(data, options=options) as reader:
        pieces = (pl.DataFrame(pl.from_arrow(reader.get_batch(n))) for n in range(reader.num_record_batches))
        return any(piece.select(is_empty.any()).item() for piece in pieces)


def _decimals(path: Path, dialect: TextDialect, schema: "dict[str, pl.DataType]") -> list[str]:
    """Columns whose first cells are plain decimals, too many for names.

    None, where a comma in a number shows that points may mean thousands.
    """
    import polars as pl

    try:
        head = _scan(path, dialect, schema).head(LOOKED_AT).collect()
    except pl.exceptions.PolarsError:
        return []
    if head.select(pl.any_horizontal(pl.all().str.contains(r"^[+-]?[\d.]+,\d+$").any())).item():
        return []
    return [
        name
        for name in head.columns
        if head[name].n_unique() > FEW_NAMES and head[name].drop_nulls().str.contains(_DECIMAL).all()
    ]


def _rewrite(text: PlainText, target: Path, *, dialect: TextDialect, width: int) -> None:
    """Write the rows as plain CSV, one after the other."""
    with (
        text.path.open(encoding="utf-8-sig", newline="") as lines,
        target.open("w", encoding="utf-8", newline="") as sink,
    ):
        for _ in range(dialect.first_line):
            lines.readline()
        is_aligned = dialect.separator == " " and dialect.has_spaces
        texts = (line.strip(" \t\r\n") for line in lines) if is_aligned else lines
        skips_blanks = is_aligned or dialect.separator != " "
        reader = csv.reader(texts, delimiter=dialect.separator, quotechar=dialect.quote, skipinitialspace=skips_blanks)
        writer, line = csv.writer(sink), dialect.first_line + 1
        try:
            for cells in reader:
                after = dialect.first_line + reader.line_num + 1
                _require_fit(cells, text.source, width=width, line=line, n_lines=after - line)
                if is_aligned and 0 < len(cells) < width:
                    expected = f"expected {width:,} cells between runs of spaces, as the header has"
                    raise TableError(f"{text.source}: line {line}: {expected}, found {len(cells):,}: which is missing?")
                writer.writerow([*cells[:width], *[""] * (width - len(cells))])
                line = after
        except csv.Error as error:
            raise TableError(f"{text.source}: line {line}: expected cells of a CSV table, found {error}") from error


def _require_fit(cells: Sequence[str], source: Path, *, width: int, line: int, n_lines: int) -> None:
    if any(cell.strip() for cell in cells[width:]):
        expected = f"expected a CSV table with a header, or Parquet: {width:,} cells, as the header has"
        raise TableError(f"{source}: line {line}: {expected}, found {len(cells):,}")
    if n_lines > 1 and len(cells) < width:
        raise TableError(
            f"{source}: line {line}: expected a CSV table with a header, or Parquet: a quote is not closed"
        )
