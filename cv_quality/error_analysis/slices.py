"""A slice: a conjunction of conditions, as a value that prints, selects rows, and travels as JSON.

Slices are found in `cv_quality.error_analysis.discovery` and reported as `cv_quality.error_analysis.slice_report`.
"""

import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast, get_args

from cv_quality.errors import SliceError
from cv_quality.metrics.results import JsonValue

if TYPE_CHECKING:
    import polars as pl

Op = Literal["==", "in", "<=", ">"]
Value: TypeAlias = "str | int | float | bool | None"
"""A value of a column; None stands for a missing one."""
_TIME_NAME: Final = re.compile(r"(?i)time|date|epoch|captured|created|recorded|(^|_)(ts|at|when)(_|$)")
_EPOCH_UNITS: Final = (1, 1e3, 1e6, 1e9)
_EPOCH_FROM, _EPOCH_UNTIL = 631_152_000, 4_102_444_800
"""1990 and 2100, in seconds: numbers of a column of times within them are points in time."""


@dataclass(frozen=True, slots=True)
class Predicate:
    """One condition: `column == value`, `column in (value, ...)`, `column <= value` or `column > value`.

    None is a value of its own, "missing": `== None` holds where the column is null, and no other condition but an `in`
    that lists None holds there. NaN is missing too. Values are compared in the column's own type.
    """

    column: str
    op: Op
    value: "Value | tuple[Value, ...]"

    def __post_init__(self) -> None:
        """Refuse what is no condition.

        Raises:
            SliceError: an unknown operator, `in` without a tuple of values, a bound that is no number, NaN or infinity.
        """
        if self.op not in get_args(Op):
            raise SliceError(f"{self.column}: expected an operator of {', '.join(get_args(Op))}, found {self.op!r}")
        if (self.op == "in") != isinstance(self.value, tuple) or self.value == ():
            expected = "several values for 'in' and one for others"
            raise SliceError(f"{self.column}: expected {expected}, found {self.value!r}")
        if self.op in ("<=", ">") and (isinstance(self.value, bool) or not isinstance(self.value, int | float)):
            raise SliceError(f"{self.column}: expected a number as bound of {self.op!r}, found {self.value!r}")
        if any(isinstance(value, float) and not math.isfinite(value) for value in self.values):
            raise SliceError(
                f"{self.column}: expected finite numbers, found {self.value!r}; None means missing, and infinity lies "
                "above every bound"
            )

    @property
    def values(self) -> "tuple[Value, ...]":
        return self.value if isinstance(self.value, tuple) else (self.value,)

    def expression(self) -> "pl.Expr":
        """Select its rows as a Polars expression, true or false for every row and never null."""
        import polars as pl

        column = pl.col(self.column)
        if self.op in ("<=", ">"):
            bound = cast("float", self.value)
            # Polars puts NaN above every number, infinity too.
            holds = column <= bound if self.op == "<=" else (column > bound) & (column <= math.inf)
            return holds.fill_null(False)
        listed = [value for value in self.values if value is not None]
        holds = column.is_in(listed).fill_null(False) if listed else pl.lit(False)
        return holds | is_missing(column) if None in self.values else holds

    def sql(self) -> str:
        """Select its rows as SQL for DuckDB, quoted; true or false for every row."""
        column = '"' + self.column.replace('"', '""') + '"'
        if self.op in ("<=", ">"):
            return f"coalesce({column} {self.op} {_literal(self.value)} AND {column} <= 'infinity'::DOUBLE, false)"
        listed = [_literal(value) for value in self.values if value is not None]
        holds = f"coalesce({column} IN ({', '.join(listed)}), false)" if listed else ""
        missing = f"({column} IS NULL OR lower({column}::VARCHAR) = 'nan')" if None in self.values else ""
        return " OR ".join(part for part in (holds, missing) if part)

    def sentence(self) -> str:
        """Describe it for people.

        >>> Predicate("eyewear", "in", ("glasses", None)).sentence()
        'eyewear is glasses or missing'
        >>> Predicate("illuminance_lux", "<=", 9.97).sentence()
        'illuminance_lux <= 9.97'
        """
        values = [_words(self.column, value) for value in self.values]
        return f"{self.column} {self.op if self.op in ('<=', '>') else 'is'} {' or '.join(values)}"

    def to_dict(self) -> dict[str, JsonValue]:
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"column": self.column, "op": self.op, "value": cast("JsonValue", value)}

    @classmethod
    def from_dict(cls, data: Mapping[str, JsonValue]) -> "Predicate":
        """Read what `to_dict` wrote.

        Raises:
            SliceError: a key is missing or unknown, or the condition is none.
        """
        if set(data) != {"column", "op", "value"} or not isinstance(data["column"], str):
            raise SliceError(f"a condition has the keys column, op and value, found {dict(data)!r}")
        value = tuple(data["value"]) if isinstance(data["value"], list) else data["value"]
        return cls(data["column"], cast(Op, data["op"]), cast("Value | tuple[Value, ...]", value))


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows for which every condition holds; no condition is the whole table.

    Two conditions on one column are an interval: `x > 1` and `x <= 5`.
    """

    where: tuple[Predicate, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the slice speaks of, each once."""
        return tuple(dict.fromkeys(predicate.column for predicate in self.where))

    def expression(self) -> "pl.Expr":
        """Select its rows as a Polars expression: `frame.filter(found.expression())`."""
        import polars as pl

        return pl.all_horizontal([pl.lit(True), *(predicate.expression() for predicate in self.where)])

    def sql(self) -> str:
        """Select its rows as SQL for DuckDB, to stand after WHERE."""
        return " AND ".join(f"({predicate.sql()})" for predicate in self.where) or "true"

    def sentence(self) -> str:
        """Describe it for people: "eyewear is glasses and illuminance_lux <= 9.97"."""
        return " and ".join(predicate.sentence() for predicate in self.where) or "all rows"

    def to_list(self) -> list[JsonValue]:
        """List the conditions as plain values for JSON; `from_list` reads them back."""
        return [cast("JsonValue", predicate.to_dict()) for predicate in self.where]

    @classmethod
    def from_list(cls, items: Sequence[JsonValue]) -> "Slice":
        """Read what `to_list` wrote.

        Raises:
            SliceError: something in the list is no condition.
        """
        if not all(isinstance(item, dict) for item in items):
            raise SliceError(f"expected a list of conditions, found {items!r}")
        return cls(tuple(Predicate.from_dict(cast("dict[str, JsonValue]", item)) for item in items))


def is_missing(column: "pl.Expr") -> "pl.Expr":
    """Select missing values: null or NaN, as a number or spelt out, since text does not tell the two apart."""
    import polars as pl

    spelt = column.cast(pl.String, strict=False).str.to_lowercase().eq("nan")
    return column.is_null() | spelt.fill_null(False)


def _literal(value: object) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _words(column: str, value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return epoch_words(column, value) or number_words(value)


def number_words(value: float) -> str:
    """Write a number with as many digits as tell it from its neighbours of the same type, six at least where it has.

    >>> number_words(9.97), number_words(1293921000000.0), number_words(0.1 + 0.2), number_words(9.970000267028809)
    ('9.97', '1293921000000', '0.30000000000000004', '9.97')
    """
    for digits in range(6, 18):
        text = f"{value:.{digits}g}"
        if float(text) == value or (digits < 10 and _single(float(text)) == value):
            break
    return f"{Decimal(text):f}" if 1e-5 <= abs(value) < 1e16 else text


def _single(value: float) -> float | None:
    """The number as one of single precision, as which many tables hold it."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return None


def epoch_words(column: str, value: float) -> str | None:
    """Write a point in time, in UTC, of a column whose name speaks of time; None for another number.

    >>> epoch_words("captured_at", 1293921000000), epoch_words("start_time", 1293840000), epoch_words("bytes", 1.3e9)
    ('2011-01-01 22:30:00', '2011-01-01', None)
    """
    if not _TIME_NAME.search(column):
        return None
    unit = next((unit for unit in _EPOCH_UNITS if _EPOCH_FROM <= value / unit < _EPOCH_UNTIL), None)
    if unit is None:
        return None
    time = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=round(value / unit * 1e6))
    is_whole_day = time.time() == datetime.min.time()
    return f"{time:%Y-%m-%d}" if is_whole_day else f"{time:%Y-%m-%d %H:%M:%S.%f}".removesuffix(".000000")
