"""Scores of one class: converted from arrays, series and lists, counted against thresholds or sorted, once.

The curves and points of `cv_quality.metrics.verification` and its neighbours rest on these counts. Reading files of
scores, polarity and sentinels are matters of `cv_quality.scores`.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.bucket_counts import ScoreCounter

Scores = NDArray[np.floating]
"""float32 or float64."""

FEW_SCORES = 2**17
"""So many are sorted when they are taken in: a millisecond, or ten."""

LARGEST_WHOLE = 2**53
"""Whole numbers up to here are exact in float64."""


class CountedScores(Protocol):
    """Scores that are counted from above: those of one class, or the highest of them."""

    @property
    def listed(self) -> int: ...

    def count_from(self, thresholds: Scores) -> NDArray[np.int64]: ...

    def highest(self, rank: int) -> float: ...


class SortedScores:
    """The scores of one class, as good as sorted: many are only counted until their order is asked for.

    Hand one to several functions and the class is counted, or sorted, once. Many scores are not copied before they are
    sorted: leave the array that they came in unchanged.

    float32 stays float32, and a threshold is compared with it exactly: accepting s >= t is accepting s >= the smallest
    float32 at or above t, so the scores are never widened. float16 and whole numbers of up to 16 bits become float32,
    other whole numbers float64, both without loss. +inf and -inf are legal scores: a failed enrolment that is compared
    all the same scores -inf.

    >>> SortedScores([0.9, 0.1, 0.4]).scores.tolist()
    [0.1, 0.4, 0.9]
    """

    __slots__ = ("_held",)

    def __init__(self, values: "ArrayLike | SortedScores", *, name: str = "comparison") -> None:
        """Take in `values`: a NumPy array, a Polars series, an Arrow array, a list, or scores taken in before.

        Args:
            values: shape (n,), in any order.
            name: what the scores are, for messages: "genuine", "impostor".

        Raises:
            MetricError: there is no score; some are null or NaN; they are text, truth values, complex or otherwise no
                numbers that float64 holds exactly; or the shape is not (n,).
        """
        self._held: _Held = values._held if isinstance(values, SortedScores) else _Held(in_order(values, name=name))

    @property
    def scores(self) -> Scores:
        """Ascending, read-only; shape (n,), float32 or float64."""
        return self._held.ascending

    @property
    def n(self) -> int:
        """Number of scores."""
        return self._held.values.size

    @property
    def listed(self) -> int:
        """Number of scores that are known one by one: all."""
        return self.n

    @property
    def is_complete(self) -> bool:
        """Always true: no score is left out, which a tail of the highest scores cannot say."""
        return True

    @property
    def floor(self) -> float:
        """Minus infinity: thresholds may lie anywhere, which a tail of the highest scores cannot say."""
        return -np.inf

    def count_from(self, thresholds: Scores) -> NDArray[np.int64]:
        """Count the scores at or above each threshold, exactly; shape of the thresholds."""
        if not self._held.is_counted(thresholds.size):
            return self.n - count_below(self.scores, thresholds)
        rounded = np.atleast_1d(_rounded_up(thresholds, self._held.values.dtype))
        return self._held.counter.count_from(rounded).reshape(thresholds.shape)

    def highest(self, rank: int) -> float:
        """Find the score of a rank, 1 for the highest and n for the lowest."""
        return self._held.counter.highest(rank) if self._held.is_counted(1) else float(self.scores[self.n - rank])


@dataclass(slots=True, eq=False)
class _Held:
    """Scores in the order given, and what has been made of them so far."""

    values: Scores
    _counter: ScoreCounter | None = None
    _ascending: Scores | None = None

    def __post_init__(self) -> None:
        if self.values.size <= FEW_SCORES:
            self._sort()

    def is_counted(self, thresholds: int) -> bool:
        """Whether counting against so many thresholds is cheaper than sorting."""
        return self._ascending is None and self.values.size > 8 * thresholds

    @property
    def counter(self) -> ScoreCounter:
        if self._counter is None:
            self._counter = ScoreCounter(self.values)
        return self._counter

    @property
    def ascending(self) -> Scores:
        return self._sort() if self._ascending is None else self._ascending

    def _sort(self) -> Scores:
        ascending: Scores = np.sort(self.values)
        ascending.flags.writeable = False
        self.values, self._ascending, self._counter = ascending, ascending, None
        return ascending


def in_order(values: ArrayLike, *, name: str) -> Scores:
    """Convert values to float32 or float64 in the order given, where each belongs to a probe or a quality.

    Raises:
        MetricError: as for `SortedScores`.
    """
    scores = _taken_in(values, name=name)
    if np.isnan(scores.min()):
        count = np.count_nonzero(np.isnan(scores))
        raise MetricError(
            f"{count} of {scores.size} {name} scores are NaN: leave out what was not compared, give a failed "
            "comparison -inf"
        )
    return scores


def thresholds_of(values: ArrayLike) -> Scores:
    """Convert thresholds in the order given, shape (n,) or a single one of shape (); +inf and -inf are legal.

    Raises:
        MetricError: one is NaN, they are no numbers, or they have two dimensions or more.
    """
    try:
        thresholds = np.asarray(values)
        if thresholds.dtype != np.float32:
            thresholds = thresholds.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise MetricError(f"expected thresholds as numbers, found {type(values).__name__}: {error}") from error
    if thresholds.ndim > 1 or np.any(np.isnan(thresholds)):
        raise MetricError(f"expected thresholds without NaN, shape (n,), found shape {thresholds.shape}")
    return thresholds


def count_below(ascending: Scores, thresholds: Scores) -> NDArray[np.int64]:
    """Count the scores below each threshold, exactly, whatever the two types are; shape of the thresholds."""
    counts: NDArray[np.int64] = np.searchsorted(ascending, _rounded_up(thresholds, ascending.dtype), side="left")
    return counts


def count_up_to(ascending: Scores, thresholds: Scores) -> NDArray[np.int64]:
    """Count the scores at or below each threshold, exactly; shape of the thresholds."""
    rounded = -_rounded_up(-thresholds, ascending.dtype)
    counts: NDArray[np.int64] = np.searchsorted(ascending, rounded, side="right")
    return counts


def is_below(scores: Scores, threshold: float) -> NDArray[np.bool_]:
    """Compare scores in any order with one threshold, exactly; shape of the scores."""
    below: NDArray[np.bool_] = scores < _rounded_up(thresholds_of(threshold), scores.dtype)
    return below


def next_above(scores: CountedScores, value: float) -> float:
    """Find the smallest listed score above the value; +inf where there is none."""
    above = int(scores.count_from(thresholds_of(math.nextafter(value, math.inf))))
    return scores.highest(above) if above else np.inf


def next_below(scores: CountedScores, value: float) -> float:
    """Find the largest listed score below the value; -inf where there is none."""
    from_here = int(scores.count_from(thresholds_of(value)))
    return scores.highest(from_here + 1) if from_here < scores.listed else -np.inf


def _rounded_up(thresholds: Scores, dtype: np.dtype[np.floating]) -> Scores:
    """The smallest number of the type at or above each threshold: the same scores of that type lie below it."""
    with np.errstate(over="ignore"):
        near: Scores = thresholds.astype(dtype, copy=False)
        if thresholds.dtype.itemsize <= dtype.itemsize:
            return near
        return np.where(near < thresholds, np.nextafter(near, dtype.type(np.inf)), near)


def _taken_in(values: ArrayLike, *, name: str) -> Scores:
    missing = _count_missing(values)
    if missing:
        raise MetricError(
            f"{missing} {name} scores are null: leave out what was not compared, give a failed comparison -inf"
        )
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise MetricError(f"expected {name} scores as numbers, found {type(values).__name__}: {error}") from error
    _refuse_shape(array, name=name)
    kind, bytes_each = array.dtype.kind, array.dtype.itemsize
    if kind not in "fiu" or bytes_each > 8:
        hint = "; give decisions as 0.0 and 1.0" if kind == "b" else ""
        raise MetricError(f"expected {name} scores as float or whole numbers, found dtype {array.dtype}{hint}")
    if kind in "iu" and bytes_each == 8 and (array.max() > LARGEST_WHOLE or array.min() < -LARGEST_WHOLE):
        raise MetricError(f"{name} scores beyond 2**53 are not exact as float64: scale them first")
    is_small = bytes_each <= 4 if kind == "f" else bytes_each <= 2
    # In the machine's byte order, copied only where the type changes.
    floats: Scores = array.astype(np.float32 if is_small else np.float64, copy=False)
    return floats


def _count_missing(values: object) -> int:
    """Missing entries that NumPy would turn into NaN, or into the number under the mask, without a word."""
    if isinstance(values, np.ma.MaskedArray):
        return int(np.count_nonzero(np.ma.getmaskarray(values)))
    if isinstance(values, list | tuple):
        return sum(value is None for value in values)
    count = getattr(values, "null_count", 0)  # a method of a Polars series, an attribute of an Arrow array
    return int(count() if callable(count) else count)


def _refuse_shape(array: NDArray[np.generic], *, name: str) -> None:
    if array.ndim != 1:
        raise MetricError(f"expected {name} scores of shape (n,), found shape {array.shape}: ravel() a matrix first")
    if array.size == 0:
        raise MetricError(f"no {name} score: error rates need comparisons of both classes")
