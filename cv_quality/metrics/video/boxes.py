"""Boxes of single frames: matched one to one by overlap, F1, and boxes of ignored objects.

Tracks over time are scored in `cv_quality.metrics.video.tracks`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.metrics.video.tracks import MATCH_OVERLAP, SLACK, box_overlap

Floats = NDArray[np.float64]


def overlaps(truth: Floats, predicted: Floats) -> Floats:
    """Compute the intersection over union of all boxes of one frame; shape (true, predicted).

    Args:
        truth, predicted: left, top, width, height, width and height above 0, shape (n, 4).
    """
    n, m = len(truth), len(predicted)
    return box_overlap(np.repeat(truth, m, axis=0), np.tile(predicted, (n, 1))).reshape(n, m)


def match_boxes(overlap: ArrayLike) -> list[tuple[int, int]]:
    """Match true and predicted boxes one to one, as many as overlap by .5 or more, then by their overlaps.

    Args:
        overlap: shape (true, predicted).

    >>> match_boxes([[0.6, 0.9], [0.1, 0.7]])
    [(0, 0), (1, 1)]
    """
    from scipy.optimize import linear_sum_assignment

    found = np.asarray(overlap, np.float64)
    is_match = found >= MATCH_OVERLAP - SLACK
    # A match is worth more than any sum of overlaps.
    rows, columns = linear_sum_assignment(np.where(is_match, found + min(found.shape), 0.0), maximize=True)
    return [(row, column) for row, column in zip(rows.tolist(), columns.tolist(), strict=True) if is_match[row, column]]


def box_f1(overlap: ArrayLike) -> float:
    """Compute 2 matches / (true + predicted) of one frame; NaN where there is no box at all.

    Args:
        overlap: of all true with all predicted boxes, shape (true, predicted).

    >>> box_f1([[0.6, 0.9], [0.1, 0.7]]), box_f1(np.zeros((1, 0)))
    (1.0, 0.0)
    """
    found = np.asarray(overlap, np.float64)
    n = sum(found.shape)
    return 2 * len(match_boxes(found)) / n if n else math.nan


def on_ignored(overlap: ArrayLike, is_ignored: ArrayLike) -> NDArray[np.bool_]:
    """Find the predicted boxes that match an ignored one, which are neither right nor wrong (MOTChallenge).

    Args:
        overlap: of all true boxes, the ignored ones too, with all predicted ones, shape (true, predicted).
        is_ignored: of the true boxes, shape (true,).

    >>> on_ignored([[0.9, 0.0], [0.0, 0.6]], [False, True]).tolist()
    [False, True]
    """
    found, ignored = np.asarray(overlap, np.float64), np.asarray(is_ignored, np.bool_)
    away = np.zeros(found.shape[1], np.bool_)
    away[[column for row, column in match_boxes(found) if ignored[row]]] = True
    return away
