"""Figures of an iris's quality, and the reasons for which it has no template, in a fixed order."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.inference.iris.entry import Acquisition

SIDE_COSINE: Final = math.cos(math.radians(30))
"""Columns within 30 degrees of the horizontal: lids seldom cover them."""
LINES: Final = range(16, 121)
"""Cycles around the iris at which a printed pattern is looked for."""
NEAR_A_LINE: Final = np.array([*range(-10, -2), *range(3, 11)])
"""Where the level beside a line is taken, in cycles from it."""
MIN_PATTERN_ROWS: Final = 4
FLOOR: Final = 0.5
"""Of the mean level: what a line stands above at least, so that one without noise, or of a narrow band, shows none."""


@dataclass(frozen=True, slots=True)
class EyeFigures:
    """What was measured of an eye; the columns of the modality, and what lids leave.

    Attributes:
        pupil_iris_ratio: of the diameters.
        off_axis_deg: by the ellipse of the iris.
        sharpness: see `sharpness_of`.
        iris_diameter_px: in the picture.
        centre_distance: of pupil and iris, by the iris's radius.
        specular_area: share of the iris that highlights cover.
        periodicity: see `periodicity_of`.
        visible, visible_side: share of the iris in sight, and of its parts within 30 degrees of the horizontal.
    """

    pupil_iris_ratio: float
    off_axis_deg: float
    sharpness: float
    iris_diameter_px: float
    centre_distance: float
    specular_area: float
    periodicity: float
    visible: float
    visible_side: float


COLUMNS: Final = (
    "pupil_iris_ratio",
    "off_axis_deg",
    "sharpness",
    "iris_diameter_px",
    "centre_distance",
    "specular_area",
    "periodicity",
)
"""Figures that become columns of the samples."""


def status_of(figures: EyeFigures, acquire: Acquisition) -> str:
    """Tell why an eye has no template, by the first reason that holds, or "ok"."""
    reasons: Mapping[str, bool] = {
        "no_eye": figures.iris_diameter_px < acquire.min_iris_diameter_px,
        "gaze": figures.off_axis_deg > acquire.max_off_axis_deg,
        "occlusion": figures.visible < acquire.min_visible or figures.visible_side < acquire.min_visible_side,
        "dilation": figures.pupil_iris_ratio > acquire.max_pupil_iris_ratio,
        "constriction": figures.pupil_iris_ratio < acquire.min_pupil_iris_ratio,
        "off_centre": figures.centre_distance > acquire.max_centre_distance,
        # An iris without two valid pixels beside one another has no sharpness, and is not sharp.
        "sharpness": not figures.sharpness >= acquire.min_sharpness,
        "specular": figures.specular_area > acquire.max_specular,
        "lens": figures.periodicity > acquire.max_periodicity,
    }
    return next((reason for reason, holds in reasons.items() if holds), "ok")


def visible_shares(visible: NDArray[np.bool_]) -> tuple[float, float]:
    """Compute the share of a strip's pixels in sight, of all and of those to the sides; shape (height, width)."""
    angles = np.arange(visible.shape[1]) * (2 * np.pi / visible.shape[1])
    to_sides = np.abs(np.cos(angles)) >= SIDE_COSINE
    return float(visible.mean()), float(visible[:, to_sides].mean())


def sharpness_of(strip: NDArray[np.float32], valid: NDArray[np.bool_]) -> float:
    """Compute the variance of the Laplacian of a strip, over pixels whose neighbours are valid too.

    Of the strip, not of the picture: the same iris has the same sharpness however large it is seen. NaN without pixels.

    Args:
        strip: grey levels, shape (height, width).
        valid: pixels that show iris.
    """
    import cv2

    inner = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
    laplacian = cv2.Laplacian(strip, cv2.CV_32F, borderType=cv2.BORDER_REFLECT)
    return float(laplacian[inner].var()) if inner.any() else math.nan


def periodicity_of(strip: NDArray[np.float32], valid: NDArray[np.bool_]) -> float:
    """Compute how far the strongest line of the spectrum around the iris stands above what is beside it.

    The dot matrix that colours a contact lens repeats around the eye; an iris does not (after J. Daugman, "Demodulation
    by complex-valued wavelets for stochastic pattern recognition", 2003, section 6). Taken of the outer half of the
    strip, which such a lens covers, over rows of which more than half is valid; NaN where too few are, or the strip is
    too narrow to hold the lines.

    Args:
        strip: grey levels, shape (height, width), around the iris in full.
        valid: pixels that show iris.
    """
    kept = np.flatnonzero(valid[len(valid) // 2 :].mean(axis=1) > 0.5) + len(valid) // 2
    if len(kept) < MIN_PATTERN_ROWS or strip.shape[1] // 2 < LINES.stop + NEAR_A_LINE.max():
        return math.nan
    grey, shown = strip[kept], valid[kept]
    share = shown.mean(axis=1, keepdims=True)
    level = np.where(shown, grey, 0).mean(axis=1, keepdims=True) / share
    power = (np.abs(np.fft.rfft(np.where(shown, grey - level, 0), axis=1)) ** 2 / share).mean(axis=0)
    lines = np.array(LINES)
    beside = np.median(power[lines[:, None] + NEAR_A_LINE], axis=1)
    beside = np.maximum(beside, power[lines].mean() * FLOOR)
    return float((power[lines] / beside).max()) if beside.all() else math.nan
