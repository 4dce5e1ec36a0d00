"""What was understood of the columns of a table, in words.

One phrase for all columns of which it holds; the columns themselves are decided in `cv_quality.tables.columns`.
"""

from collections.abc import Sequence
from typing import Final

from cv_quality.tables.columns import ColumnReading, shown_cells

SHOWN_COLUMNS: Final = 8


def notes_of(readings: Sequence[ColumnReading]) -> list[str]:
    """Say how the cells of columns were read, where it is not plain."""
    found: dict[str, list[str]] = {}
    for item in readings:
        for note in item.form.notes:
            found.setdefault(f"{note} in", []).append(item.name)
        for cell, rows in item.missing.items():
            found.setdefault(f"'{cell}' missing in", []).append(f"{item.name} ({rows:,})")
    return [
        *(f"{phrase} {_listed(names)}" for phrase, names in found.items()),
        *(_odd(item) for item in readings if item.odd),
        *(_kept(item) for item in readings if item.kept),
        *(_placed(item.name, *item.placeholder) for item in readings if item.placeholder),
        *(f"{item.name} read as text: {item.doubt}" for item in readings if item.doubt),
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_COLUMNS:,} more" if len(names) > SHOWN_COLUMNS else ""
    return ", ".join(names[:SHOWN_COLUMNS]) + more


def _odd(item: ColumnReading) -> str:
    n = sum(item.odd.values())
    cells = "1 cell is no number and" if n == 1 else f"{n:,} cells are no numbers and"
    return f"in {item.name} {cells} taken as missing: {shown_cells(item.odd)}"


def _placed(name: str, number: int, n_rows: int) -> str:
    return f"{number} in {n_rows:,} rows of {name} is read as a number (--missing={number} makes it missing)"


def _kept(item: ColumnReading) -> str:
    words = ", ".join(f"'{cell}' ({rows:,})" for cell, rows in item.kept.items())
    return f"{words} kept as a value of {item.name} (--missing makes it missing)"
