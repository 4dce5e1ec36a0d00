"""PSNR and SSIM against definitions written out window by window, and the numbers that ffmpeg gives."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.video.images import SsimVariant, psnr, ssim

Plane = NDArray[Any]
PLANES = st.lists(arrays(np.uint8, (13, 18)), min_size=2, max_size=2)


def slow_ssim(one: Plane, other: Plane, variant: SsimVariant, peak: float) -> float:
    """The mean over windows, each with its own weights, means and variances."""
    x, y = one.astype(float), other.astype(float)
    if variant == "ffmpeg":
        size, step, sample = 8, 4, 64 / 63
        weights = np.full((8, 8), 1 / 64)
    else:
        size, step, sample = 11, 1, 1.0
        bell = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
        weights = np.outer(bell, bell) / bell.sum() ** 2
    c1, c2 = (0.01 * peak) ** 2 / (64 if variant == "ffmpeg" else 1), (0.03 * peak) ** 2
    values = []
    for top in range(0, x.shape[0] - size + 1, step):
        for left in range(0, x.shape[1] - size + 1, step):
            a, b = (plane[top : top + size, left : left + size] for plane in (x, y))
            m, n = (weights * a).sum(), (weights * b).sum()
            variances = [(weights * (part - mean) ** 2).sum() * sample for part, mean in ((a, m), (b, n))]
            covariance = (weights * (a - m) * (b - n)).sum() * sample
            values.append((2 * m * n + c1) * (2 * covariance + c2) / ((m * m + n * n + c1) * (sum(variances) + c2)))
    return float(np.mean(values))


@given(planes=PLANES, variant=st.sampled_from(["ffmpeg", "gaussian"]))
def test_ssim_is_the_mean_over_its_windows(planes: list[Plane], variant: SsimVariant) -> None:
    # ffmpeg rounds its c1, 416.16, and its c2, 235963.
    found = ssim([(planes[0], planes[1])], peak=255, variant=variant)
    assert found.value == pytest.approx(slow_ssim(planes[0], planes[1], variant, 255), abs=5e-4)
    shares = [plane / 255 for plane in planes]
    found = ssim([(shares[0], shares[1])], peak=1.0, variant=variant)
    assert found.value == pytest.approx(slow_ssim(shares[0], shares[1], variant, 1.0), abs=1e-9)


@given(planes=PLANES)
def test_psnr_of_the_mean_is_never_above_the_mean_of_psnr(planes: list[Plane]) -> None:
    one, other = planes
    frames = [(one, other), (one, np.roll(one, 1)), (one, 255 - one)]
    errors = [float(np.square(a.astype(float) - b).mean()) for a, b in frames]
    found = psnr(frames, peak=255)
    assert found.mse == pytest.approx(np.mean(errors))
    assert found.n_identical == errors.count(0.0)
    each = [10 * math.log10(255**2 / error) if error else math.inf for error in errors]
    assert found.mean == pytest.approx(np.mean(each))
    assert found.of_mean is not None
    assert found.mean is not None
    assert found.of_mean <= found.mean + 1e-9


def test_carphone_pair_scores_as_in_ffmpeg(shared_data: Callable[[str], Path]) -> None:
    av = pytest.importorskip("av", reason="not run: clips are not decoded here")

    def lumas(name: str) -> list[Plane]:
        with av.open(str(shared_data("video_carphone") / name)) as clip:
            return [frame.to_ndarray()[: frame.height] for frame in clip.decode(video=0)]

    frames = list(zip(lumas("carphone_pristine.mp4"), lumas("carphone_distorted.mp4"), strict=True))
    assert len(frames) == 120
    assert psnr(frames, peak=255).of_mean == pytest.approx(24.792713, abs=1e-6)
    assert ssim(frames, peak=255, variant="ffmpeg").value == pytest.approx(0.751344, abs=1e-6)
    assert ssim(frames, peak=255, variant="gaussian").value == pytest.approx(0.746427, abs=1e-6)


def test_identical_frames_have_no_finite_psnr_and_full_ssim() -> None:
    plane = np.arange(400, dtype=np.uint16).reshape(20, 20)
    found = psnr([(plane, plane)], peak=1023)
    assert (found.of_mean, found.mean, found.n_identical) == (math.inf, math.inf, 1)
    assert ssim([(plane, plane)], peak=1023, variant="gaussian").value == pytest.approx(1.0)
    assert psnr([(plane, plane), (plane, plane + 1)], peak=1023).of_mean == pytest.approx(
        10 * math.log10(1023**2 / 0.5)
    )


def test_worst_frame_and_windows_are_counted() -> None:
    dark, light = np.zeros((2, 16, 24), np.uint8)
    light[:] = 255
    found = ssim([(dark, dark), (dark, light)], peak=255, variant="ffmpeg")
    assert (found.n_frames, found.n_windows) == (2, 2 * 3 * 5)
    assert found.lowest == pytest.approx(416 / (64 * 255) ** 2, rel=1e-3)


def test_no_frame_is_undefined() -> None:
    assert psnr([], peak=255).reason == ssim([], peak=255, variant="ffmpeg").reason == "no frame"


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (np.zeros((16, 16)), np.zeros((16, 17)), "of one size"),
        (np.zeros((16, 16, 3)), np.zeros((16, 16, 3)), "one plane of numbers"),
        (np.zeros((16, 16)), np.full((16, 16), 300), "from 0 to the peak 255 in frame 0, found 300 to 300"),
        (np.zeros((16, 16)), np.full((16, 16), np.nan), "from 0 to the peak"),
        (np.zeros((16, 16)), np.full((16, 16), -1), "from 0 to the peak"),
    ],
)
def test_frames_that_cannot_be_compared_are_refused(one: Plane, other: Plane, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        psnr([(one, other)], peak=255)
    with pytest.raises(MetricError, match=message):
        ssim([(one, other)], peak=255, variant="gaussian")


def test_frames_smaller_than_a_window_are_refused() -> None:
    small = np.zeros((10, 20))
    assert ssim([(small, small)], peak=1, variant="ffmpeg").value == 1.0
    with pytest.raises(MetricError, match="11 x 11 or more for gaussian"):
        ssim([(small, small)], peak=1, variant="gaussian")
    with pytest.raises(MetricError, match="a positive peak"):
        psnr([(small, small)], peak=0)
