"""Scores that are not numbers: failures to acquire where the format says so, errors where it does not.

bob writes NaN where no sample could be taken (`bob.measure` counts it as FTA); other formats have no such convention,
and there a NaN is refused by line. Infinities are scores: -inf is a comparison that can only be a non-match.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.scores.rows import IS_GENUINE, LINE, SCORE, TEXT, apart, refuse
from cv_quality.scores.source import Options, Source, plural

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Scored:
    """Rows with a score, those without one as excluded rows, and what to say of these."""

    rows: "pl.DataFrame"
    excluded: "pl.DataFrame"
    warnings: tuple[str, ...] = ()


def failures_to_acquire(rows: "pl.DataFrame", source: Source) -> Scored:
    """Exclude NaN as bob means it: no sample was acquired, so there was no comparison."""
    is_nan = rows[SCORE].is_nan()
    n = int(is_nan.sum())
    if n == 0:
        return Scored(rows, apart())
    failed = rows.filter(is_nan)
    n_genuine = int(failed[IS_GENUINE].sum())
    warning = (
        f"{source}: {n:,} of {plural(len(rows), 'row')} have NaN for a score (the first in line {failed[LINE][0]}; "
        f"{n_genuine:,} genuine, {n - n_genuine:,} impostor): failures to acquire, which are not comparisons"
    )
    return Scored(rows.filter(~is_nan), apart(failed, file=str(source), reason="failure_to_acquire"), (warning,))


def refuse_nan(rows: "pl.DataFrame", source: Source, options: Options, *, unit: str = "line") -> Scored:
    """Refuse NaN by an error, or exclude such rows where broken ones are to be skipped.

    Args:
        rows: `score` and `line` among the columns.
        source: their file.
        options: whether broken lines are skipped.
        unit: what `line` counts.

    Raises:
        ScoreFileError: a score is NaN and broken lines are not to be skipped.
    """
    import polars as pl

    is_nan = rows[SCORE].is_nan()
    if not is_nan.any():
        return Scored(rows, apart())
    bad = rows.filter(is_nan).with_columns(pl.lit("NaN").alias(TEXT))
    return Scored(
        rows.filter(~is_nan),
        refuse(bad, source, options, expected="a number as score", reason="not_a_number", unit=unit),
    )
