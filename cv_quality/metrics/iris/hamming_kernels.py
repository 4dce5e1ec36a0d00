"""The loops over iris codes: rotating them, laying them out for vectors, scoring tiles and lists of pairs, counting.

They are plain functions that `cv_quality.metrics.iris.popcount.compiled_bits` compiles; what they are given was checked
before. Distances are computed in float64 in the order that is written, so a pair has the same bits everywhere.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.iris.popcount import LANES, ROWS, add_common_bits, count_ones, normalised
from cv_quality.metrics.iris.rules import NORMS, HammingRule
from cv_quality.metrics.pair_kernels import Pairing
from cv_quality.metrics.score_bins import BINS, BINS_PER_UNIT

Words = NDArray[np.uint64]
Scores = NDArray[np.float64]
Counts = NDArray[np.int64]

GROUP = ROWS * LANES
WORD = 64
CHUNK = 64
"""Scores are looked at in runs of this many: vector loops pay, and few runs are searched for high scores."""
OWN, INCOMPARABLE = BINS, BINS + 1
"""Bins of what is not counted: pairs of one subject, and pairs without a score."""
OUT = BINS + 2
FIXED_POINT = float(2**31)
"""Sums of distances are whole multiples of 1 / FIXED_POINT, so that they do not depend on the order of adding."""


class BitRule(NamedTuple):
    """A `HammingRule` as the loops take it.

    Attributes:
        turns: bits by which each rotation moves a code, in the order in which rotations are tried.
        bits, words: of a code.
        least: bits that a rotation must have in common.
        norm: place in `NORMS`.
    """

    turns: Counts
    bits: int
    words: int
    least: int
    norm: int

    @classmethod
    def of(cls, rule: HammingRule) -> "BitRule":
        return cls(
            rule.rotations * rule.step % rule.bits, rule.bits, rule.words, rule.minimum_bits, NORMS.index(rule.norm)
        )


class Bins(NamedTuple):
    """The bins of oriented scores as the loops take them: finite ones are stretched, others lie on x / (1 + |x|)."""

    middle: float
    half: float
    is_finite: bool


class Listed(NamedTuple):
    """What is found of listed pairs; see `Comparisons`. Shapes (pairs,), of `scores` (steps, pairs)."""

    scores: Scores
    distances: Scores
    compared: Counts
    shifts: Counts
    valid: Counts

    def taken(self, places: Counts | slice) -> "Listed":
        """Some of the pairs, in this order; of a slice they are the same memory."""
        rest = (self.distances[places], self.compared[places], self.shifts[places], self.valid[places])
        return Listed(self.scores[:, places], *rest)


def rotate_rows(codes: Words, rotated: Words, turn: int, bits: int) -> None:
    """Move every code by `turn` bits, from 0 to `bits` - 1, in a ring of `bits`.

    Args:
        codes, rotated: shape (n, words).
    """
    words = codes.shape[1]
    # Two turns of the ring in a row: wherever a rotated code begins, it is one run of bits there.
    ring = np.zeros(2 * words + 2, np.uint64)
    whole, part, rest = bits // WORD, np.uint64(bits % WORD), np.uint64(WORD - bits % WORD)
    first, low, high = (bits - turn) // WORD, np.uint64((bits - turn) % WORD), np.uint64(WORD - (bits - turn) % WORD)
    last = ~np.uint64(0) >> np.uint64(words * WORD - bits)
    for i in range(codes.shape[0]):
        ring[:] = np.uint64(0)
        for w in range(words):
            ring[w] |= codes[i, w]
            ring[whole + w] |= codes[i, w] << part
            if part > np.uint64(0):
                ring[whole + w + 1] |= codes[i, w] >> rest
        for w in range(words):
            rotated[i, w] = ring[first + w] >> low
            if low > np.uint64(0):
                rotated[i, w] |= ring[first + w + 1] << high
        rotated[i, words - 1] &= last


def score_tile(
    rows: Words, columns: Words, begin: int, column: int, starts: Counts, rule: BitRule, scores: Scores
) -> None:
    """Score rows with columns: minus the least distance over the rotations, NaN where none counts.

    Args:
        rows: codes and masks of all rows, a multiple of ROWS; shape (n, 2, words).
        columns: codes and masks of the columns at each rotation, in blocks of LANES and in vectors; shape (blocks,
            shifts, words, 2, LANES), aligned as `add_common_bits` asks.
        begin: the first row of the tile.
        column: the first column of the tile.
        starts: first column that counts for each row, never falling; blocks that lie before it are left as they are.
        scores: gets the scores; shape (steps, rows of the tile, columns of the tile), where the steps are 1, or one
            for each odd number of rotations, up to all of them.
    """
    shifts, words, steps = rule.turns.size, rule.words, scores.shape[0]
    flat_rows, flat_columns = rows.reshape(-1), columns.reshape(-1)
    sums = np.empty(2 * GROUP, np.int64)
    best = np.empty(GROUP, np.float64)
    for block in range(columns.shape[0]):
        for row in range(begin, min(begin + scores.shape[1], starts.size), ROWS):
            if starts[row] >= column + (block + 1) * LANES:
                continue
            best[:] = np.inf
            for s in range(shifts):
                at = (block * shifts + s) * words * 2 * LANES
                add_common_bits(flat_columns, at, flat_rows, row * 2 * words, words, sums)
                for i in range(GROUP):
                    compared = sums[GROUP + i]
                    score = normalised(sums[i], max(compared, 1), rule.norm)
                    is_better = (compared >= rule.least) & (score < best[i])
                    best[i] = score if is_better else best[i]
                if s == shifts - 1 or (steps > 1 and s % 2 == 0):
                    step = s // 2 if steps > 1 else 0
                    for i in range(GROUP):
                        found = 0.0 - best[i] if best[i] < np.inf else np.nan
                        scores[step, row - begin + i // LANES, block * LANES + i % LANES] = found


def compare_pairs(
    references: Words, probes: Words, left: Counts, right: Counts, rule: BitRule, order: Counts, found: Listed
) -> None:
    """Compare listed pairs, with everything that is known of each.

    Args:
        references: shape (n, 2, words).
        probes: each at all rotations; shape (shifts, m, 2, words).
        left, right: places of the two sides; shape (pairs,).
        order: the shift of each rotation, in columns.
        found: gets what is found.
    """
    steps = found.scores.shape[0]
    for pair in range(left.size):
        best = distance = np.inf
        bits = shift = valid = 0
        for s in range(order.size):
            differ = compared = 0
            for w in range(rule.words):
                both = references[left[pair], 1, w] & probes[s, right[pair], 1, w]
                differ += count_ones((references[left[pair], 0, w] ^ probes[s, right[pair], 0, w]) & both)
                compared += count_ones(both)
            if compared >= rule.least:
                valid += 1
                score = normalised(differ, compared, rule.norm)
                if score < best:
                    best, distance, bits, shift = score, differ / compared, compared, order[s]
            if steps > 1 and s % 2 == 0:
                found.scores[s // 2, pair] = best if best < np.inf else np.nan
        found.scores[steps - 1, pair] = best if best < np.inf else np.nan
        found.distances[pair] = distance if valid > 0 else np.nan
        found.compared[pair], found.shifts[pair], found.valid[pair] = bits, shift, valid


def count_scores(
    scores: Scores,
    row: int,
    column: int,
    pairing: Pairing,
    bins: Bins,
    limits: tuple[float, float],
    histogram: Counts,
    matches: Counts,
    found: NDArray[np.int32],
) -> int:
    """Add the tile's pairs to the histogram, and list those at or above the floor.

    Args:
        scores: oriented, of the rows from `row` on with the columns from `column` on; may have more than there are.
        limits: the floor of the tail, and the threshold of matches (NaN for none); oriented.
        histogram: pairs in each bin, of one subject (OWN) and without a score (INCOMPARABLE); shape (OUT,).
        matches: pairs of each subject at or above the threshold; added to.
        found: gets row and column of each pair listed; shape (2, size of `scores`, or more).

    Returns:
        How many pairs are listed.
    """
    floor, threshold = limits
    places = np.empty(CHUNK, np.int32)
    n = 0
    end = min(scores.shape[1], pairing.column_codes.size - column)
    for i in range(min(scores.shape[0], pairing.row_codes.size - row)):
        code = pairing.row_codes[row + i]
        for left in range(max(pairing.starts[row + i] - column, 0), end, CHUNK):
            run = scores[i, left : min(left + CHUNK, end)]
            codes = pairing.column_codes[column + left : column + left + run.size]
            most = -np.inf
            for j in range(run.size):
                score = run[j]
                place = (score - bins.middle) / bins.half if bins.is_finite else score / (1.0 + abs(score))
                index = np.int32(INCOMPARABLE)
                if score == score:
                    index = np.int32(min(max(np.floor(place * BINS_PER_UNIT) + BINS_PER_UNIT, 0.0), BINS - 1.0))
                    most = max(most, score)
                places[j] = index if codes[j] != code else np.int32(OWN)
            for index in places[: run.size]:
                histogram[index] += 1
            if not (most >= floor or most >= threshold):
                continue
            for j in range(run.size):
                if places[j] < OWN and run[j] >= floor:
                    found[0, n], found[1, n] = row + i, column + left + j
                    n += 1
                if places[j] < OWN and run[j] >= threshold:
                    matches[code] += 1
                    matches[codes[j]] += 1
    return n


def add_distances(scores: Scores, row: int, column: int, pairing: Pairing, sums: Counts) -> None:
    """Add up the pairs of each subject that have a score, their distances and the squares of these.

    Args:
        scores: as in `count_scores`.
        sums: added to, in either role; distances in units of 1 / FIXED_POINT; shape (subjects, 3).
    """
    end = min(scores.shape[1], pairing.column_codes.size - column)
    for i in range(min(scores.shape[0], pairing.row_codes.size - row)):
        code = pairing.row_codes[row + i]
        for j in range(max(pairing.starts[row + i] - column, 0), end):
            score, other = scores[i, j], pairing.column_codes[column + j]
            if code == other or score != score:
                continue
            first, second = np.int64(np.rint(-score * FIXED_POINT)), np.int64(np.rint(score * score * FIXED_POINT))
            for subject in (code, other):
                sums[subject, 0] += 1
                sums[subject, 1] += first
                sums[subject, 2] += second
