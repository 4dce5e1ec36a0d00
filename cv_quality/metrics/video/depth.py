"""Depth maps against ground truth: the errors of Eigen, Puhrsch and Fergus (NeurIPS 2014), each the mean over frames.

Pixels without a true depth do not count; pixels that have one and no predicted depth are counted as missing beside
the errors.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.results import Result

DepthAlignment = Literal["none", "median"]
"""What is done to a prediction before it is compared.

- none: metric depth, in the unit of the truth.
- median: each frame is scaled by median(truth) / median(prediction), as for depth without a scale (Zhou et al., CVPR
  2017).
"""
DELTA = 1.25
_MEASURES = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "delta_1", "delta_2", "delta_3", "scale")


@dataclass(frozen=True, slots=True)
class DepthErrors(Result):
    """Errors of a clip, d the predicted and t the true depth; all None without a compared pixel.

    Attributes:
        abs_rel: mean of |d - t| / t; lower is better.
        sq_rel: mean of (d - t)^2 / t, in the unit of the truth; lower is better.
        rmse: root mean square of d - t, in the unit of the truth; lower is better.
        rmse_log: root mean square of ln d - ln t; lower is better.
        log10: mean of |log10 d - log10 t|; lower is better.
        delta_1, delta_2, delta_3: share with max(d / t, t / d) below 1.25, 1.25^2, 1.25^3; higher is better.
        scale: what predictions were multiplied by, mean over frames; 1 without alignment.
        n_frames: frames with a compared pixel, the means are over these.
        n_empty: frames without one.
        n_pixels: compared pixels.
        n_missing: pixels with a true depth, but no predicted one that is positive and finite.
    """

    abs_rel: float | None
    sq_rel: float | None
    rmse: float | None
    rmse_log: float | None
    log10: float | None
    delta_1: float | None
    delta_2: float | None
    delta_3: float | None
    scale: float | None
    alignment: DepthAlignment
    n_frames: int
    n_empty: int
    n_pixels: int
    n_missing: int
    reason: str | None = None


def depth_errors(frames: Iterable[tuple[ArrayLike, ArrayLike]], *, alignment: DepthAlignment) -> DepthErrors:
    """Compute the errors of predicted depth over the pixels of each frame, and their means over frames.

    Args:
        frames: truth and prediction of one frame after the other, depth (not disparity), shape (height, width); a
            true depth that is not positive and finite is none. They are read once.
        alignment: what is done to a prediction first.

    Raises:
        MetricError: shapes differ, the values are no numbers, or the alignment is unknown.

    >>> errors = depth_errors([([[1.0, 2.0]], [[2.0, 4.0]])], alignment="none")
    >>> errors.abs_rel, errors.sq_rel, errors.delta_1
    (1.0, 1.5, 0.0)
    >>> depth_errors([([[1.0, 2.0]], [[2.0, 4.0]])], alignment="median").rmse
    0.0
    """
    if alignment not in ("none", "median"):
        raise MetricError(f"expected an alignment of depth, none or median, found {alignment}")
    each, n_empty, n_pixels, n_missing = [], 0, 0, 0
    for index, pair in enumerate(frames):
        truth, prediction = (_depths(values, index) for values in pair)
        if truth.shape != prediction.shape:
            raise MetricError(
                f"expected depths of one size, found truth {truth.shape} and prediction {prediction.shape} in frame "
                f"{index}"
            )
        has_truth, is_usable = (np.isfinite(depth) & (depth > 0) for depth in (truth, prediction))
        is_compared = has_truth & is_usable
        n_missing += int(np.count_nonzero(has_truth & ~is_usable))
        n_pixels += int(np.count_nonzero(is_compared))
        if is_compared.any():
            each.append(_frame_errors(truth[is_compared], prediction[is_compared], alignment))
        else:
            n_empty += 1
    means = [math.fsum(values) / len(values) for values in zip(*each, strict=True)]
    known: dict[str, float] = dict(zip(_MEASURES, means, strict=True)) if means else {}
    return DepthErrors(
        **{measure: known.get(measure) for measure in _MEASURES},
        alignment=alignment,
        n_frames=len(each),
        n_empty=n_empty,
        n_pixels=n_pixels,
        n_missing=n_missing,
        reason=None if each else "no pixel has a true and a predicted depth",
    )


def _frame_errors(
    truth: NDArray[np.float64], prediction: NDArray[np.float64], alignment: DepthAlignment
) -> tuple[float, ...]:
    scale = float(np.median(truth) / np.median(prediction)) if alignment == "median" else 1.0
    difference = prediction * scale - truth
    logs = np.log(prediction) + math.log(scale) - np.log(truth)
    ratio = np.abs(logs)
    return (
        float((np.abs(difference) / truth).mean()),
        float((np.square(difference) / truth).mean()),
        math.sqrt(float(np.square(difference).mean())),
        math.sqrt(float(np.square(logs).mean())),
        float(ratio.mean()) / math.log(10),
        *(float((ratio < power * math.log(DELTA)).mean()) for power in (1, 2, 3)),
        scale,
    )


def _depths(values: ArrayLike, index: int) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise MetricError(
            f"expected depths as numbers of shape (height, width) in frame {index}, found {array.dtype} {array.shape}"
        )
    return array.astype(np.float64)
