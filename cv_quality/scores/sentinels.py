"""Values that stand for "no score" and look like one: found by where they lie, set apart, and said.

Rows and columns of a matrix that are filled with a value are found in `cv_quality.scores.matrices`; here all scores of
a set are looked at together. A value is taken for a sentinel when it is the least alike score, stands repeatedly, and
lies further from the next score than all other scores lie from each other.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.scores.score_set import Polarity
from cv_quality.scores.source import IS_GENUINE, SCORE, SUBJECTS, Sentinel, plural

if TYPE_CHECKING:
    import polars as pl

FEWEST = 2
"""One far score is an outlier, not a convention."""
MOST = 0.5
"""A value that fills more than this share of the set is how the system scores, not how it says "no score"."""
DISTINCT = 10
"""Other values needed before "far from the rest" means something: a yes/no system has two."""
LOOKED_AT = 100_000


@dataclass(frozen=True, slots=True)
class Extremes:
    """Isolated repeated values at both ends of the scores of the files, None where there is none."""

    lowest: float | None
    highest: float | None


def extremes(scores: "pl.Series") -> Extremes:
    """Which end values are isolated and repeated.

    >>> import polars as pl
    >>> extremes(pl.Series([-1.0, -1.0] + [0.4 + i / 50 for i in range(20)]))
    Extremes(lowest=-1.0, highest=None)
    """
    finite = scores.filter(scores.is_finite())
    return Extremes(_isolated(finite, sign=1.0), _isolated(finite, sign=-1.0))


def without(scores: "pl.DataFrame", ends: Extremes) -> "pl.DataFrame":
    """`scores` without either end value: what tells the polarity."""
    for value in (ends.lowest, ends.highest):
        if value is not None:
            scores = scores.filter(scores[SCORE] != value)
    return scores


def sentinel_of(ends: Extremes, *, polarity: Polarity, asked: Sentinel) -> float | None:
    """The value to be set apart: the declared one, or the isolated one at the least alike end."""
    if asked == "keep":
        return None
    if asked != "detect":
        return float(asked)
    return ends.lowest if polarity == "similarity" else ends.highest


def suspicion(ends: Extremes, *, polarity: Polarity, rows: "pl.DataFrame", asked: Sentinel) -> tuple[str, ...]:
    """A warning about the isolated value at the *most* alike end, where impostors have it too: it is kept."""
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
    """What to say of the rows that are set apart."""
    is_it = rows[SCORE] == value
    n = int(is_it.sum())
    if not n:
        return ()
    n_genuine = int((is_it & rows[IS_GENUINE]).sum())
    how = "declared" if asked != "detect" else "repeated, the least alike, and far from every other score"
    what = f"{plural(n, 'comparison')} ({n_genuine:,} genuine, {n - n_genuine:,} impostor) with the sentinel {value:g}"
    return (f'{what} ({how}) set apart as failed enrolments (sentinel="keep" counts them as scores)',)


def failed_subjects(value: float, rows: "pl.DataFrame") -> tuple[str, ...] | None:
    """Subjects all of whose comparisons on one side are the sentinel; None where the subjects are unknown."""
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
    is_far = gap > high - low and rest.head(LOOKED_AT).n_unique() >= DISTINCT
    return end if is_far else None
