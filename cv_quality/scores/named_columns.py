"""Trials and scores that lie in a table with named columns: Parquet, JSON, or a workbook.

Text is read by `cv_quality.scores.lines`; a table of scores that needs no list of trials by `cv_quality.scores.tables`.
"""

from typing import TYPE_CHECKING

from cv_quality.scores.detection import table_kind
from cv_quality.scores.json_records import IsHeader, load, table_of
from cv_quality.scores.rows import LINE
from cv_quality.scores.source import Source
from cv_quality.scores.workbooks import sheet_of

if TYPE_CHECKING:
    import polars as pl


def named_columns(source: Source, is_header: IsHeader, *, needed: str) -> "pl.DataFrame | None":
    """Read all columns as text, with `line`, the number of the row from 1; None where the file is a text of lines.

    Args:
        source: the file.
        is_header: whether names are those of the columns that are needed.
        needed: what these are, in words.

    Raises:
        ScoreFileError: the file is damaged, of a kind that holds no such table, or names no such column.
    """
    kind = table_kind(source)
    if kind is None:
        return None
    if kind == "workbook":
        return sheet_of(source, is_header, needed=needed)[0]
    found = (
        _parquet(source) if kind == "parquet" else table_of(load(source), source, is_header) if kind == "json" else None
    )
    if found is None or not is_header(columns := [name for name in found.columns if name != LINE]):
        held = "no table" if found is None else f"the columns {', '.join(columns)}"
        raise source.error(f"is {kind}; expected a table that names {needed}, found {held}; export it as CSV")
    return found


def _parquet(source: Source) -> "pl.DataFrame":
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Polars' own reader stops the process with a panic on some damaged files; Arrow's raises.
        table = pl.DataFrame(pl.from_arrow(pq.read_table(source.plain_path)))
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, UnicodeError) as error:
        raise source.error(f"is damaged or no Parquet file ({error}); write it again") from error
    plain = [name for name, kind in table.schema.items() if not kind.is_nested() and name != LINE]
    rows = table.select(pl.col(plain).cast(pl.String).fill_null("")).with_row_index(LINE, offset=1)
    return rows.with_columns(pl.col(LINE).cast(pl.UInt32))
