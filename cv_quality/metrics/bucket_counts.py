"""Counts and ranks of many scores in any order, exactly and without sorting them.

NumPy's sort of ten million scores takes 0.1 s on one processor and 1.3 s on another; one count in buckets takes about
0.1 s of any. `cv_quality.metrics.sorted_scores` chooses between the two.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.compiled import compiled

T = TypeVar("T")
Floats = NDArray[np.floating]

BUCKETS = 2**16
"""Their first thresholds, 256 kB, stay in the cache of a core."""
WALK = 4
"""Thresholds of one bucket that are compared one by one; more are bisected, so no scores are slower than bisection."""
SAMPLE = 4096
"""Scores that lay the buckets, and between which ranks are looked for."""
FEW = 8
"""Further thresholds that are answered from the scores beside them; for more, all scores are counted anew."""
PER_THREAD = 2**20
"""Scores that are worth a thread."""
BLOCK = 2**16
"""Scores that are compared at once, in the cache of a core."""
MOST_THREADS = 8


class ScoreCounter:
    """Scores of one class in the order given, counted once against edges.

    Every edge has its exact count, so a rank or a further threshold needs only the scores between two edges: about one
    in `SAMPLE` of all, more where scores are equal.
    """

    __slots__ = ("_above", "_edges", "_sample", "_scores", "_selected")

    def __init__(self, scores: Floats) -> None:
        """Take scores without NaN, at least one, shape (n,); they are not copied."""
        self._scores = scores
        self._sample = np.unique(np.append(scores[:: max(1, scores.size // SAMPLE)], scores.min()))
        self._edges, self._above = scores[:0], np.zeros(1, np.int64)
        self._selected: dict[int, Floats] = {}

    def count_from(self, thresholds: Floats) -> NDArray[np.int64]:
        """Count the scores at or above each threshold; shape (m,).

        Args:
            thresholds: without NaN, in any order, of the type of the scores; shape (m,).
        """
        if not self._edges.size or np.count_nonzero(~self._is_edge(thresholds)) > FEW:
            self._count(thresholds)
        counts = self._above[np.searchsorted(self._edges, thresholds, side="left")]
        for index in np.flatnonzero(~self._is_edge(thresholds)):
            counts[index] += self._beside(thresholds[index])
        return counts

    def highest(self, rank: int) -> float:
        """Find the score of a rank, 1 for the highest and n for the lowest."""
        if not self._edges.size:
            self._count(self._sample)
        edge = int(np.searchsorted(-self._above[:-1], -rank, side="right")) - 1
        return float(self._between(edge)[int(self._above[edge + 1]) - rank])

    def _is_edge(self, thresholds: Floats) -> NDArray[np.bool_]:
        near = np.searchsorted(self._edges, thresholds, side="left").clip(max=max(self._edges.size - 1, 0))
        is_edge: NDArray[np.bool_] = self._edges[near] == thresholds
        return is_edge

    def _count(self, thresholds: Floats) -> None:
        edges = np.union1d(thresholds, self._sample)
        above = buckets_for(edges, self._sample).count_at_or_above(self._scores)
        self._edges, self._above, self._selected = edges, np.append(above, 0), {}

    def _beside(self, threshold: np.floating) -> int:
        """Number of scores from the threshold to the next edge above it."""
        edge = int(np.searchsorted(self._edges, threshold, side="left")) - 1
        if edge < 0:  # the lowest score is an edge
            return 0
        selected = self._between(edge)
        return selected.size - int(np.searchsorted(selected, threshold, side="left"))

    def _between(self, edge: int) -> Floats:
        """The scores from one edge to the next, ascending."""
        if edge not in self._selected:
            if len(self._selected) >= FEW:
                self._selected.clear()
            low, *high = self._edges[edge : edge + 2]

            def select(part: Floats) -> list[Floats]:
                blocks = (part[begin : begin + BLOCK] for begin in range(0, part.size, BLOCK))
                return [block[(block >= low) & (block < high[0] if high else True)] for block in blocks]

            found = [block for blocks in _over_parts(self._scores, select) for block in blocks]
            self._selected[edge] = np.sort(np.concatenate(found))
        return self._selected[edge]


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """Ascending distinct thresholds, found again from a score by its bucket and a short walk.

    Buckets have one width, and a score and a threshold are put into them by the same arithmetic, which never decreases
    with the value: so a threshold of a lower bucket lies below a score, one of a higher bucket above it, and only those
    of its own bucket are compared.

    Attributes:
        thresholds: ascending, distinct; shape (m,).
        first: number of thresholds in lower buckets; shape (BUCKETS + 1,).
        low, scale: bucket = (score - low) * scale, cut to the buckets there are.
    """

    thresholds: Floats
    first: NDArray[np.int32]
    low: float
    scale: float

    def count_at_or_above(self, scores: Floats) -> NDArray[np.int64]:
        """Count the scores at or above each threshold; shape (m,).

        Args:
            scores: in any order, without NaN, of the type of the thresholds; shape (n,).
        """
        loop = compiled(_count_up_to)

        def count(part: Floats) -> NDArray[np.int64]:
            found = np.zeros(self.thresholds.size + 1, np.int64)
            loop(part, self.thresholds, self.first, self.low, self.scale, found)
            return found

        found = np.sum(_over_parts(scores, count), axis=0)
        above: NDArray[np.int64] = np.cumsum(found[:0:-1])[::-1]
        return above


def buckets_for(thresholds: Floats, sample: Floats) -> Buckets:
    """Lay buckets over the thresholds where scores lie.

    Args:
        thresholds: ascending, distinct, at least one; shape (m,).
        sample: some of the scores, at least one: thresholds far from all scores take no width from the others.
    """
    finite = [part[np.isfinite(part)].astype(np.float64) for part in (thresholds, sample)]
    low = max(float(part.min(initial=np.inf)) for part in finite)
    high = min(float(part.max(initial=-np.inf)) for part in finite)
    scale = (BUCKETS - 1) / (high - low) if low < high else 0.0
    if not np.isfinite(scale):
        scale = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        places = (thresholds.astype(np.float64) - low) * scale
    # As in the compiled loop, what is not above 0 is of the first bucket: also infinity times 0, which is no number.
    of_threshold = np.where(places > 0, np.minimum(places, BUCKETS - 1), 0).astype(np.int64)
    first = np.searchsorted(of_threshold, np.arange(BUCKETS + 1)).astype(np.int32)
    return Buckets(thresholds, first, low, scale)


def _over_parts(scores: Floats, run: Callable[[Floats], T]) -> list[T]:
    """What a function returns of consecutive parts of the scores, one for each thread."""
    from concurrent.futures import ThreadPoolExecutor

    threads = max(1, min(os.cpu_count() or 1, MOST_THREADS, scores.size // PER_THREAD))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, np.array_split(scores, threads)))


def _count_up_to(
    scores: Floats, thresholds: Floats, first: NDArray[np.int32], low: float, scale: float, counts: NDArray[np.int64]
) -> None:
    """Add one for each score to the count of those with as many thresholds at or below them."""
    last = np.float64(first.size - 2)
    for score in scores:
        place: float = (np.float64(score) - low) * scale
        place = place if place > 0.0 else 0.0  # chosen without a jump, also for what is no number
        bucket = int(place if place < last else last)
        begin, end = first[bucket], first[bucket + 1]
        while end - begin > WALK:
            middle = (begin + end) >> 1
            if thresholds[middle] <= score:
                begin = middle + 1
            else:
                end = middle
        while begin < end and thresholds[begin] <= score:
            begin += 1
        counts[begin] += 1
