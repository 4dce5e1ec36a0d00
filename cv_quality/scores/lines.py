"""Text files as numbered lines and fields, by vectorised operations: no line passes through Python.

The engine numbers the lines, so that a broken one is named without a second reading; formats give fields a meaning.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.scores.rows import LINE, SCORE, TEXT, refuse
from cv_quality.scores.source import Options, Source, plural

if TYPE_CHECKING:
    import polars as pl

MAX_LINE_BYTES = 1 << 16
"""A line of a score list is a few dozen bytes: a longer one means that the file is something else."""
BLANK = " \t\r\ufeff\xa0"
"""Stripped from both ends of a line: white space, and the byte order mark before the first."""


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a file that say something.

    Attributes:
        rows: `line` (from 1) and `text`, without white space around it.
        notes: how many lines were passed over, and why.
    """

    rows: "pl.DataFrame"
    notes: tuple[str, ...]


def read_lines(source: Source, *, has_comments: bool = True, max_bytes: int | None = MAX_LINE_BYTES) -> Lines:
    """Read the lines of a UTF-8 text file that are not empty.

    Args:
        source: the file.
        has_comments: whether lines that begin with "#" are passed over.
        max_bytes: of one line; None allows any.

    Raises:
        ScoreFileError: the text is not UTF-8, no line says anything, or a line is longer than `max_bytes`.
    """
    import polars as pl

    try:
        with source.path.open("rb") as stream:
            rows = pl.read_lines(stream, name=TEXT, row_index_name=LINE, row_index_offset=1)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise source.error(f"cannot be read as UTF-8 text ({error}); save it as UTF-8") from error
    rows = rows.with_columns(pl.col(LINE).cast(pl.UInt32))
    longest = rows[TEXT].str.len_bytes().arg_max()
    if max_bytes is not None and longest is not None:
        line, text = rows.row(longest)
        if (size := len(text.encode())) > max_bytes:
            expected = f"a line of a score file has at most {max_bytes:,}: is this a file of scores?"
            raise source.error(f"{size:,} bytes; {expected}", line=line)
    rows = rows.with_columns(pl.col(TEXT).str.strip_chars(BLANK if has_comments else "\r\ufeff"))
    is_blank = rows[TEXT].str.strip_chars(BLANK) == ""
    is_comment = rows[TEXT].str.starts_with("#") if has_comments else is_blank & False
    told = rows.filter(~(is_blank | is_comment))
    if told.is_empty():
        raise source.error("holds no score: every line is empty or a comment; name a file with scores")
    counts = ((int(is_blank.sum()), "empty line"), (int(is_comment.sum()), "comment"))
    return Lines(told, tuple(f"{source}: {plural(n, noun)} passed over" for n, noun in counts if n))


def split_fields(
    lines: Lines, source: Source, options: Options, *, names: Sequence[str], expected: str
) -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """Split lines into one text column per name, without quotes or white space around.

    Args:
        lines: of the file.
        source: the file, its separator known.
        options: whether broken lines are skipped.
        names: of the fields, in order.
        expected: the fields in words.

    Returns:
        `line` with the columns, and the excluded lines.

    Raises:
        ScoreFileError: a line has more or fewer fields and broken lines are not to be skipped.
    """
    import polars as pl

    rows, separator = lines.rows, source.separator
    if separator == " " and rows[TEXT].str.contains(r"\t|  ").any():
        rows = rows.with_columns(pl.col(TEXT).str.replace_all(r"[ \t]+", " "))
    n_found = rows[TEXT].str.count_matches(separator, literal=True) + 1
    n_quotes = rows[TEXT].str.count_matches('"', literal=True) if separator != " " else n_found * 0
    is_torn = n_quotes % 2 == 1
    # Only a quoted field can hold a separator or a doubled quote; such lines are few and go through a real CSV parser.
    is_odd = (n_quotes > 0) & ~is_torn & ((n_found != len(names)) | rows[TEXT].str.contains('""', literal=True))
    is_plain = (n_found == len(names)) & ~is_odd & ~is_torn
    plain = rows.filter(is_plain).select(
        LINE, pl.col(TEXT).str.split_exact(separator, len(names) - 1).struct.rename_fields(list(names)).struct.unnest()
    )
    if separator != " ":
        plain = plain.with_columns(pl.col(*names).str.strip_chars(' \t"'))
    special, bad = _through_csv(rows.filter(is_odd), separator=separator, names=names)
    bad = pl.concat([rows.filter(~is_plain & ~is_odd), bad])
    refused = refuse(bad, source, options, expected=f"{plural(len(names), 'field')} ({expected})")
    return (pl.concat([plain, special]).sort(LINE) if len(special) else plain), refused


def with_scores(
    rows: "pl.DataFrame", source: Source, options: Options, *, column: str
) -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """Convert the text of a column to the number `score`, NaN included.

    Args:
        rows: `line` and text columns.
        source: their file.
        options: whether broken lines are skipped.
        column: replaced by `score`.

    Returns:
        The rows with a number, and the excluded ones.

    Raises:
        ScoreFileError: a text is no number and broken lines are not to be skipped.
    """
    import polars as pl

    scores = rows[column].str.strip_chars(BLANK).cast(pl.Float64, strict=False)
    is_bad = scores.is_null()
    bad = rows.filter(is_bad).select(LINE, pl.col(column).fill_null("").alias(TEXT))
    refused = refuse(bad, source, options, expected="a number as score")
    sound = rows.drop(column).with_columns(scores.alias(SCORE)).filter(~is_bad)
    return sound, refused


def _through_csv(
    rows: "pl.DataFrame", *, separator: str, names: Sequence[str]
) -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """Lines with quoted separators, one after the other; those with another number of fields come back as they are."""
    import polars as pl

    parsed = [_csv_fields(text, separator) for text in rows[TEXT]]
    is_sound = pl.Series([len(fields) == len(names) for fields in parsed], dtype=pl.Boolean)
    columns = {
        name: pl.Series([fields[index] for fields in parsed if len(fields) == len(names)], dtype=pl.String)
        for index, name in enumerate(names)
    }
    return pl.DataFrame({LINE: rows[LINE].filter(is_sound), **columns}), rows.filter(~is_sound)


def _csv_fields(text: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=separator))
    except csv.Error:
        return []
