"""How a delimited text is written: separator, quotes, and the line that names the columns.

Told from the first lines, which only say how a line is split; what its cells are is decided from all of them, in
`cv_quality.tables.columns`.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from cv_quality.errors import TableError
from cv_quality.tables.plain_text import PlainText

SEPARATORS: Final = (",", ";", "\t", "|", " ")
SEPARATOR_NAMES: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
SNIFFED_LINES: Final = 200
MAX_LINE: Final = 64 << 20
FOREIGN: Final = (("{", "JSON"), ("[", "JSON"), ("<", "HTML or XML"))
BLANK: Final = " \t\r\n\ufeff\xa0"
_SEPARATOR_LINE: Final = re.compile(r'^\ufeff?"?sep=([\t !#-&(-/:-@\[-`{-~])"?\s*$', re.IGNORECASE)
_NUMBER: Final = re.compile(r"^[+-]?[\d.,]*\d([eE][+-]?\d+)?$")


@dataclass(frozen=True, slots=True)
class TextDialect:
    """How a text is split into cells.

    Attributes:
        separator, quote: the marks between cells, and around them.
        lines_above: how many lines stand above the header.
        first_line: the line of the first row, counted from 0.
        names: the header, without white space around the names; "" for a column without one.
        has_row_names: whether rows begin with a number of theirs that the header does not name, as R writes them.
        has_spaces: whether white space stands between a separator and a quote, or runs of spaces between cells; only
            `csv` understands it.
    """

    separator: str = ","
    quote: str = '"'
    lines_above: int = 0
    first_line: int = 1
    names: tuple[str, ...] = ()
    has_row_names: bool = False
    has_spaces: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unlike plain CSV, for people."""
        lines = f"{self.lines_above} line{'' if self.lines_above == 1 else 's'} above the header passed over"
        found = (
            (self.separator != ",", f"separated by {SEPARATOR_NAMES.get(self.separator, repr(self.separator))}"),
            (self.quote != '"', "single quotes around cells"),
            (self.lines_above > 0, lines),
            (self.has_row_names, "row names without a header"),
        )
        return tuple(text for holds, text in found if holds)


def sniff(text: PlainText) -> TextDialect:
    """Find the dialect of a delimited text.

    Raises:
        TableError: no line says anything, or a line is longer than one of a table.
    """
    lines = _first_lines(text)
    n_blank = next((index for index, line in enumerate(lines) if line.strip(BLANK)), len(lines))
    if n_blank == len(lines):
        raise TableError(f"{text.source}: expected a table with a header, found only empty lines")
    told = _SEPARATOR_LINE.match(lines[n_blank])
    first, separators = (n_blank + 1, (told[1],)) if told else (n_blank, SEPARATORS)
    start = lines[n_blank].strip(BLANK)
    for mark, what in FOREIGN:
        if start.startswith(mark):
            raise TableError(
                f"{text.source}: expected a table with a header, found {what}; export it as CSV or Parquet"
            )
    is_single = len(start) > 2 and start[0] == start[-1] == "'"
    found = _best(lines[first:], separators, quote="'" if is_single else '"')
    if not found.names:
        raise TableError(f"{text.source}: expected a CSV table with a header, or Parquet, found lines that are neither")
    return TextDialect(
        separator=found.separator,
        quote=found.quote,
        lines_above=0 if first + found.line == n_blank else first + found.line,
        first_line=first + found.end,
        names=found.names,
        has_row_names=found.has_row_names,
        has_spaces=found.is_aligned or _has_spaced_quotes(lines, found),
    )


def _has_spaced_quotes(lines: Sequence[str], found: "_Candidate") -> bool:
    return found.separator != " " and any(f"{found.separator} {found.quote}" in line for line in lines)


def _first_lines(text: PlainText) -> list[str]:
    with text.path.open("rb") as stream:
        raw = [line for _ in range(SNIFFED_LINES) if (line := stream.readline(MAX_LINE + 1))]
    if any(len(line) > MAX_LINE for line in raw):
        raise TableError(f"{text.source}: a line of more than {MAX_LINE:,} bytes; is this a table?")
    return [line.decode("utf-8", "replace").rstrip("\r\n").replace("\r", " ") + "\n" for line in raw]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The lines as one separator splits them.

    Attributes:
        line, end: of the header, and behind it, counted from the first line.
        share: of the rows below the header, those of its width.
        is_aligned: whether any run of spaces is one separator.
    """

    separator: str
    quote: str
    names: tuple[str, ...]
    line: int
    end: int
    share: float
    has_row_names: bool = False
    is_aligned: bool = False

    @property
    def rank(self) -> tuple[bool, bool, float, bool, bool, int]:
        is_named = not any(_NUMBER.match(name) for name in self.names)
        is_plain = self.separator != " "
        return is_named, not self.has_row_names, round(self.share, 3), is_plain, self.line == 0, len(self.names)


def _best(lines: Sequence[str], separators: Sequence[str], *, quote: str) -> _Candidate:
    """The separator that makes columns of the lines; the first one where none does."""
    found = [item for mark in separators if (item := _candidate(lines, mark, quote)) is not None]
    if " " in separators and any("  " in line for line in lines):
        bare = [f"{line.strip(BLANK)}\n" for line in lines]
        aligned = _candidate(bare, " ", quote, is_aligned=True)
        found += [] if aligned is None else [replace(aligned, is_aligned=True)]
    if found:
        return max(found, key=lambda item: item.rank)
    rows = _rows(lines, separators[0], quote)
    if not rows:
        return _Candidate(separators[0], quote, (), 0, len(lines), 0.0)
    line, end, names = rows[0]
    return _Candidate(separators[0], quote, _stripped(names), line, end, 1.0)


def _candidate(lines: Sequence[str], separator: str, quote: str, *, is_aligned: bool = False) -> _Candidate | None:
    rows = _rows(lines, separator, quote, is_aligned=is_aligned)
    counted = Counter(len(cells) for _, _, cells in rows).most_common()
    width = max((width for width, n in counted if n == counted[0][1]), default=0)
    if width < 2:
        return None
    (line, end, first), below = rows[0], [cells for _, _, cells in rows[1:]]
    if len(first) == width - 1 and below and not any(_NUMBER.match(name) for name in first):
        if all(not cells[-1].strip(BLANK) for cells in below if len(cells) == width):
            return _Candidate(separator, quote, _stripped([*first, ""]), line, end, 1.0)
        if [cells[0] for cells in below] == [str(number) for number in range(1, len(below) + 1)] and len(below) > 1:
            return _Candidate(separator, quote, _stripped(["", *first]), line, end, 1.0, has_row_names=True)
    header = next((index for index, (_, _, cells) in enumerate(rows) if not _is_title(cells, width)), 0)
    if any(_NUMBER.match(name.strip(BLANK)) for name in rows[header][2]):
        header = 0  # a number is no name: what is above it is a header of another width
    (line, end, names), below = rows[header], [cells for _, _, cells in rows[header + 1 :]]
    share = sum(len(cells) == len(names) for cells in below) / len(below) if below else 1.0
    return _Candidate(separator, quote, _stripped(names), line, end, share)


def _is_title(cells: Sequence[str], width: int) -> bool:
    """Whether a row above the table has fewer cells, or fewer that say something."""
    filled = sum(bool(cell.strip(BLANK)) for cell in cells)
    return len(cells) < width or (width > 2 and 2 * filled <= width)


def _rows(
    lines: Sequence[str], separator: str, quote: str, *, is_aligned: bool = False
) -> list[tuple[int, int, list[str]]]:
    """The rows that say something, with the line where each begins and the one behind it."""
    reader = csv.reader(lines, delimiter=separator, quotechar=quote, skipinitialspace=is_aligned)
    found, line = [], 0
    try:
        for cells in reader:
            found.append((line, reader.line_num, cells))
            line = reader.line_num
    except csv.Error:
        return []
    if len(found) > 2 and line == SNIFFED_LINES:
        del found[-1]  # a cell of several lines may be cut
    return [row for row in found if any(cell.strip(BLANK) for cell in row[2])]


def _stripped(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.strip(BLANK) for name in names)
