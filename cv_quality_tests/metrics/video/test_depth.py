"""Depth errors against their formulas pixel by pixel, and what is left out of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.video.depth import depth_errors

Depth = NDArray[np.float64]
DEPTHS = arrays(np.float64, (3, 4), elements=st.floats(0.1, 80) | st.sampled_from([0.0, -1.0, math.nan, math.inf]))
METRES = arrays(np.float64, (3, 4), elements=st.floats(0.1, 80))


def pixels(truth: Depth, prediction: Depth) -> list[tuple[float, float]]:
    return [
        (t, d)
        for t, d in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True)
        if t > 0 and d > 0 and math.isfinite(t) and math.isfinite(d)
    ]


@given(truth=DEPTHS, prediction=DEPTHS)
def test_errors_are_the_means_of_their_formulas(truth: Depth, prediction: Depth) -> None:
    found = depth_errors([(truth, prediction)], alignment="none")
    pairs = pixels(truth, prediction)
    assert found.n_pixels == len(pairs)
    assert found.n_missing == np.count_nonzero((truth > 0) & np.isfinite(truth)) - len(pairs)
    if not pairs:
        assert found.abs_rel is found.delta_3 is None
        assert (found.n_frames, found.n_empty) == (0, 1)
        return
    assert found.abs_rel == pytest.approx(np.mean([abs(d - t) / t for t, d in pairs]))
    assert found.sq_rel == pytest.approx(np.mean([(d - t) ** 2 / t for t, d in pairs]))
    assert found.rmse == pytest.approx(math.sqrt(np.mean([(d - t) ** 2 for t, d in pairs])))
    assert found.rmse_log == pytest.approx(math.sqrt(np.mean([math.log(d / t) ** 2 for t, d in pairs])))
    assert found.log10 == pytest.approx(np.mean([abs(math.log10(d / t)) for t, d in pairs]))
    for power, share in enumerate((found.delta_1, found.delta_2, found.delta_3), start=1):
        assert share == pytest.approx(np.mean([max(d / t, t / d) < 1.25**power for t, d in pairs]))
    assert found.scale == 1.0


@given(truth=METRES, prediction=METRES, scale=st.floats(0.01, 100))
def test_median_alignment_takes_the_scale_out(truth: Depth, prediction: Depth, scale: float) -> None:
    one, other = (depth_errors([(truth, depth)], alignment="median") for depth in (prediction, scale * prediction))
    assert other.abs_rel == pytest.approx(one.abs_rel)
    assert other.rmse_log == pytest.approx(one.rmse_log, abs=1e-9)
    assert one.scale is not None
    assert one.scale == pytest.approx(np.median(truth) / np.median(prediction))
    assert one.abs_rel == pytest.approx(depth_errors([(truth, one.scale * prediction)], alignment="none").abs_rel)


def test_each_frame_counts_once_however_many_pixels_it_has() -> None:
    full, sparse = np.ones((10, 10)), np.zeros((10, 10))
    sparse[0, 0] = 1.0
    found = depth_errors([(full, full), (sparse, 3 * full), (0 * full, full)], alignment="none")
    assert (found.n_frames, found.n_empty, found.n_pixels) == (2, 1, 101)
    assert found.abs_rel == found.rmse == 1.0
    assert found.delta_1 == 0.5


def test_depths_of_whole_numbers_are_read_as_they_are() -> None:
    millimetres = np.array([[1000, 0]], np.uint16)
    assert depth_errors([(millimetres, millimetres + np.uint16(100))], alignment="none").rmse == 100.0


def test_depths_that_cannot_be_compared_are_refused() -> None:
    plane = np.ones((2, 2))
    with pytest.raises(MetricError, match="of one size"):
        depth_errors([(plane, plane[:1])], alignment="none")
    with pytest.raises(MetricError, match="depths as numbers"):
        depth_errors([(plane > 0, plane)], alignment="none")
    with pytest.raises(MetricError, match="none or median, found mean"):
        depth_errors([(plane, plane)], alignment="mean")  # type: ignore[arg-type]
