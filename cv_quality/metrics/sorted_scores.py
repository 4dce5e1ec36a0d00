"""Scores of one class: converted from arrays, series and lists, sorted once, and counted against thresholds.

The curves and points of `cv_quality.metrics.verification` and its neighbours rest on these counts. Reading files of
scores, polarity and sentinels are matters of `cv_quality.scores`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError

Scores = NDArray[np.floating]
"""float32 or float64."""

LARGEST_WHOLE = 2**53
"""Whole numbers up to here are exact in float64."""


@dataclass(frozen=True, slots=True, init=False, eq=False)
class SortedScores:
    """The scores of one class, sorted when made: hand it to several functions and the class is sorted once.

    float32 stays float32, and a threshold is compared with it exactly: accepting s >= t is accepting s >= the smallest
    float32 at or above t, so the scores are never widened. float16 and whole numbers of up to 16 bits become float32,
    other whole numbers float64, both without loss. +inf and -inf are legal scores: a failed enrolment that is compared
    all the same scores -inf.

    Attributes:
        scores: ascending, at least one, read-only; shape (n,), float32 or float64.

    >>> SortedScores([0.9, 0.1, 0.4]).scores.tolist()
    [0.1, 0.4, 0.9]
    """

    scores: Scores

    def __init__(self, values: "ArrayLike | SortedScores", *, name: str = "comparison", in_place: bool = False) -> None:
        """Sort `values`: a NumPy array, a Polars series, an Arrow array, a list, or scores sorted before.

        Args:
            values: shape (n,), in any order.
            name: what the scores are, for messages: "genuine", "impostor".
            in_place: sort the caller's own array instead of a copy, so that no second array of its size exists.

        Raises:
            MetricError: there is no score; some are null or NaN; they are text, truth values, complex or otherwise no
                numbers that float64 holds exactly; the shape is not (n,); or `in_place` is asked of something else
                than a writable NumPy array of float32 or float64.
        """
        object.__setattr__(self, "scores", _sorted(values, name=name, in_place=in_place))

    @property
    def n(self) -> int:
        """Number of scores."""
        return self.scores.size

    @property
    def is_complete(self) -> bool:
        """Always true: no score is left out, which a tail of the highest scores cannot say."""
        return True


def in_order(values: ArrayLike, *, name: str) -> Scores:
    """Convert values to float32 or float64 in the order given, where each belongs to a probe or a quality.

    Raises:
        MetricError: as for `SortedScores`.
    """
    scores = _taken_in(values, name=name)
    _refuse_nan(int(np.count_nonzero(np.isnan(scores))), scores.size, name=name)
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


def next_above(ascending: Scores, value: float) -> float:
    """Find the smallest score above the value; +inf where there is none."""
    index = int(count_up_to(ascending, thresholds_of(value)))
    return float(ascending[index]) if index < len(ascending) else np.inf


def next_below(ascending: Scores, value: float) -> float:
    """Find the largest score below the value; -inf where there is none."""
    index = int(count_below(ascending, thresholds_of(value)))
    return float(ascending[index - 1]) if index else -np.inf


def _rounded_up(thresholds: Scores, dtype: np.dtype[np.floating]) -> Scores:
    """The smallest number of the type at or above each threshold: the same scores of that type lie below it."""
    with np.errstate(over="ignore"):
        near: Scores = thresholds.astype(dtype, copy=False)
        if thresholds.dtype.itemsize <= dtype.itemsize:
            return near
        return np.where(near < thresholds, np.nextafter(near, dtype.type(np.inf)), near)


def _sorted(values: "ArrayLike | SortedScores", *, name: str, in_place: bool) -> Scores:
    if isinstance(values, SortedScores):
        return values.scores
    if in_place:
        if (
            not isinstance(values, np.ndarray)
            or values.dtype not in (np.float32, np.float64)
            or not values.flags.writeable
        ):
            found = f"{type(values).__name__} of {getattr(values, 'dtype', 'no dtype')}"
            raise MetricError(
                f"sorting {name} scores in place needs a writable float32 or float64 array, found {found}"
            )
        _refuse_shape(values, name=name)
        scores: Scores = values.view()
        scores.sort()
    else:
        scores = np.sort(_taken_in(values, name=name))
    # NumPy sorts NaN behind +inf. A NaN of another type would have it widen all scores to search them.
    first_nan = int(np.searchsorted(scores, scores.dtype.type(np.nan), side="left"))
    _refuse_nan(scores.size - first_nan, scores.size, name=name)
    scores.flags.writeable = False
    return scores


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


def _refuse_nan(count: int, size: int, *, name: str) -> None:
    if count:
        raise MetricError(
            f"{count} of {size} {name} scores are NaN: leave out what was not compared, give a failed comparison -inf"
        )
