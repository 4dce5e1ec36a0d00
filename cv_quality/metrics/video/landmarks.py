"""Landmarks: normalised mean error against the truth, and jitter over time.

Frames in which no landmarks were found are counted as missed beside the error, never as an error of their own: an
algorithm that answers only where it is easy shows it in the count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.results import Result


@dataclass(frozen=True, slots=True)
class LandmarkError(Result):
    """Normalised mean error of a clip, as a share of the distance between the eyes; lower is better.

    Attributes:
        value: mean over frames of the mean distance of their points; None without a scored frame.
        n_frames: frames that were scored.
        n_points: points in them that both truth and prediction have.
        n_missed: frames with a truth, for which no point was predicted.
        n_unusable: frames without a truth, without both eyes in it, or with the eyes in one place.
    """

    value: float | None
    n_frames: int
    n_points: int
    n_missed: int
    n_unusable: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Jitter(Result):
    """Root mean square of the second difference of points over time, in units of the points; lower is better.

    Attributes:
        value: None without three frames in a row that have a point.
        n_differences: second differences, of each point and three frames in a row.
        n_missing: those that could not be formed, as a point is missing in one of the three.
    """

    value: float | None
    n_differences: int
    n_missing: int
    reason: str | None = None


def point_errors(truth: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """Compute the mean distance of the points of each frame, in their unit; shape (frames,).

    Args:
        truth, prediction: columns and rows of each point, shape (frames, points, 2); NaN is missing.

    Returns:
        NaN where no point is in both.

    Raises:
        MetricError: the shapes differ.

    >>> point_errors([[[0.0, 0.0], [10.0, 0.0]]], [[[0.0, 1.0], [10.0, 0.0]]]).tolist()
    [0.5]
    """
    t, p = _points(truth, name="truth"), _points(prediction, name="prediction")
    if t.shape != p.shape:
        raise MetricError(f"expected truth and prediction of one shape, found {t.shape} and {p.shape}")
    distances = np.linalg.norm(t - p, axis=2)
    is_known = ~np.isnan(distances)
    n = is_known.sum(axis=1)
    return np.asarray(np.where(n > 0, np.where(is_known, distances, 0.0).sum(axis=1) / np.maximum(n, 1), np.nan))


def frame_nme(
    truth: ArrayLike, prediction: ArrayLike, *, eyes: tuple[Sequence[int], Sequence[int]]
) -> NDArray[np.float64]:
    """Compute the mean distance of the points of each frame over the distance between its true eyes; shape (frames,).

    Args:
        truth, prediction: columns and rows of each point, shape (frames, points, 2); NaN is missing.
        eyes: places of the points of either eye. One outer corner each is the interocular distance of 300-W (Sagonas
            et al., ICCV 2013); several points are averaged to their middle, as between pupils.

    Returns:
        NaN where the truth lacks an eye, the eyes are in one place, or no point is in both.

    Raises:
        MetricError: the shapes differ, or an eye has no point or one that does not exist.

    >>> truth = [[[0.0, 0.0], [10.0, 0.0]]]
    >>> frame_nme(truth, [[[0.0, 1.0], [10.0, 0.0]]], eyes=((0,), (1,))).tolist()
    [0.05]
    """
    t, errors = _points(truth, name="truth"), point_errors(truth, prediction)
    for eye in eyes:
        if not eye or not all(0 <= place < t.shape[1] for place in eye):
            raise MetricError(f"expected eyes among the points 0 to {t.shape[1] - 1}, found {list(eye)}")
    left, right = (t[:, list(eye)].mean(axis=1) for eye in eyes)
    apart = np.linalg.norm(left - right, axis=1)
    return np.asarray(errors / np.where(apart > 0, apart, np.nan))


def landmark_error(
    truth: ArrayLike, prediction: ArrayLike, *, eyes: tuple[Sequence[int], Sequence[int]]
) -> LandmarkError:
    """Compute the NME of a clip, with the frames that were missed beside it.

    Args:
        truth, prediction, eyes: as for `frame_nme`.

    Raises:
        MetricError: as for `frame_nme`.

    >>> nan = float("nan")
    >>> truth = [[[0.0, 0.0], [10.0, 0.0]]] * 2
    >>> error = landmark_error(truth, [[[0.0, 1.0], [10.0, 0.0]], [[nan, nan], [nan, nan]]], eyes=((0,), (1,)))
    >>> error.value, error.n_frames, error.n_missed
    (0.05, 1, 1)
    """
    each = frame_nme(truth, prediction, eyes=eyes)
    has_truth, has_prediction = (
        np.asarray(~np.isnan(_points(points, name="points")).any(axis=2)) for points in (truth, prediction)
    )
    has_both = np.asarray(has_truth & has_prediction)
    scored = each[~np.isnan(each)]
    n_missed = int(np.count_nonzero(has_truth.any(axis=1) & ~has_both.any(axis=1)))
    return LandmarkError(
        value=float(scored.mean()) if len(scored) else None,
        n_frames=len(scored),
        n_points=int(has_both[~np.isnan(each)].sum()),
        n_missed=n_missed,
        n_unusable=len(each) - len(scored) - n_missed,
        reason=None if len(scored) else "no frame has a truth with both eyes and a prediction",
    )


def jitter(points: ArrayLike) -> Jitter:
    """Compute the rms of p(t-1) - 2 p(t) + p(t+1): steady motion has none, trembling has all of it.

    Give it `prediction - truth` too: motion that the truth has as well is then no jitter.

    Args:
        points: columns and rows of each point, evenly spaced in time, shape (frames, points, 2); NaN is missing.

    Raises:
        MetricError: the shape is another.

    >>> jitter([[[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 0.0]]]).value
    2.0
    """
    second = np.diff(_points(points, name="points"), n=2, axis=0)
    squares = np.square(second).sum(axis=2).ravel()
    known = squares[~np.isnan(squares)]
    return Jitter(
        value=math.sqrt(float(known.mean())) if len(known) else None,
        n_differences=len(known),
        n_missing=len(squares) - len(known),
        reason=None if len(known) else "no point is in three frames in a row",
    )


def _points(values: ArrayLike, *, name: str) -> NDArray[np.float64]:
    """Points in which a missing coordinate makes the point missing."""
    points = np.array(values, np.float64)
    if points.ndim != 3 or points.shape[2] != 2:
        raise MetricError(f"expected {name} of shape (frames, points, 2), found {points.shape}")
    if np.isinf(points).any():
        raise MetricError(f"expected finite coordinates of {name}, or NaN where a point is missing, found infinity")
    points[np.isnan(points).any(axis=2)] = np.nan
    return points
