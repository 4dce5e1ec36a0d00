"""Counting the scores of one block of cross-subject pairs: a histogram of all of them, and the highest exactly.

A block is a matrix of references against a matrix of probes; the scores are never held all at once. Which blocks there
are, and who owns a reference that several drops repeat, is decided in `cv_quality.metrics.impostors`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.verification import ScoreTail

if TYPE_CHECKING:
    import polars as pl

ALGORITHM = "pairs-1"
"""Part of the address of a block: change it whenever the same inputs would give another block."""

BINS = 65_536
BINS_PER_UNIT = BINS // 2
TILE = (1_024, 2_048)
KEEP_ALL_PAIRS = 200_000
KEEP_PAIRS = 20_000
KEEP_SHARE = 1e-3
CROWDED = 4
"""A bin that would make the tail this many times larger than asked stays out of it: its pairs are only counted."""


@dataclass(frozen=True, slots=True)
class Side:
    """The references or the probes of a block.

    Attributes:
        vectors: unit vectors, float64, shape (n, dimension).
        subjects: whose they are, shape (n,), str.
        ranks: where set on both sides, only pairs with reference rank < probe rank count; shape (n,), int64.
    """

    vectors: NDArray[np.float64]
    subjects: NDArray[np.str_]
    ranks: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Scores of cross-subject pairs, added up.

    Attributes:
        histogram: pairs per bin, BINS equal bins over [-1, 1], int64; a score within float32 rounding of an edge may
            lie in the neighbouring bin.
        tail: columns score (float64), subject_id (of the probe), reference_subject_id; every pair at or above `floor`.
        floor: -inf when the tail holds every pair.
    """

    histogram: NDArray[np.int64]
    tail: "pl.DataFrame"
    floor: float

    @property
    def n(self) -> int:
        """Number of pairs."""
        return int(self.histogram.sum())

    @classmethod
    def empty(cls) -> "PairCounts":
        """No pair: what adding starts from."""
        return cls(np.zeros(BINS, np.int64), _tail(np.empty(0), np.empty(0, str), np.empty(0, str)), -np.inf)

    def __add__(self, other: "PairCounts") -> "PairCounts":
        """The counts of both; the tail reaches as far down as both tails do."""
        import polars as pl

        floor = max(self.floor, other.floor)
        tail = pl.concat([self.tail, other.tail])
        return PairCounts(self.histogram + other.histogram, tail.filter(pl.col("score") >= floor), floor)

    def trimmed(self, keep: int) -> "PairCounts":
        """The same counts with at least the `keep` highest scores in the tail, equal scores kept together."""
        import polars as pl

        if self.tail.height <= keep:
            return self
        scores = self.tail["score"].to_numpy()
        floor = float(np.partition(scores, len(scores) - keep)[len(scores) - keep])
        return PairCounts(self.histogram, self.tail.filter(pl.col("score") >= floor), floor)

    def score_tail(self) -> ScoreTail:
        """The tail as the exact metrics take it."""
        return ScoreTail(np.sort(self.tail["score"].to_numpy()), self.n)


def count_block(
    references: Side, probes: Side, *, keep_all: int = KEEP_ALL_PAIRS, keep: int = KEEP_PAIRS
) -> PairCounts:
    """Count the pairs of different subjects between two sides.

    Memory is bounded by one tile and the tail. A block of at most `keep_all` pairs is scored in float64 and kept
    whole. A larger one is scored twice in float32: the first pass fills the histogram and finds where the tail must
    begin, the second collects the candidates above it (less the rounding of float32), which float64 then decides.

    Args:
        keep_all: largest number of pairs of which every score is kept.
        keep: at least this many, and 0.1 % of the pairs, are kept of a larger block.
    """
    if len(references) == 0 or len(probes) == 0:
        return PairCounts.empty()
    if len(references) * len(probes) <= keep_all:
        return _counted_whole(references, probes)
    histogram = _histogram(references, probes)
    floor = tail_floor(histogram, wanted=max(keep, int(KEEP_SHARE * histogram.sum())))
    return PairCounts(histogram, _collected(references, probes, floor), floor)


def bin_of(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """The bin of each score; 1.0 belongs to the last one."""
    scaled = (scores + scores.dtype.type(1)) * scores.dtype.type(BINS_PER_UNIT)
    bins: NDArray[np.int64] = np.clip(scaled.astype(np.int64), 0, BINS - 1)
    return bins


def edge_of(index: int) -> float:
    """The lower edge of a bin; exact in float64 because bins are a power of two."""
    return index / BINS_PER_UNIT - 1.0


def tail_floor(histogram: NDArray[np.int64], *, wanted: int) -> float:
    """The highest bin edge with at least `wanted` pairs at or above it; the next one when its bin is crowded.

    Above the last bin there is no edge that excludes a score of 1, so a crowded last bin gives +inf.
    """
    above = np.cumsum(histogram[::-1])[::-1]
    index = int(np.flatnonzero(above >= min(wanted, above[0]))[-1])
    if above[index] <= CROWDED * wanted:
        return edge_of(index)
    return edge_of(index + 1) if index + 1 < BINS else np.inf


class _TileOfPairs(NamedTuple):
    """Scores of one tile in float32, and which of its pairs count."""

    references: slice
    probes: slice
    scores: NDArray[np.float32]
    is_counted: NDArray[np.bool_]


def _tiles(references: Side, probes: Side) -> Iterator[_TileOfPairs]:
    left, right = references.vectors.astype(np.float32), probes.vectors.astype(np.float32)
    codes = _subject_codes(references, probes)
    for row in range(0, len(left), TILE[0]):
        for column in range(0, len(right), TILE[1]):
            rows, columns = slice(row, row + TILE[0]), slice(column, column + TILE[1])
            counted = _counted(references, probes, codes, rows, columns)
            yield _TileOfPairs(rows, columns, left[rows] @ right[columns].T, counted)


def _subject_codes(references: Side, probes: Side) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    _, codes = np.unique(np.concatenate([references.subjects, probes.subjects]), return_inverse=True)
    return codes[: len(references)], codes[len(references) :]


def _counted(
    references: Side,
    probes: Side,
    codes: tuple[NDArray[np.int64], NDArray[np.int64]],
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> NDArray[np.bool_]:
    is_counted: NDArray[np.bool_] = codes[0][rows, None] != codes[1][None, columns]
    if references.ranks is not None and probes.ranks is not None:
        is_counted &= references.ranks[rows, None] < probes.ranks[None, columns]
    return is_counted


def _histogram(references: Side, probes: Side) -> NDArray[np.int64]:
    histogram = np.zeros(BINS, np.int64)
    for tile in _tiles(references, probes):
        excluded = tile.scores[~tile.is_counted]
        histogram += _binned(tile.scores.ravel()) - _binned(excluded)
    return histogram


def _binned(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """The histogram of float32 scores; overwrites them. Counts what `bin_of` says, in fewer passes."""
    scores += np.float32(1)
    scores *= np.float32(BINS_PER_UNIT)
    counts = np.bincount(np.maximum(scores, 0, out=scores).astype(np.int64), minlength=BINS + 1)
    counts[BINS - 1] += counts[BINS:].sum()
    histogram: NDArray[np.int64] = counts[:BINS]
    return histogram


def _collected(references: Side, probes: Side, floor: float) -> "pl.DataFrame":
    """Every pair whose float64 score is at least `floor`."""
    candidate_floor = floor - float32_error(references.vectors.shape[1])
    found = []
    for tile in _tiles(references, probes):
        row, column = np.nonzero((tile.scores >= candidate_floor) & tile.is_counted)
        row, column = row + tile.references.start, column + tile.probes.start
        scores = np.einsum("ij,ij->i", references.vectors[row], probes.vectors[column]).clip(-1.0, 1.0)
        kept = scores >= floor
        found.append((scores[kept], row[kept], column[kept]))
    scores, row, column = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _tail(scores, probes.subjects[column], references.subjects[row])


def float32_error(dimension: int) -> float:
    """Bound on |float32 cosine - exact cosine| of unit vectors (Higham, Accuracy and Stability, 3.1, and the casts)."""
    return (dimension + 4) * 2.0**-24


def _counted_whole(references: Side, probes: Side) -> PairCounts:
    scores = (references.vectors @ probes.vectors.T).clip(-1.0, 1.0)
    row, column = np.nonzero(_counted(references, probes, _subject_codes(references, probes)))
    kept = scores[row, column]
    histogram = np.bincount(bin_of(kept), minlength=BINS)
    return PairCounts(histogram, _tail(kept, probes.subjects[column], references.subjects[row]), -np.inf)


def _tail(scores: NDArray[np.float64], probe: NDArray[np.str_], reference: NDArray[np.str_]) -> "pl.DataFrame":
    import polars as pl

    schema = {"score": pl.Float64, "subject_id": pl.String, "reference_subject_id": pl.String}
    columns = {"score": scores, "subject_id": probe, "reference_subject_id": reference}
    return pl.DataFrame(columns, schema=schema)
