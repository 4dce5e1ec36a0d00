"""The bins in which scores of pairs are counted: BINS equal ones over [-1, 1], whose edges float32 and float64 share.

Only the arithmetic of bins lives here. What is counted in them is in `cv_quality.metrics.pairs`.
"""

import numpy as np
from numpy.typing import NDArray

BINS = 65_536
BINS_PER_UNIT = BINS // 2
CROWDED = 4
"""A bin that would make the tail this many times larger than asked stays out of it: its pairs are only counted."""


def bin_of(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """The bin of each finite score: floor(score * 32,768) + 32,768, cut to 0 .. BINS - 1; 1.0 belongs to the last one.

    The scaling is by a power of two, so no rounding moves a score over an edge, whichever floating type it has.

    >>> bin_of(np.array([-1.0, -1e-9, 0.0, 1.0])).tolist()
    [0, 32767, 32768, 65535]
    """
    scaled = np.floor(scores * scores.dtype.type(BINS_PER_UNIT)).astype(np.int64)
    bins: NDArray[np.int64] = np.clip(scaled + BINS_PER_UNIT, 0, BINS - 1)
    return bins


def edge_of(index: int) -> float:
    """The lower edge of a bin; exact in float64 because bins are a power of two."""
    return index / BINS_PER_UNIT - 1.0


def histogram_of(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Scores per bin, shape (BINS,)."""
    return np.bincount(bin_of(scores), minlength=BINS).astype(np.int64)


def tail_floor(histogram: NDArray[np.int64], *, wanted: int) -> float:
    """The highest bin edge with at least `wanted` pairs at or above it; the next one when its bin is crowded.

    Above the last bin there is no edge that excludes a score of 1, so a crowded last bin gives +inf. More pairs never
    lower the floor: the floor of a part of the pairs bounds that of the whole from below.
    """
    above = np.cumsum(histogram[::-1])[::-1]
    index = int(np.flatnonzero(above >= min(wanted, above[0]))[-1])
    if above[index] <= CROWDED * wanted:
        return edge_of(index)
    return edge_of(index + 1) if index + 1 < BINS else np.inf
