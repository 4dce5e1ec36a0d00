"""Tells which values of a whole column break what the column's declaration says, in one pass over them.

The same rules as SQL, for rows that lie in the lake, are in `cv_quality.drops.rules`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.lake.schema import Column

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why some rows of a column do not fit.

    Attributes:
        reason: code, as in the quarantine of drops.
        expected: what was, for people.
        rows: a mask.
    """

    reason: str
    expected: str
    rows: "pl.Series"


def broken_rules(values: "pl.Series", column: Column) -> Iterator[Doubt]:
    """Tell which values are not in the form, the levels or the range that the column's declaration has."""
    if column.kind == "text":
        known = values.unique()
        if column.levels:
            wrong = known.filter(~known.is_in(list(column.levels)))
            yield from _among(values, wrong, "unknown_level", f"one of {', '.join(column.levels)}")
        if column.pattern:
            wrong = known.filter(~known.str.contains(f"^(?:{column.pattern})$"))
            yield from _among(values, wrong, "bad_identifier", f"text that matches {column.pattern}")
    elif column.kind in ("real", "integer"):
        if column.kind == "real" and (is_endless := (~values.is_finite()).fill_null(False)).any():
            yield Doubt("not_finite", "a finite number", is_endless)
        low, high = column.low, column.high
        is_out = (values < low if low is not None else values.is_null() & False) | (
            values > high if high is not None else values.is_null() & False
        )
        if is_out.any():
            words = ("unbounded" if bound is None else f"{bound:g}" for bound in (low, high))
            yield Doubt("out_of_range", f"a number from {' to '.join(words)}", is_out.fill_null(False))


def _among(values: "pl.Series", wrong: "pl.Series", reason: str, expected: str) -> Iterator[Doubt]:
    wrong = wrong.drop_nulls()
    if len(wrong):
        yield Doubt(reason, expected, values.is_in(wrong.implode()).fill_null(False))
