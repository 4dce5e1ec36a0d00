"""Numbers as people and programs write them: decimal comma, thousands, units, and what stands for a missing one.

How all cells of a column write theirs is chosen in `choose_form`; `NumberForm.parse` reads them.
"""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import polars as pl

SPACES: Final = " \t\r\n\ufeff\xa0\u202f"
Comma = Literal["decimal", "thousands"]
"""What a comma in a number means."""
MAX_ODD_SHARE: Final = 0.1
"""A column of numbers may have so many cells that are none; they are said, and taken as missing."""
MISSING_WORDS: Final = frozenset(
    [
        *("na", "n/a", "n.a.", "#n/a", "#na", "#nv", "<na>", "nan", "-nan", "none", "null", "(null)", "nil", "\\n"),
        *("-", "--", "---", "–", "—", "?", ".", "missing", "unknown", "undefined", "not available", "no data", "k.a."),
        *("#value!", "#div/0!", "#ref!", "#null!", "#num!", "#name?"),
    ]
)
"""What stands for a missing number or id, in small letters; in a column of text these are values."""
UNITS: Final = frozenset(
    [
        *("%", "‰", "ppm", "°", "deg", "°c", "°f", "kelvin", "g", "kg", "mg", "pa", "kpa", "hpa", "bar", "bit"),
        *("ns", "us", "µs", "μs", "ms", "s", "sec", "min", "h", "hz", "khz", "mhz", "ghz", "fps", "bpm", "rpm"),
        *("nm", "um", "µm", "μm", "mm", "cm", "m", "km", "in", "ft", "px", "pt", "lx", "lux", "klx", "cd", "nit"),
        *("kb", "mb", "gb", "kib", "mib", "gib", "mv", "ma", "mah", "mw", "db", "dbm"),
    ]
)
"""Units in small letters; a single letter is one only if it is small: 5G is a name."""
FEW_NUMBERS: Final = 12
"""Cells as 4G and 5G are names; of more different numbers with one word behind them that word is a unit."""
_SIGN, _EXPONENT = r"[+\-−]?", r"(?:[eE][+\-−]?\d+)?"
_UNIT: Final = r"[A-Za-zµμΩ°%‰][\w/²³%°·^]{0,11}"
_SIGNS: Final = r"(?:[<>≤≥~≈=±]=?|[$€£¥]|['‘’])[ \u00a0\u202f]*"
"""A bound is read as the number that it is of; an apostrophe is how a spreadsheet says that a number is text."""
_ENDLESS: Final = r"[+\-−]?(?i:inf|infinity)"
_GROUPS: Final = {"": "", ",": ",", ".": r"\.", " ": r"[ \u00a0\u202f]", "'": "['’]"}
_GROUP_NAMES: Final = {",": "commas", ".": "points", " ": "spaces", "'": "apostrophes"}


@dataclass(frozen=True, slots=True)
class NumberForm:
    """How the numbers of a column are written.

    Attributes:
        decimal: the decimal mark.
        group: what stands between thousands; "" for nothing.
        unit: what stands behind the number; "" for nothing.
        has_signs: whether signs such as < or $ may stand before it.
    """

    decimal: str = "."
    group: str = ""
    unit: str = ""
    has_signs: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unlike a plain number, for people."""
        decimal = ("decimal comma",) if self.decimal == "," else ()
        group = (f"{_GROUP_NAMES[self.group]} between thousands",) if self.group else ()
        signs = ("signs such as < or $ before numbers passed over",) if self.has_signs else ()
        return (*decimal, *group, *signs, *((f"unit {self.unit}",) if self.unit else ()))

    @property
    def _number(self) -> str:
        decimal, mark = re.escape(self.decimal), _GROUPS[self.group]
        whole = rf"(?:[1-9]\d{{0,2}}(?:{mark}\d{{3}})+|\d+)" if mark else r"\d+"
        return rf"{_SIGN}(?:{whole}(?:{decimal}\d*)?|{decimal}\d+){_EXPONENT}"

    @property
    def pattern(self) -> str:
        """Matches a whole cell that is a number, with the unit or without; with any as group 1 where none is known."""
        unit = f"(?i:{re.escape(self.unit)})" if self.unit else f"({_UNIT})"
        signs = rf"(?:{_SIGNS})?" if self.has_signs else ""
        return rf"^{signs}(?:{self._number}(?:[ \u00a0\u202f]*{unit})?|{_ENDLESS})$"

    def parse(self, cells: "pl.Expr") -> "pl.Expr":
        """Read cells without white space around as float64; null where one is no number of this form."""
        import polars as pl

        if self == PLAIN:
            return cells.str.replace("−", "-", literal=True).cast(pl.Float64, strict=False)
        digits = cells.str.replace(f"^{_SIGNS}", "") if self.has_signs else cells
        digits = digits.str.replace(f"[ \u00a0\u202f]*(?i:{re.escape(self.unit)})$", "") if self.unit else digits
        if self.group:
            digits = digits.str.replace_all(_GROUPS[self.group], "")
        if self.decimal == ",":
            digits = digits.str.replace(",", ".", literal=True)
        numbers = digits.str.replace_all("−", "-", literal=True).cast(pl.Float64, strict=False)
        return pl.when(cells.str.contains(self.pattern)).then(numbers)


PLAIN: Final = NumberForm()


@dataclass(frozen=True, slots=True)
class FormChoice:
    """The form that most cells of a column have, and the cells that have it.

    Attributes:
        is_number: bool (n,) of the cells.
        comma: what the cells by themselves tell of a comma.
        units: the different words behind numbers, by falling rows; more than one where no unit could be chosen.
    """

    form: NumberForm
    is_number: "pl.Series"
    comma: Comma | None = None
    units: tuple[str, ...] = ()


def choose_form(cells: "pl.DataFrame", *, comma: Comma) -> FormChoice:
    """Choose the form in which most rows of a column are numbers.

    Args:
        cells: `cell`, different texts without white space around, and `rows`, how many rows have each.
        comma: what "1,234" means where the column itself does not tell.
    """
    has_signs = bool(cells["cell"].str.contains(rf"^{_SIGNS}{_SIGN}[.,]?\d").any())
    forms = [replace(form, has_signs=has_signs) for form in _forms(cells["cell"], comma=comma)]
    fits = {form: cells["cell"].str.contains(form.pattern) for form in forms}
    rows = {form: int(cells["rows"].filter(fit).sum()) for form, fit in fits.items()}
    form = max(rows, key=lambda item: rows[item])
    decimal = rows.get(NumberForm(",", has_signs=has_signs), 0)
    thousands = rows.get(NumberForm(".", ",", has_signs=has_signs), 0)
    told: Comma | None = None
    if (form.decimal, form.group) != (PLAIN.decimal, PLAIN.group) and decimal != thousands:
        told = "decimal" if form.decimal == "," else "thousands" if form.group == "," else None
    return _with_unit(cells, FormChoice(form, fits[form], told))


def _forms(cells: "pl.Series", *, comma: Comma) -> list[NumberForm]:
    """The forms that the marks in the cells allow, the likelier ones first."""
    marks = {mark for mark, pattern in _GROUPS.items() if mark and cells.str.contains(pattern).any()}
    either = [NumberForm(","), NumberForm(".", ",")]
    found = [PLAIN, *(either if comma == "decimal" else either[::-1]), NumberForm(",", ".")]
    found += [NumberForm(decimal, group) for group in (" ", "'") for decimal in (".", ",")]
    return [form for form in found if {form.decimal, form.group} - {"", "."} <= marks and form.group in {"", *marks}]


def _with_unit(cells: "pl.DataFrame", choice: FormChoice) -> FormChoice:
    """The choice with its unit, where one word stands behind (nearly) all numbers that have one."""
    import polars as pl

    shown = cells.with_columns(unit=pl.col("cell").str.extract(choice.form.pattern, 1)).filter(choice.is_number)
    shown = shown.filter(pl.col("unit").is_not_null())
    if shown.is_empty():
        return choice
    spelled = shown.sort("rows", "unit", descending=[True, False]).group_by(
        pl.col("unit").str.to_lowercase().alias("lower"), maintain_order=True
    )
    counted = spelled.agg(pl.col("unit").first(), pl.col("rows").sum())
    counted = counted.sort("rows", "unit", descending=[True, False])
    units, unit = tuple(counted["unit"]), str(counted["unit"][0])
    is_spaced = bool(shown["cell"].str.contains(r"\d[ \u00a0\u202f]").any())
    is_unit = is_spaced or (unit if len(unit) == 1 else unit.lower()) in UNITS or len(shown) > FEW_NUMBERS
    if not is_unit or counted["rows"][0] < (1 - MAX_ODD_SHARE) * int(shown["rows"].sum()):
        return replace(choice, is_number=cells["rows"] < 0, units=units)
    form = replace(choice.form, unit=unit)
    return replace(choice, form=form, is_number=cells["cell"].str.contains(form.pattern), units=(unit,))


def is_grouped_by_points(cells: "pl.Series") -> bool:
    """Tell whether numbers such as 1.234 may be thousands: three digits behind every point, and none is longer before.

    >>> import polars as pl
    >>> is_grouped_by_points(pl.Series(["1.234", "12.000", "7"])), is_grouped_by_points(pl.Series(["1.25", "7"]))
    (True, False)
    """
    is_part = cells.str.contains(r"^[+\-−]?(?:0|[1-9]\d{0,2})(?:\.\d{3})*$")
    return bool(is_part.all() and cells.str.contains(".", literal=True).any())
