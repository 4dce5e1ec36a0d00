"""Workbooks of spreadsheets: Excel's xlsx, xlsb and xls, OpenDocument's ods.

The first sheet whose header names scores is a table; formulas count by the value that was saved with them.
"""

import zipfile
from functools import partial
from typing import TYPE_CHECKING

from cv_quality.scores.headers import names_scores
from cv_quality.scores.json_records import IsHeader
from cv_quality.scores.rows import LINE
from cv_quality.scores.source import SHOWN, Draft, Options, Source, plural, quoted
from cv_quality.scores.tables import read_records

if TYPE_CHECKING:
    import polars as pl
    from python_calamine import CalamineSheet

TITLE_ROWS = 20
"""Among the first so many rows of a sheet its header is looked for."""
MAX_UNPACKED_BYTES = 2 << 30
Cell = object


def read_workbook(source: Source, options: Options) -> Draft:
    """Read the first sheet whose header names scores, as a table; rows are counted as the spreadsheet counts them.

    Raises:
        ScoreFileError: the file is damaged, or no sheet has a header that names scores.
    """
    body, name, n_sheets = sheet_of(source, partial(names_scores, options=options), needed="score and is_genuine")
    if body.is_empty():
        raise source.error(f"sheet {name} has a header and no rows")
    notes = (f"{source}: sheet {name} of {plural(n_sheets, 'sheet')}",)
    return read_records(body, source, options, kind="workbook", unit="row", notes=notes)


def sheet_of(source: Source, is_header: IsHeader, *, needed: str) -> tuple["pl.DataFrame", str, int]:
    """Find the first sheet with a header that is sought: its rows as text with their numbers, its name, of how many.

    Args:
        source: the file.
        is_header: whether the cells of a row are the header.
        needed: what it names, in words.

    Raises:
        ScoreFileError: the file is damaged, or no sheet has such a header.
    """
    sheets = _sheets(source)
    headers = []
    for name, rows in sheets.items():
        firsts = [
            (at, [_text(cell) for cell in row]) for at, row in enumerate(rows[:TITLE_ROWS]) if any(map(_text, row))
        ]
        headers += [f"{name}: {', '.join(map(quoted, header[:SHOWN]))}" for _, header in firsts[:1]]
        found = next(((at, header) for at, header in firsts if is_header(header)), None)
        if found is not None:
            start, header = found
            return _frame(header, rows[start + 1 :], first=start + 2), name, len(sheets)
    shown = "; ".join(headers) or "no cell with a value"
    raise source.error(
        f'needs a sheet with a row that names {needed}, found {shown}; name the column: columns="score=NAME"'
    )


def _sheets(source: Source) -> dict[str, list[list[Cell]]]:
    import python_calamine

    try:
        if zipfile.is_zipfile(source.plain_path):
            with zipfile.ZipFile(source.plain_path) as archive:
                size = sum(part.file_size for part in archive.infolist())
            if size > MAX_UNPACKED_BYTES:
                raise source.error(
                    f"unpacks to {size:,} bytes, at most {MAX_UNPACKED_BYTES:,} are read; save it as CSV"
                )
        with python_calamine.load_workbook(str(source.plain_path)) as book:
            return {name: _values(book.get_sheet_by_name(name)) for name in book.sheet_names}
    except (python_calamine.CalamineError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise source.error(f"is a damaged or protected workbook ({error}); save it again, or as CSV") from error


def _values(sheet: "CalamineSheet") -> list[list[Cell]]:
    return [list(row) for row in sheet.to_python(skip_empty_area=False)]


def _frame(header: list[str], rows: list[list[Cell]], *, first: int) -> "pl.DataFrame":
    """The rows that say something, as text, under the names of the header; names that stand twice keep both."""
    import polars as pl

    names = [name if header.index(name) == at and name else f"{name}\0{at}" for at, name in enumerate(header)]
    numbered = [(first + at, [_text(cell) for cell in row]) for at, row in enumerate(rows)]
    told = [(line, row) for line, row in numbered if any(row)]
    columns = {name: [row[at] if at < len(row) else "" for _, row in told] for at, name in enumerate(names)}
    types = dict.fromkeys(columns, pl.String)
    return pl.DataFrame(columns, schema=types).insert_column(0, pl.Series(LINE, [line for line, _ in told], pl.UInt32))


def _text(cell: Cell) -> str:
    """A cell as text: numbers so that they read back exactly."""
    if isinstance(cell, bool):
        return str(cell).lower()
    return repr(cell) if isinstance(cell, float) else str(cell).strip()
