"""Landmark errors against their definition written out point by point, with missing points, and jitter of motions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.video.landmarks import frame_nme, jitter, landmark_error

Points = NDArray[np.float64]
POINTS = arrays(np.float64, (4, 5, 2), elements=st.integers(-9, 9).map(float) | st.just(math.nan))
EYES = ((0, 1), (2,))
FACE = np.array([[[0.0, 0.0], [10.0, 0.0], [5.0, 5.0]]])


def slow_nme(truth: Points, prediction: Points) -> float:
    left = [(truth[0, k] + truth[1, k]) / 2 for k in (0, 1)]
    apart = math.hypot(left[0] - truth[2, 0], left[1] - truth[2, 1])
    distances = [math.hypot(*(t - p)) for t, p in zip(truth, prediction, strict=True)]
    known = [distance for distance in distances if not math.isnan(distance)]
    return float(np.mean(known) / apart) if known and apart > 0 else math.nan


@given(truth=POINTS, prediction=POINTS)
def test_nme_is_the_mean_distance_between_points_over_that_of_the_eyes(truth: Points, prediction: Points) -> None:
    expected = [slow_nme(t, p) for t, p in zip(truth, prediction, strict=True)]
    assert frame_nme(truth, prediction, eyes=EYES) == pytest.approx(expected, nan_ok=True)
    found = landmark_error(truth, prediction, eyes=EYES)
    known = [value for value in expected if not math.isnan(value)]
    assert found.value == (pytest.approx(np.mean(known)) if known else None)
    assert found.n_frames == len(known)
    assert found.n_frames + found.n_missed + found.n_unusable == 4
    assert min(found.n_missed, found.n_unusable) >= 0


@given(scale=st.floats(0.1, 50), shift=st.floats(-100, 100))
def test_nme_does_not_change_with_the_size_of_the_picture(scale: float, shift: float) -> None:
    prediction = FACE + np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    moved = [scale * points + shift for points in (FACE, prediction)]
    assert frame_nme(moved[0], moved[1], eyes=((0,), (1,))) == pytest.approx([0.1])


def test_frames_are_missed_or_unusable_and_not_errors() -> None:
    truth = np.repeat(FACE, 4, axis=0)
    prediction = truth + 1.0
    prediction[1] = math.nan
    truth[2] = math.nan
    truth[3, :2] = 0.0
    found = landmark_error(truth, prediction, eyes=((0,), (1,)))
    assert (found.n_frames, found.n_points, found.n_missed, found.n_unusable) == (1, 3, 1, 2)
    assert found.value == pytest.approx(math.sqrt(2) / 10)
    assert landmark_error(truth[1:], prediction[1:], eyes=((0,), (1,))).value is None


@given(points=POINTS)
def test_jitter_is_the_rms_of_second_differences(points: Points) -> None:
    known = [
        float(((points[t - 1, k] - 2 * points[t, k] + points[t + 1, k]) ** 2).sum())
        for t in (1, 2)
        for k in range(5)
        if not np.isnan(points[t - 1 : t + 2, k]).any()
    ]
    found = jitter(points)
    assert found.value == (pytest.approx(math.sqrt(np.mean(known))) if known else None)
    assert (found.n_differences, found.n_missing) == (len(known), 10 - len(known))


def test_steady_motion_has_no_jitter_and_noise_has_its_own() -> None:
    moving = FACE + np.arange(50.0)[:, None, None] * [3.0, -2.0]
    assert jitter(moving).value == pytest.approx(0.0, abs=1e-9)
    noise = np.random.default_rng(0).normal(scale=0.5, size=(20_000, 3, 2))
    # Each coordinate's second difference has the variance (1 + 4 + 1) of the noise's.
    assert jitter(noise).value == pytest.approx(math.sqrt(2 * 6 * 0.25), rel=0.02)


def test_jitter_needs_three_frames_in_a_row() -> None:
    assert jitter(FACE).reason == jitter(np.repeat(FACE, 2, axis=0)).reason == "no point is in three frames in a row"
    assert jitter(np.empty((0, 3, 2))).value is None


def test_points_that_do_not_fit_are_refused() -> None:
    with pytest.raises(MetricError, match="of one shape"):
        frame_nme(FACE, FACE[:, :2], eyes=((0,), (1,)))
    for eyes in (((0,), ()), ((0,), (3,)), ((-1,), (0,))):
        with pytest.raises(MetricError, match="eyes among the points 0 to 2"):
            frame_nme(FACE, FACE, eyes=eyes)
    with pytest.raises(MetricError, match=r"\(frames, points, 2\)"):
        jitter(FACE[0])
    with pytest.raises(MetricError, match="finite coordinates"):
        jitter(FACE + math.inf)
