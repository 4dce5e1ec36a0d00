"""Likeness of enhanced or transmitted frames to their reference: PSNR both ways, SSIM with its variant named.

A frame is one plane, such as the luma: what ffmpeg calls `y`. Variants of SSIM differ by some .05 on the same frames,
so none is the default.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.compiled import compiled
from cv_quality.metrics.results import Result

SsimVariant = Literal["ffmpeg", "gaussian"]
"""Which windows SSIM is a mean over.

- ffmpeg: squares of 8 x 8 pixels, a step of 4 apart, sample variances, as ffmpeg's `ssim` filter (from x264). Its c1
  is 1/64 of Wang's, whose formula it applies to sums of 64 pixels: errors of brightness cost more in dark frames.
- gaussian: weights of standard deviation 1.5 within 11 x 11 around every pixel that far from the edge (Wang et al.,
  IEEE Transactions on Image Processing 13, 2004).
"""
K1, K2 = 0.01, 0.03
BLOCK = 4
SAMPLES = 64
"""Pixels of one of ffmpeg's windows: two by two blocks of 4 x 4."""
SIGMA, RADIUS = 1.5, 5


@dataclass(frozen=True, slots=True)
class Psnr(Result):
    """Peak signal-to-noise ratio of a clip, in dB; higher is better.

    Attributes:
        of_mean: of the mean squared error over all pixels of the clip, ffmpeg's average; +inf for identical clips.
        mean: mean over frames of their own PSNR; it is never lower, and +inf as soon as one frame is identical.
        mse: mean squared error over all pixels.
        peak: the highest value that a pixel can have.
        n_identical: frames without any error.
        reason: why the values are None.
    """

    of_mean: float | None
    mean: float | None
    mse: float | None
    peak: float
    n_frames: int
    n_identical: int
    n_pixels: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Ssim(Result):
    """Mean over frames of their structural similarity, up to 1; higher is better.

    Attributes:
        lowest: of the worst frame.
        n_windows: windows over which the frames' means were taken.
        reason: why the values are None.
    """

    value: float | None
    lowest: float | None
    variant: SsimVariant
    peak: float
    n_frames: int
    n_windows: int
    reason: str | None = None


def psnr(frames: Iterable[tuple[ArrayLike, ArrayLike]], *, peak: float) -> Psnr:
    """Compute 10 log10(peak^2 / MSE), over the clip and as the mean of its frames.

    Args:
        frames: reference and result of one frame after the other, shape (height, width); read once.
        peak: the highest value that a pixel can have: 255 for 8 bit, 1023 for 10 bit, 1 for shares.

    Raises:
        MetricError: a frame has another shape than its reference, is no plane of numbers, or exceeds the peak.

    >>> result = psnr([(np.zeros((2, 2)), np.full((2, 2), 0.1))], peak=1.0)
    >>> round(result.of_mean, 6), result.n_frames
    (20.0, 1)
    """
    squares = compiled(_sum_squares, has_order=False)
    errors, sizes = [], []
    for reference, result in _planes(frames, peak):
        errors.append(squares(reference, result))
        sizes.append(reference.size)
    if not errors:
        return Psnr(None, None, None, peak, 0, 0, 0, "no frame")
    mse = math.fsum(errors) / sum(sizes)
    each = [_decibels(error / size, peak) for error, size in zip(errors, sizes, strict=True)]
    return Psnr(
        of_mean=_decibels(mse, peak),
        mean=math.fsum(each) / len(each),
        mse=mse,
        peak=peak,
        n_frames=len(errors),
        n_identical=errors.count(0.0),
        n_pixels=sum(sizes),
    )


def ssim(frames: Iterable[tuple[ArrayLike, ArrayLike]], *, peak: float, variant: SsimVariant) -> Ssim:
    """Compute the mean of (2 m n + c1) (2 cov + c2) / ((m^2 + n^2 + c1) (var + var' + c2)) over windows, then frames.

    c1 = (.01 peak)^2, c2 = (.03 peak)^2 (Wang et al., 2004); `SsimVariant` says where ffmpeg differs.

    Args:
        frames: reference and result of one frame after the other, shape (height, width), at least as large as a
            window; read once.
        peak: the highest value that a pixel can have.
        variant: which windows.

    Raises:
        MetricError: as for `psnr`, or a frame is smaller than a window, or the variant is unknown.

    >>> plane = np.arange(64, dtype=np.uint8).reshape(8, 8)
    >>> ssim([(plane, plane)], peak=255, variant="ffmpeg").value
    1.0
    """
    if variant not in ("ffmpeg", "gaussian"):
        raise MetricError(f"expected a variant of SSIM, ffmpeg or gaussian, found {variant}")
    similarity, least = (_block_ssim, 2 * BLOCK) if variant == "ffmpeg" else (_gaussian_ssim, 2 * RADIUS + 1)
    values, n_windows = [], 0
    for reference, result in _planes(frames, peak):
        if min(reference.shape) < least:
            raise MetricError(f"expected frames of {least} x {least} or more for {variant}, found {reference.shape}")
        windows = similarity(reference, result, peak)
        values.append(float(windows.mean()))
        n_windows += windows.size
    if not values:
        return Ssim(None, None, variant, peak, 0, 0, "no frame")
    return Ssim(math.fsum(values) / len(values), min(values), variant, peak, len(values), n_windows)


Plane = NDArray[np.float64] | NDArray[np.uint8] | NDArray[np.uint16]


def _planes(frames: Iterable[tuple[ArrayLike, ArrayLike]], peak: float) -> Iterator[tuple[Plane, Plane]]:
    if not peak > 0 or math.isinf(peak):
        raise MetricError(f"expected a positive peak, such as 255 for 8 bit, found {peak}")
    for index, pair in enumerate(frames):
        one, other = (_plane(frame, peak=peak, index=index) for frame in pair)
        if one.shape != other.shape:
            raise MetricError(f"expected frames of one size, found {one.shape} and {other.shape} in frame {index}")
        yield (one, other) if one.dtype == other.dtype else (one.astype(np.float64), other.astype(np.float64))


def _plane(frame: ArrayLike, *, peak: float, index: int) -> Plane:
    array = np.ascontiguousarray(frame)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "iuf":
        raise MetricError(
            f"expected one plane of numbers, shape (height, width), such as the luma, in frame {index}, found "
            f"{array.dtype} {array.shape}"
        )
    low, high = float(array.min()), float(array.max())
    if not 0 <= low <= high <= peak:
        raise MetricError(f"expected values from 0 to the peak {peak:g} in frame {index}, found {low:g} to {high:g}")
    return array if array.dtype in (np.uint8, np.uint16) else array.astype(np.float64)


def _decibels(mse: float, peak: float) -> float:
    return 10.0 * math.log10(peak**2 / mse) if mse > 0 else math.inf


def _sum_squares(one: Plane, other: Plane) -> float:
    total = 0.0
    for i in range(one.shape[0]):
        for j in range(one.shape[1]):
            difference = np.float64(one[i, j]) - np.float64(other[i, j])
            total += difference * difference
    return total


def _block_ssim(one: Plane, other: Plane, peak: float) -> NDArray[np.float64]:
    """SSIM of windows of 8 x 8; what is left over at the right and lower edges is not looked at, as in ffmpeg."""
    sums = np.empty((4, one.shape[0] // BLOCK, one.shape[1] // BLOCK))
    compiled(_sum_blocks, has_order=False)(one, other, sums)
    s1, s2, squares, products = sums[:, :-1, :-1] + sums[:, 1:, :-1] + sums[:, :-1, 1:] + sums[:, 1:, 1:]
    variance = squares * SAMPLES - s1 * s1 - s2 * s2
    covariance = products * SAMPLES - s1 * s2
    c1, c2 = (K1 * peak) ** 2 * SAMPLES, (K2 * peak) ** 2 * SAMPLES * (SAMPLES - 1)
    if peak > 1:
        # ffmpeg rounds its constants.
        c1, c2 = math.floor(c1 + 0.5), math.floor(c2 + 0.5)
    return np.asarray((2 * s1 * s2 + c1) * (2 * covariance + c2) / ((s1 * s1 + s2 * s2 + c1) * (variance + c2)))


def _sum_blocks(one: Plane, other: Plane, sums: NDArray[np.float64]) -> None:
    """Sum both frames, their squares and their products over blocks of 4 x 4."""
    for row in range(sums.shape[1]):
        for column in range(sums.shape[2]):
            s1 = s2 = squares = products = 0.0
            for i in range(row * BLOCK, row * BLOCK + BLOCK):
                for j in range(column * BLOCK, column * BLOCK + BLOCK):
                    a, b = np.float64(one[i, j]), np.float64(other[i, j])
                    s1 += a
                    s2 += b
                    squares += a * a + b * b
                    products += a * b
            sums[0, row, column], sums[1, row, column] = s1, s2
            sums[2, row, column], sums[3, row, column] = squares, products


def _gaussian_ssim(one: Plane, other: Plane, peak: float) -> NDArray[np.float64]:
    from scipy import ndimage

    def smooth(plane: NDArray[np.float64]) -> NDArray[np.float64]:
        blurred = ndimage.gaussian_filter(plane, SIGMA, radius=RADIUS)
        return np.asarray(blurred[RADIUS:-RADIUS, RADIUS:-RADIUS])

    x, y = one.astype(np.float64), other.astype(np.float64)
    m, n = smooth(x), smooth(y)
    variance = smooth(x * x) - m * m + smooth(y * y) - n * n
    covariance = smooth(x * y) - m * n
    c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
    return np.asarray((2 * m * n + c1) * (2 * covariance + c2) / ((m * m + n * n + c1) * (variance + c2)))
