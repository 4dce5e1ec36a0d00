"""The report of a slice search: its records, and the JSON document of `cvq slices`.

How slices are found is in `cv_quality.error_analysis.discovery`.
"""

from dataclasses import dataclass
from typing import Final, Literal

from cv_quality.error_analysis.slices import Slice, Value
from cv_quality.metrics.results import JsonValue, Result, percent
from cv_quality.text import figures

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
    """A value that fails more often only since it is correlated with slices: not without the rows of those in `by`.

    Attributes:
        where: the condition: the value alone, or a bound of a number.
        rate_before, rate_after: its rate over all its rows, and over those outside of the slices found.
        rest_rate: the rate of the other values outside of the slices found.
        by: the slices that hold most of the value's failures, as sentences.
    """

    column: str
    value: Value
    where: Slice
    rate_before: float
    rate_after: float
    rest_rate: float
    by: tuple[str, ...]
    sentence: str

    def to_dict(self) -> dict[str, JsonValue]:
        return {**Result.to_dict(self), "where": self.where.to_list()}


@dataclass(frozen=True, slots=True)
class SliceReport(Result):
    """The report of a search, best slice first (by the share of failures that each explains beyond those above it).

    Attributes:
        base_rate: failures per row, or the mean loss, of the whole table.
        skipped: columns that were not searched, with the reason.
        conclusion: one plain sentence on whether anything is real.
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
    skipped: dict[str, str]
    conclusion: str
    seed: int
    seconds: float

    def to_dict(self) -> dict[str, JsonValue]:
        """Write the document of `cvq slices --json`."""
        lists = {"slices": self.slices, "insufficient": self.insufficient, "explained_away": self.explained_away}
        return Result.to_dict(self) | {name: [item.to_dict() for item in items] for name, items in lists.items()}


def figure(value: float, kind: Kind) -> str:
    """Format a rate in per cent, a loss as it is."""
    return percent(value) if kind == "rate" else figures(value)
