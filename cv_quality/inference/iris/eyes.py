"""Eye images: found by segmentation, fitted, unrolled into strips, measured; what cannot be has its reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.inference.iris.entry import Acquisition, IrisMask, StripSize
from cv_quality.inference.iris.geometry import IRIS, EyeShape, fit_eye
from cv_quality.inference.iris.log_gabor import Bits, Strips
from cv_quality.inference.iris.quality import (
    COLUMNS,
    EyeFigures,
    periodicity_of,
    sharpness_of,
    status_of,
    visible_shares,
)
from cv_quality.inference.iris.rubber_sheet import is_inside, sample_grey, sample_labels, sheet_points
from cv_quality.inference.iris.segmentation import EyeSegmenter, Labelled
from cv_quality.inference.iris.strips import NormalisedIrises, grey
from cv_quality.inference.preprocessing import Frame

NO_EYE: Final = "no_eye"


@dataclass(frozen=True, slots=True)
class EyeReader:
    """Finds the irises of eye images.

    Attributes:
        segmenter: tells the parts of an eye.
        size: of the strips.
        mask: which of their pixels show no iris.
        acquire: what an eye must be.
    """

    segmenter: EyeSegmenter
    size: StripSize
    mask: IrisMask
    acquire: Acquisition

    def read(self, frames: Sequence[Frame]) -> NormalisedIrises:
        """Normalise irises; shape of the strips as the entry says.

        Raises:
            ModelDoesNotFit: the segmentation model fails on them.
        """
        pictures = [grey(frame) for frame in frames]
        shape = (len(frames), self.size.height, self.size.width)
        strips, valid = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
        statuses, measured = [], np.full((len(COLUMNS), len(frames)), np.nan)
        for place, (picture, labelled) in enumerate(zip(pictures, self.segmenter.label(pictures), strict=True)):
            status, figures = self._unrolled(picture, labelled, strips[place], valid[place])
            statuses.append(status)
            if figures is not None:
                measured[:, place] = [getattr(figures, name) for name in COLUMNS]
        return NormalisedIrises(statuses, strips, valid, dict(zip(COLUMNS, measured, strict=True)))

    def _unrolled(
        self, picture: Strips, labelled: Labelled, strip: Strips, valid: Bits
    ) -> tuple[str, EyeFigures | None]:
        """Unroll one eye into a strip and the pixels that are valid, both written in place; its status and figures."""
        found = fit_eye(labelled.parts)
        if found is None:
            return NO_EYE, None
        in_labels = sheet_points(found, height=self.size.height, width=self.size.width)
        shape = _in_picture(found, labelled)
        points = sheet_points(shape, height=self.size.height, width=self.size.width)
        strip[:] = sample_grey(picture, points)
        seen = is_inside(points, height=picture.shape[0], width=picture.shape[1])
        visible = (sample_labels(labelled.parts, in_labels) == IRIS) & seen
        is_highlight = strip >= self.mask.bright_from
        looks_for_lids = shape.iris.off_axis_deg <= self.mask.lids_up_to_deg
        valid[:] = (visible if looks_for_lids else seen) & ~is_highlight & (strip >= self.mask.dark_below)
        figures = _figures(shape, strip, visible=visible, valid=valid, is_highlight=is_highlight & seen)
        return status_of(figures, self.acquire) if valid.any() else "occlusion", figures


def _in_picture(shape: EyeShape, labelled: Labelled) -> EyeShape:
    pupil, iris = (
        part.scaled(labelled.scale, left=labelled.left, top=labelled.top) for part in (shape.pupil, shape.iris)
    )
    return EyeShape(pupil, iris)


def _figures(
    shape: EyeShape, strip: Strips, *, visible: Bits, valid: Bits, is_highlight: NDArray[np.bool_]
) -> EyeFigures:
    share, to_sides = visible_shares(visible | is_highlight)
    return EyeFigures(
        pupil_iris_ratio=shape.pupil_iris_ratio,
        off_axis_deg=shape.iris.off_axis_deg,
        sharpness=sharpness_of(strip, valid),
        iris_diameter_px=2 * shape.iris.radius,
        centre_distance=shape.centre_distance,
        specular_area=float(is_highlight.mean()),
        periodicity=periodicity_of(strip, valid),
        visible=share,
        visible_side=to_sides,
    )
