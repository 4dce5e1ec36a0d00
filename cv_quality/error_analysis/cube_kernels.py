"""The loops behind the slice search and its count cube, compiled by Numba on first use (`cv_quality.metrics.compiled`).

What the tables mean is in `cv_quality.error_analysis.cube`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.encoding import Bytes
from cv_quality.metrics.bootstrap_kernels import Codes, Floats

Counts = NDArray[np.int32] | Floats

BLOCK = 8_192
"""Rows counted at a time: their codes stay in a core's first-level cache over all tables."""


def count_cells(codes: Bytes, weights: Floats | None, step: int, pairs: Codes, sizes: Codes, out: Counts) -> None:
    """Add every row, or its weight, to its cell of every table, or take it off again.

    Args:
        codes: (columns, rows).
        weights: (rows,); None counts rows.
        step: 1, or -1 to take off.
        pairs: (tables, 4): first, second and third column, and where the table starts in `out`; tables of one pair of
            first columns follow each other, so that the pair is combined once.
        sizes: codes of each column.
        out: all tables one after the other, each row-major by its three columns.
    """
    rows = codes.shape[1]
    pair = np.empty(BLOCK, np.int32)
    for start in range(0, rows, BLOCK):
        n = min(BLOCK, rows - start)
        first, second = -1, -1
        for table in range(pairs.shape[0]):
            if pairs[table, 0] != first or pairs[table, 1] != second:
                first, second = pairs[table, 0], pairs[table, 1]
                for i in range(n):
                    pair[i] = codes[first, start + i] * sizes[second] + codes[second, start + i]
            third, offset = pairs[table, 2], pairs[table, 3]
            size = sizes[third]
            for i in range(n):
                added = step if weights is None else step * weights[start + i]
                out[offset + pair[i] * size + codes[third, start + i]] += added


def expand_cells(
    cells: Floats, tables: Codes, expanded: Codes, sizes: Codes, ranges: Codes, n_ranges: Codes, out: Floats
) -> None:
    """Sum cells of codes up to cells of conditions, on each axis from the first to the last code of each condition.

    Args:
        cells: all tables as `count_cells` leaves them.
        tables, expanded: (tables, 4): three axes, and where the table starts in `cells` and in `out`.
        sizes, n_ranges: codes and conditions of each axis.
        ranges: (axes, conditions, 2): first and last code.
    """
    for table in range(tables.shape[0]):
        a, b, c = tables[table, 0], tables[table, 1], tables[table, 2]
        first = np.zeros((sizes[a], sizes[b], n_ranges[c]))
        for i in range(sizes[a]):
            for j in range(sizes[b]):
                row = tables[table, 3] + (i * sizes[b] + j) * sizes[c]
                for z in range(n_ranges[c]):
                    for code in range(ranges[c, z, 0], ranges[c, z, 1] + 1):
                        first[i, j, z] += cells[row + code]
        second = np.zeros((sizes[a], n_ranges[b], n_ranges[c]))
        for i in range(sizes[a]):
            for y in range(n_ranges[b]):
                for code in range(ranges[b, y, 0], ranges[b, y, 1] + 1):
                    for z in range(n_ranges[c]):
                        second[i, y, z] += first[i, code, z]
        for x in range(n_ranges[a]):
            for y in range(n_ranges[b]):
                start = expanded[table, 3] + (x * n_ranges[b] + y) * n_ranges[c]
                for z in range(n_ranges[c]):
                    total = 0.0
                    for code in range(ranges[a, x, 0], ranges[a, x, 1] + 1):
                        total += second[code, y, z]
                    out[start + z] = total


def gains(counts: Floats, sums: Floats, totals: Floats, limits: Floats, out: NDArray[np.float32]) -> None:
    """Compute the log-likelihood that each cell gains by a rate of its own, -inf where it is out of the limits.

    A rate: k log(k/n) + (n - k) log(1 - k/n) for the cell and for the rest, less the same for both together. A mean:
    n (N - n) / N (difference of means)^2 / (2 variance), the same for a normal variable of known variance.

    Args:
        counts, sums: rows and failures (or loss) of each cell.
        totals: rows, failures (or loss), and the variance of a loss; below 0 for a rate.
        limits: fewest rows of a cell, and how many times the rest's rate it must have.
    """
    all_n, all_k, variance = totals[0], totals[1], totals[2]
    least, lift = limits[0], limits[1]
    together = 0.0
    if variance < 0 and 0 < all_k < all_n:
        together = all_k * math.log(all_k / all_n) + (all_n - all_k) * math.log(1 - all_k / all_n)
    for cell in range(counts.shape[0]):
        n, k = counts[cell], sums[cell]
        rest_n, rest_k = all_n - n, all_k - k
        out[cell] = -np.inf
        if n < least or rest_n < least:
            continue
        if variance >= 0:
            difference = k / n - rest_k / rest_n
            if difference > 0 and variance > 0:
                out[cell] = n * rest_n / all_n * difference * difference / (2 * variance)
            continue
        if k * rest_n <= lift * rest_k * n:
            continue
        gain = -together
        if 0 < k < n:
            gain += k * math.log(k / n) + (n - k) * math.log(1 - k / n)
        if 0 < rest_k < rest_n:
            gain += rest_k * math.log(rest_k / rest_n) + (rest_n - rest_k) * math.log(1 - rest_k / rest_n)
        out[cell] = gain


def find_set(flags: Bytes, words: NDArray[np.uint64], out: Codes) -> None:
    """List the places of ones.

    Args:
        flags: zeros and ones.
        words: the same, eight at a time: most are 0 where few are set, and skipped at once.
        out: int64 (ones + 1,): the places; the last is left over.
    """
    found = 0
    for word in range(words.shape[0]):
        if words[word] != 0:
            for place in range(8 * word, 8 * word + 8):
                out[found] = place
                found += flags[place]
    for place in range(8 * words.shape[0], flags.shape[0]):
        out[found] = place
        found += flags[place]


def sum_by_subject(
    flags: Bytes, words: NDArray[np.uint64], subjects: Codes, outcome: Floats | Bytes, counts: Floats, sums: Floats
) -> None:
    """Add every flagged row, and its outcome, to those of its subject.

    Args:
        flags, words: zeros and ones, as of `find_set`.
        subjects, outcome: of each row.
        counts, sums: of each subject.
    """
    for word in range(words.shape[0]):
        if words[word] != 0:
            for row in range(8 * word, 8 * word + 8):
                if flags[row]:
                    counts[subjects[row]] += 1
                    sums[subjects[row]] += outcome[row]
    for row in range(8 * words.shape[0], flags.shape[0]):
        if flags[row]:
            counts[subjects[row]] += 1
            sums[subjects[row]] += outcome[row]


def sum_by_code(codes: Bytes, rows: Codes, outcome: Floats | Bytes, counts: Floats, sums: Floats) -> None:
    """Add every row, and its outcome, to those of its code.

    Args:
        codes, outcome: of each row.
        rows: those that count.
        counts, sums: of each code.
    """
    for row in rows:
        counts[codes[row]] += 1
        sums[codes[row]] += outcome[row]
