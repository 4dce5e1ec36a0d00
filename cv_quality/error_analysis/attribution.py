"""Attribution of a change in the failure rate between two tables to slices, by their frequency and by their rate.

The arithmetic is in `cv_quality.error_analysis.decomposition`; two builds of the lake are compared in
`cv_quality.tasks.root_causes.attribution`.
"""

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from cv_quality.error_analysis.decomposition import (
    CHANGE,
    MIX,
    RATE,
    SubjectCounts,
    exact_contributions,
    half_widths,
    subject_counts,
    with_whole,
)
from cv_quality.error_analysis.slice_report import Kind, figure, set_apart_words
from cv_quality.error_analysis.slices import Slice
from cv_quality.error_analysis.two_tables import NAMES, read_rows, require_tables, shared_columns, unlike_columns
from cv_quality.metrics.bootstrap_kernels import Floats
from cv_quality.metrics.rates import LEVEL, percent, require_level
from cv_quality.metrics.resampling import REPLICATES, require_replicates
from cv_quality.metrics.results import JsonValue, Result
from cv_quality.text import signed

if TYPE_CHECKING:
    import polars as pl

REST = "the rest"
MIN_UNITS = 2
SAME_JACCARD = 0.8
"""Two slices that share so much of their rows are one cause, met in both tables."""
WHOLE = -1
"""The whole stands behind the last part."""

_Nine: TypeAlias = tuple[
    float, float | None, float | None, float, float | None, float | None, float, float | None, float | None
]


@dataclass(frozen=True, slots=True)
class Contribution(Result):
    """What a part of the rows contributes to a change: mix + rate == change, exactly.

    Attributes:
        mix: since the part became more or less frequent, and fails more or less than the average.
        rate: since the part's own rate changed.
        mix_low, ...: bounds of the interval; None where too few subjects are in the part.
    """

    mix: float
    mix_low: float | None
    mix_high: float | None
    rate: float
    rate_low: float | None
    rate_high: float | None
    change: float
    change_low: float | None
    change_high: float | None


@dataclass(frozen=True, slots=True)
class AttributedPart(Contribution):
    """One slice, without the rows of those before it, or the rest.

    Attributes:
        condition: the slice as a sentence.
        where: the slice; None for the rest.
        failures_before, failures_after: failures, or the sum of the loss.
        rate_before, rate_after: failures per row of the part; None without a row.
        reason: why a bound is missing.
    """

    condition: str
    where: Slice | None
    failures_before: float
    rows_before: int
    failures_after: float
    rows_after: int
    rate_before: float | None
    rate_after: float | None
    reason: str | None

    def to_dict(self) -> dict[str, JsonValue]:
        return _own_first(self) | {"where": None if self.where is None else self.where.to_list()}


@dataclass(frozen=True, slots=True)
class Attribution(Contribution):
    """A change of a rate from one table to another, and its parts, which add up to it exactly.

    Attributes:
        kind: "rate" of a boolean outcome, or "loss": the mean of a number.
        n_before, n_after, rate_before, rate_after: rows, and failures per row, or the mean loss.
        n_subjects: subjects of both tables; None where no subject column was named and rows are taken as independent.
        n_paired: of them, those with rows in both tables.
        parts: the slices in their order, then the rest.
        method: how the bounds were computed; None where there are none, for the `reason`.
        conclusion: one plain sentence on what changed.
        skipped: columns that were not searched, with the reason.
    """

    outcome: str
    kind: Kind
    n_before: int
    n_after: int
    failures_before: float
    failures_after: float
    rate_before: float
    rate_after: float
    n_subjects: int | None
    n_paired: int
    parts: tuple[AttributedPart, ...]
    method: str | None
    reason: str | None
    level: float
    seed: int
    seconds: float
    conclusion: str
    skipped: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, JsonValue]:
        """Write the document of `cvq attribute --json`."""
        return _own_first(self) | {"parts": [part.to_dict() for part in self.parts]}


def _own_first(found: Contribution) -> dict[str, JsonValue]:
    """The result for JSON: what it is about, then its contribution."""
    plain, last = Result.to_dict(found), {item.name for item in fields(Contribution)}
    return {name: plain[name] for name in sorted(plain, key=last.__contains__)}


def attribute_change(
    before: "pl.DataFrame",
    after: "pl.DataFrame",
    *,
    outcome: str,
    subject: str | None = None,
    slices: Sequence[Slice],
    replicates: int = REPLICATES,
    level: float = LEVEL,
    seed: int = 0,
) -> Attribution:
    """Attribute the change of a rate from one table to another to slices and the rest.

    Each row belongs to the first slice that holds, or to the rest. What a part contributes (`decomposition`) is a mix,
    as it became more or less frequent, and a rate, as it fails more or less often. Bounds are t intervals around the
    estimate with the deviation of a bootstrap of subjects: one who is in both tables is drawn for both, one of a single
    table among those of that table. With 10 to 200 subjects a table nominal 95 % cover .92 to 1; less, from .78, only
    where the mix rests on a few subjects who change their part altogether (`benchmarks/attribution_coverage.py`).

    Args:
        before, after: rows with the outcome, the subject and the columns that the slices speak of.
        outcome: a boolean column, one of 0 and 1, or a number (a loss); higher is worse.
        subject: the column that names the subject; rows are taken as independent where there is none.
        slices: in the order in which they take their rows.
        replicates, level: of the bootstrap, at least 100, and confidence of the intervals.

    Raises:
        SliceError: a table has no rows, a column is missing or differs in type, or a slice does not fit its column.
        MetricError: too few replicates, or a level that is no probability.

    >>> import polars as pl
    >>> from cv_quality.error_analysis.slices import Predicate
    >>> before = pl.DataFrame({"is_dark": [True, False, False, False], "failed": [1, 0, 0, 0]})
    >>> after = pl.DataFrame({"is_dark": [True, True, False, False], "failed": [1, 1, 0, 0]})
    >>> found = attribute_change(before, after, outcome="failed", slices=[Slice((Predicate("is_dark", "==", True),))])
    >>> [(part.condition, part.mix, part.rate) for part in found.parts], found.change
    ([('is_dark is True', 0.15625, 0.0), ('the rest', 0.09375, 0.0)], 0.25)
    """
    started = time.perf_counter()
    require_replicates(replicates)
    require_level(level)
    rows, kind = read_rows(before, after, outcome=outcome, subject=subject, slices=slices)
    counts = subject_counts(rows, n_parts=len(slices) + 1, seed=seed)
    half = None
    if counts.per_part[:, WHOLE].min() >= MIN_UNITS:
        half = half_widths(counts, replicates=replicates, level=level, seed=seed)
    estimates = _Estimates(counts, half, kind, "subject" if subject else "row")
    found = _attribution(estimates, slices, outcome=outcome, replicates=replicates, level=level, seed=seed)
    return replace(found, seconds=time.perf_counter() - started, conclusion=_conclusion(found))


def attribute_tables(
    before: "pl.DataFrame",
    after: "pl.DataFrame",
    *,
    outcome: str,
    subject: str | None = None,
    columns: Sequence[str] | None = None,
    exclude: Collection[str] = (),
    keep: Collection[str] = (),
    slices: Sequence[Slice] | None = None,
    seed: int = 0,
    threads: int = 2,
) -> Attribution:
    """Attribute the change between any two tables; where no slices are given, those of both are found first.

    What fails in `after` comes first, then what failed in `before`, so that a cause that came and one that went are
    both parts. A slice of `before` whose rows are mostly those of one of `after` is left out.

    Args:
        before, after, outcome, subject: as of `attribute_change`.
        columns: to search for slices; by default all that both tables have in types that can be compared.
        exclude, keep: of the search, as of `discovery.find_slices`.
        slices: in the order in which they take their rows; none is a legal answer.
        seed, threads: of the search; the seed also of the bootstrap.

    Raises:
        SliceError: as `attribute_change`.
    """
    from cv_quality.error_analysis.discovery import find_slices

    started, found, set_apart = time.perf_counter(), list[Slice](), list[str]()
    require_tables(before, after, outcome=outcome, subject=subject)
    skipped = unlike_columns(before, after) if columns is None else {}
    if columns is None:
        columns = [name for name in shared_columns(before, after) if name not in (outcome, subject)]
    search = partial(find_slices, outcome=outcome, subject=subject, keep=keep, seed=seed, threads=threads)
    for table in (after, before) if slices is None and columns else ():
        # What a search finds in no column left is no slice, but what it is told to search in none is an error.
        searched = [name for name in columns if name not in set_apart]
        answer = search(table, columns=searched or columns, exclude=exclude)
        skipped |= {name: reason for name, reason in answer.skipped.items() if name not in skipped}
        set_apart += [item.column for item in answer.set_apart if item.column not in set_apart]
        for finding in answer.slices:
            if not any(_are_alike(finding.where, other, (before, after)) for other in found):
                found.append(finding.where)
    slices = found if slices is None else slices
    answered = attribute_change(before, after, outcome=outcome, subject=subject, slices=slices, seed=seed)
    conclusion = " ".join([answered.conclusion, *([set_apart_words(set_apart)] if set_apart else [])])
    return replace(answered, seconds=time.perf_counter() - started, conclusion=conclusion, skipped=skipped)


def _are_alike(one: Slice, other: Slice, tables: "Sequence[pl.DataFrame]") -> bool:
    both = [table.select(one=one.expression(), other=other.expression()) for table in tables]
    shared = sum(int((rows["one"] & rows["other"]).sum()) for rows in both)
    either = sum(int((rows["one"] | rows["other"]).sum()) for rows in both)
    return shared >= SAME_JACCARD * either


class _Estimates:
    """Counts and contributions of the parts, and of the whole behind the last of them.

    Attributes:
        rows, failures, units: shape (2, parts + 1), before then after; units are what was resampled.
        exact: contributions, shape (3, parts + 1).
        half: half the widths of their intervals, of that shape; None where a table has too few units.
        unit: what the units are, for people.
    """

    def __init__(self, counts: SubjectCounts, half: Floats | None, kind: Kind, unit: str) -> None:
        rows, failures = counts.rows.sum(0), counts.failures.sum(0)
        self.counts, self.half, self.kind, self.unit = counts, half, kind, unit
        self.rows, self.failures, self.units = with_whole(rows), with_whole(failures), counts.per_part
        self.exact = exact_contributions(rows, failures)

    def counted(self, part: int) -> tuple[tuple[float, float], tuple[int, int]]:
        """Failures and rows of a part, before and after; failures are whole numbers unless they are a loss."""
        before, after = (float(value) for value in self.failures[:, part])
        n_before, n_after = (int(value) for value in self.rows[:, part])
        return ((int(before), int(after)) if self.kind == "rate" else (before, after)), (n_before, n_after)

    def doubt(self, part: int) -> tuple[str | None, bool, bool]:
        """Tell why a bound of a part is missing, whether mix and change have bounds, and whether the rate has."""
        for table, place in ((table, place) for place in (WHOLE, part) for table in (0, 1)):
            if self.rows[table, place] and self.units[table, place] < MIN_UNITS:
                short = f"{self.units[table, place]} {self.unit} in the table '{NAMES[table]}', {MIN_UNITS} needed"
                return short, False, False
        failures, rows = self.failures[:, part].sum(), self.rows[:, part]
        if not rows.all():
            where = f"in the table '{NAMES[int(rows.argmin())]}'" if rows.any() else "in either table"
            return f"no row {where}: it has no rate there", bool(rows.any()), False
        if failures == 0 or (self.kind == "rate" and failures == rows.sum()):
            fails = "nothing" if failures == 0 else "everything"
            return f"{fails} in it fails: resampling cannot tell how sure that is", part != WHOLE, False
        return None, True, True

    def intervals(self, part: int) -> _Nine:
        """Mix, rate and change, each with its bounds."""
        (_, is_bounded, is_rate_bounded), most = self.doubt(part), 1.0 if self.kind == "rate" else math.inf

        def interval(kind: int, *, is_bounded: bool) -> tuple[float, float | None, float | None]:
            value = float(self.exact[kind, part])
            if self.half is None or not is_bounded:
                return value, None, None
            half = float(self.half[kind, part])
            return value, max(value - half, -most), min(value + half, most)

        mix, change = (interval(kind, is_bounded=is_bounded) for kind in (MIX, CHANGE))
        return *mix, *interval(RATE, is_bounded=is_rate_bounded), *change


def _attribution(
    estimates: _Estimates, slices: Sequence[Slice], *, outcome: str, replicates: int, level: float, seed: int
) -> Attribution:
    counts, unit, paired = estimates.counts, estimates.unit, "taken as independent"
    if unit == "subject":
        paired = f"{counts.n_paired} of {counts.n_subjects} paired"
    method = f"t around the estimate, bootstrap of {unit}s, {paired}, {percent(level)}, {replicates} replicates"
    (failures_before, failures_after), (n_before, n_after) = estimates.counted(WHOLE)
    return Attribution(
        *estimates.intervals(WHOLE),
        outcome=outcome,
        kind=estimates.kind,
        n_before=n_before,
        n_after=n_after,
        failures_before=failures_before,
        failures_after=failures_after,
        rate_before=failures_before / n_before,
        rate_after=failures_after / n_after,
        n_subjects=counts.n_subjects if unit == "subject" else None,
        n_paired=counts.n_paired,
        parts=tuple(_part(index, where, estimates) for index, where in enumerate([*slices, None])),
        method=None if estimates.half is None else method,
        reason=estimates.doubt(WHOLE)[0],
        level=level,
        seed=seed,
        seconds=0.0,
        conclusion="",
    )


def _part(index: int, where: Slice | None, estimates: _Estimates) -> AttributedPart:
    failures, rows = estimates.counted(index)
    return AttributedPart(
        *estimates.intervals(index),
        condition=REST if where is None else where.sentence(),
        where=where,
        failures_before=failures[0],
        rows_before=rows[0],
        failures_after=failures[1],
        rows_after=rows[1],
        rate_before=failures[0] / rows[0] if rows[0] else None,
        rate_after=failures[1] / rows[1] if rows[1] else None,
        reason=estimates.doubt(index)[0],
    )


def _conclusion(found: Attribution) -> str:
    """One sentence: what changed, by how much of what, where most of it lies, and whether it is more than chance.

    Parts may have either sign: the largest is named, which need not be most of the change.
    """
    before, after = figure(found.rate_before, found.kind), figure(found.rate_after, found.kind)
    largest = max(found.parts, key=lambda part: abs(part.change))
    if largest.change == 0:
        return f"{found.outcome} stayed at {before}, in every part."
    moved = "rose" if found.change > 0 else "fell" if found.change < 0 else "stayed"
    went = f"{moved} from {before} to {after}" if found.change else f"{moved} at {before}"
    share = f"{_signed(found.mix, found.kind)} since the mix of rows changed and "
    share += f"{_signed(found.rate, found.kind)} since rows of the same part fail differently"
    where = "outside of the slices" if largest.where is None else f"where {largest.condition}"
    part = f"; the largest part, {_signed(largest.change, found.kind)}, lies {where}" if len(found.parts) > 1 else ""
    return f"{found.outcome} {went} ({_uncertainty(found)}): {share}{part}."


def _uncertainty(found: Attribution) -> str:
    value = _signed(found.change, found.kind)
    if found.change_low is None or found.change_high is None:
        return f"{value}; not known how sure: {found.reason}"
    verdict = "includes 0" if found.change_low <= 0 <= found.change_high else "excludes 0"
    low, high = _number(found.change_low, found.kind), _signed(found.change_high, found.kind)
    return f"{value}, {percent(found.level)} interval {low} to {high}, which {verdict}"


def _signed(value: float, kind: Kind) -> str:
    return f"{_number(value, kind)} points" if kind == "rate" else _number(value, kind)


def _number(value: float, kind: Kind) -> str:
    return signed(100 * value if kind == "rate" else value)
