"""Text files as numbered lines and fields, by vectorised operations: no line passes through Python.

The engine numbers the lines, so that a broken one is named without a second reading; formats give fields a meaning.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cv_quality.scores.rows import LINE, SCORE, TEXT, refuse
from cv_quality.scores.source import Options, Source, plural

if TYPE_CHECKING:
    import polars as pl

MAX_LINE_BYTES = 1 << 16
"""A line of a score list is a few dozen bytes: a longer one means that the file is something else."""
HEADER_LINES = 40
"""A header, names of several lines included, ends within so many."""
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

    rows = _whole_records(_lines_of(source), source)
    longest = rows[TEXT].str.len_bytes().arg_max()
    if max_bytes is not None and longest is not None:
        line, text = rows.row(longest)
        if (size := len(text.encode())) > max_bytes:
            expected = f"a line of a score file has at most {max_bytes:,}: is this a file of scores?"
            raise source.error(f"{size:,} bytes; {expected}", line=line)
    rows = rows.with_columns(
        _stripped(rows[TEXT], source) if has_comments else pl.col(TEXT).str.strip_chars("\r\ufeff")
    )
    is_blank = rows[TEXT].str.strip_chars(BLANK) == ""
    is_comment = rows[TEXT].str.starts_with("#") if has_comments else is_blank & False
    told = rows.filter(~(is_blank | is_comment))
    if told.is_empty():
        raise source.error("holds no score: every line is empty or a comment; name a file with scores")
    if len(told) > 1 and told_separator(str(told[TEXT][0])) is not None:
        told = told[1:]
    counts = ((int(is_blank.sum()), "empty line"), (int(is_comment.sum()), "comment"))
    return Lines(told, tuple(f"{source}: {plural(n, noun)} passed over" for n, noun in counts if n))


def _stripped(texts: "pl.Series", source: Source) -> "pl.Series":
    """Lines without white space around them; a tab that parts fields stays, unless it ends every line."""
    if source.separator != "\t":
        return texts.str.strip_chars(BLANK)
    texts = texts.str.strip_chars(BLANK.replace("\t", ""))
    ends = texts.filter(texts != "").str.ends_with("\t")
    return texts.str.strip_suffix("\t") if ends.all() else texts


def told_separator(line: str) -> str | None:
    """Read the separator from the "sep=;" with which Excel begins a CSV; None from any other line.

    >>> told_separator("sep=;"), told_separator("SEP=|"), told_separator("sepal=;")
    (';', '|', None)
    """
    found = re.fullmatch(r"(?i)sep=(.)", line.strip("\r\n\ufeff ").strip('"'))
    return found[1] if found else None


def _lines_of(source: Source) -> "pl.DataFrame":
    """Every line with its number."""
    import polars as pl

    try:
        rows = pl.read_lines(source.plain_path, name=TEXT, row_index_name=LINE, row_index_offset=1, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise source.error(f"cannot be read as text ({error}); save it as UTF-8") from error
    return rows.with_columns(pl.col(LINE).cast(pl.UInt32))


def _whole_records(rows: "pl.DataFrame", source: Source) -> "pl.DataFrame":
    """Join the lines of a quoted field to one, under the number of the first, where that gives a record of usual width.

    A quote that is not closed, or only after lines that are records themselves, stays and its line is broken.
    """
    import polars as pl

    if source.separator == " ":
        return rows
    is_torn = rows[TEXT].str.count_matches('"', literal=True) % 2 == 1
    torn = is_torn.arg_true().to_list()
    begins = (_quotes(rows[TEXT], source.separator) > 0).to_list() if torn else []
    if not any(begins):
        return rows
    texts, joined, follows = rows[TEXT], dict[int, str](), set[int]()
    widths = {usual_width(texts.filter(~is_torn), source), len(csv_fields(_first_record(texts), source.separator))}
    at = 0
    while at + 1 < len(torn):
        first, last = torn[at], torn[at + 1]
        whole = "\n".join(texts[first : last + 1])
        inner = [text for text in texts[first + 1 : last] if text.strip(BLANK)]
        is_swallowed = bool(inner) and all(len(csv_fields(text, source.separator)) in widths for text in inner)
        is_record = begins[first] and not is_swallowed and len(csv_fields(whole, source.separator)) in widths
        if is_record:
            joined[first] = whole
            follows.update(range(first + 1, last + 1))
        at += 2 if is_record else 1
    numbers = pl.int_range(len(rows), eager=True)
    texts = texts.scatter(list(joined), list(joined.values())) if joined else texts
    return rows.with_columns(texts).filter(~numbers.is_in(sorted(follows)))


def _quotes(texts: "pl.Series", separator: str) -> "pl.Series":
    """Count the quotes of lines in which one begins a field; elsewhere they are characters, as in 6"."""
    begins = texts.str.contains(rf'(?:^|{re.escape(separator)})\s*"')
    return texts.str.count_matches('"', literal=True) * begins.cast(texts.str.len_bytes().dtype)


def _first_record(texts: "pl.Series") -> str:
    """The first line that says something, with those up to the one that closes its quote."""
    found = ""
    for text in texts.head(HEADER_LINES):
        found = f"{found}\n{text}" if found else text if text.strip(BLANK) else ""
        if found and found.count('"') % 2 == 0 and told_separator(found) is None and not found.startswith("#"):
            return found
        found = found if found.count('"') % 2 else ""
    return found


def normal_spaces(texts: "pl.Series", source: Source) -> "pl.Series":
    """Make one space of every run of spaces and tabs, where these part the fields."""
    if source.separator != " " or not texts.str.contains(r"\t|  ").any():
        return texts
    return texts.str.replace_all(r"[ \t]+", " ")


def fields_in(texts: "pl.Series", source: Source) -> "pl.Series":
    """Count the fields of each line, quotes not regarded."""
    return texts.str.count_matches(source.separator, literal=True) + 1


def usual_width(texts: "pl.Series", source: Source) -> int:
    """Find how many fields most lines have; 0 without any line."""
    return int(np.bincount(fields_in(texts, source).to_numpy(), minlength=1).argmax())


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

    rows, separator = lines.rows.with_columns(normal_spaces(lines.rows[TEXT], source)), source.separator
    n_found = fields_in(rows[TEXT], source)
    n_quotes = _quotes(rows[TEXT], separator) if separator != " " else n_found * 0
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
    rows: "pl.DataFrame", source: Source, options: Options, *, column: str, unit: str = "line"
) -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """Convert the text of a column to the number `score`, NaN included.

    Args:
        rows: `line` and text columns.
        source: their file.
        options: whether broken lines are skipped.
        column: replaced by `score`.
        unit: what `line` counts.

    Returns:
        The rows with a number, and the excluded ones.

    Raises:
        ScoreFileError: a text is no number and broken lines are not to be skipped.
    """
    import polars as pl

    scores = rows[column].str.strip_chars(BLANK).cast(pl.Float64, strict=False)
    is_bad = scores.is_null()
    bad = rows.filter(is_bad).select(LINE, pl.col(column).fill_null("").alias(TEXT))
    refused = refuse(bad, source, options, expected="a number as score", unit=unit)
    sound = rows.drop(column).with_columns(scores.alias(SCORE)).filter(~is_bad)
    return sound, refused


def _through_csv(
    rows: "pl.DataFrame", *, separator: str, names: Sequence[str]
) -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """Lines with quoted separators, one after the other; those with another number of fields come back as they are."""
    import polars as pl

    parsed = [csv_fields(text, separator) for text in rows[TEXT]]
    is_sound = pl.Series([len(fields) == len(names) for fields in parsed], dtype=pl.Boolean)
    columns = {
        name: pl.Series([fields[index] for fields in parsed if len(fields) == len(names)], dtype=pl.String)
        for index, name in enumerate(names)
    }
    return pl.DataFrame({LINE: rows[LINE].filter(is_sound), **columns}), rows.filter(~is_sound)


def csv_fields(text: str, separator: str) -> list[str]:
    """Split one record of a CSV into its fields; none where it is no sound record."""
    try:
        return next(csv.reader([text], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return []
