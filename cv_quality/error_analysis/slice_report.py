"""The report of a slice search: its records, and the JSON document of `cvq slices`.

How slices are found is in `cv_quality.error_analysis.discovery`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.slices import Slice, Value
from cv_quality.errors import SliceError
from cv_quality.metrics.results import JsonValue, Result, percent
from cv_quality.text import SHOWN_DIGITS, figures

Kind = Literal["rate", "loss"]

CONFIRMATION_LEVEL: Final = 0.005
"""Level of the holdout tests: the chance that any slice, or any cluster, is reported where there is none."""


@dataclass(frozen=True, slots=True)
class SliceFinding(Result):
    """A slice that fails more than the rest, confirmed on subjects who had no part in its search.

    Attributes:
        where: the slice.
        rate: failures per row (or the mean loss) among the slice's rows of the confirmation subjects.
        low, high: its 95 % interval, clustered by subject.
        rest_rate: the same outside of this slice and of those above it.
        failures, trials: numerator and denominator of `rate`; `failures` is the sum of a loss.
        support, subjects: rows and subjects of the slice in the whole table; rows are subjects where none are named.
        p_adjusted: of the one-sided test against the rest, adjusted by Holm over all candidates.
        share_of_failures: the part of all failures of the table that lies in the slice; of a loss, of what is above the
            smallest one.
        stability: the share of the search's splits of the subjects that confirm a slice of equal or nearly equal rows.
        adjusted_odds_ratio: Mantel-Haenszel odds ratio over the strata of the strongest correlate, `adjusted_for`; None
            where there is none, or for a loss.
    """

    where: Slice
    rate: float
    low: float
    high: float
    rest_rate: float
    failures: float
    trials: int
    support: int
    subjects: int
    p_adjusted: float
    share_of_failures: float
    stability: float
    adjusted_odds_ratio: float | None = None
    adjusted_for: str | None = None
    sentence: str = ""

    def to_dict(self) -> dict[str, JsonValue]:
        return {**Result.to_dict(self), "where": self.where.to_list()}


@dataclass(frozen=True, slots=True)
class InsufficientSlice(Result):
    """A slice that stands out but rests on too few subjects to be told from them."""

    where: Slice
    rate: float
    rest_rate: float
    support: int
    subjects: int
    sentence: str

    def to_dict(self) -> dict[str, JsonValue]:
        return {**Result.to_dict(self), "where": self.where.to_list()}


@dataclass(frozen=True, slots=True)
class ConfoundedValue(Result):
    """A value that fails more often only since it goes with slices: not without the rows of those in `by`.

    Attributes:
        where: the condition: the value alone, or a bound of a number.
        rate_before, rate_after: its rate over all its rows, and over those outside of the slices found.
        rest_rate: the rate of the other values outside of the slices found.
        by: the slices that hold most of the value's failures, or those that it is a part of, as sentences.
        is_part: whether it is a condition of those slices, or nearly: bad, but only in combination.
    """

    column: str
    value: Value
    where: Slice
    rate_before: float
    rate_after: float
    rest_rate: float
    by: tuple[str, ...]
    sentence: str
    is_part: bool = False

    def to_dict(self) -> dict[str, JsonValue]:
        return {**Result.to_dict(self), "where": self.where.to_list()}


@dataclass(frozen=True, slots=True)
class SetApartColumn(Result):
    """A column that nearly determines the outcome: most likely a consequence of it, or what defines it.

    Attributes:
        rate, share_of_failures: of the rows whose value says "failed", those that do, and their part of all failures;
            None for a loss.
    """

    column: str
    rate: float | None
    share_of_failures: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class SliceReport(Result):
    """The report of a search, best slice first (by the share of failures that each explains beyond those above it).

    Attributes:
        base_rate: failures per row, or the mean loss, of the whole table.
        explained_away: values that look bad and are not.
        only_combined: values that are bad only together with the other conditions of a slice.
        set_apart: columns that were not searched since they nearly determine the outcome.
        skipped: other columns that were not searched, with the reason.
        conclusion: one plain sentence on whether anything is real.
        n_splits: splits of the subjects that were searched.
    """

    n_rows: int
    n_subjects: int | None
    n_failures: float
    base_rate: float
    outcome: str
    kind: Kind
    slices: tuple[SliceFinding, ...]
    insufficient: tuple[InsufficientSlice, ...]
    explained_away: tuple[ConfoundedValue, ...]
    only_combined: tuple[ConfoundedValue, ...]
    set_apart: tuple[SetApartColumn, ...]
    skipped: dict[str, str]
    conclusion: str
    n_splits: int
    seed: int
    seconds: float

    def to_dict(self) -> dict[str, JsonValue]:
        """Write the document of `cvq slices --json`."""
        names = ("slices", "insufficient", "explained_away", "only_combined")
        return Result.to_dict(self) | {name: [item.to_dict() for item in getattr(self, name)] for name in names}


def kind_of_outcome(values: NDArray[np.float64], *, name: str) -> Kind:
    """Tell a failure, 0 and 1, from a loss.

    Args:
        values: of the outcome, in any order.
        name: of its column.

    Raises:
        SliceError: the values are signs: 1 and -1 code two classes, and nothing says which of them fails.
    """
    if np.isin(values, (0, 1)).all():
        return "rate"
    if np.isin(values, (-1, 0, 1)).all():
        raise SliceError(
            f"outcome {name!r}: expected true and false, 0 and 1, or a loss, found 1 and -1, which say not which of "
            f'them is a failure: make it a comparison (cvq: --failed-when "{name}=-1")'
        )
    return "loss"


def figure(value: float | None, kind: Kind, *, digits: int = SHOWN_DIGITS) -> str:
    """Format a rate in per cent, a loss as it is.

    Args:
        digits: significant digits, where three are too few.
    """
    return percent(value, digits=digits) if kind == "rate" else figures(value, digits=digits)


def set_apart_words(columns: Sequence[str]) -> str:
    """Say which columns were not searched since they nearly determine the outcome."""
    verb = "it nearly determines" if len(columns) == 1 else "they nearly determine"
    return f"Set apart, since {verb} the outcome: {', '.join(columns)}."
