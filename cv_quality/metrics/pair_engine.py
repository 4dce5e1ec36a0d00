"""The count of all pairs between two sides: which pairs, in which tiles, on how many threads, and from where a tail.

One pass is enough when the floor, guessed on a sample, is low enough; too low a guess is raised on the way, so that
memory stays bounded. Tiles are counted in `cv_quality.metrics.pair_counters`, results in `cv_quality.metrics.pairs`.
"""

import math
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.pair_counters import Counter, Counting, Exact, Found
from cv_quality.metrics.pair_kernels import Pairing
from cv_quality.metrics.products import one_thread
from cv_quality.metrics.score_bins import CROWDED, UNIT, ScoreScale, bin_of, edge_of, histogram_of, tail_floor

SAMPLE = (512, 1_024)
SAMPLED = 1 / 32
"""The floor is guessed on so many rows and columns, or on this share of the pairs, whichever is less."""
SAMPLE_SEED = 0
SLACK = 1.25
"""The guessed floor lets through this many times the pairs wanted, and three standard deviations of the sample more."""
RETRY = 8.0
"""After a guess that was too high the next one lets through this many times more."""
SHORT_TAIL = 65_536
"""A tail is cut back when it is longer than this and twice as long as it may be in the end."""
MOST_ROWS = 2_000_000
"""The longest tail that may be asked for: 50 MB while it is counted, and four times that with crowded bins."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted.

    Attributes:
        histogram: None where the grade keeps none.
        found: every pair at or above `floor`, by row and column.
        matches: pairs of each subject at or above the threshold of the counting; None without one.
        n_incomparable: pairs that have no score.
    """

    histogram: NDArray[np.int64] | None
    found: Found
    floor: float
    matches: NDArray[np.int64] | None = None
    n_incomparable: int = 0


def pairing_of(
    row_codes: NDArray[np.int64], column_codes: NDArray[np.int64], starts: NDArray[np.int64] | None = None
) -> Pairing:
    """The pairs of different codes, from column `starts` on where it is given."""
    members = np.argsort(column_codes, kind="stable")
    subjects = max(row_codes.max(initial=-1), column_codes.max(initial=-1)) + 1
    offsets = np.searchsorted(column_codes[members], np.arange(subjects + 1))
    first = np.zeros(row_codes.size, np.int64) if starts is None else starts
    return Pairing(row_codes, column_codes, first, members, offsets)


def pairs_in(pairing: Pairing) -> int:
    """How many pairs count: for each row the columns from its start on, less those of its own subject."""
    width = pairing.column_codes.size
    keys = pairing.column_codes[pairing.members] * (width + 1) + pairing.members
    first_own = np.searchsorted(keys, pairing.row_codes * (width + 1) + pairing.starts)
    own = pairing.offsets[pairing.row_codes + 1] - first_own
    return int((width - pairing.starts).sum() - own.sum())


def tally(
    counting: Counting,
    pairing: Pairing,
    pairs: Exact,
    *,
    wanted: int,
    scale: ScoreScale = UNIT,
    threads: int | None = None,
) -> Tally:
    """Count, with a tail of at least `wanted` pairs: its floor is the bin edge that `tail_floor` finds for it.

    The floor depends on the exact scores only: not on the sample, the tiles, the threads or the grade.

    Args:
        counting, pairs: how tiles are counted and listed pairs scored.
        pairing: which pairs count.
        scale: the bins of the scores.
        threads: by default as many as the machine has.
    """
    if wanted >= pairs_in(pairing):
        return tally_above(counting, pairing, floor=-math.inf, threads=threads)
    slack = SLACK
    while True:
        guess = _guessed_floor(pairing, pairs, wanted=wanted, slack=slack, scale=scale)
        counters, tails = _scan(counting, pairing, floor=guess, wanted=wanted, scale=scale, threads=threads)
        floor = max(tail.floor for tail in tails)
        found = _merged(part for tail in tails for part in tail.parts).above(floor)
        if found.scores.size >= wanted:
            floor = max(floor, tail_floor(histogram_of(found.scores, scale), wanted=wanted, scale=scale))
            return _tally(counters, found.above(floor).ordered(), floor)
        if guess == -math.inf:
            # Every pair that has a score is there: others have none.
            return _tally(counters, found.ordered(), guess)
        if floor > guess:
            # Raised on the way past a crowded bin, which is only counted.
            return _tally(counters, found.ordered(), floor)
        slack *= RETRY


def tally_above(counting: Counting, pairing: Pairing, *, floor: float, threads: int | None = None) -> Tally:
    """Count, with a tail of every pair at or above the floor.

    Raises:
        MetricError: more than MOST_ROWS pairs are.
    """
    counters, tails = _scan(counting, pairing, floor=floor, wanted=None, scale=UNIT, threads=threads)
    found = _merged(part for tail in tails for part in tail.parts)
    return _tally(counters, found.ordered(), floor)


def _tally(counters: Sequence[Counter], found: Found, floor: float) -> Tally:
    histogram = _summed([counter.histogram() for counter in counters])
    matches = _summed([counter.matches() for counter in counters])
    return Tally(histogram, found, floor, matches, sum(counter.incomparable() for counter in counters))


def _guessed_floor(pairing: Pairing, pairs: Exact, *, wanted: int, slack: float, scale: ScoreScale) -> float:
    """A bin edge that more than `wanted` pairs should reach, judged by all pairs of a few rows and columns."""
    rng, n = np.random.default_rng(SAMPLE_SEED), pairs_in(pairing)
    share = min(1.0, math.sqrt(n * SAMPLED / math.prod(SAMPLE)))
    sides = (pairing.row_codes.size, pairing.column_codes.size)
    rows, columns = (
        rng.choice(size, min(size, math.ceil(share * most)), replace=False)
        for size, most in zip(sides, SAMPLE, strict=True)
    )
    is_counted = pairing.row_codes[rows, None] != pairing.column_codes[columns]
    row, column = np.nonzero(is_counted & (columns >= pairing.starts[rows, None]))
    scores = pairs.close(rows[row], columns[column])
    scores = scores[~np.isnan(scores)]
    if not scores.size:
        return -math.inf
    expected = slack * wanted * scores.size / n
    kept = math.ceil(expected + 3 * math.sqrt(expected)) + 3
    if kept >= scores.size:
        return -math.inf
    return edge_of(int(bin_of(np.partition(scores, -kept)[-kept, None], scale)[0]), scale)


@dataclass(slots=True)
class _Tail:
    """One thread's part of the tail: every pair of its tiles at or above `floor`, which only rises.

    The floor that its own pairs call for bounds that of all pairs from below (`tail_floor`): nothing is lost.
    """

    floor: float
    wanted: int | None
    scale: ScoreScale
    parts: list[Found] = field(default_factory=list)
    size: int = 0

    def add(self, found: Found) -> None:
        self.parts.append(found)
        self.size += found.scores.size
        if self.wanted is None:
            if self.size > MOST_ROWS:
                raise MetricError(f"more than {MOST_ROWS:,} pairs score at least {self.floor}: ask for a higher floor")
        elif self.size > max(SHORT_TAIL, 2 * CROWDED * self.wanted):
            found = _merged(self.parts)
            histogram = histogram_of(found.scores, self.scale)
            self.floor = max(self.floor, tail_floor(histogram, wanted=self.wanted, scale=self.scale))
            self.parts = [found.above(self.floor)]
            self.size = self.parts[0].scores.size


def _scan(
    counting: Counting, pairing: Pairing, *, floor: float, wanted: int | None, scale: ScoreScale, threads: int | None
) -> tuple[list[Counter], list[_Tail]]:
    """Count every tile once; each thread takes the next one as it gets free, and no thread is without a tile."""
    height, width = counting.tile
    most = math.ceil(pairs_in(pairing) / (height * width)) if counting.is_threaded else 1
    workers = max(1, min(most, threads or os.cpu_count() or 1))
    columns = range(0, pairing.column_codes.size, width)
    # One block of columns after the other, as far down as any row counts there.
    lasts = np.searchsorted(pairing.starts, np.array(columns) + width).tolist()
    tiles = _Shared((row, at) for at, last in zip(columns, lasts, strict=True) for row in range(0, last, height))
    counters = [counting.counter() for _ in range(workers)]
    tails = [_Tail(floor, wanted, scale) for _ in range(workers)]
    if workers == 1:
        _drain(tiles, counters[0], tails[0])
        return counters, tails
    with ThreadPoolExecutor(workers, thread_name_prefix="pairs", initializer=one_thread) as pool:
        list(pool.map(_drain, [tiles] * workers, counters, tails))
    return counters, tails


def _drain(tiles: "_Shared", counter: Counter, tail: _Tail) -> None:
    for row, column in tiles:
        tail.add(counter.count(row, column, floor=tail.floor))
    tail.add(counter.rest(floor=tail.floor))


class _Shared:
    def __init__(self, items: Iterator[tuple[int, int]]) -> None:
        self._items = items
        self._lock = threading.Lock()

    def __iter__(self) -> "_Shared":
        return self

    def __next__(self) -> tuple[int, int]:
        with self._lock:
            return next(self._items)


def _merged(parts: Iterable[Found]) -> Found:
    return Found(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _summed(parts: Sequence[NDArray[np.int64] | None]) -> NDArray[np.int64] | None:
    kept = [part for part in parts if part is not None]
    return np.sum(kept, axis=0) if kept else None
