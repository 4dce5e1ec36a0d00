"""Losses of held results: those of the frames before against the truth of each frame, in one pass over a stream.

Latencies can then be replayed from numbers alone, without the pictures: see `cv_quality.metrics.video.display`.
"""

import math
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
T = TypeVar("T")
R = TypeVar("R")
MAX_HELD = 256
"""Results held at most, for pairs further apart than the depth."""


class HeldLosses(Generic[T, R]):
    """Collects the losses of results against later truths.

    Args:
        loss: of a result against a truth; NaN where it is undefined.
        depth: how many frames before each one are compared with it.
        pairs: result and truth, by number, that are compared although they lie further apart.

    >>> held = HeldLosses(lambda truth, result: abs(truth - result), depth=1)
    >>> for number, value in enumerate([0.0, 0.25, 0.75]):
    ...     held.add(number, value, value)
    >>> held.of(2).tolist(), held.losses([1], [2]).tolist(), held.losses([0], [2]).tolist()
    ([0.0, 0.5], [0.5], [nan])
    """

    def __init__(self, loss: Callable[[T, R], float], *, depth: int, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._loss = loss
        self._depth = depth
        self._results: dict[int, R] = {}
        self._rows: dict[int, Floats] = {}
        self._far: dict[tuple[int, int], float] = {}
        self._wanted: dict[int, list[int]] = {}
        self._last_use: dict[int, int] = {}
        for result, truth in pairs:
            if truth - result > depth:
                self._wanted.setdefault(truth, []).append(result)
                self._last_use[result] = max(truth, self._last_use.get(result, truth))

    def add(self, number: int, truth: T | None, result: R | None) -> None:
        """Add the next frame, by rising number; what it lacks is None."""
        if result is not None:
            self._results[number] = result
        if truth is not None:
            row = np.full(self._depth + 1, np.nan)
            for lag in range(self._depth + 1):
                if (held := self._results.get(number - lag)) is not None:
                    row[lag] = self._loss(truth, held)
            self._rows[number] = row
            for other in self._wanted.get(number, ()):
                if (held := self._results.get(other)) is not None:
                    self._far[other, number] = self._loss(truth, held)
        gone = [n for n in self._results if n <= number - self._depth and self._last_use.get(n, n) <= number]
        # The oldest come first.
        for other in [*gone, *list(self._results)[: max(len(self._results) - len(gone) - MAX_HELD, 0)]]:
            self._results.pop(other, None)

    def of(self, number: int) -> Floats | None:
        """The losses of the results of the 0, 1, 2, ... frames before against a frame's truth; None without one."""
        return self._rows.get(number)

    def losses(self, results: ArrayLike, truths: ArrayLike) -> Floats:
        """Look up the losses of pairs by number; NaN where they were not compared."""
        pairs = zip(np.asarray(results).tolist(), np.asarray(truths).tolist(), strict=True)
        return np.array([self._one(result, truth) for result, truth in pairs], np.float64)

    def _one(self, result: int, truth: int) -> float:
        row, lag = self._rows.get(truth), truth - result
        if row is not None and 0 <= lag <= self._depth:
            return float(row[lag])
        return self._far.get((result, truth), math.nan)


def look_up_held(rows: Floats, *, numbers: ArrayLike) -> Callable[[ArrayLike, ArrayLike], Floats]:
    """Make the loss of results against truths, by place, out of what was collected.

    A result that is held for longer than was compared is taken to lose what the oldest compared one loses.

    Args:
        rows: of each frame, losses of the results of the 0, 1, 2, ... frames before, NaN where undefined, shape
            (frames, depth + 1).
        numbers: of the frames, shape (frames,).

    >>> look_up_held(np.array([[0.1, np.nan], [0.2, 0.5]]), numbers=[7, 8])([0, 1], [1, 1]).tolist()
    [0.5, 0.2]
    """
    number = np.asarray(numbers, np.int64)

    def losses(results: ArrayLike, truths: ArrayLike) -> Floats:
        places = np.asarray(truths, np.int64)
        lags = number[places] - number[np.asarray(results, np.int64)]
        found: Floats = rows[places, np.minimum(lags, rows.shape[1] - 1)]
        return found

    return losses
