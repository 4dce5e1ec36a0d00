"""The loops over the pixels of two masks in a row; `cv_quality.metrics.video.temporal` checks what they are given."""

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.video.mask_kernels import IGNORED, Codes, Labels

Counts = NDArray[np.int64]
Masks = tuple[Codes, Codes]


def look_up(labels: Labels, table: Codes, codes: Codes) -> None:
    """Write the code of each label."""
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            codes[i, j] = table[labels[i, j]]


def count_warped(
    before: Masks, after: Masks, flow: NDArray[np.float32], is_occluded: NDArray[np.bool_], counts: Counts
) -> int:
    """Count the pixels of each code in the warped mask, in the one that it should be like, and in both.

    Args:
        before, after: codes of truth and prediction at t - 1 and at t, shape (height, width).
        flow: from each pixel at t to its place at t - 1: columns, rows; shape (height, width, 2).
        is_occluded: pixels that are left out, shape (height, width).
        counts: added to; of truth and prediction, warped, there and in both, shape (2, codes, 3).

    Returns:
        The number of pixels left out: occluded, from outside the picture, or ignored in one of the truths.
    """
    height, width = is_occluded.shape
    n_out = 0
    for i in range(height):
        for j in range(width):
            x, y = np.floor(j + flow[i, j, 0] + 0.5), np.floor(i + flow[i, j, 1] + 0.5)
            if is_occluded[i, j] or after[0][i, j] == IGNORED or not (0 <= x < width and 0 <= y < height):
                n_out += 1
                continue
            row, column = int(y), int(x)
            if before[0][row, column] == IGNORED:
                n_out += 1
                continue
            for side in range(2):
                warped, there = before[side][row, column], after[side][i, j]
                counts[side, warped, 0] += 1
                counts[side, there, 1] += 1
                if warped == there:
                    counts[side, warped, 2] += 1
    return n_out
