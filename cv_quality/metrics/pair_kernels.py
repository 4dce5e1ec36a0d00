"""The inner loops over tiles of scores and lists of pairs; they use one thread and no memory to speak of.

They are plain functions that `cv_quality.metrics.compiled` compiles and `cv_quality.metrics.pair_counters` runs.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.score_bins import BINS, BINS_PER_UNIT

Floats = NDArray[np.float64] | NDArray[np.float32]
Float32s = NDArray[np.float32]
Places = NDArray[np.int64]
Dots = Callable[[Floats, Floats, Places, Places, NDArray[np.float64]], None]

CHUNK = 128
"""Scores are looked at in runs of this many: short enough that one run's conversion overlaps the counting of the one
before, and that few are searched for high scores; long enough for vector loops to pay."""
SCALE = np.float32(BINS_PER_UNIT)
MIDDLE = np.int32(BINS_PER_UNIT)
MINUS_ONE, ONE = np.float32(-1), np.float32(1)
FIRST, LAST = np.int32(0), np.int32(BINS - 1)


class Pairing(NamedTuple):
    """Which pairs of rows and columns count: those from `starts` on, except where both are of one subject.

    Attributes:
        row_codes, column_codes: whose they are, as whole numbers from 0; shapes (rows,) and (columns,).
        starts: first column that counts for each row, never falling from row to row; shape (rows,).
        members: the columns of each subject, ascending, one subject after the other; shape (columns,).
        offsets: where the members of each subject begin; shape (subjects + 1,).
    """

    row_codes: NDArray[np.int64]
    column_codes: NDArray[np.int64]
    starts: NDArray[np.int64]
    members: NDArray[np.int64]
    offsets: NDArray[np.int64]


class Bounds(NamedTuple):
    """What a certified filter knows of each row and column; see `cv_quality.metrics.quantised`.

    Attributes:
        row_scales, row_norms, row_residuals: float32, shape (rows,).
        column_scales, column_norms, column_residuals: float32, shape (columns,).
    """

    row_scales: NDArray[np.float32]
    row_norms: NDArray[np.float32]
    row_residuals: NDArray[np.float32]
    column_scales: NDArray[np.float32]
    column_norms: NDArray[np.float32]
    column_residuals: NDArray[np.float32]


def count_tile(
    scores: NDArray[np.float32],
    row: int,
    column: int,
    pairing: Pairing,
    threshold: np.float32,
    histogram: NDArray[np.uint32],
    found: NDArray[np.int32],
    n: int,
) -> int:
    """Add the tile's pairs to the histogram, and list those at or above the threshold.

    All scores of a row are counted first, then those of its own subject are taken out again: they are few, and their
    scores are the same. Only runs whose highest bin reaches the threshold's are searched.

    Args:
        scores: products of the rows from `row` on with the columns from `column` on; may have more than there are.
        found: gets row and column of each pair found, from place `n` on; shape (2, n + the size of `scores`, or more).

    Returns:
        Where the next pair found goes.
    """
    width = scores.shape[1]
    bins = np.empty(CHUNK, np.uint16)
    least = np.int32(np.floor(min(max(threshold, MINUS_ONE), ONE) * SCALE)) + MIDDLE
    least = min(least, LAST)
    end = min(width, pairing.column_codes.size - column)
    for i in range(min(scores.shape[0], pairing.row_codes.size - row)):
        code = pairing.row_codes[row + i]
        begin = max(pairing.starts[row + i] - column, 0)
        for left in range(begin, end, CHUNK):
            run = scores[i, left : min(left + CHUNK, end)]
            highest = FIRST
            for j in range(run.size):
                place = min(max(np.int32(np.floor(run[j] * SCALE)) + MIDDLE, FIRST), LAST)
                bins[j] = place
                highest = max(highest, place)
            for index in bins[: run.size]:
                histogram[index] += np.uint32(1)
            if highest >= least:
                for j in range(run.size):
                    if run[j] >= threshold and pairing.column_codes[column + left + j] != code:
                        found[0, n], found[1, n] = row + i, column + left + j
                        n += 1
        own = pairing.members[pairing.offsets[code] : pairing.offsets[code + 1]]
        if own.size == 0 or own[0] >= column + end or own[own.size - 1] < column + begin:
            continue
        for m in range(np.searchsorted(own, column + begin), own.size):
            if own[m] >= column + end:
                break
            place = min(max(np.int32(np.floor(scores[i, own[m] - column] * SCALE)) + MIDDLE, FIRST), LAST)
            histogram[place] -= np.uint32(1)
    return n


def count_matches(
    scores: NDArray[np.float32],
    row: int,
    column: int,
    pairing: Pairing,
    limits: tuple[np.float32, np.float32],
    matches: NDArray[np.int64],
    near: NDArray[np.int32],
    n: int,
) -> int:
    """Count the tile's pairs at or above the upper limit for both their subjects, and list those between the limits.

    Args:
        scores: products of the rows from `row` on with the columns from `column` on; may have more than there are.
        limits: below the first no pair is a match, at or above the second every pair is.
        matches: pairs of each subject; added to.
        near: gets row and column of each pair listed, from place `n` on; shape (2, n + the size of `scores`, or more).

    Returns:
        Where the next pair listed goes.
    """
    lowest, highest = limits
    end = min(scores.shape[1], pairing.column_codes.size - column)
    for i in range(min(scores.shape[0], pairing.row_codes.size - row)):
        code = pairing.row_codes[row + i]
        for j in range(max(pairing.starts[row + i] - column, 0), end):
            score = scores[i, j]
            if score < lowest or pairing.column_codes[column + j] == code:
                continue
            if score >= highest:
                matches[code] += 1
                matches[pairing.column_codes[column + j]] += 1
            else:
                near[0, n], near[1, n] = row + i, column + j
                n += 1
    return n


def filter_tile(
    products: NDArray[np.int32],
    row: int,
    column: int,
    pairing: Pairing,
    bounds: Bounds,
    floor: np.float32,
    found: NDArray[np.int32],
    n: int,
) -> int:
    """List the pairs whose score may reach the floor: approximate score + bound on its error >= floor.

    The approximate score is s_i s_j p_ij, the bound n_i r_j + r_i m_j (`cv_quality.metrics.quantised`); both sides are
    divided by s_i, which leaves three products a pair.

    Args:
        products: whole-number products p_ij of the quantised vectors.
        floor: less the rounding of float32 in this comparison.
        found, n: as in `count_tile`.
    """
    width = products.shape[1]
    end = min(width, pairing.column_codes.size - column)
    for i in range(min(products.shape[0], pairing.row_codes.size - row)):
        code, scale = pairing.row_codes[row + i], bounds.row_scales[row + i]
        norm, residual = bounds.row_norms[row + i] / scale, bounds.row_residuals[row + i] / scale
        least = floor / scale
        for left in range(max(pairing.starts[row + i] - column, 0), end, CHUNK):
            first, last = column + left, column + min(left + CHUNK, end)
            run = products[i, left : left + last - first]
            scales, norms = bounds.column_scales[first:last], bounds.column_norms[first:last]
            residuals = bounds.column_residuals[first:last]
            has_high = np.uint8(0)
            for j in range(run.size):
                most = np.float32(run[j]) * scales[j] + norm * residuals[j] + residual * norms[j]
                has_high |= np.uint8(most >= least)
            if has_high:
                for j in range(run.size):
                    most = np.float32(run[j]) * scales[j] + norm * residuals[j] + residual * norms[j]
                    if most >= least and pairing.column_codes[first + j] != code:
                        found[0, n], found[1, n] = row + i, first + j
                        n += 1
    return n


def dot_pairs(left: Floats, right: Floats, rows: Places, columns: Places, scores: NDArray[np.float64]) -> None:
    """The float64 dot product of each listed pair, added up in the order of the dimensions.

    That order, without fused operations, makes a score depend on its two vectors only: not on the processor, and not
    on where the pair stands. Four pairs go side by side because each sum waits for its last addition, and for memory.
    """
    last = rows.size - 1
    for p in range(0, rows.size, 4):
        q, r, s = min(p + 1, last), min(p + 2, last), min(p + 3, last)
        a, b, c, d = left[rows[p]], left[rows[q]], left[rows[r]], left[rows[s]]
        e, f, g, h = right[columns[p]], right[columns[q]], right[columns[r]], right[columns[s]]
        ae = bf = cg = dh = 0.0
        for k in range(a.size):
            ae += np.float64(a[k]) * np.float64(e[k])
            bf += np.float64(b[k]) * np.float64(f[k])
            cg += np.float64(c[k]) * np.float64(g[k])
            dh += np.float64(d[k]) * np.float64(h[k])
        scores[p], scores[q], scores[r], scores[s] = ae, bf, cg, dh


def close_dots(left: Floats, right: Floats, rows: Places, columns: Places, scores: NDArray[np.float64]) -> None:
    """Compute `dot_pairs` in any order, good enough to rule pairs out: compile it with `has_order=False`.

    Numba's cache tells functions apart by their code, not by options.
    """
    for pair in range(rows.size):
        a, b = left[rows[pair]], right[columns[pair]]
        total = 0.0
        for k in range(a.size):
            total += np.float64(a[k]) * np.float64(b[k])
        scores[pair] = total


def quantise_rows(
    vectors: Floats,
    order: NDArray[np.int64],
    largest: float,
    codes: NDArray[np.int8],
    scales: Float32s,
    squares: NDArray[np.float64],
) -> None:
    """Write each row, in that order, as whole numbers up to `largest` times a scale.

    Args:
        codes: gets the whole numbers; may have more columns.
        scales: gets the scale of each row.
        squares: gets squared norms in float64, of the row, its residual and what is written; shape (3, rows).
    """
    for i in range(order.size):
        row = vectors[order[i]]
        most = 0.0
        for k in range(row.size):
            most = max(most, abs(np.float64(row[k])))
        scales[i] = most / largest
        scale = np.float64(scales[i])
        whole = left = written = 0.0
        for k in range(row.size):
            exact = np.float64(row[k])
            code = min(max(np.rint(exact / scale), -largest), largest)
            codes[i, k] = np.int8(code)
            whole += exact * exact
            left += (exact - scale * code) ** 2
            written += (scale * code) ** 2
        squares[0, i], squares[1, i], squares[2, i] = whole, left, written
