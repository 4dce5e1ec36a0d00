"""Validation of columns beside the scores: identifiers, decisions and times, one entry per row, none missing.

Scores themselves are taken in by `cv_quality.metrics.sorted_scores`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError


def column(values: ArrayLike, *, name: str, size: int | None = None) -> NDArray[np.generic]:
    """Convert a column to a NumPy array; Python objects become text.

    Args:
        values: a NumPy array, a Polars series, an Arrow array or a list, shape (n,).
        name: what it is, for messages.
        size: n, where it is known from another column.

    Raises:
        MetricError: the shape is another, or an entry is null, NaN or not a time.

    >>> column(["a", "b"], name="subject").tolist()
    ['a', 'b']
    """
    array = np.asarray(values)
    if array.ndim != 1 or (size is not None and len(array) != size):
        expected = "(n,)" if size is None else f"({size},)"
        raise MetricError(f"expected {name} of shape {expected}, one entry per row, found shape {array.shape}")
    missing = _count_missing(array)
    if missing:
        raise MetricError(f"{missing} of {len(array)} entries of {name} are missing: leave those rows out or fill them")
    return array.astype(str) if array.dtype.kind == "O" else array


def truth(values: ArrayLike, *, name: str, size: int | None = None) -> NDArray[np.bool_]:
    """Convert a column of truth values.

    Args:
        values, name, size: as for `column`.

    Raises:
        MetricError: as for `column`, or the values are no bool: 0 and 1 might as well be scores.
    """
    array = column(values, name=name, size=size)
    if array.dtype != np.bool_:
        raise MetricError(f"expected {name} as bool, found {array.dtype}: compare or cast it first")
    return array.astype(np.bool_, copy=False)


def whole_numbers(values: ArrayLike, *, name: str, size: int | None = None) -> NDArray[np.int64]:
    """Convert a column of whole numbers, such as codes.

    Args:
        values, name, size: as for `column`.

    Raises:
        MetricError: as for `column`, or the values are of another type.
    """
    array = column(values, name=name, size=size)
    if array.dtype.kind not in "iu":
        raise MetricError(f"expected {name} as whole numbers, found {array.dtype}")
    return array.astype(np.int64, copy=False)


def _count_missing(array: NDArray[np.generic]) -> int:
    if array.dtype.kind == "O":
        return sum(value is None or value != value for value in array.tolist())
    if array.dtype.kind in "fmM":
        return int(np.count_nonzero(np.isnat(array) if array.dtype.kind in "mM" else np.isnan(array)))
    return 0
