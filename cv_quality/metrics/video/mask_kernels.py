"""The loops over the pixels of one pair of masks: class codes, their overlaps, their boundaries, boundaries that match.

They are plain functions that `cv_quality.metrics.compiled` compiles; `cv_quality.metrics.video.masks` checks what they
are given. Codes are 0 where no class is, and 1 to K.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8] | NDArray[np.uint16]
Codes = NDArray[np.uint8]
Places = NDArray[np.int32]
Words = tuple[NDArray[np.uint8], NDArray[np.uint64]]

IGNORED = 255
"""Code of an ignored pixel in the table of the truth: it becomes no class, in the truth and in the prediction."""
CHUNK = 64
"""Pixels of a row that are looked at together: most chunks hold one class, and are left after one vector comparison."""

RUN_WORDS = 2
"""Words of eight labels that are compared together where whole masks are counted."""


class Loops(NamedTuple):
    """The loops of this module, compiled."""

    encode: Callable[[Labels, Labels, Codes, Codes, Codes, Codes, NDArray[np.int64]], None]
    find_edges: Callable[[Codes, Places, Places], None]
    find_boundary: Callable[[Codes, int, Places, Places, Places, Places], None]
    count_near: Callable[[Places, Places, Places, Places, Places], int]


def encode(
    truth: Labels,
    prediction: Labels,
    truth_table: Codes,
    prediction_table: Codes,
    truth_codes: Codes,
    prediction_codes: Codes,
    overlaps: NDArray[np.int64],
) -> None:
    """Write the codes of both masks and count the pixels of every pair of codes; ignored pixels are not counted.

    Args:
        truth, prediction: labels, shape (height, width).
        truth_table, prediction_table: the code of each label.
        truth_codes, prediction_codes: written, shape (height, width).
        overlaps: added to, shape (truth codes, prediction codes).
    """
    label, other_label = truth[0, 0], prediction[0, 0]
    code, other_code = truth_table[label], prediction_table[other_label]
    run = 0
    for i in range(truth.shape[0]):
        for j in range(truth.shape[1]):
            # Most pixels are as the one before: they are counted in runs.
            if truth[i, j] != label or prediction[i, j] != other_label:
                if code != IGNORED:
                    overlaps[code, other_code] += run
                label, other_label = truth[i, j], prediction[i, j]
                code, other_code = truth_table[label], prediction_table[other_label]
                run = 0
            run += 1
            is_valid = code != IGNORED
            truth_codes[i, j] = code if is_valid else 0
            prediction_codes[i, j] = other_code if is_valid else 0
    if code != IGNORED:
        overlaps[code, other_code] += run


def count_overlaps(
    truth: Words, prediction: Words, truth_table: Codes, prediction_table: Codes, overlaps: NDArray[np.int64]
) -> None:
    """Count the pixels of every pair of codes; ignored pixels are not counted.

    Args:
        truth, prediction: labels of 8 bit in a row, and all but the last few of them as words of eight.
        truth_table, prediction_table: the code of each label.
        overlaps: added to, shape (truth codes, prediction codes).
    """
    (labels, words), (other_labels, other_words) = truth, prediction
    every, n_words = np.uint64(0x0101010101010101), words.shape[0]
    label, other_label, run = labels[0], other_labels[0], 0
    for first in range(0, max(n_words, 1), RUN_WORDS):
        # Most pixels are as those before: they are counted in runs, some words at a time.
        last = min(first + RUN_WORDS, n_words)
        word, other_word = np.uint64(label) * every, np.uint64(other_label) * every
        differs = np.uint64(last == n_words)
        for place in range(first, last):
            differs |= (words[place] ^ word) | (other_words[place] ^ other_word)
        if not differs:
            run += 8 * (last - first)
            continue
        for i in range(8 * first, labels.shape[0] if last == n_words else 8 * last):
            if labels[i] != label or other_labels[i] != other_label:
                if truth_table[label] != IGNORED:
                    overlaps[truth_table[label], prediction_table[other_label]] += run
                label, other_label, run = labels[i], other_labels[i], 0
            run += 1
    if truth_table[label] != IGNORED:
        overlaps[truth_table[label], prediction_table[other_label]] += run


def count_labels(labels: NDArray[np.uint8], words: NDArray[np.uint64], counts: NDArray[np.int64]) -> None:
    """Count the pixels of each label.

    Args:
        labels, words: as for `count_overlaps`.
        counts: added to, shape (256,).
    """
    every = np.uint64(0x0101010101010101)
    label, run, n_words = labels[0], 0, words.shape[0]
    for start in range(0, labels.shape[0], 8):
        if start // 8 < n_words and words[start // 8] == np.uint64(label) * every:
            run += 8
            continue
        for i in range(start, min(start + 8, labels.shape[0])):
            if labels[i] != label:
                counts[label] += run
                label, run = labels[i], 0
            run += 1
    counts[label] += run


def find_edges(codes: Codes, columns: Places, starts: Places) -> None:
    """List the pixels whose right, lower or lower right neighbour has another code, row by row from left to right.

    Args:
        codes: shape (height, width).
        columns: written, shape (height * width,).
        starts: where each row begins in `columns`, written, shape (height + 1,).
    """
    height, width = codes.shape
    n = 0
    for i in range(height):
        starts[i] = n
        row, below = codes[i], codes[min(i + 1, height - 1)]
        for left in range(0, width - 1, CHUNK):
            right = min(left + CHUNK, width - 1)
            differs = np.uint8(0)
            for j in range(left, right):
                differs |= (row[j] ^ row[j + 1]) | (row[j] ^ below[j]) | (row[j] ^ below[j + 1])
            if differs:
                for j in range(left, right):
                    if row[j] != row[j + 1] or row[j] != below[j] or row[j] != below[j + 1]:
                        columns[n] = j
                        n += 1
        if row[width - 1] != below[width - 1]:
            columns[n] = width - 1
            n += 1
    starts[height] = n


def find_boundary(codes: Codes, code: int, edges: Places, edge_starts: Places, columns: Places, starts: Places) -> None:
    """List the edges that bound one class: among the pixel and its three neighbours are some of it, and others.

    Args:
        codes: shape (height, width).
        edges, edge_starts: from `find_edges`.
        columns, starts: written, as there.
    """
    height, width = codes.shape
    n = 0
    for i in range(height):
        starts[i] = n
        row, below = codes[i], codes[min(i + 1, height - 1)]
        for k in range(edge_starts[i], edge_starts[i + 1]):
            j = edges[k]
            right = min(j + 1, width - 1)
            if row[j] == code or row[right] == code or below[j] == code or below[right] == code:
                columns[n] = j
                n += 1
    starts[height] = n


def count_near(columns: Places, starts: Places, others: Places, other_starts: Places, reach: Places) -> int:
    """Count the pixels that have one of the others within a disk around them.

    Args:
        columns, starts: the pixels, as from `find_boundary`.
        others, other_starts: those to be near to.
        reach: half widths of the disk in the rows 0, 1, ... below and above its middle.
    """
    height, n, radius = len(starts) - 1, 0, len(reach) - 1
    # Where the others are: pixels too far from all of them are not looked at more closely.
    first, last, left, right = height, -1, np.int32(2**31 - 1), np.int32(-1)
    for i in range(height):
        if other_starts[i] < other_starts[i + 1]:
            first, last = min(first, i), i
            left, right = min(left, others[other_starts[i]]), max(right, others[other_starts[i + 1] - 1])
    for i in range(max(first - radius, 0), min(last + radius + 1, height)):
        for k in range(starts[i], starts[i + 1]):
            if columns[k] + radius < left or columns[k] - radius > right:
                continue
            is_near = False
            for step in range(2 * radius + 1):
                away = (step + 1) // 2
                row = i + away if step % 2 else i - away
                if row < first or row > last:
                    continue
                low, high = other_starts[row], other_starts[row + 1]
                least = columns[k] - reach[away]
                while low < high:
                    middle = (low + high) // 2
                    if others[middle] < least:
                        low = middle + 1
                    else:
                        high = middle
                if low < other_starts[row + 1] and others[low] <= columns[k] + reach[away]:
                    is_near = True
                    break
            n += is_near
    return n
