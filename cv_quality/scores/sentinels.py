"""Sentinels, values that stand for "no score" and look like one: found by where they lie, excluded, and reported.

Rows and columns of a matrix that are filled with a value are found in `cv_quality.scores.matrices`; here all scores of
a set are looked at together. A value is taken for a sentinel when it is the least alike score, stands repeatedly, and
lies further from the next score than all other scores lie from each other.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.scores.rows import IS_GENUINE, SCORE, SUBJECTS
from cv_quality.scores.source import Polarity, Sentinel, plural

if TYPE_CHECKING:
    import polars as pl

FEWEST = 2
"""One far score is an outlier, not a convention."""
MOST = 0.5
"""A value that fills more than this share of the set is how the system scores, not how it says "no score"."""
DISTINCT = 10
"""Other values needed before "far from the rest" means something: a yes/no system has two."""
ROWS_EXAMINED = 100_000


@dataclass(frozen=True, slots=True)
class Extremes:
    """Isolated repeated values at both ends of the scores of the files, None where there is none."""

    lowest: float | None
    highest: float | None


def extremes(scores: "pl.Series") -> Extremes:
    """Find end values that are isolated and repeated.

    >>> import polars as pl
    >>> extremes(pl.Series([-1.0, -1.0] + [0.4 + i / 50 for i in range(20)]))
    Extremes(lowest=-1.0, highest=None)
    """
    finite = scores.filter(scores.is_finite())
    return Extremes(_isolated(finite, sign=1.0), _isolated(finite, sign=-1.0))


def without(scores: "pl.DataFrame", ends: Extremes) -> "pl.DataFrame":
    """Leave out either end value: what remains tells the polarity."""
    for value in (ends.lowest, ends.highest):
        if value is not None:
            scores = scores.filter(scores[SCORE] != value)
    return scores


def sentinel_of(ends: Extremes, *, polarity: Polarity, asked: Sentinel) -> float | None:
    """Choose the sentinel: the declared one, or the isolated one at the least alike end.

    Args:
        ends: of the scores of the files.
        polarity: which end is the least alike.
        asked: "detect", "keep" for none, or the declared value.
    """
    if asked == "keep":
        return None
    if asked != "detect":
        return float(asked)
    return ends.lowest if polarity == "similarity" else ends.highest


def suspicion(ends: Extremes, *, polarity: Polarity, rows: "pl.DataFrame", asked: Sentinel) -> tuple[str, ...]:
    """Warn of the isolated value at the *most* alike end where impostors have it too: it is kept.

    Args:
        ends: of the scores of the files.
        polarity: which end is the most alike.
        rows: all of them.
        asked: only "detect" gives a warning.
    """
    value = ends.highest if polarity == "similarity" else ends.lowest
    if value is None or asked != "detect":
        return ()
    n_impostor = int(((rows[SCORE] == value) & ~rows[IS_GENUINE]).sum())
    if n_impostor < FEWEST:
        return ()
    what = (
        f"{plural(n_impostor, 'impostor comparison')} with the score {value:g}, the most alike and far from all others"
    )
    return (f"{what}: a sentinel? They count as scores; sentinel={value:g} sets them apart",)


def finding(value: float, rows: "pl.DataFrame", *, asked: Sentinel) -> tuple[str, ...]:
    """Warn of the rows that are excluded as failed enrolments.

    Args:
        value: the sentinel.
        rows: all of them.
        asked: how it was found.
    """
    is_it = rows[SCORE] == value
    n = int(is_it.sum())
    if not n:
        return ()
    n_genuine = int((is_it & rows[IS_GENUINE]).sum())
    how = "declared" if asked != "detect" else "repeated, the least alike, and far from every other score"
    what = f"{plural(n, 'comparison')} ({n_genuine:,} genuine, {n - n_genuine:,} impostor) with the sentinel {value:g}"
    return (f'{what} ({how}) set apart as failed enrolments (sentinel="keep" counts them as scores)',)


def failed_subjects(value: float, rows: "pl.DataFrame") -> tuple[str, ...] | None:
    """List subjects all of whose comparisons on one side are the sentinel; None where the subjects are unknown."""
    import polars as pl

    if not set(SUBJECTS) <= set(rows.columns):
        return None
    found: set[str] = set()
    for side in SUBJECTS:
        whole = rows.group_by(side).agg((pl.col(SCORE) == value).all(), pl.len())
        found.update(whole.filter(pl.col(SCORE) & (pl.col("len") >= FEWEST))[side].drop_nulls())
    return tuple(sorted(found))


def _isolated(finite: "pl.Series", *, sign: float) -> float | None:
    """The lowest value (sign 1) or the highest (sign -1), if it is isolated and repeated."""
    end = finite.min() if sign > 0 else finite.max()
    if end is None:
        return None
    is_end = finite == end
    n = int(is_end.sum())
    rest = finite.filter(~is_end) if FEWEST <= n <= MOST * len(finite) else finite.clear()
    low, high = rest.min(), rest.max()
    if not isinstance(low, float) or not isinstance(high, float) or not isinstance(end, float):
        return None
    gap = low - end if sign > 0 else end - high
    is_far = gap > high - low and rest.head(ROWS_EXAMINED).n_unique() >= DISTINCT
    return end if is_far else None
