"""The bins in which scores of pairs are counted: BINS equal ones over [-1, 1], on which every range has its scale.

Only the arithmetic of bins lives here. What is counted in them is in `cv_quality.metrics.pairs`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 65_536
BINS_PER_UNIT = BINS // 2
CROWDED = 4
"""A bin that would make the tail this many times larger than asked stays out of it: its pairs are only counted."""


@dataclass(frozen=True, slots=True)
class ScoreScale:
    """Where each score of a range stands in [-1, 1]; higher scores, which are more alike, stand higher.

    A finite range is stretched. An end at infinity is drawn in, with d the distance from the finite end, or from 0:
    [0, inf) to (d - 1) / (d + 1), (-inf, 0] to (1 - d) / (1 + d), and all numbers to x / (1 + |x|).

    Attributes:
        low, high: the closed range; may be infinite.

    >>> ScoreScale(-math.inf, 0.0).place(np.array([-1.0, -0.0])), ScoreScale(0.0, 4.0).place(np.array([3.0]))
    (array([0., 1.]), array([0.5]))
    """

    low: float
    high: float

    def place(self, scores: NDArray[np.floating]) -> NDArray[np.floating]:
        """Place finite scores."""
        if math.isfinite(self.low) and math.isfinite(self.high):
            return (scores - (self.low + self.high) / 2) / ((self.high - self.low) / 2)
        if math.isfinite(self.high):
            return (1 - (self.high - scores)) / (1 + (self.high - scores))
        if math.isfinite(self.low):
            return ((scores - self.low) - 1) / ((scores - self.low) + 1)
        return scores / (1 + abs(scores))

    def score_at(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Find the scores of places; infinite at an end that is drawn in, and beyond it."""
        if math.isfinite(self.low) and math.isfinite(self.high):
            return (self.low + self.high) / 2 + (self.high - self.low) / 2 * places
        above, below = np.maximum(1.0 - places, 0.0), np.maximum(1.0 + places, 0.0)
        with np.errstate(divide="ignore"):
            if math.isfinite(self.high):
                scores: NDArray[np.float64] = self.high - (2 - below) / below
            elif math.isfinite(self.low):
                scores = self.low + (2 - above) / above
            else:
                scores = places / np.minimum(above, below)
        return scores


UNIT = ScoreScale(-1.0, 1.0)
"""That of the cosine: bins are cut from the scores as they are, at edges that float32 and float64 share."""


def bin_of(scores: NDArray[np.floating], scale: ScoreScale = UNIT) -> NDArray[np.int64]:
    """Bin finite scores: floor(place * 32,768) + 32,768, cut to 0 .. BINS - 1; place 1 belongs to the last bin.

    The scaling by a power of two moves no score over an edge, whichever floating type it has; off the unit scale a
    score within rounding of an edge may lie on its other side.

    >>> bin_of(np.array([-1.0, -1e-9, 0.0, 1.0])).tolist()
    [0, 32767, 32768, 65535]
    """
    scaled = np.floor(scale.place(scores) * scores.dtype.type(BINS_PER_UNIT)).astype(np.int64)
    bins: NDArray[np.int64] = np.clip(scaled + BINS_PER_UNIT, 0, BINS - 1)
    return bins


def edge_of(index: int, scale: ScoreScale = UNIT) -> float:
    """Find the lower edge of a bin, as a score; exact on the unit scale because bins are a power of two."""
    return float(scale.score_at(np.asarray(index / BINS_PER_UNIT - 1.0)))


def histogram_of(scores: NDArray[np.floating], scale: ScoreScale = UNIT) -> NDArray[np.int64]:
    """Count scores per bin, shape (BINS,)."""
    return np.bincount(bin_of(scores, scale), minlength=BINS).astype(np.int64)


def tail_floor(histogram: NDArray[np.int64], *, wanted: int, scale: ScoreScale = UNIT) -> float:
    """Find the highest bin edge with at least `wanted` pairs at or above it; the next one when its bin is crowded.

    Above the last bin there is no edge that excludes a score of 1, so a crowded last bin gives +inf. More pairs never
    lower the floor: the floor of a part of the pairs bounds that of the whole from below.
    """
    above = np.cumsum(histogram[::-1])[::-1]
    index = int(np.flatnonzero(above >= min(wanted, above[0]))[-1])
    if above[index] <= CROWDED * wanted:
        return edge_of(index, scale)
    return edge_of(index + 1, scale) if index + 1 < BINS else np.inf
