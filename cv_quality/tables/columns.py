"""What the cells of a column are: numbers, true and false, or text; decided from all of them.

A number column keeps being one where a few cells are none: those are counted, said and taken as missing. In a column of
text every cell is a value, also one such as NA.
"""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from cv_quality.tables.numbers import (
    FEW_NUMBERS,
    MAX_ODD_SHARE,
    MISSING_WORDS,
    PLAIN,
    SPACES,
    Comma,
    FormChoice,
    NumberForm,
    choose_form,
    is_grouped_by_points,
)

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["number", "flag", "text"]
FLAGS: Final = ("true", "false")
SHOWN_CELL: Final = 30
GLANCE: Final = 100
FEW_NAMES: Final = 50
"""Of no more different cells each may be a name, as of a version."""
LONGEST_WHOLE: Final = 18
"""Whole numbers of so many digits fit 64 bits; longer ones are names."""
_FLOAT_ID: Final = r"^\d+\.0$"
"""Ids as 7.0 come from programs that have no whole number beside a missing one."""
SAMPLED: Final = 2_000
"""Cells by which names are told from numbers."""
_NEAR_NUMBER: Final = r"^[^\p{L}\d]{0,3}\p{Nd}|^(?i)[+-]?inf"
_TWO_POINTS: Final = r"^[+\-−]?[1-9]\d{0,2}(?:\.\d{3}){2,}$"
"""One such number shows that the points of a column part thousands."""
_FOREIGN_NUMBER: Final = r'="[\d.,]+"|(?![0-9])\d[\d.,٫٬．]*$'
"""A spreadsheet's text formula, or digits of other scripts."""
_DATE: Final = r"(?:\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4})(?:[ T]|$)"
_PADDED: Final = r"^[+\-]?0\d"


@dataclass(frozen=True, slots=True)
class ColumnReading:
    """How one column is read.

    Attributes:
        values: the expression that reads the column of this name.
        form: of a number.
        comma: what the cells by themselves tell of a comma in numbers.
        missing: cells that stand for a missing value, with their rows; empty ones are not counted.
        odd: cells that are no number in a column of numbers, with their rows.
        kept: cells that often stand for a missing value, but are values here, with their rows.
        doubt: why a column that looks like numbers is none.
        placeholder: a number, and in how many rows, that may stand for a missing one.
        is_filled: whether any cell is.
    """

    name: str
    kind: Kind
    values: "pl.Expr"
    form: NumberForm = PLAIN
    comma: Comma | None = None
    missing: dict[str, int] = field(default_factory=dict)
    odd: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    doubt: str = ""
    placeholder: tuple[int, int] | None = None
    is_filled: bool = True


@dataclass(frozen=True, slots=True)
class Habits:
    """What the table as a whole tells of its cells.

    Attributes:
        separator: between its cells.
        comma: what a comma in its numbers means, where a column tells.
        missing: what else stands for a missing value, in every column.
    """

    separator: str = ","
    comma: Comma | None = None
    missing: tuple[str, ...] = ()

    @property
    def usual_comma(self) -> Comma:
        """What "1,234" is taken for where no column tells: a table separated by commas rarely has them in decimals."""
        return self.comma or ("thousands" if self.separator == "," else "decimal")


def read_column(values: "pl.Series", *, habits: Habits, is_id: bool = False) -> ColumnReading:
    """Decide from all cells of a column what it holds.

    Args:
        values: the cells as text, null where empty; or decimals, where all of them are.
        habits: of the table.
        is_id: whether the cells name somebody: text, in which a word for missing is missing.
    """
    if values.dtype.is_float():
        return _decimals(values)
    if not (is_id or habits.missing) and (plain := _plain_numbers(values, habits)) is not None:
        return plain
    is_names = not is_id and _are_names(values)
    cells = _different(_words_of(values, habits) if is_names else values)
    missing, cells = _parted(cells, cells["cell"].is_in(["", *habits.missing]))
    if is_id:
        words, cells = _parted(cells, cells["cell"].str.to_lowercase().is_in(MISSING_WORDS))
        is_float = not cells.is_empty() and bool(cells["cell"].str.contains(_FLOAT_ID).all())
        return _text(values.name, missing=missing | words, habits=habits, words=words, ending=".0" if is_float else "")
    words, rest = _parted(cells, cells["cell"].str.to_lowercase().is_in(MISSING_WORDS))
    if rest.is_empty() or is_names:
        return _text(values.name, missing=missing, kept=words, habits=habits)
    if rest["cell"].str.to_lowercase().is_in(FLAGS).all():
        return ColumnReading(values.name, "flag", _flags(values.name, habits), missing=missing | words)
    numbers = _numbers(values, rest, missing=missing | words, habits=habits)
    if isinstance(numbers, ColumnReading):
        return numbers
    return _text(values.name, missing=missing, kept=words, habits=habits, doubt=numbers)


def _decimals(values: "pl.Series") -> ColumnReading:
    """A column that was read as decimals."""
    import polars as pl

    n_nan = int(values.is_nan().sum())
    read, missing = pl.col(values.name).fill_nan(None), {"NaN": n_nan} if n_nan else {}
    return ColumnReading(values.name, "number", read, missing=missing, placeholder=_placeholder(values))


def _placeholder(numbers: "pl.Series") -> tuple[int, int] | None:
    """A repeated -1, -99, -999 ... below numbers that are never negative, or 999, 9999 ... far above all others."""
    for end, is_low in ((numbers.min(), True), (numbers.max(), False)):
        if not isinstance(end, int | float) or not math.isfinite(end) or end != int(end):
            continue
        if not re.fullmatch(r"-(1|9{2,})" if is_low else r"9{3,}", str(int(end))):
            continue
        is_end = numbers == end
        rest, n = numbers.filter(~is_end), int(is_end.sum())
        far = rest.min() if is_low else rest.max()
        if n > 1 and isinstance(far, int | float) and (far >= 0 if is_low else 2 * far < end):
            return int(end), n
    return None


def _plain_numbers(values: "pl.Series", habits: Habits) -> ColumnReading | None:
    """A column whose cells are all plain numbers, at the cost of a cast; None for any other."""
    import polars as pl

    n_empty = values.null_count()
    if n_empty == len(values):
        return ColumnReading(values.name, "text", pl.col(values.name), is_filled=False)
    first = values.head(GLANCE).drop_nulls()
    if first.cast(pl.Float64, strict=False).null_count():
        return None  # one cell that is no number is enough, and most such columns show it early
    whole = values.cast(pl.Int64, strict=False)
    if whole.null_count() == n_empty:
        if values.str.contains(_PADDED).any():
            return None
        read = pl.col(values.name).cast(pl.Int64)
        return ColumnReading(values.name, "number", read, placeholder=_placeholder(whole))
    numbers = values.cast(pl.Float64, strict=False)
    if numbers.null_count() > n_empty or numbers.is_nan().any():
        return None
    longest = values.str.len_bytes().max()
    if isinstance(longest, int) and longest > LONGEST_WHOLE and values.str.contains(r"^[+\-]?\d{19,}$").any():
        return None
    if habits.comma == "decimal" and is_grouped_by_points(values.drop_nulls().unique()):
        return None
    if first.n_unique() <= FEW_NAMES and _twins(values.drop_nulls().unique()) is not None:
        return None
    read = pl.col(values.name).cast(pl.Float64)
    return ColumnReading(values.name, "number", read, placeholder=_placeholder(numbers))


def _are_names(values: "pl.Series") -> bool:
    """Whether cells from all over a column are many different ones, and hardly any begins as a number does."""
    sample = values.gather_every(max(1, len(values) // SAMPLED)).drop_nulls()
    is_near = sample.str.contains(_NEAR_NUMBER)
    return sample.n_unique() > max(FEW_NAMES, len(sample) // 2) and 4 * int(is_near.sum()) < len(sample)


def _words_of(values: "pl.Series", habits: Habits) -> "pl.Series":
    """The cells that stand for a missing value anywhere; to count every name costs more than all else."""
    bare = values.str.strip_chars(SPACES)
    return values.filter(bare.str.to_lowercase().is_in(["", *MISSING_WORDS]) | bare.is_in(habits.missing))


def _different(values: "pl.Series") -> "pl.DataFrame":
    """The different cells without white space around, `cell`, and how many `rows` have each."""
    import polars as pl

    counted = values.drop_nulls().rename("cell").value_counts(name="rows")
    bare = counted.with_columns(pl.col("cell").str.strip_chars(SPACES))
    if (bare["cell"] == counted["cell"]).all():
        return counted
    return bare.group_by("cell").agg(pl.col("rows").sum())


def _parted(cells: "pl.DataFrame", is_chosen: "pl.Series") -> tuple[dict[str, int], "pl.DataFrame"]:
    """The chosen cells with their rows, those of most rows first (an empty one is not named), and the others."""
    chosen = cells.filter(is_chosen).sort("rows", "cell", descending=[True, False])
    return {cell: rows for cell, rows in chosen.iter_rows() if cell}, cells.filter(~is_chosen)


def _bare(name: str) -> "pl.Expr":
    import polars as pl

    return pl.col(name).str.strip_chars(SPACES)


def _text(
    name: str,
    *,
    missing: dict[str, int],
    habits: Habits,
    words: Collection[str] = (),
    kept: dict[str, int] | None = None,
    doubt: str = "",
    ending: str = "",
) -> ColumnReading:
    import polars as pl

    cells = _bare(name)
    cells = cells.str.strip_suffix(ending) if ending else cells
    read = pl.when(~cells.is_in(["", *habits.missing, *words])).then(cells).alias(name)
    return ColumnReading(name, "text", read, missing=missing, kept=kept or {}, doubt=doubt)


def _flags(name: str, habits: Habits) -> "pl.Expr":
    import polars as pl

    cells = _bare(name).str.to_lowercase()
    known = cells.is_in(FLAGS) & ~_bare(name).is_in(habits.missing)
    return pl.when(known).then(cells == FLAGS[0]).alias(name)


def _numbers(
    values: "pl.Series", rest: "pl.DataFrame", *, missing: dict[str, int], habits: Habits
) -> ColumnReading | str:
    """A column of numbers in any form, with a few odd cells; otherwise why it is none, if it looks like one."""
    import polars as pl

    n_rows = int(rest["rows"].sum())
    is_near = rest["cell"].str.contains(_NEAR_NUMBER)
    if int(rest["rows"].filter(is_near).sum()) * 2 < n_rows:
        return ""
    choice = choose_form(rest, comma=habits.usual_comma)
    shows_points = habits.comma == "decimal" or bool(rest["cell"].str.contains(_TWO_POINTS).any())
    if shows_points and choice.form == PLAIN and is_grouped_by_points(rest["cell"]):
        form = NumberForm(",", ".")
        choice = FormChoice(form, rest["cell"].str.contains(form.pattern))
    form, numbers = choice.form, rest.filter(choice.is_number)
    is_plain_whole = numbers["cell"].str.contains(r"^[+\-]?\d+$")
    if numbers.filter(is_plain_whole)["cell"].str.contains(r"^[+\-]?(?:0\d|\d{19,})").any() and is_plain_whole.all():
        return "whole numbers with leading zeros, or too long to count with, are names"
    if (twins := _twins(numbers["cell"])) is not None:
        return f"'{twins[0]}' and '{twins[1]}' would be one number, and may be two names, as of versions"
    odd, _ = _parted(rest, ~choice.is_number)
    n_odd = sum(odd.values())
    if n_odd and (n_odd > max(1, MAX_ODD_SHARE * n_rows) or len(numbers) <= FEW_NUMBERS):
        return _doubt(choice, n_odd=n_odd, n_rows=n_rows, odd=odd)
    cells = _bare(values.name)
    cells = pl.when(~cells.is_in([*habits.missing])).then(cells) if habits.missing else cells
    read = form.parse(cells).fill_nan(None)
    if form == PLAIN and is_plain_whole.all():
        read = cells.cast(pl.Int64, strict=False)
    read = read.alias(values.name)
    return ColumnReading(values.name, "number", read, form=form, comma=choice.comma, missing=missing, odd=odd)


def _twins(cells: "pl.Series") -> tuple[str, str] | None:
    """Find two of few different cells that are one number but not one name, as the versions 1.1 and 1.10.

    >>> import polars as pl
    >>> _twins(pl.Series(["1.10", "2.0", "1.1"])), _twins(pl.Series(["1", "1.0", "2.0"]))
    (('1.1', '1.10'), None)
    """
    names: dict[str, str] = {}
    for cell in cells.sort() if len(cells) <= FEW_NAMES else ():
        key = re.sub(r"(?<=\d[eE])0+(?=\d)", "", re.sub(r"^(\d+[.,]\d*[1-9])0+$", r"\1", cell))
        if key in names:
            return names[key], cell
        names[key] = cell
    return None


def _doubt(choice: FormChoice, *, n_odd: int, n_rows: int, odd: dict[str, int]) -> str:
    if len(choice.units) > 1:
        return f"numbers with several units, {' and '.join(choice.units[:3])}"
    if n_odd == n_rows:
        shown = list(odd)[:GLANCE]
        if all(re.match(_DATE, cell) for cell in shown):
            return "dates; as seconds since 1970 they would be searched in their order"
        if not any(re.match(_FOREIGN_NUMBER, cell) for cell in shown):
            return ""
    return f"{n_odd:,} of {n_rows:,} cells no numbers, {shown_cells(odd)}"


def shown_cells(cells: dict[str, int], *, most: int = 3) -> str:
    """Write the first cells of several for people.

    >>> shown_cells({"err": 3, "low": 1})
    "'err' and 'low'"
    """
    names = [f"'{cell}'" if len(cell) <= SHOWN_CELL else f"'{cell[:SHOWN_CELL]}...'" for cell in list(cells)[:most]]
    more = f" and {len(cells) - most:,} others" if len(cells) > most else ""
    return (", ".join(names) + more) if more or len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"


def as_text(reading: ColumnReading, *, habits: Habits, because: str) -> ColumnReading:
    """Read a column as text after all."""
    return _text(reading.name, missing={}, habits=habits, doubt=because)
