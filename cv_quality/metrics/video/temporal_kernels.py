"""The loops over the pixels of two masks in a row; `cv_quality.metrics.video.temporal` checks what they are given."""

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.video.mask_kernels import IGNORED, Codes, Labels

Counts = NDArray[np.int64]
Flow = NDArray[np.float64]
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


def compare_flows(backward: Flow, forward: Flow, share: float, least: float, is_occluded: NDArray[np.bool_]) -> None:
    """Write where the flow back and the flow forth from there do not lead to the same pixel again.

    Args:
        backward, forward: columns, rows; shape (height, width, 2).
        share, least: what their squared difference may be: a share of their squared lengths, and square pixels.
        is_occluded: written, shape (height, width).
    """
    height, width = is_occluded.shape
    for i in range(height):
        for j in range(width):
            x, y = np.floor(j + backward[i, j, 0] + 0.5), np.floor(i + backward[i, j, 1] + 0.5)
            is_occluded[i, j] = True
            if 0 <= x < width and 0 <= y < height:
                difference = lengths = 0.0
                for axis in range(2):
                    w, v = backward[i, j, axis], forward[int(y), int(x), axis]
                    difference += (w + v) ** 2
                    lengths += w**2 + v**2
                is_occluded[i, j] = not difference <= share * lengths + least
